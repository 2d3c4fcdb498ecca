//! Keeps one tunnel: a task that brings it up, does what is ordered in order, and notices when it ends by itself.
//!
//! Not here: what a tunnel is (`tunnel`), which there are (`house`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::rates::{Rates, SHORTEST};
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::report::{State, TunnelReport};
use crate::rpc::{Done, PeersChange, Served};
use crate::tunnel::{Asked, AskedPeers, Running, Wanted};

/// Orders that may wait while one is carried out.
const MAX_ORDERS: usize = 8;

/// The handle of a kept tunnel.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    inbox: Mutex<Option<mpsc::Receiver<Order>>>,
}

/// What the task and the askers both see.
#[derive(Debug)]
struct Shared {
    name: String,
    /// Where it comes from; nothing if another process decides about it.
    file: Option<PathBuf>,
    begun: Instant,
    now: Mutex<Present>,
}

/// What can change.
#[derive(Debug)]
struct Present {
    state: State,
    notes: Vec<String>,
    running: Option<Arc<Running>>,
    rates: Rates,
}

#[derive(Debug)]
enum Order {
    Reload(Reply),
    Mend(Reply),
    Serve(Box<Served>, Reply),
    Peers(Box<PeersChange>, Reply),
    Down(Reply),
}

type Reply = oneshot::Sender<Result<Done>>;

impl Keeper {
    /// A tunnel that is not up yet.
    pub(super) fn new(name: String, file: Option<PathBuf>) -> Self {
        let now = Present { state: State::Starting, notes: Vec::new(), running: None, rates: Rates::default() };
        let shared = Arc::new(Shared { name, file, begun: Instant::now(), now: Mutex::new(now) });
        let (orders, inbox) = mpsc::channel(MAX_ORDERS);
        Self { shared, orders, inbox: Mutex::new(Some(inbox)) }
    }

    /// How it is, without asking it.
    pub(super) fn state(&self) -> State {
        self.shared.now().state
    }

    /// Where it comes from; nothing if another process decides about it.
    pub(super) fn file(&self) -> Option<&Path> {
        self.shared.file.as_deref()
    }

    /// Brings it up. Once.
    pub(super) async fn up(&self, asked: Wanted, places: &Places) -> Result<Done> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inbox = inbox.ok_or_else(|| Failure::failed("this tunnel was brought up before"))?;
        let (reply, outcome) = oneshot::channel();
        let task = tokio::spawn(keep(self.shared.clone(), asked, places.clone(), inbox, reply));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            if let Err(e) = task.await {
                tracing::error!("{}: its keeper failed in a way it should not: {e}", shared.name);
                shared.fail("it failed inside; the log of the daemon says more".to_owned());
            }
        });
        answer(outcome).await
    }

    /// Reads its file again and applies the difference.
    pub(super) async fn reload(&self) -> Result<Done> {
        self.order(Order::Reload).await
    }

    /// Makes again what was made for it and is gone.
    pub(super) async fn mend(&self) -> Result<Done> {
        self.order(Order::Mend).await
    }

    /// Makes a network be as said; sessions of peers that stay are kept.
    pub(super) async fn serve(&self, served: Box<Served>) -> Result<Done> {
        self.order(|reply| Order::Serve(served, reply)).await
    }

    /// Changes some peers of a network.
    pub(super) async fn change_peers(&self, change: Box<PeersChange>) -> Result<Done> {
        self.order(|reply| Order::Peers(change, reply)).await
    }

    /// Takes it down.
    pub(super) async fn down(&self) -> Result<Done> {
        self.order(Order::Down).await
    }

    async fn order(&self, order: impl FnOnce(Reply) -> Order) -> Result<Done> {
        let (reply, outcome) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| gone())?;
        answer(outcome).await
    }

    /// How it is, with all there is to say.
    pub(super) async fn report(&self) -> TunnelReport {
        let first = self.shared.now().rates.needs_another(Instant::now());
        if first && self.shared.now().running.is_some() {
            // Two readings make a rate.
            self.read().await;
            tokio::time::sleep(SHORTEST).await;
        }
        self.read().await
    }

    async fn read(&self) -> TunnelReport {
        let running = self.shared.now().running.clone();
        let mut report = match running {
            Some(running) => running.report().await,
            None => TunnelReport::empty(&self.shared.name),
        };
        report.up_seconds = self.shared.begun.elapsed().as_secs();
        report.file.clone_from(&self.shared.file);
        let mut now = self.shared.now();
        match now.state {
            // What the tunnel says of itself is more exact.
            State::Connected | State::Waiting => {}
            State::Starting | State::Stopping | State::Failed => report.state = now.state,
        }
        report.notes.extend(now.notes.iter().cloned());
        now.rates.fill(Instant::now(), &mut report);
        report
    }
}

impl Shared {
    fn now(&self) -> MutexGuard<'_, Present> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        self.now().state = state;
    }

    fn fail(&self, note: String) {
        let mut now = self.now();
        now.state = State::Failed;
        now.notes.push(note);
        now.running = None;
    }
}

async fn answer(outcome: oneshot::Receiver<Result<Done>>) -> Result<Done> {
    outcome.await.unwrap_or_else(|_| Err(gone()))
}

fn gone() -> Failure {
    Failure::failed("the tunnel ended meanwhile").hint("`adit status` and the daemon's log say more")
}

/// The life of a tunnel.
async fn keep(shared: Arc<Shared>, asked: Wanted, places: Places, mut inbox: mpsc::Receiver<Order>, reply: Reply) {
    let running = match Running::up(&shared.name, asked, &places).await {
        Ok((running, done)) => {
            let running = Arc::new(running);
            {
                let mut now = shared.now();
                now.state = State::Waiting;
                now.running = Some(running.clone());
                now.rates.begin(Instant::now());
            }
            let _asker_left = reply.send(Ok(done));
            running
        }
        Err(failure) => {
            shared.fail(failure.to_string());
            let _asker_left = reply.send(Err(failure));
            return;
        }
    };
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                Some(Order::Reload(reply)) => {
                    let _asker_left = reply.send(reload(&running, shared.file.as_deref()).await);
                }
                Some(Order::Mend(reply)) => {
                    let _asker_left = reply.send(running.mend().await);
                }
                Some(Order::Serve(served, reply)) => {
                    let _asker_left = reply.send(serve(&running, &shared, *served, &places).await);
                }
                Some(Order::Peers(change, reply)) => {
                    let _asker_left = reply.send(change_peers(&running, &shared, *change).await);
                }
                Some(Order::Down(reply)) => {
                    shared.set(State::Stopping);
                    let _asker_left = reply.send(running.down().await);
                    return;
                }
                None => return,
            },
            why = running.ended() => {
                tracing::error!("{} ended by itself: {why}", shared.name);
                shared.fail(format!("ended by itself: {why}"));
                let undone = running.down().await;
                return after_the_end(inbox, undone).await;
            }
        }
    }
}

async fn reload(running: &Running, file: Option<&Path>) -> Result<Done> {
    match file {
        Some(file) => running.reload(Wanted::of_file(file, None)?).await,
        None => Ok(Done { notes: vec!["A network has no file to be read again.".to_owned()] }),
    }
}

async fn serve(running: &Running, shared: &Shared, served: Served, places: &Places) -> Result<Done> {
    if let Some(file) = &shared.file {
        return Err(is_of_a_file(&shared.name, file));
    }
    running.reload(Wanted::WireGuard(Box::new(Asked::of_served(served, places)?))).await
}

async fn change_peers(running: &Running, shared: &Shared, change: PeersChange) -> Result<Done> {
    if let Some(file) = &shared.file {
        return Err(is_of_a_file(&shared.name, file));
    }
    running.change_peers(AskedPeers::of(change)?).await
}

/// The name is taken by a tunnel that a person brought up.
fn is_of_a_file(name: &str, file: &Path) -> Failure {
    Failure::failed(format!("{name} is already up, from {}", file.display()))
        .hint(format!("take it down with `adit down {name}`, or give the network another interface"))
}

/// It has ended by itself, and its traces are removed; it stays in the list until somebody has seen that.
async fn after_the_end(mut inbox: mpsc::Receiver<Order>, undone: Result<Done>) {
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Reload(reply) | Order::Mend(reply) | Order::Serve(_, reply) | Order::Peers(_, reply) => {
                let ended = Failure::failed("the tunnel has ended by itself, so there is nothing to change");
                let _asker_left = reply.send(Err(ended.hint("take it down and up again")));
            }
            Order::Down(reply) => {
                let _asker_left = reply.send(undone);
                return;
            }
        }
    }
}

//! Keeps one connection up: dials when the governor allows, replaces it before its life is over, says how it is.
//!
//! Not here: how a connection is made (`connect`), which carrier is used meanwhile (`ladder`).

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use adit_protocol::Path;

use super::governor::{Ending, Pace};
use super::pump::End;
use super::status::{Command, HttpsState, Known};
use crate::hub::{Joiner, Seat};

/// A connection that carried for so long has served: what ended it is not held against the server.
const SERVED: Duration = Duration::from_secs(30);
/// When replacing a connection failed, it is tried again after this long.
const REPLACE_AGAIN: Duration = Duration::from_secs(120);

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Refused or broken.
    Failed(String),
    /// Not answered at all.
    Silent(String),
    /// Whoever answered is not the server.
    Wrong(String),
}

/// Makes connections. Implemented by the real server's address, and by tests.
pub(super) trait Connect: Clone + Send + 'static {
    /// A connection on which nothing was sent.
    type Tcp: Send;
    type Live: Live;

    /// How many addresses there are to choose from.
    fn ways(&self) -> usize;

    /// Connects, without sending anything. `turn` counts the addresses that were given up.
    fn tcp(&mut self, turn: usize) -> impl Future<Output = Result<Self::Tcp, Attempt>> + Send;

    /// Greets the server and asks for the tunnel.
    fn greet(&mut self, tcp: Self::Tcp) -> impl Future<Output = Result<Self::Live, Attempt>> + Send;
}

/// A connection with a tunnel.
pub(super) trait Live: Send + 'static {
    fn remote(&self) -> SocketAddr;
    fn label(&self) -> &'static str;
    fn carry(self, seat: Seat) -> impl Future<Output = End> + Send;
}

/// The task of one link.
pub(super) struct Run<C> {
    connect: C,
    joiner: Joiner,
    pace: Pace,
    status: watch::Sender<Known>,
    commands: mpsc::Receiver<Command>,
    /// Tells connections that the network may have changed.
    network: watch::Sender<u64>,
    /// The connection in use and those that drain.
    carrying: JoinSet<End>,
    current: Option<Current>,
    turn: usize,
    /// Silences so far in this network.
    silences: usize,
    stopped: bool,
    stalled: bool,
}

#[derive(Debug)]
struct Current {
    id: tokio::task::Id,
    since: Instant,
    /// When it is to be replaced.
    until: Instant,
}

/// What a task woke up for.
enum Woken {
    Dial,
    Command(Command),
    Ended(Result<(tokio::task::Id, End), JoinError>),
    Gone,
}

impl<C: Connect> Run<C> {
    pub(super) fn new(
        connect: C,
        joiner: Joiner,
        pace: Pace,
        status: watch::Sender<Known>,
        commands: mpsc::Receiver<Command>,
        network: watch::Sender<u64>,
    ) -> Self {
        let (carrying, turn) = (JoinSet::new(), 0);
        Self {
            connect,
            joiner,
            pace,
            status,
            commands,
            network,
            carrying,
            current: None,
            turn,
            silences: 0,
            stopped: false,
            stalled: false,
        }
    }

    /// Runs until the engine is gone.
    pub(super) async fn run(mut self) {
        loop {
            self.tell();
            match self.wait().await {
                Woken::Dial => {
                    if !self.dial().await {
                        return;
                    }
                }
                Woken::Command(command) => self.obey(command),
                Woken::Ended(end) => self.ended(end),
                Woken::Gone => return,
            }
        }
    }

    /// When the next connection is to be made; `None` while stopped.
    fn next_dial(&self) -> Option<Instant> {
        let now = Instant::now();
        let earliest = Instant::from_std(self.pace.governor().earliest(now.into_std()));
        match &self.current {
            _ if self.stopped => None,
            Some(current) => Some(current.until.max(earliest)),
            None => Some(earliest),
        }
    }

    async fn wait(&mut self) -> Woken {
        let dial = self.next_dial();
        tokio::select! {
            biased;
            () = self.joiner.gone() => Woken::Gone,
            Some(end) = self.carrying.join_next_with_id() => Woken::Ended(end),
            Some(command) = self.commands.recv() => Woken::Command(command),
            () = sleep_until(dial.unwrap_or_else(Instant::now)), if dial.is_some() => Woken::Dial,
        }
    }

    /// One attempt. `false` if the engine is gone.
    async fn dial(&mut self) -> bool {
        if self.current.is_none() {
            self.set_state(HttpsState::Connecting);
        }
        let mut connect = self.connect.clone();
        let turn = self.turn;
        let tcp = tokio::select! {
            () = self.joiner.gone() => return false,
            tcp = connect.tcp(turn) => tcp,
        };
        let live = match tcp {
            Ok(tcp) => {
                self.pace.governor().greeted(Instant::now().into_std());
                tokio::select! {
                    () = self.joiner.gone() => return false,
                    live = connect.greet(tcp) => live,
                }
            }
            Err(attempt) => Err(attempt),
        };
        match live {
            Ok(live) => self.seat(live).await,
            Err(attempt) => {
                self.failed(attempt);
                true
            }
        }
    }

    /// Lets a new connection take over.
    async fn seat(&mut self, live: C::Live) -> bool {
        let remote = live.remote();
        let Ok(seat) = self.joiner.join(Path::to(remote)).await else { return false };
        let label = live.label();
        let task = self.carrying.spawn(live.carry(seat));
        let now = Instant::now();
        let until = now + self.pace.governor().lifetime();
        self.current = Some(Current { id: task.id(), since: now, until });
        self.stalled = false;
        self.status.send_modify(|known| {
            (known.server, known.label) = (Some(remote), label);
            known.connections += 1;
        });
        true
    }

    fn failed(&mut self, attempt: Attempt) {
        let now = Instant::now().into_std();
        let words = match attempt {
            Attempt::Failed(words) => {
                self.pace.governor().ended(Ending::Closed, now);
                self.turn = self.turn.wrapping_add(1);
                words
            }
            Attempt::Silent(words) => {
                let how = self.fell_silent();
                self.pace.governor().ended(how, now);
                self.stalled = self.current.is_none() && how == Ending::Silent;
                words
            }
            Attempt::Wrong(words) => {
                self.stopped = true;
                words
            }
        };
        tracing::info!(why = %words, "no connection over HTTPS");
        if let Some(current) = &mut self.current {
            current.until = Instant::now() + REPLACE_AGAIN;
        }
        self.status.send_modify(|known| known.failure = Some(words));
    }

    /// A freeze concerns an address: only when all have fallen silent there is nothing but to wait.
    fn fell_silent(&mut self) -> Ending {
        self.turn = self.turn.wrapping_add(1);
        self.silences += 1;
        if self.silences.is_multiple_of(self.connect.ways().max(1)) { Ending::Silent } else { Ending::Closed }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::NetworkChanged => {
                self.pace.governor().moved();
                (self.stopped, self.stalled, self.silences) = (false, false, 0);
                self.network.send_modify(|changes| *changes += 1);
            }
            Command::Renew => {
                if let Some(current) = &mut self.current {
                    current.until = Instant::now();
                }
            }
            Command::Retry => {
                self.stopped = false;
                self.pace.governor().moved();
            }
        }
    }

    /// A connection has ended: the one in use, or one that was replaced.
    fn ended(&mut self, end: Result<(tokio::task::Id, End), JoinError>) {
        let (id, end) = match end {
            Ok(ended) => ended,
            Err(error) => (error.id(), End::Closed(error.to_string())),
        };
        let Some(current) = self.current.take_if(|current| current.id == id) else { return };
        let (how, words) = match end {
            End::Closed(words) => (Ending::Closed, words),
            End::Silent => (self.fell_silent(), "the connection fell silent".to_owned()),
            End::Moved => {
                self.pace.governor().moved();
                (Ending::Served, "this machine has moved to another network".to_owned())
            }
            End::Replaced => return,
        };
        let has_served = how == Ending::Closed && current.since.elapsed() >= SERVED;
        let how = if has_served { Ending::Served } else { how };
        self.stalled = how == Ending::Silent;
        self.pace.governor().ended(how, Instant::now().into_std());
        self.status.send_modify(|known| known.failure = Some(words));
    }

    /// Says how it is.
    fn tell(&self) {
        self.set_state(match &self.current {
            Some(_) => HttpsState::Up,
            None if self.stopped => HttpsState::Stopped,
            None => HttpsState::Waiting { stalled: self.stalled },
        });
    }

    fn set_state(&self, state: HttpsState) {
        self.status.send_if_modified(|known| {
            let is_new = known.state != state;
            if is_new {
                (known.state, known.since) = (state, SystemTime::now());
            }
            is_new
        });
    }
}

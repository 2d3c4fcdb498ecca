//! The daemon: owns this machine's tunnels, listens on a socket, obeys signals, undoes everything at its end.
//!
//! Not here: who may ask and for what (`door`), how lines are read (`socket`), what is asked for (`house`), one tunnel's life (`keeper`).

mod door;
mod house;
mod keeper;
mod rates;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::house::House;
use crate::exit::{Failure, Result};
use crate::members;
use crate::places::{DaemonLock, Places};
use crate::socket::{self, Clients};
use crate::tunnel;

/// How a daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When it is told to.
    Lasting,
    /// Also by itself, [`LINGER`] after there is nothing more to own.
    OnDemand,
}

/// How long a daemon started on demand waits for another command.
const LINGER: Duration = Duration::from_secs(3);

/// How long a new daemon waits for one that is just ending.
const HANDOVER: Duration = Duration::from_secs(5);

/// Runs the daemon.
pub(crate) async fn run(places: Places, mode: Mode) -> Result<()> {
    let mut signals = Signals::new()?;
    places.create()?;
    let Some(_lock) = lock(&places).await? else {
        return already_running(&places, mode);
    };
    places.clear_scratch();
    for what in tunnel::recover(&places, None).await? {
        tracing::warn!("left by an earlier run, now removed: {what}");
    }
    let members = members_of(&places)?;
    let listener = UnixListener::from_std(socket::bind(&places.socket, members)?)
        .map_err(|e| Failure::io("cannot listen to commands", &e))?;
    let house = Arc::new(House::new(places.clone(), members));
    let clients = Clients::default();
    let server = tokio::spawn(socket::serve(listener, house.clone(), clients.clone()));
    tracing::info!("adit {} listens at {}", env!("CARGO_PKG_VERSION"), places.socket.display());
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    wait(&mut signals, &house, &clients, mode).await;
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    // The socket goes first: who comes now finds nobody, and starts a daemon that waits for the lock.
    let _gone = std::fs::remove_file(&places.socket);
    server.abort();
    house.down_all().await;
    tracing::info!("ended; everything is undone");
    Ok(())
}

/// The group whose members may ask, let in as far as the sockets.
fn members_of(places: &Places) -> Result<Option<u32>> {
    let group = members::group().filter(|_| rustix::process::geteuid().is_root());
    if let Some(group) = group {
        places.on_the_way().into_iter().try_for_each(|directory| members::open_directory(directory, group))?;
    }
    Ok(group)
}

/// Serves until it is time to end.
async fn wait(signals: &mut Signals, house: &Arc<House>, clients: &Clients, mode: Mode) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => {
                tell_systemd(&[sd_notify::NotifyState::Reloading]);
                house.reload_all().await;
                tell_systemd(&[sd_notify::NotifyState::Ready]);
            }
            () = idle(house, clients), if mode == Mode::OnDemand => return,
        }
    }
}

/// Ends when there was no tunnel and no client for a while.
async fn idle(house: &House, clients: &Clients) {
    let mut quiet = Duration::ZERO;
    while quiet < LINGER {
        tokio::time::sleep(STEP).await;
        quiet = if house.is_empty() && clients.is_empty() { quiet + STEP } else { Duration::ZERO };
        if !house.is_empty() {
            house.emptied().await;
        }
    }
}

const STEP: Duration = Duration::from_millis(250);

/// The signals a daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|e| Failure::io("cannot listen for signals", &e));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

async fn lock(places: &Places) -> Result<Option<DaemonLock>> {
    let deadline = tokio::time::Instant::now() + HANDOVER;
    loop {
        if let Some(lock) = places.try_lock()? {
            return Ok(Some(lock));
        }
        // A daemon that listens is not ending.
        let listens = std::os::unix::net::UnixStream::connect(&places.socket).is_ok();
        if listens || tokio::time::Instant::now() > deadline {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn already_running(places: &Places, mode: Mode) -> Result<()> {
    match mode {
        // Two commands started two daemons; the other one serves both.
        Mode::OnDemand => Ok(()),
        Mode::Lasting => Err(Failure::failed(format!("a daemon already runs in {}", places.directory.display()))
            .hint("`adit status` shows what it owns; take its tunnels down, and it ends by itself")),
    }
}

/// Does nothing when systemd did not start us.
fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("cannot tell systemd: {e}");
    }
}

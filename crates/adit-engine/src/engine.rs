//! Starting an engine, and the handle to one that runs: reach its core, ask for its state, stop it.
//!
//! Not here: the loop (`conductor`).

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use adit_protocol::{Drops, Now, Protocol, Why};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{Alarm, Clock};
use crate::conductor::{Conductor, Parts};
use crate::{DatagramIo, Lanes, Offloads, PacketIo};

/// Commands that may wait for the conductor.
const COMMANDS: usize = 64;
/// Events that may wait for the owner; more are lost, and counted.
const EVENTS: usize = 256;

/// Called with the inside's MTU, at first and whenever it changes.
pub(crate) type MtuHook<P> = Box<dyn FnMut(&mut P, Now, usize) + Send>;

/// Called now and then, before the core is asked anything.
pub(crate) type RenewHook<P> = Box<dyn FnMut(&mut P, Now) + Send>;

/// How an engine runs.
pub struct Options<P> {
    /// Where the time comes from.
    pub clock: Clock,
    /// On which threads.
    pub run: RunOn,
    /// Where crypto runs.
    pub lanes: Lanes,
    /// Called on the core with the inside's MTU in bytes, at first and whenever it changes.
    pub mtu_changed: Option<MtuHook<P>>,
    /// Called on the core when something is to be done and the last call is ten minutes ago, time spent in suspend
    /// counted, before anything else: to give it fresh randomness.
    pub renew: Option<RenewHook<P>>,
}

/// Which thread runs the loop of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunOn {
    /// A task of the runtime that `start` is called on.
    #[default]
    Runtime,
    /// A thread of its own by this name, with a runtime for this engine alone: no other task delays it.
    Thread(String),
}

/// A running engine. It stops when the last handle is dropped.
pub struct EngineHandle<P> {
    commands: mpsc::Sender<Command<P>>,
    stopped: watch::Receiver<Option<Arc<Stopped>>>,
}

/// Why an engine has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// By `stop`, or because no handle was left.
    #[error("stopped on request")]
    Asked,
    /// The inside is gone: the device was removed.
    #[error("the inside is gone: {0}")]
    Inside(#[source] io::Error),
    /// The outside is gone.
    #[error("the outside is gone: {0}")]
    Outside(#[source] io::Error),
    /// A bug: the core or the engine panicked. Nothing else was taken down by it.
    #[error("a fault in the tunnel's code: {0}")]
    Panicked(String),
    /// The thread or its runtime could not be made.
    #[error("cannot start a thread for the tunnel: {0}")]
    NotStarted(#[source] io::Error),
}

/// The engine of a handle does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tunnel has stopped")]
pub struct Gone;

/// What an engine knows about itself.
#[derive(Debug, Clone)]
pub struct Status {
    /// Packets dropped so far, by the core and by the engine.
    pub drops: Drops,
    /// What went through.
    pub traffic: Traffic,
    /// Offloads in use.
    pub offloads: Offloads,
    /// MTU of the inside, in bytes.
    pub mtu: usize,
    /// Bytes that protocol and carrier add to a packet of the inside.
    pub overhead: usize,
    /// When the core wants to be called next, from now on, and why.
    pub deadline: Option<(Duration, Why)>,
    /// Events that the owner was too slow to take.
    pub events_lost: u64,
    /// Threads that seal, and as many that open; 0 if the engine's own loop does both.
    pub lanes: usize,
}

/// Packets and bytes that went through an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// IP packets read from the inside.
    pub inside_read: Count,
    /// IP packets for the inside.
    pub inside_written: Count,
    /// Datagrams read from the outside.
    pub outside_read: Count,
}

/// Packets, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many packets.
    pub packets: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// Runs on the core between two turns.
pub(crate) type Visit<P> = Box<dyn FnOnce(&mut P, Now) + Send>;

/// What a handle asks of the conductor.
pub(crate) enum Command<P> {
    With(Visit<P>),
    Status(oneshot::Sender<Status>),
    Stop,
}

/// Starts an engine. Its events come out of the receiver; those that nobody takes in time are lost, and counted.
///
/// With [`RunOn::Runtime`] it must be called on a tokio runtime with I/O and time enabled. Inside and outside may be made
/// anywhere: they enter the runtime when the engine first waits for them.
pub fn start<P: Protocol, I: PacketIo, O: DatagramIo>(
    protocol: P,
    inside: I,
    outside: O,
    options: Options<P>,
) -> (EngineHandle<P>, mpsc::Receiver<P::Event>) {
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    let (events, events_rx) = mpsc::channel(EVENTS);
    let (ended, stopped) = watch::channel(None);
    let Options { clock, run, lanes, mtu_changed, renew } = options;
    let life = async move {
        let (commands, threads) = (commands_rx, lanes.threads());
        let parts = Parts { alarm: Alarm::new(clock), commands, events, mtu_changed, renew, threads };
        match Conductor::new(protocol, inside, outside, parts) {
            Ok(conductor) => conductor.run().await,
            Err(error) => Stopped::NotStarted(error),
        }
    };
    match run {
        RunOn::Runtime => {
            tokio::spawn(async move {
                let reason = survive(life).await;
                ended.send_replace(Some(Arc::new(reason)));
            });
        }
        RunOn::Thread(name) => on_thread(name, life, ended),
    }
    (EngineHandle { commands, stopped }, events_rx)
}

fn on_thread(
    name: String,
    life: impl Future<Output = Stopped> + Send + 'static,
    ended: watch::Sender<Option<Arc<Stopped>>>,
) {
    let ended = Arc::new(ended);
    let from_thread = Arc::clone(&ended);
    let spawned = std::thread::Builder::new().name(name).spawn(move || {
        crate::prefer_promptness();
        let reason = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(survive(life)),
            Err(error) => Stopped::NotStarted(error),
        };
        from_thread.send_replace(Some(Arc::new(reason)));
    });
    if let Err(error) = spawned {
        ended.send_replace(Some(Arc::new(Stopped::NotStarted(error))));
    }
}

/// Turns a panic of the future into a reason, and drops the future in either case before answering.
async fn survive(life: impl Future<Output = Stopped>) -> Stopped {
    let mut life = pin!(life);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Stopped::Panicked(words(panic.as_ref()))),
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

impl<P: Protocol> EngineHandle<P> {
    /// Runs `f` on the core between two turns, drains the core, and gives back what `f` returned.
    ///
    /// # Errors
    /// [`Gone`] if the engine has stopped.
    pub async fn with<R, F>(&self, f: F) -> Result<R, Gone>
    where
        R: Send + 'static,
        F: FnOnce(&mut P, Now) -> R + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |core: &mut P, now: Now| drop(answer.send(f(core, now))));
        self.commands.send(Command::With(run)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// What the engine knows about itself.
    ///
    /// # Errors
    /// [`Gone`] if it has stopped.
    pub async fn status(&self) -> Result<Status, Gone> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Status(answer)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Stops the engine and waits until it has: inside and outside are closed then.
    pub async fn stop(&self) -> Arc<Stopped> {
        // If it is gone already, the reason is there.
        drop(self.commands.send(Command::Stop).await);
        self.stopped().await
    }

    /// Waits until the engine has stopped, for whatever reason.
    pub async fn stopped(&self) -> Arc<Stopped> {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| Arc::new(Stopped::Panicked("the runtime was shut down".to_owned())))
    }
}

impl Count {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

impl<P> Default for Options<P> {
    fn default() -> Self {
        Self { clock: Clock::default(), run: RunOn::default(), lanes: Lanes::default(), mtu_changed: None, renew: None }
    }
}

impl<P> fmt::Debug for Options<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("clock", &self.clock)
            .field("run", &self.run)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl<P> Clone for EngineHandle<P> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), stopped: self.stopped.clone() }
    }
}

impl<P> fmt::Debug for EngineHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle").field("stopped", &*self.stopped.borrow()).finish_non_exhaustive()
    }
}

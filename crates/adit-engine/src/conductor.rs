//! The loop that owns a core: waits for whichever side can move, moves at most one batch each way, and drains the core.
//!
//! Buffers go in circles. Outwards: free, filled and sealed, leaving. Inwards: free, filled and opened, committed, entering.
//! A side is read only while the circle that its packets need has a free buffer, which is all the back-pressure there is.
//!
//! Not here: what a handle offers (`engine`), where crypto runs (`lanes`), what one turn does to packets (`turn`).

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adit_protocol::{Drops, Now, Output, Protocol, Why};
use tokio::sync::{Notify, mpsc};

use crate::clock::Alarm;
use crate::engine::{Command, MtuHook, RenewHook, Status, Traffic};
use crate::lanes::{LaneLost, Pipeline};
use crate::work::{OpenWork, SealWork};
use crate::{DatagramIo, PacketIo, Ready, RecvBatch, SendArena, Stopped, Want};

/// Bytes that the inside may give in one turn: a few of the largest frames.
const INSIDE_BATCH: usize = 2 * crate::batch::MAX_READ;
/// Bytes that the outside may give in one turn: a few of the longest trains.
const OUTSIDE_BATCH: usize = 4 * crate::batch::MAX_READ;
/// Bytes that may wait to leave: a whole inside batch, sealed.
const ARENA: usize = 3 * crate::batch::MAX_READ;

/// How often a command or a deadline comes before packets.
const RARE_EVERY: u32 = 16;
/// How often a core's randomness is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(600);

pub(crate) struct Conductor<P: Protocol, I, O> {
    pub(super) core: P,
    pub(super) inside: I,
    pub(super) outside: O,
    alarm: Alarm,
    commands: mpsc::Receiver<Command<P>>,
    pub(super) events: mpsc::Sender<P::Event>,
    mtu_changed: Option<MtuHook<P>>,
    renew: Option<RenewHook<P>>,
    renewed: Option<Instant>,
    pub(super) from_inside: RecvBatch,
    pub(super) outwards: Circle<SealWork<P::Seal>>,
    pub(super) inwards: Circle<OpenWork<P::Open>>,
    /// A lane has finished something.
    done: Arc<Notify>,
    /// An output for which there was no room.
    pub(super) held: Option<Output<P>>,
    pub(super) deadline: Option<(Instant, Why)>,
    mtu: usize,
    pub(super) drops: Drops,
    pub(super) traffic: Traffic,
    pub(super) events_lost: u64,
    /// How often it has waited.
    turns: u32,
}

/// Buffers of one direction.
pub(super) struct Circle<W> {
    pub(super) free: Vec<W>,
    pub(super) crypto: Pipeline<W>,
    /// Done, waiting for the side they go to, in order.
    pub(super) ready: VecDeque<W>,
    size: usize,
}

/// Why the loop came back from waiting.
enum Wake<P> {
    Command(Option<Command<P>>),
    Outside(io::Result<Ready>),
    Inside(io::Result<Ready>),
    Lane,
    Deadline,
}

/// What a conductor is given besides the core and its two sides.
pub(crate) struct Parts<P: Protocol> {
    pub(crate) alarm: Alarm,
    pub(crate) commands: mpsc::Receiver<Command<P>>,
    pub(crate) events: mpsc::Sender<P::Event>,
    pub(crate) mtu_changed: Option<MtuHook<P>>,
    pub(crate) renew: Option<RenewHook<P>>,
    /// Threads for the crypto of each direction; 0 is inline.
    pub(crate) threads: usize,
}

impl<W: crate::lanes::Work> Circle<W> {
    fn new(threads: usize, name: &str, done: &Arc<Notify>, mut buffer: impl FnMut() -> W) -> io::Result<Self> {
        let crypto = Pipeline::new(threads, name, done)?;
        let size = crypto.depth();
        Ok(Self { free: (0..size).map(|_| buffer()).collect(), crypto, ready: VecDeque::with_capacity(size), size })
    }

    /// Whether some buffer is with the crypto.
    fn in_flight(&self) -> bool {
        self.free.len() + self.ready.len() < self.size
    }
}

impl<P: Protocol, I: PacketIo, O: DatagramIo> Conductor<P, I, O> {
    pub(crate) fn new(core: P, inside: I, outside: O, parts: Parts<P>) -> io::Result<Self> {
        let Parts { alarm, commands, events, mtu_changed, renew, threads } = parts;
        let done = Arc::new(Notify::new());
        let seal = || SealWork::new(SendArena::with_capacity(ARENA));
        let open = || OpenWork::new(RecvBatch::with_capacity(OUTSIDE_BATCH));
        Ok(Self {
            core,
            inside,
            outside,
            alarm,
            commands,
            events,
            mtu_changed,
            renew,
            renewed: None,
            from_inside: RecvBatch::with_capacity(INSIDE_BATCH),
            outwards: Circle::new(threads, "seal", &done, seal)?,
            inwards: Circle::new(threads, "open", &done, open)?,
            done,
            held: None,
            deadline: None,
            mtu: 0,
            drops: Drops::default(),
            traffic: Traffic::default(),
            events_lost: 0,
            turns: 0,
        })
    }

    /// Runs until told to stop, or until one side is gone.
    pub(crate) async fn run(mut self) -> Stopped {
        let mut wake = None;
        loop {
            let now = self.alarm.now();
            if let Err(stopped) = self.turn(wake, now) {
                return stopped;
            }
            self.alarm.set(now, self.deadline.map(|(at, _)| at));
            wake = Some(self.wait().await);
        }
    }

    /// Waits for whatever comes first. Mostly that is a packet, so the two sides are looked at first, in turn so that a
    /// flood at one does not silence the other; now and then what is rare comes before them, so that it does come.
    async fn wait(&mut self) -> Wake<P> {
        let want_outside = Want { read: !self.inwards.free.is_empty(), write: !self.outwards.ready.is_empty() };
        let want_inside = Want { read: !self.outwards.free.is_empty(), write: !self.inwards.ready.is_empty() };
        let in_flight = self.outwards.in_flight() || self.inwards.in_flight();
        self.turns = self.turns.wrapping_add(1);
        let (rare_first, inside_first) = (self.turns.is_multiple_of(RARE_EVERY), self.turns.is_multiple_of(2));
        let (mut outside, mut inside) = (pin!(self.outside.ready(want_outside)), pin!(self.inside.ready(want_inside)));
        let mut lane = pin!(self.done.notified());
        let (commands, alarm) = (&mut self.commands, &mut self.alarm);
        let mut rare = |cx: &mut Context<'_>| {
            if let Poll::Ready(command) = commands.poll_recv(cx) {
                return Poll::Ready(Wake::Command(command));
            }
            if in_flight && lane.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Wake::Lane);
            }
            alarm.poll(cx).map(|()| Wake::Deadline)
        };
        let mut packets = |cx: &mut Context<'_>| {
            for side in [inside_first, !inside_first] {
                let woken = if side {
                    inside.as_mut().poll(cx).map(Wake::Inside)
                } else {
                    outside.as_mut().poll(cx).map(Wake::Outside)
                };
                if woken.is_ready() {
                    return woken;
                }
            }
            Poll::Pending
        };
        poll_fn(|cx| {
            let first = if rare_first { rare(cx) } else { packets(cx) };
            if first.is_ready() {
                return first;
            }
            if rare_first { packets(cx) } else { rare(cx) }
        })
        .await
    }

    fn turn(&mut self, wake: Option<Wake<P>>, now: Now) -> Result<(), Stopped> {
        self.renew(now);
        match wake {
            None | Some(Wake::Lane) => {}
            Some(Wake::Command(None | Some(Command::Stop))) => return Err(Stopped::Asked),
            Some(Wake::Command(Some(Command::With(run)))) => run(&mut self.core, now),
            Some(Wake::Command(Some(Command::Status(answer)))) => drop(answer.send(self.status(now))),
            Some(Wake::Outside(ready)) => {
                if ready.map_err(Stopped::Outside)?.read {
                    self.inbound(now)?;
                }
            }
            Some(Wake::Inside(ready)) => {
                if ready.map_err(Stopped::Inside)?.read {
                    self.outbound(now)?;
                }
            }
            Some(Wake::Deadline) => {
                // Told once: the core gives a new one when it is drained, for which there may be no room now.
                if self.deadline.take_if(|(at, _)| *at <= now.instant).is_some() {
                    self.core.handle_timeout(now);
                }
            }
        }
        self.follow_mtu(now);
        self.settle(now)
    }

    /// Takes back what the crypto has done, and moves on whatever can move without waiting.
    fn settle(&mut self, now: Now) -> Result<(), Stopped> {
        loop {
            while let Some(work) = self.inwards.crypto.take()? {
                self.commit(now, work);
            }
            self.flush_inside()?;
            self.drain(now)?;
            while let Some(work) = self.outwards.crypto.take()? {
                self.outwards.ready.push_back(work);
            }
            self.flush_outside()?;
            // What did not fit may fit now.
            let more = self.held.is_some() || !self.from_inside.is_empty();
            if !more || self.outwards.free.is_empty() {
                return Ok(());
            }
            if self.held.is_none() {
                self.plan_outbound(now)?;
            }
        }
    }

    fn follow_mtu(&mut self, now: Now) {
        let mtu = self.inside.mtu();
        if mtu != self.mtu {
            self.mtu = mtu;
            if let Some(hook) = &mut self.mtu_changed {
                hook(&mut self.core, now, mtu);
            }
        }
    }

    fn renew(&mut self, now: Now) {
        let Some(hook) = &mut self.renew else { return };
        match self.renewed {
            // It has just been made.
            None => self.renewed = Some(now.instant),
            Some(at) if now.instant.saturating_duration_since(at) >= RENEW_EVERY => {
                self.renewed = Some(now.instant);
                hook(&mut self.core, now);
            }
            Some(_) => {}
        }
    }

    fn status(&self, now: Now) -> Status {
        let mut drops = self.core.drops();
        drops.merge(&self.drops);
        Status {
            drops,
            traffic: self.traffic,
            offloads: self.inside.offloads().or(self.outside.offloads()),
            mtu: self.mtu,
            overhead: self.core.overhead() + self.outside.overhead(),
            deadline: self.deadline.map(|(at, why)| (at.saturating_duration_since(now.instant), why)),
            events_lost: self.events_lost,
            lanes: self.outwards.size - 1,
        }
    }
}

impl From<LaneLost> for Stopped {
    fn from(_: LaneLost) -> Self {
        Self::Panicked("a thread that seals or opens panicked".to_owned())
    }
}

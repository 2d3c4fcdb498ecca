//! The loop that owns a core: waits for whichever side can move, moves at most one batch each way, and drains the core.
//!
//! Not here: what a handle offers (`engine`), crypto on other threads (`lanes`).

use std::future::poll_fn;
use std::io;
use std::time::Instant;

use adit_protocol::{Delivery, DropReason, Drops, Inbound, IpPacket, Now, Outbound, Output, Path, Protocol, Seal, Why};
use tokio::sync::mpsc;

use crate::clock::Alarm;
use crate::ecn;
use crate::engine::{Command, MtuHook, Status, Traffic};
use crate::work::{OpenWork, SealWork};
use crate::{DatagramIo, Full, PacketIo, Ready, RecvBatch, SendArena, Stopped, Want};

/// Bytes that the inside may give in one turn: a few of the largest frames.
const INSIDE_BATCH: usize = 2 * crate::batch::MAX_READ;
/// Bytes that the outside may give in one turn: a few of the longest trains.
const OUTSIDE_BATCH: usize = 4 * crate::batch::MAX_READ;
/// Bytes that may wait to leave: a whole inside batch, sealed.
const ARENA: usize = 3 * crate::batch::MAX_READ;
/// Room that a datagram is given before its length is known, beyond the packet and what the core says it adds.
const MARGIN: usize = 64;

pub(crate) struct Conductor<P: Protocol, I, O> {
    core: P,
    inside: I,
    outside: O,
    alarm: Alarm,
    commands: mpsc::Receiver<Command<P>>,
    events: mpsc::Sender<P::Event>,
    mtu_changed: Option<MtuHook<P>>,
    from_inside: RecvBatch,
    to_outside: SealWork<P::Seal>,
    /// What the outside gave, and after opening what the inside is to take.
    from_outside: OpenWork<P::Open>,
    /// An output for which there was no room.
    held: Option<Output<P>>,
    deadline: Option<(Instant, Why)>,
    mtu: usize,
    drops: Drops,
    traffic: Traffic,
    events_lost: u64,
}

/// Why the loop came back from waiting.
enum Wake<P> {
    Command(Option<Command<P>>),
    Outside(io::Result<Ready>),
    Inside(io::Result<Ready>),
    Deadline,
}

impl<P: Protocol, I: PacketIo, O: DatagramIo> Conductor<P, I, O> {
    pub(crate) fn new(
        core: P,
        inside: I,
        outside: O,
        alarm: Alarm,
        commands: mpsc::Receiver<Command<P>>,
        events: mpsc::Sender<P::Event>,
        mtu_changed: Option<MtuHook<P>>,
    ) -> Self {
        Self {
            core,
            inside,
            outside,
            alarm,
            commands,
            events,
            mtu_changed,
            from_inside: RecvBatch::with_capacity(INSIDE_BATCH),
            to_outside: SealWork::new(SendArena::with_capacity(ARENA)),
            from_outside: OpenWork::new(RecvBatch::with_capacity(OUTSIDE_BATCH)),
            held: None,
            deadline: None,
            mtu: 0,
            drops: Drops::default(),
            traffic: Traffic::default(),
            events_lost: 0,
        }
    }

    /// Runs until told to stop, or until one side is gone.
    pub(crate) async fn run(mut self) -> Stopped {
        let mut now = self.alarm.now();
        loop {
            self.follow_mtu(now);
            self.drain(now);
            if let Err(stopped) = self.flush_outside() {
                return stopped;
            }
            self.alarm.set(now, self.deadline.map(|(at, _)| at));
            let wake = self.wait().await;
            now = self.alarm.now();
            if let Err(stopped) = self.turn(wake, now) {
                return stopped;
            }
        }
    }

    async fn wait(&mut self) -> Wake<P> {
        let sealed = !self.to_outside.arena.is_empty();
        let opened = !self.from_outside.batch.is_empty();
        let outside = Want { read: !opened, write: sealed };
        let inside = Want { read: !sealed, write: opened };
        tokio::select! {
            command = self.commands.recv() => Wake::Command(command),
            ready = self.outside.ready(outside) => Wake::Outside(ready),
            ready = self.inside.ready(inside) => Wake::Inside(ready),
            () = poll_fn(|cx| self.alarm.poll(cx)) => Wake::Deadline,
        }
    }

    fn turn(&mut self, wake: Wake<P>, now: Now) -> Result<(), Stopped> {
        match wake {
            Wake::Command(None | Some(Command::Stop)) => return Err(Stopped::Asked),
            Wake::Command(Some(Command::With(run))) => run(&mut self.core, now),
            Wake::Command(Some(Command::Status(answer))) => {
                let status = self.status(now);
                drop(answer.send(status));
            }
            Wake::Outside(ready) => {
                let ready = ready.map_err(Stopped::Outside)?;
                if ready.write {
                    self.flush_outside()?;
                }
                if ready.read {
                    self.inbound(now)?;
                }
            }
            Wake::Inside(ready) => {
                let ready = ready.map_err(Stopped::Inside)?;
                if ready.write {
                    self.flush_inside()?;
                }
                if ready.read {
                    self.outbound(now)?;
                }
            }
            Wake::Deadline => {
                if self.deadline.is_some_and(|(at, _)| at <= now.instant) {
                    self.core.handle_timeout(now);
                }
            }
        }
        Ok(())
    }

    /// From the inside to the arena: read, plan, lay out, seal.
    fn outbound(&mut self, now: Now) -> Result<(), Stopped> {
        if self.from_inside.is_empty() {
            received(self.inside.try_recv(&mut self.from_inside)).map_err(Stopped::Inside)?;
            self.drops.merge(&self.from_inside.take_drops());
        }
        let overhead = self.core.overhead() + MARGIN;
        while let Some(slot) = self.from_inside.slots.get(self.from_inside.cursor()).copied() {
            let Some(packet) = self.from_inside.packet(&slot) else {
                self.drops.count(DropReason::NotIp);
                self.from_inside.pop_front();
                continue;
            };
            if self.to_outside.arena.room() < packet.len() + overhead && !self.to_outside.arena.is_empty() {
                break;
            }
            self.traffic.inside_read.count(packet.len());
            match self.core.plan_outbound(now, &packet) {
                Outbound::Seal { job, to } => lay_out(&mut self.to_outside, job, to, Some(&packet)),
                Outbound::Staged | Outbound::Drop(_) => {}
            }
            self.from_inside.pop_front();
        }
        self.to_outside.run();
        self.flush_outside()
    }

    /// From the outside to the inside: read, plan, open, commit, write.
    fn inbound(&mut self, now: Now) -> Result<(), Stopped> {
        if self.from_outside.batch.is_empty() {
            received(self.outside.try_recv(&mut self.from_outside.batch)).map_err(Stopped::Outside)?;
        }
        self.plan_inbound(now);
        self.from_outside.run();
        self.commit_inbound(now);
        self.flush_inside()
    }

    fn plan_inbound(&mut self, now: Now) {
        let OpenWork { batch, jobs, .. } = &mut self.from_outside;
        for (number, slot) in batch.slots.iter_mut().enumerate() {
            let datagram = &mut batch.slab[slot.body.range()];
            self.traffic.outside_read.count(datagram.len());
            match self.core.plan_inbound(now, slot.from, datagram) {
                Inbound::Open(job) => jobs.push((job, number)),
                Inbound::Handled | Inbound::Drop(_) => slot.taken = true,
            }
        }
    }

    fn commit_inbound(&mut self, now: Now) {
        let OpenWork { batch, outcomes, .. } = &mut self.from_outside;
        for (number, outcome) in outcomes.drain(..) {
            let slot = &mut batch.slots[number];
            slot.taken = true;
            let Some(opened) = outcome else {
                self.drops.count(DropReason::Forged);
                continue;
            };
            let datagram = &mut batch.slab[slot.body.range()];
            let Delivery::Packet(range) = self.core.commit_inbound(now, opened, datagram) else { continue };
            let Some(packet) = datagram.get_mut(range.clone()) else { continue };
            if ecn::decapsulate(slot.ecn, packet).is_err() {
                self.drops.count(DropReason::BadEcn);
                continue;
            }
            self.traffic.inside_written.count(packet.len());
            slot.body.narrow(range);
            slot.taken = false;
        }
        batch.settle();
    }

    /// Does what the core wants done, until it wants to wait, or there is no room for what it wants to send.
    fn drain(&mut self, now: Now) {
        loop {
            let output = self.held.take().unwrap_or_else(|| self.core.poll_output(now));
            let room = self.to_outside.arena.room();
            match output {
                Output::Timeout(at, why) => {
                    self.deadline = at.map(|at| (at, why));
                    break;
                }
                Output::Event(event) => {
                    if self.events.try_send(event).is_err() {
                        self.events_lost += 1;
                    }
                }
                Output::Transmit { to, datagram, tos } => {
                    if let Err(Full) = self.to_outside.arena.push(to, tos, &datagram) {
                        self.held = Some(Output::Transmit { to, datagram, tos });
                        break;
                    }
                }
                Output::Seal { job, to, packet } => {
                    if job.wire_len(packet.len()) > room && !self.to_outside.arena.is_empty() {
                        self.held = Some(Output::Seal { job, to, packet });
                        break;
                    }
                    lay_out(&mut self.to_outside, job, to, IpPacket::parse(&packet).as_ref());
                }
            }
        }
        if self.to_outside.has_jobs() {
            self.to_outside.run();
        }
    }

    fn flush_outside(&mut self) -> Result<(), Stopped> {
        let arena = &mut self.to_outside.arena;
        if !arena.is_empty() {
            let sent = received(self.outside.try_send(arena));
            self.drops.merge(&arena.take_drops());
            sent.map_err(Stopped::Outside)?;
        }
        Ok(())
    }

    fn flush_inside(&mut self) -> Result<(), Stopped> {
        let batch = &mut self.from_outside.batch;
        if !batch.is_empty() {
            let sent = received(self.inside.try_send(batch));
            self.drops.merge(&batch.take_drops());
            sent.map_err(Stopped::Inside)?;
        }
        Ok(())
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

    fn status(&self, now: Now) -> Status {
        let mut drops = self.core.drops().clone();
        drops.merge(&self.drops);
        Status {
            drops,
            traffic: self.traffic,
            offloads: self.inside.offloads().or(self.outside.offloads()),
            mtu: self.mtu,
            overhead: self.core.overhead() + self.outside.overhead(),
            deadline: self.deadline.map(|(at, why)| (at.saturating_duration_since(now.instant), why)),
            events_lost: self.events_lost,
        }
    }
}

/// Reserves room for a datagram and lays it out there. One for which there can be no room is dropped and counted.
fn lay_out<S: Seal>(work: &mut SealWork<S>, job: S, to: Path, packet: Option<&IpPacket<'_>>) {
    let len = job.wire_len(packet.map_or(0, IpPacket::len));
    // The outer mark is the inner one; the services bits are not copied (reference W-94).
    let tos = packet.map_or(0, |p| p.ecn() as u8);
    let Some(range) = work.arena.reserve_or_count(to, tos, len) else { return };
    job.lay_out(packet, &mut work.arena.slab_mut()[range.clone()]);
    work.push(job, range);
}

/// Nothing to receive, or no room to send, is not an error here.
fn received(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

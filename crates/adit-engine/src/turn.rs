//! What one turn of the conductor does to packets: read, plan, and hand to the crypto; take back, commit, and write.
//!
//! Not here: when a turn is taken, and for which side (`conductor`).

use std::io;
use std::net::Ipv4Addr;

use adit_protocol::{
    Admission, Delivery, DropReason, Ecn, Inbound, IpPacket, Now, Outbound, Output, Path, Protocol, Seal,
};

use crate::conductor::Conductor;
use crate::work::{OpenWork, SealWork};
use crate::{DatagramIo, Full, PacketIo, Stopped, ecn};

/// Room that a datagram is given before its length is known, beyond the packet and what the core says it adds.
const MARGIN: usize = 64;

impl<P: Protocol, I: PacketIo, O: DatagramIo> Conductor<P, I, O> {
    /// From the inside to the crypto.
    pub(super) fn outbound(&mut self, now: Now) -> Result<(), Stopped> {
        if self.from_inside.is_empty() {
            unless_blocked(self.inside.try_recv(&mut self.from_inside)).map_err(Stopped::Inside)?;
            self.drops.merge(&self.from_inside.take_drops());
        }
        self.plan_outbound(now)
    }

    /// Plans the packets from the inside that fit into one arena, and lays them out there.
    pub(super) fn plan_outbound(&mut self, now: Now) -> Result<(), Stopped> {
        let Some(mut work) = self.outwards.free.pop() else { return Ok(()) };
        let overhead = self.core.overhead() + MARGIN;
        while let Some(slot) = self.from_inside.slots.get(self.from_inside.cursor()) {
            let Some(packet) = self.from_inside.packet(slot) else {
                self.drops.count(DropReason::NotIp);
                self.from_inside.pop_front();
                continue;
            };
            if work.arena.room() < packet.len() + overhead && !work.arena.is_empty() {
                break;
            }
            self.traffic.inside_read.count(packet.len());
            match self.core.plan_outbound(now, &packet) {
                Outbound::Seal { job, to } => lay_out(&mut work, job, to, Some(&packet)),
                Outbound::Staged | Outbound::Drop(_) => {}
            }
            self.from_inside.pop_front();
        }
        self.submit_outwards(work)
    }

    fn submit_outwards(&mut self, mut work: SealWork<P::Seal>) -> Result<(), Stopped> {
        self.drops.merge(&work.arena.take_drops());
        if work.arena.is_empty() {
            self.outwards.free.push(work);
            return Ok(());
        }
        Ok(self.outwards.crypto.submit(work)?)
    }

    /// From the outside to the crypto.
    pub(super) fn inbound(&mut self, now: Now) -> Result<(), Stopped> {
        let Some(mut work) = self.inwards.free.pop() else { return Ok(()) };
        unless_blocked(self.outside.try_recv(&mut work.batch)).map_err(Stopped::Outside)?;
        let OpenWork { batch, jobs, .. } = &mut work;
        for (number, slot) in batch.slots.iter_mut().enumerate() {
            let datagram = &mut batch.slab[slot.body.range()];
            self.traffic.outside_read.count(datagram.len());
            match self.core.plan_inbound(now, slot.from, datagram) {
                Inbound::Open(job) => jobs.push((job, number)),
                Inbound::Handled | Inbound::Drop(_) => slot.taken = true,
            }
        }
        batch.settle();
        self.drops.merge(&batch.take_drops());
        if work.batch.is_empty() {
            self.inwards.free.push(work);
            return Ok(());
        }
        Ok(self.inwards.crypto.submit(work)?)
    }

    /// From the crypto towards the inside.
    pub(super) fn commit(&mut self, now: Now, mut work: OpenWork<P::Open>) {
        let OpenWork { batch, outcomes, .. } = &mut work;
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
            // Whatever a core delivers is a packet.
            let admission = IpPacket::parse(packet).map(|packet| self.core.admit_inbound(now, &packet));
            if let Some(Admission::Kept | Admission::Drop(_)) = admission {
                continue;
            }
            self.traffic.inside_written.count(packet.len());
            slot.body.narrow(range);
            slot.taken = false;
        }
        batch.settle();
        self.inwards.ready.push_back(work);
    }

    /// From what the core has kept towards the inside, as far as there is room.
    fn enter_kept(&mut self, now: Now) -> Result<(), Stopped> {
        let Some(work) = self.inwards.free.last_mut() else { return Ok(()) };
        let nowhere = Path::to((Ipv4Addr::UNSPECIFIED, 0).into());
        while work.batch.has_room()
            && let Some(packet) = self.core.poll_inside(now)
        {
            self.traffic.inside_written.count(packet.len());
            if work.batch.push(nowhere, Ecn::NotEct, packet).is_err() {
                self.drops.count(DropReason::InsideFull);
            }
        }
        if work.batch.is_empty() {
            return Ok(());
        }
        self.inwards.ready.extend(self.inwards.free.pop());
        self.flush_inside()
    }

    /// Does what the core wants done, until it wants to wait, or there is no room for what it wants to send.
    pub(super) fn drain(&mut self, now: Now) -> Result<(), Stopped> {
        self.enter_kept(now)?;
        let mut filling: Option<SealWork<P::Seal>> = None;
        loop {
            let output = self.held.take().unwrap_or_else(|| self.core.poll_output(now));
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
                sending @ (Output::Transmit { .. } | Output::Seal { .. }) => {
                    let Some(mut work) = filling.take().or_else(|| self.outwards.free.pop()) else {
                        self.held = Some(sending);
                        break;
                    };
                    self.held = put(&mut work, sending);
                    filling = Some(work);
                    if self.held.is_some() {
                        break;
                    }
                }
            }
        }
        filling.map_or(Ok(()), |work| self.submit_outwards(work))
    }

    pub(super) fn flush_outside(&mut self) -> Result<(), Stopped> {
        while let Some(work) = self.outwards.ready.front_mut() {
            let sent = unless_blocked(self.outside.try_send(&mut work.arena));
            self.drops.merge(&work.arena.take_drops());
            sent.map_err(Stopped::Outside)?;
            if !work.arena.is_empty() {
                break;
            }
            self.outwards.free.extend(self.outwards.ready.pop_front());
        }
        Ok(())
    }

    pub(super) fn flush_inside(&mut self) -> Result<(), Stopped> {
        while let Some(work) = self.inwards.ready.front_mut() {
            if !work.batch.is_empty() {
                let written = unless_blocked(self.inside.try_send(&mut work.batch));
                self.drops.merge(&work.batch.take_drops());
                written.map_err(Stopped::Inside)?;
            }
            if !work.batch.is_empty() {
                break;
            }
            self.inwards.free.extend(self.inwards.ready.pop_front());
        }
        Ok(())
    }
}

/// Puts what a core wants sent into the arena. Gives it back if there is no room now.
fn put<P: Protocol>(work: &mut SealWork<P::Seal>, output: Output<P>) -> Option<Output<P>> {
    match output {
        Output::Transmit { to, datagram, tos } => {
            let Err(Full) = work.arena.push(to, tos, &datagram) else { return None };
            Some(Output::Transmit { to, datagram, tos })
        }
        Output::Seal { job, to, packet } => {
            if job.wire_len(packet.len()) > work.arena.room() && !work.arena.is_empty() {
                return Some(Output::Seal { job, to, packet });
            }
            lay_out(work, job, to, IpPacket::parse(&packet).as_ref());
            None
        }
        Output::Event(_) | Output::Timeout(..) => None,
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
fn unless_blocked(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

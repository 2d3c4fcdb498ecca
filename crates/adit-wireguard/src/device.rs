//! All peers of one interface: dispatch of messages, cryptokey routing, the agenda.
//!
//! Not here: reading handshakes (`exchange`), reconfiguration and status (`configure`).

use std::sync::Arc;
use std::time::Instant;

use adit_protocol::aead::TAG_LEN;
use adit_protocol::{
    Delivery, DropReason, Drops, Inbound, IpPacket, Now, Outbound, Output, Path, PrefixTable, Protocol, Why,
};

use crate::constants::DATA_HEADER;
use crate::gate::Gate;
use crate::index::Slot;
use crate::message::{Data, Message};
use crate::peers::Peers;
use crate::session::{OpenJob, Opened, SealJob};
use crate::shared::{Queued, Shared};
use crate::{DeviceChange, Event};

/// A WireGuard interface: its key, its peers, their sessions.
#[derive(Debug)]
pub struct Device {
    pub(crate) shared: Shared,
    pub(crate) peers: Peers,
    /// Which peer owns which network (§2).
    pub(crate) routes: PrefixTable<Slot>,
    pub(crate) gate: Gate,
    /// Deadlines up to here are to be acted on.
    due: Instant,
}

impl Device {
    /// A device without key or peers, up, whose every random choice follows from `seed`.
    pub fn new(seed: [u8; 32], now: Now) -> Self {
        Self {
            shared: Shared::new(seed),
            peers: Peers::default(),
            routes: PrefixTable::new(),
            gate: Gate::new(),
            due: now.instant,
        }
    }

    /// The inside MTU: padding does not go beyond it (§5.4.6). Default 1420.
    pub const fn set_mtu(&mut self, mtu: usize) {
        self.shared.mtu = mtu;
    }

    /// Mixes fresh randomness into the device's own: to be called now and then, and when the machine, or a copy of it,
    /// resumes. What was there before stays in, so that a bad seed makes nothing worse.
    pub fn reseed(&mut self, seed: &[u8; 32]) {
        self.shared.reseed(seed);
    }

    /// Takes the device down (it forgets sessions, sends and accepts nothing) or up (persistent keepalives at once).
    /// Peers keep their counters and timestamps.
    pub fn set_up(&mut self, now: Now, up: bool) {
        if std::mem::replace(&mut self.shared.up, up) == up {
            return;
        }
        for peer in self.peers.iter_mut() {
            if up {
                peer.start_persistent(now, &mut self.shared);
            } else {
                peer.wipe(&mut self.shared);
                peer.unstage(None, &mut self.shared);
                peer.handshake_sent = None;
                self.shared.agenda.remove(peer.slot, &mut peer.timers);
                peer.timers.clear_all();
                self.shared.forget(peer.slot);
            }
        }
        self.due = now.instant;
    }

    /// Forgets which of our addresses each peer is answered from, for the routing table may have changed.
    pub fn forget_sources(&mut self) {
        for peer in self.peers.iter_mut() {
            peer.forget_source();
        }
    }

    /// Calls every peer whose endpoint is known: with a handshake, which is answered at once if the way to it works, and
    /// tells it by which way we are to be reached. Sessions go on meanwhile.
    pub fn call_peers(&mut self, now: Now) {
        if self.shared.up {
            for peer in self.peers.iter_mut().filter(|peer| peer.endpoint.is_some()) {
                peer.call(now, &mut self.shared);
            }
        }
    }

    /// Says whether handshakes must prove their source address (§5.3); `None` leaves it to the device's own measure.
    pub fn set_under_load(&mut self, under_load: Option<bool>) {
        self.gate.force(under_load);
    }

    #[inline]
    fn plan_outbound_inner(&mut self, now: Now, packet: &IpPacket<'_>) -> Result<Outbound<SealJob>, DropReason> {
        let slot = *self.routes.lookup(packet.destination()).ok_or(DropReason::NoRoute)?;
        let peer = self.peers.at_mut(slot).filter(|_| self.shared.up).ok_or(DropReason::NoRoute)?;
        let to = peer.endpoint.ok_or(DropReason::NoEndpoint)?;
        if !peer.must_queue()
            && let Some(job) = peer.seal(now, packet.len(), &mut self.shared)
        {
            return Ok(Outbound::Seal { job, to });
        }
        peer.keep(now, packet, &mut self.shared);
        Ok(Outbound::Staged)
    }

    #[inline]
    fn plan_inbound_inner(&mut self, now: Now, from: Path, datagram: &[u8]) -> Result<Inbound<OpenJob>, DropReason> {
        let message = Message::parse(datagram).ok_or(DropReason::NotAMessage)?;
        if !self.shared.up {
            return Err(DropReason::UnknownSession);
        }
        match message {
            Message::Data(data) => self.plan_data(now, from, data).map(Inbound::Open),
            Message::Initiation(message) => self.handle_initiation(now, from, &message),
            Message::Response(message) => self.handle_response(now, from, &message),
            Message::CookieReply(message) => self.handle_cookie_reply(now, &message),
        }
    }

    #[inline]
    fn plan_data(&mut self, now: Now, from: Path, data: Data) -> Result<OpenJob, DropReason> {
        let slot = self.shared.index.peer(data.receiver).ok_or(DropReason::UnknownSession)?;
        let session = self.peers.at_mut(slot).and_then(|peer| peer.keyring.find(data.receiver));
        let session = session.ok_or(DropReason::UnknownSession)?;
        if !session.may_receive(now.instant, data.counter) {
            return Err(DropReason::ExpiredSession);
        }
        Ok(OpenJob::new(Arc::clone(&session.keys), data.counter, slot, from))
    }

    #[inline]
    fn commit_inner(&mut self, now: Now, opened: &Opened, datagram: &[u8]) -> Result<Delivery, DropReason> {
        let shared = &mut self.shared;
        let local = opened.keys.local;
        let slot = opened.slot;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownSession)?;
        let session = peer.keyring.find(local).filter(|session| Arc::ptr_eq(&session.keys, &opened.keys));
        if !session.ok_or(DropReason::UnknownSession)?.replay.accept(opened.counter) {
            return Err(DropReason::Replayed);
        }
        peer.rx_bytes += datagram.len() as u64;
        peer.follow(opened.from, shared);
        if let Some(gone) = peer.keyring.confirm(local) {
            shared.release(gone);
            peer.handshake_completed(now, shared);
            peer.flush(now, shared);
        }
        if !peer.asked_on_receive && peer.keyring.is_due_after_receiving(now.instant) {
            peer.asked_on_receive = true;
            peer.want_session(now, shared);
        }
        peer.timers.received(now.instant, peer.persistent);
        let end = datagram.len().saturating_sub(TAG_LEN);
        let plain = datagram.get(DATA_HEADER..end).unwrap_or_default();
        if plain.is_empty() {
            shared.agenda.note(slot, &mut peer.timers);
            return Ok(Delivery::Nothing);
        }
        peer.timers.data_received(now.instant);
        shared.agenda.note(slot, &mut peer.timers);
        let packet = IpPacket::parse_padded(plain).ok_or(DropReason::BadInner)?;
        if self.routes.lookup(packet.source()) != Some(&slot) {
            return Err(DropReason::WrongSource);
        }
        Ok(Delivery::Packet(DATA_HEADER..DATA_HEADER + packet.len()))
    }

    /// The next of the packets that have waited for a session.
    fn next_ready(&mut self, now: Now) -> Option<Output<Self>> {
        while let Some(&slot) = self.shared.ready.front() {
            let peer = self.peers.at_mut(slot);
            if let Some((job, to, packet)) = peer.and_then(|peer| peer.pop_ready(now, &mut self.shared)) {
                return Some(Output::Seal { job, to, packet });
            }
            self.shared.ready.pop_front();
        }
        None
    }

    /// Acts on the first deadline if it has come (`None`), or tells it.
    fn next_deadline(&mut self, now: Now) -> Option<Output<Self>> {
        let Some((at, slot)) = self.shared.agenda.first() else { return Some(Output::Timeout(None, Why("idle"))) };
        let Some(peer) = self.peers.at_mut(slot) else {
            self.shared.agenda.strike(at, slot);
            return None;
        };
        match peer.timers.next() {
            Some((exact, _)) if exact <= self.due.min(now.instant) => peer.fire(now, &mut self.shared),
            Some((exact, timer)) if exact == at => return Some(Output::Timeout(Some(exact), timer.why())),
            _ => self.shared.agenda.settle(slot, &mut peer.timers),
        }
        None
    }

    #[inline]
    fn count<T>(&mut self, result: Result<T, DropReason>, dropped: impl FnOnce(DropReason) -> T) -> T {
        result.unwrap_or_else(|reason| {
            self.shared.drops.count(reason);
            dropped(reason)
        })
    }
}

impl Protocol for Device {
    type Seal = SealJob;
    type Open = OpenJob;
    type Change = DeviceChange;
    type Event = Event;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<SealJob> {
        let result = self.plan_outbound_inner(now, packet);
        self.count(result, Outbound::Drop)
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<OpenJob> {
        let result = self.plan_inbound_inner(now, from, datagram);
        self.count(result, Inbound::Drop)
    }

    fn commit_inbound(&mut self, now: Now, opened: Opened, datagram: &[u8]) -> Delivery {
        let result = self.commit_inner(now, &opened, datagram);
        self.count(result, Delivery::Drop)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.due = now.instant;
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        loop {
            match self.shared.pop() {
                Some(Queued::Transmit { to, datagram, tos, .. }) => return Output::Transmit { to, datagram, tos },
                Some(Queued::Keepalive { job, to, .. }) => return Output::Seal { job, to, packet: Vec::new() },
                Some(Queued::Event(event)) => return Output::Event(event),
                None => {}
            }
            if let Some(output) = self.next_ready(now).or_else(|| self.next_deadline(now)) {
                return output;
            }
        }
    }

    fn apply(&mut self, now: Now, change: DeviceChange) {
        self.change(now, change);
        self.due = now.instant;
    }

    fn drops(&self) -> Drops {
        self.shared.drops.clone()
    }

    fn overhead(&self) -> usize {
        DATA_HEADER + TAG_LEN
    }
}

#[cfg(test)]
mod tests;

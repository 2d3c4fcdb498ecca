//! The server as a core: plan, run, commit, poll.

use std::sync::Arc;
use std::time::Instant;

use adit_protocol::{
    Delivery, DropReason, Drops, Inbound, IpPacket, Now, Outbound, Output, Path, Protocol, Seal as _, Why,
};

use super::Server;
use super::event::{ServerChange, ServerEvent};
use super::peer::{Peer, Phase};
use crate::constants::{MAX_SEALS, OVERHEAD};
use crate::data::{Content, Cut, DataHeader, OpenJob, Opened, SealJob};
use crate::inner::Inner;
use crate::packet::First;
use crate::wrap::header;
use crate::wrap::tls_crypt_v2::split_wrapped;

impl Protocol for Server {
    type Seal = SealJob;
    type Open = OpenJob;
    type Change = ServerChange;
    type Event = ServerEvent;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<SealJob> {
        let sealed = match self.routes.lookup(packet.destination()).copied() {
            None => Err(DropReason::NoRoute),
            Some(number) => self.send(now, number, packet),
        };
        match sealed {
            Ok(Some((job, to))) => Outbound::Seal { job, to },
            Ok(None) => Outbound::Staged,
            Err(reason) => {
                self.drops.count(reason);
                Outbound::Drop(reason)
            }
        }
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<OpenJob> {
        match self.inbound(now, from, datagram) {
            Ok(Some(job)) => Inbound::Open(job),
            Ok(None) => Inbound::Handled,
            Err(reason) => {
                self.drops.count(reason);
                Inbound::Drop(reason)
            }
        }
    }

    fn commit_inbound(&mut self, now: Now, opened: Opened, datagram: &[u8]) -> Delivery {
        let delivery = self.deliver(now, opened, datagram);
        if let Delivery::Drop(reason) = delivery {
            self.drops.count(reason);
        }
        delivery
    }

    fn poll_inside(&mut self, _now: Now) -> Option<&[u8]> {
        self.entering.next()
    }

    fn handle_timeout(&mut self, now: Now) {
        while let Some((at, number)) = self.agenda.first().copied() {
            if at > now.instant {
                return;
            }
            self.agenda.pop_first();
            if let Some(peer) = self.peer(number) {
                peer.agenda = None;
                self.look_at(now, number);
            }
        }
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        if let Some((to, datagram)) = self.answers.pop_front() {
            return Output::Transmit { to, datagram, tos: 0 };
        }
        if let Some((job, to, packet)) = self.seals.pop_front() {
            return Output::Seal { job, to, packet };
        }
        while let Some(number) = self.touched.front().copied() {
            if let Some(peer) = self.peer(number)
                && let Some(datagram) = peer.session.poll_transmit(now.instant)
            {
                return Output::Transmit { to: peer.path, datagram, tos: 0 };
            }
            self.touched.pop_front();
            self.schedule(now.instant, number);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        match self.agenda.first() {
            None => Output::Timeout(None, Why("nobody is here")),
            Some((at, _)) => Output::Timeout(Some(*at), Why("a client")),
        }
    }

    fn apply(&mut self, now: Now, change: ServerChange) {
        match change {
            ServerChange::Answer(client, answer) => self.answer(now, client, answer),
            ServerChange::Dismiss(client, message) => {
                if self.named(client).is_some() {
                    self.dismiss(now, client.number, &message);
                }
            }
            ServerChange::Forget(client, why) => {
                if self.named(client).is_some() {
                    self.remove(client.number, why);
                }
            }
            ServerChange::Update(client, updates) => self.update(client, &updates),
            ServerChange::Renegotiate(client) => {
                if self.named(client).is_some() {
                    self.renegotiate(now, client.number);
                }
            }
            ServerChange::Say(client, text) => {
                if let Some(peer) = self.named(client) {
                    peer.session.send(&text);
                    self.touch(client.number);
                }
            }
            ServerChange::RefuseKeys(names) => {
                self.config.refused_keys = names;
                for number in 0..self.peers.len() as u32 {
                    let key = self.peer(number).and_then(|peer| peer.own_key.as_ref()).map(|(name, _)| *name);
                    if key.is_some_and(|name| self.config.refused_keys.contains(&name)) {
                        self.dismiss(now, number, "AUTH_FAILED,the key is refused");
                    }
                }
            }
            ServerChange::Revoke(revoked) => self.revoke(now, *revoked),
            ServerChange::Shutdown => {
                for number in 0..self.peers.len() as u32 {
                    self.dismiss(now, number, "RESTART");
                }
            }
        }
    }

    fn drops(&self) -> Drops {
        self.drops.clone()
    }

    fn overhead(&self) -> usize {
        OVERHEAD
    }
}

impl Server {
    fn inbound(&mut self, now: Now, from: Path, datagram: &[u8]) -> Result<Option<OpenJob>, DropReason> {
        let first = datagram.first().and_then(|byte| First::parse(*byte)).ok_or(DropReason::NotAMessage)?;
        if self.config.only_v4 && from.remote.is_ipv6() {
            return Err(DropReason::NotAMessage);
        }
        if let Some(header) = DataHeader::parse(first, datagram) {
            let number = header.peer_id.or_else(|| self.addresses.get(&from.remote).copied());
            let is_stream = self.config.stream;
            // A stream is its client's for good: nobody wanders from one to another, and leaves them open behind.
            let is_here = |peer: &&mut Peer| peer.phase == Phase::Up && (!is_stream || peer.path.remote == from.remote);
            let peer = number.and_then(|number| self.peer(number)).filter(is_here);
            let keys =
                peer.and_then(|peer| peer.session.opening(&header, datagram)).ok_or(DropReason::UnknownSession)?;
            let keys = Arc::clone(keys);
            return Ok(Some(OpenJob { keys, header, session: number.unwrap_or(0), from }));
        }
        let (first, name, _) = header(datagram).ok_or(DropReason::NotAMessage)?;
        let Some(number) = self.sessions.get(&(from.remote, name)).copied() else {
            return self.handle_stranger(now, from, datagram).map(|()| None);
        };
        // The key is known already; it is not looked at again.
        let with_key = first.opcode.has_wrapped_key();
        let packet = if with_key { split_wrapped(datagram).ok_or(DropReason::NotAMessage)?.0 } else { datagram };
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut) else {
            return Err(DropReason::UnknownSession);
        };
        peer.session.handle_control(&self.ground, &self.credentials, &mut self.rng, now, packet)?;
        peer.last_heard = now.instant;
        self.advance(now, number);
        Ok(None)
    }

    fn deliver(&mut self, now: Now, opened: Opened, datagram: &[u8]) -> Delivery {
        let number = opened.session;
        let Some(peer) = self.peer(number) else { return Delivery::Drop(DropReason::UnknownSession) };
        if !peer.session.accept(&opened.keys, opened.number) {
            return Delivery::Drop(DropReason::Replayed);
        }
        peer.last_heard = now.instant;
        peer.carried.received += datagram.len() as u64;
        if peer.path != opened.from {
            self.follow(number, opened.from);
        }
        let Some(peer) = self.peer(number) else { return Delivery::Drop(DropReason::UnknownSession) };
        match Inner::of(now.instant, &opened, datagram, &mut peer.fragments) {
            Inner::Packet(range) => {
                let packet = datagram.get(range.clone()).unwrap_or_default();
                match self.whither(number, packet) {
                    Ok(None) => Delivery::Packet(range),
                    Ok(Some(other)) => self.pass_on(now, other, packet.to_vec()),
                    Err(reason) => Delivery::Drop(reason),
                }
            }
            Inner::Whole(packet) => match self.whither(number, &packet) {
                Ok(None) => self.entering.push(packet).map_or_else(Delivery::Drop, |()| Delivery::Nothing),
                Ok(Some(other)) => self.pass_on(now, other, packet),
                Err(reason) => Delivery::Drop(reason),
            },
            Inner::Bad => Delivery::Drop(DropReason::BadInner),
            Inner::Exit => {
                self.remove(number, "it said goodbye".to_owned());
                Delivery::Nothing
            }
            Inner::Nothing => Delivery::Nothing,
        }
    }

    /// Where a packet of this client goes, if it comes from an address of its own: to another client, or (`None`) inside.
    fn whither(&self, number: u32, packet: &[u8]) -> Result<Option<u32>, DropReason> {
        let packet = IpPacket::parse(packet).ok_or(DropReason::WrongSource)?;
        if self.routes.lookup(packet.source()) != Some(&number) {
            return Err(DropReason::WrongSource);
        }
        match self.routes.lookup(packet.destination()).copied() {
            None => Ok(None),
            Some(other) if self.config.client_to_client && other != number => Ok(Some(other)),
            Some(_) if self.config.meet_inside && !self.config.client_to_client => Ok(None),
            Some(_) => Err(DropReason::Apart),
        }
    }

    /// From one client to another.
    fn pass_on(&mut self, now: Now, to: u32, packet: Vec<u8>) -> Delivery {
        let Some(view) = IpPacket::parse(&packet) else { return Delivery::Drop(DropReason::BadInner) };
        if self.seals.len() >= MAX_SEALS {
            return Delivery::Drop(DropReason::StagingFull);
        }
        match self.send(now, to, &view) {
            Ok(Some((job, path))) => self.seals.push_back((job, path, packet)),
            // In pieces, which are among `seals` now.
            Ok(None) => {}
            Err(reason) => return Delivery::Drop(reason),
        }
        Delivery::Nothing
    }

    /// Work for a packet, or `None` where its pieces are among `seals` now.
    fn send(&mut self, now: Now, number: u32, packet: &IpPacket<'_>) -> Result<Option<(SealJob, Path)>, DropReason> {
        let peer = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut).ok_or(DropReason::NoRoute)?;
        match peer.session.cut(&self.ground.times, now.instant, packet, &mut peer.fragments)? {
            Cut::Whole => {
                self.seal(now, number, Content::Packet, packet.len()).map(Some).ok_or(DropReason::ExpiredSession)
            }
            Cut::Pieces(pieces) if self.seals.len() + pieces.len() > MAX_SEALS => Err(DropReason::StagingFull),
            Cut::Pieces(pieces) => {
                for piece in pieces {
                    let work = self.seal(now, number, Content::Piece(piece), 0).ok_or(DropReason::ExpiredSession)?;
                    self.seals.push_back((work.0, work.1, Vec::new()));
                }
                Ok(None)
            }
        }
    }

    /// An authentic packet came from somewhere else: so do we send there, unless somebody else is there.
    fn follow(&mut self, number: u32, to: Path) {
        let client = self.id(number);
        if self.addresses.get(&to.remote).is_some_and(|other| *other != number) {
            return;
        }
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut) else { return };
        let from = std::mem::replace(&mut peer.path, to);
        if from.remote == to.remote {
            return;
        }
        self.sessions.remove(&(from.remote, peer.name));
        self.sessions.insert((to.remote, peer.name), number);
        if self.addresses.get(&from.remote) == Some(&number) {
            self.addresses.remove(&from.remote);
        }
        self.addresses.insert(to.remote, number);
        // Where it is now counts; one that goes to and fro fills nothing.
        self.events.retain(|event| !matches!(event, ServerEvent::Moved(who, _) if *who == client));
        self.events.push_back(ServerEvent::Moved(client, to));
    }

    fn seal(&mut self, now: Now, number: u32, content: Content, len: usize) -> Option<(SealJob, Path)> {
        let peer = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut)?;
        let (job, worn) = peer.session.seal(&self.ground.times, &mut self.rng, now.instant, content, len)?;
        peer.last_sent = now.instant;
        peer.carried.sent += job.wire_len(len) as u64;
        let path = peer.path;
        if worn {
            self.renegotiate(now, number);
        }
        Some((job, path))
    }

    fn renegotiate(&mut self, now: Now, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut) else { return };
        peer.session.renegotiate(&self.ground, &self.credentials, &mut self.rng, now);
        self.touch(number);
    }

    /// What is due for one client happens.
    fn look_at(&mut self, now: Now, number: u32) {
        self.touch(number);
        let (times, keepalive) = (self.ground.times, self.config.keepalive);
        let Some(peer) = self.peer(number) else { return };
        if let Phase::Leaving(at) = peer.phase {
            if at <= now.instant {
                self.remove(number, "it was told to go".to_owned());
            }
            return;
        }
        let renew = peer.session.handle_timeout(&times, now.instant);
        if let Some(end) = peer.session.end().cloned() {
            return self.remove(number, end.to_string());
        }
        if let Some((_, restart)) = keepalive
            && peer.last_heard + 2 * restart <= now.instant
        {
            return self.remove(number, "nothing was heard of it".to_owned());
        }
        let ping = keepalive.is_some_and(|(ping, _)| peer.last_sent + ping <= now.instant) && peer.phase == Phase::Up;
        if ping {
            // Also where numbers are used up and nothing is sent: it is not tried again at once.
            peer.last_sent = now.instant;
        }
        if renew {
            self.renegotiate(now, number);
        }
        if ping && let Some((job, to)) = self.seal(now, number, Content::Ping, 0) {
            self.seals.push_back((job, to, Vec::new()));
        }
    }

    /// Notes when to look at a client next.
    fn schedule(&mut self, now: Instant, number: u32) {
        let (times, keepalive) = (self.ground.times, self.config.keepalive);
        let Some(peer) = self.peer(number) else { return };
        let (at, _) = peer.deadline(&times, keepalive, now);
        if let Some(before) = peer.agenda.replace(at) {
            self.agenda.remove(&(before, number));
        }
        self.agenda.insert((at, number));
    }
}

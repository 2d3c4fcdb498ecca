//! The client as a core: plan, run, commit, poll.

use std::time::Instant;

use adit_protocol::{Delivery, DropReason, Drops, Inbound, IpPacket, Now, Outbound, Output, Path, Protocol, Why};

use super::login::Login;
use super::{Client, ClientChange, ClientEvent, Connection, Ended, Phase, State};
use crate::constants::{MAX_SEALS, MAX_STAGED, OVERHEAD};
use crate::data::{Content, Cut, DataHeader, OpenJob, Opened, SealJob};
use crate::inner::Inner;
use crate::packet::First;

impl Protocol for Client {
    type Seal = SealJob;
    type Open = OpenJob;
    type Change = ClientChange;
    type Event = ClientEvent;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<SealJob> {
        if !self.is_up() {
            if self.staged.len() == MAX_STAGED {
                self.staged.pop_front();
                self.drops.count(DropReason::StagingFull);
            }
            let mut copy = vec![0; packet.len()];
            packet.copy_to(&mut copy);
            self.staged.push_back(copy);
            return Outbound::Staged;
        }
        match self.send(now, packet) {
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
        match &mut self.state {
            State::Stopped | State::Nowhere => {}
            State::Waiting(at) => {
                if *at <= now.instant {
                    self.connect(now);
                }
            }
            State::Connecting(connection) => {
                let renew = connection.session.handle_timeout(&self.ground.times, now.instant);
                if renew {
                    connection.session.renegotiate(&self.ground, self.login.shown(), &mut self.rng, now);
                }
                if let Some(end) = connection.session.end().cloned() {
                    return self.end(now, end.into());
                }
                if let Some(silence) = connection.ping_restart
                    && connection.last_heard + silence <= now.instant
                {
                    return self.end(now, Ended::Silent(silence.as_secs()));
                }
                let ping = connection.phase == Phase::Up && connection.ping_at().is_some_and(|at| at <= now.instant);
                if ping {
                    // Also where numbers are used up and nothing is sent: it is not tried again at once.
                    connection.last_sent = now.instant;
                }
                if ping && let Some((job, to)) = self.seal(now, Content::Ping, 0) {
                    self.seals.push_back((job, to, Vec::new()));
                }
            }
        }
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        self.ask(now);
        if let Some((to, datagram)) = self.farewells.pop_front() {
            return Output::Transmit { to, datagram, tos: 0 };
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if let Some((job, to, packet)) = self.seals.pop_front() {
            return Output::Seal { job, to, packet };
        }
        let (at, why) = match &mut self.state {
            State::Stopped => return Output::Timeout(None, Why("stopped")),
            State::Nowhere => return Output::Timeout(None, Why("no remote")),
            State::Waiting(at) => (*at, Why("connect-retry")),
            State::Connecting(connection) => {
                if let Some(datagram) = connection.session.poll_transmit(now.instant) {
                    return Output::Transmit { to: connection.path, datagram, tos: 0 };
                }
                connection.deadline(&self.ground.times, now.instant)
            }
        };
        Output::Timeout(Some(at), why)
    }

    fn apply(&mut self, now: Now, change: ClientChange) {
        match change {
            ClientChange::Credentials(credentials) => {
                self.login = Login::new(credentials);
                if matches!(self.state, State::Stopped) {
                    self.state = State::Waiting(now.instant);
                }
            }
            ClientChange::Renegotiate => {
                if let State::Connecting(connection) = &mut self.state {
                    connection.session.renegotiate(&self.ground, self.login.shown(), &mut self.rng, now);
                }
            }
            ClientChange::Reconnect => self.state = State::Waiting(now.instant),
            ClientChange::Disconnect => self.disconnect(now),
            ClientChange::Remotes(remotes) => self.set_remotes(now, remotes),
            ClientChange::CarrierLost(why) => {
                if matches!(self.state, State::Connecting(_)) {
                    self.end(now, Ended::Carrier(why));
                }
            }
            ClientChange::Say(text) => {
                if let State::Connecting(connection) = &mut self.state {
                    connection.session.send(&text);
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

impl Connection {
    fn ping_at(&self) -> Option<Instant> {
        Some(self.last_sent + self.ping?)
    }

    fn deadline(&self, times: &crate::session::Times, now: Instant) -> (Instant, Why) {
        let ask = match self.phase {
            Phase::Asking(at) => Some((at, Why("push request"))),
            Phase::Exchanging | Phase::Up => None,
        };
        let ping = self.ping_at().filter(|_| self.phase == Phase::Up).map(|at| (at, Why("ping")));
        let silence = self.ping_restart.map(|after| (self.last_heard + after, Why("ping-restart")));
        let session = self.session.deadline(times, now);
        let all = session.into_iter().chain(ask).chain(ping).chain(silence);
        all.min_by_key(|(at, _)| *at).unwrap_or((now + times.hand_window, Why("hand-window")))
    }
}

impl Client {
    fn inbound(&mut self, now: Now, from: Path, datagram: &[u8]) -> Result<Option<OpenJob>, DropReason> {
        let first = datagram.first().and_then(|byte| First::parse(*byte)).ok_or(DropReason::NotAMessage)?;
        let State::Connecting(connection) = &mut self.state else { return Err(DropReason::UnknownSession) };
        if let Some(header) = DataHeader::parse(first, datagram) {
            let keys = connection.session.opening(&header, datagram).ok_or(DropReason::UnknownSession)?;
            return Ok(Some(OpenJob { keys: std::sync::Arc::clone(keys), header, session: 0, from }));
        }
        if from.remote != connection.path.remote {
            return Err(DropReason::UnknownSession);
        }
        connection.session.handle_control(&self.ground, self.login.shown(), &mut self.rng, now, datagram)?;
        connection.last_heard = now.instant;
        connection.session.take_reset(connection.wrapped.wrapped_key.len());
        self.advance(now);
        Ok(None)
    }

    fn deliver(&mut self, now: Now, opened: Opened, datagram: &[u8]) -> Delivery {
        let State::Connecting(connection) = &mut self.state else {
            return Delivery::Drop(DropReason::UnknownSession);
        };
        if !connection.session.accept(&opened.keys, opened.number) {
            return Delivery::Drop(DropReason::Replayed);
        }
        connection.last_heard = now.instant;
        match Inner::of(now.instant, &opened, datagram, &mut connection.fragments) {
            Inner::Packet(range) => return Delivery::Packet(range),
            Inner::Whole(packet) => {
                return self.entering.push(packet).map_or_else(Delivery::Drop, |()| Delivery::Nothing);
            }
            Inner::Bad => return Delivery::Drop(DropReason::BadInner),
            Inner::Exit => self.end(now, Ended::Restart("it exits".to_owned())),
            Inner::Nothing => {}
        }
        Delivery::Nothing
    }

    /// Work for a packet, or `None` where its pieces are among `seals` now.
    fn send(&mut self, now: Now, packet: &IpPacket<'_>) -> Result<Option<(SealJob, Path)>, DropReason> {
        if self.blocks_ipv6 && packet.version() == 6 {
            return Err(DropReason::NoRoute);
        }
        let State::Connecting(connection) = &mut self.state else { return Err(DropReason::ExpiredSession) };
        match connection.session.cut(&self.ground.times, now.instant, packet, &mut connection.fragments)? {
            Cut::Whole => self.seal(now, Content::Packet, packet.len()).map(Some).ok_or(DropReason::ExpiredSession),
            Cut::Pieces(pieces) if self.seals.len() + pieces.len() > MAX_SEALS => Err(DropReason::StagingFull),
            Cut::Pieces(pieces) => {
                for piece in pieces {
                    let (job, to) = self.seal(now, Content::Piece(piece), 0).ok_or(DropReason::ExpiredSession)?;
                    self.seals.push_back((job, to, Vec::new()));
                }
                Ok(None)
            }
        }
    }

    /// Work for the next packet.
    fn seal(&mut self, now: Now, content: Content, len: usize) -> Option<(SealJob, Path)> {
        let State::Connecting(connection) = &mut self.state else { return None };
        let (job, worn) = connection.session.seal(&self.ground.times, &mut self.rng, now.instant, content, len)?;
        if worn {
            connection.session.renegotiate(&self.ground, self.login.shown(), &mut self.rng, now);
        }
        connection.last_sent = now.instant;
        Some((job, connection.path))
    }

    /// Packets that waited for keys leave.
    pub(super) fn release(&mut self, now: Now) {
        while let Some(packet) = self.staged.pop_front() {
            let sent = IpPacket::parse(&packet).map_or(Ok(None), |parsed| self.send(now, &parsed));
            match sent {
                Ok(Some((job, to))) => self.seals.push_back((job, to, packet)),
                Ok(None) => {}
                Err(reason) => self.drops.count(reason),
            }
        }
    }

    /// Says goodbye, by the channel that the server listens to.
    fn disconnect(&mut self, now: Now) {
        if let State::Connecting(connection) = &mut self.state
            && connection.phase == Phase::Up
        {
            if connection.control_exit {
                connection.session.send("EXIT");
                self.farewell(now);
                self.end(now, Ended::Asked);
            } else {
                let exit = self.seal(now, Content::Exit, 0);
                self.end(now, Ended::Asked);
                self.seals.extend(exit.map(|(job, to)| (job, to, Vec::new())));
            }
            return;
        }
        self.end(now, Ended::Asked);
    }
}

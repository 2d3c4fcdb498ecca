//! Strangers: a reset is answered without keeping anything; whoever shows the answer's cookie gets a session.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_protocol::{DropReason, Now, Path};
use arrayvec::ArrayVec;

use super::peer::{Can, Identity, Peer, Phase};
use super::{Carried, ClientSettings, Server};
use crate::Role;
use crate::constants::{MAX_ANSWERED, MAX_HALF_OPEN, OF_ONE_KEY, REPEATS, RESETS, RESETS_EVERY, SPARED};
use crate::data::Fragments;
use crate::key_file::{StaticKey, wrapped_name};
use crate::packet::{Body, First, Opcode, SessionId};
use crate::session::{Session, Wrapping};
use crate::wrap::replay::{ReplayCounter, ReplayId};
use crate::wrap::tls_crypt_v2::{Metadata, split_wrapped};
use crate::wrap::{Envelope, Unwrapped, header};

/// How many resets may be answered: so many at once, and as many again in [`RESETS_EVERY`].
pub(super) struct Budget {
    left: u32,
    since: Instant,
    /// Sessions whose resets were answered, when, and the names of the keys that were their own.
    answered: VecDeque<(Instant, SessionId, Option<[u8; 32]>)>,
}

impl Budget {
    pub(super) const fn new(since: Instant) -> Self {
        Self { left: RESETS, since, answered: VecDeque::new() }
    }

    /// Whether the reset of this session may be answered: there is something left, and it was not answered all too often.
    fn may_answer(&mut self, now: Instant, session: SessionId) -> bool {
        while self.answered.front().is_some_and(|(at, ..)| now >= *at + RESETS_EVERY) {
            self.answered.pop_front();
        }
        self.earn(now) && self.answered.iter().filter(|(_, answered, _)| *answered == session).count() < REPEATS
    }

    /// Whether one more under this key may be answered: the names of sessions are the sender's to choose, keys are not.
    fn may_answer_key(&self, name: &[u8; 32]) -> bool {
        self.answered.iter().filter(|(.., key)| key.as_ref() == Some(name)).count() < OF_ONE_KEY
    }

    /// It is answered.
    fn note(&mut self, now: Instant, session: SessionId, key: Option<[u8; 32]>) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((now, session, key));
    }

    /// Whether there is any left.
    fn earn(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let one = RESETS_EVERY / RESETS;
        let earned = u32::try_from(passed.as_nanos() / one.as_nanos()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(RESETS);
            // What is not yet a whole one stays.
            self.since += one * earned;
        }
        self.left > 0
    }

    fn spend(&mut self, now: Instant) -> bool {
        let may = self.earn(now);
        self.left = self.left.saturating_sub(1);
        may
    }

    /// A handshake came of it.
    pub(super) fn give_back(&mut self) {
        self.left = (self.left + 1).min(RESETS);
    }
}

/// A stranger's packet out of its envelope, and the envelope.
struct Stranger {
    unwrapped: Unwrapped,
    envelope: Arc<Envelope>,
    static_key: Option<StaticKey>,
    /// The name of its own key, and what was written into that.
    own_key: Option<([u8; 32], Metadata)>,
}

/// A client's own key, out of the wrapping that it came in.
pub(super) struct Own {
    envelope: Arc<Envelope>,
    key: StaticKey,
    name: [u8; 32],
    metadata: Metadata,
}

impl Own {
    /// A packet under it.
    fn open(self, packet: &[u8]) -> Result<Stranger, DropReason> {
        let unwrapped = self.envelope.unwrap(packet).ok_or(DropReason::BadMac)?;
        let Self { envelope, key, name, metadata } = self;
        Ok(Stranger { unwrapped, envelope, static_key: Some(key), own_key: Some((name, metadata)) })
    }
}

impl Stranger {
    fn own(&self) -> Option<Own> {
        let (name, metadata) = self.own_key.clone()?;
        let key = self.static_key.as_ref()?.duplicate();
        Some(Own { envelope: Arc::clone(&self.envelope), key, name, metadata })
    }
}

/// Asks a client to send its wrapped key again: type 1, two bytes of flags, bit 0.
const SEND_KEY_AGAIN: [u8; 6] = [0, 1, 0, 2, 0, 1];

impl Server {
    /// A control packet that belongs to no session.
    pub(super) fn handle_stranger(&mut self, now: Now, from: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let (first, session, _) = header(datagram).ok_or(DropReason::NotAMessage)?;
        let is_reset = matches!(first.opcode, Opcode::HardResetClientV2 | Opcode::HardResetClientV3);
        // Whom we would not answer anyway costs no MAC.
        if is_reset && !self.budget.may_answer(now.instant, session) {
            return Err(DropReason::RateLimited);
        }
        let stranger = self.open_stranger(now, from, datagram)?;
        let body =
            Body::parse(stranger.unwrapped.first.opcode, &stranger.unwrapped.body).ok_or(DropReason::NotAMessage)?;
        if stranger.unwrapped.first.key_id != 0 {
            return Err(DropReason::UnknownSession);
        }
        match stranger.unwrapped.first.opcode {
            Opcode::HardResetClientV2 | Opcode::HardResetClientV3 => self.answer_reset(now, from, &stranger, &body),
            Opcode::Control | Opcode::ControlWkc | Opcode::Ack => self.admit(now, from, &stranger, &body),
            Opcode::SoftReset | Opcode::HardResetServerV2 | Opcode::DataV1 | Opcode::DataV2 => {
                Err(DropReason::UnknownSession)
            }
        }
    }

    fn open_stranger(&self, now: Now, from: Path, datagram: &[u8]) -> Result<Stranger, DropReason> {
        let first = datagram.first().and_then(|byte| First::parse(*byte)).ok_or(DropReason::NotAMessage)?;
        if first.opcode.has_wrapped_key() {
            let unwrapper = self.envelopes.clients.as_ref().ok_or(DropReason::BadMac)?;
            let (packet, wrapped) = split_wrapped(datagram).ok_or(DropReason::NotAMessage)?;
            let (key, metadata) = unwrapper.open(wrapped).ok_or(DropReason::BadMac)?;
            let name = wrapped_name(wrapped);
            if !self.config.accepts_key(now.unix, &name, &metadata) {
                return Err(DropReason::BadHandshake);
            }
            let envelope = Arc::new(Envelope::tls_crypt(&key, Role::Server));
            return Own { envelope, key, name, metadata }.open(packet);
        }
        let session = header(datagram).map(|(_, session, _)| session).ok_or(DropReason::NotAMessage)?;
        if let Some(own) = self.unproven.find(from.remote, session) {
            if !self.config.accepts_key(now.unix, &own.name, &own.metadata) {
                return Err(DropReason::BadHandshake);
            }
            let (envelope, metadata) = (Arc::clone(&own.envelope), own.metadata.clone());
            return Own { envelope, key: own.key.duplicate(), name: own.name, metadata }.open(datagram);
        }
        let (envelope, key) = self.envelopes.shared.as_ref().ok_or(DropReason::BadMac)?;
        let unwrapped = envelope.unwrap(datagram).ok_or(DropReason::BadMac)?;
        let static_key = key.as_ref().map(StaticKey::duplicate);
        Ok(Stranger { unwrapped, envelope: Arc::clone(envelope), static_key, own_key: None })
    }

    /// The answer names the session by a cookie; nothing else remembers it.
    fn answer_reset(&mut self, now: Now, from: Path, stranger: &Stranger, body: &Body<'_>) -> Result<(), DropReason> {
        let Unwrapped { first, session, replay, .. } = stranger.unwrapped;
        if body.id != Some(0) || !body.acks.is_empty() {
            return Err(DropReason::BadHandshake);
        }
        let with_key = first.opcode == Opcode::HardResetClientV3;
        // Of a client that cannot send its key again something must be kept now, before it has proved anything.
        let cannot_again = with_key && replay.is_none_or(|replay| replay.id >> 24 & 15 != 15);
        if cannot_again && !self.config.allow_noncookie {
            return Err(DropReason::BadHandshake);
        }
        let key = stranger.own_key.as_ref().map(|(name, _)| *name);
        if key.is_some_and(|name| !self.budget.may_answer_key(&name)) || !self.budget.spend(now.instant) {
            return Err(DropReason::RateLimited);
        }
        self.budget.note(now.instant, session, key);
        if let Some(own) = stranger.own().filter(|_| cannot_again) {
            self.unproven.keep(from.remote, session, own);
        }
        let own = self.cookies.make(now.instant, from.remote, session);
        let payload: &[u8] = if with_key && !cannot_again { &SEND_KEY_AGAIN } else { &[] };
        let answer = Body { acks: ArrayVec::from_iter([0]), acked_session: Some(session), id: Some(0), payload };
        let mut bytes = Vec::with_capacity(64);
        answer.emit(&mut bytes);
        let first = First { opcode: Opcode::HardResetServerV2, key_id: 0 };
        let replay = ReplayId { id: 1, time: now.unix.as_secs() as u32 };
        self.answers.push_back((from, stranger.envelope.wrap(first, own, replay, &bytes)));
        Ok(())
    }

    /// A client that has seen our answer gets a session.
    fn admit(&mut self, now: Now, from: Path, stranger: &Stranger, body: &Body<'_>) -> Result<(), DropReason> {
        let name = stranger.unwrapped.session;
        let own = body.acked_session.ok_or(DropReason::UnknownSession)?;
        if !self.cookies.accepts(now.instant, from.remote, name, own) {
            return Err(DropReason::UnknownSession);
        }
        if body.id.is_some_and(|id| id > 1) || body.acks.iter().any(|ack| *ack > 1) {
            return Err(DropReason::BadHandshake);
        }
        let turned_out = self.who_goes(from.remote.ip());
        let is_young = |other| self.begun(other).is_some_and(|begun| now.instant < begun + SPARED);
        if turned_out.is_some_and(is_young) {
            return Err(DropReason::RateLimited);
        }
        // The answer to the reset had the first number.
        let counter = ReplayCounter::new(2, now.unix.as_secs());
        let wrapping = Wrapping::new(Arc::clone(&stranger.envelope), counter, Vec::new());
        let mut session = Session::proven(&self.ground, own, name, wrapping, &mut self.rng, now)
            .map_err(|_| DropReason::BadHandshake)?;
        // What can be refused is refused before anything is kept.
        session.take_first(now, &stranger.unwrapped)?;
        self.cookies.spend(now.instant, own);
        self.unproven.forget(from.remote, name);
        if let Some(other) = turned_out {
            self.remove(other, "others came while it was not in yet".to_owned());
        }
        let number = self.place(now, from, name, session, stranger);
        self.advance(now, number);
        Ok(())
    }

    fn place(&mut self, now: Now, from: Path, name: SessionId, session: Session, stranger: &Stranger) -> u32 {
        self.count += 1;
        let peer = Box::new(Peer {
            session,
            name,
            count: self.count,
            path: from,
            phase: Phase::Exchanging,
            settings: ClientSettings::default(),
            can: Can::default(),
            fragments: Fragments::default(),
            identity: Identity::default(),
            own_key: stranger.own_key.clone(),
            static_key: stranger.static_key.as_ref().map(StaticKey::duplicate),
            carried: Carried::default(),
            last_sent: now.instant,
            last_heard: now.instant,
            agenda: None,
        });
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.peers.get_mut(number as usize) {
                    *slot = Some(peer);
                }
                number
            }
            None => {
                self.peers.push(Some(peer));
                self.peers.len() as u32 - 1
            }
        };
        self.sessions.insert((from.remote, name), number);
        number
    }

    fn begun(&self, number: u32) -> Option<Instant> {
        self.peers.get(number as usize)?.as_ref().map(|peer| peer.session.newest.begun)
    }

    /// Whose place a newcomer takes among the sessions that are not let in. Whoever has shown a certificate goes after those who
    /// have not, and the older one first.
    fn who_goes(&self, from: IpAddr) -> Option<u32> {
        let all = (0..).zip(&self.peers).filter_map(|(number, peer)| Some((number, peer.as_deref()?)));
        let half_open: Vec<_> = all
            .filter(|(_, peer)| !matches!(peer.phase, Phase::Accepted | Phase::Up))
            .map(|(number, peer)| {
                let is_asked = matches!(peer.phase, Phase::Asked { .. });
                (peer.path.remote.ip(), (is_asked, peer.count, number))
            })
            .collect();
        MAX_HALF_OPEN.who_goes(&half_open, from).map(|(.., number)| number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::start;

    #[test]
    fn one_reset_is_answered_a_few_times_and_what_is_remembered_of_it_has_a_bound() {
        let began = start();
        let mut budget = Budget::new(began);
        let (heard, other) = (SessionId([1; 8]), SessionId([2; 8]));
        for _ in 0..REPEATS {
            assert!(budget.may_answer(began, heard));
            budget.note(began, heard, None);
        }
        assert!(!budget.may_answer(began, heard) && budget.may_answer(began, other));
        assert!(budget.may_answer(began + RESETS_EVERY, heard) && budget.answered.is_empty());
        for n in 0..2 * MAX_ANSWERED as u64 {
            budget.note(began, SessionId(n.to_be_bytes()), None);
        }
        assert_eq!(budget.answered.len(), MAX_ANSWERED);
    }

    #[test]
    fn a_hundred_resets_are_answered_at_once_and_then_ten_a_second() {
        let began = start();
        let mut budget = Budget::new(began);
        let spent = |budget: &mut Budget, at| (0..1000).filter(|_| budget.spend(at)).count();
        assert_eq!(spent(&mut budget, began), 100);
        assert_eq!(spent(&mut budget, began + Duration::from_secs(1)), 10);
        assert_eq!(spent(&mut budget, began + Duration::from_secs(3600)), 100);
        budget.give_back();
        assert_eq!(spent(&mut budget, began + Duration::from_secs(3600)), 1);
        // One every 150 ms for 3 s: of the 30 that are earned 20 are spent.
        let mut at = began + Duration::from_secs(3600);
        for _ in 0..20 {
            at += Duration::from_millis(150);
            assert!(budget.spend(at));
        }
        assert_eq!(spent(&mut budget, at), 10);
    }
}

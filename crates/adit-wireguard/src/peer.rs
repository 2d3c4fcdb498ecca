//! One peer: its sessions, its handshake, its timers, the packets that wait for it.
//!
//! Not here: reading handshake messages (`exchange`), which networks are whose (`device`).

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{DropReason, IpPacket, Now, Path};
use ipnet::IpNet;

use crate::constants::{
    HANDSHAKE_TOS, KEEPALIVE_TIMEOUT, MAX_RETRIES, MAX_STAGED, MAX_STAGED_BYTES, MAX_STAGED_BYTES_OF_PEER,
    REKEY_TIMEOUT, WIPE_AFTER, YIELD_AFTER_CROSSING,
};
use crate::cookie::CookieJar;
use crate::index::Slot;
use crate::keyring::Keyring;
use crate::noise::{Initiated, Remote};
use crate::session::{SealJob, wire_len};
use crate::shared::{Queued, Shared};
use crate::tai64n::Timestamp;
use crate::timers::{Timer, Timers, jitter};
use crate::{Event, PublicKey};

/// Everything about one peer.
pub(crate) struct Peer {
    pub(crate) slot: Slot,
    /// Position among all peers ever made, for listing them in that order.
    pub(crate) made: u64,
    pub(crate) remote: Remote,
    pub(crate) endpoint: Option<Path>,
    pub(crate) persistent: u16,
    pub(crate) networks: BTreeSet<IpNet>,
    pub(crate) keyring: Keyring,
    pub(crate) timers: Timers,
    pub(crate) handshake: Option<Box<Initiated>>,
    pub(crate) jar: CookieJar,
    /// When we last sent an initiation or a response (reference W-60).
    pub(crate) handshake_sent: Option<Instant>,
    /// How often the present attempt was repeated.
    pub(crate) retries: u32,
    /// Whether this session has already asked for the next because it only receives (reference W-63).
    pub(crate) asked_on_receive: bool,
    /// Greatest timestamp accepted, and when (reference W-31, W-32).
    pub(crate) accepted: Option<(Timestamp, Instant)>,
    /// Last timestamp of ours.
    pub(crate) stamped: Timestamp,
    pub(crate) last_handshake: Option<Duration>,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    /// An empty one is a keepalive.
    staged: VecDeque<Vec<u8>>,
    /// Of all of them.
    staged_bytes: usize,
    /// Whether it stands among the ready.
    is_ready: bool,
}

impl Peer {
    pub(crate) fn new(slot: Slot, made: u64, public: PublicKey) -> Self {
        Self {
            slot,
            made,
            remote: Remote::new(public),
            endpoint: None,
            persistent: 0,
            networks: BTreeSet::new(),
            keyring: Keyring::default(),
            timers: Timers::default(),
            handshake: None,
            jar: CookieJar::new(&public),
            handshake_sent: None,
            retries: 0,
            asked_on_receive: false,
            accepted: None,
            stamped: Timestamp::default(),
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            staged: VecDeque::new(),
            staged_bytes: 0,
            is_ready: false,
        }
    }

    pub(crate) const fn public(&self) -> PublicKey {
        self.remote.public
    }

    /// Key and number for a packet of `len` bytes (0 for a keepalive), if there is a session to send it with.
    #[inline]
    pub(crate) fn seal(&mut self, now: Now, len: usize, shared: &mut Shared) -> Option<SealJob> {
        let session = self.keyring.sending(now.instant)?;
        let job = SealJob::new(Arc::clone(&session.keys), session.take_counter(), shared.mtu);
        let is_due = session.is_due_after_sending(now.instant);
        self.tx_bytes += wire_len(len, shared.mtu) as u64;
        self.timers.sent(now.instant, self.persistent);
        if len != 0 {
            self.timers.data_sent(now.instant, &mut shared.rng);
        }
        if is_due {
            self.want_session(now, shared);
        }
        shared.agenda.note(self.slot, &mut self.timers);
        Some(job)
    }

    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Whether a packet planned now must wait behind those that are already kept.
    #[inline]
    pub(crate) fn must_queue(&self) -> bool {
        !self.staged.is_empty() && self.staged.len() < MAX_STAGED
    }

    /// Keeps a copy of a packet until there is a session, and asks for one.
    #[cold]
    pub(crate) fn keep(&mut self, now: Now, packet: &IpPacket<'_>, shared: &mut Shared) {
        let mut copy = vec![0; packet.len()];
        packet.copy_to(&mut copy);
        self.stage(copy, shared);
        if self.staged.is_empty() && !self.keyring.can_send(now.instant) {
            // Lost, for what waits for others takes all the room; there must be a session for the next all the same.
            self.want_session(now, shared);
        }
        self.flush(now, shared);
    }

    /// Keeps a packet until there is a session; the oldest go first (reference W-69).
    fn stage(&mut self, packet: Vec<u8>, shared: &mut Shared) {
        if self.staged.len() >= MAX_STAGED {
            self.drop_oldest(shared);
        }
        while self.staged_bytes + packet.len() > MAX_STAGED_BYTES_OF_PEER
            || shared.staged_bytes + packet.len() > MAX_STAGED_BYTES
        {
            if !self.drop_oldest(shared) {
                shared.drops.count(DropReason::StagingFull);
                return;
            }
        }
        self.staged_bytes += packet.len();
        shared.staged_bytes += packet.len();
        self.staged.push_back(packet);
    }

    fn take_oldest(&mut self, shared: &mut Shared) -> Option<Vec<u8>> {
        let packet = self.staged.pop_front()?;
        self.staged_bytes -= packet.len();
        shared.staged_bytes -= packet.len();
        Some(packet)
    }

    fn drop_oldest(&mut self, shared: &mut Shared) -> bool {
        let taken = self.take_oldest(shared).is_some();
        if taken {
            shared.drops.count(DropReason::StagingFull);
        }
        taken
    }

    /// Drops all packets that wait.
    pub(crate) fn unstage(&mut self, reason: Option<DropReason>, shared: &mut Shared) {
        while let Some(packet) = self.take_oldest(shared) {
            if let (Some(reason), false) = (reason, packet.is_empty()) {
                shared.drops.count(reason);
            }
        }
    }

    /// Sends what waits, if there is a session; else asks for one.
    pub(crate) fn flush(&mut self, now: Now, shared: &mut Shared) {
        if self.staged.is_empty() {
            return;
        }
        if !self.keyring.can_send(now.instant) {
            self.want_session(now, shared);
        } else if !self.is_ready {
            self.is_ready = true;
            shared.ready.push_back(self.slot);
        }
    }

    /// The next of the packets that wait, with its key and number; `None` when no more can go.
    pub(crate) fn pop_ready(&mut self, now: Now, shared: &mut Shared) -> Option<(SealJob, Path, Vec<u8>)> {
        if !self.is_ready {
            return None;
        }
        let next = self.pop_staged(now, shared);
        self.is_ready = next.is_some();
        next
    }

    fn pop_staged(&mut self, now: Now, shared: &mut Shared) -> Option<(SealJob, Path, Vec<u8>)> {
        let (to, len) = (self.endpoint?, self.staged.front()?.len());
        let Some(job) = self.seal(now, len, shared) else {
            self.want_session(now, shared);
            return None;
        };
        let packet = self.take_oldest(shared)?;
        Some((job, to, packet))
    }

    /// Sends a keepalive, or what waits; without a session asks for one, and the keepalive waits too.
    pub(crate) fn send_keepalive(&mut self, now: Now, shared: &mut Shared) {
        let Some(to) = self.endpoint else { return };
        if self.staged.is_empty() {
            match self.seal(now, 0, shared) {
                Some(job) => shared.push(Queued::Keepalive { owner: self.slot, job, to }),
                None => self.stage(Vec::new(), shared),
            }
        }
        self.flush(now, shared);
    }

    /// Sends what is answered at once: a new handshake, or, where it is too early for one, an empty packet.
    pub(crate) fn call(&mut self, now: Now, shared: &mut Shared) {
        self.retries = 0;
        if !self.initiate(now, shared) {
            self.send_keepalive(now, shared);
        }
        shared.agenda.note(self.slot, &mut self.timers);
    }

    /// Begins a handshake, unless one was begun or answered too recently. Counts as new interest: retries start again.
    pub(crate) fn want_session(&mut self, now: Now, shared: &mut Shared) {
        self.retries = 0;
        if !self.initiate(now, shared) && !self.staged.is_empty() && !self.timers.is_set(Timer::Retry) {
            self.retry_when_allowed(shared);
        }
        shared.agenda.note(self.slot, &mut self.timers);
    }

    /// Sends an initiation. False if it is too early for one.
    fn initiate(&mut self, now: Now, shared: &mut Shared) -> bool {
        let Some(to) = self.endpoint.filter(|_| shared.up) else { return true };
        if self.handshake_sent.is_some_and(|sent| now.instant < sent + REKEY_TIMEOUT) {
            return false;
        }
        // With a key of low order nothing will ever come of it, and trying for each packet would be costly.
        if !shared.own.as_ref().is_some_and(|own| self.remote.can_agree(&own.identity)) {
            return true;
        }
        let ephemeral = shared.ephemeral();
        let Some(own) = &shared.own else { return true };
        let local = shared.index.reserve(&mut shared.rng, self.slot);
        let timestamp = self.stamped.next(now.unix);
        let started = Initiated::start(&own.identity, &mut self.remote, local, &ephemeral, timestamp);
        let Some((state, mut datagram)) = started else {
            shared.index.release(local);
            return true;
        };
        self.stamped = timestamp;
        self.drop_handshake(shared);
        self.handshake = Some(Box::new(state));
        self.jar.stamp(now.instant, &mut datagram);
        self.sent_handshake(now, datagram, to, shared);
        self.timers.set(Timer::Retry, now.instant + REKEY_TIMEOUT + jitter(&mut shared.rng));
        true
    }

    /// An initiation or a response goes out.
    pub(crate) fn sent_handshake(&mut self, now: Now, datagram: Vec<u8>, to: Path, shared: &mut Shared) {
        self.handshake_sent = Some(now.instant);
        self.tx_bytes += datagram.len() as u64;
        self.timers.sent(now.instant, self.persistent);
        shared.push(Queued::Transmit { owner: Some(self.slot), to, datagram, tos: HANDSHAKE_TOS });
    }

    fn retry_when_allowed(&mut self, shared: &mut Shared) {
        if let Some(sent) = self.handshake_sent {
            self.timers.set(Timer::Retry, sent + REKEY_TIMEOUT + jitter(&mut shared.rng));
        }
    }

    /// Forgets our own pending initiation; its index stops working.
    pub(crate) fn drop_handshake(&mut self, shared: &mut Shared) {
        if let Some(state) = self.handshake.take() {
            shared.index.release(state.local);
        }
    }

    /// Wipes all sessions and the handshake.
    pub(crate) fn wipe(&mut self, shared: &mut Shared) {
        self.drop_handshake(shared);
        let gone = self.keyring.clear();
        shared.release(gone);
    }

    /// A session was derived (§6.3).
    pub(crate) fn session_derived(&mut self, now: Now) {
        self.asked_on_receive = false;
        self.timers.set(Timer::Wipe, now.instant + WIPE_AFTER);
    }

    /// A session is usable for both ends (reference W-40, W-42).
    pub(crate) fn handshake_completed(&mut self, now: Now, shared: &mut Shared) {
        self.timers.clear(Timer::Retry);
        self.retries = 0;
        self.last_handshake = Some(now.unix);
        shared.handshakes = shared.handshakes.saturating_add(1);
        shared.push(Queued::Event(Event::HandshakeCompleted(self.public())));
    }

    /// The peer is where its authenticated messages come from (reference W-80).
    #[inline]
    pub(crate) fn follow(&mut self, from: Path, shared: &mut Shared) {
        if self.endpoint != Some(from) {
            if self.endpoint.is_none_or(|old| old.remote != from.remote) {
                shared.push(Queued::Event(Event::EndpointMoved(self.public(), from.remote)));
            }
            self.endpoint = Some(from);
        }
    }

    /// Forgets which of our addresses the peer is answered from (reference W-82).
    pub(crate) fn forget_source(&mut self) {
        self.endpoint = self.endpoint.map(Path::without_source);
    }

    /// Does what is due. The wiping goes first: when the machine has slept past several deadlines, it must not take what
    /// the others begin.
    pub(crate) fn fire(&mut self, now: Now, shared: &mut Shared) {
        let wipe = self.timers.get(Timer::Wipe).filter(|at| *at <= now.instant).map(|at| (at, Timer::Wipe));
        let mut next = wipe.or_else(|| self.timers.next());
        while let Some((at, timer)) = next
            && at <= now.instant
        {
            self.timers.clear(timer);
            match timer {
                Timer::Retry => self.retry(now, shared),
                Timer::PassiveKeepalive => {
                    let another = std::mem::take(&mut self.timers.another_keepalive);
                    self.send_keepalive(now, shared);
                    if another {
                        self.timers.set(Timer::PassiveKeepalive, now.instant + KEEPALIVE_TIMEOUT);
                    }
                }
                Timer::Unanswered => {
                    self.forget_source();
                    self.want_session(now, shared);
                }
                Timer::PersistentKeepalive => self.keep_alive(now, shared),
                Timer::Wipe => {
                    self.timers.clear(Timer::PassiveKeepalive);
                    self.timers.clear(Timer::Unanswered);
                    self.wipe(shared);
                    self.unstage(Some(DropReason::HandshakeFailed), shared);
                }
            }
            next = self.timers.next();
        }
        shared.agenda.settle(self.slot, &mut self.timers);
    }

    fn retry(&mut self, now: Now, shared: &mut Shared) {
        if self.retries > MAX_RETRIES {
            self.timers.clear(Timer::PassiveKeepalive);
            self.unstage(Some(DropReason::HandshakeFailed), shared);
            if !self.timers.is_set(Timer::Wipe) {
                self.timers.set(Timer::Wipe, now.instant + WIPE_AFTER);
            }
            shared.push(Queued::Event(Event::HandshakeGaveUp(self.public())));
            return;
        }
        self.forget_source();
        if self.initiate(now, shared) {
            self.retries += 1;
            shared.push(Queued::Event(Event::HandshakeUnanswered(self.public())));
        } else {
            self.retry_when_allowed(shared);
        }
    }

    /// The peer has begun a handshake too, which replaces our own (reference W-36). If its answer is lost, we try again,
    /// but not both at the same moment.
    pub(crate) fn yield_to_theirs(&mut self, now: Now, shared: &mut Shared) {
        if self.handshake.is_some() && self.timers.is_set(Timer::Retry) {
            let greater = shared.own.as_ref().is_some_and(|own| own.identity.public > self.public());
            let more = if greater { YIELD_AFTER_CROSSING } else { Duration::ZERO };
            self.timers.set(Timer::Retry, now.instant + REKEY_TIMEOUT + jitter(&mut shared.rng) + more);
        }
        self.drop_handshake(shared);
    }

    fn keep_alive(&mut self, now: Now, shared: &mut Shared) {
        if self.persistent != 0 && self.endpoint.is_some() && shared.own.is_some() {
            self.timers.set(Timer::PersistentKeepalive, now.instant + Duration::from_secs(u64::from(self.persistent)));
            self.send_keepalive(now, shared);
        }
    }

    /// Asks for persistent keepalives from now on, the first at once (reference W-66).
    pub(crate) fn start_persistent(&mut self, now: Now, shared: &mut Shared) {
        if self.persistent != 0 && shared.up {
            self.timers.set(Timer::PersistentKeepalive, now.instant);
            shared.agenda.note(self.slot, &mut self.timers);
        }
    }
}

/// Without what waits to be sent, which is somebody's plain text.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("slot", &self.slot)
            .field("public", &self.public())
            .field("endpoint", &self.endpoint)
            .field("keyring", &self.keyring)
            .field("timers", &self.timers)
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}

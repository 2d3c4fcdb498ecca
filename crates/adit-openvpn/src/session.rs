//! One session with a peer, for both roles: envelopes, the key exchanges and their order, data keys, and when what is due.
//!
//! Not here: what control messages mean, addresses, when to begin a session or give it up (`client`, `server`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{DropReason, IpPacket, Now, Why};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use zeroize::Zeroizing;

use crate::Role;
use crate::constants::{CONTROL_PAYLOAD, LAST_KEY_ID, MAX_CONTROL_PAYLOAD};
use crate::data::{Agreed, Content, Cut, DataHeader, DataKeys, Fragments, SealJob};
use crate::exchange::{Exchange, ExchangeFailure};
use crate::key_file::StaticKey;
use crate::key_method::{KeyMessage, KeySource, derive};
use crate::keyring::Data;
use crate::packet::{Body, First, Opcode, SessionId};
use crate::tls::TlsFactory;
use crate::wrap::replay::{ReplayCounter, ReplayFilter};
use crate::wrap::tls_crypt::dynamic_key;
use crate::wrap::{Envelope, Unwrapped, header};

/// When things are due in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// `tls-timeout`: a control packet is sent again after this, then after twice as long.
    pub retransmit: Duration,
    /// `hand-window`: a key exchange must be over after this.
    pub hand_window: Duration,
    /// `tran-window`: keys that were replaced still open for this long.
    pub transition_window: Duration,
    /// `reneg-sec`: keys are renewed after this; zero leaves it to the peer.
    pub renegotiate: Duration,
}

impl Default for Times {
    fn default() -> Self {
        use crate::constants::{HAND_WINDOW, RENEGOTIATE, RETRANSMIT, TRANSITION_WINDOW};
        Self {
            retransmit: RETRANSMIT,
            hand_window: HAND_WINDOW,
            transition_window: TRANSITION_WINDOW,
            renegotiate: RENEGOTIATE,
        }
    }
}

/// What every key exchange of a session is begun with.
pub(crate) struct Ground {
    pub(crate) role: Role,
    pub(crate) tls: TlsFactory,
    pub(crate) times: Times,
    /// What our key message says beside random bytes.
    pub(crate) options: String,
    pub(crate) peer_info: String,
}

/// Name and password, where a client has them.
#[derive(Debug, Default)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password, or a token in its place.
    pub password: Zeroizing<String>,
}

/// An envelope with its numbers in both directions.
pub(crate) struct Wrapping {
    envelope: Arc<Envelope>,
    counter: ReplayCounter,
    filter: ReplayFilter,
    /// Appended to packets that carry it.
    wrapped_key: Vec<u8>,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// A key exchange failed.
    #[error(transparent)]
    Failed(#[from] ExchangeFailure),
    /// A key exchange took longer than `hand-window`.
    #[error(
        "the peer did not finish a key exchange in time\n  hint: does the port answer, and are the keys of `tls-crypt` or `tls-auth` the server's?"
    )]
    HandWindow,
    /// There are keys, but no settings: the server has not answered, or whoever it asked has not.
    #[error("the server took the keys and did not say in time that we may come in\n  hint: ask its administrator")]
    NoSettings,
}

/// One session.
pub(crate) struct Session {
    pub(crate) own: SessionId,
    pub(crate) peer: Option<SessionId>,
    wrapping: Wrapping,
    /// The envelope of all key exchanges but the first, where both ends can (`dyn-tls-crypt`).
    dynamic: Option<Wrapping>,
    pub(crate) newest: Exchange,
    older: Option<Exchange>,
    agreed: Option<(Agreed, bool)>,
    end: Option<SessionEnd>,
}

impl Wrapping {
    pub(crate) const fn new(envelope: Arc<Envelope>, counter: ReplayCounter, wrapped_key: Vec<u8>) -> Self {
        Self { envelope, counter, filter: ReplayFilter::new(), wrapped_key }
    }

    fn wrap(&mut self, first: First, session: SessionId, body: &[u8]) -> Vec<u8> {
        let mut datagram = self.envelope.wrap(first, session, self.counter.next(), body);
        if first.opcode.has_wrapped_key() {
            datagram.extend_from_slice(&self.wrapped_key);
        }
        datagram
    }

    /// Whether an authentic packet is new. Only for packets of this very session: whoever else has the key could shut the
    /// peer out with a number that is ahead of all of its own.
    fn accept(&mut self, unwrapped: &Unwrapped) -> Result<(), DropReason> {
        match unwrapped.replay {
            Some(replay) if !self.filter.accept(replay) => Err(DropReason::ReplayedHandshake),
            _ => Ok(()),
        }
    }
}

impl Ground {
    fn key_message(&self, credentials: &Credentials, rng: &mut ChaCha20Rng) -> KeyMessage {
        use adit_protocol::Secret;
        let mut source = KeySource {
            pre_master: (self.role == Role::Client).then(|| Secret::new([0; 48])),
            random1: Secret::new([0; 32]),
            random2: Secret::new([0; 32]),
        };
        if let Some(pre_master) = &mut source.pre_master {
            rng.fill_bytes(pre_master.expose_mut());
        }
        rng.fill_bytes(source.random1.expose_mut());
        rng.fill_bytes(source.random2.expose_mut());
        KeyMessage {
            source,
            options: self.options.clone(),
            username: credentials.username.clone(),
            password: credentials.password.clone(),
            peer_info: self.peer_info.clone(),
        }
    }

    /// A key exchange that begins with a reset.
    fn begin(
        &self,
        key_id: u8,
        reset: Opcode,
        credentials: &Credentials,
        rng: &mut ChaCha20Rng,
        now: Now,
    ) -> Result<Exchange, ExchangeFailure> {
        self.tls.set_time(now.unix);
        let (tls, own) = (self.tls.connect()?, self.key_message(credentials, rng));
        Ok(Exchange::begin(self.role, key_id, reset, tls, own, now.instant, self.times.retransmit))
    }
}

impl Session {
    /// A client's session, beginning with `reset`.
    pub(crate) fn begin(
        ground: &Ground,
        reset: Opcode,
        wrapping: Wrapping,
        credentials: &Credentials,
        rng: &mut ChaCha20Rng,
        now: Now,
    ) -> Result<Self, ExchangeFailure> {
        let newest = ground.begin(0, reset, credentials, rng, now)?;
        let mut own = SessionId([0; 8]);
        rng.fill_bytes(&mut own.0);
        Ok(Self { own, peer: None, wrapping, dynamic: None, newest, older: None, agreed: None, end: None })
    }

    /// A server's session with a client that has proved its address.
    pub(crate) fn proven(
        ground: &Ground,
        own: SessionId,
        peer: SessionId,
        wrapping: Wrapping,
        rng: &mut ChaCha20Rng,
        now: Now,
    ) -> Result<Self, ExchangeFailure> {
        ground.tls.set_time(now.unix);
        let (tls, message) = (ground.tls.connect()?, ground.key_message(&Credentials::default(), rng));
        let newest = Exchange::proven(ground.role, tls, message, now.instant, ground.times.retransmit);
        Ok(Self { own, peer: Some(peer), wrapping, dynamic: None, newest, older: None, agreed: None, end: None })
    }

    /// The packet that proved it, already out of its envelope.
    pub(crate) fn take_first(&mut self, now: Now, unwrapped: &Unwrapped) -> Result<(), DropReason> {
        self.wrapping.accept(unwrapped)?;
        let body = Body::parse(unwrapped.first.opcode, &unwrapped.body).ok_or(DropReason::NotAMessage)?;
        if body.payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(DropReason::TooLong);
        }
        self.newest.reliable.handle_acks(now.instant, &body.acks);
        if let Some(id) = body.id {
            self.newest.reliable.handle(id, unwrapped.first.opcode, body.payload);
        }
        Ok(())
    }

    /// Whether a certificate that the peer has shown in it is withdrawn since.
    pub(crate) fn is_revoked(&self, ground: &Ground) -> bool {
        [Some(&self.newest), self.older.as_ref()]
            .into_iter()
            .flatten()
            .any(|exchange| ground.tls.has_revoked(exchange.tls()))
    }

    /// Why it is over, if it is.
    pub(crate) const fn end(&self) -> Option<&SessionEnd> {
        self.end.as_ref()
    }

    /// A control packet, its wrapped key (if any) already taken off.
    pub(crate) fn handle_control(
        &mut self,
        ground: &Ground,
        credentials: &Credentials,
        rng: &mut ChaCha20Rng,
        now: Now,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let (first, session, _) = header(datagram).ok_or(DropReason::NotAMessage)?;
        if self.peer.is_some_and(|peer| peer != session) {
            return Err(DropReason::UnknownSession);
        }
        let wrapping = match &mut self.dynamic {
            Some(dynamic) if first.key_id > 0 => dynamic,
            _ => &mut self.wrapping,
        };
        let unwrapped = wrapping.envelope.unwrap(datagram).ok_or(DropReason::BadMac)?;
        let body = Body::parse(first.opcode, &unwrapped.body).ok_or(DropReason::NotAMessage)?;
        if body.payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(DropReason::TooLong);
        }
        if body.acked_session.is_some_and(|session| session != self.own) {
            return Err(DropReason::UnknownSession);
        }
        if self.peer.is_none() {
            // The first packet of a server acknowledges our reset, or it is none of ours.
            if first.opcode != Opcode::HardResetServerV2 || first.key_id != 0 || !body.acks.contains(&0) {
                return Err(DropReason::BadHandshake);
            }
        }
        wrapping.accept(&unwrapped)?;
        self.peer = Some(session);
        if first.opcode == Opcode::SoftReset {
            self.handle_soft_reset(ground, credentials, rng, now, first.key_id)?;
        }
        let exchange = [Some(&mut self.newest), self.older.as_mut()]
            .into_iter()
            .flatten()
            .find(|exchange| exchange.key_id == first.key_id)
            .ok_or(DropReason::UnknownSession)?;
        exchange.reliable.handle_acks(now.instant, &body.acks);
        if let Some(id) = body.id {
            exchange.reliable.handle(id, first.opcode, body.payload);
        }
        Ok(())
    }

    /// Goes on with everything that arrived. Apart from [`handle_control`](Self::handle_control), because what a reset
    /// carries may decide how the answer travels.
    pub(crate) fn advance(&mut self, ground: &Ground, now: Now) {
        ground.tls.set_time(now.unix);
        if let Err(failure) = self.newest.advance() {
            self.end.get_or_insert(failure.into());
        }
        // What fails with old keys is of no matter any more.
        if self.older.as_mut().is_some_and(|older| older.advance().is_err()) && self.newest.data.is_some() {
            self.older = None;
        }
        // On a server the owner says first whether the client may stay.
        if ground.role == Role::Client {
            self.renew(ground.role, now.instant);
        }
    }

    /// Makes the data keys of a renewal, if it has come so far; whether it had.
    pub(crate) fn renew(&mut self, role: Role, now: Instant) -> bool {
        let ready = self.newest.data.is_none() && self.newest.is_complete() && self.agreed.is_some();
        if ready {
            self.make_data_keys(role, now);
        }
        ready && self.newest.data.is_some()
    }

    /// Looks at what the server's reset asks for: the wrapped key (of so many bytes) once more, with our first of TLS.
    pub(crate) fn take_reset(&mut self, wrapped_key: usize) {
        let exchange = &mut self.newest;
        if wrapped_key > 0 && exchange.reliable.peek_reset().is_some_and(wants_wrapped_key) {
            exchange.first_travels(Opcode::ControlWkc, CONTROL_PAYLOAD.saturating_sub(wrapped_key));
        }
    }

    /// The peer wants new keys.
    fn handle_soft_reset(
        &mut self,
        ground: &Ground,
        credentials: &Credentials,
        rng: &mut ChaCha20Rng,
        now: Now,
        key_id: u8,
    ) -> Result<(), DropReason> {
        if self.newest.key_id == key_id {
            return Ok(()); // Both began at once, or it is sent again.
        }
        if key_id != next_key_id(self.newest.key_id) || self.newest.data.is_none() {
            return Err(DropReason::BadHandshake);
        }
        self.begin_next(ground, credentials, rng, now).map_err(|_| DropReason::BadHandshake)
    }

    /// Begins to make new keys; the present ones stay in use until then.
    pub(crate) fn renegotiate(&mut self, ground: &Ground, credentials: &Credentials, rng: &mut ChaCha20Rng, now: Now) {
        if self.newest.data.is_some()
            && let Err(failure) = self.begin_next(ground, credentials, rng, now)
        {
            self.end.get_or_insert(failure.into());
        }
    }

    fn begin_next(
        &mut self,
        ground: &Ground,
        credentials: &Credentials,
        rng: &mut ChaCha20Rng,
        now: Now,
    ) -> Result<(), ExchangeFailure> {
        let key_id = next_key_id(self.newest.key_id);
        let next = ground.begin(key_id, Opcode::SoftReset, credentials, rng, now)?;
        self.older = Some(std::mem::replace(&mut self.newest, next));
        Ok(())
    }

    /// The next control packet to send.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        // Whoever has not answered yet gets nothing but resets; and acknowledgements need a session to name.
        for exchange in [Some(&mut self.newest), self.older.as_mut()].into_iter().flatten() {
            let key_id = exchange.key_id;
            let acks = if self.peer.is_some() { exchange.reliable.owes_acks() } else { false };
            let (opcode, id, payload) = match exchange.reliable.poll(now) {
                Some(due) => (due.opcode, Some(due.id), due.payload.to_vec()),
                None if acks => (Opcode::Ack, None, Vec::new()),
                None => continue,
            };
            let acks = exchange.reliable.take_acks();
            let body = Body { acks, acked_session: self.peer, id, payload: &payload };
            let mut bytes = Vec::with_capacity(payload.len() + 64);
            body.emit(&mut bytes);
            let wrapping = match &mut self.dynamic {
                Some(dynamic) if key_id > 0 => dynamic,
                _ => &mut self.wrapping,
            };
            return Some(wrapping.wrap(First { opcode, key_id }, self.own, &bytes));
        }
        None
    }

    /// When a control packet is to be sent.
    pub(crate) fn control_deadline(&self, now: Instant) -> Option<Instant> {
        let exchanges = [Some(&self.newest), self.older.as_ref()];
        let due = exchanges.into_iter().flatten().filter_map(|exchange| {
            let acks = (self.peer.is_some() && exchange.reliable.owes_acks()).then_some(now);
            exchange.reliable.deadline(now).into_iter().chain(acks).min()
        });
        due.min()
    }

    /// When something is due, and why; with nothing due, `None`.
    pub(crate) fn deadline(&self, times: &Times, now: Instant) -> Option<(Instant, Why)> {
        let control = self.control_deadline(now).map(|at| (at, Why("control packet")));
        let hand = self.newest.data.is_none().then(|| (self.hand_until(times), Why("hand-window")));
        let fresh = self.newest.data.as_ref().filter(|_| !times.renegotiate.is_zero());
        let renew = fresh.map(|data| (data.since + times.renegotiate, Why("reneg-sec")));
        let retire = self.retire_at(times).map(|at| (at, Why("tran-window")));
        control.into_iter().chain(hand).chain(renew).chain(retire).min_by_key(|(at, _)| *at)
    }

    /// When the newest key exchange must be over.
    fn hand_until(&self, times: &Times) -> Instant {
        let until = self.newest.begun + times.hand_window;
        self.newest.patience.map_or(until, |patience| patience.max(until))
    }

    /// Somebody is asked whether these two may go on: the newest key exchange may take so much longer, within reason, however
    /// often it is said.
    pub(crate) fn wait(&mut self, times: &Times, longest: Duration, now: Instant) {
        let last = self.newest.begun + times.hand_window + times.hand_window.max(times.renegotiate / 2);
        self.newest.patience = Some((now + longest).min(last));
    }

    fn retire_at(&self, times: &Times) -> Option<Instant> {
        self.older.as_ref()?;
        Some(self.newest.data.as_ref()?.since + times.transition_window)
    }

    /// What is due happens. Whether new keys are wanted.
    pub(crate) fn handle_timeout(&mut self, times: &Times, now: Instant) -> bool {
        if self.retire_at(times).is_some_and(|at| at <= now) {
            self.older = None;
        }
        match &self.newest.data {
            None => {
                if self.hand_until(times) <= now {
                    let end = if self.newest.is_complete() { SessionEnd::NoSettings } else { SessionEnd::HandWindow };
                    self.end.get_or_insert(end);
                }
                false
            }
            Some(data) => !times.renegotiate.is_zero() && data.since + times.renegotiate <= now,
        }
    }

    /// What both ends have agreed about the data channel; keys are made for it now, and at every key exchange to come.
    /// `exported`: by TLS, in place of random bytes in the key messages.
    pub(crate) fn agree(&mut self, role: Role, agreed: Agreed, exported: bool, now: Instant) {
        self.agreed = Some((agreed, exported));
        if self.newest.data.is_none() && self.newest.is_complete() {
            self.make_data_keys(role, now);
        }
    }

    /// From the next key exchange on, control packets travel under a key that TLS exports now.
    pub(crate) fn use_dynamic(&mut self, role: Role, before: Option<&StaticKey>, unix: Duration) {
        match self.newest.tls().export("EXPORTER-OpenVPN-dynamic-tls-crypt") {
            Ok(exported) => {
                let envelope = Arc::new(Envelope::tls_crypt(&dynamic_key(&exported, before), role));
                self.dynamic = Some(Wrapping::new(envelope, ReplayCounter::new(1, unix.as_secs()), Vec::new()));
            }
            Err(failure) => {
                self.end.get_or_insert(ExchangeFailure::from(failure).into());
            }
        }
    }

    fn make_data_keys(&mut self, role: Role, now: Instant) {
        let Some((agreed, exported)) = self.agreed else { return };
        let (Some(peer_session), Some(peer)) = (self.peer, &self.newest.peer) else { return };
        let keys = if exported {
            match self.newest.tls().export("EXPORTER-OpenVPN-datakeys") {
                Ok(bytes) => StaticKey::new(bytes),
                Err(failure) => {
                    self.end.get_or_insert(ExchangeFailure::from(failure).into());
                    return;
                }
            }
        } else {
            let own = &self.newest.own.source;
            match role {
                Role::Client => derive(own, &peer.source, self.own, peer_session),
                Role::Server => derive(&peer.source, own, peer_session, self.own),
            }
        };
        self.newest.data = Some(Data::new(role, self.newest.key_id, &keys, &agreed, now));
        self.newest.own.wipe();
        if let Some(peer) = &mut self.newest.peer {
            peer.wipe();
        }
    }

    /// Whether the newest keys are sent with: the peer has shown that it has them, or had time to, or there are no others.
    fn is_settled(&self, times: &Times, now: Instant) -> bool {
        let wait = match times.renegotiate {
            Duration::ZERO => times.hand_window,
            renegotiate => times.hand_window.min(renegotiate / 2),
        };
        let others = self.older.as_ref().is_some_and(|older| older.data.is_some());
        self.newest.data.as_ref().is_some_and(|data| data.confirmed || now >= data.since + wait || !others)
    }

    /// The keys that are sent with.
    fn sending(&mut self, times: &Times, now: Instant) -> Option<&mut Data> {
        let exchange = if self.is_settled(times, now) { Some(&mut self.newest) } else { self.older.as_mut() };
        exchange?.data.as_mut()
    }

    /// A packet in pieces, if it is too long for one datagram.
    pub(crate) fn cut(
        &mut self,
        times: &Times,
        now: Instant,
        packet: &IpPacket<'_>,
        fragments: &mut Fragments,
    ) -> Result<Cut, DropReason> {
        if self.agreed.is_none_or(|(agreed, _)| agreed.fragment.is_none()) {
            return Ok(Cut::Whole);
        }
        let data = self.sending(times, now).ok_or(DropReason::ExpiredSession)?;
        data.cut(packet, fragments).ok_or(DropReason::TooLong)
    }

    /// Work for the next packet; and whether new keys are wanted because of it.
    pub(crate) fn seal(
        &mut self,
        times: &Times,
        rng: &mut ChaCha20Rng,
        now: Instant,
        content: Content,
        len: usize,
    ) -> Option<(SealJob, bool)> {
        // Others are on their way already, or wait for the peer to show that it has them.
        let renewed = !self.is_settled(times, now);
        let data = self.sending(times, now)?;
        let mut iv = [0; 16];
        if data.needs_iv() {
            rng.fill_bytes(&mut iv);
        }
        let job = data.seal(content, len, iv)?;
        Some((job, data.is_worn() && !renewed))
    }

    /// The keys that open this data packet.
    pub(crate) fn opening(&self, header: &DataHeader, datagram: &[u8]) -> Option<&Arc<DataKeys>> {
        let exchanges = [Some(&self.newest), self.older.as_ref()];
        let exchange = exchanges.into_iter().flatten().find(|exchange| exchange.key_id == header.key_id)?;
        exchange.data.as_ref()?.opening(header.len, datagram)
    }

    /// Whether an authentic packet is new; with keys that are gone, it is not.
    pub(crate) fn accept(&mut self, keys: &Arc<DataKeys>, number: u64) -> bool {
        let exchanges = [Some(&mut self.newest), self.older.as_mut()];
        let mut data = exchanges.into_iter().flatten().filter_map(|exchange| exchange.data.as_mut());
        data.find(|data| data.has(keys)).is_some_and(|data| data.accept(keys, number))
    }

    /// Sends a control message, under the newest keys that are ready for it.
    pub(crate) fn send(&mut self, text: &str) {
        let exchange = match &mut self.older {
            Some(older) if !self.newest.is_complete() => older,
            _ => &mut self.newest,
        };
        if let Err(failure) = exchange.send(text) {
            self.end.get_or_insert(failure.into());
        }
    }

    /// The next control message of the peer.
    pub(crate) fn next_message(&mut self) -> Option<Zeroizing<String>> {
        self.newest.next_message().or_else(|| self.older.as_mut()?.next_message())
    }
}

/// Whether the values in a server's reset (type, length, bytes) have the flag "send the wrapped key again".
fn wants_wrapped_key(mut values: &[u8]) -> bool {
    while let Some((kind, rest)) = values.split_first_chunk::<2>() {
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { return false };
        let Some((value, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return false };
        if (kind, value.len()) == (&[0, 1], 2) {
            return value.last().is_some_and(|low| low & 1 == 1);
        }
        values = rest;
    }
    false
}

/// 0, then 1 to 7, then 1 again.
const fn next_key_id(key_id: u8) -> u8 {
    if key_id >= LAST_KEY_ID { 1 } else { key_id + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_found_among_other_values() {
        assert!(wants_wrapped_key(&[0, 1, 0, 2, 0, 1]));
        assert!(wants_wrapped_key(&[0, 9, 0, 1, 7, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0]));
        for none in [&[][..], &[0, 1, 0, 2, 0, 2], &[0, 1, 0, 2, 0], &[0, 1, 0, 1, 1], &[0, 0, 0, 0]] {
            assert!(!wants_wrapped_key(none), "{none:?}");
        }
    }

    #[test]
    fn key_ids_never_come_back_to_zero() {
        let ids: Vec<_> = std::iter::successors(Some(0), |id| Some(next_key_id(*id))).take(10).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]);
    }
}

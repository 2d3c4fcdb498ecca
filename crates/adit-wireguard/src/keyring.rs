//! A peer's sessions: previous, current and next (§6.3), with their counters and replay windows.
//!
//! Not here: the ciphers (`session`), indices of pending handshakes (`peer`).

use std::sync::Arc;
use std::time::Instant;

use adit_protocol::ReplayWindow;
use adit_protocol::aead::Key;
use arrayvec::ArrayVec;

use crate::constants::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ON_RECEIVE,
};
use crate::message::Index;
use crate::noise::Derived;
use crate::session::SessionKeys;

/// 8192 bits, of which 8128 behind the newest count (reference W-52).
const REPLAY_WORDS: usize = 128;

/// One session with the state that stays with the device.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) keys: Arc<SessionKeys>,
    /// Not used from then on, either way (reference W-51).
    expires: Instant,
    /// An initiator that sends asks for new keys from then on (reference W-62),
    rekey_sending: Instant,
    /// and one that only receives from then on (reference W-63).
    rekey_receiving: Instant,
    initiator: bool,
    may_send: bool,
    next_counter: u64,
    pub(crate) replay: ReplayWindow<REPLAY_WORDS>,
}

/// The sessions of a peer.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    previous: Option<Box<Session>>,
    current: Option<Box<Session>>,
    next: Option<Box<Session>>,
}

/// Indices of sessions that are gone.
pub(crate) type Released = ArrayVec<Index, 3>;

impl Session {
    pub(crate) fn new(derived: &Derived, initiator: bool, now: Instant) -> Box<Self> {
        Box::new(Self {
            keys: Arc::new(SessionKeys {
                local: derived.local,
                remote: derived.remote,
                sending: Key::new(&derived.sending),
                receiving: Key::new(&derived.receiving),
            }),
            expires: now + REJECT_AFTER_TIME,
            rekey_sending: now + REKEY_AFTER_TIME,
            rekey_receiving: now + REKEY_ON_RECEIVE,
            initiator,
            may_send: true,
            next_counter: 0,
            replay: ReplayWindow::new(),
        })
    }

    /// Whether a message with this counter may be opened.
    #[inline]
    pub(crate) fn may_receive(&self, now: Instant, counter: u64) -> bool {
        now < self.expires && counter < REJECT_AFTER_MESSAGES
    }

    #[inline]
    fn can_send(&self, now: Instant) -> bool {
        self.may_send && now < self.expires && self.next_counter < REJECT_AFTER_MESSAGES
    }

    /// The counter for a message to be sent now.
    #[inline]
    pub(crate) const fn take_counter(&mut self) -> u64 {
        let counter = self.next_counter;
        self.next_counter = counter.saturating_add(1);
        counter
    }

    /// Whether new keys are due after sending (reference W-62).
    #[inline]
    pub(crate) fn is_due_after_sending(&self, now: Instant) -> bool {
        self.next_counter > REKEY_AFTER_MESSAGES || (self.initiator && now >= self.rekey_sending)
    }
}

impl Keyring {
    /// The session that data leaves with now, if there is one.
    #[inline]
    pub(crate) fn sending(&mut self, now: Instant) -> Option<&mut Session> {
        self.current.as_deref_mut().filter(|session| session.can_send(now))
    }

    #[inline]
    pub(crate) fn can_send(&self, now: Instant) -> bool {
        self.current.as_deref().is_some_and(|session| session.can_send(now))
    }

    /// The session with this local index.
    #[inline]
    pub(crate) fn find(&mut self, local: Index) -> Option<&mut Session> {
        [&mut self.current, &mut self.next, &mut self.previous]
            .into_iter()
            .filter_map(Option::as_deref_mut)
            .find(|session| session.keys.local == local)
    }

    /// Whether an initiator that only receives should ask for new keys (reference W-63).
    #[inline]
    pub(crate) fn is_due_after_receiving(&self, now: Instant) -> bool {
        self.current
            .as_deref()
            .is_some_and(|session| session.initiator && session.may_send && now >= session.rekey_receiving)
    }

    /// A session we began: the response has come, so the peer has the key too (reference W-40).
    pub(crate) fn install_as_initiator(&mut self, session: Box<Session>) -> Released {
        let mut gone = Released::new();
        let current = self.current.replace(session);
        let last = match self.next.take() {
            Some(next) => {
                release(&mut gone, current);
                Some(next)
            }
            None => current,
        };
        release(&mut gone, std::mem::replace(&mut self.previous, last));
        gone
    }

    /// A session the peer began: not used for sending until it has proved that it has the key (reference W-41).
    pub(crate) fn install_as_responder(&mut self, session: Box<Session>) -> Released {
        let mut gone = Released::new();
        release(&mut gone, self.next.replace(session));
        release(&mut gone, self.previous.take());
        gone
    }

    /// Authenticated data came with this index. If it was the first under the next session, that is the current one
    /// from now on (reference W-42): then the indices that are gone.
    #[inline]
    pub(crate) fn confirm(&mut self, local: Index) -> Option<Released> {
        let next = self.next.take_if(|next| next.keys.local == local)?;
        let mut gone = Released::new();
        let current = self.current.replace(next);
        release(&mut gone, std::mem::replace(&mut self.previous, current));
        Some(gone)
    }

    /// Our private key has changed: nothing more is sent with these sessions (reference W-16).
    pub(crate) fn stop_sending(&mut self) {
        for session in [&mut self.current, &mut self.next].into_iter().flatten() {
            session.may_send = false;
        }
    }

    /// Wipes all.
    pub(crate) fn clear(&mut self) -> Released {
        let mut gone = Released::new();
        for session in [self.previous.take(), self.current.take(), self.next.take()] {
            release(&mut gone, session);
        }
        gone
    }
}

fn release(gone: &mut Released, session: Option<Box<Session>>) {
    if let Some(session) = session {
        gone.push(session.keys.local);
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;

    fn session(n: u32) -> Box<Session> {
        #[expect(clippy::disallowed_methods, reason = "where virtual time begins; no result depends on it")]
        let now = Instant::now();
        let key = || Secret::new([1; 32]);
        let derived = Derived { local: Index(n), remote: Index(n), sending: key(), receiving: key() };
        Session::new(&derived, true, now)
    }

    fn slots(ring: &Keyring) -> [u32; 3] {
        [&ring.previous, &ring.current, &ring.next].map(|s| s.as_ref().map_or(0, |s| s.keys.local.0))
    }

    fn indices(gone: &Released) -> Vec<u32> {
        gone.iter().map(|index| index.0).collect()
    }

    #[test]
    fn an_initiators_session_is_current_at_once_and_the_one_before_is_previous() {
        let mut ring = Keyring::default();
        assert_eq!(indices(&ring.install_as_initiator(session(1))), []);
        assert_eq!(indices(&ring.install_as_initiator(session(2))), []);
        assert_eq!(slots(&ring), [1, 2, 0]);
        assert_eq!(indices(&ring.install_as_initiator(session(3))), [1]);
        assert_eq!(slots(&ring), [2, 3, 0]);
    }

    #[test]
    fn an_initiators_session_keeps_an_unconfirmed_next_as_previous_and_drops_the_current() {
        let mut ring = Keyring::default();
        drop(ring.install_as_initiator(session(1)));
        drop(ring.install_as_responder(session(2)));
        assert_eq!(indices(&ring.install_as_initiator(session(3))), [1]);
        assert_eq!(slots(&ring), [2, 3, 0]);
    }

    #[test]
    fn a_responders_session_waits_as_next_and_drops_the_previous() {
        let mut ring = Keyring::default();
        drop(ring.install_as_initiator(session(1)));
        drop(ring.install_as_initiator(session(2)));
        assert_eq!(indices(&ring.install_as_responder(session(3))), [1]);
        assert_eq!(slots(&ring), [0, 2, 3]);
        assert_eq!(indices(&ring.install_as_responder(session(4))), [3]);
        assert!(ring.confirm(Index(3)).is_none());
        assert_eq!(ring.confirm(Index(4)).map(|gone| indices(&gone)), Some(vec![]));
        assert_eq!(slots(&ring), [2, 4, 0]);
        assert!(ring.confirm(Index(4)).is_none(), "only the first data confirms");
    }
}

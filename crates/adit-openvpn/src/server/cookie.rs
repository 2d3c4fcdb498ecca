//! Session names that prove a client's address: the server keeps nothing until its client has shown one back.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_protocol::Secret;
use aws_lc_rs::hmac;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use subtle::ConstantTimeEq as _;

use crate::constants::MAX_SPENT;
use crate::packet::SessionId;

/// A cookie is good in the slot that it was made in, and in those after it, so many in all.
const SLOTS: u64 = 3;

/// What cookies are made with, and those that came of age: each is good for one session.
pub(super) struct CookieJar {
    key: hmac::Key,
    /// Those that were spent and would still be good, and when they were.
    spent: HashSet<SessionId>,
    order: VecDeque<(u64, SessionId)>,
    began: Instant,
    /// How long a cookie keeps its value; it is good for between two and three times that.
    slot: Duration,
}

impl CookieJar {
    pub(super) fn new(rng: &mut ChaCha20Rng, began: Instant, hand_window: Duration) -> Self {
        let mut key = Secret::new([0; 32]);
        rng.fill_bytes(key.expose_mut());
        let slot = Duration::from_secs(hand_window.as_secs().div_ceil(2).max(1));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        Self { key, spent: HashSet::new(), order: VecDeque::new(), began, slot }
    }

    /// The name of the session that a client at `from`, which calls it `client`, would have now.
    pub(super) fn make(&self, now: Instant, from: SocketAddr, client: SessionId) -> SessionId {
        self.of_slot(self.slot_at(now), from, client)
    }

    /// Whether `shown` was made for this client, not long ago, and nothing came of it yet.
    pub(super) fn accepts(&self, now: Instant, from: SocketAddr, client: SessionId, shown: SessionId) -> bool {
        let slot = self.slot_at(now);
        let good = (0..SLOTS)
            .filter_map(|ago| slot.checked_sub(ago))
            .fold(subtle::Choice::from(0), |good, slot| good | self.of_slot(slot, from, client).0.ct_eq(&shown.0));
        bool::from(good) && !self.spent.contains(&shown)
    }

    /// A session came of this one. The same datagram again would cost another handshake, which nothing bounds.
    pub(super) fn spend(&mut self, now: Instant, cookie: SessionId) {
        let slot = self.slot_at(now);
        while self.order.front().is_some_and(|(at, _)| at + SLOTS <= slot || self.order.len() >= MAX_SPENT) {
            let Some((_, old)) = self.order.pop_front() else { break };
            self.spent.remove(&old);
        }
        if self.spent.insert(cookie) {
            self.order.push_back((slot, cookie));
        }
    }

    fn slot_at(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / self.slot.as_secs()
    }

    fn of_slot(&self, slot: u64, from: SocketAddr, client: SessionId) -> SessionId {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&slot.to_be_bytes());
        match from.ip() {
            IpAddr::V4(address) => context.update(&address.octets()),
            IpAddr::V6(address) => context.update(&address.octets()),
        }
        context.update(&from.port().to_be_bytes());
        context.update(&client.0);
        let tag = context.sign();
        SessionId(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::testing::start;

    const CLIENT: SessionId = SessionId([1, 2, 3, 4, 5, 6, 7, 8]);

    fn jar(began: Instant) -> CookieJar {
        CookieJar::new(&mut ChaCha20Rng::from_seed([5; 32]), began, Duration::from_secs(60))
    }

    fn from() -> SocketAddr {
        ([192, 0, 2, 9], 1195).into()
    }

    #[test]
    fn a_cookie_is_good_for_a_while_for_the_same_client_at_the_same_address() {
        let began = start();
        let jar = jar(began);
        let cookie = jar.make(began, from(), CLIENT);
        let good = |after, from, client| jar.accepts(began + Duration::from_secs(after), from, client, cookie);
        assert!(good(0, from(), CLIENT) && good(60, from(), CLIENT) && good(89, from(), CLIENT));
        assert!(!good(90, from(), CLIENT) && !good(4000, from(), CLIENT));
        assert!(!good(0, ([192, 0, 2, 9], 1196).into(), CLIENT));
        assert!(!good(0, ([192, 0, 2, 8], 1195).into(), CLIENT));
        assert!(!good(0, from(), SessionId([0; 8])));
    }

    #[test]
    fn a_cookie_is_good_for_one_session_and_its_memory_is_bounded() {
        let began = start();
        let mut jar = jar(began);
        let cookie = jar.make(began, from(), CLIENT);
        jar.spend(began, cookie);
        assert!(!jar.accepts(began, from(), CLIENT, cookie));
        let later = began + Duration::from_secs(90);
        jar.spend(later, SessionId([9; 8]));
        assert_eq!((jar.spent.len(), jar.order.len()), (1, 1), "what is good no more needs no memory");
        for n in 0..2 * MAX_SPENT as u64 {
            jar.spend(later, SessionId(n.to_be_bytes()));
        }
        assert_eq!((jar.spent.len(), jar.order.len()), (MAX_SPENT, MAX_SPENT));
    }

    #[test]
    fn no_bit_of_a_cookie_may_change() {
        let began = start();
        let jar = jar(began);
        let cookie = jar.make(began, from(), CLIENT);
        for bit in 0..64 {
            let mut forged = cookie;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!jar.accepts(began, from(), CLIENT, forged), "bit {bit}");
        }
    }
}

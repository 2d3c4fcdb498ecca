//! Who may cost us a handshake: MAC1, load, MAC2 and a rate for each source (§5.3, §5.4.7).
//!
//! A state machine has no queue whose length would be its load, so load is measured by what arrives: a bucket that every
//! handshake message with a right MAC1 fills by one and time empties. Above a mark the device is under load, and for a
//! second after.
//!
//! One loud address alone should not put all peers behind cookies: before the device's bucket each source fills one of
//! its own, and what a source sends above its mark is asked for a cookie without filling the device's. So a flood from
//! one real address bothers only that address; a flood from many, or from forged ones, is what the device's bucket and
//! the cookies are for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_protocol::{DropReason, Secret};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use subtle::ConstantTimeEq as _;

use crate::constants::{
    COOKIE_LIFETIME, COOKIE_REPLY_LEN, DEVICE_LOAD_MARK, DEVICE_LOAD_RATE, LOAD_LINGERS, MAX_SOURCES, SOURCE_BURST,
    SOURCE_IDLE, SOURCE_LOAD_MARK, SOURCE_LOAD_RATE, SOURCE_RATE,
};
use crate::cookie::{MacKeys, seal_cookie};
use crate::hash::mac;
use crate::message::{COOKIE_REPLY, Index, Macs};

/// What the gate says to a handshake message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may be read.
    Admit,
    /// Answer with this cookie reply.
    AskCookie(Vec<u8>),
    /// Silence.
    Drop(DropReason),
}

/// The receiver's side of MACs and cookies.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What cookies are made of, and since when.
    secret: Option<(Secret<32>, Instant)>,
    load: Bucket,
    loaded_until: Option<Instant>,
    forced: Option<bool>,
    /// What every source sends. Forged addresses can fill it.
    arrivals: Sources,
    /// What came with a right MAC2 while under load (reference W-23): only who receives at an address can be in it, so a
    /// flood of forged ones keeps nobody out.
    proved: Sources,
}

/// An address that rates are kept for: one IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// A bucket for each source that was heard of lately.
#[derive(Debug, Default)]
struct Sources {
    map: BTreeMap<Source, SourceState>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct SourceState {
    bucket: Bucket,
    seen: Instant,
}

/// Fills by one for each arrival, empties with time.
#[derive(Debug, Default)]
struct Bucket {
    /// In nanoseconds of emptying.
    level: Duration,
    at: Option<Instant>,
}

impl Bucket {
    /// One more arrival, unless that would go over `mark`; at most `rate` leave in a second.
    fn add(&mut self, now: Instant, rate: u32, mark: u32) -> bool {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level = self.level.saturating_sub(passed);
        self.at = Some(now);
        let one = Duration::from_secs(1) / rate;
        let fits = self.level + one <= one * mark;
        if fits {
            self.level += one;
        }
        fits
    }
}

impl Source {
    fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Sources {
    /// The bucket of this source; `None` if there are too many to remember another.
    fn bucket(&mut self, now: Instant, from: SocketAddr) -> Option<&mut Bucket> {
        let source = Source::of(from);
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SOURCE_IDLE) {
            self.map.retain(|_, state| now.saturating_duration_since(state.seen) < SOURCE_IDLE);
            self.swept = Some(now);
        }
        if self.map.len() >= MAX_SOURCES && !self.map.contains_key(&source) {
            return None;
        }
        let state = self.map.entry(source).or_insert_with(|| SourceState { bucket: Bucket::default(), seen: now });
        state.seen = now;
        Some(&mut state.bucket)
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            secret: None,
            load: Bucket::default(),
            loaded_until: None,
            forced: None,
            arrivals: Sources::default(),
            proved: Sources::default(),
        }
    }

    /// Overrides the measure.
    pub(crate) fn force(&mut self, under_load: Option<bool>) {
        self.forced = under_load;
    }

    /// Whether everybody is asked for a cookie at the moment.
    pub(crate) fn is_under_load(&self, now: Instant) -> bool {
        self.forced.unwrap_or_else(|| self.loaded_until.is_some_and(|until| now < until))
    }

    /// Looks at the MACs of a handshake message from `from`, whose sender calls itself `sender`.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        keys: &MacKeys,
        rng: &mut ChaCha20Rng,
        from: SocketAddr,
        sender: Index,
        macs: &Macs<'_>,
    ) -> Verdict {
        let mac1 = mac(&keys.mac1, &[macs.before_mac1]);
        if !bool::from(mac1.ct_eq(macs.mac1)) {
            return Verdict::Drop(DropReason::BadMac);
        }
        if !self.measure(now, from) {
            return Verdict::Admit;
        }
        let cookie = self.cookie(now, rng, from);
        let mac2 = mac(&cookie, &[macs.before_mac2]);
        if !bool::from(mac2.ct_eq(macs.mac2)) {
            return Verdict::AskCookie(reply(keys, rng, sender, macs.mac1, &cookie));
        }
        let heard = self.proved.bucket(now, from).is_some_and(|bucket| bucket.add(now, SOURCE_RATE, SOURCE_BURST));
        if heard { Verdict::Admit } else { Verdict::Drop(DropReason::RateLimited) }
    }

    /// Counts an arrival, and says whether it must show a cookie.
    fn measure(&mut self, now: Instant, from: SocketAddr) -> bool {
        let source_fits =
            self.arrivals.bucket(now, from).is_none_or(|bucket| bucket.add(now, SOURCE_LOAD_RATE, SOURCE_LOAD_MARK));
        if source_fits && !self.load.add(now, DEVICE_LOAD_RATE, DEVICE_LOAD_MARK) {
            self.loaded_until = Some(now + LOAD_LINGERS);
        }
        self.forced.unwrap_or_else(|| !source_fits || self.is_under_load(now))
    }

    /// The cookie of this address and port (§5.4.7).
    fn cookie(&mut self, now: Instant, rng: &mut ChaCha20Rng, from: SocketAddr) -> [u8; 16] {
        let fresh = |(_, born): &(Secret<32>, Instant)| now.saturating_duration_since(*born) < COOKIE_LIFETIME;
        let secret = self.secret.take().filter(fresh);
        let (secret, _) = self.secret.insert(secret.unwrap_or_else(|| {
            let mut secret = Secret::new([0; 32]);
            rng.fill_bytes(secret.expose_mut());
            (secret, now)
        }));
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(ip) => mac(secret.expose(), &[&ip.octets(), &port]),
            IpAddr::V6(ip) => mac(secret.expose(), &[&ip.octets(), &port]),
        }
    }
}

/// A cookie reply (§5.4.7).
fn reply(keys: &MacKeys, rng: &mut ChaCha20Rng, to: Index, mac1: &[u8; 16], cookie: &[u8; 16]) -> Vec<u8> {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    let mut datagram = Vec::with_capacity(COOKIE_REPLY_LEN);
    datagram.extend_from_slice(&COOKIE_REPLY);
    datagram.extend_from_slice(&to.0.to_le_bytes());
    datagram.extend_from_slice(&nonce);
    datagram.extend_from_slice(&seal_cookie(&keys.cookie, &nonce, mac1, cookie));
    datagram
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::message::{INITIATION, Message};

    struct World {
        gate: Gate,
        keys: MacKeys,
        rng: ChaCha20Rng,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "where virtual time begins; no result depends on it")]
            let now = Instant::now();
            let keys = MacKeys { mac1: [1; 32], cookie: [2; 32] };
            Self { gate: Gate::new(), keys, rng: ChaCha20Rng::from_seed([3; 32]), now }
        }

        /// An initiation with a right MAC1 and, given a cookie, a right MAC2.
        fn check(&mut self, from: SocketAddr, cookie: Option<[u8; 16]>) -> Verdict {
            let mut bytes = vec![0; 116];
            bytes[..4].copy_from_slice(&INITIATION);
            bytes.extend_from_slice(&mac(&self.keys.mac1, &[&bytes]));
            bytes.extend_from_slice(&cookie.map_or([0; 16], |cookie| mac(&cookie, &[&bytes])));
            let Some(Message::Initiation(m)) = Message::parse(&bytes) else { panic!("not an initiation") };
            self.gate.check(self.now, &self.keys, &mut self.rng, from, m.sender, &m.macs)
        }
    }

    fn source(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 1))
    }

    #[test]
    fn many_sources_are_load_for_all_for_a_second() {
        let mut world = World::new();
        let admitted = (0..3000).filter(|n| matches!(world.check(source(*n), None), Verdict::Admit)).count();
        assert_eq!(admitted as u32, DEVICE_LOAD_MARK);
        assert!(matches!(world.check(source(9999), None), Verdict::AskCookie(_)));
        world.now += LOAD_LINGERS;
        assert!(matches!(world.check(source(9999), None), Verdict::Admit));
    }

    #[test]
    fn one_source_is_load_for_itself() {
        let mut world = World::new();
        let admitted = (0..3000).filter(|_| matches!(world.check(source(1), None), Verdict::Admit)).count();
        assert_eq!(admitted as u32, SOURCE_LOAD_MARK);
        assert!(matches!(world.check(source(2), None), Verdict::Admit));
    }

    #[test]
    fn a_shown_cookie_lets_five_pass_and_then_twenty_a_second() {
        let mut world = World::new();
        world.gate.force(Some(true));
        let cookie = world.gate.cookie(world.now, &mut world.rng, source(1));
        for _ in 0..5 {
            assert!(matches!(world.check(source(1), Some(cookie)), Verdict::Admit));
        }
        assert!(matches!(world.check(source(1), Some(cookie)), Verdict::Drop(DropReason::RateLimited)));
        world.now += Duration::from_millis(50);
        assert!(matches!(world.check(source(1), Some(cookie)), Verdict::Admit));
        assert!(matches!(world.check(source(1), Some(cookie)), Verdict::Drop(DropReason::RateLimited)));
    }

    #[test]
    fn sources_are_bounded_and_forgotten_when_idle() {
        let mut world = World::new();
        for n in 0..3 * MAX_SOURCES as u32 {
            world.check(source(n), None);
        }
        assert_eq!(world.gate.arrivals.map.len(), MAX_SOURCES);
        world.now += SOURCE_IDLE;
        world.check(source(1), None);
        assert_eq!(world.gate.arrivals.map.len(), 1);
    }
}

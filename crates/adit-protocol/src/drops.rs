//! Why packets are dropped, and how many.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why a packet or datagram was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// A short name for people and metrics: lower case, words joined by hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// From the inside: not an IPv4 or IPv6 packet, or cut short.
    NotIp => "not-ip",
    /// From the inside: no peer owns the destination.
    NoRoute => "no-route",
    /// From the inside: the peer has no known endpoint.
    NoEndpoint => "no-endpoint",
    /// From the inside: too many packets wait for a handshake; the oldest went.
    StagingFull => "staging-full",
    /// From the inside: waited for a handshake that never came about.
    HandshakeFailed => "handshake-failed",
    /// From the inside: longer than the protocol or carrier can send.
    TooLong => "too-long",
    /// From the outside: not a message of the protocol.
    NotAMessage => "not-a-message",
    /// From the outside: the message authentication code of a handshake is wrong.
    BadMac => "bad-mac",
    /// From the outside: under load, and the sender has not proved its address.
    UnderLoad => "under-load",
    /// From the outside: too many handshakes from this source.
    RateLimited => "rate-limited",
    /// From the outside: a handshake that does not decrypt, or is from an unknown key.
    BadHandshake => "bad-handshake",
    /// From the outside: a handshake that was seen before, or is older than one seen before.
    ReplayedHandshake => "replayed-handshake",
    /// From the outside: no session has this index.
    UnknownSession => "unknown-session",
    /// From the outside: the session's key is too old, or used up.
    ExpiredSession => "expired-session",
    /// From the outside: the datagram does not authenticate.
    Forged => "forged",
    /// From the outside: seen before, or too far behind the newest.
    Replayed => "replayed",
    /// From the outside: the inner packet is not IPv4 or IPv6, or lies about its length.
    BadInner => "bad-inner",
    /// From the outside: the inner source does not belong to the peer.
    WrongSource => "wrong-source",
    /// From the outside: for another client of the same server, and clients are kept apart.
    Apart => "apart",
    /// From the outside: the inner packet's congestion mark cannot be carried over (RFC 6040).
    BadEcn => "bad-ecn",
    /// Either way: more than the rate that the device is limited to.
    OverLimit => "over-limit",
    /// The driver's queue towards the outside was full, or the carrier refused the datagram.
    OutsideFull => "outside-full",
    /// The driver's queue towards the inside was full, or the inside refused the packet.
    InsideFull => "inside-full",
}

/// Counters, one a reason.
#[derive(Clone, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&mut self, reason: DropReason, n: u64) {
        if let Some(slot) = self.0.get_mut(reason as usize) {
            *slot = slot.saturating_add(n);
        }
    }

    /// How many for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.of(*r))).filter(|(_, n)| *n > 0)
    }

    /// Adds another set of counters to this one.
    pub fn merge(&mut self, other: &Self) {
        for (reason, n) in other.iter() {
            self.add(reason, n);
        }
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(r, n)| (r.name(), n))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let mut drops = Drops::default();
        for (n, reason) in (1..).zip(DropReason::ALL) {
            drops.add(*reason, n);
            drops.count(*reason);
        }
        for (n, reason) in (1..).zip(DropReason::ALL) {
            assert_eq!(drops.of(*reason), n + 1);
        }
        let reasons = DropReason::ALL.len() as u64;
        assert_eq!(drops.total(), reasons * (reasons + 1) / 2 + reasons);
    }

    #[test]
    fn only_reasons_that_occurred_are_listed() {
        let mut drops = Drops::default();
        assert_eq!((drops.iter().count(), drops.total()), (0, 0));
        drops.add(DropReason::Forged, 2);
        assert_eq!(drops.iter().collect::<Vec<_>>(), [(DropReason::Forged, 2)]);
        assert_eq!(format!("{drops:?}"), r#"{"forged": 2}"#);
    }

    #[test]
    fn sums_add_up_and_stay_at_the_end() {
        let (mut a, mut b) = (Drops::default(), Drops::default());
        a.add(DropReason::NoRoute, 3);
        b.add(DropReason::NoRoute, 4);
        b.count(DropReason::Replayed);
        a.merge(&b);
        assert_eq!((a.of(DropReason::NoRoute), a.of(DropReason::Replayed)), (7, 1));
        a.add(DropReason::NoRoute, u64::MAX);
        assert_eq!(a.of(DropReason::NoRoute), u64::MAX);
    }

    #[test]
    fn names_are_short_distinct_and_fit_for_metrics() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(names.iter().all(|n| n.len() <= 24 && n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }
}

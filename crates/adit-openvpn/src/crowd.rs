//! Strangers who wait to be let in: how many of them there may be, and whose place another one takes.
//!
//! Pure: who waits, since when and for what is the caller's. Not here: who is let in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many may wait at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Of one host: an address of IPv4, or a /64 of IPv6.
    pub of_host: usize,
    /// Of one network: a /24 of IPv4, or a /48 of IPv6.
    pub of_network: usize,
    /// Of all.
    pub of_all: usize,
}

impl Crowd {
    /// Whose place somebody from `from` takes; `None` while there is room beside those who wait. Of those who count, the one with the
    /// least `K` goes: of the same host if that has its share, of the same network if that has, or of the network that has most.
    /// So whoever comes is never turned away because of others, and whoever sends many turns out his own.
    pub fn who_goes<K: Ord + Copy>(&self, waiting: &[(IpAddr, K)], from: IpAddr) -> Option<K> {
        let least = |counts: &dyn Fn(IpAddr) -> bool| {
            waiting.iter().filter(|(address, _)| counts(*address)).map(|(_, key)| *key).min()
        };
        let count = |counts: &dyn Fn(IpAddr) -> bool| waiting.iter().filter(|(address, _)| counts(*address)).count();
        let (same_host, same_network) = (|other| host(other) == host(from), |other| network(other) == network(from));
        if count(&same_host) >= self.of_host {
            return least(&same_host);
        }
        if count(&same_network) >= self.of_network {
            return least(&same_network);
        }
        if waiting.len() < self.of_all {
            return None;
        }
        let mut networks = BTreeMap::<_, usize>::new();
        waiting.iter().for_each(|(address, _)| *networks.entry(network(*address)).or_default() += 1);
        let most = networks.values().copied().max()?;
        least(&|other| networks.get(&network(other)) == Some(&most))
    }
}

/// What counts as one host: the address, or the /64 of IPv6 that it is in.
pub fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// What counts as one network: the /24 of IPv4 or the /48 of IPv6 that the address is in.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) >> 8 << 8).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Crowd = Crowd { of_host: 2, of_network: 3, of_all: 6 };

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Those who wait, in the order in which they came, and who goes when another comes.
    fn goes(waiting: &[&str], from: &str) -> Option<usize> {
        let waiting: Vec<_> = waiting.iter().map(|text| at(text)).zip(0..).collect();
        CROWD.who_goes(&waiting, at(from))
    }

    #[test]
    fn who_sends_many_turns_out_his_own() {
        assert_eq!(goes(&[], "192.0.2.1"), None);
        assert_eq!(goes(&["192.0.2.1"], "192.0.2.1"), None);
        assert_eq!(goes(&["192.0.2.9", "192.0.2.1", "192.0.2.1"], "192.0.2.1"), Some(1), "of the host");
        assert_eq!(
            goes(&["203.0.113.9", "192.0.2.1", "192.0.2.2", "192.0.2.3"], "192.0.2.4"),
            Some(1),
            "of the network"
        );
        assert_eq!(goes(&["192.0.2.1", "192.0.2.2", "192.0.2.3"], "203.0.113.9"), None);
    }

    #[test]
    fn when_all_is_full_the_oldest_of_the_network_that_has_most_goes() {
        let waiting = ["203.0.113.9", "192.0.2.1", "198.51.100.1", "192.0.2.2", "198.51.100.2", "192.0.2.3"];
        assert_eq!(goes(&waiting, "203.0.114.1"), Some(1));
        assert_eq!(goes(&waiting, "203.0.113.10"), Some(1), "the one who waits beside stays");
        let even = ["203.0.113.9", "192.0.2.1", "198.51.100.1", "192.0.3.2", "198.51.101.2", "192.0.4.3"];
        assert_eq!(goes(&even, "203.0.114.1"), Some(0), "the oldest of all");
    }

    #[test]
    fn hosts_and_networks_are_what_one_person_has() {
        assert_ne!(host(at("192.0.2.1")), host(at("192.0.2.2")));
        assert_eq!(host(at("::ffff:192.0.2.1")), at("192.0.2.1"));
        assert_eq!(host(at("2001:db8::1")), host(at("2001:db8::ffff:1")));
        assert_ne!(host(at("2001:db8::1")), host(at("2001:db8:0:1::1")));
        assert_eq!(network(at("2001:db8::1")), network(at("2001:db8:0:ffff::1")));
        assert_ne!(network(at("2001:db8::1")), network(at("2001:db8:1::1")));
        assert_eq!(network(at("192.0.2.1")), network(at("192.0.2.254")));
        assert_ne!(network(at("192.0.2.1")), network(at("192.0.3.1")));
    }
}

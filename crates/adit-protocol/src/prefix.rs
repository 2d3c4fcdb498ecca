//! Longest-prefix table from network to value, over both IP versions.
//!
//! Not here: the tree itself (`trie`), which knows bits and no addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::trie::Trie;

/// Networks with a value each; a look-up finds the most specific network that holds an address.
///
/// A look-up visits at most one node for each network that holds the address or shares a fork on its way, allocates
/// nothing, and is independent of the order of insertion. A network is one or two small nodes in a vector.
#[derive(Clone)]
pub struct PrefixTable<T> {
    v4: Trie<u32, T>,
    v6: Trie<u128, T>,
}

impl<T> PrefixTable<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { v4: Trie::new(), v6: Trie::new() }
    }

    /// Puts a network in, host bits masked off; gives back the value it had.
    pub fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        match net {
            IpNet::V4(n) => self.v4.insert(n.addr().to_bits(), n.prefix_len(), value),
            IpNet::V6(n) => self.v6.insert(n.addr().to_bits(), n.prefix_len(), value),
        }
    }

    /// Takes exactly this network out.
    pub fn remove(&mut self, net: IpNet) -> Option<T> {
        match net {
            IpNet::V4(n) => self.v4.remove(n.addr().to_bits(), n.prefix_len()),
            IpNet::V6(n) => self.v6.remove(n.addr().to_bits(), n.prefix_len()),
        }
    }

    /// Keeps only the networks for which `keep` answers true, in one pass: all that one owner had go in linear time.
    pub fn retain(&mut self, mut keep: impl FnMut(IpNet, &T) -> bool) {
        self.v4.retain(|bits, len, value| keep(net_v4(bits, len), value));
        self.v6.retain(|bits, len, value| keep(net_v6(bits, len), value));
    }

    /// The value of exactly this network.
    pub fn get(&self, net: IpNet) -> Option<&T> {
        match net {
            IpNet::V4(n) => self.v4.get(n.addr().to_bits(), n.prefix_len()),
            IpNet::V6(n) => self.v6.get(n.addr().to_bits(), n.prefix_len()),
        }
    }

    /// The value of the most specific network that holds `address`.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        match address {
            IpAddr::V4(a) => self.v4.lookup(a.to_bits()),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits()),
        }
    }

    /// All networks with their values, IPv4 first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> + '_ {
        let v4 = self.v4.iter().map(|(bits, len, value)| (net_v4(bits, len), value));
        v4.chain(self.v6.iter().map(|(bits, len, value)| (net_v6(bits, len), value)))
    }

    /// How many networks.
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for PrefixTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The trie hands out no length beyond the address, so the assertion cannot fail.
fn net_v4(bits: u32, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len))
}

/// As [`net_v4`].
fn net_v6(bits: u128, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), len))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_specific_network_wins_whatever_the_order() {
        let nets = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "::/0", "fd00::/8"];
        for turn in 0..nets.len() {
            let mut t = PrefixTable::new();
            for i in 0..nets.len() {
                t.insert(net(nets[(i + turn) % nets.len()]), nets[(i + turn) % nets.len()]);
            }
            let at = |a: &str| *t.lookup(a.parse().unwrap()).unwrap();
            assert_eq!(at("10.1.2.3"), "10.1.2.3/32");
            assert_eq!(at("10.1.2.4"), "10.1.2.0/24");
            assert_eq!(at("10.1.3.4"), "10.1.0.0/16");
            assert_eq!(at("10.2.3.4"), "10.0.0.0/8");
            assert_eq!(at("11.2.3.4"), "0.0.0.0/0");
            assert_eq!(at("fd12::1"), "fd00::/8");
            assert_eq!(at("2001:db8::1"), "::/0");
        }
    }

    #[test]
    fn the_versions_are_apart() {
        let mut t = PrefixTable::new();
        t.insert(net("::/0"), 6);
        assert_eq!(t.lookup("10.0.0.1".parse().unwrap()), None);
        t.insert(net("0.0.0.0/0"), 4);
        assert_eq!(t.lookup("10.0.0.1".parse().unwrap()), Some(&4));
        assert_eq!(t.lookup("::ffff:10.0.0.1".parse().unwrap()), Some(&6));
    }

    #[test]
    fn host_bits_are_masked_off() {
        let mut t = PrefixTable::new();
        assert_eq!(t.insert(net("10.1.2.3/8"), 1), None);
        assert_eq!(t.insert(net("10.9.9.9/8"), 2), Some(1));
        assert_eq!(t.get(net("10.77.0.0/8")), Some(&2));
        assert_eq!(t.iter().collect::<Vec<_>>(), [(net("10.0.0.0/8"), &2)]);
        assert_eq!(t.remove(net("10.5.0.0/8")), Some(2));
        assert!(t.is_empty());
    }

    #[test]
    fn the_longest_prefixes_of_an_address_nest_to_the_end() {
        let mut t = PrefixTable::new();
        let top: Ipv6Addr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        for len in 0..=128 {
            t.insert(IpNet::new(top.into(), len).unwrap(), len);
        }
        for len in (0..=128).rev() {
            assert_eq!(t.lookup(top.into()), Some(&len));
            assert_eq!(t.remove(IpNet::new(top.into(), len).unwrap()), Some(len));
        }
        assert_eq!(t.lookup(top.into()), None);
    }

    #[test]
    fn all_networks_of_one_owner_go_in_one_pass() {
        let mut t = PrefixTable::new();
        for i in 0..131_072_u32 {
            t.insert(IpNet::new(Ipv4Addr::from_bits(i << 9).into(), 32 - (i % 9) as u8).unwrap(), i % 2);
        }
        assert_eq!(t.len(), 131_072);
        assert_eq!(t.iter().count(), 131_072);
        t.retain(|_, owner| *owner == 0);
        assert_eq!(t.len(), 65_536);
        assert!(t.iter().all(|(_, owner)| *owner == 0));
        t.retain(|_, _| false);
        assert!(t.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(IpNet, u8),
        Remove(IpNet),
        RemoveOwner(u8),
    }

    proptest! {
        #[test]
        fn it_answers_as_the_naive_table(
            steps in prop::collection::vec(a_step(), 1..120),
            asked in prop::collection::vec(an_address(), 1..40),
        ) {
            let mut table = PrefixTable::new();
            let mut naive = Naive::default();
            for step in steps {
                match step {
                    Step::Insert(n, v) => prop_assert_eq!(table.insert(n, v), naive.0.insert(n.trunc(), v)),
                    Step::Remove(n) => prop_assert_eq!(table.remove(n), naive.0.remove(&n.trunc())),
                    Step::RemoveOwner(v) => {
                        table.retain(|_, owner| *owner != v);
                        naive.0.retain(|_, owner| *owner != v);
                    }
                }
                prop_assert_eq!(table.len(), naive.0.len());
                prop_assert!(table.iter().eq(naive.0.iter().map(|(n, v)| (*n, v))));
                for address in &asked {
                    prop_assert_eq!(table.lookup(*address), naive.lookup(*address));
                }
            }
            for (n, v) in &naive.0 {
                prop_assert_eq!(table.get(*n), Some(v));
            }
        }
    }

    /// The table as its documentation says it: every length is tried, longest first.
    #[derive(Default)]
    struct Naive(BTreeMap<IpNet, u8>);

    impl Naive {
        fn lookup(&self, address: IpAddr) -> Option<&u8> {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            (0..=longest).rev().find_map(|len| self.0.get(&IpNet::new(address, len).unwrap().trunc()))
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// Addresses that share long beginnings, so that forks, splices and exact hits all occur.
    fn an_address() -> impl Strategy<Value = IpAddr> {
        let part = || prop::sample::select(vec![0_u8, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff]);
        prop_oneof![
            [part(), part(), part(), part()].prop_map(IpAddr::from),
            (part(), part(), part()).prop_map(|(a, b, c)| {
                let mut octets = [0; 16];
                (octets[0], octets[7], octets[15]) = (a, b, c);
                IpAddr::from(octets)
            }),
        ]
    }

    fn a_net() -> impl Strategy<Value = IpNet> {
        (an_address(), 0..=128_u8).prop_map(|(a, len)| IpNet::new(a, if a.is_ipv4() { len % 33 } else { len }).unwrap())
    }

    fn a_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (a_net(), 0..4_u8).prop_map(|(n, v)| Step::Insert(n, v)),
            3 => a_net().prop_map(Step::Remove),
            1 => (0..4_u8).prop_map(Step::RemoveOwner),
        ]
    }
}

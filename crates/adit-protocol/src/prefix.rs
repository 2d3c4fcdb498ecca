//! Longest-prefix table from network to value.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Networks with a value each; a look-up finds the most specific network that holds an address.
#[derive(Debug, Clone)]
pub struct PrefixTable<T> {
    // A first form, right but slow: replaced by a compressed trie behind the same calls.
    map: BTreeMap<IpNet, T>,
}

impl<T> PrefixTable<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { map: BTreeMap::new() }
    }

    /// Puts a network in, host bits masked off; gives back the value it had.
    pub fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        self.map.insert(net.trunc(), value)
    }

    /// Takes exactly this network out.
    pub fn remove(&mut self, net: IpNet) -> Option<T> {
        self.map.remove(&net.trunc())
    }

    /// The value of exactly this network.
    pub fn get(&self, net: IpNet) -> Option<&T> {
        self.map.get(&net.trunc())
    }

    /// The value of the most specific network that holds `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|len| self.map.get(&IpNet::new(address, len).ok()?.trunc()))
    }

    /// All networks with their values, IPv4 first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> + '_ {
        self.map.iter().map(|(n, v)| (*n, v))
    }

    /// How many networks.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

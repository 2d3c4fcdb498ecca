//! Which addresses a new device gets: the lowest number that no device has, the same in IPv4 and IPv6.
//!
//! The server has number 1. Invites have addresses far above (see `network`).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::network::Network;
use crate::peer::Peer;

/// The lowest number of a device.
const FIRST: u32 = 2;

/// The addresses for the next device. `None`: every one is in use.
pub(crate) fn lowest_free<'a>(
    network: &Network,
    peers: impl ExactSizeIterator<Item = &'a Peer>,
) -> Option<(Ipv4Addr, Ipv6Addr)> {
    // Each device takes one number, or two while a range is being changed: among one more than those, one is free.
    let mut taken = vec![false; peers.len() * 2 + 1];
    let mut take = |number: Option<u32>| {
        if let Some(place) = number.and_then(|number| taken.get_mut(number.checked_sub(FIRST)? as usize)) {
            *place = true;
        }
    };
    for peer in peers {
        take(network.number_v4(peer.v4));
        take(network.number_v6(peer.v6));
    }
    let free = taken.iter().position(|taken| !taken)?;
    let number = u32::try_from(free).ok()?.checked_add(FIRST)?;
    (number <= network.last_host()).then(|| (network.host_v4(number), network.host_v6(number)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{network, peer};

    fn small(prefix: u8) -> Network {
        Network { v4: format!("10.77.0.0/{prefix}").parse().unwrap(), ..network() }
    }

    #[test]
    fn the_first_device_is_next_to_the_server() {
        let (v4, v6) = lowest_free(&network(), [].iter()).unwrap();
        assert_eq!((v4.to_string().as_str(), v6.to_string().as_str()), ("10.77.0.2", "fd7a:91c2:77:1::2"));
    }

    #[test]
    fn a_range_is_used_to_its_last_address_and_not_beyond() {
        let network = small(29);
        let mut peers = Vec::new();
        while let Some((v4, v6)) = lowest_free(&network, peers.iter()) {
            peers.push(Peer { v4, v6, ..peer(peers.len() as u64 + 1, "x") });
        }
        assert_eq!(peers.len(), 5);
        assert_eq!(peers[4].v4.to_string(), "10.77.0.6");
    }

    proptest! {
        /// Devices come and go in any order; compared with a search that looks at one address after the other.
        #[test]
        fn the_lowest_free_address_is_given_and_none_twice(
            prefix in 26..31_u8,
            steps in proptest::collection::vec(proptest::option::of(0..64_usize), 1..120),
        ) {
            let network = small(prefix);
            let mut peers: BTreeMap<u64, Peer> = BTreeMap::new();
            for (id, step) in (1_u64..).zip(steps) {
                if let Some(which) = step {
                    let gone = peers.keys().nth(which % peers.len().max(1)).copied();
                    gone.map(|id| peers.remove(&id));
                    continue;
                }
                let used: BTreeSet<_> = peers.values().map(|peer| peer.v4).collect();
                let naive = network.v4.hosts().skip(1).find(|address| !used.contains(address));
                let given = lowest_free(&network, peers.values());
                prop_assert_eq!(given.map(|(v4, _)| v4), naive);
                if let Some((v4, v6)) = given {
                    prop_assert!(peers.values().all(|peer| peer.v4 != v4 && peer.v6 != v6));
                    prop_assert!(v4 != network.server_v4() && v6 != network.server_v6());
                    peers.insert(id, Peer { v4, v6, ..peer(1, "x") });
                }
            }
        }
    }
}

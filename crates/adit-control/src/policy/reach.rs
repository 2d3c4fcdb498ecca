//! A policy as plain addresses, for a firewall that knows neither names nor groups.
//!
//! As long as the policy and its groups are, not as their product: a rule has two sets. Not here: a firewall's text.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Place, Policy, Ports, Traffic, Who};
use crate::model::Model;
use crate::name::Name;
use crate::network::Network;
use crate::peer::Peer;

/// IPv4 that is not routed publicly (RFC 6890): this host, private, shared, loopback, link-local, multicast, reserved.
const NOT_INTERNET: [Ipv4Net; 9] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// IPv6 that is routed publicly (RFC 4291 §2.4, as the address registry gives it out).
const GLOBAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Packets from one of these ranges to one of those may pass. Both sides can hold IPv4 and IPv6; a packet is one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Where they come from: devices of the network.
    pub from: Vec<IpNet>,
    /// Where they go.
    pub to: Vec<IpNet>,
    /// `None`: whatever they are for.
    pub ports: Option<Ports>,
}

impl Reach {
    /// Whether a packet may pass by it.
    pub fn passes(&self, from: IpAddr, to: IpAddr, traffic: Traffic) -> bool {
        let has = |nets: &[IpNet], address: IpAddr| nets.iter().any(|net| net.contains(&address));
        has(&self.from, from) && has(&self.to, to) && self.ports.is_none_or(|ports| ports.has(traffic))
    }
}

impl Policy {
    /// What may pass, and nothing else. Rules that allow nobody anything are left out.
    pub fn reach(&self, model: &Model) -> Vec<Reach> {
        let Some(network) = &model.network else {
            return Vec::new();
        };
        let places = Places { network, model, groups: groups(model), internet: internet() };
        let mut reach = Vec::new();
        for rule in &self.rules {
            let from: Vec<_> = rule.from.iter().flat_map(|who| places.of_devices(who)).collect();
            let mut by_service: BTreeMap<Option<Ports>, Vec<IpNet>> = BTreeMap::new();
            for target in &rule.to {
                by_service.entry(target.ports).or_default().extend(places.of(&target.place));
            }
            let filled = by_service.into_iter().filter(|(_, to)| !to.is_empty() && !from.is_empty());
            reach.extend(filled.map(|(ports, to)| Reach { from: from.clone(), to, ports }));
        }
        reach
    }
}

/// Where the places of a policy are.
struct Places<'a> {
    network: &'a Network,
    model: &'a Model,
    groups: BTreeMap<&'a Name, Vec<&'a Peer>>,
    internet: Vec<IpNet>,
}

impl Places<'_> {
    fn of(&self, place: &Place) -> Vec<IpNet> {
        match place {
            Place::Devices(Who::All) => {
                let network = self.network;
                let servers = [IpNet::from(IpAddr::V4(network.server_v4())), IpAddr::V6(network.server_v6()).into()];
                self.of_devices(&Who::All).into_iter().flat_map(|range| without(range, &servers)).collect()
            }
            Place::Devices(who) => self.of_devices(who),
            Place::Internet => self.internet.clone(),
            Place::Net(net) => vec![net.trunc()],
        }
    }

    fn of_devices(&self, who: &Who) -> Vec<IpNet> {
        let own = |peer: &Peer| [IpNet::from(IpAddr::V4(peer.v4)), IpNet::from(IpAddr::V6(peer.v6))];
        match who {
            // Not the whole of the IPv6 range: invites have the rest of it, and may reach nothing.
            Who::All => vec![self.network.v4.into(), self.network.devices_v6().into()],
            Who::Group(name) => self.groups.get(name).into_iter().flatten().flat_map(|peer| own(peer)).collect(),
            Who::Peer(id) => self.model.peers.get(id).into_iter().flat_map(own).collect(),
        }
    }
}

fn groups(model: &Model) -> BTreeMap<&Name, Vec<&Peer>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for peer in model.peers.values() {
        for group in &peer.groups {
            groups.entry(group).or_default().push(peer);
        }
    }
    groups
}

fn internet() -> Vec<IpNet> {
    let not: Vec<_> = NOT_INTERNET.into_iter().map(IpNet::from).collect();
    let mut nets = without(Ipv4Net::default().into(), &not);
    nets.push(GLOBAL_V6.into());
    nets
}

/// The rest of a range: halved until each half is wholly of it, or wholly not.
fn without(range: IpNet, not: &[IpNet]) -> Vec<IpNet> {
    if not.iter().any(|net| net.contains(&range)) {
        return Vec::new();
    }
    if !not.iter().any(|net| range.contains(net)) {
        return vec![range];
    }
    let halves = range.subnets(range.prefix_len() + 1).into_iter().flatten();
    halves.flat_map(|half| without(half, not)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::fixture::{home, name, network, policies};
    use crate::peer::PeerId;
    use crate::policy::Protocol;

    #[test]
    fn the_internet_is_a_short_list_that_never_has_a_device() {
        let nets = internet();
        assert!(nets.len() < 60, "{nets:?}");
        for own in [network().server_v4().into(), network().server_v6().into()] {
            assert!(!nets.iter().any(|net| net.contains::<&IpAddr>(&own)));
        }
    }

    #[test]
    fn a_rule_for_all_stays_short_and_has_no_invite() {
        let model = home();
        let reach = Policy::default().reach(&model);
        assert_eq!(reach.len(), 1);
        assert_eq!(reach[0].from.len(), 2);
        let invite = IpAddr::from(crate::fixture::invite(1).address);
        assert!(!reach[0].passes(invite, "9.9.9.9".parse().unwrap(), Traffic::Other));
        assert!(!reach[0].passes(invite, "2620:fe::fe".parse().unwrap(), Traffic::Other));
    }

    /// What runs on the server, its SSH say, is opened by its address alone.
    #[test]
    fn all_devices_are_not_the_server() {
        let mut model = home();
        model.policy = Policy::parse("[[policy]]\nfrom = 'all'\nto = 'all'\n", &model).unwrap();
        let reach = model.policy.reach(&model);
        let network = model.network.as_ref().unwrap();
        for (own, to) in [
            (IpAddr::V4(model.peers[&PeerId(1)].v4), IpAddr::V4(network.server_v4())),
            (IpAddr::V6(model.peers[&PeerId(1)].v6), IpAddr::V6(network.server_v6())),
        ] {
            assert!(!reach.iter().any(|rule| rule.passes(own, to, Traffic::To(Protocol::Tcp, 22))), "{to}");
        }
        let (one, other) = (model.peers[&PeerId(1)].v4.into(), model.peers[&PeerId(2)].v4.into());
        assert!(reach.iter().any(|rule| rule.passes(one, other, Traffic::Other)));
        assert!(reach[0].to.len() < 70, "{:?}", reach[0].to);
    }

    #[test]
    fn a_rule_for_nobody_is_left_out() {
        let mut model = home();
        let text = "[[policy]]\nfrom = 'group:nobody'\nto = 'internet'\n";
        model.policy = Policy::parse(text, &model).unwrap();
        assert_eq!(model.policy.reach(&model), []);
    }

    fn addresses() -> Vec<IpAddr> {
        let model = home();
        let own = model.peers.values().flat_map(|peer| [IpAddr::V4(peer.v4), IpAddr::V6(peer.v6)]);
        let others = [
            "9.9.9.9",
            "2620:fe::fe",
            "10.77.0.1",
            "10.77.0.200",
            "192.168.1.1",
            "172.32.0.1",
            "172.31.0.1",
            "100.63.0.1",
            "100.64.0.1",
            "223.255.255.255",
            "224.0.0.1",
            "fe80::1",
            "fd7a:91c2:77:1:8000::1",
            "fd7a:91c2:77:1::99",
        ];
        own.chain(others.map(|text| text.parse().unwrap())).collect()
    }

    proptest! {
        /// What `policy test` answers is what the firewall does, to every address of the world below.
        #[test]
        fn the_firewalls_rules_agree_with_the_policy(
            policy in policies(),
            groups in vec(btree_set(select(vec!["family", "work"]), 0..3), 3),
            port in 0..8_u16,
            protocol in select(vec![Protocol::Tcp, Protocol::Udp]),
        ) {
            let mut model = home();
            for (peer, groups) in model.peers.values_mut().zip(groups) {
                peer.groups = groups.into_iter().map(name).collect::<BTreeSet<_>>();
            }
            let reach = policy.reach(&model);
            for traffic in [Traffic::To(protocol, port), Traffic::Other] {
                for peer in model.peers.values() {
                    for to in addresses() {
                        let own = if to.is_ipv4() { IpAddr::V4(peer.v4) } else { IpAddr::V6(peer.v6) };
                        let passes = reach.iter().any(|rule| rule.passes(own, to, traffic));
                        let allowed = policy.allows(&model, peer, to, traffic).is_some();
                        prop_assert_eq!(passes, allowed, "{} to {} {:?}", own, to, traffic);
                    }
                }
            }
        }

        /// Both ways of telling what is routed publicly, the bits and the ranges.
        #[test]
        fn the_internet_is_the_same_by_bits_and_by_ranges(bits in any::<u32>(), high in any::<u16>()) {
            let nets = internet();
            let v4 = IpAddr::V4(bits.into());
            prop_assert_eq!(nets.iter().any(|net| net.contains(&v4)), super::super::is_internet(v4));
            let v6 = IpAddr::V6(Ipv6Addr::new(high, 0, 0, 0, 0, 0, 0, 1));
            prop_assert_eq!(nets.iter().any(|net| net.contains(&v6)), super::super::is_internet(v6));
        }
    }
}

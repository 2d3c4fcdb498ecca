//! What the daemon is to run, made of what is decided: a profile with the devices as peers, rules and rates. Pure.
//!
//! Not here: deciding (`adit-control`), sending it (`link`).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use adit::enrol;
use adit_control::{Desired, HttpsKey, Kind, Network, Protocol, Rate, Running};
use adit_host::{Enrol, Gateway, Reach, To, Transport};
use adit_wireguard::PublicKey;
use ipnet::Ipv6Net;

use crate::rpc::{Limit, Member, PeersChange, Served, ServedOpenVpn, ServedPeers};

/// What the daemon is to run, in parts that change apart from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    /// All but peers and limits.
    base: Served,
    /// By key.
    peers: BTreeMap<PublicKey, Said>,
    limits: Vec<Limit>,
}

/// A peer as it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// A section `[Peer]`.
    Section(String),
    /// An OpenVPN client.
    Member(Member),
}

/// The ports of this machine that are not the network's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ports {
    /// The TCP port of the web site, if there is one.
    pub(crate) https: Option<u16>,
    /// The UDP port for OpenVPN clients, if there may be any.
    pub(crate) openvpn: Option<u16>,
}

/// Peers that are said at once: so the memory for saying all of them has a bound.
const AT_ONCE: usize = 1_000;

/// Some peers that are to be so.
fn part(peers: &[(&PublicKey, &Said)]) -> PeersChange {
    let (put, members) = split(peers.iter().map(|(_, said)| *said));
    PeersChange { put, members, ..PeersChange::default() }
}

/// The sections, one behind the other, and the OpenVPN clients.
fn split<'a>(peers: impl Iterator<Item = &'a Said>) -> (String, Vec<Member>) {
    let (mut put, mut members) = (String::new(), Vec::new());
    for said in peers {
        match said {
            Said::Section(section) => put.push_str(section),
            Said::Member(member) => members.push(member.clone()),
        }
    }
    (put, members)
}

/// What is said to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run this.
    Serve(Box<Served>),
    /// Change these peers.
    Peers(Box<PeersChange>),
}

impl Whole {
    /// Of what is decided.
    pub(crate) fn of(desired: &Desired, ports: Ports) -> Self {
        let network = &desired.network;
        let limits = desired.peers.iter().filter(|peer| peer.rate != Rate::default()).map(|peer| Limit {
            addresses: vec![peer.v4.into(), peer.v6.into()],
            down: peer.rate.down,
            up: peer.rate.up,
        });
        let devices = desired.peers.iter().filter_map(|peer| Some((peer.key, device(peer, ports.openvpn)?)));
        let invites = desired.enrolling.iter().map(|invite| {
            let allowed = format!("{}/128", invite.address);
            (invite.key, Said::Section(section(&invite.key, &allowed, Some(&invite.https_key))))
        });
        Self {
            base: Served {
                peers: ServedPeers::Here,
                profile: interface(network),
                names: network.hosts.iter().map(ToString::to_string).collect(),
                gateway: Some(gateway(network, desired, ports)),
                limits: Vec::new(),
                openvpn: ports.openvpn.map(|port| ServedOpenVpn { port, members: Vec::new() }),
            },
            peers: devices.chain(invites).collect(),
            limits: limits.collect(),
        }
    }

    /// All of it at once: what a first run would say.
    pub(crate) fn at_once(self) -> Served {
        let (sections, members) = split(self.peers.values());
        let openvpn = self.base.openvpn.map(|openvpn| ServedOpenVpn { members, ..openvpn });
        Served { profile: self.base.profile + &sections, limits: self.limits, openvpn, ..self.base }
    }

    /// How a daemon that runs `before`, or nothing that is known, comes to run this. Whoever stays is never left out on the
    /// way, for he would be cut off.
    pub(crate) fn steps(&self, before: Option<&Self>) -> Vec<Step> {
        if before.is_none() && self.peers.len() <= AT_ONCE {
            return vec![Step::Serve(Box::new(self.clone().at_once()))];
        }
        let mut steps = Vec::new();
        let same_base = before.is_some_and(|before| before.base == self.base);
        if !same_base {
            let peers = if before.is_some() { ServedPeers::Stay } else { ServedPeers::Follow };
            steps.push(Step::Serve(Box::new(Served { limits: self.limits.clone(), peers, ..self.base.clone() })));
        }
        let nobody = BTreeMap::new();
        let there = before.map_or(&nobody, |before| &before.peers);
        let new: Vec<_> = self.peers.iter().filter(|(key, section)| there.get(*key) != Some(section)).collect();
        let mut parts: Vec<_> = new.chunks(AT_ONCE).map(part).collect();
        let gone = there.keys().filter(|key| !self.peers.contains_key(*key));
        let rest = PeersChange {
            remove: gone.map(ToString::to_string).collect(),
            only: before.is_none().then(|| self.peers.keys().map(ToString::to_string).collect()),
            limits: (same_base && before.map(|before| &before.limits) != Some(&self.limits))
                .then(|| self.limits.clone()),
            put: String::new(),
            members: Vec::new(),
        };
        if rest != PeersChange::default() {
            let PeersChange { put, members, .. } = parts.pop().unwrap_or_default();
            parts.push(PeersChange { put, members, ..rest });
        }
        steps.extend(parts.into_iter().map(|change| Step::Peers(Box::new(change))));
        steps
    }
}

/// This end: the addresses lead to all devices already, so there are no routes.
fn interface(network: &Network) -> String {
    let (v4, v6) = (network.server_v4(), network.server_v6());
    format!(
        "[Interface]\nAddress = {v4}/{}, {v6}/{}\nListenPort = {}\nTable = off\n",
        network.v4.prefix_len(),
        network.v6.prefix_len(),
        network.port
    )
}

/// A device as it is said; none if it speaks OpenVPN, and nobody listens for that here.
fn device(peer: &Running, openvpn: Option<u16>) -> Option<Said> {
    if peer.kind == Kind::OpenVpn {
        return openvpn.map(|_| Said::Member(Member { certificate: peer.key.to_string(), v4: peer.v4, v6: peer.v6 }));
    }
    let allowed = format!("{}/32, {}/128", peer.v4, peer.v6);
    Some(Said::Section(section(&peer.key, &allowed, peer.https_key.as_ref())))
}

fn section(key: &PublicKey, allowed: &str, https_key: Option<&HttpsKey>) -> String {
    let https = https_key.map_or_else(String::new, |key| format!("HttpsKey = {key}\n"));
    format!("\n[Peer]\nPublicKey = {key}\nAllowedIPs = {allowed}\n{https}")
}

/// The rules of the network are all there is: nobody reaches more than they say.
fn gateway(network: &Network, desired: &Desired, ports: Ports) -> Gateway {
    let udp = adit_host::Ports::one(Transport::Udp, network.port);
    let https = ports.https.map(|port| adit_host::Ports::one(Transport::Tcp, port));
    let openvpn = ports.openvpn.map(|port| adit_host::Ports::one(Transport::Udp, port));
    Gateway {
        ranges: vec![network.v4.into(), network.v6.into()],
        nat: true,
        isolate: true,
        enrol: Some(Enrol { sources: invites_v6(network), server: network.server_v6(), port: enrol::PORT }),
        confined: vec![network.v4.into(), network.devices_v6().into()],
        reach: desired.reach.iter().flat_map(reach).collect(),
        listens: [udp].into_iter().chain(https).chain(openvpn).collect(),
    }
}

/// Of both protocols that have ports, if only the port is said.
fn reach(reach: &adit_control::Reach) -> Vec<Reach> {
    let ports: Vec<Option<adit_host::Ports>> = match reach.ports {
        None => vec![None],
        Some(asked) => {
            let transports = match asked.protocol {
                Some(Protocol::Tcp) => vec![Transport::Tcp],
                Some(Protocol::Udp) => vec![Transport::Udp],
                None => vec![Transport::Tcp, Transport::Udp],
            };
            let ports = |transport| Some(adit_host::Ports { transport, first: asked.first, last: asked.last });
            transports.into_iter().map(ports).collect()
        }
    };
    ports.into_iter().map(|ports| Reach { from: reach.from.clone(), to: To::Nets(reach.to.clone()), ports }).collect()
}

/// Where the addresses of invites are, and of no device: the upper half (see [`adit::invite::enrol_address`]).
fn invites_v6(network: &Network) -> Ipv6Net {
    let upper = network.v6.addr().to_bits() | 1 << 63;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(upper), 65)
}

#[cfg(test)]
mod tests {
    use adit_control::{Enrolling, InviteId, PeerId};

    use adit::profile::wg_quick::Profile;

    use super::*;

    const HTTPS: Ports = Ports { https: Some(443), openvpn: None };

    fn desired(peers: u64) -> Desired {
        let network = Network {
            name: adit_control::Name::new("home").unwrap(),
            hosts: vec![adit_control::Host::new("203.0.113.7").unwrap()],
            port: 51820,
            web: None,
            v4: "10.77.0.0/16".parse().unwrap(),
            v6: "fd00:1::/64".parse().unwrap(),
            dns: Vec::new(),
            key: PublicKey::new([1; 32]),
        };
        let key = |number: u64| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            bytes
        };
        let peer = |number: u64| Running {
            id: PeerId(number),
            kind: Kind::Adit,
            key: PublicKey::new(key(number)),
            https_key: Some(HttpsKey::new(key(number))),
            v4: std::net::Ipv4Addr::from_bits(0x0a4d_0002 + number as u32),
            v6: Ipv6Addr::from_bits(0xfd00_0001 << 96 | u128::from(number + 2)),
            rate: Rate::default(),
        };
        let invite = Enrolling {
            id: InviteId(1),
            key: PublicKey::new([9; 32]),
            https_key: HttpsKey::new([9; 32]),
            address: "fd00:1::8000:0:0:1".parse().unwrap(),
        };
        Desired {
            revision: 1,
            network,
            peers: (0..peers).map(peer).collect(),
            enrolling: vec![invite],
            reach: Vec::new(),
            next_change: None,
        }
    }

    /// What a daemon has after these steps, and how many peers each step named. None of those that stay was gone meanwhile.
    fn played(steps: &[Step], before: Option<Profile>) -> (Profile, Vec<usize>) {
        let read = |text: &str| {
            let key = "PrivateKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
            adit::profile::wg_quick::parse(&text.replacen("[Interface]", &format!("[Interface]\n{key}"), 1)).profile
        };
        let (mut have, mut named) = (before.unwrap_or_default(), Vec::new());
        let (there, mut gone) = (have.peers.iter().map(|peer| peer.public_key).collect::<Vec<_>>(), Vec::new());
        for step in steps {
            match step {
                Step::Serve(served) => {
                    let peers = std::mem::take(&mut have.peers);
                    have = read(&served.profile);
                    named.push(have.peers.len());
                    if served.peers != ServedPeers::Here {
                        have.peers = peers;
                    }
                }
                Step::Peers(change) => {
                    let put = read(&format!("[Interface]\n{}", change.put)).peers;
                    named.push(put.len());
                    let key = |peer: &adit::profile::wg_quick::Peer| peer.public_key;
                    have.peers.retain(|old| !put.iter().any(|new| key(new) == key(old)));
                    have.peers.retain(|old| !change.remove.contains(&key(old).to_string()));
                    have.peers.extend(put);
                    if let Some(only) = &change.only {
                        have.peers.retain(|old| only.contains(&key(old).to_string()));
                    }
                }
            }
            gone.extend(there.iter().filter(|key| !have.peers.iter().any(|peer| peer.public_key == **key)));
        }
        have.peers.sort_by_key(|peer| peer.public_key);
        assert!(gone.iter().all(|key| !have.peers.iter().any(|peer| peer.public_key == *key)), "cut off for a moment");
        (have, named)
    }

    #[test]
    fn a_change_says_only_itself_and_many_new_peers_are_said_in_parts() {
        let whole = Whole::of(&desired(2_500), HTTPS);
        let (have, named) = played(&whole.steps(Some(&Whole::of(&desired(0), HTTPS))), None);
        assert_eq!((have.peers.len(), named), (2_500, vec![1_000, 1_000, 500]));
        let (have, named) = played(&whole.steps(None), None);
        assert_eq!((have.peers.len(), named), (2_501, vec![0, 1_000, 1_000, 501]));
        assert_eq!(whole.steps(Some(&whole)), Vec::new());
        let mut less = desired(2_500);
        less.peers.remove(3);
        less.peers[7].v4 = "10.77.200.1".parse().unwrap();
        let less = Whole::of(&less, HTTPS);
        let steps = less.steps(Some(&whole));
        let (have, named) = played(&steps, Some(have));
        assert_eq!((have.peers.len(), named), (2_500, vec![1]));
        assert_eq!(have.peers, played(&less.steps(None), None).0.peers);
        // A server that was killed does not know what its daemon runs: of that, too, goes what is no more.
        let had = played(&whole.steps(None), None).0;
        assert_eq!(have.peers, played(&less.steps(None), Some(had)).0.peers);
    }

    #[test]
    fn what_is_not_about_peers_touches_none_of_them() {
        let (before, whole) = (Whole::of(&desired(2_500), HTTPS), Whole::of(&desired(2_500), Ports::default()));
        let had = played(&before.steps(None), None).0;
        let (have, named) = played(&whole.steps(Some(&before)), Some(had));
        assert_eq!((have.peers.len(), named), (2_501, vec![0]));
        let few = Whole::of(&desired(3), Ports::default());
        assert_eq!(Step::Serve(Box::new(few.clone().at_once())), few.steps(None)[0]);
    }

    #[test]
    fn openvpn_clients_are_said_as_such_and_only_where_somebody_listens_for_them() {
        let mut desired = desired(4);
        desired.peers[1].kind = Kind::OpenVpn;
        desired.peers[3].kind = Kind::OpenVpn;
        let both = Ports { openvpn: Some(1194), ..HTTPS };
        let served = Whole::of(&desired, both).at_once();
        let openvpn = served.openvpn.unwrap();
        let certificates = |members: &[Member]| members.iter().map(|m| m.certificate.clone()).collect::<Vec<_>>();
        let keys = [1, 3].map(|n: usize| desired.peers[n].key.to_string());
        assert_eq!((openvpn.port, certificates(&openvpn.members)), (1194, keys.to_vec()));
        assert!(keys.iter().all(|key| !served.profile.contains(key)));
        assert_eq!(served.profile.matches("[Peer]").count(), 3, "two devices and an invite");
        let listens = served.gateway.unwrap().listens;
        assert!(listens.contains(&adit_host::Ports::one(Transport::Udp, 1194)));
        // One goes and one moves; nobody else is named.
        let before = Whole::of(&desired, both);
        desired.peers[3].v4 = "10.77.200.1".parse().unwrap();
        desired.peers.remove(1);
        let steps = Whole::of(&desired, both).steps(Some(&before));
        let [Step::Peers(change)] = steps.as_slice() else { panic!("one change of peers, not {steps:?}") };
        assert_eq!((certificates(&change.members), &change.remove), (vec![keys[1].clone()], &vec![keys[0].clone()]));
        assert_eq!(change.put, "");
        let without = Whole::of(&desired, HTTPS).at_once();
        assert_eq!((without.openvpn, without.profile.contains(&keys[1])), (None, false));
    }

    #[test]
    fn limits_go_along_when_they_change() {
        let before = desired(3);
        let mut after = before.clone();
        after.peers[1].rate = Rate { down: Some(1_000_000), up: None };
        let steps = Whole::of(&after, Ports::default()).steps(Some(&Whole::of(&before, Ports::default())));
        let [Step::Peers(change)] = steps.as_slice() else { panic!("one change of peers, not {steps:?}") };
        let limits = change.limits.as_ref().unwrap();
        assert_eq!((change.put.as_str(), limits[0].down), ("", Some(1_000_000)));
    }
}

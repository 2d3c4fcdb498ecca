//! A small network for tests.

use std::collections::BTreeSet;

use adit_wireguard::PublicKey;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::invite::{Invite, InviteId};
use crate::key::HttpsKey;
use crate::model::Model;
use crate::name::{Host, Name};
use crate::network::Network;
use crate::peer::{Kind, Peer, PeerId, Rate};
use crate::policy::{Place, Policy, Ports, Protocol, Rule, Target, Who};
use crate::time::UnixTime;

/// A Saturday in November.
pub(crate) const NOW: UnixTime = UnixTime(1_795_281_033);
pub(crate) const HOUR: u64 = 3_600;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A key that differs for each number.
pub(crate) fn key(number: u64) -> PublicKey {
    let mut bytes = [0xa5; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    PublicKey::new(bytes)
}

pub(crate) fn https_key(number: u64) -> HttpsKey {
    HttpsKey::new(*key(number).as_bytes())
}

pub(crate) fn network() -> Network {
    Network {
        name: name("home"),
        hosts: vec![Host::new("vpn.example.org").unwrap()],
        port: 51_820,
        web: None,
        v4: "10.77.0.0/24".parse().unwrap(),
        v6: "fd7a:91c2:77:1::/64".parse().unwrap(),
        dns: Vec::new(),
        key: PublicKey::new([1; 32]),
    }
}

/// An invite for one device, for a day from [`NOW`].
pub(crate) fn invite(id: u64) -> Invite {
    let base = network().v6.addr().to_bits() | 1 << 63;
    Invite {
        id: InviteId(id),
        name: None,
        key: key(1 << 32 | id),
        https_key: https_key(1 << 32 | id),
        address: (base | u128::from(id)).into(),
        groups: BTreeSet::new(),
        uses: 1,
        created: NOW,
        expires: UnixTime(NOW.0 + 24 * HOUR),
        revoked: None,
        redeemed: Vec::new(),
    }
}

pub(crate) fn peer(id: u64, called: &str) -> Peer {
    let number = u32::try_from(id).unwrap() + 1;
    Peer {
        id: PeerId(id),
        name: name(called),
        kind: Kind::Adit,
        key: key(id),
        https_key: Some(https_key(id)),
        v4: network().host_v4(number),
        v6: network().host_v6(number),
        groups: BTreeSet::new(),
        enabled: true,
        expires: None,
        quota: None,
        rate: Rate::default(),
        created: NOW,
        invite: None,
    }
}

/// The network with `nas` (1), `laptop` (2) and `phone` (3); the last two are of the family.
pub(crate) fn home() -> Model {
    let mut model = Model { network: Some(network()), next_id: 4, revision: 1, ..Model::default() };
    for (id, called) in [(1, "nas"), (2, "laptop"), (3, "phone")] {
        let mut peer = peer(id, called);
        if id > 1 {
            peer.groups.insert(name("family"));
        }
        model.peers.insert(peer.id, peer);
    }
    model
}

/// Policies of few words, for tests of their meaning.
pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let who = prop_oneof![
        Just(Who::All),
        select(vec!["family", "work", "nobody"]).prop_map(|group| Who::Group(name(group))),
        (1..4_u64).prop_map(|id| Who::Peer(PeerId(id))),
    ];
    let nets = ["10.0.0.0/8", "10.77.0.0/30", "0.0.0.0/0", "::/0", "fd7a:91c2:77:1::2/128", "9.9.9.9/32"];
    let nets = select(nets.to_vec()).prop_map(|net| Place::Net(net.parse().unwrap()));
    let place = prop_oneof![who.clone().prop_map(Place::Devices), Just(Place::Internet), nets];
    let protocol = select(vec![None, Some(Protocol::Tcp), Some(Protocol::Udp)]);
    let ports = (protocol, 1..5_u16, 0..3_u16);
    let ports = ports.prop_map(|(protocol, first, more)| Ports { protocol, first, last: first + more });
    let target = (place, proptest::option::of(ports)).prop_map(|(place, ports)| Target { place, ports });
    let rule = (btree_set(who, 1..3), btree_set(target, 1..4)).prop_map(|(from, to)| Rule { from, to });
    vec(rule, 0..4).prop_map(|rules| Policy { rules })
}

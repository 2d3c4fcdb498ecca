//! What the daemon is to run, made of what is decided: a profile with the devices as peers, rules and rates. Pure.
//!
//! Not here: deciding (`adit-control`), sending it (`link`).

use std::net::{IpAddr, Ipv6Addr};

use adit::enrol;
use adit::https::HttpsKey;
use adit::profile::wg_quick::{Interface, Peer, Profile, Table};
use adit_control::{Desired, Network, Protocol, Rate};
use adit_host::{Enrol, Gateway, Ports, Reach, To, Transport};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::rpc::{Limit, Served};

/// What the daemon is to run.
pub(crate) fn served(desired: &Desired, https_port: Option<u16>) -> Served {
    let network = &desired.network;
    let limits = desired.peers.iter().filter(|peer| peer.rate != Rate::default()).map(|peer| Limit {
        addresses: vec![peer.v4.into(), peer.v6.into()],
        down: peer.rate.down,
        up: peer.rate.up,
    });
    Served {
        profile: profile(network, desired).emit().to_string(),
        names: network.hosts.iter().map(ToString::to_string).collect(),
        gateway: Some(gateway(network, desired, https_port)),
        limits: limits.collect(),
    }
}

fn profile(network: &Network, desired: &Desired) -> Profile {
    let server = [
        IpNet::new_assert(network.server_v4().into(), network.v4.prefix_len()),
        IpNet::new_assert(network.server_v6().into(), network.v6.prefix_len()),
    ];
    let devices = desired.peers.iter().map(|peer| Peer {
        allowed_ips: vec![host(peer.v4.into()), host(peer.v6.into())],
        https_key: peer.https_key.map(|key| HttpsKey::new(*key.as_bytes())),
        ..Peer::new(peer.key)
    });
    let invites = desired.enrolling.iter().map(|invite| Peer {
        allowed_ips: vec![host(invite.address.into())],
        https_key: Some(HttpsKey::new(*invite.https_key.as_bytes())),
        ..Peer::new(invite.key)
    });
    Profile {
        interface: Interface {
            listen_port: Some(network.port),
            addresses: server.to_vec(),
            // The addresses lead to all devices already.
            table: Table::Off,
            ..Interface::default()
        },
        peers: devices.chain(invites).collect(),
        web_site: None,
    }
}

/// The rules of the network are all there is: nobody reaches more than they say.
fn gateway(network: &Network, desired: &Desired, https_port: Option<u16>) -> Gateway {
    let udp = Ports::one(Transport::Udp, network.port);
    let https = https_port.map(|port| Ports::one(Transport::Tcp, port));
    Gateway {
        ranges: vec![network.v4.into(), network.v6.into()],
        nat: true,
        isolate: true,
        enrol: Some(Enrol { sources: invites_v6(network), server: network.server_v6(), port: enrol::PORT }),
        confined: vec![network.v4.into(), network.devices_v6().into()],
        reach: desired.reach.iter().flat_map(reach).collect(),
        listens: [udp].into_iter().chain(https).collect(),
    }
}

/// Of both protocols that have ports, if only the port is said.
fn reach(reach: &adit_control::Reach) -> Vec<Reach> {
    let ports: Vec<Option<Ports>> = match reach.ports {
        None => vec![None],
        Some(asked) => {
            let transports = match asked.protocol {
                Some(Protocol::Tcp) => vec![Transport::Tcp],
                Some(Protocol::Udp) => vec![Transport::Udp],
                None => vec![Transport::Tcp, Transport::Udp],
            };
            let ports = |transport| Some(Ports { transport, first: asked.first, last: asked.last });
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

/// One address as a range.
fn host(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(v4) => Ipv4Net::new_assert(v4, 32).into(),
        IpAddr::V6(v6) => Ipv6Net::new_assert(v6, 128).into(),
    }
}

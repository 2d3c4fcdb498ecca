//! What a device is given when it is admitted, and what an invite says of the network. Pure.
//!
//! Not here: OpenVPN's configurations (`ovpn`), deciding who is admitted (`desk`, `enrol`).

use adit::enrol::Membership;
use adit::invite::HttpsOffer;
use adit::transport::config::Pin;
use adit_control::{Network, Peer, Trust};

/// What a device is told when it is admitted.
pub(super) fn membership(network: &Network, peer: &Peer) -> Membership {
    Membership {
        network: network.name.to_string(),
        name: peer.name.to_string(),
        addresses: vec![
            ipnet::IpNet::new_assert(peer.v4.into(), network.v4.prefix_len()),
            ipnet::IpNet::new_assert(peer.v6.into(), network.v6.prefix_len()),
        ],
        server: network.key,
        hosts: network.hosts.iter().map(ToString::to_string).collect(),
        udp_port: Some(network.port),
        https: offer(network),
        dns: network.dns.clone(),
        routes: Vec::new(),
    }
}

/// Everything of a WireGuard app's configuration but its private key.
pub(super) fn for_wireguard(network: &Network, peer: &Peer) -> String {
    let mut text = format!("[Interface]\nAddress = {}/32, {}/128\n", peer.v4, peer.v6);
    if !network.dns.is_empty() {
        let dns: Vec<_> = network.dns.iter().map(ToString::to_string).collect();
        text.push_str(&format!("DNS = {}\n", dns.join(", ")));
    }
    let host = network.hosts.first().map(ToString::to_string).unwrap_or_default();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    text.push_str(&format!(
        "\n[Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {host}:{}\nPersistentKeepalive = 25\n",
        network.key, network.port
    ));
    text
}

pub(super) fn offer(network: &Network) -> Option<HttpsOffer> {
    network.web.as_ref().map(|web| HttpsOffer {
        name: web.host.to_string(),
        port: web.port,
        pin: match web.trust {
            Trust::Public => None,
            Trust::Pin(hash) => Some(Pin::from_hash(hash)),
        },
    })
}

pub(super) fn prefix(network: &Network) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&network.v6.addr().octets()[..8]);
    prefix
}

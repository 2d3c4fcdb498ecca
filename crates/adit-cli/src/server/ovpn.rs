//! The configuration of an OpenVPN client of this network, all of it but the device's private key. Pure.
//!
//! Not here: certificates, which the daemon makes (`adit::openvpn::network`), and the key, which the command makes.

use adit::openvpn::network::SERVER_NAME;
use adit_control::Network;
use zeroize::Zeroizing;

use crate::rpc::Certified;

/// Ciphers for packets, the first choice first: those that every client from 2.6 on has.
const CIPHERS: &str = "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305";
/// The interface's usual MTU: packets of it fit with their headers into those of usual lines.
const MTU: u16 = 1420;

/// All traffic goes through the tunnel, as with the configuration for a WireGuard app.
pub(super) fn configuration(network: &Network, port: u16, papers: &Certified) -> Zeroizing<String> {
    let remotes: String = network.hosts.iter().map(|host| format!("remote {host} {port} udp\n")).collect();
    let dns: String = network.dns.iter().map(|server| format!("dhcp-option DNS {server}\n")).collect();
    let Certified { authority, certificate, wrapped, fingerprint: _ } = papers;
    let lines = format!(
        "# An OpenVPN client of the network {name}. Whoever has this file can come in: keep it like a password.\n\
         client\ndev tun\nnobind\n{remotes}resolv-retry infinite\nconnect-retry 2 60\n\
         remote-cert-tls server\nverify-x509-name {SERVER_NAME} name\ntls-version-min 1.2\ndata-ciphers {CIPHERS}\n\
         tun-mtu {MTU}\nexplicit-exit-notify 1\nauth-retry nointeract\nverb 3\n\
         # All traffic goes through the tunnel. Without the next line, what is for the network alone does.\n\
         redirect-gateway def1 ipv6\n{dns}",
        name = network.name,
    );
    let mut text = Zeroizing::new(lines);
    for (block, body) in [("ca", authority.as_str()), ("cert", certificate), ("tls-crypt-v2", wrapped.expose())] {
        for piece in ["<", block, ">\n", body.trim_end(), "\n</", block, ">\n"] {
            push(&mut text, piece);
        }
    }
    text
}

/// Appends without leaving a copy of what was there behind.
fn push(text: &mut Zeroizing<String>, piece: &str) {
    if text.capacity() - text.len() < piece.len() {
        let mut larger = Zeroizing::new(String::with_capacity(2 * (text.len() + piece.len())));
        larger.push_str(text);
        *text = larger;
    }
    text.push_str(piece);
}

#[cfg(test)]
mod tests {
    use adit::openvpn::network::{Authority, DeviceKey};
    use adit_control::{Host, Name};
    use adit_openvpn::options::{self, Config, Transport};
    use adit_wireguard::{PrivateKey, PublicKey};

    use super::*;

    fn network() -> Network {
        Network {
            name: Name::new("home").unwrap(),
            hosts: ["vpn.example.org", "203.0.113.7", "2001:db8::1"].map(|host| Host::new(host).unwrap()).to_vec(),
            port: 51_820,
            v4: "10.77.0.0/24".parse().unwrap(),
            v6: "fd77::/64".parse().unwrap(),
            dns: vec!["10.77.0.1".parse().unwrap(), "fd77::1".parse().unwrap()],
            web: None,
            key: PublicKey::new([1; 32]),
        }
    }

    #[test]
    fn our_own_client_takes_it_as_any_other() {
        let key = DeviceKey::generate().unwrap();
        let papers = Authority::of(&PrivateKey::new([7; 32])).unwrap().admit("tv", &key.public()).unwrap();
        let papers = Certified {
            authority: papers.authority,
            certificate: papers.certificate,
            fingerprint: String::new(),
            wrapped: papers.wrapped.into(),
        };
        let text = configuration(&network(), 1195, &papers);
        let whole = format!("{}<key>\n{}</key>\n", *text, *key.pem());
        let parsed = options::parse(&whole);
        let Some(Config::Client(config)) = parsed.config else { panic!("{:?}", parsed.findings) };
        let refused: Vec<_> = parsed.findings.iter().filter(|finding| finding.is_refused()).collect();
        assert!(refused.is_empty(), "{refused:?}");
        let remotes: Vec<_> =
            config.remotes.iter().map(|remote| (remote.host.as_str(), remote.port, remote.transport)).collect();
        let udp = |host| (host, 1195, Transport::Udp);
        assert_eq!(remotes, [udp("vpn.example.org"), udp("203.0.113.7"), udp("2001:db8::1")]);
        adit_openvpn::client_of(&config, None).unwrap();
    }
}

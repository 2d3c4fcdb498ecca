//! What is wrong or doubtful between lines: each may be right alone.

use std::collections::HashMap;

use adit_wireguard::PublicKey;
use ipnet::IpNet;

use super::parse::Draft;
use super::{Finding, Interface, Verdict};

/// Lines of the first section that findings point to.
pub(super) struct Place {
    pub(super) interface_line: Option<usize>,
    pub(super) private_key_line: Option<usize>,
}

pub(super) fn find(interface: &Interface, place: &Place, peers: &[Draft], findings: &mut Vec<Finding>) {
    private_key(interface, place, findings);
    mtu(interface, place, findings);
    duplicate_peers(interface, peers, findings);
    shared_networks(peers, findings);
}

fn private_key(interface: &Interface, place: &Place, findings: &mut Vec<Finding>) {
    let Some(line) = place.interface_line else {
        let hint = "begin with [Interface] and `PrivateKey = …`";
        return findings.push(wrong(1, "[Interface]", "the section is missing".to_owned(), hint));
    };
    let by_hook = [&interface.pre_up, &interface.post_up].into_iter().flatten().any(|c| c.contains("private-key"));
    if place.private_key_line.is_none() && !by_hook {
        let why = "`PrivateKey` is missing".to_owned();
        findings.push(wrong(line, "[Interface]", why, "PrivateKey = (output of `adit genkey` or `wg genkey`)"));
    }
}

fn mtu(interface: &Interface, place: &Place, findings: &mut Vec<Finding>) {
    let has_v6 = interface.addresses.iter().any(|net| net.addr().is_ipv6());
    if let (Some(mtu @ ..1280), true, Some(line)) = (interface.mtu, has_v6, place.interface_line) {
        let why = format!("the kernel gives no IPv6 address to an interface with an MTU of {mtu}");
        findings.push(doubtful(line, "MTU", why, "MTU = 1280 or more"));
    }
}

fn duplicate_peers(interface: &Interface, peers: &[Draft], findings: &mut Vec<Finding>) {
    let own = interface.private_key.as_ref().map(adit_wireguard::PrivateKey::public_key);
    let mut lines: HashMap<PublicKey, usize> = HashMap::new();
    for peer in peers {
        if peer.is_nameless() {
            let why = "`PublicKey` is missing".to_owned();
            findings.push(wrong(peer.line, "[Peer]", why, "PublicKey = (output of `adit pubkey` on the peer)"));
        }
        let Some((key, line)) = peer.public_key else { continue };
        if let Some(first) = lines.insert(key, line) {
            let why = format!("this peer is in line {first} already");
            findings.push(wrong(line, "PublicKey", why, "put the lines of both under one [Peer]"));
        }
        if own == Some(key) {
            let why = "this is the public key of this end itself; such a peer is never used".to_owned();
            findings.push(doubtful(line, "PublicKey", why, "the public key of the other end"));
        }
    }
}

fn shared_networks(peers: &[Draft], findings: &mut Vec<Finding>) {
    let mut owners: HashMap<IpNet, (usize, usize)> = HashMap::new();
    for (index, peer) in peers.iter().enumerate() {
        for (network, line) in &peer.allowed_ips {
            match owners.insert(*network, (index, *line)) {
                Some((other, first)) if other != index => {
                    let why = format!("{network} belongs to the peer of line {first} too; only this last one gets it");
                    findings.push(doubtful(*line, "AllowedIPs", why, "give each range to one peer"));
                }
                Some((_, first)) if first != *line => {
                    let why = format!("{network} stands in line {first} already");
                    findings.push(doubtful(*line, "AllowedIPs", why, "keep one"));
                }
                Some(_) | None => {}
            }
        }
    }
}

pub(super) fn wrong(line: usize, key: &str, why: String, hint: &str) -> Finding {
    let verdict = Verdict::Wrong { found: String::new(), why, write_instead: Some(hint.to_owned()) };
    Finding { line, column: None, key: key.to_owned(), verdict }
}

pub(super) fn doubtful(line: usize, key: &str, why: String, hint: &str) -> Finding {
    let verdict = Verdict::Doubtful { why, write_instead: Some(hint.to_owned()) };
    Finding { line, column: None, key: key.to_owned(), verdict }
}

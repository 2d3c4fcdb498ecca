//! From the library's status to the report of the daemon.

use adit::status::{Deadline as LibDeadline, PeerStatus, State as LibState, TunnelStatus};

use crate::report::{Deadline, Offloads, PeerReport, State, Traffic, TunnelReport};

/// The offloads of the outside, as the engine calls them; all others are the inside's.
const OUTSIDE: [&str; 2] = ["gso", "gro"];

/// A report without what only the owner knows.
pub(super) fn report(name: &str, addresses: Vec<String>, status: TunnelStatus) -> TunnelReport {
    let (outside, inside) = status.offloads.into_iter().partition(|name| OUTSIDE.contains(&name.as_str()));
    TunnelReport {
        state: match status.state {
            LibState::Connected => State::Connected,
            LibState::Waiting => State::Waiting,
            LibState::Stopped => State::Failed,
        },
        addresses,
        mtu: u32::try_from(status.mtu).ok(),
        public_key: status.public_key,
        listen_port: status.listen_port,
        fwmark: status.fwmark,
        transport: status.transport,
        carrier: status.carrier,
        web_site: status.web_site,
        offloads: Offloads { inside, outside },
        traffic: traffic(status.rx_bytes, status.tx_bytes),
        drops: status.drops,
        handshakes: status.handshakes,
        under_load: status.under_load,
        next: status.deadline.map(deadline),
        peers: status.peers.into_iter().map(peer).collect(),
        ..TunnelReport::empty(name)
    }
}

fn peer(peer: PeerStatus) -> PeerReport {
    let endpoint = match (peer.endpoint, peer.endpoint_name) {
        (Some(address), Some(name)) => Some(format!("{address} ({name})")),
        (Some(address), None) => Some(address.to_string()),
        (None, name) => name,
    };
    PeerReport {
        public_key: peer.public_key,
        preshared_key: peer.preshared_key,
        endpoint,
        transport: peer.transport,
        allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
        last_handshake_unix: peer.last_handshake_unix,
        last_handshake_seconds_ago: peer.last_handshake_seconds_ago,
        has_session: peer.has_session,
        traffic: traffic(peer.rx_bytes, peer.tx_bytes),
        persistent_keepalive: peer.persistent_keepalive,
        staged: peer.staged,
        next: peer.deadline.map(deadline),
    }
}

const fn traffic(received: u64, sent: u64) -> Traffic {
    Traffic { received, sent, received_per_second: None, sent_per_second: None }
}

fn deadline(deadline: LibDeadline) -> Deadline {
    Deadline { in_ms: deadline.in_ms, why: deadline.why }
}

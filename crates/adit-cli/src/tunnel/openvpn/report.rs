//! From what an OpenVPN client shows, and what the engine of either end knows, to the report of the daemon.

use std::net::SocketAddr;

use adit::openvpn::{Phase, Shown};
use adit_engine::Status;
use adit_openvpn::options::ProxyKind;

use crate::report::{Deadline, Offloads, OpenVpnReport, State, Traffic, TunnelReport};

/// The offloads of the outside, as the engine calls them; all others are the inside's.
const OUTSIDE: [&str; 2] = ["gso", "gro"];

/// A report with what the client shows and, while its engine runs, what that knows.
pub(super) fn of(base: TunnelReport, shown: &Shown, engine: Option<Status>) -> TunnelReport {
    let state = match (shown.phase, &engine) {
        (_, None) | (Phase::Ended, _) => State::Failed,
        (Phase::Connected, _) => State::Connected,
        (Phase::Looking | Phase::Connecting | Phase::Waiting, _) => State::Waiting,
    };
    let connection = shown.settings.as_ref().map(|settings| &settings.connection);
    let openvpn = OpenVpnReport {
        server: shown.server.as_ref().map(|(address, name)| server(*address, name, shown.proxy)),
        cipher: connection.and_then(|pushed| pushed.cipher).map(|cipher| cipher.name().to_owned()),
        connected_seconds: shown.since.map(|since| since.elapsed().as_secs()),
        connections: shown.connections,
        renewals: shown.renewals,
        trouble: shown.trouble.clone(),
        said: shown.said.clone(),
    };
    let base = TunnelReport { state, transport: shown.transport.to_owned(), openvpn: Some(openvpn), ..base };
    match engine {
        Some(engine) => with_engine(base, &engine),
        None => base,
    }
}

/// A server as people know it.
fn server(address: SocketAddr, name: &str, proxy: Option<ProxyKind>) -> String {
    if let Some(proxy) = proxy {
        return format!("{name} through the {} {address}", proxy.name());
    }
    match name.rsplit_once(':') {
        Some((host, _)) if host == address.ip().to_string() => address.to_string(),
        _ => format!("{address} ({name})"),
    }
}

/// The same with what an engine knows.
pub(super) fn with_engine(base: TunnelReport, engine: &Status) -> TunnelReport {
    let (outside, inside) =
        engine.offloads.names().map(str::to_owned).partition(|name| OUTSIDE.contains(&name.as_str()));
    let traffic = engine.traffic;
    TunnelReport {
        mtu: u32::try_from(engine.mtu).ok(),
        offloads: Offloads { inside, outside },
        traffic: Traffic {
            received: traffic.inside_written.bytes,
            sent: traffic.inside_read.bytes,
            received_per_second: None,
            sent_per_second: None,
        },
        drops: engine.drops.iter().map(|(reason, n)| (reason.name().to_owned(), n)).collect(),
        next: engine.deadline.map(|(after, why)| Deadline {
            in_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            why: why.0.to_owned(),
        }),
        ..base
    }
}

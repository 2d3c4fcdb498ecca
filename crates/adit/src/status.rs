//! What a tunnel looks like at one moment, as plain values that serialize.
//!
//! Not here: rates, which need two moments ([`Rates`] makes them of two), and how it is shown.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_engine::Status as EngineStatus;
use adit_protocol::{Drops, LinkId, Now, Why};
use adit_wireguard::{DeviceStatus, PeerStatus as DevicePeer, PublicKey};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::openvpn::network::MemberStatus;

/// A tunnel at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Which state it is in.
    pub state: State,
    /// Our public key in base64; `None` as long as there is no private key.
    pub public_key: Option<String>,
    /// What carries the datagrams: `udp`, `https`, both for a server that has both, or `custom` for an outside that the
    /// program brought along.
    pub transport: String,
    /// Why this one, where there is a choice.
    pub carrier: Option<CarrierStatus>,
    /// The web site of this end, if it is one.
    pub web_site: Option<WebSiteStatus>,
    /// The UDP port of this end, if the outside is UDP.
    pub listen_port: Option<u16>,
    /// The mark of outgoing datagrams; 0 is none.
    pub fwmark: u32,
    /// The largest packet inside, in bytes.
    pub mtu: usize,
    /// Names of the offloads in use.
    pub offloads: Vec<String>,
    /// The peers, in the order they were made.
    pub peers: Vec<PeerStatus>,
    /// Bytes of WireGuard messages received from all peers that are there now.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent to them.
    pub tx_bytes: u64,
    /// Packets dropped by protocol and engine, by reason; reasons that did not occur are absent.
    pub drops: BTreeMap<String, u64>,
    /// Handshakes completed, also with peers that are gone.
    #[serde(default)]
    pub handshakes: u64,
    /// When something is to be done next, and why.
    pub deadline: Option<Deadline>,
    /// Whether handshakes have to prove where they come from at the moment.
    pub under_load: bool,
    /// Events that nobody took in time.
    pub events_lost: u64,
}

/// Which of several carriers is in use, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierStatus {
    /// The one in use: `udp` or `https`.
    pub carrier: String,
    /// For how long.
    pub for_seconds: u64,
    /// Why this one, in words.
    pub why: String,
    /// Those that may be used, the first choice first.
    pub order: Vec<String>,
    /// How the HTTPS connection is, in words.
    pub https: String,
    /// The server's address, of that connection or the last one.
    pub server: Option<SocketAddr>,
    /// What that connection looks like from outside.
    pub looks_like: Option<String>,
    /// What should be done something about.
    pub warning: Option<String>,
}

/// A web site whose visitors may be peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSiteStatus {
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    /// The pin of its key; `None` behind another web server, or without a certificate yet.
    pub pin: Option<String>,
    /// Connections of everybody.
    pub connections: usize,
    /// Streams of peers.
    pub streams: usize,
    /// The process that serves it, if it has one of its own.
    #[serde(default)]
    pub process: Option<u32>,
    /// Why nobody is served at the moment.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// The state of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs, and no peer has a session.
    Waiting,
    /// It runs, and at least one peer has a session.
    Connected,
    /// It has stopped.
    Stopped,
}

/// A peer at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its public key in base64; of one that speaks OpenVPN, SHA-256 of its certificate.
    pub public_key: String,
    /// Whether a secret was shared beforehand.
    pub preshared_key: bool,
    /// Where it is, if known.
    pub endpoint: Option<SocketAddr>,
    /// The carrier that it was last heard over.
    pub transport: String,
    /// The name its endpoint was configured by, if that is a name.
    pub endpoint_name: Option<String>,
    /// Wall clock of the last handshake, in seconds since 1970; `None` before the first.
    pub last_handshake_unix: Option<u64>,
    /// Seconds since then.
    pub last_handshake_seconds_ago: Option<u64>,
    /// Bytes of WireGuard messages received from it.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent to it.
    pub tx_bytes: u64,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: u16,
    /// Its networks, ascending.
    pub allowed_ips: Vec<IpNet>,
    /// Whether data can be sent to it now.
    pub has_session: bool,
    /// Packets that wait for a session.
    pub staged: usize,
    /// Its own next deadline, and why.
    pub deadline: Option<Deadline>,
}

/// When something is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Milliseconds from now.
    pub in_ms: u64,
    /// Why, in the words of the protocol.
    pub why: String,
}

/// What peers are said to come over that speak OpenVPN.
const OPENVPN: &str = "openvpn";
/// The second carrier of a server that is a web site.
const HTTPS: LinkId = LinkId(1);

/// What is not known to the core: filled in by the tunnel.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    pub(crate) transport: &'static str,
    pub(crate) listen_port: Option<u16>,
    pub(crate) fwmark: u32,
}

impl TunnelStatus {
    pub(crate) fn of(core: &DeviceStatus, engine: &EngineStatus, carrier: &Carrier, now: Now) -> Self {
        let peers: Vec<PeerStatus> = core.peers.iter().map(|peer| PeerStatus::of(peer, now)).collect();
        let connected = peers.iter().any(|peer| peer.has_session);
        Self {
            state: if connected { State::Connected } else { State::Waiting },
            public_key: core.public_key.map(|key| key.to_string()),
            transport: carrier.transport.to_owned(),
            carrier: None,
            web_site: None,
            listen_port: carrier.listen_port,
            fwmark: carrier.fwmark,
            mtu: engine.mtu,
            offloads: engine.offloads.names().map(str::to_owned).collect(),
            rx_bytes: peers.iter().map(|peer| peer.rx_bytes).sum(),
            tx_bytes: peers.iter().map(|peer| peer.tx_bytes).sum(),
            peers,
            drops: by_name(&engine.drops),
            handshakes: core.handshakes,
            deadline: engine.deadline.map(|(after, why)| Deadline::after(after, why)),
            under_load: core.under_load,
            events_lost: engine.events_lost,
        }
    }
}

impl TunnelStatus {
    /// OpenVPN clients are peers too, known by their certificates.
    pub(crate) fn add_members(&mut self, members: &[MemberStatus], now: Now) {
        if members.iter().any(|member| member.has_session) {
            self.state = State::Connected;
        }
        self.rx_bytes += members.iter().map(|member| member.carried.received).sum::<u64>();
        self.tx_bytes += members.iter().map(|member| member.carried.sent).sum::<u64>();
        self.peers.extend(members.iter().map(|member| PeerStatus::of_member(member, now)));
    }
}

impl PeerStatus {
    fn of_member(status: &MemberStatus, now: Now) -> Self {
        let member = &status.member;
        Self {
            public_key: PublicKey::new(member.certificate).to_string(),
            preshared_key: false,
            endpoint: status.endpoint,
            transport: OPENVPN.to_owned(),
            endpoint_name: None,
            last_handshake_unix: status.last_keys.map(|at| at.as_secs()),
            last_handshake_seconds_ago: status.last_keys.map(|at| now.unix.saturating_sub(at).as_secs()),
            rx_bytes: status.carried.received,
            tx_bytes: status.carried.sent,
            persistent_keepalive: 0,
            allowed_ips: vec![IpNet::from(IpAddr::from(member.v4)), IpNet::from(IpAddr::from(member.v6))],
            has_session: status.has_session,
            staged: 0,
            deadline: None,
        }
    }

    fn of(peer: &DevicePeer, now: Now) -> Self {
        Self {
            public_key: peer.public_key.to_string(),
            preshared_key: peer.preshared_key.is_some(),
            endpoint: peer.endpoint,
            transport: if peer.link == HTTPS { "https" } else { "udp" }.to_owned(),
            endpoint_name: None,
            last_handshake_unix: peer.last_handshake.map(|at| at.as_secs()),
            last_handshake_seconds_ago: peer.last_handshake.map(|at| now.unix.saturating_sub(at).as_secs()),
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            persistent_keepalive: peer.persistent_keepalive,
            allowed_ips: peer.allowed_ips.clone(),
            has_session: peer.has_session,
            staged: peer.staged,
            deadline: peer.deadline.map(|(at, why)| Deadline::after(at.saturating_duration_since(now.instant), why)),
        }
    }
}

impl Deadline {
    fn after(after: Duration, why: Why) -> Self {
        Self { in_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX), why: why.0.to_owned() }
    }
}

fn by_name(drops: &Drops) -> BTreeMap<String, u64> {
    drops.iter().map(|(reason, n)| (reason.name().to_owned(), n)).collect()
}

/// Bytes a second, of two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Received.
    pub rx_bytes_per_second: u64,
    /// Sent.
    pub tx_bytes_per_second: u64,
}

impl Rates {
    /// Between two moments of one tunnel. `None` if no time passed. Peers that were removed meanwhile count as silent.
    pub fn between(before: (Instant, &TunnelStatus), after: (Instant, &TunnelStatus)) -> Option<Self> {
        let seconds = after.0.checked_duration_since(before.0)?.as_secs_f64();
        let rate = |before: u64, after: u64| (after.saturating_sub(before) as f64 / seconds) as u64;
        (seconds > 0.0).then(|| Self {
            rx_bytes_per_second: rate(before.1.rx_bytes, after.1.rx_bytes),
            tx_bytes_per_second: rate(before.1.tx_bytes, after.1.tx_bytes),
        })
    }
}

//! What `adit status --json` says: a stable schema (docs/spec/status.md), and what the human view is drawn from.
//!
//! Fields are only ever added. A changed meaning is a new [`SCHEMA`] number.

use std::collections::BTreeMap;
use std::path::PathBuf;

use adit::status::{CarrierStatus, WebSiteStatus};
use serde::{Deserialize, Serialize};

/// The number of this schema.
pub(crate) const SCHEMA: u32 = 1;

/// All tunnels, or the one asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The version of the daemon.
    pub(crate) version: String,
    /// By name.
    pub(crate) tunnels: Vec<TunnelReport>,
}

/// How a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Being brought up.
    Starting,
    /// The interface is up, and no peer has answered yet.
    Waiting,
    /// At least one peer has a session.
    Connected,
    /// Being taken down.
    Stopping,
    /// It ended by itself; the reason is in the notes.
    Failed,
}

/// How an OpenVPN client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenVpnReport {
    /// The server: its address, and the name the configuration calls it by.
    pub(crate) server: Option<String>,
    /// The cipher of packets.
    pub(crate) cipher: Option<String>,
    /// Since when packets flow.
    pub(crate) connected_seconds: Option<u64>,
    /// How often it was connected.
    pub(crate) connections: u64,
    /// How often keys were renewed in this connection.
    pub(crate) renewals: u64,
    /// Why the last attempt or connection ended.
    pub(crate) trouble: Option<String>,
    /// What the server has to say to its user.
    pub(crate) said: Option<String>,
}

/// How an OpenVPN server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServingReport {
    /// Those who are in, in the order in which they came.
    pub(crate) clients: Vec<ServedClient>,
    /// So many may be (`max-clients`).
    pub(crate) most: u32,
    /// How many were let in since it was brought up.
    pub(crate) admitted: u64,
    /// How many were turned away.
    pub(crate) refused: u64,
}

/// A client of an OpenVPN server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedClient {
    /// What it is called: by its certificate, or by its user.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) from: String,
    /// Its addresses inside.
    pub(crate) addresses: Vec<String>,
    /// Networks behind it.
    pub(crate) networks: Vec<String>,
    /// Since when packets flow.
    pub(crate) connected_seconds: u64,
    /// How often keys were renewed.
    pub(crate) renewals: u64,
}

/// One tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TunnelReport {
    /// The interface.
    pub(crate) name: String,
    /// How it is.
    pub(crate) state: State,
    /// Seconds since it was brought up.
    pub(crate) up_seconds: u64,
    /// The file it was brought up from.
    pub(crate) file: Option<PathBuf>,
    /// Its addresses.
    pub(crate) addresses: Vec<String>,
    /// The largest packet inside, in bytes.
    pub(crate) mtu: Option<u32>,
    /// Its public key.
    pub(crate) public_key: Option<String>,
    /// The UDP port it listens on.
    pub(crate) listen_port: Option<u16>,
    /// The mark on its own datagrams; 0 is none.
    pub(crate) fwmark: u32,
    /// What the wire sees.
    pub(crate) transport: String,
    /// Why this one, where there is a choice of transports.
    #[serde(default)]
    pub(crate) carrier: Option<CarrierStatus>,
    /// The web site of this end, if it is one.
    #[serde(default)]
    pub(crate) web_site: Option<WebSiteStatus>,
    /// What only an OpenVPN client has; a tunnel without this and the next is of WireGuard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) openvpn: Option<OpenVpnReport>,
    /// What only an OpenVPN server has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) openvpn_server: Option<ServingReport>,
    /// The UDP port for OpenVPN clients of a network, if it admits any beside its other devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) openvpn_port: Option<u16>,
    /// What the kernel does for us, by side.
    pub(crate) offloads: Offloads,
    /// Bytes of WireGuard messages, all peers together; with OpenVPN, of packets inside.
    pub(crate) traffic: Traffic,
    /// Dropped packets by reason; reasons that never happened are left out.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Handshakes completed since it was brought up, also with peers that are gone.
    #[serde(default)]
    pub(crate) handshakes: u64,
    /// Whether handshakes are answered with cookies at the moment.
    pub(crate) under_load: bool,
    /// What happens next.
    pub(crate) next: Option<Deadline>,
    /// What else there is to say, a sentence each.
    pub(crate) notes: Vec<String>,
    /// In the order they were configured.
    pub(crate) peers: Vec<PeerReport>,
}

impl TunnelReport {
    /// One of which nothing is known but its name.
    pub(crate) fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Starting,
            up_seconds: 0,
            file: None,
            addresses: Vec::new(),
            mtu: None,
            public_key: None,
            listen_port: None,
            fwmark: 0,
            transport: "udp".to_owned(),
            carrier: None,
            web_site: None,
            openvpn: None,
            openvpn_server: None,
            openvpn_port: None,
            offloads: Offloads::default(),
            traffic: Traffic::default(),
            drops: BTreeMap::new(),
            handshakes: 0,
            under_load: false,
            next: None,
            notes: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerReport {
    /// Who.
    pub(crate) public_key: String,
    /// Whether a pre-shared key is set. Never the key.
    pub(crate) preshared_key: bool,
    /// Where it was last heard from, or is configured to be.
    pub(crate) endpoint: Option<String>,
    /// The transport it was last heard over.
    #[serde(default)]
    pub(crate) transport: String,
    /// Its networks.
    pub(crate) allowed_ips: Vec<String>,
    /// When the last handshake was completed, in seconds since 1970; absent if there was none.
    pub(crate) last_handshake_unix: Option<u64>,
    /// The same as an age.
    pub(crate) last_handshake_seconds_ago: Option<u64>,
    /// Whether data can be sent to it at once.
    pub(crate) has_session: bool,
    /// Bytes of WireGuard messages.
    pub(crate) traffic: Traffic,
    /// Seconds between keepalives; 0 is off.
    pub(crate) persistent_keepalive: u16,
    /// Packets waiting for a session.
    pub(crate) staged: usize,
    /// What happens next.
    pub(crate) next: Option<Deadline>,
}

/// Bytes and rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Bytes received.
    pub(crate) received: u64,
    /// Bytes sent.
    pub(crate) sent: u64,
    /// Bytes received a second, lately; absent until there are two readings.
    pub(crate) received_per_second: Option<u64>,
    /// Bytes sent a second, lately.
    pub(crate) sent_per_second: Option<u64>,
}

/// What the kernel does for us in batches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offloads {
    /// On the TUN device.
    pub(crate) inside: Vec<String>,
    /// On the UDP sockets.
    pub(crate) outside: Vec<String>,
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadline {
    /// Milliseconds from now.
    pub(crate) in_ms: u64,
    /// Why, in the words of the protocol.
    pub(crate) why: String,
}

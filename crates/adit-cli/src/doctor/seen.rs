//! What was seen of a machine and of the servers that its profiles name: plain values, which a test can fill in by hand.
//!
//! Not here: looking (`look`), what follows from it (`check`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::SystemTime;

use adit::transport::client::Looked;
use adit::transport::tls::Validity;
use adit_host::Looked as Machine;

use crate::report::{PeerReport, TunnelReport};

/// How long, in seconds, a tunnel that keeps itself alive has to be up until its server must have answered, if it does.
const AWHILE: u64 = 30;

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What time it is by this machine's clock.
    pub(crate) now: SystemTime,
    /// Whether the daemon answers.
    pub(crate) daemon: bool,
    /// The machine; nothing if the kernel does not say.
    pub(crate) machine: Option<Machine>,
    /// The interface by which each name server is reached, where there is one.
    pub(crate) ways: BTreeMap<IpAddr, Option<String>>,
    /// Tunnels that are up.
    pub(crate) tunnels: Vec<Tunnel>,
    /// Profiles that are kept, of tunnels that are up or not.
    pub(crate) kept: Vec<Kept>,
    /// A network is kept on this machine, whether it is served or not.
    pub(crate) has_network: bool,
    /// The browser that adit looks like.
    pub(crate) browser: Browser,
}

/// A tunnel that is up.
#[derive(Debug, Clone)]
pub(crate) struct Tunnel {
    /// What the daemon says of it.
    pub(crate) report: TunnelReport,
    /// What it is for this machine.
    pub(crate) role: Role,
    /// Its profile; nothing if it cannot be read.
    pub(crate) profile: Option<Profile>,
    /// The server as a visitor sees it; nothing if it is no web site.
    pub(crate) site: Option<Looked>,
    /// Packets of several lengths, to the server and back; or why none were sent.
    pub(crate) path: Result<Path, NotMeasured>,
    /// Something came through it while it was looked at.
    pub(crate) heard: bool,
    /// The certificate that this machine shows.
    pub(crate) own_certificate: Option<OwnCertificate>,
}

/// What a tunnel is for this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It goes to servers.
    Device,
    /// It serves a network that `adit server up` decides about; whether that runs.
    Network {
        /// Whether the deciding process answers.
        decided: bool,
    },
    /// Others come to it, and a file says who.
    Peer,
    /// It goes to OpenVPN servers.
    OpenVpn,
    /// OpenVPN clients come to it.
    OpenVpnServer,
}

/// What matters here of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Everything of one family at least goes through the tunnel.
    pub(crate) is_full: bool,
    /// Its name servers.
    pub(crate) dns: Vec<IpAddr>,
    /// It is reached over HTTPS too, or only, and looks like a browser then.
    pub(crate) looks_like_a_browser: bool,
    /// Only the key of the server's certificate counts, not how long it is good.
    pub(crate) only_pins: bool,
}

/// Packets of several lengths, to the server and back through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// Whom they were sent to; nothing if nobody there is known.
    pub(crate) to: Option<Ipv4Addr>,
    /// Whether small ones came back.
    pub(crate) small: bool,
    /// The longest that came back; nothing if that could not be looked for to the end.
    pub(crate) longest: Option<u16>,
    /// The longest that the interface takes.
    pub(crate) mtu: u16,
}

/// Why no packets were sent through a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotMeasured {
    /// It is none whose other end is asked.
    NotAsked,
    /// This user may not.
    Denied,
    /// Something else, in words.
    Failed(String),
}

/// A certificate that this machine shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnCertificate {
    /// Its file.
    pub(crate) file: PathBuf,
    /// When it is good; nothing if it cannot be read.
    pub(crate) validity: Option<Validity>,
    /// Whether adit gets a new one in time by itself.
    pub(crate) renews: bool,
}

/// A profile in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The file.
    pub(crate) file: PathBuf,
    /// Why it cannot be used.
    pub(crate) failure: Option<String>,
    /// Others than its owner may read the private key in it.
    pub(crate) is_exposed: bool,
    /// What matters of it, if it can be read.
    pub(crate) profile: Profile,
}

/// The browser that adit looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Browser {
    /// Its name and version.
    pub(crate) name: String,
    /// The day that its looks were recorded: no machine's clock can be before that.
    pub(crate) recorded: SystemTime,
    /// For how many days it has been out of date.
    pub(crate) expired: Option<u64>,
}

impl Tunnel {
    /// The interface.
    pub(crate) fn name(&self) -> &str {
        &self.report.name
    }

    /// Whether something came back through it.
    pub(crate) fn answers(&self) -> bool {
        let (asked, came_back) = self.path.as_ref().map_or((false, false), |path| (path.to.is_some(), path.small));
        self.heard || came_back || !asked && self.has_session()
    }

    /// Whether somebody was asked through it, by a ping or by the tunnel itself for a while: else silence says nothing.
    pub(crate) fn was_asked(&self) -> bool {
        let asks_by_itself =
            self.report.up_seconds >= AWHILE && self.server().is_some_and(|server| server.persistent_keepalive > 0);
        self.path.as_ref().is_ok_and(|path| path.to.is_some()) || asks_by_itself
    }

    /// The peer that is meant by its server: the first that has an address, else the only one.
    pub(crate) fn server(&self) -> Option<&PeerReport> {
        let peers = &self.report.peers;
        let only = || peers.first().filter(|_| peers.len() == 1);
        peers.iter().find(|peer| peer.endpoint.is_some()).or_else(only)
    }

    /// Whether it has a session with somebody.
    pub(crate) fn has_session(&self) -> bool {
        self.report.peers.iter().any(|peer| peer.has_session)
    }
}

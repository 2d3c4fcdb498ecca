//! The file format of wg-quick, complete, with adit's own keys: text to typed profile with a finding for every line, and back to text.
//!
//! Not here: what a profile makes of a device or a machine, reading files (`file`).

mod conflicts;
mod emit;
mod field;
mod finding;
mod https;
mod parse;
mod value;
mod web;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use adit_transport::ladder::Order;
use adit_wireguard::{PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::https::HttpsKey;

pub(crate) use value::is_host_name;

pub use finding::{Finding, InFile, Refused, Verdict};
pub use https::{Https, Listen, Shape, SiteSource, Url, WebFront, WebSite};

/// A tunnel as a wg-quick file describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// This end.
    pub interface: Interface,
    /// The others, in the order of the file.
    pub peers: Vec<Peer>,
    /// The section `[Https]`, of a server that is a web site too.
    pub web_site: Option<WebSite>,
}

/// The section `[Interface]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `PrivateKey`.
    pub private_key: Option<PrivateKey>,
    /// `ListenPort`; 0 and `None` let the system choose.
    pub listen_port: Option<u16>,
    /// `FwMark`; 0 is `off`, `None` leaves the choice to the routing.
    pub fwmark: Option<u32>,
    /// `Address`: addresses with the length of their network, host bits kept.
    pub addresses: Vec<IpNet>,
    /// The addresses under `DNS`.
    pub dns: Vec<IpAddr>,
    /// The names under `DNS`.
    pub dns_search: Vec<String>,
    /// `MTU`, in bytes.
    pub mtu: Option<u16>,
    /// `Table`.
    pub table: Table,
    /// `PreUp`: commands for the shell, `%i` stands for the interface.
    pub pre_up: Vec<String>,
    /// `PostUp`.
    pub post_up: Vec<String>,
    /// `PreDown`.
    pub pre_down: Vec<String>,
    /// `PostDown`.
    pub post_down: Vec<String>,
    /// `SaveConfig`: when the tunnel goes down, write what it was then into the file.
    pub save_config: bool,
}

/// A section `[Peer]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// `PublicKey`.
    pub public_key: PublicKey,
    /// `PresharedKey`.
    pub preshared_key: Option<PresharedKey>,
    /// `AllowedIPs`: networks without host bits, in the order of the file.
    pub allowed_ips: Vec<IpNet>,
    /// `Endpoint`.
    pub endpoint: Option<Endpoint>,
    /// `Fallback`: where the same peer is as well, such as the other gateways of its network; tried in turn when it is silent.
    pub fallback: Vec<Endpoint>,
    /// `PersistentKeepalive`, in seconds; 0 is `off`.
    pub persistent_keepalive: Option<u16>,
    /// `Transport`: which carriers, the first choice first; `None` is UDP alone.
    pub transport: Option<Order>,
    /// The keys `Https…`, at a client.
    pub https: Option<Https>,
    /// `HttpsKey`, at a server: by what this peer is known when it comes as a visitor.
    pub https_key: Option<HttpsKey>,
}

/// Where routes go.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Table {
    /// To the main table, or to one of their own for a default route.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// To this table.
    Number(u32),
    /// To the table of this name in `/etc/iproute2/rt_tables`.
    Named(String),
}

/// Where a peer is, as it was written: a name is not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The UDP port.
    pub port: u16,
}

/// The host of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// An address that counts on one interface, by name or number.
    Zoned(Ipv6Addr, String),
    /// A name to be resolved.
    Name(String),
}

/// What came of a text: a profile of the lines that could be taken, and a finding for every line.
#[derive(Debug)]
pub struct Parsed {
    /// The profile. With a wrong line among the findings it is not to be used.
    pub profile: Profile,
    /// What is to be said of each line, from top to bottom.
    pub findings: Vec<Finding>,
}

/// Reads a text. Never fails: what is wrong is said in the findings.
pub fn parse(text: &str) -> Parsed {
    parse::parse(text)
}

impl Parsed {
    /// The profile and the findings, or all wrong lines at once. `file` is only for the message.
    pub fn strict(self, file: &Path) -> Result<(Profile, Vec<Finding>), Refused> {
        if self.findings.iter().any(Finding::is_wrong) {
            let wrong = self.findings.into_iter().filter(Finding::is_wrong).collect();
            return Err(Refused { file: file.to_owned(), wrong });
        }
        Ok((self.profile, self.findings))
    }
}

impl Profile {
    /// The profile as a file. Holds secrets, and is wiped when dropped.
    pub fn emit(&self) -> Zeroizing<String> {
        emit::emit(self)
    }

    /// A second copy, said out loud because it holds secrets.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            interface: self.interface.duplicate(),
            peers: self.peers.iter().map(Peer::duplicate).collect(),
            web_site: self.web_site.clone(),
        }
    }

    /// The peer with this key.
    pub fn peer(&self, key: &PublicKey) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.public_key == *key)
    }
}

impl Interface {
    /// A second copy, said out loud because it holds a secret.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            private_key: self.private_key.as_ref().map(PrivateKey::duplicate),
            listen_port: self.listen_port,
            fwmark: self.fwmark,
            addresses: self.addresses.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            mtu: self.mtu,
            table: self.table.clone(),
            pre_up: self.pre_up.clone(),
            post_up: self.post_up.clone(),
            pre_down: self.pre_down.clone(),
            post_down: self.post_down.clone(),
            save_config: self.save_config,
        }
    }
}

impl Peer {
    /// A peer of which only the key is known.
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            fallback: Vec::new(),
            persistent_keepalive: None,
            transport: None,
            https: None,
            https_key: None,
        }
    }

    /// A second copy, said out loud because it may hold a secret.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            public_key: self.public_key,
            preshared_key: self.preshared_key.as_ref().map(PresharedKey::duplicate),
            allowed_ips: self.allowed_ips.clone(),
            endpoint: self.endpoint.clone(),
            fallback: self.fallback.clone(),
            persistent_keepalive: self.persistent_keepalive,
            transport: self.transport,
            https: self.https.clone(),
            https_key: self.https_key,
        }
    }
}

impl Peer {
    /// Where it may be, the first choice first.
    pub fn ways(&self) -> Vec<Endpoint> {
        self.way().into_iter().chain(self.fallback.iter().cloned()).collect()
    }

    /// The first of them: its `Endpoint`, else where its web site is.
    pub fn way(&self) -> Option<Endpoint> {
        self.endpoint.clone().or_else(|| {
            let https = self.https.as_ref()?;
            let address = https.addresses.first().copied().or_else(|| https.url.host.parse().ok());
            let host = address.map_or_else(|| Host::Name(https.url.host.clone()), Host::Ip);
            Some(Endpoint { host, port: https.url.port })
        })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Host::Zoned(*v6.ip(), v6.scope_id().to_string()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => Host::Ip(address.ip()),
        };
        Self { host, port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Zoned(address, zone) => write!(f, "[{address}%{zone}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod web_tests;

//! A configuration as a whole: what is left when every line has been read.
//!
//! Not here: reading lines (`draft`), what holds between them (`finish`).

use super::connection::{ControlWrap, Family, Remote, Sizes, Transport};
use super::data::DataOptions;
use super::dns::Dns;
use super::draft::{Device, HandsOff};
use super::hooks::Hooks;
use super::identity::{Identity, LoginOptions, PeerRules};
use super::inside::{Inside, Pulling};
use super::life::{Attempts, Life};
use super::process::SocketOptions;
use super::server::ServerOptions;
use super::tls::{Rekeying, TlsOptions};

/// A file, by the end it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// A client's.
    Client(Box<ClientConfig>),
    /// A server's.
    Server(Box<ServerConfig>),
}

/// What both ends are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The directory that relative names of files count from (`cd`); `None`: where the configuration is.
    pub base: Option<String>,
    /// The network interface.
    pub device: Device,
    /// Parts of the machine that are left to others.
    pub hands_off: HandsOff,
    /// Our own certificate and key, and the authorities.
    pub identity: Identity,
    /// What the other end's certificate must satisfy.
    pub peer: PeerRules,
    /// What TLS may use.
    pub tls: TlsOptions,
    /// When keys are made anew.
    pub rekeying: Rekeying,
    /// What the data channel may use.
    pub data: DataOptions,
    /// Addresses and routes of our own.
    pub inside: Inside,
    /// Name servers.
    pub dns: Dns,
    /// How long the tunnel lives.
    pub life: Life,
    /// Settings of our sockets.
    pub socket: SocketOptions,
    /// Programs that are run, all of them where the file says `script-security 2`.
    pub hooks: Hooks,
}

/// A client's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// What both ends are told.
    pub common: Common,
    /// The ways to servers, in order, at least one.
    pub remotes: Vec<Remote>,
    /// Which of them is tried, and how often.
    pub attempts: Attempts,
    /// Which pushes are taken.
    pub pulling: Pulling,
    /// User and password.
    pub login: LoginOptions,
    /// The server is told more of this machine.
    pub push_peer_info: bool,
}

/// A server's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// What both ends are told.
    pub common: Common,
    /// Where it listens.
    pub listen: Listen,
    /// How the control channel is wrapped.
    pub wrap: ControlWrap,
    /// The wrap of clients that have no key of their own, beside tls-crypt-v2.
    pub second_wrap: Option<ControlWrap>,
    /// What only a server is told.
    pub server: ServerOptions,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address; `None`: all.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
    /// What packets travel in.
    pub transport: Transport,
    /// Over which version of IP.
    pub family: Family,
    /// What packets may measure.
    pub sizes: Sizes,
    /// Clients are told when the server goes: 1 to come again, 2 to try the next.
    pub exit_notify: Option<u32>,
}

impl Config {
    /// What both ends are told.
    pub const fn common(&self) -> &Common {
        match self {
            Self::Client(client) => &client.common,
            Self::Server(server) => &server.common,
        }
    }
}

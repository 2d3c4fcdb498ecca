//! A running OpenVPN server: the core on an engine, between any inside and an outside of UDP or TCP.
//!
//! | module | what it knows |
//! |---|---|
//! | `attendant` | who answers the core's questions: who comes in, with which address, and what each is told |
//! | `admission` | what is found out of a client first |
//! | `entry`, `login`, `token` | the files of single clients; the program that checks passwords; tokens in their place |
//! | `carrier`, `hub`, `seats` | the outside that a configuration asks for; many streams of TCP as one, and how many they may be |
//! | `withdrawn` | whose certificates are withdrawn, looked at again while it runs |
//! | `plain` | files where others than the daemon may write |
//! | `layout` | the addresses of the network |
//! | `pool` | which client has which place in it |
//!
//! Not here: what a configuration says (`adit_openvpn::options`), the machine (whoever owns the interface).

mod admission;
mod attendant;
mod carrier;
mod entry;
mod hub;
mod layout;
mod login;
mod plain;
mod pool;
mod seats;
mod token;
mod withdrawn;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_engine::{Clock, EngineHandle, Gone, PacketIo, RunOn, Status, Stopped};
use adit_openvpn::{Server as Core, ServerChange, TlsSettingsError, Unusable, options};
use adit_protocol::Protocol as _;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use self::attendant::{Attendant, Order};
pub use self::carrier::{Carrier, CarrierControl};
pub use self::hub::{Hub, HubControl};
pub use self::layout::{Layout, LayoutError};
use self::withdrawn::Withdrawn;

/// Orders that may wait for the attendant.
const ORDERS: usize = 8;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// A running server. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Debug, Clone)]
pub struct Server {
    engine: EngineHandle<Core>,
    orders: mpsc::Sender<Order>,
    /// What is wrong with the list of withdrawn certificates.
    trouble: watch::Receiver<Option<String>>,
    port: u16,
}

/// How a server is.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Those who are in, in the order in which they came.
    pub guests: Vec<Guest>,
    /// How many were let in since it began.
    pub admitted: u64,
    /// How many were turned away.
    pub refused: u64,
    /// What is wrong with its files and programs, a sentence each.
    pub trouble: Vec<String>,
}

/// A client that is in.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What it is called: by its certificate, or by its user. Nothing in it is an order to a terminal.
    pub name: String,
    /// Where it is, outside.
    pub from: SocketAddr,
    /// Its addresses inside.
    pub addresses: Vec<IpAddr>,
    /// Networks behind it.
    pub networks: Vec<IpNet>,
    /// Since when.
    pub since: Instant,
    /// How often keys were renewed.
    pub renewals: u64,
}

/// Where a server finds and makes files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Where relative names of the configuration count from.
    pub base: PathBuf,
    /// A directory of this server alone for the time of a question to a program: emptied when it starts, and made for our eyes only.
    pub scratch: PathBuf,
    /// The list that `crl-verify` names, whose content is in the configuration: it is looked at again while the server runs.
    pub revoked: Option<PathBuf>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No randomness, so no keys.
    #[error("the operating system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The configuration asks for what this build does not do.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Addresses.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Certificates and keys.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
    /// A program or directory that the configuration names.
    #[error("cannot look at {path} (`{option}`): {source}\n  hint: write its whole path")]
    Missing {
        /// The option.
        option: &'static str,
        /// The program or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Who had which address.
    #[error(
        "cannot read {file} (`ifconfig-pool-persist`): {source}\n  hint: it has a line for each client: name,address"
    )]
    PoolFile {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Server {
    /// Starts a server. Must be called on a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`StartError`]: nobody is let in then.
    pub fn start<I: PacketIo>(
        config: &options::ServerConfig,
        files: &Files,
        inside: I,
        outside: Carrier,
        control: CarrierControl,
        run: RunOn,
    ) -> Result<Self, StartError> {
        let (mut seed, mut random) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        for bytes in [&mut seed, &mut random] {
            getrandom::fill(&mut **bytes).map_err(StartError::NoRandomness)?;
        }
        let clock = Clock::default();
        let attendant = Attendant::new(config, files, &random)?;
        let mut core = Core::new(adit_openvpn::server_of(config)?, *seed, clock.now())?;
        let mut withdrawn = Withdrawn::of(config, files);
        if let Some(withdrawn) = withdrawn.as_mut().filter(|withdrawn| withdrawn.is_new()) {
            let path = withdrawn.path().to_owned();
            let missing = |why| StartError::Missing { option: "crl-verify", path, source: io::Error::other(why) };
            if let Some(revoked) = withdrawn.look().map_err(missing)? {
                core.apply(clock.now(), ServerChange::Revoke(Box::new(revoked)));
            }
        }
        let options = adit_engine::Options { clock, run, ..adit_engine::Options::default() };
        let (engine, news) = adit_engine::start(core, inside, outside, options);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let port = control.port();
        let streams = match control {
            CarrierControl::Udp(_) => None,
            CarrierControl::Streams(streams) => Some(streams),
        };
        tokio::spawn(attendant.run(engine.clone(), news, inbox, streams));
        let (said, trouble) = watch::channel(None);
        if let Some(withdrawn) = withdrawn {
            tokio::spawn(withdrawn.run(engine.clone(), said));
        }
        Ok(Self { engine, orders, trouble, port })
    }

    /// How it is now.
    pub async fn shown(&self) -> Shown {
        let (reply, shown) = oneshot::channel();
        // If the attendant is gone, so is the server, and nobody is in.
        drop(self.orders.send(Order::Show(reply)).await);
        let mut shown = shown.await.unwrap_or_default();
        shown.trouble.extend(self.trouble.borrow().clone());
        shown
    }

    /// The port that it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the engine knows.
    ///
    /// # Errors
    /// [`Gone`] if it has stopped.
    pub async fn engine(&self) -> Result<Status, Gone> {
        self.engine.status().await
    }

    /// Tells clients so, if the configuration says that they are told, and stops: inside and outside are closed then.
    pub async fn stop(&self) -> Arc<Stopped> {
        let said = async {
            let (done, ended) = oneshot::channel();
            if self.orders.send(Order::Leave(done)).await.is_ok() {
                let _is_gone = ended.await;
            }
        };
        let _in_time = tokio::time::timeout(GOODBYE, said).await;
        self.engine.stop().await
    }

    /// Waits until it has stopped, for whatever reason.
    pub async fn stopped(&self) -> Arc<Stopped> {
        self.engine.stopped().await
    }
}

#[cfg(test)]
mod testing {
    //! Configurations for the tests of this part.

    use adit_openvpn::options::{self, Config, ServerConfig};

    /// One with these lines and papers that nobody looks at.
    pub(super) fn config(lines: &str) -> ServerConfig {
        let papers = "<ca>\nx\n</ca>\n<cert>\nx\n</cert>\n<key>\nx\n</key>\n";
        match options::parse(&format!("{lines}{papers}")) {
            options::Parsed { config: Some(Config::Server(config)), .. } => *config,
            parsed => panic!("{:?}", parsed.findings),
        }
    }
}

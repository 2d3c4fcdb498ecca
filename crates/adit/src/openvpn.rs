//! A running OpenVPN client: the core on an engine, between any inside and an outside of UDP, TCP or both.
//!
//! | module | what it knows |
//! |---|---|
//! | `ways` | the servers as addresses |
//! | `stream`, `relay` | TCP as an outside; datagrams through a proxy as one |
//! | `proxy` | what is said to proxies |
//! | `carrier` | the outside that a configuration's servers need |
//! | `attendant` | who listens to the core: names, streams, patience, what the server set |
//! | `program` | programs that a configuration has run |
//! | `settings` | what the server set, as values, and as it changes |
//! | [`server`] | the other end: a running server |
//! | [`network`] | the other end again, beside the WireGuard of a network |
//!
//! Not here: what a configuration says (`adit_openvpn::options`), the machine (whoever owns the interface follows
//! [`OpenVpn::watch`]).

mod attendant;
mod carrier;
pub mod network;
mod program;
mod proxy;
mod relay;
pub mod server;
mod settings;
mod stream;
mod ways;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_engine::{Clock, DatagramIo, EngineHandle, Gone, PacketIo, RunOn, Status, Stopped};
use adit_openvpn::{Client, Credentials, TlsSettingsError, Unusable, options};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use self::attendant::{Attendant, Order};
pub use self::carrier::{Carrier, CarrierControl};
pub use self::program::{NoAnswer, Program};
pub use self::settings::Settings;
use self::ways::Ways;

/// Orders that may wait for the attendant.
const ORDERS: usize = 8;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// A running client. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Debug, Clone)]
pub struct OpenVpn {
    engine: EngineHandle<Client>,
    orders: mpsc::Sender<Order>,
    shown: watch::Receiver<Shown>,
    carrier: CarrierControl,
}

/// How a client is.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// What it is at.
    pub phase: Phase,
    /// The server of this attempt: where packets to it go, and how the configuration calls it.
    pub server: Option<(SocketAddr, String)>,
    /// The proxy on the way there; its address is that where packets go.
    pub proxy: Option<options::ProxyKind>,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// What the server set, in this connection or the last one.
    pub settings: Option<Arc<Settings>>,
    /// Since when packets flow.
    pub since: Option<Instant>,
    /// How often it was connected.
    pub connections: u64,
    /// How often keys were renewed in this connection.
    pub renewals: u64,
    /// Why the last attempt or connection ended.
    pub trouble: Option<String>,
    /// What the server had to say to its user.
    pub said: Option<String>,
    /// It has ended as the configuration asks for (`ping-exit`, `session-timeout`, `connect-retry-max`), or before it was ever
    /// connected: the tunnel is to be taken down.
    pub over: bool,
    /// What the server asks, and waits for as the next password.
    pub challenge: Option<Challenge>,
}

/// A question of a server (`CRV1`). A new attempt answers it.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What to show.
    pub question: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
    /// The user that it is for.
    pub user: String,
    /// What the server knows the question by. As good as a password for as long as it lasts.
    state: Zeroizing<String>,
}

impl Challenge {
    /// The login of the next attempt.
    pub fn answered(&self, answer: &str) -> Credentials {
        let password = Zeroizing::new(format!("CRV1::{}::{answer}", *self.state));
        Credentials { username: self.user.clone(), password }
    }
}

/// Without what it is known by.
impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge").field("question", &self.question).field("echo", &self.echo).finish_non_exhaustive()
    }
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// The names of the servers are looked up.
    #[default]
    Looking,
    /// An attempt is under way.
    Connecting,
    /// Packets flow.
    Connected,
    /// The next attempt comes by itself.
    Waiting,
    /// It is over, until somebody gives another password, or for good: [`Shown::trouble`] says why.
    Ended,
}

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No randomness, so no keys.
    #[error("the operating system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The configuration asks for what this build does not do.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Certificates and keys.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
}

impl OpenVpn {
    /// Starts a client that connects at once, and again whenever it has to. Must be called on a tokio runtime with I/O and
    /// time enabled. `login`: user and password, if the server wants them.
    ///
    /// # Errors
    /// [`StartError`]: nothing is sent then.
    pub fn start<I: PacketIo, O: DatagramIo>(
        config: &options::ClientConfig,
        login: Option<Credentials>,
        inside: I,
        outside: O,
        carrier: CarrierControl,
        run: RunOn,
    ) -> Result<Self, StartError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(StartError::NoRandomness)?;
        let clock = Clock::default();
        let ways = Ways::new(config.remotes.clone(), &config.attempts);
        let mut settings = adit_openvpn::client_of(config, login)?;
        settings.remotes = ways.paths();
        let client = Client::new(settings, *seed, clock.now())?;
        let options = adit_engine::Options { clock, run, ..adit_engine::Options::default() };
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (shown, watched) = watch::channel(Shown::default());
        // Before anything is sent: it knows the proxies.
        let attendant = Attendant::new(config, ways, carrier.streams(), shown);
        let (engine, news) = adit_engine::start(client, inside, outside, options);
        tokio::spawn(attendant.run(engine.clone(), news, inbox));
        Ok(Self { engine, orders, shown: watched, carrier })
    }

    /// How it is, as it changes.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.shown.clone()
    }

    /// How it is now.
    pub fn shown(&self) -> Shown {
        self.shown.borrow().clone()
    }

    /// What the engine knows.
    ///
    /// # Errors
    /// [`Gone`] if it has stopped.
    pub async fn engine(&self) -> Result<Status, Gone> {
        self.engine.status().await
    }

    /// Another password, or the answer to a question: connects again with it.
    pub async fn log_in(&self, login: Credentials) {
        // If the attendant is gone, so is the client.
        drop(self.orders.send(Order::LogIn(login)).await);
    }

    /// Marks packets that are sent from now on, and streams that are made from now on; 0 is no mark.
    ///
    /// # Errors
    /// What the system says.
    pub async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.carrier.set_fwmark(mark).await
    }

    /// The mark of what is sent; 0 is none.
    pub fn fwmark(&self) -> u32 {
        self.carrier.fwmark()
    }

    /// Says goodbye, and stops: inside and outside are closed then.
    pub async fn stop(&self) -> Arc<Stopped> {
        let said = async {
            let (done, ended) = tokio::sync::oneshot::channel();
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

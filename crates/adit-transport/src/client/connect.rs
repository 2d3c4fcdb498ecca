//! One real connection: dial, greet, visit, ask for the tunnel, carry.
//!
//! Not here: when and how often (`run`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::cache::Cache;
use super::dial;
use super::pump::{End, Framing, Surroundings, pump};
use super::request::{Asker, first_settings};
use super::run::{Attempt, Connect, Live};
use super::tunnel;
use super::visit::visit;
use super::wire::{Traffic, Wire};
use crate::config::{HttpsClient, Route};
use crate::grpc;
use crate::h2::StreamId;
use crate::hub::Seat;
use crate::shape::{Outgoing, Role, Settings};
use crate::tls::profile::Profile;
use crate::tls::{self, ClientHello, Tickets, TlsError, TlsStream};

/// For the TLS handshake: longer, and the hello was swallowed.
pub(super) const TLS_WITHIN: Duration = Duration::from_secs(10);
/// For the visit of the site: what is not loaded by then is not needed.
const VISIT_WITHIN: Duration = Duration::from_secs(15);
/// For the answer to our asking.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Makes connections to one server.
pub(super) struct Server {
    pub(super) config: HttpsClient,
    pub(super) profile: Arc<Profile>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) tickets: Arc<Tickets>,
    /// One visit at a time.
    pub(super) cache: Mutex<Option<Cache>>,
    /// Changes whenever the network may have.
    pub(super) network: watch::Receiver<u64>,
}

/// A connection with a tunnel.
pub(super) struct Tunnel {
    wire: Wire<TlsStream>,
    stream: StreamId,
    framing: Framing,
    remote: SocketAddr,
    local: Option<IpAddr>,
    fwmark: u32,
    shape: Settings,
    network: watch::Receiver<u64>,
}

impl Connect for Arc<Server> {
    type Tcp = TcpStream;
    type Live = Tunnel;

    fn ways(&self) -> usize {
        self.config.addresses.len().max(1)
    }

    async fn tcp(&mut self, turn: usize) -> Result<TcpStream, Attempt> {
        let failed =
            |error: std::io::Error| Attempt::Failed(format!("{} cannot be reached: {error}", self.config.host));
        let addresses = dial::addresses(&self.config, turn).await.map_err(failed)?;
        dial::tcp(&addresses, self.config.fwmark).await.map_err(failed)
    }

    async fn greet(&mut self, tcp: TcpStream) -> Result<Tunnel, Attempt> {
        let broken = |error: std::io::Error| Attempt::Failed(format!("the connection broke: {error}"));
        let remote = tcp.peer_addr().map_err(broken)?;
        let local = tcp.local_addr().ok().map(|address| address.ip());
        let config = &self.config;
        let hello = self.hello();
        let stream = match timeout(TLS_WITHIN, tls::connect(tcp, &hello)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refusal(&error)),
            Err(_) => return Err(Attempt::Silent(format!("{} does not answer the TLS hello", config.host))),
        };
        if stream.alpn() != Some(b"h2") {
            return Err(Attempt::Failed(format!("{} does not speak HTTP/2", config.host)));
        }
        let mut wire = Wire::new(stream, &first_settings(&self.profile.http2), Arc::clone(&self.traffic));
        let authority = config.authority();
        let asker = Asker { profile: &self.profile, authority: &authority };
        if config.visit {
            self.visit(&mut wire, asker).await?;
        }
        let asked = timeout(ANSWER_WITHIN, tunnel::open(&mut wire, asker, &config.identity, &config.route)).await;
        let stream = match asked {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Attempt::Failed(error.to_string())),
            Err(_) => return Err(Attempt::Silent(format!("{} does not answer our request", config.host))),
        };
        let framing = match config.route {
            Route::ConnectUdp { .. } => Framing::Capsules,
            Route::Grpc { .. } => Framing::Grpc(grpc::Deframer::default()),
        };
        let (shape, network) = (config.shape.clone(), self.network.clone());
        Ok(Tunnel { wire, stream, framing, remote, local, fwmark: config.fwmark, shape, network })
    }
}

impl Server {
    /// Whom to greet, and as whom.
    pub(super) fn hello(&self) -> ClientHello {
        let config = &self.config;
        ClientHello {
            host: config.host.clone(),
            pins: config.pins.clone(),
            roots: config.roots,
            hello: config.hello,
            profile: Arc::clone(&self.profile),
            tickets: Arc::clone(&self.tickets),
        }
    }

    /// Loads the page, for as long as that takes a browser. What time it is there, if it was said.
    pub(super) async fn visit(
        &self,
        wire: &mut Wire<TlsStream>,
        asker: Asker<'_>,
    ) -> Result<Option<SystemTime>, Attempt> {
        let mut kept = self.cache.lock().await;
        if kept.is_none() {
            *kept = Some(Cache::open(self.config.cache.as_deref(), asker.authority).await);
        }
        let Some(cache) = kept.as_mut() else { return Ok(None) };
        let visited = timeout(VISIT_WITHIN, visit(wire, asker, cache, SystemTime::now())).await;
        cache.save().await;
        match visited {
            Ok(Ok(date)) => Ok(date),
            Ok(Err(error)) => Err(Attempt::Failed(format!("the visit of {} broke off: {error}", self.config.host))),
            Err(_) => Err(Attempt::Silent(format!("{} fell silent while its page was loaded", self.config.host))),
        }
    }
}

fn refusal(error: &TlsError) -> Attempt {
    let words = error.to_string();
    // But for a broken connection: whoever answered is not the server, or we could never know. Trying again helps nobody
    // but them.
    if matches!(error, TlsError::Handshake { .. }) { Attempt::Failed(words) } else { Attempt::Wrong(words) }
}

impl Live for Tunnel {
    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn label(&self) -> &'static str {
        self.wire.stream.label()
    }

    async fn carry(self, seat: Seat) -> End {
        let around = Network { remote: self.remote, local: self.local, fwmark: self.fwmark, changes: self.network };
        let outgoing = Outgoing::new(Role::Client, &self.shape, Instant::now());
        pump(self.wire, self.stream, self.framing, seat, outgoing, around).await
    }
}

/// The machine's network, as far as one connection cares.
struct Network {
    remote: SocketAddr,
    local: Option<IpAddr>,
    fwmark: u32,
    changes: watch::Receiver<u64>,
}

impl Surroundings for Network {
    fn is_here(&self) -> bool {
        dial::source_towards(self.remote, self.fwmark) == self.local
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

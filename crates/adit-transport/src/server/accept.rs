//! From a listening socket to connections that speak HTTP.
//!
//! Not here: what they say (`h1`, `h2`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::ACME_ALPN;
use super::limits::{CONNECTIONS, HANDSHAKE_TIME, HANDSHAKES, HEAD_TIME, UNSENT};
use super::scene::Scene;
use super::wire::{Carrier, Wire};
use super::{h1, h2, tls};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait when the machine has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How an HTTP/2 connection begins, RFC 9113 §3.4: no request of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Between two looks whether the rest of such a beginning has come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What all listening sockets of a server share.
#[derive(Debug)]
pub(super) struct Door {
    scene: Arc<Scene>,
    tls: Option<Arc<ServerConfig>>,
    connections: Arc<Semaphore>,
    handshakes: Semaphore,
    open: AtomicUsize,
}

/// A socket that listens.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, where it is wanted.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Door {
    pub(super) fn new(scene: Arc<Scene>, tls: Option<ServerConfig>) -> Self {
        Self {
            scene,
            tls: tls.map(Arc::new),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            handshakes: Semaphore::new(HANDSHAKES),
            open: AtomicUsize::new(0),
        }
    }

    /// Connections at this moment.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Accepts connections until it is dropped; they end with it.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            // Never closed.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    Some(_) = connections.join_next() => {}
                }
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let door = Arc::clone(&self);
                    connections.spawn(async move {
                        door.open.fetch_add(1, Ordering::Relaxed);
                        let _counted = Counted(&door.open);
                        door.serve(tcp, canonical(peer)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }

    async fn serve(&self, tcp: TcpStream, peer: SocketAddr) {
        if tune(&tcp).is_err() {
            return;
        }
        let (carrier, is_h2) = match &self.tls {
            Some(config) => {
                let Some((tls, is_h2)) = self.handshake(Arc::clone(config), tcp).await else { return };
                (tls, is_h2)
            }
            None => {
                let Ok(Ok(is_h2)) = timeout(HEAD_TIME, begins_as_h2(&tcp)).await else { return };
                (Carrier::Clear(tcp), is_h2)
            }
        };
        let (wire, exporter) = Wire::new(carrier);
        let scene = Arc::clone(&self.scene);
        if is_h2 {
            h2::serve(scene, wire, exporter, peer).await;
        } else {
            h1::serve(scene, wire, peer).await;
        }
    }

    async fn handshake(&self, config: Arc<ServerConfig>, tcp: TcpStream) -> Option<(Carrier, bool)> {
        // Never closed.
        let _turn = self.handshakes.acquire().await.ok()?;
        let tls = match timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(tcp)).await.ok()? {
            Ok(tls) => tls,
            Err(error) => {
                tracing::trace!(%error, "a handshake failed");
                return None;
            }
        };
        let protocol = tls.get_ref().1.alpn_protocol();
        let is_h2 = protocol == Some(tls::H2);
        // The authority has seen the certificate, which is all it wanted.
        let is_proof = protocol == Some(ACME_ALPN);
        (!is_proof).then(|| (Carrier::Tls(Box::new(tls)), is_h2))
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT)
}

/// Whether what comes in clear text is HTTP/2. Nothing is taken off the socket.
async fn begins_as_h2(tcp: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let n = tcp.peek(&mut seen).await?;
        if n == 0 || n == PREFACE.len() || !PREFACE.starts_with(&seen[..n]) {
            return Ok(seen[..n] == *PREFACE);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// IPv4 is never written as IPv4-mapped IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

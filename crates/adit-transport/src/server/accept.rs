//! From a listening socket to connections that speak HTTP.
//!
//! Not here: what they say (`h1`, `h2`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::ACME_ALPN;
use super::ledger::{Account, Ledger, Wait};
use super::limits::{
    ASK_AFTER, ASK_EVERY, CONNECTIONS, GONE_AFTER, HANDSHAKE_TIME, HANDSHAKES, HEAD_TIME, HELD, UNSENT,
};
use super::scene::{Scene, Visitor};
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
    ledger: Arc<Ledger>,
    handshakes: Semaphore,
    open: AtomicUsize,
}

/// Sockets that listen at these addresses, by `open`. "Every address" means both families where both are asked for; on a
/// machine that has only one of them, as many have no IPv6, it means that one.
pub(crate) fn listen_at<T>(
    addresses: &[SocketAddr],
    mut open: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let (mut sockets, mut absent) = (Vec::new(), None);
    for address in addresses {
        let other = if address.is_ipv6() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let is_half = address.ip().is_unspecified() && addresses.contains(&SocketAddr::new(other, address.port()));
        match open(*address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                let named = io::Error::new(error.kind(), format!("{address}: {error}"));
                if !is_half || !is_of_no_family(&error) {
                    return Err(named);
                }
                tracing::debug!(error = %named, "this machine has one IP version only");
                absent = Some(named);
            }
        }
    }
    match absent {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// Whether a socket was refused because the machine does not have this IP version.
fn is_of_no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A socket that listens, of this runtime.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(listening_socket(address)?)
}

/// A socket that listens.
pub(crate) fn listening_socket(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, where it is wanted.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Door {
    pub(super) fn new(scene: Arc<Scene>, tls: Option<ServerConfig>) -> Self {
        Self {
            scene,
            tls: tls.map(Arc::new),
            ledger: Ledger::new(CONNECTIONS, HELD),
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
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    Some(_) = connections.join_next() => {}
                }
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let (door, account) = (Arc::clone(&self), self.ledger.admit().await);
                    connections.spawn(async move {
                        door.open.fetch_add(1, Ordering::Relaxed);
                        let _counted = Counted(&door.open);
                        tokio::select! {
                            () = door.serve(tcp, canonical(peer), &account) => {}
                            () = account.ended() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }

    async fn serve(&self, tcp: TcpStream, peer: SocketAddr, account: &Arc<Account>) {
        if tune(&tcp, &VIGIL).is_err() {
            return;
        }
        let (carrier, is_h2) = match &self.tls {
            Some(config) => {
                let Some((tls, is_h2)) = self.handshake(Arc::clone(config), tcp, account).await else { return };
                (tls, is_h2)
            }
            None => {
                account.waits(Wait::Request);
                let Ok(Ok(is_h2)) = timeout(HEAD_TIME, begins_as_h2(&tcp)).await else { return };
                (Carrier::Clear(tcp), is_h2)
            }
        };
        account.waits(Wait::Request);
        let (wire, exporter) = Wire::new(carrier, Arc::clone(account));
        let visitor = Visitor { scene: Arc::clone(&self.scene), account: Arc::clone(account), peer };
        if is_h2 {
            h2::serve(visitor, wire, exporter).await;
        } else {
            h1::serve(visitor, wire).await;
        }
    }

    async fn handshake(&self, config: Arc<ServerConfig>, tcp: TcpStream, account: &Account) -> Option<(Carrier, bool)> {
        if self.handshakes.available_permits() == 0 {
            self.ledger.end_longest_wait(Some(Wait::Greeting));
        }
        // Never closed.
        let _turn = self.handshakes.acquire().await.ok()?;
        account.waits(Wait::Greeting);
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

/// How a connection is told from one whose other end is gone without a word.
struct Vigil {
    /// Silence until it is asked whether anybody is there, and between two such questions.
    ask_after: Duration,
    ask_every: Duration,
    /// With no answer, to this or to what was sent, for so long, it is gone.
    gone_after: Duration,
}

const VIGIL: Vigil = Vigil { ask_after: ASK_AFTER, ask_every: ASK_EVERY, gone_after: GONE_AFTER };

fn tune(tcp: &TcpStream, vigil: &Vigil) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(vigil.ask_after).with_interval(vigil.ask_every))?;
    socket.set_tcp_user_timeout(Some(vigil.gone_after))?;
    socket.set_tcp_notsent_lowat(UNSENT)
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

#[cfg(test)]
mod tests {
    use socket2::SockFilter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// The client's kernel is made deaf and mute for this connection, as if it had lost its power.
    #[tokio::test]
    async fn a_client_that_vanished_without_a_word_is_noticed() {
        for says_something in [false, true] {
            let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let second = Duration::from_secs(1);
            tune(&server, &Vigil { ask_after: second, ask_every: second, gone_after: 2 * second }).unwrap();
            // "Return 0" of the classic packet filter: no byte of what arrives is for this socket.
            SockRef::from(&client).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
            if says_something {
                server.write_all(b"are you there?").await.unwrap();
            }
            let end = server.read(&mut [0; 10]).await;
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn without_ipv6_a_port_is_one_of_ipv4() {
        let no_ipv6 = |address: SocketAddr| match address {
            SocketAddr::V4(_) => Ok(address),
            SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        };
        let [all_4, all_6]: [SocketAddr; 2] = ["0.0.0.0:443", "[::]:443"].map(|text| text.parse().unwrap());
        assert_eq!(listen_at(&[all_4, all_6], no_ipv6).unwrap(), [all_4]);
        assert_eq!(listen_at(&[all_4, all_6], Ok).unwrap(), [all_4, all_6]);
        // What was asked for by its address must be there.
        for named in ["[::1]:443", "[::]:8443"] {
            let error = listen_at(&[all_4, named.parse().unwrap()], no_ipv6).unwrap_err();
            assert!(error.to_string().starts_with(named), "{error}");
        }
        assert!(listen_at(&[all_6], no_ipv6).is_err());
        let nothing = |_| Err::<(), _>(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        assert!(listen_at(&[all_4, all_6], nothing).is_err());
        // A port that is taken is no matter of families.
        let taken = |address: SocketAddr| match address {
            SocketAddr::V4(_) => Ok(address),
            SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
        };
        let error = listen_at(&[all_4, all_6], taken).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("[::]:443")), (io::ErrorKind::AddrInUse, true));
    }
}

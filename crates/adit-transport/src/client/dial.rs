//! From a host's name to a TLS connection with the right server.
//!
//! Not here: when that may be done (`governor`), who the right server is (`tls`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::HttpsClient;

/// For a name to be resolved, and for each address to take a connection.
const TCP_WITHIN: Duration = Duration::from_secs(6);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Bytes that wait in the kernel without having been sent: little, so that what is urgent does not wait behind them. The
/// wire does not show it.
const UNSENT: u32 = 128 << 10;
/// When an idle connection is probed, and how often: as Chromium does. It keeps the ways through routers open, too.
const KEEPALIVE: Duration = Duration::from_secs(45);

/// Where the server is; `turn` decides which address is first.
pub(super) async fn addresses(config: &HttpsClient, turn: usize) -> io::Result<Vec<SocketAddr>> {
    let mut all = config.addresses.clone();
    if all.is_empty() {
        let found = timeout(TCP_WITHIN, lookup_host((config.host.as_str(), config.port))).await;
        all =
            found.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "its name was not resolved in time"))??.collect();
    }
    all.truncate(MAX_ADDRESSES);
    if all.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address"));
    }
    let first = turn % all.len();
    all.rotate_left(first);
    Ok(all)
}

/// Connects to the first address that answers.
pub(super) async fn tcp(addresses: &[SocketAddr], fwmark: u32) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(TCP_WITHIN, connect(*address, fwmark)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
        }
    }
    Err(failed)
}

async fn connect(address: SocketAddr, fwmark: u32) -> io::Result<TcpStream> {
    let socket = socket(address, Type::STREAM, Protocol::TCP, fwmark)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "the kernel keeps more unsent bytes");
    }
    Ok(stream)
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol, fwmark: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
    if fwmark != 0 {
        socket.set_mark(fwmark)?;
    }
    Ok(socket)
}

/// Which address of ours packets to the server would leave from now. Sends nothing.
pub(super) fn source_towards(address: SocketAddr, fwmark: u32) -> Option<IpAddr> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP, fwmark).ok()?;
    socket.connect(&address.into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            taken.local_addr().unwrap()
        };
        let stream = tcp(&[closed, open], 0).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(tcp(&[closed], 0).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(source_towards(open, 0), Some(open.ip()));
    }
}

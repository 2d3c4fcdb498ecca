//! Datagrams through a SOCKS proxy: its relay, for as long as the stream lives that it was asked for over (RFC 1928 §7).
//!
//! Not here: asking for one (`proxy`), when one is made (`stream`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_engine::{Ready, RecvBatch, SendArena, Want};
use adit_protocol::{Ecn, Path};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use super::proxy::without_header;

/// The longest datagram with what stands before it; longer ones are dropped.
const LONGEST: usize = 64 << 10;

/// A relay that passes datagrams on.
pub(super) struct Relay {
    /// Bound to the relay: what others send does not come.
    socket: UdpSocket,
    control: TcpStream,
    header: Vec<u8>,
    /// What is sent, with the header before it.
    outgoing: Vec<u8>,
}

impl Relay {
    /// The relay at this address, which lives as long as `control` does.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn new(control: TcpStream, at: SocketAddr, header: Vec<u8>, mark: u32) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(at), kind, Some(Protocol::UDP))?;
        if mark != 0 {
            socket.set_mark(mark)?;
        }
        let any = match at {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        socket.bind(&any.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(at).await?;
        Ok(Self { socket, control, header, outgoing: Vec::with_capacity(LONGEST) })
    }

    /// Waits until a wanted direction is ready.
    ///
    /// # Errors
    /// The relay is over.
    pub(super) async fn ready(&self, want: Want) -> io::Result<Ready> {
        loop {
            tokio::select! {
                ended = self.control.readable() => {
                    ended?;
                    self.look_at_control()?;
                }
                readable = self.socket.readable(), if want.read => {
                    return readable.map(|()| Ready { read: true, write: false });
                }
                writable = self.socket.writable(), if want.write => {
                    return writable.map(|()| Ready { read: false, write: true });
                }
            }
        }
    }

    /// Nothing is said over the stream any more, until it ends.
    fn look_at_control(&self) -> io::Result<()> {
        match self.control.try_read(&mut [0; 64]) {
            Ok(0) => Err(io::Error::other("the proxy has ended the relay")),
            Ok(_) => Err(io::Error::other("the proxy says what nobody asked for")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes what has come, each datagram from `from`; whether there was any.
    pub(super) fn recv(&self, from: Path, buffer: &mut [u8], into: &mut RecvBatch) -> bool {
        let mut any = false;
        while into.has_room() {
            match self.socket.try_recv(buffer) {
                Ok(n) => {
                    if let Some(datagram) = buffer.get(..n).and_then(without_header) {
                        any |= into.push(from, Ecn::NotEct, datagram).is_ok();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Of a datagram before: silence, or the end of the stream, says what it means.
                Err(_unreachable) => break,
            }
        }
        any
    }

    /// Sends what the kernel takes; the rest stays. What is for others is refused.
    pub(super) fn send(&mut self, to: SocketAddr, out: &mut SendArena) {
        while let Some(run) = out.front() {
            if run.to.remote != to {
                // Of a session that is over.
                out.refuse_front();
                continue;
            }
            let mut sent = 0;
            for datagram in run.bytes.chunks(run.segment.max(1)) {
                self.outgoing.clear();
                self.outgoing.extend_from_slice(&self.header);
                self.outgoing.extend_from_slice(datagram);
                match self.socket.try_send(&self.outgoing) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        out.sent(sent);
                        return;
                    }
                    // One that is too long, or that nobody took, is lost as on the way.
                    Ok(_) | Err(_) => sent += datagram.len(),
                }
            }
            out.pop_front();
        }
    }
}

/// Without what is on its way.
impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("at", &self.socket.peer_addr().ok()).finish_non_exhaustive()
    }
}

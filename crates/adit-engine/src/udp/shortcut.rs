//! A connected socket for the path that is used most: the kernel then looks up no route and no socket for each datagram.
//!
//! It shares the port of the link's own sockets, which go on to hear everybody else. Not here: when datagrams go over it
//! (`udp`), system calls (`sys`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use adit_protocol::Path;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::{Socket, UdpOptions, prepare, sys};
use crate::Run;
use crate::sys::Evented;

/// Runs in a row over one path, after which it gets the shortcut if there is none.
const WORTH_IT: u32 = 8;
/// Runs in a row over one path, after which it takes the shortcut from another.
const WORTH_A_CHANGE: u32 = 4096;

/// A connected socket, and the path it stands for.
#[derive(Debug)]
pub(super) struct Shortcut {
    pub(super) socket: Socket,
    remote: SocketAddr,
    local: IpAddr,
}

/// How often the same path was used in a row, by datagrams that found no shortcut.
#[derive(Debug, Default)]
pub(super) struct Streak {
    path: Option<Path>,
    runs: u32,
}

impl Shortcut {
    /// Connects a socket on the port of `main`, in its network namespace.
    ///
    /// # Errors
    /// What the system says; the path is used as before then.
    pub(super) fn make(main: &Socket, remote: SocketAddr, local: IpAddr, options: UdpOptions) -> io::Result<Self> {
        let main_fd = main.io.fd()?;
        let port = SockRef::from(&main_fd).local_addr()?.as_socket().map_or(0, |address| address.port());
        let raw =
            RawSocket::new(Domain::for_address(remote), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if sys::namespace_cookie(raw.as_fd())? != sys::namespace_cookie(main_fd)? {
            return Err(io::Error::other("made in another network namespace than the link's sockets"));
        }
        let gro = prepare(&raw, remote.is_ipv6(), options)?;
        // Only for this moment, and only with sockets of the same user, which reusing the address would not ask for:
        // another program must not be able to take the port, nor we that of another.
        raw.set_reuse_port(true)?;
        SockRef::from(&main_fd).set_reuse_port(true)?;
        let bound = raw.bind(&SocketAddr::new(local, port).into());
        SockRef::from(&main_fd).set_reuse_port(false)?;
        bound?;
        raw.set_reuse_port(false)?;
        raw.connect(&remote.into())?;
        Ok(Self { socket: Socket { io: Evented::Fresh(OwnedFd::from(raw)), gro }, remote, local })
    }

    /// Whether a run goes over it: to this address, and from an address that the peer has seen.
    pub(super) fn leads(&self, run: &Run<'_>) -> bool {
        self.remote == run.to.remote && run.to.local == Some(self.local)
    }
}

impl Streak {
    /// Counts a run that took the long way. The path that should have a shortcut by now, if it is one.
    pub(super) fn count(&mut self, path: Path, has_one: bool) -> Option<(SocketAddr, IpAddr)> {
        if self.path == Some(path) {
            self.runs = self.runs.saturating_add(1);
        } else {
            (self.path, self.runs) = (Some(path), 1);
        }
        let enough = if has_one { WORTH_A_CHANGE } else { WORTH_IT };
        let due = self.runs >= enough && self.runs.is_multiple_of(enough);
        path.local.filter(|_| due).map(|local| (path.remote, local))
    }
}

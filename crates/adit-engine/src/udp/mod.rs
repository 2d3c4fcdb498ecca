//! UDP as an outside: one port for IPv4 and IPv6, many datagrams a system call, congestion marks, pinned sources.
//!
//! Why not quinn-udp: a handshake needs a services class of its own (reference W-94), the don't-fragment bit must not be
//! forced (W-09), a pinned source that has vanished must be given up (W-82), and several runs leave with one sendmmsg.
//! Not here: the system calls (`sys`), asking for changes while it runs (`control`).

mod control;
mod shortcut;
mod sys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use adit_protocol::{Ecn, LinkId, Path};
use arrayvec::ArrayVec;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use control::Request;
pub use control::UdpControl;
use shortcut::{Shortcut, Streak};
use sys::{Message, RECV_AT_ONCE, SEND_AT_ONCE};

use crate::batch::MAX_READ;
use crate::sys::{Drained, Evented};
use crate::{DatagramIo, Offload, Offloads, Ready, RecvBatch, Run, SendArena, Want};

/// Bytes asked for in each socket buffer. The kernel's memory, taken only when datagrams wait.
const SOCKET_BUFFER: i32 = 7 << 20;
/// How often another port is tried when the one picked for IPv4 is taken for IPv6.
const PORT_TRIES: usize = 32;
/// Errors in a row after which a socket is given up.
const ERRORS: usize = 64;
/// Peers remembered whose way is narrow; if there are more, all are forgotten, and asking anew costs a call for each.
const NARROW_WAYS: usize = 1024;
/// How long a way counts as narrow: routes change.
const NARROW_FOR: Duration = Duration::from_secs(600);
/// The kernel refusing to cut datagrams as short as this means that it refuses altogether.
const SHORT_SEGMENT: usize = 600;

/// How a [`UdpLink`] is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct UdpOptions {
    /// The port for both families; 0 picks one.
    pub port: u16,
    /// The firewall mark on both sockets; 0 is none.
    pub fwmark: u32,
    /// Which offloads may be used.
    pub offload: Offload,
}

/// The outside over UDP.
#[derive(Debug)]
pub struct UdpLink {
    v4: Option<Socket>,
    v6: Option<Socket>,
    options: UdpOptions,
    requests: mpsc::Receiver<Request>,
    /// Kept so that the channel never closes.
    _control: mpsc::Sender<Request>,
    port: watch::Sender<u16>,
    cutting: Cutting,
    /// A source that the kernel refused: not asked for again until a datagram comes to it.
    lost_source: Option<IpAddr>,
    /// A connected socket for the path that is used most.
    shortcut: Option<Shortcut>,
    streak: Streak,
    /// The socket on which the last send would have blocked.
    blocked: Way,
    /// Which socket is read first the next time.
    first: usize,
}

/// Over which of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    V4,
    V6,
    Shortcut,
}

#[derive(Debug)]
struct Socket {
    io: Evented,
    gro: bool,
}

/// Whether, and up to which size, the kernel cuts runs into datagrams for us. It does not cut what would not fit the way
/// to a peer, which is no matter of the others.
#[derive(Debug, Default)]
struct Cutting {
    off: bool,
    /// The longest datagram that it may cut on the way to each of these, and when that was found out.
    narrow: HashMap<SocketAddr, (usize, Instant)>,
    warned: bool,
}

/// What to do about a message that the kernel did not take.
#[derive(Debug, PartialEq, Eq)]
enum Cure {
    Wait,
    Again,
    Drop,
}

impl UdpLink {
    /// Binds the sockets. A machine without IPv6, or without IPv4, gets the other one only.
    ///
    /// # Errors
    /// The port is taken, or needs a privilege; the mark needs a privilege.
    pub fn bind(options: UdpOptions) -> io::Result<(Self, UdpControl)> {
        let (v4, v6, port) = bind_both(options)?;
        let (to_link, requests) = mpsc::channel(control::REQUESTS);
        let (port, port_now) = watch::channel(port);
        let gso = options.offload.allowed().gso && probe_gso(v4.as_ref().or(v6.as_ref()));
        let link = Self {
            v4,
            v6,
            options,
            requests,
            _control: to_link.clone(),
            port,
            cutting: Cutting { off: !gso, ..Cutting::default() },
            lost_source: None,
            shortcut: None,
            streak: Streak::default(),
            blocked: Way::V4,
            first: 0,
        };
        Ok((link, UdpControl::new(to_link, port_now, options.fwmark)))
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Rebind { port, answer } => drop(answer.send(self.rebind(port))),
            Request::Mark { mark, answer } => drop(answer.send(self.set_mark(mark))),
        }
    }

    /// Moves to another port; the old one stays if that fails.
    fn rebind(&mut self, port: u16) -> io::Result<u16> {
        let now = *self.port.borrow();
        if port == now {
            return Ok(now);
        }
        let (v4, v6, port) = bind_both(UdpOptions { port, ..self.options })?;
        (self.v4, self.v6) = (v4, v6);
        self.shortcut = None;
        self.blocked = if self.v4.is_some() { Way::V4 } else { Way::V6 };
        self.port.send_replace(port);
        Ok(port)
    }

    fn set_mark(&mut self, mark: u32) -> io::Result<()> {
        for socket in self.v4.iter().chain(&self.v6) {
            socket2::SockRef::from(&socket.io.fd()?).set_mark(mark)?;
        }
        self.options.fwmark = mark;
        self.lost_source = None;
        self.shortcut = None;
        Ok(())
    }

    fn poll_sockets(&mut self, want: Want, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let mut ready = Ready::default();
        let main = if self.v4.is_some() { Way::V4 } else { Way::V6 };
        // Without the shortcut, what waited for it leaves by another socket; whichever, it can be tried.
        let blocked = if self.blocked == Way::Shortcut && self.shortcut.is_none() { main } else { self.blocked };
        let shortcut = self.shortcut.as_mut().map(|shortcut| &mut shortcut.socket);
        for (socket, way) in [(self.v4.as_mut(), Way::V4), (self.v6.as_mut(), Way::V6), (shortcut, Way::Shortcut)] {
            let Some(socket) = socket else { continue };
            let want = Want { write: want.write && way == blocked, ..want };
            if let Poll::Ready(one) = socket.io.poll_ready(want, cx)? {
                ready.read |= one.read;
                ready.write |= one.write;
            }
        }
        if ready.read || ready.write { Poll::Ready(Ok(ready)) } else { Poll::Pending }
    }

    /// Over which socket a run leaves.
    fn way(&self, run: &Run<'_>) -> Way {
        match &self.shortcut {
            Some(shortcut) if shortcut.leads(run) => Way::Shortcut,
            _ if run.to.remote.is_ipv6() => Way::V6,
            _ => Way::V4,
        }
    }

    /// The messages at the front of the arena that leave over one socket, and over which.
    fn messages<'a>(&self, out: &'a SendArena) -> (ArrayVec<Message<'a>, SEND_AT_ONCE>, Way) {
        let mut messages = ArrayVec::new();
        let way = out.front().map_or(Way::V4, |run| self.way(&run));
        let connected = way == Way::Shortcut;
        for run in out.waiting().take_while(|run| self.way(run) == way) {
            let several = run.bytes.len() > run.segment;
            let cut = several && self.cutting.allows(run.to.remote, run.segment);
            let from = run.to.local.filter(|from| !connected && Some(*from) != self.lost_source);
            let step = if cut { run.bytes.len() } else { run.segment };
            for bytes in run.bytes.chunks(step) {
                let segment = cut.then_some(run.segment as u16);
                let message = Message { to: run.to.remote, connected, from, tos: run.tos, bytes, segment };
                if messages.try_push(message).is_err() {
                    return (messages, way);
                }
            }
        }
        (messages, way)
    }

    /// Makes a shortcut for a path that has been used long enough.
    fn consider_shortcut(&mut self, path: Path) {
        let Some((remote, local)) = self.streak.count(path, self.shortcut.is_some()) else { return };
        let Some(main) = (if remote.is_ipv6() { &self.v6 } else { &self.v4 }) else { return };
        // The port is not shared with the one before.
        self.shortcut = None;
        match Shortcut::make(main, remote, local, self.options) {
            Ok(shortcut) => self.shortcut = Some(shortcut),
            Err(error) => tracing::debug!(%error, "no connected socket for the path that is used most"),
        }
    }

    /// Decides about the message that was refused with this error.
    fn cure(
        &mut self,
        error: &io::Error,
        way: Way,
        to: SocketAddr,
        from: Option<IpAddr>,
        segment: Option<u16>,
    ) -> Cure {
        let code = error.raw_os_error().unwrap_or(0);
        if error.kind() == io::ErrorKind::WouldBlock {
            return Cure::Wait;
        }
        if code == libc::EINTR {
            return Cure::Again;
        }
        if way == Way::Shortcut {
            // An ICMP error, an address that is gone, too long a run: the long way knows what to do about each.
            self.shortcut = None;
            return Cure::Again;
        }
        let unreachable = [libc::EINVAL, libc::EADDRNOTAVAIL, libc::ENETUNREACH, libc::EHOSTUNREACH];
        if from.is_some() && unreachable.contains(&code) {
            self.lost_source = from;
            return Cure::Again;
        }
        match segment {
            Some(segment) if self.cutting.refused(code, to, usize::from(segment)) => Cure::Again,
            _ => {
                tracing::trace!(%error, "a datagram was refused");
                Cure::Drop
            }
        }
    }
}

impl Cutting {
    /// Whether the kernel may be asked to cut datagrams of this size on the way to a peer.
    fn allows(&self, to: SocketAddr, segment: usize) -> bool {
        let fits = |(up_to, since): &(usize, Instant)| segment <= *up_to || since.elapsed() >= NARROW_FOR;
        !self.off && (self.narrow.is_empty() || self.narrow.get(&to).is_none_or(fits))
    }

    /// The kernel has refused to cut datagrams of this size. Whether sending them one by one may help.
    fn refused(&mut self, code: i32, to: SocketAddr, segment: usize) -> bool {
        match code {
            // The device below cannot do checksums: no size will do.
            libc::EIO => self.off = true,
            // Not understood at all.
            libc::EINVAL | libc::EMSGSIZE if segment <= SHORT_SEGMENT => self.off = true,
            // Longer than the way to this peer allows: shorter ones may pass.
            libc::EINVAL | libc::EMSGSIZE => {
                if self.narrow.len() >= NARROW_WAYS && !self.narrow.contains_key(&to) {
                    self.narrow.clear();
                }
                self.narrow.insert(to, (segment - 1, Instant::now()));
            }
            _ => return false,
        }
        if !self.warned {
            self.warned = true;
            tracing::warn!(
                error = %io::Error::from_raw_os_error(code),
                segment,
                "UDP GSO was refused: datagrams of this size are sent one by one where that happens"
            );
        }
        true
    }
}

impl DatagramIo for UdpLink {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            let request = poll_fn(|cx| match self.requests.poll_recv(cx) {
                Poll::Ready(Some(request)) => Poll::Ready(Ok(Err(request))),
                Poll::Ready(None) | Poll::Pending => self.poll_sockets(want, cx).map(|ready| ready.map(Ok)),
            });
            match request.await? {
                Ok(ready) => return Ok(ready),
                Err(request) => self.handle(request),
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let mut any = false;
        // Turn about: a flood at one of them can fill the batch each time.
        let sockets = [self.v4.as_ref(), self.v6.as_ref(), self.shortcut.as_ref().map(|shortcut| &shortcut.socket)];
        self.first = (self.first + 1) % sockets.len();
        for turn in 0..sockets.len() {
            let Some(socket) = sockets[(self.first + turn) % sockets.len()] else { continue };
            if into.has_room() {
                any |= socket.receive(into, &mut self.lost_source)?;
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        while !out.is_empty() {
            let (messages, way) = self.messages(out);
            let Some(Message { to, from, segment, .. }) = messages.first().copied() else { break };
            let lens: ArrayVec<usize, SEND_AT_ONCE> = messages.iter().map(|m| m.bytes.len()).collect();
            let socket = match way {
                Way::V4 => self.v4.as_ref(),
                Way::V6 => self.v6.as_ref(),
                Way::Shortcut => self.shortcut.as_ref().map(|shortcut| &shortcut.socket),
            };
            let result = match socket {
                Some(socket) => socket.io.try_write(|fd| sys::send(fd, &messages)),
                None => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
            };
            drop(messages);
            match result {
                Ok(sent) => {
                    let path = out.front().map(|run| run.to);
                    lens.iter().take(sent).for_each(|len| out.sent(*len));
                    if let Some(path) = path.filter(|_| way != Way::Shortcut) {
                        self.consider_shortcut(path);
                    }
                }
                Err(error) => match self.cure(&error, way, to, from, segment) {
                    Cure::Again => {}
                    Cure::Drop => out.refused(lens[0]),
                    Cure::Wait => {
                        self.blocked = way;
                        return Err(error);
                    }
                },
            }
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        // IPv6 and UDP headers: a peer may come over IPv6 at any time.
        40 + 8
    }

    fn offloads(&self) -> Offloads {
        let gro = self.v4.iter().chain(&self.v6).any(|socket| socket.gro);
        Offloads { gso: !self.cutting.off, gro, ..Offloads::default() }
    }
}

impl Socket {
    /// Whether there was anything.
    fn receive(&self, into: &mut RecvBatch, lost_source: &mut Option<IpAddr>) -> io::Result<bool> {
        let mut received = [None; RECV_AT_ONCE];
        for attempt in 0.. {
            let start = into.used();
            let slab = into.spare();
            let rooms = (slab.len() / MAX_READ).min(RECV_AT_ONCE);
            let read = self.io.try_read(|fd| {
                let count = sys::receive(fd, slab, MAX_READ, &mut received)?;
                Ok((count, if count < rooms { Drained::Yes } else { Drained::Perhaps }))
            });
            match read {
                Ok(count) => {
                    for (i, got) in received.iter().take(count).enumerate() {
                        let Some(got) = got.filter(|got| !got.cut) else { continue };
                        if got.at.is_some() && got.at == *lost_source {
                            *lost_source = None;
                        }
                        let from = Path { link: LinkId(0), remote: got.from, local: got.at };
                        let at = start + i * MAX_READ;
                        into.fill_at(from, Ecn::from_tos(got.tos), at..at + got.len, got.stride);
                    }
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // An ICMP error for something sent earlier, an interrupt: the next datagram is none the worse.
                Err(error) if attempt < ERRORS => tracing::trace!(%error, "an error waited at the socket"),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Both sockets on one port.
fn bind_both(options: UdpOptions) -> io::Result<(Option<Socket>, Option<Socket>, u16)> {
    for attempt in 0.. {
        let v4 = supported(bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), options.port), options))?;
        let port = v4.as_ref().map_or(options.port, |(_, port)| *port);
        match supported(bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), options)) {
            Err(error) if options.port == 0 && attempt < PORT_TRIES && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
            Ok(v6) => {
                let port = v6.as_ref().or(v4.as_ref()).map(|(_, port)| *port);
                let port = port.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
                return Ok((v4.map(|(socket, _)| socket), v6.map(|(socket, _)| socket), port));
            }
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// A family that the machine does not have is not an error.
fn supported<T>(bound: io::Result<T>) -> io::Result<Option<T>> {
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn bind(address: SocketAddr, options: UdpOptions) -> io::Result<(Socket, u16)> {
    let raw = RawSocket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let gro = prepare(&raw, address.is_ipv6(), options)?;
    raw.bind(&address.into())?;
    let port = raw.local_addr()?.as_socket().map_or(0, |address| address.port());
    Ok((Socket { io: Evented::Fresh(OwnedFd::from(raw)), gro }, port))
}

/// Sets the options of a new socket; says whether it receives trains of datagrams as one.
fn prepare(raw: &RawSocket, v6: bool, options: UdpOptions) -> io::Result<bool> {
    if v6 {
        raw.set_only_v6(true)?;
    }
    if options.fwmark != 0 {
        raw.set_mark(options.fwmark)?;
    }
    let fd = raw.as_fd();
    let set = |level, name, value| sys::set_option(fd, level, name, value);
    if !v6 {
        set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    } else {
        set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        let bigger =
            set(libc::SOL_SOCKET, force, SOCKET_BUFFER).or_else(|_| set(libc::SOL_SOCKET, plain, SOCKET_BUFFER));
        if let Err(error) = bigger {
            tracing::debug!(%error, "the socket keeps its small buffers");
        }
    }
    Ok(options.offload.allowed().gro && set(libc::SOL_UDP, libc::UDP_GRO, 1).is_ok())
}

/// Whether the kernel knows of cutting at all; whether it does it is seen when it is asked to.
fn probe_gso(socket: Option<&Socket>) -> bool {
    let Some(Ok(fd)) = socket.map(|socket| socket.io.fd()) else { return false };
    sys::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

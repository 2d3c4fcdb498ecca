//! Both seams in memory, for embedding and for tests: bounded channels of packets and of datagrams.
//!
//! Each pair has two equal ends. An end is given to an engine, or used by hand through `send` and `recv`.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;

use adit_protocol::{Ecn, LinkId, Path};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{DatagramIo, PacketIo, Ready, RecvBatch, SendArena, Want};

/// Two ends of an inside in memory, joined by queues of at most `bound` packets each way.
pub fn packet_pair(mtu: usize, bound: usize) -> (PacketChannel, PacketChannel) {
    let (left, right) = queues(bound);
    (PacketChannel { queue: left, mtu }, PacketChannel { queue: right, mtu })
}

/// Two ends of an outside in memory, at these addresses, joined by queues of at most `bound` datagrams each way.
///
/// It carries what one end sends to the other's address; what goes elsewhere is lost, as is what does not fit.
pub fn datagram_pair(left: SocketAddr, right: SocketAddr, bound: usize) -> (DatagramChannel, DatagramChannel) {
    let (l, r) = queues(bound);
    let end = |queue, here, there| DatagramChannel { queue, here, there };
    (end(l, left, right), end(r, right, left))
}

/// One end of a [`packet_pair`].
#[derive(Debug)]
pub struct PacketChannel {
    queue: Queue<Vec<u8>>,
    mtu: usize,
}

/// One end of a [`datagram_pair`].
#[derive(Debug)]
pub struct DatagramChannel {
    queue: Queue<Datagram>,
    here: SocketAddr,
    there: SocketAddr,
}

/// A datagram on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Differentiated services and congestion bits of its outer header.
    pub tos: u8,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Without what it holds.
impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram").field("tos", &self.tos).field("bytes", &self.bytes.len()).finish()
    }
}

impl PacketChannel {
    /// Gives a packet to the other end, when there is room.
    ///
    /// # Errors
    /// `BrokenPipe` if the other end is gone.
    pub async fn send(&self, packet: Vec<u8>) -> io::Result<()> {
        self.queue.to.send(packet).await.map_err(|_| gone())
    }

    /// A packet from the other end, when there is one; `None` if the other end is gone.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        self.queue.recv().await
    }
}

impl DatagramChannel {
    /// Gives a datagram to the other end, when there is room. It is lost if that is gone.
    pub async fn send(&self, datagram: Datagram) {
        drop(self.queue.to.send(datagram).await);
    }

    /// A datagram from the other end, when there is one; `None` if the other end is gone.
    pub async fn recv(&mut self) -> Option<Datagram> {
        self.queue.recv().await
    }
}

impl PacketIo for PacketChannel {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        self.queue.ready(want).await.ok_or_else(gone)
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        self.queue.drain(|packet| {
            let fits = into.push(Path::to(NOWHERE), Ecn::NotEct, packet).is_ok();
            fits || packet.len() > crate::batch::MAX_READ
        })
    }

    fn try_send(&mut self, out: &mut RecvBatch) -> io::Result<()> {
        while let Some(packet) = out.front() {
            let Ok(place) = self.queue.to.try_reserve() else {
                return if self.queue.to.is_closed() { Err(gone()) } else { Ok(()) };
            };
            place.send(packet.to_vec());
            out.pop_front();
        }
        Ok(())
    }

    fn mtu(&self) -> usize {
        self.mtu
    }
}

impl DatagramIo for DatagramChannel {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        match self.queue.ready(want).await {
            Some(ready) => Ok(ready),
            // A network does not say that nobody is there.
            None if want.write => Ok(Ready { read: false, write: true }),
            None => pending().await,
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let from = Path { link: LinkId(0), remote: self.there, local: Some(self.here.ip()) };
        self.queue.drain(|datagram| {
            let fits = into.push(from, Ecn::from_tos(datagram.tos), &datagram.bytes).is_ok();
            fits || datagram.bytes.len() > crate::batch::MAX_READ
        })
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        while let Some(run) = out.front() {
            if run.to.remote != self.there || self.queue.to.is_closed() {
                out.refuse_front();
                continue;
            }
            let Ok(place) = self.queue.to.try_reserve() else { break };
            let len = run.segment.min(run.bytes.len());
            place.send(Datagram { tos: run.tos, bytes: run.bytes[..len].to_vec() });
            out.sent(len);
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        // What the same would cost on a network, so that an MTU found here holds there.
        if self.there.is_ipv4() { 28 } else { 48 }
    }
}

/// Both directions of one end, and what was taken out while waiting.
struct Queue<T> {
    to: Sender<T>,
    from: Receiver<T>,
    held: Option<T>,
}

/// Without what is on its way.
impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("held", &self.held.is_some()).finish_non_exhaustive()
    }
}

fn queues<T>(bound: usize) -> (Queue<T>, Queue<T>) {
    let (to_right, from_left) = channel(bound.max(1));
    let (to_left, from_right) = channel(bound.max(1));
    (Queue { to: to_right, from: from_right, held: None }, Queue { to: to_left, from: from_left, held: None })
}

impl<T> Queue<T> {
    async fn recv(&mut self) -> Option<T> {
        match self.held.take() {
            Some(item) => Some(item),
            None => self.from.recv().await,
        }
    }

    /// `None` when the other end is gone.
    async fn ready(&mut self, want: Want) -> Option<Ready> {
        if want.read && self.held.is_some() {
            return Some(Ready { read: true, write: false });
        }
        tokio::select! {
            item = self.from.recv(), if want.read => {
                self.held = Some(item?);
                Some(Ready { read: true, write: false })
            }
            place = self.to.reserve(), if want.write => {
                drop(place.ok()?);
                Some(Ready { read: false, write: true })
            }
            else => pending().await,
        }
    }

    /// Gives away what waits until `take` says that it had no room.
    fn drain(&mut self, mut take: impl FnMut(&T) -> bool) -> io::Result<()> {
        let mut any = false;
        while let Some(item) = self.held.take().or_else(|| self.from.try_recv().ok()) {
            if !take(&item) {
                self.held = Some(item);
                return Ok(());
            }
            any = true;
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the channel is gone")
}

/// The path of packets from the inside, which have none.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

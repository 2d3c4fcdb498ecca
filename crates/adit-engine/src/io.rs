//! The two seams of the plane: the inside, where plain packets come from, and the outside, what the wire sees.

use std::future::Future;
use std::io;

use crate::{RecvBatch, SendArena};

/// Which directions a caller can make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// Something could be read.
    pub read: bool,
    /// There is something to write.
    pub write: bool,
}

/// Which wanted directions may go without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Try to receive.
    pub read: bool,
    /// Try to send.
    pub write: bool,
}

/// The inside: plain IP packets. Implemented by the TUN device, by channels, and by a userspace stack.
pub trait PacketIo: Send + 'static {
    /// Waits until a wanted direction is ready. Consumes nothing, so it may be dropped at any time.
    fn ready(&mut self, want: Want) -> impl Future<Output = io::Result<Ready>> + Send;

    /// Reads what is there into the batch, until it is full or nothing is left (`WouldBlock` if nothing at all).
    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()>;

    /// Writes what fits; what is left stays in `out`, in order.
    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()>;

    /// The largest packet of the inside, in bytes. May change while running.
    fn mtu(&self) -> usize;
}

/// The outside: datagrams to and from peers. Implemented by UDP sockets, camouflage carriers and the simulator.
pub trait DatagramIo: Send + 'static {
    /// Waits until a wanted direction is ready. Consumes nothing, so it may be dropped at any time.
    fn ready(&mut self, want: Want) -> impl Future<Output = io::Result<Ready>> + Send;

    /// Reads what is there into the batch, until it is full or nothing is left (`WouldBlock` if nothing at all).
    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()>;

    /// Sends what fits; what is left stays in `out`, in order.
    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()>;

    /// Bytes this carrier adds to each datagram (for UDP over IPv6: 48), for the MTU.
    fn overhead(&self) -> usize;
}

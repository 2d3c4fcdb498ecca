//! The two seams of the plane: the inside, where plain packets come from, and the outside, what the wire sees.
//!
//! An error from `ready`, `try_recv` or `try_send` other than `WouldBlock` ends the engine with it as the reason: whatever
//! can be got over (a device that is down, an ICMP error, a refused packet) is the implementor's to get over.
//!
//! The two directions are not alike, because sealing makes a packet longer and opening makes it shorter: outwards a packet
//! is copied once, into the arena where it is sealed; inwards it stays in the batch it was received into.

use std::future::Future;
use std::io;

use crate::{Offloads, RecvBatch, SendArena};

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

    /// Writes what fits, straight from where it was opened; what is left stays in `out`. Packets of one flow keep their order.
    /// A packet that the inside refuses is dropped and counted in `out`.
    fn try_send(&mut self, out: &mut RecvBatch) -> io::Result<()>;

    /// The largest packet of the inside, in bytes. May change while running.
    fn mtu(&self) -> usize;

    /// What it does in larger units than packets.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
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

    /// What it does in larger units than datagrams.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
}

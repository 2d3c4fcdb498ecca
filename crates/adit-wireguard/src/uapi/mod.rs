//! The control text that `wg` speaks (reference W-110 to W-118), both ways, as values.
//!
//! The side of a daemon: [`Parser`] makes a [`Request`] of bytes as they come off a socket, a line at a time; [`emit_get`]
//! and [`Errno`] make the answers. The side of a client: [`Set::emit`], [`GET`], [`parse_get`] and [`parse_set`].
//!
//! Not here: the socket and who may open it (`adit`), doing what a request says ([`Device`](crate::Device) for the
//! [`DeviceChange`], the owner of the UDP sockets for port and mark).

mod client;
mod errno;
mod request;
mod shown;
#[cfg(test)]
mod tests;

pub use client::{GET, ReplyError, Shown, ShownPeer, parse_get, parse_set};
pub use errno::Errno;
pub use request::{MAX_LINE, MAX_PEERS, MAX_PREFIXES, Parser, Request};
pub use shown::emit_get;

use crate::DeviceChange;

/// What `set=1` asks for. `None` and empty mean: leave as it is.
///
/// Other implementations act line by line, and `wg` writes private key, port, mark and peers in this order. Do likewise:
/// if the port cannot be had, the private key stays changed, mark and peers do not ([`Set::before_port`]), and the
/// answer is the error of the port.
#[derive(Debug, Default)]
pub struct Set {
    /// What concerns the protocol.
    pub change: DeviceChange,
    /// The UDP port to listen on; 0 picks one.
    pub listen_port: Option<u16>,
    /// The firewall mark of outgoing datagrams; 0 takes it away.
    pub fwmark: Option<u32>,
}

impl Set {
    /// What is left to apply when the port cannot be had: what `wg` wrote before it.
    #[must_use]
    pub fn before_port(self) -> DeviceChange {
        DeviceChange { private_key: self.change.private_key, ..DeviceChange::default() }
    }
}

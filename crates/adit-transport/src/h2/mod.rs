//! HTTP/2 (RFC 9113) as Chromium speaks it to a server, byte for byte; pure: bytes in, events and bytes out.
//!
//! The crates `h2` and `http2` can set the order of settings and headers, but not that each frame is one TLS record, that a
//! DATA frame fills a record exactly, when windows are opened again, or which stream the old priorities depend on. Not
//! here: sockets (`client`), what requests say (`client`), the server's HTTP/2 (hyper).

mod connection;
mod frame;
mod hpack;
mod huffman;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use connection::Broken;
pub(crate) use connection::{Connection, Event, Refused, Settings};
pub(crate) use frame::StreamId;
pub(crate) use hpack::Field;

//! Our OpenVPN core against Debian's `openvpn`: handshakes, settings, packets through the tunnel.
//!
//! The core is driven by a socket and a loop (`driver`); no engine, no TUN on our side.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod client;
mod driver;
mod grammar;
mod papers;
mod scene;
mod server;

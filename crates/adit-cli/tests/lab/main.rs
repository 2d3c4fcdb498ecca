//! The command with root and a kernel: tunnels come up, change, break, are killed, and leave nothing.
//!
//! Each test has network namespaces and a runtime directory of its own. Needs root, `ip` and `nft`; fails without.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod daemon;
mod demo;
mod errors;
mod join;
mod openvpn;
mod recovery;
mod tunnels;
mod world;

//! Stories of the HTTPS transport: two machines with `adit up`, a router between them that takes UDP away and gives it back.
//!
//! Needs root, nginx, openssl, and Debian's Python with h2 and OpenSSL; fails without them.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod apart;
mod carries;
mod front;
mod ladder;
mod moved;
mod others;
mod reload;
mod scene;

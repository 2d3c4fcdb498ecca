//! The web server with programs that others wrote: a front that ends TLS, and an authority that certifies.
//!
//! On loopback, with ports of its own. Needs Debian's nginx, HAProxy, Caddy, pebble and curl; fails without them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod acme;
mod front;
mod programs;
mod world;

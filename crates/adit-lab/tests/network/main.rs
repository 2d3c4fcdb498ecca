//! Stories of a network: a server, two devices behind a router with NAT, a host on the Internet, and who may do what.
//!
//! Needs root; fails without it.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod crowd;
mod doctor;
mod gateways;
mod joins;
mod limits;
mod machine;
mod members;
mod metrics;
mod openvpn;
mod postgres;
mod refuses;
mod scene;
mod survives;

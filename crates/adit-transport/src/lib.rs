//! Outsides that look like something else: HTTPS, and the genuine web site that strangers see.
//!
//! Not here: profiles and users (`adit`), what the datagrams hold (the protocols), plain UDP (`adit-engine`).

pub mod apart;
pub mod capsule;
pub mod client;
pub mod concealed;
pub mod config;
pub mod grpc;
mod h2;
pub mod hub;
pub mod ladder;
pub mod ladder_link;
pub mod ladder_memory;
pub mod log;
mod names;
pub mod on_demand;
pub mod server;
pub mod shape;
pub mod tls;
pub mod token;

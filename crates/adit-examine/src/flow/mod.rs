//! From captured frames to connections: who spoke to whom, what sizes at what times, and what is in clear.
//!
//! Not here: what a censor would make of it (`rules`).

pub mod capture;
pub mod packet;
pub mod quic;
mod stream;
mod syn;
mod table;
pub mod tls;

pub use stream::{MAX_PARKED, MAX_PARKED_SEGMENTS, MAX_PARKED_TOTAL};
pub use syn::Syn;
pub use table::{Flow, Head, Seen, Traffic, Transport};
pub use table::{MAX_FIRST, MAX_FLOWS, MAX_HEAD, MAX_HEADS, MAX_PACKETS, MAX_PACKETS_PER_FLOW};

//! What every protocol of adit agrees on: the contract with whoever drives it, and the bytes they share.
//!
//! Admission rule: a thing lives here when *both* WireGuard and OpenVPN use it. Not here: sockets, clocks, threads,
//! files, and anything that only one protocol knows.

pub mod aead;
mod checksum;
mod contract;
mod drops;
mod ip;
mod path;
mod prefix;
mod replay;
mod secret;
mod trie;

pub use checksum::Checksum;
pub use contract::{Admission, Delivery, Inbound, Now, Open, Opening, Outbound, Output, Protocol, Seal, Sealing, Why};
pub use drops::{DropReason, Drops};
pub use ip::{Ecn, IpPacket};
pub use path::{LinkId, Path};
pub use prefix::PrefixTable;
pub use replay::ReplayWindow;
pub use secret::Secret;

//! WireGuard as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, TUN devices (the engine), text of configuration files (`adit::profile`).

mod change;
mod key;
mod status;
pub mod uapi;

pub use change::{AllowedIpChange, DeviceChange, Event, PeerChange};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use status::{DeviceStatus, PeerStatus};

//! WireGuard as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, TUN devices (the engine), text of configuration files (`adit::profile`).

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]
#![expect(dead_code, reason = "the device does not answer yet: it has its shape")]

mod change;
mod constants;
mod device;
mod key;
mod message;
mod session;
mod status;
pub mod uapi;

pub use change::{AllowedIpChange, DeviceChange, Event, PeerChange};
pub use device::Device;
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use session::{OpenJob, Opened, SealJob};
pub use status::{DeviceStatus, PeerStatus};

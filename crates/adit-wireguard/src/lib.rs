//! WireGuard as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, TUN devices (the engine), text of configuration files (`adit::profile`).

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod change;
mod configure;
mod constants;
mod cookie;
mod device;
mod exchange;
mod gate;
mod hash;
mod index;
mod key;
mod keyring;
mod message;
mod noise;
mod peer;
mod peers;
mod session;
mod shared;
mod status;
mod tai64n;
mod timers;
pub mod uapi;

pub use change::{AllowedIpChange, DeviceChange, Event, PeerChange};
pub use device::Device;
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use session::{OpenJob, Opened, SealJob};
pub use status::{DeviceStatus, PeerStatus};

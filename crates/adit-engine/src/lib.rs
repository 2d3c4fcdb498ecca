//! The data plane: moves packets between an inside and an outside through a protocol, in batches.
//!
//! Not here: which protocol (the contract is `adit_protocol::Protocol`), configuration files, routes, users.

mod batch;
mod io;

pub use batch::{RecvBatch, SendArena};
pub use io::{DatagramIo, PacketIo, Ready, Want};

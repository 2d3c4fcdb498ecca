//! The data plane: moves packets between an inside and an outside through a protocol, in batches.
//!
//! Not here: which protocol (the contract is `adit_protocol::Protocol`), configuration files, routes, users.

mod arena;
mod batch;
mod beside;
mod channel;
mod clock;
mod conductor;
mod ecn;
mod engine;
mod io;
mod lanes;
mod links;
mod offload;
mod promptness;
mod sys;
mod tun;
mod turn;
mod udp;
mod work;

pub use arena::{Full, MAX_DATAGRAM, MAX_SEGMENTS, Run, SendArena};
pub use batch::{MAX_READ, RecvBatch};
pub use beside::Beside;
pub use channel::{Datagram, DatagramChannel, PacketChannel, datagram_pair, packet_pair};
pub use clock::Clock;
pub use engine::{Count, EngineHandle, Gone, Options, RunOn, Status, Stopped, Traffic, start};
pub use io::{DatagramIo, PacketIo, Ready, Want};
pub use lanes::Lanes;
pub use links::Links;
pub use offload::{Offload, Offloads, UnknownOffload};
pub use promptness::prefer_promptness;
pub use tun::{Elsewhere, LinkState, TunDevice, TunLink};
pub use udp::{UdpControl, UdpLink, UdpOptions};

//! OpenVPN as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, files, TUN devices (the engine), routes and DNS (the host).
//!
//! | module | what it knows |
//! |---|---|
//! | `cipher` | the algorithms of the data channel and of MACs, by the names that configurations use |
//! | [`options`] | configurations: text in, typed values and a verdict on each line out |

mod cipher;
pub mod options;

pub use cipher::{Cipher, Digest};

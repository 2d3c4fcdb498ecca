//! What is sent through a tunnel, and whether it arrived as it was sent.

mod iperf;
mod ping;
mod tcp;
mod udp;

pub use iperf::{Iperf, IperfServer, iperf};
pub use ping::{Pings, ping, ping_once};
pub use tcp::{Transfer, tcp};
pub use udp::{Datagrams, udp};

//! The fuzz targets as plain functions: each takes bytes and panics when something is wrong.
//!
//! Not here: libFuzzer (`fuzz_targets`), the replay on stable (`tests/replay.rs`), the world that the devices live in
//! (the tests of `adit-wireguard`, taken by path, so that there is one of it).

mod captures;
mod configurations;
mod hostile;
mod invites;
mod openvpn;
mod pair;
mod parsers;
#[path = "../../crates/adit-wireguard/tests/wireguard/story.rs"]
mod story;
#[expect(dead_code, reason = "shared with the tests of adit-wireguard, which use all of it")]
#[path = "../../crates/adit-wireguard/tests/wireguard/world/mod.rs"]
mod world;

pub use captures::{capture, frames, hellos};
pub use configurations::openvpn_options;
pub use hostile::{Flood, device_hostile};
pub use invites::{enrolment, invite};
pub use openvpn::{openvpn_live, openvpn_parsers};
pub use pair::device_pair;
pub use parsers::{ip_packet, message, uapi};

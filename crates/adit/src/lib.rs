//! adit as a library: profiles, tunnels, and their life cycle.
//!
//! A tunnel is three independent choices. A packet goes *inside → protocol → outside*:
//!
//! ```text
//!        inside                  protocol                outside
//!  ┌──────────────────┐    ┌──────────────────┐    ┌──────────────────┐
//!  │ plain IP packets │───▶│    WireGuard:    │───▶│    datagrams     │
//!  │  TUN · channel   │◀───│  keys and peers  │◀───│UDP·HTTPS·channel │
//!  └──────────────────┘    └──────────────────┘    └──────────────────┘
//!        PacketIo           DeviceChange, Event         DatagramIo
//! ```
//!
//! - [`Tunnel`] joins the three, in any program, without root if inside and outside need none. `examples/embed.rs` runs
//!   two of them in one process.
//! - [`profile`] reads and writes the wg-quick file format, with something to say about every line.
//! - [`uapi_socket`] is where `wg show` and `wg set` find a tunnel.
//! - `follow` (feature `host`) lets a tunnel be up and down as its interface is.
//! - [`invite`] is how a device comes to a network: as a link; [`join`] redeems it, without root; [`enrol`] is what the two
//!   ends say then, and the server's half.
//! - [`openvpn`] is a client of OpenVPN's servers, the same way, and a server of its clients; by [`openvpn::network`] a tunnel
//!   admits them beside its peers, on one inside.
//! - [`merged`] joins two protocols on one inside.
//! - [`meter`] limits how fast the packets of single devices pass.
//! - [`status`] is what a tunnel looks like, as values that serialize.
//!
//! Not here: the wire (`adit-wireguard`), moving bytes (`adit-engine`), the machine (`adit-host`), printing (`adit-cli`).

mod carriers;
pub mod enrol;
mod fallback;
#[cfg(feature = "host")]
mod follow;
pub mod https;
pub mod invite;
pub mod join;
pub mod merged;
pub mod meter;
pub mod openvpn;
mod outside;
pub mod profile;
pub mod resolve;
mod self_signed;
pub mod status;
mod tunnel;
pub mod uapi_socket;

pub use carriers::{Carriers, OpenError, Surroundings, WebElsewhere};
#[cfg(feature = "host")]
pub use follow::follow;
pub use outside::{Outside, Visitor, WebServer};
pub use tunnel::{Guests, Options, StartError, Tunnel};

pub use adit_engine as engine;
pub use adit_transport as transport;
pub use adit_wireguard as wireguard;

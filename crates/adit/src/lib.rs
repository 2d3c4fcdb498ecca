//! adit as a library: profiles, tunnels, and their life cycle.
//!
//! Not here: the wire (`adit-wireguard`), moving bytes (`adit-engine`), the machine (`adit-host`), printing (`adit-cli`).

pub mod profile;

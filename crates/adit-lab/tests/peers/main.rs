//! Stories on real peers: adit and wireguard-go in network namespaces, configured by the real `wg`.
//!
//! One file is one story, told for each pairing. Needs root and the peers of `cargo xtask setup`; fails without them.

mod cookies;
mod hostile;
mod link;
mod live;
mod loss;
mod moved;
mod mtu;
mod nat;
mod pairings;
mod ping;
mod psk;
mod rekey;
mod restart;
mod roam;
mod thousand;
mod wg_quick;

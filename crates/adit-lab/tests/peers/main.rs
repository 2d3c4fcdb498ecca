//! Stories on real peers: adit and wireguard-go in network namespaces, configured by the real `wg`.
//!
//! One file is one story, told for each pairing. Needs root and the peers of `cargo xtask setup`; fails without them.

mod pairings;
mod ping;

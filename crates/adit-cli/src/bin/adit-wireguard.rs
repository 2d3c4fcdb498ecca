//! `adit-wireguard`: a drop-in for wireguard-go.
fn main() {}

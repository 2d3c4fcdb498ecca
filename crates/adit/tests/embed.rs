//! The example of the README keeps working.

#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn two_tunnels_in_one_process_exchange_packets() {
    embed::main().unwrap();
}

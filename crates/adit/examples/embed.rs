//! Two WireGuard tunnels in one process, without root: packets go in at one end and come out at the other.
//!
//! `cargo run --example embed` runs it. A real program takes `UdpLink` for the outside, and often a TUN for the inside.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use adit::engine::{datagram_pair, packet_pair};
use adit::wireguard::{AllowedIpChange, DeviceChange, PeerChange, PrivateKey, PublicKey};
use adit::{Options, Tunnel};

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // Keys: in real life each end makes its own and tells only the public one.
    let (alice_key, bob_key) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
    let (alice_public, bob_public) = (alice_key.public_key(), bob_key.public_key());

    // The outside: a wire in memory between two made-up addresses. The insides: queues of plain IP packets.
    let (alice_at, bob_at) = (SocketAddr::from(([192, 0, 2, 1], 51820)), SocketAddr::from(([192, 0, 2, 2], 51820)));
    let (alice_wire, bob_wire) = datagram_pair(alice_at, bob_at, 64);
    let (alice_inside, alice_app) = packet_pair(1420, 64);
    let (bob_inside, mut bob_app) = packet_pair(1420, 64);

    // The protocol joins them: a private key, and one peer each.
    let alice =
        Tunnel::start(config(alice_key, bob_public, BOB, Some(bob_at)), alice_inside, alice_wire, Options::default())?;
    let bob = Tunnel::start(config(bob_key, alice_public, ALICE, None), bob_inside, bob_wire, Options::default())?;

    // A packet that Alice's application sends arrives, bit for bit, at Bob's.
    let packet = udp_packet(ALICE, BOB, b"hello through the tunnel");
    alice_app.send(packet.clone()).await?;
    let received = tokio::time::timeout(Duration::from_secs(10), bob_app.recv()).await?;
    assert_eq!(received, Some(packet));

    let status = bob.status().await?;
    #[expect(clippy::print_stdout, reason = "an example shows something")]
    {
        println!("{:?}: {} bytes received, {} sent", status.state, status.rx_bytes, status.tx_bytes);
    }
    assert!(status.peers[0].has_session && status.peers[0].endpoint == Some(alice_at));
    alice.stop().await;
    bob.stop().await;
    Ok(())
}

/// One end with one peer, which owns one inner address; who calls first must know where the other is.
fn config(key: PrivateKey, peer: PublicKey, peer_owns: Ipv4Addr, endpoint: Option<SocketAddr>) -> DeviceChange {
    let allowed_ips = vec![AllowedIpChange::Add(std::net::IpAddr::from(peer_owns).into())];
    let peer = PeerChange { endpoint, allowed_ips, ..PeerChange::new(peer) };
    DeviceChange { private_key: Some(key), peers: vec![peer], ..DeviceChange::default() }
}

/// The least IPv4 packet with a UDP datagram in it (the tunnel does not look at checksums).
fn udp_packet(from: Ipv4Addr, to: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let length = 28 + data.len() as u16;
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(&[0x30, 0x39, 0x30, 0x39]);
    packet.extend_from_slice(&(length - 20).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(data);
    packet
}

//! How many handshakes a daemon answers in a second.
//!
//! A thousand peers have prepared one initiation each, with our own protocol core, before the clock starts. Sixteen are
//! under way at any time: few enough that no implementation takes it for an attack and answers with cookies by its
//! queue; one that counts handshakes a second instead (boringtun, 100) shows that number.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use adit_wireguard::{PrivateKey, PublicKey};

use crate::caller::{initiation, random};
use crate::ns::{Family, Side, World};
use crate::subjects::{Daemon, Subject};
use crate::tunnel::PORT;
use crate::wg::{Config, KeyPair, Peer};

/// Answers a second.
pub(super) fn per_second(subject: &Subject) -> f64 {
    let world = World::direct();
    let responder = KeyPair::new();
    let public = PublicKey::from_base64(&responder.public).expect("`wg` makes keys");
    let callers: Vec<_> = (0..PEERS).map(|_| random()).collect();
    let daemon = Daemon::start(subject, &world.bob);
    let peers = callers
        .iter()
        .map(|seed| Peer { public_key: PrivateKey::new(*seed).public_key().to_string(), ..Peer::default() });
    let config = Config { private_key: responder.private, listen_port: Some(PORT), peers: peers.collect() };
    world.bob.command(&format!("wg setconf {} /dev/stdin", daemon.interface())).input(config.text()).ok();
    world.bob.run(&format!("ip link set {} up", daemon.interface()));

    let bob = std::net::SocketAddr::new(world.address(Side::Bob, Family::V4), PORT);
    let initiations: Vec<_> = callers.iter().filter_map(|seed| initiation(*seed, public, bob)).collect();
    assert_eq!(initiations.len(), PEERS, "every caller must have something to say");
    world.alice.within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a port is free");
        socket.connect(bob).expect("there is a route");
        race(&socket, &initiations)
    })
}

/// Sends them all, sixteen under way at once; responses a second.
fn race(socket: &UdpSocket, initiations: &[Vec<u8>]) -> f64 {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout that is not zero");
    let start = Instant::now();
    let (mut answered, mut under_way) = (0_u32, 0_usize);
    let mut rest = initiations.iter();
    let mut datagram = [0; 256];
    loop {
        while under_way < UNDER_WAY && start.elapsed() < LONGEST {
            let Some(initiation) = rest.next() else { break };
            socket.send(initiation).expect("the cable is there");
            under_way += 1;
        }
        if under_way == 0 {
            return f64::from(answered) / start.elapsed().as_secs_f64();
        }
        match socket.recv(&mut datagram) {
            Ok(RESPONSE) if datagram[0] == 2 => {
                answered += 1;
                under_way -= 1;
            }
            Ok(_) => under_way -= 1,
            Err(_silence) => under_way = 0,
        }
    }
}

/// Who calls.
const PEERS: usize = 1_000;

/// How many wait for an answer at any time.
const UNDER_WAY: usize = 16;

/// Nothing new is sent after this.
const LONGEST: Duration = Duration::from_secs(5);

/// Bytes of a response.
const RESPONSE: usize = 92;

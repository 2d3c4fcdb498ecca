//! A flood of handshakes: the answerer asks everybody for a cookie, and who has business there still gets in.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use adit_lab::caller::{initiation, random};
use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};
use adit_wireguard::PublicKey;

use crate::pairings::for_each_pairing_and_family;

for_each_pairing_and_family!(a_caller_gets_in_by_its_cookie_while_the_answerer_is_flooded);

fn a_caller_gets_in_by_its_cookie_while_the_answerer_is_flooded(pairing: &Pairing, outside: Family) {
    let tunnel = Tunnel::outside(World::routed(), pairing, outside);
    let bob = SocketAddr::new(tunnel.world.address(Side::Bob, outside), PORT);
    let alice = tunnel.world.address(Side::Alice, outside);
    let (network, whole) = if outside == Family::V4 { ("ip", 32) } else { ("ip6", 128) };
    // 64 bytes of cookie reply, 8 of UDP.
    let count = format!(
        "table inet cookies {{
            counter alice {{}}
            counter strangers {{}}
            chain out {{
                type filter hook output priority filter
                udp sport {PORT} udp length 72 {network} daddr {alice} counter name alice
                udp sport {PORT} udp length 72 {network} daddr != {alice} counter name strangers
            }}
        }}"
    );
    tunnel.world.bob.command("nft -f -").input(count).ok();

    // Who knows Bob's public key can make initiations that pass the first check. They come from many networks, or it would
    // be one network alone that has to show a cookie.
    let public = PublicKey::from_base64(&tunnel.bob.keys.public).expect("`wg` makes keys");
    let initiations: Vec<_> = (0..STRANGERS).filter_map(|_| initiation(random(), public, bob)).collect();
    let door = tunnel.world.router().namespace();
    let strangers: Vec<_> = (0..STRANGERS).map(|n| stranger(outside, n)).collect();
    for stranger in &strangers {
        door.add_address("lo", *stranger, whole);
    }
    let flood = Flood::start(door, strangers, bob, initiations);
    poll::until("the answerer to be under load", PATIENCE, || (cookies(&tunnel, "strangers") > 0).then_some(()));
    assert_eq!(cookies(&tunnel, "alice"), 0);

    tunnel.connect_from(Side::Alice);
    assert!(cookies(&tunnel, "alice") > 0, "the caller was let in without a cookie");
    assert_ne!(tunnel.seen_by(Side::Bob).latest_handshake, 0);
    let target = (&tunnel.bob.inside, tunnel.bob.address(Family::V4));
    traffic::tcp(&tunnel.alice.inside, target, 1 << 20).finish();
    let before = cookies(&tunnel, "strangers");
    poll::until("the flood to go on", PATIENCE, || (cookies(&tunnel, "strangers") > before).then_some(()));
    drop(flood);
}

/// Places that the flood comes from.
const STRANGERS: u8 = 8;

/// Each in a network of its own.
fn stranger(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 19, number, 1]),
        Family::V6 => IpAddr::from([0xfd19, 0, 0, u16::from(number), 0, 0, 0, 1]),
    }
}

/// Cookie replies that Bob has sent.
fn cookies(tunnel: &Tunnel, to: &str) -> u64 {
    let text = tunnel.world.bob.run(&format!("nft list counter inet cookies {to}"));
    let packets = text.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    packets.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("not a counter: {text}"))
}

/// Thousands of initiations a second, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(from: &Namespace, strangers: Vec<IpAddr>, at: SocketAddr, initiations: Vec<Vec<u8>>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = from.spawn(move || {
            let sockets: Vec<_> = strangers
                .into_iter()
                .map(|stranger| UdpSocket::bind((stranger, 0)).expect("the stranger has an address"))
                .collect();
            while !told.load(Ordering::Relaxed) {
                for (socket, initiation) in sockets.iter().zip(&initiations) {
                    for _ in 0..4 {
                        // A full queue is as good as a sent one.
                        let _unheard = socket.send_to(initiation, at);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _its_own_matter = thread.join();
        }
    }
}

//! Listening on an interface: what passes is seen, and seen once, on a cable and on the loopback.

use std::net::UdpSocket;
use std::time::Duration;

use adit_examine::flow::Traffic;
use adit_examine::live::Tap;

use crate::scene::{BOB, Scene};

#[test]
fn an_interface_shows_each_datagram_once() {
    let scene = Scene::new();
    for (interface, target) in [("eth0", BOB), ("lo", "127.0.0.1")] {
        let traffic = scene.world.alice.within(|| {
            let mut tap = Tap::open(interface, Duration::from_secs(1)).unwrap();
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"hello", (target, PORT)).unwrap();
            let mut traffic = Traffic::new();
            while let Some(frame) = tap.next_frame().unwrap() {
                traffic.add(&frame);
            }
            traffic
        });
        let flows: Vec<_> = traffic.flows().iter().filter(|flow| flow.server.port() == PORT).collect();
        let [flow] = &flows[..] else { panic!("{interface}: {flows:?}") };
        assert_eq!((flow.packet_count, flow.up_bytes, flow.heads[0].bytes()), (1, 5, &b"hello"[..]), "{interface}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_said_to_be_none() {
    let scene = Scene::new();
    let missing = scene.world.alice.within(|| Tap::open("no-such-one", Duration::from_secs(1)).map(drop));
    assert_eq!(missing.unwrap_err().raw_os_error(), Some(NO_DEVICE));
}

/// The discard port: nobody answers.
const PORT: u16 = 9;
/// ENODEV.
const NO_DEVICE: i32 = 19;

//! Plain WireGuard, from wireguard-go and from adit: the same messages, so the same verdict.

use std::time::Duration;

use adit_lab::ns::{Family, Side};
use adit_lab::subjects::Subject;
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::scene::{Captured, Scene, detections};

#[test]
fn wireguard_go_is_detected_by_its_messages() {
    is_detected(&tunnel("wireguard-go"));
}

#[test]
fn adit_over_udp_is_detected_by_its_messages() {
    is_detected(&tunnel("adit"));
}

#[track_caller]
fn is_detected(captured: &Captured) {
    let examination = captured.examined();
    assert_eq!(detections(&examination), ["R5"], "{examination:#?}");
    assert_eq!(captured.ndpi(), ["WireGuard"]);
    assert!(captured.tshark("wg") > 30);
}

fn tunnel(name: &str) -> Captured {
    let subject = Subject::named(name).unwrap_or_else(|| panic!("no {name}\n  hint: `cargo xtask setup` installs it"));
    let scene = Scene::new();
    let capturing = scene.capture();
    let pairing = Pairing { caller: subject.clone(), answerer: subject };
    let tunnel = Tunnel::new(scene.world.clone(), &pairing);
    tunnel.connect_from(Side::Alice);
    let echoes = traffic::ping(&tunnel.alice.inside, tunnel.bob.address(Family::V4), 20, Duration::from_millis(10), "");
    assert_eq!(echoes.received, 20);
    drop(tunnel);
    capturing.finish(scene)
}

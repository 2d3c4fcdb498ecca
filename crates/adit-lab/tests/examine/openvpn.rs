//! OpenVPN 2.6, plain over UDP, and hidden behind tls-crypt on TCP 443.

use std::time::Duration;

use adit_examine::Verdict;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::traffic;

use crate::scene::{BOB, Captured, Running, Scene, detections};

/// The opcode rule names it, and so do the engines.
#[test]
fn over_udp_is_detected_by_its_opcodes() {
    let captured = tunnel("--port 1194 --proto udp", "1194 --proto udp");
    let examination = captured.examined();
    assert_eq!(detections(&examination), ["R2"], "{examination:#?}");
    assert_eq!(captured.ndpi(), ["OpenVPN"]);
    assert!(captured.tshark("openvpn") > 50);
}

/// tls-crypt hides from the engines of Debian, which take the port's word for it; not from the published rules.
#[test]
fn behind_tls_crypt_on_port_443_is_detected_as_noise_and_by_its_opcodes() {
    let captured = tunnel("--port 443 --proto tcp-server --tls-crypt KEY", "443 --proto tcp-client --tls-crypt KEY");
    let examination = captured.examined();
    assert!(detections(&examination).contains(&"R2"), "{examination:#?}");
    // Its first 56 bytes are random for the most part: one time in ten they have too few bits set by chance.
    let noise = examination.rule("R1").unwrap();
    assert!(noise.verdict == Verdict::Detected || noise.why.contains("not balanced"), "{noise:#?}");
    assert_eq!(captured.ndpi(), ["TLS"], "a guess by the port");
    assert_eq!(captured.tshark("openvpn"), 0);
}

fn tunnel(server: &str, client: &str) -> Captured {
    let scene = Scene::new();
    let (key, certificate) = authority(&scene);
    let shared = scene.path("tls-crypt.key");
    Run::line(&format!("openvpn --genkey secret {shared}")).ok();
    let common =
        format!("--ca {certificate} --cert {certificate} --key {key} --dev-type tun --cipher AES-256-GCM --verb 1");
    let capturing = scene.capture();
    let (server, client) = (server.replace("KEY", &shared), client.replace("KEY", &shared));
    let line = format!("openvpn --dev ovs --ifconfig 10.9.0.1 10.9.0.2 --tls-server --dh none {common} {server}");
    let _server = Running::start(&scene.world.bob, &line, &[], Some(&scene.files.join("server.log")));
    let line = format!(
        "openvpn --dev ovc --ifconfig 10.9.0.2 10.9.0.1 --tls-client --nobind --connect-retry 1 {common} --remote {BOB} {client}"
    );
    let _client = Running::start(&scene.world.alice, &line, &[], Some(&scene.files.join("client.log")));
    let inside = "10.9.0.1".parse().unwrap();
    poll::until("OpenVPN connects", PATIENCE, || traffic::ping_once(&scene.world.alice, inside).then_some(()));
    // OpenVPN drops a packet now and then when the machine is busy: as many more are sent, so that as much is looked at.
    let mut answered = 0;
    poll::until("seventy echoes", PATIENCE, || {
        answered += traffic::ping(&scene.world.alice, inside, 70 - answered, Duration::from_millis(10), "").received;
        (answered == 70).then_some(())
    });
    capturing.finish(scene)
}

/// One certificate for both ends, which is its own authority.
fn authority(scene: &Scene) -> (String, String) {
    scene.certificate("openvpn.test")
}

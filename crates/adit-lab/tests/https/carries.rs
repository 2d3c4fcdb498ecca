//! Everything over HTTPS: packets, bytes, datagrams, new sessions, and a site for everybody else.

use std::time::{Duration, Instant};

use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;

use crate::scene::{SITE, Scene};

#[test]
fn a_tunnel_over_https_carries_everything() {
    let scene = Scene::up("https");
    scene.connect();
    scene.exchange();
    let tunnel = scene.alice.status();
    assert_eq!(tunnel["transport"], "https");
    assert_eq!(tunnel["carrier"]["why"], "the only transport of this profile");
    assert_eq!(tunnel["carrier"]["https"], "connected");
    let bob = scene.bob.status();
    assert_eq!(bob["peers"][0]["transport"], "https");
    assert_eq!(bob["web_site"]["streams"], 1);
    let text = scene.alice.adit("status").ok();
    assert!(text.contains("transport   https"), "{text}");
    let text = scene.bob.adit("status").ok();
    assert!(text.contains("over HTTPS") && text.contains("sha256/"), "{text}");
}

/// Both ends pad, also by machines, and small things wait for company: what goes through is whole.
#[test]
fn a_tunnel_in_strong_shape_carries_everything() {
    let page = include_str!("../../../../docs/shape.md");
    let machine = page.lines().find_map(|line| line.strip_prefix("HttpsMachine = ")).unwrap();
    let scene = Scene::new();
    let pin = scene.bob.certificate();
    scene.bob_up(&format!("{}\nShape = strong\nMachine = {machine}", scene.bob.web_site()));
    let visits = scene.visits("https", &pin);
    scene.alice_up(&format!("{visits}\nHttpsShape = strong\nHttpsMachine = {machine}"));
    scene.connect();
    scene.exchange();
}

#[test]
fn strangers_see_the_web_site() {
    let scene = Scene::up("https");
    scene.connect();
    let at = scene.bob_address();
    let page = scene.alice.host.run(&format!("curl -sk --resolve {SITE}:443:{at} https://{SITE}/"));
    assert!(page.contains("Welcome."), "{page}");
}

#[test]
fn sessions_are_renewed_over_https() {
    let scene = Scene::up("https");
    scene.connect();
    let first = scene.alice.status()["peers"][0]["last_handshake_unix"].clone();
    let began = Instant::now();
    poll::until("a new session", PATIENCE * 3, || {
        assert!(traffic::ping_once(&scene.alice.host, [10, 9, 0, 2].into()), "no packet is lost meanwhile");
        std::thread::sleep(Duration::from_millis(500));
        (scene.alice.status()["peers"][0]["last_handshake_unix"] != first).then_some(())
    });
    assert!(began.elapsed() > Duration::from_secs(100), "sessions live two minutes");
    scene.exchange();
}

//! UDP that is taken away and given back: the tunnel changes carriers by itself, and what runs through it goes on.

use std::time::Duration;

use crate::scene::Scene;

#[test]
fn udp_that_works_is_used() {
    let scene = Scene::up("udp, https");
    scene.connect();
    scene.exchange();
    let tunnel = scene.alice.status();
    assert_eq!((&tunnel["transport"], &tunnel["carrier"]["why"]), (&"udp".into(), &"the first choice".into()));
    assert_eq!(scene.bob.status()["web_site"]["connections"], 0, "nobody connects for nothing");
}

#[test]
fn without_udp_the_tunnel_comes_up_over_https_and_returns_to_udp_by_itself() {
    let scene = Scene::new_blocked();
    scene.connect();
    let tunnel = scene.alice.status();
    assert_eq!(tunnel["transport"], "https");
    assert_eq!(tunnel["carrier"]["why"], "no answer came over UDP");
    scene.exchange();
    scene.unblock_udp();
    let tunnel = scene.wait_for_carrier("udp");
    assert_eq!(tunnel["carrier"]["why"], "the first choice answers again");
    scene.exchange();
}

#[test]
fn an_upload_survives_the_loss_of_udp_and_its_return() {
    survives(Scene::upload);
}

#[test]
fn a_download_survives_the_loss_of_udp_and_its_return() {
    survives(Scene::download);
}

fn survives(transfer: fn(&Scene, usize) -> adit_lab::traffic::Transfer) {
    let scene = Scene::up("udp, https");
    scene.connect();
    let transfer = transfer(&scene, 1 << 30);
    std::thread::sleep(Duration::from_millis(500));
    scene.block_udp();
    assert!(transfer.is_under_way(), "too fast to be interrupted");
    let tunnel = scene.wait_for_carrier("https");
    assert_eq!(tunnel["carrier"]["why"], "UDP fell silent");
    assert!(transfer.is_under_way());
    scene.unblock_udp();
    scene.wait_for_carrier("udp");
    transfer.finish();
}

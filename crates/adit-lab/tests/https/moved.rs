//! Machines that move, and servers that come back.

use adit_lab::ns::{Family, Side};

use crate::scene::Scene;

#[test]
fn a_client_whose_address_changes_goes_on_over_https() {
    let scene = Scene::up("https");
    scene.connect();
    let old = scene.world.address(Side::Alice, Family::V4);
    scene.alice.host.remove_address("eth0", old, 24);
    scene.alice.host.add_address("eth0", Side::Alice.address(Family::V4, 0x77), 24);
    let gateway = Side::Alice.gateway(Family::V4);
    scene.alice.host.run(&format!("ip route replace default via {gateway}"));
    scene.connect_within("an answer from the new address");
    scene.exchange();
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let mut scene = Scene::up("https");
    scene.connect();
    scene.bob.crash();
    let file = std::fs::read_to_string(scene.bob.dir.join(format!("{}.conf", scene.bob.name))).unwrap();
    scene.bob.up(&file);
    scene.connect_within("an answer from the new server");
    scene.exchange();
}

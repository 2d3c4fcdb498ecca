//! Files that are edited while their tunnels run.

use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;

use crate::scene::Scene;

#[test]
fn another_order_of_transports_is_taken_up_without_a_new_tunnel() {
    let scene = Scene::up("udp, https");
    scene.connect();
    let transfer = scene.upload(256 << 20);
    scene.alice.edit("Transport = udp, https", "Transport = https");
    let tunnel = scene.wait_for_carrier("https");
    assert_eq!(tunnel["carrier"]["order"], serde_json::json!(["https"]));
    scene.alice.edit("Transport = https", "Transport = udp");
    scene.wait_for_carrier("udp");
    transfer.finish();
}

#[test]
fn a_user_who_is_removed_is_a_stranger_at_once() {
    let scene = Scene::up("https");
    scene.connect();
    scene.bob.edit("HttpsKey", "# HttpsKey");
    poll::until("the end of the stream", PATIENCE, || (scene.bob.status()["web_site"]["streams"] == 0).then_some(()));
    assert!(!traffic::ping_once(&scene.alice.host, [10, 9, 0, 2].into()));
}

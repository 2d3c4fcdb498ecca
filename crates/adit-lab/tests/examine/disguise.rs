//! Our own tunnel over HTTPS, captured on the wire, beside Chromium's visit to the same site: everyone says the same of both.

use std::time::Duration;

use adit_lab::bench::WebSite;
use adit_lab::chromium::Chromium;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;

use crate::scene::{BOB, Captured, Scene, detections};

/// Pings, large pings, and pages of a site inside the tunnel that are encrypted themselves, which is the hard part.
#[test]
fn a_tunnel_over_https_is_taken_for_a_browsers_visit() {
    let (tunnel, browser) = (tunnel(), browser());
    let (ours, theirs) = (tunnel.examined(), browser.examined());
    assert_eq!(detections(&ours), [""; 0], "{ours:#?}");
    assert_eq!(detections(&theirs), [""; 0], "{theirs:#?}");
    for rule in ["R1", "R7", "R8", "R9", "R10", "R14", "R16", "R21", "R22"] {
        let of = |examination: &adit_examine::Examination| examination.rule(rule).unwrap().clone();
        assert_eq!(of(&ours).verdict, of(&theirs).verdict, "{:#?}\n{:#?}", of(&ours), of(&theirs));
    }
    assert_eq!((tunnel.ndpi(), browser.ndpi()), (vec!["TLS".to_owned()], vec!["TLS".to_owned()]));
    assert!(tunnel.tshark("tls") > 10);
    for other in ["wg", "openvpn"] {
        assert_eq!((tunnel.tshark(other), browser.tshark(other)), (0, 0), "{other}");
    }
}

fn tunnel() -> Captured {
    let scene = Scene::new();
    let site = WebSite::at_bobs(&scene.world);
    listens(&scene);
    let capturing = scene.capture();
    let visitor = site.visitor(&scene.world);
    let inside = "10.7.0.2".parse().unwrap();
    poll::until("an answer through the tunnel", PATIENCE, || {
        traffic::ping_once(&scene.world.alice, inside).then_some(())
    });
    assert_eq!(traffic::ping(&scene.world.alice, inside, 40, Duration::from_millis(20), "").received, 40);
    assert_eq!(traffic::ping(&scene.world.alice, inside, 40, Duration::from_millis(20), "-s 1300").received, 40);
    for page in ["", "style.css", "script.js", "picture.svg", "nothing"] {
        scene.world.alice.run(&format!("curl -sk -m 20 -o /dev/null https://10.7.0.2/{page}"));
    }
    drop(visitor);
    capturing.finish(scene)
}

fn browser() -> Captured {
    let scene = Scene::new();
    let site = WebSite::at_bobs(&scene.world);
    listens(&scene);
    let browser = Chromium::new(WebSite::NAME, BOB, &site.pin());
    scene.captured_visit(&browser)
}

fn listens(scene: &Scene) {
    poll::until("the site answers", PATIENCE, || {
        scene.world.alice.attempt(&format!("curl -sk -m 5 -o /dev/null https://{BOB}/")).ok()
    });
}

//! obfs4 as Tor uses it: Debian's obfs4proxy at both ends, a web server behind it.

use std::fs;

use adit_lab::poll::{self, PATIENCE};

use crate::scene::{BOB, Captured, Running, Scene, detections};

/// It looks like nothing, which is what the rule looks for; the engines of Debian find nothing.
#[test]
fn looks_like_nothing_and_is_detected_as_that() {
    let captured = download();
    let examination = captured.examined();
    assert_eq!(detections(&examination), ["R1"], "{examination:#?}");
    assert_eq!(captured.ndpi(), ["Unknown"]);
    assert_eq!(captured.tshark("tls"), 0);
}

/// The port where obfs4's server listens.
const PORT: u16 = 9002;

fn download() -> Captured {
    let scene = Scene::new();
    scene.write("page", "a page of no interest\n".repeat(3000));
    let (ours, theirs) = (scene.path("client"), scene.path("server"));
    let state =
        |path: &str| [("TOR_PT_MANAGED_TRANSPORT_VER", "1".to_owned()), ("TOR_PT_STATE_LOCATION", path.to_owned())];
    let server = [
        ("TOR_PT_SERVER_TRANSPORTS", "obfs4".to_owned()),
        ("TOR_PT_SERVER_BINDADDR", format!("obfs4-{BOB}:{PORT}")),
        ("TOR_PT_ORPORT", "127.0.0.1:8080".to_owned()),
    ];
    let client = [("TOR_PT_CLIENT_TRANSPORTS", "obfs4".to_owned())];
    let web = format!("python3 -m http.server 8080 --bind 127.0.0.1 --directory {}", scene.files.display());
    let _web = Running::start(&scene.world.bob, &web, &[], None);
    let _server = proxy(&scene, &scene.world.bob, "server.log", state(&theirs).into_iter().chain(server));
    let _client = proxy(&scene, &scene.world.alice, "client.log", state(&ours).into_iter().chain(client));
    let said = |log: &str, word: &str| {
        let text = fs::read_to_string(scene.files.join(log)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(word).map(str::to_owned))
    };
    let listening = poll::until("obfs4proxy serves", PATIENCE, || said("server.log", "SMETHOD obfs4 "));
    let certificate = listening.split("cert=").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    let method = poll::until("obfs4proxy listens", PATIENCE, || said("client.log", "CMETHOD obfs4 socks5 "));
    let capturing = scene.capture();
    poll::until("a page through obfs4", PATIENCE, || {
        let line = format!("curl -s -m 20 -o /dev/null -f --proxy socks5h://{} --proxy-user", method.trim());
        let run = scene.world.alice.command(&line).arg(format!("cert={certificate};iat-mode=:0"));
        run.arg(format!("http://{BOB}:{PORT}/page")).attempt().ok()
    });
    capturing.finish(scene)
}

fn proxy<'a>(
    scene: &Scene,
    host: &adit_lab::ns::Namespace,
    log: &str,
    environment: impl Iterator<Item = (&'a str, String)>,
) -> Running {
    let environment: Vec<_> = environment.collect();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Running::start(host, "obfs4proxy", &environment, Some(&scene.files.join(log)))
}

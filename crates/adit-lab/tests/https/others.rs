//! One end is of others altogether: CONNECT-UDP on OpenSSL and python-h2 (`connect_udp.py`), WireGuard by wireguard-go.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::subjects::{Daemon, Subject};
use adit_lab::wg::{Config, Peer};
use serde_json::Value;

use crate::scene::{Machine, SITE, Scene};

/// Where the client of others takes datagrams, at Alice's.
const RELAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5555);
/// WireGuard's port at Bob's.
const WIREGUARD: u16 = 51820;
/// Debian's Python: another on the `PATH` has not Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn a_client_of_others_reaches_our_server() {
    let scene = Scene::new();
    scene.bob.certificate();
    let (secret, public) = new_key();
    scene.bob_up_for(&public, &scene.bob.web_site());
    let _wireguard = wireguard_go(&scene.alice, &scene.bob, Some(RELAY));
    let client = Script::start(&scene.alice, &client(&scene, Some(&secret)));
    let answer = client.says("the answer to CONNECT", |said| said.get(":status").is_some());
    assert_eq!((&answer[":status"], &answer["capsule-protocol"]), (&"200".into(), &"?1".into()), "{answer}");
    scene.connect();
    scene.exchange();
    let bob = scene.bob.status();
    assert_eq!((&bob["peers"][0]["transport"], &bob["web_site"]["streams"]), (&"https".into(), &1.into()), "{bob}");
}

/// Who has no key, or another, is answered by the site: the same either way, and as any other request that it refuses.
#[test]
fn a_client_of_others_with_a_wrong_key_is_a_stranger() {
    let scene = Scene::new();
    scene.bob.certificate();
    let (_, public) = new_key();
    scene.bob_up_for(&public, &scene.bob.web_site());
    let (wrong, _) = new_key();
    let [with_wrong, without] = [Some(wrong.as_str()), None].map(|key| {
        let line = format!("{PYTHON} {} {}", script().display(), client(&scene, key));
        let said = scene.alice.host.run(&line);
        let mut answer: Value = serde_json::from_str(&said).unwrap();
        answer.as_object_mut().unwrap().remove("date");
        answer
    });
    assert_eq!(with_wrong, without);
    let at = scene.bob_address();
    let curl = format!("curl -sk -X TRACE -o - -w %{{http_code}} --resolve {SITE}:443:{at} https://{SITE}/");
    let of_site = scene.alice.host.run(&curl);
    let of_tunnel = format!("{}{}", without["body"].as_str().unwrap(), without[":status"].as_str().unwrap());
    assert_eq!(of_tunnel, of_site, "the site's answer to a method that it does not serve");
    assert_eq!(scene.bob.status()["web_site"]["streams"], 0);
}

#[test]
fn our_client_reaches_a_server_of_others() {
    let scene = Scene::new();
    let pin = scene.bob.certificate();
    let _wireguard = wireguard_go(&scene.bob, &scene.alice, None);
    let dir = scene.bob.dir.display();
    let key = scene.alice.https_key();
    let files = format!("--certificate {dir}/cert.pem --certificate-key {dir}/key.pem");
    let server = Script::start(&scene.bob, &format!("server --strange --user {key} {files}"));
    server.says("that it listens", |said| said["ready"] == true);
    scene.alice_up(&scene.visits("https", &pin));
    scene.connect();
    scene.exchange();
    server.says("a visit of the page", |said| said["method"] == "GET" && said["path"] == "/");
    let asked = server.says("a request for UDP", |said| said["protocol"] == "connect-udp");
    let target = format!("/.well-known/masque/udp/{}/{WIREGUARD}/", scene.bob_address());
    assert_eq!(asked["path"], target.as_str());
    assert_eq!(scene.alice.status()["carrier"]["https"], "connected");
}

/// A new key pair, made by others: the secret one, and the public one as `HttpsKey` has it.
fn new_key() -> (String, String) {
    let said: Value = serde_json::from_str(&Run::program(PYTHON).arg(script()).arg("key").ok()).unwrap();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    (text("secret"), text("public"))
}

/// The words of a client at Alice's, which sends capsules that nobody knows, too.
fn client(scene: &Scene, key: Option<&str>) -> String {
    let (at, port, ca) = (scene.bob_address(), RELAY.port(), scene.bob.dir.join("cert.pem"));
    let key = key.map(|key| format!(" --key {key}")).unwrap_or_default();
    format!(
        "client --strange --server {at} --name {SITE} --ca {} --target adit.test:{WIREGUARD} --listen {port}{key}",
        ca.display()
    )
}

/// The real wireguard-go with the keys and the address of a machine.
fn wireguard_go(machine: &Machine, other: &Machine, endpoint: Option<SocketAddr>) -> Daemon {
    let daemon = Daemon::start(&Subject::wireguard_go(), &machine.host);
    let peer = Peer {
        public_key: other.keys.public.clone(),
        endpoint,
        allowed_ips: vec![other.inside.into()],
        ..Peer::default()
    };
    let config = Config { private_key: machine.keys.private.clone(), listen_port: Some(WIREGUARD), peers: vec![peer] };
    let line = format!("wg setconf {} /dev/stdin", daemon.interface());
    machine.host.command(&line).input(config.text()).ok();
    machine.host.add_address(daemon.interface(), machine.inside, 24);
    machine.host.run(&format!("ip link set {} mtu 1420 up", daemon.interface()));
    daemon
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/https/connect_udp.py")
}

/// `connect_udp.py` in a machine's namespace. Dropping it ends it.
struct Script {
    child: Child,
    log: PathBuf,
}

impl Script {
    fn start(machine: &Machine, words: &str) -> Self {
        let log = machine.dir.join("connect_udp.log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", machine.host.name(), PYTHON]).arg(script()).args(words.split_whitespace());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    /// Waits until it has said this in a line of JSON.
    #[track_caller]
    fn says(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        poll::until(what, PATIENCE, || {
            let log = fs::read_to_string(&self.log).unwrap();
            assert!(!log.contains("Traceback"), "{log}");
            let mut lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|said| wanted(said))
        })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

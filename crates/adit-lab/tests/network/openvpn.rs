//! A stock OpenVPN client beside a device with adit, in one network, on one interface.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic::{self, IperfServer};

use crate::machine::Machine;
use crate::scene::{Scene, outside};

/// Debian's `openvpn` on a machine of the scene.
struct Client {
    running: Child,
    log: PathBuf,
}

impl Client {
    /// With this file, and as impatient as a test is.
    fn start(machine: &Machine, file: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = machine.dir.join(format!("{file}.{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let out = File::create(&log).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", machine.host.name(), "openvpn", "--config"]).arg(machine.dir.join(file));
        command.args(["--connect-retry", "1", "1", "--server-poll-timeout", "5"]);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Self { running: command.spawn().unwrap(), log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often it has come in.
    fn connections(&self) -> usize {
        self.log().matches("Initialization Sequence Completed").count()
    }

    #[track_caller]
    fn until_in(&self, connections: usize) {
        let log = || self.log();
        let seen = || (self.connections() >= connections).then_some(());
        let outcome = std::panic::catch_unwind(|| poll::until("OpenVPN to be connected", 2 * PATIENCE, seen));
        assert!(outcome.is_ok(), "{}", log());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{}\n{}", self.log.display(), self.log());
        }
        let _gone_already = self.running.kill();
        let _status = self.running.wait();
    }
}

/// A network that admits OpenVPN clients: one of them, `tv`, is at the phone's, and connected; at the laptop's is adit.
fn scene() -> (Scene, Client) {
    let mut scene = Scene::unserved();
    scene.serve_with(&["--openvpn"]);
    let file = scene.phone.dir.join("tv.ovpn");
    let said = scene.server.adit(&format!("invite tv --for openvpn --out {}", file.display())).ok();
    assert!(said.contains("tv is admitted"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let link = scene.invite("laptop");
    scene.laptop.adit(&format!("join {link} --profile {}", scene.laptop.name)).ok();
    scene.reaches_outside(&scene.laptop);
    let client = Client::start(&scene.phone, "tv.ovpn");
    client.until_in(1);
    (scene, client)
}

fn addresses(scene: &Scene, name: &str) -> Vec<IpAddr> {
    let peer = scene.peer(name);
    peer["addresses"].as_array().unwrap().iter().map(|address| address.as_str().unwrap().parse().unwrap()).collect()
}

#[track_caller]
fn pings(from: &Machine, to: IpAddr) {
    poll::until(&format!("an answer from {to}"), PATIENCE, || traffic::ping_once(&from.host, to).then_some(()));
}

#[test]
fn a_stock_client_is_in_the_network_beside_a_device_with_adit() {
    let (scene, client) = scene();
    let log = client.log();
    for judged in ["VERIFY EKU OK", "VERIFY X509NAME OK: CN=adit-server", "cipher AES-256-GCM"] {
        assert!(log.contains(judged), "{judged}: {log}");
    }
    scene.reaches_outside(&scene.phone);
    let (tv, laptop) = (addresses(&scene, "tv"), addresses(&scene, "laptop"));
    for address in &tv {
        pings(&scene.server, *address);
    }
    traffic::tcp(&scene.phone.host, (&scene.outside, outside()), 8 << 20).finish();
    traffic::tcp(&scene.server.host, (&scene.phone.host, tv[0]), 8 << 20).finish();
    // One interface carries both.
    let report = scene.server.tunnel();
    let by: Vec<_> = report["peers"].as_array().unwrap().iter().map(|peer| peer["transport"].clone()).collect();
    assert!(by.contains(&"openvpn".into()) && by.contains(&"udp".into()), "{report}");
    poll::until("what it moved to be counted", PATIENCE, || {
        let peer = scene.peer("tv");
        let is_in = peer["state"] == "connected" && peer["kind"] == "openvpn" && peer["transport"] == "openvpn";
        (is_in && peer["received"].as_u64() > Some(8 << 20) && peer["sent"].as_u64() > Some(8 << 20)).then_some(())
    });
    // Devices are apart, of whichever kind, until a rule says otherwise; then the kernel takes packets from one to the other.
    for (from, to) in [(&scene.phone, laptop[0]), (&scene.laptop, tv[0])] {
        assert!(!traffic::ping_once(&from.host, to), "{to} is reached without a rule");
    }
    let rules = scene.server.dir.join("rules.toml");
    fs::write(&rules, "[[policy]]\nfrom = \"host:tv\"\nto = [\"host:laptop\", \"internet\"]\n").unwrap();
    scene.server.adit(&format!("policy apply {}", rules.display())).ok();
    pings(&scene.phone, laptop[0]);
    pings(&scene.phone, laptop[1]);
    assert!(!traffic::ping_once(&scene.laptop.host, tv[0]), "the rule is for one direction");
    traffic::tcp(&scene.phone.host, (&scene.laptop.host, laptop[0]), 8 << 20).finish();
}

#[test]
fn it_is_cut_off_at_once_let_in_again_and_needs_no_new_file_after_a_restart() {
    let (mut scene, client) = scene();
    let tv = addresses(&scene, "tv")[0];
    let transfer = traffic::tcp(&scene.laptop.host, (&scene.outside, outside()), 32 << 20);
    scene.server.adit("peer disable tv").ok();
    assert!(!traffic::ping_once(&scene.server.host, tv), "it is still connected");
    assert_eq!(scene.peer("tv")["state"], "disabled");
    scene.server.adit("peer enable tv").ok();
    client.until_in(2);
    pings(&scene.server, tv);
    transfer.finish();
    scene.end_server("-TERM");
    scene.serve_again();
    client.until_in(3);
    pings(&scene.server, tv);
    scene.reaches_outside(&scene.laptop);
    scene.server.adit("peer expire tv 2s").ok();
    poll::until("it to end by itself", PATIENCE, || (!traffic::ping_once(&scene.server.host, tv)).then_some(()));
    assert_eq!(scene.peer("tv")["state"], "expired");
    scene.server.adit("peer expire tv never").ok();
    client.until_in(4);
    scene.server.adit("peer rename tv television").ok();
    pings(&scene.server, tv);
    scene.server.adit("peer remove television").ok();
    assert!(!traffic::ping_once(&scene.server.host, tv), "it is still connected");
    let again = Client::start(&scene.phone, "tv.ovpn");
    poll::until("it to hear nothing", PATIENCE, || again.log().contains("Server poll timeout").then_some(()));
    assert_eq!((client.connections(), again.connections()), (4, 0));
    let log = scene.server.adit("server log").ok();
    for done in ["admitted `tv` as an OpenVPN client", "disabled `tv`", "removed `television`"] {
        assert!(log.contains(done), "{log}");
    }
}

#[test]
fn our_own_client_comes_in_with_the_same_file() {
    let mut scene = Scene::unserved();
    scene.serve_with(&["--openvpn"]);
    let file = scene.phone.dir.join(format!("{}.ovpn", scene.phone.name));
    scene.server.adit(&format!("invite tv --for openvpn --out {}", file.display())).ok();
    scene.phone.adit(&format!("up {}", file.display())).ok();
    scene.reaches_outside(&scene.phone);
    pings(&scene.server, addresses(&scene, "tv")[1]);
    traffic::tcp(&scene.phone.host, (&scene.outside, outside()), 8 << 20).finish();
    scene.server.adit("peer disable tv").ok();
    assert!(!traffic::ping_once(&scene.phone.host, outside()), "it is still connected");
    scene.server.adit("peer enable tv").ok();
    scene.reaches_outside(&scene.phone);
}

/// What was served before a `kill -9` goes on, and what is decided then counts.
#[test]
fn it_goes_on_while_what_decides_is_killed_and_started_again() {
    let (mut scene, client) = scene();
    let tv = addresses(&scene, "tv")[0];
    scene.end_server("-KILL");
    pings(&scene.server, tv);
    scene.serve_again();
    pings(&scene.server, tv);
    assert_eq!(client.connections(), 1, "it did not notice");
    scene.server.adit("peer disable tv").ok();
    assert!(!traffic::ping_once(&scene.server.host, tv), "it is still connected");
}

#[test]
fn a_rate_and_a_quota_hold_for_it_and_for_nobody_else() {
    let (scene, _client) = scene();
    scene.server.adit("peer limit tv --down 40mbit --up 20mbit").ok();
    let _iperf = IperfServer::start(&scene.outside);
    let measure = |machine: &Machine, reverse: bool| {
        let moved = traffic::iperf(&machine.host, outside(), 1, Duration::from_secs(5), reverse);
        moved.bits_per_second / 1e6
    };
    // Of what the limit counts, which is whole packets; iperf3 counts what is in them.
    let share = 1368.0 / 1420.0;
    for (reverse, limit) in [(false, 20.0 * share), (true, 40.0 * share)] {
        let measured = measure(&scene.phone, reverse);
        assert!((0.9..1.1).contains(&(measured / limit)), "{measured} Mbit/s where {limit} are allowed");
    }
    assert!(measure(&scene.laptop, true) > 60.0, "the laptop is limited as well");
    scene.server.adit("peer limit tv --down off --up off --quota 1MB --per total --then block").ok();
    let tv = addresses(&scene, "tv")[0];
    poll::until("it to be cut off", PATIENCE, || (scene.peer("tv")["state"] == "over-quota").then_some(()));
    poll::until("no answer", PATIENCE, || (!traffic::ping_once(&scene.server.host, tv)).then_some(()));
    pings(&scene.laptop, outside());
}

#[test]
fn another_key_makes_another_file_and_the_one_before_is_good_for_nothing() {
    let (scene, client) = scene();
    let tv = addresses(&scene, "tv")[0];
    let new = scene.server.json("peer rotate tv --json");
    assert!(!traffic::ping_once(&scene.server.host, tv), "the key before is still good");
    fs::write(scene.phone.dir.join("new.ovpn"), new["profile"].as_str().unwrap()).unwrap();
    let renewed = Client::start(&scene.phone, "new.ovpn");
    renewed.until_in(1);
    pings(&scene.server, tv);
    assert_eq!(client.connections(), 1);
}

#[test]
fn what_cannot_be_is_refused_with_the_way_out() {
    let mut scene = Scene::new();
    let refused = scene.server.refused("invite tv --for openvpn");
    assert!(refused.contains("--openvpn"), "{refused}");
    scene.end_server("-TERM");
    scene.serve_with(&["--openvpn", "1195"]);
    let status = scene.server.json("server status --json");
    assert_eq!(status["openvpn_port"], 1195, "{status}");
    let taken = scene.server.dir.join("there.ovpn");
    fs::write(&taken, "kept").unwrap();
    let refused = scene.server.refused(&format!("invite tv --for openvpn --out {}", taken.display()));
    assert!(refused.contains("is there already"), "{refused}");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "kept");
    for (line, says) in [
        ("invite --for openvpn", "does not say what its device is called"),
        ("invite tv --for openvpn --uses 2", "no invite"),
        ("invite tv --for wireguard --out tv.ovpn", "--out is for"),
        ("invite a/b --for openvpn", "a/b"),
    ] {
        let refused = scene.server.refused(line);
        assert!(refused.contains(says), "{line}: {refused}");
    }
    let peers = scene.server.json("peers --json");
    assert_eq!(peers.as_array().map(Vec::len), Some(0), "{peers}");
    let plan = scene.server.adit("server up --dry-run").attempt();
    assert!(plan.is_err(), "it is served already");
    scene.end_server("-TERM");
    let plan = scene.server.adit("server up --dry-run").ok();
    assert!(plan.contains("listen on UDP port 1195 for OpenVPN clients"), "{plan}");
}

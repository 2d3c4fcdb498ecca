//! `adit doctor`: each fault is really made, found by its name, and mended where that is safe.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adit_lab::ns::Namespace;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::traffic;
use serde_json::Value;

use crate::machine::Machine;
use crate::scene::{Scene, outside};

/// What the doctor says of a machine, and its exit code.
fn doctor(machine: &Machine, arguments: &str) -> (i32, Value) {
    let (code, said) = match machine.adit(&format!("doctor --json {arguments}")).attempt() {
        Ok(said) => (0, said),
        Err(failed) => (failed.code.unwrap(), failed.said),
    };
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Of these checks, what came out and in which words.
fn found<'a>(report: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let word = |one: &'a Value, key: &str| one[key].as_str().unwrap();
    let checks = report["checks"].as_array().unwrap().iter().filter(|one| one["check"] == check);
    checks.map(|one| (word(one, "verdict"), word(one, "what"))).collect()
}

/// This check finds something wrong, and no other does.
#[track_caller]
fn only_wrong(report: &Value, check: &str) -> String {
    let wrong = report["checks"].as_array().unwrap().iter().filter(|one| one["verdict"] == "wrong");
    let wrong: Vec<_> = wrong.collect();
    assert!(!wrong.is_empty() && wrong.iter().all(|one| one["check"] == check), "{report:#}");
    wrong[0]["what"].as_str().unwrap().to_owned()
}

/// Rules of another program.
#[track_caller]
fn load(machine: &Machine, rules: &str) {
    machine.host.command("nft -f -").input(rules).ok();
}

/// A server with one device.
fn with_phone() -> Scene {
    let scene = Scene::new();
    join(&scene);
    scene
}

#[track_caller]
fn join(scene: &Scene) {
    let link = scene.invite("phone");
    scene.phone.adit(&format!("join {link} --profile {}", scene.phone.name)).ok();
    scene.reaches_outside(&scene.phone);
}

#[test]
fn on_a_healthy_pair_nothing_is_wrong() {
    let scene = with_phone();
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!((code, &report["wrong"]), (0, &Value::from(0)), "{report:#}");
    for check in ["leftovers", "profile", "tunnel", "port", "clock", "firewall", "mtu", "certificate", "fingerprint"] {
        let verdicts: Vec<_> = found(&report, check);
        assert!(!verdicts.is_empty() && verdicts.iter().all(|(verdict, _)| *verdict == "sound"), "{check}: {report:#}");
    }
    let (code, report) = doctor(&scene.server, "");
    assert_eq!((code, &report["wrong"]), (0, &Value::from(0)), "{report:#}");
    for check in ["leftovers", "tunnel", "forwarding", "filter", "firewall"] {
        let verdicts: Vec<_> = found(&report, check);
        assert!(!verdicts.is_empty() && verdicts.iter().all(|(verdict, _)| *verdict == "sound"), "{check}: {report:#}");
    }
    // Nothing to mend, nothing changed.
    let before = scene.server.ruleset();
    assert_eq!(doctor(&scene.server, "--fix").1["fixes"], Value::from(Vec::<Value>::new()));
    assert_eq!(scene.server.ruleset(), before);
    assert!(scene.phone.refused("doctor nothing-like-it").contains("not up"));
}

#[test]
fn udp_that_is_blocked_is_told_from_a_server_that_is_gone() {
    let mut scene = with_phone();
    scene.block_udp();
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!(code, 1);
    let what = only_wrong(&report, "port");
    assert!(what.contains("UDP") && what.contains("blocked"), "{what}");
    scene.end_server("-TERM");
    let (_, report) = doctor(&scene.phone, "");
    let port = found(&report, "port");
    assert!(port[0].0 == "wrong" && port[0].1.contains("neither over UDP nor over HTTPS"), "{report:#}");
}

#[test]
fn forwarding_that_was_turned_off_is_turned_on_again_and_undone_at_the_end() {
    let mut scene = with_phone();
    let forwards = || scene.server.host.run("sysctl -n net.ipv4.ip_forward").trim().to_owned();
    scene.server.host.sysctl("ipv4.ip_forward", 0);
    let (code, report) = doctor(&scene.server, "--fix --dry-run");
    assert_eq!(code, 1);
    only_wrong(&report, "forwarding");
    assert_eq!((report["fixes"][0]["done"].as_bool(), forwards()), (Some(false), "0".to_owned()));
    assert!(!traffic::ping_once(&scene.phone.host, outside()));
    let (code, report) = doctor(&scene.server, "--fix");
    assert_eq!((code, &report["wrong"]), (0, &Value::from(0)), "{report:#}");
    assert_eq!(forwards(), "1");
    scene.reaches_outside(&scene.phone);
    scene.end_server("-TERM");
    let forwards = scene.server.host.run("sysctl -n net.ipv4.ip_forward");
    assert_eq!(forwards.trim(), "0", "as it was before the network");
}

#[test]
fn another_firewall_that_drops_what_is_forwarded_is_found_and_let_pass() {
    let mut scene = with_phone();
    // As programs do when they start: everything goes, theirs comes.
    load(
        &scene.server,
        "flush ruleset
        table inet other {
            chain forward {
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
            }
        }",
    );
    assert!(!traffic::ping_once(&scene.phone.host, outside()));
    let (code, report) = doctor(&scene.server, "");
    assert_eq!(code, 1);
    assert_eq!(found(&report, "filter")[0].0, "wrong", "{report:#}");
    assert!(found(&report, "firewall")[0].1.contains("what devices send to others is dropped"), "{report:#}");
    let (code, report) = doctor(&scene.server, "--fix");
    assert_eq!((code, &report["wrong"]), (0, &Value::from(0)), "{report:#}");
    let changes = report["fixes"][0]["changes"].to_string();
    assert!(changes.contains("inet other forward"), "{changes}");
    scene.reaches_outside(&scene.phone);
    scene.end_server("-TERM");
    let left = scene.server.ruleset();
    assert!(left.contains("chain forward") && !left.contains("adit"), "{left}");
}

#[test]
fn another_firewall_that_closes_the_ports_is_named_and_left_alone() {
    let scene = with_phone();
    load(
        &scene.server,
        "table inet other {
            chain input {
                type filter hook input priority 0; policy drop;
                ct state established,related accept
                iifname lo accept
                tcp dport 443 accept
            }
        }",
    );
    let before = scene.server.ruleset();
    let (code, report) = doctor(&scene.server, "--fix");
    assert_eq!(code, 1);
    let what = only_wrong(&report, "firewall");
    assert!(what.contains("UDP port 51820"), "{what}");
    assert!(!report.to_string().contains("TCP port 443"), "that one is open: {report:#}");
    assert_eq!(scene.server.ruleset(), before);
    scene.server.host.run("nft insert rule inet other input udp dport 51820 accept");
    let name = &scene.server.name;
    scene.server.host.run(&format!("nft insert rule inet other input iifname {name} accept"));
    assert_eq!(doctor(&scene.server, "").0, 0);
}

#[test]
fn a_hop_that_eats_large_packets_without_a_word_is_found_with_the_length_that_gets_through() {
    let scene = with_phone();
    let hole = "table inet hole {
        chain eat { type filter hook forward priority -20; meta length > 1400 counter drop; }
    }";
    scene.internet.command("nft -f -").input(hole).ok();
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!(code, 1);
    only_wrong(&report, "mtu");
    // 60 bytes are IPv4, UDP and WireGuard; what is inside is padded to a multiple of 16.
    let checks = report["checks"].as_array().unwrap();
    let mtu = checks.iter().find(|one| one["check"] == "mtu").unwrap();
    let advice = mtu["advice"][0].as_str().unwrap();
    let length: u16 = advice.split("MTU = ").nth(1).unwrap().split('`').next().unwrap().parse().unwrap();
    assert!((1320..=1328).contains(&length), "{advice}");
    // What it says helps.
    let file = scene.phone.dir.join("profiles").join(format!("{}.conf", scene.phone.name));
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replacen("[Interface]\n", &format!("[Interface]\nMTU = {length}\n"), 1);
    fs::write(&file, text).unwrap();
    scene.phone.adit(&format!("reload {}", scene.phone.name)).ok();
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!((code, found(&report, "mtu")[0].0), (0, "sound"), "{report:#}");
}

/// A web site on a machine whose clock is two hours ahead.
struct Ahead {
    host: Namespace,
    is_over: Arc<AtomicBool>,
}

impl Ahead {
    const AT: (&str, u16) = ("127.0.0.1", 8099);

    fn serve(host: &Namespace) -> Self {
        let time = Run::program("date").env("LC_ALL", "C").arg("-u").arg("-d").arg("+2 hours");
        let date = time.arg("+%a, %d %b %Y %H:%M:%S GMT").ok();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: text/html\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            date.trim()
        );
        let listener = host.within(|| TcpListener::bind(Self::AT)).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for visitor in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let mut request = BufReader::new(&visitor).lines().map_while(Result::ok);
                let _head = request.find(String::is_empty);
                let _gone = (&visitor).write_all(answer.as_bytes());
            }
        });
        Self { host: host.clone(), is_over }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The last visitor, who makes the thread look.
        let _woken = self.host.within(|| TcpStream::connect(Self::AT));
    }
}

#[test]
fn a_clock_that_is_behind_the_server_s_is_found_by_what_its_site_says() {
    let mut scene = Scene::unserved();
    let _site = Ahead::serve(&scene.server.host);
    scene.serve_with(&["--site", "http://127.0.0.1:8099"]);
    join(&scene);
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!(code, 1);
    assert!(only_wrong(&report, "clock").starts_with("this machine's clock is"), "{report:#}");
    let clock = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "clock").unwrap();
    let what = clock["what"].as_str().unwrap();
    assert!(
        what.contains("behind that of the server") && (what.contains("hours") || what.contains("119 minutes")),
        "{what}"
    );
}

/// A resolver's file of one namespace, as `ip netns exec` mounts it; gone with the test.
struct ResolvConf(PathBuf);

impl ResolvConf {
    fn new(machine: &Machine, text: &str) -> Self {
        let directory = PathBuf::from("/etc/netns").join(machine.host.name());
        fs::create_dir_all(&directory).unwrap();
        let conf = Self(directory);
        conf.write(text);
        conf
    }

    /// Written in place: what is mounted stays mounted.
    fn write(&self, text: &str) {
        fs::write(self.0.join("resolv.conf"), text).unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(self.0.join("resolv.conf")).unwrap()
    }
}

impl Drop for ResolvConf {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.0);
        let _others_have_some = fs::remove_dir("/etc/netns");
    }
}

#[test]
fn names_that_are_asked_outside_of_the_tunnel_are_found() {
    let mut scene = Scene::unserved();
    // Whoever runs there from now on has this file.
    scene.phone.kill_daemon();
    let conf = ResolvConf::new(&scene.phone, "nameserver 192.168.7.1\n");
    scene.phone.start_daemon();
    scene.serve_with(&["--dns", "192.0.2.2"]);
    join(&scene);
    assert!(conf.read().contains("192.0.2.2"), "{}", conf.read());
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!((code, found(&report, "dns")[0].0), (0, "sound"), "{report:#}");
    // As a DHCP client does when its lease is renewed.
    conf.write("nameserver 192.168.7.1\n");
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!(code, 1);
    let what = only_wrong(&report, "dns");
    assert!(what.contains("192.168.7.1 by eth0"), "{what}");
}

#[test]
fn a_certificate_that_ends_soon_is_named_where_it_lies() {
    let mut scene = Scene::unserved();
    let mut params = rcgen::CertificateParams::new(vec!["203.0.113.2".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(80 * 86_400)).into();
    params.not_after = (now + std::time::Duration::from_secs(5 * 86_400 + 3_600)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let [chain_file, key_file] = ["chain.pem", "key.pem"].map(|name| scene.server.dir.join(name));
    fs::write(&chain_file, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let which = format!("{},{}", chain_file.display(), key_file.display());
    scene.serve_with(&["--certificate", &which]);
    let (code, report) = doctor(&scene.server, "");
    assert_eq!(code, 1);
    assert_eq!(only_wrong(&report, "certificate"), "the certificate of this machine's web site ends in 5 days");
    assert!(report.to_string().contains(chain_file.to_str().unwrap()));
}

#[test]
fn what_a_killed_daemon_left_is_undone() {
    let mut scene = Scene::new();
    let before = (scene.phone.ruleset(), scene.phone.host.run("ip rule list"));
    join(&scene);
    scene.phone.kill_daemon();
    let left = || (scene.phone.ruleset(), scene.phone.host.run("ip rule list"));
    assert_ne!(left(), before, "a full tunnel has rules, which outlive it");
    let (code, report) = doctor(&scene.phone, "");
    assert_eq!(code, 1);
    only_wrong(&report, "leftovers");
    let (code, report) = doctor(&scene.phone, "--fix");
    assert_eq!((code, report["fixes"][0]["done"].as_bool()), (0, Some(true)), "{report:#}");
    assert_eq!(left(), before);
    // As if nothing had been.
    poll::until("a new daemon to bring it up", PATIENCE, || {
        scene.phone.adit(&format!("up {}", scene.phone.name)).attempt().ok()
    });
    scene.reaches_outside(&scene.phone);
}

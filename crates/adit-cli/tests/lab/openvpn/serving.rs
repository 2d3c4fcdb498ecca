//! `adit up SERVER.ovpn` with Debian's `openvpn` as its clients.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

use super::transfers::transfers;
use super::{INSIDE, Scene};
use crate::world::{Machine, eventually};

/// A real client that runs.
pub(super) struct Guest {
    run: Child,
    log: PathBuf,
}

impl Guest {
    /// A client on this machine, called like its papers. `~` in an option stands for a space inside a word.
    pub(super) fn new(scene: &Scene, machine: &Machine, name: &str, options: &str) -> Self {
        let (cert, key) = scene.papers.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
        let file = file_of(name);
        for (ending, text) in [("crt", cert), ("key", key)] {
            fs::write(machine.dir.join(format!("{file}.{ending}")), text).unwrap();
        }
        Self::without_papers(scene, machine, name, &format!("--cert DIR/{file}.crt --key DIR/{file}.key {options}"))
    }

    /// The same without a certificate.
    pub(super) fn without_papers(scene: &Scene, machine: &Machine, name: &str, options: &str) -> Self {
        let (dir, file) = (&machine.dir, file_of(name));
        // Once: others may be reading them.
        if !dir.join("tc.key").exists() {
            fs::write(dir.join("ca.crt"), scene.papers.authority.pem()).unwrap();
            fs::copy(scene.bob().dir.join("tc.key"), dir.join("tc.key")).unwrap();
        }
        let line = format!(
            "--client --nobind --dev-type tun --dev ov{file} --ca DIR/ca.crt --remote-cert-tls server --verb 4 {options}"
        );
        let line = line.replace("DIR", dir.to_str().unwrap());
        let log = dir.join(format!("{file}.log"));
        let out = File::create(&log).unwrap();
        let mut command = machine.command("openvpn");
        command.args(line.split_whitespace().map(|word| word.replace('~', " ")));
        let run = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Self { run, log }
    }

    /// The same, once packets flow.
    pub(super) fn connected(scene: &Scene, machine: &Machine, name: &str, options: &str) -> Self {
        Self::new(scene, machine, name, options).once_connected(scene)
    }

    /// Waits until packets flow.
    pub(super) fn once_connected(self, scene: &Scene) -> Self {
        let end = std::time::Instant::now() + crate::world::PATIENCE;
        while !self.log().contains("Initialization Sequence Completed") {
            let log = self.log();
            let is_over = log.contains("Options error") || log.contains("process exiting");
            let is_late = std::time::Instant::now() > end;
            assert!(!is_over && !is_late, "{log}\n{}\n{}", scene.bob().log(), scene.bob().ok(&["status"]));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self
    }

    /// Waits until it says so.
    pub(super) fn says(&self, words: &str) {
        let end = std::time::Instant::now() + crate::world::PATIENCE;
        while !self.log().contains(words) {
            let log = self.log();
            assert!(!log.contains("Initialization Sequence Completed"), "{log}");
            assert!(std::time::Instant::now() < end, "it never says {words}: {log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As Ctrl-C would end it.
    pub(super) fn end(mut self) -> String {
        let asked = Command::new("kill").args(["-INT", &self.run.id().to_string()]).status().unwrap();
        assert!(asked.success() && self.run.wait().is_ok());
        self.log()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _gone = self.run.kill();
        let _gone = self.run.wait();
    }
}

/// What of a name may be that of a file and of an interface.
fn file_of(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

pub(super) const REMOTE: &str = "--remote 192.0.2.2 1194 --proto udp --tls-crypt DIR/tc.key";

impl Scene {
    /// Bob's file with these lines, with which `adit` serves.
    pub(super) fn file_of_server(&self, lines: &str) -> String {
        let text = format!(
            "server 10.29.41.0 255.255.255.0\nport 1194\ndev tun\ndh none\nca ca.crt\ncert server.crt\nkey server.key\n\
             keepalive 2 8\nremote-cert-tls client\n{lines}"
        );
        self.bob().write(&text);
        self.bob().file()
    }

    pub(super) fn serving(lines: &str) -> Self {
        let scene = Self::with(&PKCS_ECDSA_P256_SHA256);
        scene.bob().ok(&["up", &scene.file_of_server(lines)]);
        scene
    }

    /// What the server says of its clients.
    pub(super) fn guests(&self) -> Vec<serde_json::Value> {
        self.bob().status()["openvpn_server"]["clients"].as_array().unwrap().clone()
    }
}

pub(super) fn pings(machine: &Machine, to: &str, size: u32) -> bool {
    let words = ["-n", "-q", "-c", "3", "-i", "0.05", "-W", "5", "-s", &size.to_string(), to];
    machine.command("ping").args(words).output().unwrap().status.success()
}

#[test]
fn a_real_client_is_served_and_nothing_is_left() {
    let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
    let (alice, bob) = (scene.alice(), scene.bob());
    let before = (alice.network(), bob.network());
    let file = scene.file_of_server(
        "proto udp\ntopology subnet\ntls-crypt tc.key\nifconfig-pool-persist ipp.txt\npush \"route 10.99.7.0 255.255.255.0\"\n\
         explicit-exit-notify 1\nserver-ipv6 fd00:29::/64\npush \"route-ipv6 fd00:99::/64\"\n",
    );
    let plan = bob.ok(&["up", "--dry-run", &file]);
    assert!(plan.contains("UDP port 1194") && plan.contains("10.29.41.1/24, fd00:29::1/64"), "{plan}");
    assert_eq!(bob.network(), before.1);
    let said = bob.ok(&["up", &file]);
    assert!(said.contains("serves OpenVPN clients on udp port 1194 as 10.29.41.1/24"), "{said}");
    assert!(bob.ok(&["status"]).contains("waiting for clients"));
    let guest = Guest::connected(&scene, alice, "alice", &format!("{REMOTE} --reneg-sec 3 --explicit-exit-notify 1"));
    for size in [0, 64, 200, 777, 1272, 1400, 1472] {
        assert!(pings(alice, INSIDE, size) && pings(bob, "10.29.41.2", size), "{size} bytes\n{}", guest.log());
    }
    assert!(alice.pings("fd00:29::1") && bob.pings("fd00:29::1000"), "{}", guest.log());
    transfers(alice, bob);
    eventually("keys are renewed twice under traffic", || {
        assert!(pings(alice, INSIDE, 500), "{}\n{}", guest.log(), bob.log());
        scene.guests()[0]["renewals"].as_u64() >= Some(2)
    });
    transfers(alice, bob);
    let seen = &scene.guests()[0];
    assert_eq!((&seen["name"], &seen["addresses"][0]), (&"alice".into(), &"10.29.41.2".into()), "{seen}");
    let shown = bob.ok(&["status"]);
    assert!(shown.contains("client alice") && shown.contains("1 of at most 1024"), "{shown}");
    assert!(bob.ok(&["reload", &bob.tunnel]).contains("Nothing in the file differs"));
    guest.end();
    eventually("the server hears goodbye", || scene.guests().is_empty());
    assert_eq!(alice.network(), before.0);
    let told = Guest::connected(&scene, alice, "alice", REMOTE);
    assert_eq!(bob.ok(&["down", &bob.tunnel]), format!("{} is down\n", bob.tunnel));
    assert_eq!(bob.network(), before.1);
    assert!(fs::read_to_string(bob.dir.join("ipp.txt")).unwrap().starts_with("alice,10.29.41.2,fd00:29::1000"));
    eventually("the client is told that the server goes", || told.log().contains("server-pushed-connection-reset"));
}

#[test]
fn net30_and_p2p_and_who_comes_again_has_the_same_address() {
    for (topology, own, address) in
        [("", "10.29.41.1/32", "10.29.41.6"), ("topology p2p\n", "10.29.41.1/32", "10.29.41.4")]
    {
        let scene = Scene::serving(&format!("tls-crypt tc.key\n{topology}"));
        let alice = scene.alice();
        assert_eq!(scene.bob().status()["addresses"][0], own);
        for _ in 0..2 {
            let guest = Guest::connected(&scene, alice, "alice", &format!("{REMOTE} --explicit-exit-notify 1"));
            assert!(pings(alice, INSIDE, 1000) && pings(scene.bob(), address, 1000), "{}", guest.log());
            assert_eq!(scene.guests()[0]["addresses"][0], address);
            guest.end();
            eventually("it has left", || scene.guests().is_empty());
        }
    }
}

#[test]
fn the_last_one_of_a_name_counts_unless_many_may_have_it() {
    let scene = Scene::serving("topology subnet\ntls-crypt tc.key\n");
    let alice = scene.alice();
    let first = Guest::connected(&scene, alice, "alice", REMOTE);
    // What a second one of the name would do where it is.
    let second = Guest::connected(&scene, alice, "alice", &REMOTE.replace("--proto", "--dev other --proto"));
    eventually("one is left", || scene.guests().len() == 1);
    assert!(scene.bob().status()["openvpn_server"]["admitted"].as_u64() >= Some(2));
    assert_eq!(scene.guests()[0]["addresses"][0], "10.29.41.2");
    drop((first, second));
    let bob = scene.bob();
    bob.ok(&["down", &bob.tunnel]);
    bob.ok(&["up", &scene.file_of_server("topology subnet\ntls-crypt tc.key\nduplicate-cn\n")]);
    let many = ["ova", "ovb"].map(|dev| {
        Guest::connected(&scene, alice, "alice", &REMOTE.replace("--proto", &format!("--dev {dev} --proto")))
    });
    assert_eq!(scene.guests().len(), 2, "{}", many[0].log());
    assert_ne!(scene.guests()[0]["addresses"], scene.guests()[1]["addresses"]);
}

#[test]
fn what_cannot_be_served_is_said_before_anything_is() {
    let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
    let bob = scene.bob();
    let before = bob.network();
    for (lines, said) in [
        ("topology subnet\nlocal 192.0.2.2\n", "`local`"),
        ("topology subnet\nscript-security 2\nclient-connect /bin/true\n", "`client-connect`"),
        ("topology subnet\nscript-security 2\nauth-user-pass-verify /nowhere/who via-file\n", "/nowhere/who"),
        ("topology subnet\nclient-config-dir nowhere\n", "nowhere"),
        ("topology subnet\nport-share 192.0.2.9 443\n", "port-share"),
        ("topology subnet\nkey ca.crt\n", "`key`"),
    ] {
        let failure = bob.fails(2, &["up", &scene.file_of_server(lines)]);
        assert!(failure.contains(said), "{lines}: {failure}");
    }
    assert_eq!(bob.network(), before);
}

#[test]
fn several_clients_at_once_over_udp_and_over_tcp() {
    for (line, remote) in [
        ("proto udp\n", REMOTE.to_owned()),
        ("proto tcp-server\n", REMOTE.replace("--proto udp", "--proto tcp-client")),
    ] {
        let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
        let (alice, bob) = (scene.alice(), scene.bob());
        bob.ok(&["up", &scene.file_of_server(&format!("{line}topology subnet\ntls-crypt tc.key\n"))]);
        let names: Vec<_> = (0..8).map(|n| format!("guest{n}")).collect();
        let guests: Vec<_> = names.iter().map(|name| Guest::new(&scene, alice, name, &remote)).collect();
        let guests: Vec<_> = guests.into_iter().map(|guest| guest.once_connected(&scene)).collect();
        let seen = scene.guests();
        let addresses: BTreeSet<_> = seen.iter().map(|guest| guest["addresses"][0].to_string()).collect();
        assert_eq!((seen.len(), addresses.len()), (8, 8), "{}", guests[0].log());
        for name in &names {
            let words =
                ["-n", "-q", "-c", "2", "-i", "0.1", "-W", "5", "-s", "1400", "-I", &format!("ov{name}"), INSIDE];
            assert!(alice.command("ping").args(words).output().unwrap().status.success(), "{name}: {}", bob.log());
        }
        drop(guests);
        if line.contains("tcp") {
            eventually("streams that end are clients that are gone", || scene.guests().is_empty());
        }
        bob.ok(&["down", &bob.tunnel]);
    }
}

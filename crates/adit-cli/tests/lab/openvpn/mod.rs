//! `adit up FILE.ovpn` against Debian's `openvpn`: as the server, and in `serving` as the clients.

mod admission;
mod attack;
mod hooks;
mod keys;
mod matrix;
mod proxies;
mod serving;
mod transfers;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm,
};

use crate::world::{Machine, World, err, eventually};

/// The server's address inside, and a network behind it.
const INSIDE: &str = "10.29.41.1";
const BEHIND: &str = "10.99.7.1";

/// Certificates as easy-rsa makes them: a common name, usages, no host name.
struct Papers {
    authority: CertifiedIssuer<'static, KeyPair>,
    /// What all keys are for.
    algorithm: &'static SignatureAlgorithm,
}

impl Papers {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = named("Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key_for(algorithm);
        Self { authority: CertifiedIssuer::self_signed(params, key).unwrap(), algorithm }
    }

    /// Certificate and key, as text.
    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = named(name);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = key_for(self.algorithm);
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }
}

fn key_for(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    if algorithm != &PKCS_ED25519 {
        return KeyPair::generate_for(algorithm).unwrap();
    }
    // In the older of two forms, the only one that OpenSSL 3.0 reads.
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output().unwrap();
    KeyPair::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Alice with `adit`, Bob with `openvpn`.
struct Scene {
    world: World,
    papers: Papers,
    server: Option<Child>,
}

impl Scene {
    /// A server with these options; `DIR/` in them is the directory of its files.
    fn new(options: &str) -> Self {
        let mut scene = Self::with(&PKCS_ECDSA_P256_SHA256);
        scene.serve(options);
        scene
    }

    /// Without a server yet, and papers with such keys.
    fn with(algorithm: &'static SignatureAlgorithm) -> Self {
        let (world, papers) = (World::new(), Papers::new(algorithm));
        for (machine, address) in [(&world.a, "fd77::1/64"), (&world.b, "fd77::2/64")] {
            let words = ["address", "add", address, "dev", "cable", "nodad"];
            assert!(machine.command("ip").args(words).status().unwrap().success());
        }
        let (cert, key) = papers.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
        for (name, text) in [("ca.crt", papers.authority.pem()), ("server.crt", cert), ("server.key", key)] {
            fs::write(world.b.dir.join(name), text).unwrap();
        }
        let made =
            Command::new("openvpn").args(["--genkey", "secret"]).arg(world.b.dir.join("tc.key")).output().unwrap();
        assert!(made.status.success(), "{}", err(&made));
        // alice's password is `open sesame`.
        let script = world.b.dir.join("who.sh");
        fs::write(&script, "#!/bin/sh\n[ \"$(cat \"$1\")\" = \"$(printf 'alice\\nopen sesame')\" ]\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        Self { world, papers, server: None }
    }

    fn alice(&self) -> &Machine {
        &self.world.a
    }

    fn bob(&self) -> &Machine {
        &self.world.b
    }

    fn serve(&mut self, options: &str) {
        self.server = Some(serve_on(self.bob(), options));
    }

    fn end_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        fs::write(self.bob().dir.join("openvpn.log"), "").unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bob().dir.join("openvpn.log")).unwrap_or_default()
    }

    /// A file as people get it: everything in it.
    fn file(&self, lines: &str) -> String {
        let (cert, key) = self.papers.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
        let (ca, tls_crypt) = (self.papers.authority.pem(), fs::read_to_string(self.bob().dir.join("tc.key")).unwrap());
        let papers = format!("<ca>\n{ca}</ca>\n<cert>\n{cert}</cert>\n<key>\n{key}</key>\n");
        let wrap = format!("<tls-crypt>\n{tls_crypt}</tls-crypt>\n");
        self.write(&format!("client\ndev tun\nremote-cert-tls server\n{lines}{papers}{wrap}"))
    }

    fn write(&self, text: &str) -> String {
        let file = self.alice().dir.join(format!("{}.ovpn", self.alice().tunnel));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// `adit up` with answers on standard input.
    fn up_with(&self, file: &str, answers: &str) -> Output {
        let mut command = self.alice().command(env!("CARGO_BIN_EXE_adit"));
        command.args(["up", file]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.spawn().unwrap();
        run.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        run.wait_with_output().unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _gone = server.kill();
            let _gone = server.wait();
        }
    }
}

/// Debian's server with these options on a machine that has its files.
fn serve_on(machine: &Machine, options: &str) -> Child {
    let line = format!(
        "--dev ovs --dev-type tun --mode server --tls-server --server 10.29.41.0 255.255.255.0 --topology subnet \
         --port 1194 --dh none --ca DIR/ca.crt --cert DIR/server.crt --key DIR/server.key --verb 4 \
         --keepalive 2 8 {options}"
    );
    let line = line.replace("DIR", machine.dir.to_str().unwrap());
    let log = File::options().append(true).create(true).open(machine.dir.join("openvpn.log")).unwrap();
    let mut command = machine.command("openvpn");
    // `~` stands for a space inside a word.
    command
        .args(line.split_whitespace().map(|word| word.replace('~', " ")))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let server = command.spawn().unwrap();
    eventually("the server serves", || {
        let log = fs::read_to_string(machine.dir.join("openvpn.log")).unwrap();
        assert!(!log.contains("Options error"), "{log}");
        log.contains("Initialization Sequence Completed")
    });
    let address = machine.command("ip").args(["address", "add", &format!("{BEHIND}/32"), "dev", "ovs"]).output();
    assert!(address.unwrap().status.success());
    server
}

/// What makes the server ask for a password.
const ASKS: &str = "--tls-crypt DIR/tc.key --script-security 2 --auth-user-pass-verify DIR/who.sh via-file \
    --verify-client-cert optional --username-as-common-name --tmp-dir DIR";

#[test]
fn a_file_with_everything_in_it_connects_over_udp_and_leaves_nothing() {
    let scene =
        Scene::new("--proto udp --tls-crypt DIR/tc.key --push route~10.99.7.0~255.255.255.0 --explicit-exit-notify 1");
    let alice = scene.alice();
    let before = alice.network();
    let file = scene.file("remote 192.0.2.2 1194 udp\n");
    let said = alice.ok(&["up", &file]);
    assert!(said.contains("is up; connected to 192.0.2.2:1194 as 10.29.41.2/24"), "{said}\n{}", scene.log());
    assert!(alice.pings(INSIDE) && alice.pings(BEHIND), "{}", alice.log());
    let status = alice.status();
    assert_eq!((&status["state"], &status["transport"]), (&"connected".into(), &"udp".into()), "{status}");
    assert_eq!(status["openvpn"]["cipher"], "AES-256-GCM", "{status}");
    assert!(status["traffic"]["received"].as_u64().unwrap() > 0, "{status}");
    let shown = alice.ok(&["status"]);
    assert!(
        shown.contains("connected, up for") && shown.contains("AES-256-GCM") && !shown.contains("public key"),
        "{shown}"
    );
    let looked = alice.adit(&["doctor", &alice.tunnel, "--json"]);
    let looked: serde_json::Value = serde_json::from_slice(&looked.stdout).unwrap();
    let of_tunnel = |check: &str| {
        let all = looked["checks"].as_array().unwrap();
        all.iter().find(|one| one["check"] == check).map_or("none", |one| one["verdict"].as_str().unwrap())
    };
    let verdicts = ["profile", "tunnel", "port", "firewall", "mtu"].map(of_tunnel);
    assert_eq!(verdicts, ["sound", "sound", "sound", "none", "none"], "{looked:#}");
    assert!(alice.ok(&["reload", &alice.tunnel]).contains("Nothing in the file differs"));
    assert_eq!(alice.ok(&["down", &alice.tunnel]), format!("{} is down\n", alice.tunnel));
    assert_eq!(alice.network(), before);
    eventually("the server hears goodbye", || scene.log().contains("client-instance exiting"));
}

#[test]
fn packets_in_pieces_go_both_ways() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key --fragment 500 --mssfix 0");
    let alice = scene.alice();
    alice.ok(&["up", &scene.file("remote 192.0.2.2 1194 udp\nfragment 600\n")]);
    for size in ["0", "470", "600", "1300"] {
        let echo = alice.command("ping").args(["-n", "-c", "3", "-i", "0.1", "-W", "5", "-s", size, INSIDE]).output();
        assert!(echo.unwrap().status.success(), "{size} bytes: {}\n{}", alice.log(), scene.log());
    }
    alice.ok(&["down", &alice.tunnel]);
}

#[test]
fn a_password_is_asked_for_and_a_wrong_one_leaves_nothing() {
    let scene = Scene::new(&format!("--proto tcp-server {ASKS}"));
    let alice = scene.alice();
    let before = alice.network();
    let (ca, wrap) = (scene.papers.authority.pem(), fs::read_to_string(scene.bob().dir.join("tc.key")).unwrap());
    let file = scene.write(&format!(
        "client\ndev tun\nproto tcp\nremote 192.0.2.2\nremote-cert-tls server\nauth-user-pass\n<ca>\n{ca}</ca>\n\
         <tls-crypt>\n{wrap}</tls-crypt>\n"
    ));
    let wrong = scene.up_with(&file, "alice\nopen barley\n");
    assert_eq!(wrong.status.code(), Some(1), "{}\n{}", err(&wrong), scene.log());
    assert!(err(&wrong).contains("does not let us in"), "{}", err(&wrong));
    assert_eq!(alice.network(), before);
    let nobody = scene.up_with(&file, "");
    assert_eq!(nobody.status.code(), Some(2), "{}", err(&nobody));
    let right = scene.up_with(&file, "alice\nopen sesame\n");
    assert!(right.status.success(), "{}\n{}\n{}", err(&right), alice.log(), scene.log());
    assert!(alice.pings(INSIDE), "{}", alice.log());
    assert_eq!(alice.status()["transport"], "tcp");
    assert!(!alice.log().contains("sesame") && !alice.log().contains("barley"), "a password is in the log");
    alice.ok(&["down", &alice.tunnel]);
    assert_eq!(alice.network(), before);
}

#[test]
fn everything_goes_through_the_tunnel_and_nothing_beside_it_while_the_server_is_away() {
    let options = "--proto udp --tls-crypt DIR/tc.key --push redirect-gateway~def1~ipv6 --server-ipv6 fd00:29::/64";
    let mut scene = Scene::new(options);
    let file = scene.file("remote 192.0.2.2 1194 udp\nconnect-retry 1 1\n");
    let before = scene.alice().network();
    scene.alice().ok(&["up", &file]);
    // Only a default route leads there, and only the tunnel has one.
    assert!(scene.alice().pings(BEHIND), "{}", scene.alice().log());
    assert!(scene.alice().pings("fd00:29::1"), "{}", scene.alice().log());
    scene.end_server();
    eventually("the client notices", || scene.alice().status()["state"] == "waiting");
    let route = scene.alice().command("ip").args(["route", "get", BEHIND]).output().unwrap();
    let route = String::from_utf8(route.stdout).unwrap();
    assert!(route.contains(&format!("dev {}", scene.alice().tunnel)), "{route}");
    assert!(!scene.alice().pings(BEHIND));
    scene.serve(options);
    eventually("the client is connected again", || scene.alice().status()["state"] == "connected");
    assert!(scene.alice().pings(BEHIND), "{}", scene.alice().log());
    assert_eq!(scene.alice().status()["openvpn"]["connections"], 2);
    scene.alice().ok(&["down", &scene.alice().tunnel.clone()]);
    assert_eq!(scene.alice().network(), before);
}

#[test]
fn the_next_server_is_tried_when_one_does_not_take_us() {
    let scene = Scene::new("--proto tcp-server --tls-crypt DIR/tc.key");
    let alice = scene.alice();
    // Nobody listens at the first; the second is a port of UDP that answers nothing.
    let file = scene.file(
        "remote 192.0.2.2 1195 tcp\nremote 192.0.2.2 1194 udp\nremote 192.0.2.2 1194 tcp\nhand-window 2\nconnect-retry 1 1\n",
    );
    let said = alice.ok(&["up", &file]);
    assert!(said.contains("connected to 192.0.2.2:1194"), "{said}\n{}", alice.log());
    assert_eq!(alice.status()["transport"], "tcp");
    assert!(alice.pings(INSIDE));
}

#[test]
fn a_killed_client_leaves_no_trace_once_it_is_taken_down() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key --push redirect-gateway~def1");
    let alice = scene.alice();
    let before = alice.network();
    let file = scene.file("remote 192.0.2.2 1194 udp\n");
    alice.ok(&["up", &file]);
    assert_ne!(alice.network(), before);
    alice.signal("KILL");
    eventually("the daemon is gone", || alice.adit(&["status"]).status.code() != Some(0));
    let _undone = alice.adit(&["down", &alice.tunnel]);
    assert_eq!(alice.network(), before, "{}", alice.log());
    alice.ok(&["up", &file]);
    assert!(alice.pings(INSIDE), "{}", alice.log());
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key");
    let alice = scene.alice();
    let before = alice.network();
    for (lines, code, said) in [
        ("remote 192.0.2.2 1194 tcp\nfragment 1200\n", 2, "`fragment`"),
        ("remote 192.0.2.2 1194 udp\ncipher BF-CBC\n", 2, "SWEET32"),
        ("remote 192.0.2.2 1194 udp\nscript-security 2\ntls-verify /bin/true\n", 2, "`tls-verify`"),
        ("remote 192.0.2.2 1194 udp\nverify-x509-name somebody name\n", 1, "somebody"),
    ] {
        let failure = alice.fails(code, &["up", &scene.file(lines)]);
        assert!(failure.contains(said), "{lines}: {failure}");
    }
    assert_eq!(alice.network(), before);
    let plan = alice.ok(&["up", "--dry-run", &scene.file("remote 192.0.2.2 1194 udp\n")]);
    assert!(plan.contains("192.0.2.2 port 1194 over UDP"), "{plan}");
    assert_eq!(alice.network(), before);
}

#[test]
fn a_question_of_the_server_is_asked_and_its_answer_lets_us_in() {
    let mut scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
    let script = "#!/bin/sh\ncase \"$(tail -n 1 \"$1\")\" in\n'CRV1::st8::1234') exit 0 ;;\n'open sesame') \
        printf 'CRV1:R,E:st8:YWxpY2U=:PIN, please?' > \"$auth_failed_reason_file\" ;;\nesac\nexit 1\n";
    fs::write(scene.bob().dir.join("who.sh"), script).unwrap();
    scene.serve(&format!("--proto udp {ASKS}"));
    let alice = scene.alice();
    let (ca, wrap) = (scene.papers.authority.pem(), fs::read_to_string(scene.bob().dir.join("tc.key")).unwrap());
    let file = scene.write(&format!(
        "client\ndev tun\nremote 192.0.2.2\nremote-cert-tls server\nauth-user-pass\n<ca>\n{ca}</ca>\n\
         <tls-crypt>\n{wrap}</tls-crypt>\n"
    ));
    let wrong = scene.up_with(&file, "alice\nopen sesame\n4321\n");
    assert_eq!(wrong.status.code(), Some(1), "{}\n{}", err(&wrong), scene.log());
    let right = scene.up_with(&file, "alice\nopen sesame\n1234\n");
    assert!(right.status.success(), "{}\n{}", err(&right), scene.log());
    assert!(alice.pings(INSIDE) && !alice.log().contains("st8"), "{}", alice.log());
}

/// The server is behind the default route, as nearly all are: what the client itself sends must not follow the routes that the
/// server sets.
#[test]
fn the_way_to_the_server_stays_beside_the_tunnel() {
    for (proto, push) in [
        ("tcp", "--push redirect-gateway~def1"),
        ("udp", "--multihome --push route~0.0.0.0~128.0.0.0 --push route~128.0.0.0~128.0.0.0"),
        ("tcp", "--push route~198.51.0.0~255.255.0.0"),
    ] {
        let server = if proto == "tcp" { "tcp-server" } else { proto };
        let scene = Scene::new(&format!("--proto {server} --tls-crypt DIR/tc.key --reneg-sec 3 {push}"));
        let alice = scene.alice();
        let far = scene.bob().command("ip").args(["address", "add", "198.51.100.7/32", "dev", "lo"]).status().unwrap();
        let via = ["route", "add", "default", "via", "192.0.2.2"];
        assert!(far.success() && alice.command("ip").args(via).status().unwrap().success());
        let before = alice.network();
        let said = alice.ok(&["up", &scene.file(&format!("remote 198.51.100.7 1194 {proto}\n"))]);
        assert!(said.contains("connected to 198.51.100.7:1194"), "{said}\n{}", scene.log());
        eventually("keys are renewed twice", || {
            assert!(alice.pings(INSIDE), "{proto} {push}\n{}", alice.log());
            alice.status()["openvpn"]["renewals"].as_u64() >= Some(2)
        });
        assert_eq!(alice.status()["openvpn"]["connections"], 1, "{proto} {push}\n{}", alice.log());
        alice.ok(&["down", &alice.tunnel]);
        assert_eq!(alice.network(), before);
    }
}

/// IPv6 that is blocked goes neither beside the tunnel nor into it; a client whose time is over undoes everything.
#[test]
fn blocked_ipv6_reaches_nobody_and_a_session_has_its_time() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key --server-ipv6 fd00:29::/64 --push session-timeout~6");
    let alice = scene.alice();
    let before = alice.network();
    alice.ok(&["up", &scene.file("remote 192.0.2.2 1194 udp\nblock-ipv6\n")]);
    assert!(alice.pings(INSIDE));
    let words = ["-n", "-c", "1", "-W", "1", "fd00:29::1"];
    assert!(!alice.command("ping").args(words).status().unwrap().success());
    assert!(alice.status()["drops"]["no-route"].as_u64() > Some(0), "{}", alice.status());
    eventually("the session is over", || alice.status()["state"] == "failed");
    assert!(alice.status()["notes"].to_string().contains("session-timeout"), "{}", alice.status());
    eventually("nothing is left", || alice.network() == before);
}

#[test]
fn another_address_of_ours_does_not_end_the_connection() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key");
    let alice = scene.alice();
    alice.ok(&["up", &scene.file("remote 192.0.2.2 1194 udp\n")]);
    assert!(alice.pings(INSIDE));
    for words in [["del", "192.0.2.1/24"], ["add", "192.0.2.9/24"]] {
        let done = alice.command("ip").args(["address", words[0], words[1], "dev", "cable"]).status().unwrap();
        assert!(done.success());
    }
    eventually("packets pass from the other address", || alice.pings(INSIDE));
    assert_eq!(alice.status()["openvpn"]["connections"], 1, "{}", alice.log());
    eventually("the server has seen it", || scene.log().contains("floated"));
}

#[test]
fn a_fingerprint_takes_the_place_of_an_authority() {
    let scene = Scene::new("--proto udp --tls-crypt DIR/tc.key");
    let fingerprint = |file: &str| {
        let words = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
        let run = Command::new("openssl").args(words).arg(scene.bob().dir.join(file)).output().unwrap();
        String::from_utf8(run.stdout).unwrap().trim().rsplit_once('=').unwrap().1.to_owned()
    };
    let text = fs::read_to_string(scene.file("remote 192.0.2.2 1194 udp\n")).unwrap();
    let ca = text.find("<ca>").unwrap()..text.find("</ca>\n").unwrap() + 6;
    let with = |fingerprint: &str| {
        let line = format!("peer-fingerprint {fingerprint}\n");
        scene.write(&format!("{}{line}{}", &text[..ca.start], &text[ca.end..]))
    };
    let alice = scene.alice();
    let failure = alice.fails(1, &["up", &with(&fingerprint("ca.crt"))]);
    assert!(failure.contains("`peer-fingerprint` does not list"), "{failure}");
    alice.ok(&["up", &with(&fingerprint("server.crt"))]);
    assert!(alice.pings(INSIDE));
}

/// Certificates of easy-rsa, and its list of withdrawn ones.
#[test]
fn a_certificate_that_was_withdrawn_is_refused() {
    let mut scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
    let dir = scene.bob().dir.clone();
    let easy_rsa = |words: &[&str]| {
        let mut command = Command::new("/usr/share/easy-rsa/easyrsa");
        command.args(words).current_dir(&dir).env("EASYRSA_BATCH", "1").env("EASYRSA_ALGO", "ec");
        let run = command.env("EASYRSA_PKI", dir.join("pki")).output().expect("easy-rsa is installed");
        assert!(run.status.success(), "easyrsa {words:?}: {}", err(&run));
    };
    easy_rsa(&["init-pki"]);
    easy_rsa(&["build-ca", "nopass"]);
    easy_rsa(&["build-server-full", "server", "nopass"]);
    easy_rsa(&["build-client-full", "alice", "nopass"]);
    easy_rsa(&["gen-crl"]);
    let read = |name: &str| fs::read_to_string(dir.join("pki").join(name)).unwrap();
    for (from, to) in [("ca.crt", "ca.crt"), ("issued/server.crt", "server.crt"), ("private/server.key", "server.key")]
    {
        fs::write(dir.join(to), read(from)).unwrap();
    }
    scene.serve("--proto udp");
    let file = || {
        let parts =
            [("ca", "ca.crt"), ("cert", "issued/alice.crt"), ("key", "private/alice.key"), ("crl-verify", "crl.pem")];
        let blocks: String = parts.iter().map(|(tag, name)| format!("<{tag}>\n{}</{tag}>\n", read(name))).collect();
        scene.write(&format!("client\ndev tun\nremote 192.0.2.2\nremote-cert-tls server\n{blocks}"))
    };
    let alice = scene.alice();
    alice.ok(&["up", &file()]);
    assert!(alice.pings(INSIDE));
    alice.ok(&["down", &alice.tunnel]);
    easy_rsa(&["revoke", "server"]);
    easy_rsa(&["gen-crl"]);
    let failure = alice.fails(1, &["up", &file()]);
    assert!(failure.contains("revoked"), "{failure}");
}

//! The same lines to our reader and to Debian's `openvpn`: who takes what, and where we differ on purpose.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adit_openvpn::options::{self, Config};

use crate::papers::Papers;

/// What the real program says of a file: the words of its refusal, or nothing.
fn refusal(directory: &Path, text: &str) -> Option<String> {
    let file = directory.join("x.ovpn");
    std::fs::write(&file, text).unwrap();
    let log = directory.join("log");
    let _none_yet = std::fs::remove_file(&log);
    let mut child = Command::new("openvpn")
        .current_dir(directory)
        .args(["--config", "x.ovpn", "--verb", "3", "--log", "log"])
        .stdout(Stdio::null())
        .spawn()
        .expect("openvpn is there (`cargo xtask setup`)");
    let deadline = Instant::now() + Duration::from_secs(60);
    // It says that it is on its way, or ends.
    let verdict = loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if child.try_wait().unwrap().is_some() {
            break Some(said);
        }
        if said.contains("link remote") || said.contains("Attempting to establish TCP") {
            break None;
        }
        assert!(Instant::now() < deadline, "neither ended nor began: {said}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ended_already = child.kill();
    child.wait().unwrap();
    verdict
}

/// A directory with papers, which goes away with its test.
struct Scene {
    directory: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

impl Scene {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("adit-grammar-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let papers = Papers::new();
        let client = papers.client();
        let at = |name: &str| directory.join(name);
        std::fs::write(at("ca.pem"), papers.authority_pem()).unwrap();
        std::fs::write(at("c.pem"), &client.certificate_pem).unwrap();
        std::fs::write(at("k.pem"), &client.key_pem).unwrap();
        std::fs::write(at("pass"), "user\npassword\n").unwrap();
        let key = "00112233445566778899aabbccddeeff\n".repeat(16);
        let key = format!("-----BEGIN OpenVPN Static key V1-----\n{key}-----END OpenVPN Static key V1-----\n");
        std::fs::write(at("ta.key"), key).unwrap();
        Self { directory }
    }

    /// A client with one line more: taken by us, and by the real program.
    fn both(&self, line: &str) -> (bool, bool) {
        let text = format!(
            "client\ndev null\ndev-type tun\nifconfig-noexec\nroute-noexec\nnobind\nremote 127.0.0.1 9\nca ca.pem\ncert c.pem\n\
             key k.pem\nremote-cert-tls server\n{line}\n"
        );
        (options::parse(&text).config.is_some(), refusal(&self.directory, &text).is_none())
    }
}

#[test]
fn what_both_take() {
    let scene = Scene::new("both-take");
    for line in [
        "proto tcp",
        "proto udp6\nremote ::1 9",
        "port 1200",
        "float",
        "remote-random",
        "resolv-retry infinite",
        "connect-timeout 5",
        "connect-retry 1 2",
        "explicit-exit-notify",
        "fragment 1300",
        "mssfix 1300 mtu",
        "tun-mtu 1400",
        "tls-auth ta.key 1",
        "tls-crypt ta.key",
        "key-direction 1\ntls-auth ta.key",
        "cipher AES-256-CBC",
        "cipher AES-128-GCM",
        "auth SHA512",
        "data-ciphers AES-256-GCM:?FOO",
        "data-ciphers-fallback AES-128-CBC",
        "comp-lzo no",
        "compress stub-v2",
        "keepalive 10 60",
        "ping 5\nping-restart 20",
        "inactive 60",
        "reneg-sec 0",
        "hand-window 30",
        "tran-window 30",
        "tls-version-min 1.2",
        "tls-cipher TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384",
        "tls-ciphersuites TLS_AES_256_GCM_SHA384",
        "verify-x509-name vpn name",
        "verify-x509-name \"C=DE, CN=x\"",
        "remote-cert-ku a0 88",
        "route 10.0.0.0 255.0.0.0",
        "route-ipv6 fd00::/8",
        "redirect-gateway def1 ipv6",
        "dhcp-option DNS 10.0.0.1",
        "dns server 0 address 10.0.0.1",
        "pull-filter ignore \"route\"",
        "route-nopull",
        "setenv AB b",
        "setenv opt frobnicate 1",
        "setenv-safe AB b",
        "ignore-unknown-option foo\nfoo 1",
        "auth-retry nointeract",
        "push-peer-info",
        "persist-tun",
        "mute 3",
        "socks-proxy 127.0.0.1 9\nproto tcp",
        "http-proxy 127.0.0.1 9\nproto tcp",
        "block-ipv6",
        "replay-window 128 30",
        "passtos",
        "sndbuf 65536",
        "topology subnet",
        "script-security 1",
        "<connection>\nremote 127.0.0.1 10 tcp\n</connection>",
        "--verb 1",
        "mark 1",
        "max-packet-size 1000",
        "auth-nocache",
    ] {
        assert_eq!(scene.both(line), (true, true), "(we, openvpn) take {line}");
    }
}

#[test]
fn what_neither_takes() {
    let scene = Scene::new("neither-takes");
    for line in [
        "frobnicate 1",
        "nobind x",
        "cipher",
        "reneg-sec",
        "proto quic",
        "keepalive 10 15",
        "remote-cert-tls foo",
        "setenv A \"b",
        "setenv A 'b",
        r"setenv A \n",
        "no-iv",
        "cipher FOO",
        "auth FOO",
        "server 10.8.0.0 255.255.255.0",
        "tls-auth ta.key 1\ntls-crypt ta.key",
        "http-proxy 127.0.0.1 9",
        "mode server",
        "<connection>\n</connection>",
        "<connection>\nca ca.pem\n</connection>",
        "tls-version-min 9",
        "verify-x509-name",
        "tls-cipher FOO-BAR\ncipher FOO",
    ] {
        assert_eq!(scene.both(line), (false, false), "(we, openvpn) take {line}");
    }
}

/// Each of these it takes with a warning or in silence, and we refuse with the reason.
#[test]
fn what_we_refuse_on_purpose() {
    let scene = Scene::new("on-purpose");
    for line in [
        "push \"ping 3\"",
        "peer-id 3",
        "cipher BF-CBC",
        "cipher none",
        "auth none",
        "tls-version-max 1.1\ntls-version-min 1.0",
        "no-replay",
        "ping ten",
        "connect-retry x",
        "echo 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
    ] {
        assert_eq!(scene.both(line), (false, true), "(we, openvpn) take {line}");
    }
}

/// Every option that its help names is in our catalogue: whatever becomes of it, it has a reason of its own.
#[test]
fn every_option_of_its_help_is_known() {
    let help = Command::new("openvpn").arg("--help").output().expect("openvpn is there (`cargo xtask setup`)");
    let help = String::from_utf8(help.stdout).unwrap();
    let names = help.lines().filter_map(|line| line.strip_prefix("--")?.split([' ', ':']).next());
    let names: Vec<_> = names.map(str::trim).filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 200, "{}", names.len());
    for name in names {
        for finding in options::explain(&format!("client\n{name} 1\n")) {
            assert!(!finding.to_string().contains("no such option"), "{finding}");
        }
    }
}

/// The remotes that count beside `<connection>` blocks.
#[test]
fn remotes_beside_blocks_do_not_count() {
    let scene = Scene::new("beside-blocks");
    let text = "client\ndev null\ndev-type tun\nifconfig-noexec\nnobind\nca ca.pem\ncert c.pem\nkey k.pem\nremote-cert-tls server\n\
        remote 127.0.0.1 7\n<connection>\nremote 127.0.0.1 8\n</connection>\n";
    let Some(Config::Client(client)) = options::parse(text).config else { panic!() };
    assert_eq!(client.remotes.iter().map(|remote| remote.port).collect::<Vec<_>>(), [8]);
    assert_eq!(refusal(&scene.directory, text), None);
}

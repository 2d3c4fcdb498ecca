//! Envelopes, ciphers, transports, versions of TLS, certificates, logins, layouts of addresses and framings, each value of each in
//! some cell with others: connect, packets of many sizes, transfers over TCP and UDP that are compared byte for byte, keys renewed
//! twice, goodbye, and nothing left.

use std::process::Command;

use rcgen::{
    ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};

use super::transfers::transfers;
use super::{INSIDE, Scene, fs};
use crate::world::{err, eventually};

#[derive(Clone, Copy)]
pub(super) enum Wrap {
    Plain,
    /// With this digest; with a direction or not.
    TlsAuth(&'static str, bool),
    TlsCrypt,
    TlsCryptV2,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Certificate,
    Password,
    Both,
}

pub(super) struct Cell {
    pub(super) wrap: Wrap,
    pub(super) keys: &'static SignatureAlgorithm,
    pub(super) login: Login,
    /// `udp4`, `tcp6` and so on.
    pub(super) proto: &'static str,
    pub(super) server: &'static str,
    pub(super) client: &'static str,
    /// What the data channel is to have.
    pub(super) cipher: &'static str,
}

impl Cell {
    /// The server's options for the envelope, and the client's lines.
    pub(super) fn wrap(&self, scene: &Scene) -> (String, String) {
        let dir = &scene.bob().dir;
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        match self.wrap {
            Wrap::Plain => (String::new(), String::new()),
            Wrap::TlsAuth(digest, directed) => {
                let (theirs, ours) = if directed { (" 0", "key-direction 1\n") } else { ("", "") };
                let block = format!("auth {digest}\n{ours}<tls-auth>\n{}</tls-auth>\n", read("tc.key"));
                (format!("--tls-auth DIR/tc.key{theirs} --auth {digest}"), block)
            }
            Wrap::TlsCrypt => {
                ("--tls-crypt DIR/tc.key".to_owned(), format!("<tls-crypt>\n{}</tls-crypt>\n", read("tc.key")))
            }
            Wrap::TlsCryptV2 => {
                let (server, client) = (dir.join("v2s.key"), dir.join("v2c.key"));
                openvpn(&["--genkey", "tls-crypt-v2-server", server.to_str().unwrap()]);
                let key = server.to_str().unwrap();
                openvpn(&["--tls-crypt-v2", key, "--genkey", "tls-crypt-v2-client", client.to_str().unwrap()]);
                let block = format!("<tls-crypt-v2>\n{}</tls-crypt-v2>\n", read("v2c.key"));
                ("--tls-crypt-v2 DIR/v2s.key".to_owned(), block)
            }
        }
    }

    /// What makes the server ask for a password, if there is one.
    pub(super) const fn asks(&self) -> &'static str {
        match self.login {
            Login::Certificate => "",
            Login::Password => {
                "--script-security 2 --auth-user-pass-verify DIR/who.sh via-file --tmp-dir DIR \
             --verify-client-cert none --username-as-common-name"
            }
            Login::Both => "--script-security 2 --auth-user-pass-verify DIR/who.sh via-file --tmp-dir DIR",
        }
    }

    fn run(&self) {
        let mut scene = Scene::with(self.keys);
        let (their_wrap, our_wrap) = self.wrap(&scene);
        let (v6, tcp) = (self.proto.ends_with('6'), self.proto.starts_with("tcp"));
        let proto = if tcp { format!("{}-server", self.proto) } else { self.proto.to_owned() };
        let asks = self.asks();
        scene.serve(&format!("--proto {proto} --reneg-sec 3 {their_wrap} {asks} {}", self.server));
        let before = scene.alice().network();
        let file = scene.write(&self.file(&scene, &our_wrap, if v6 { "fd77::2" } else { "192.0.2.2" }));
        let alice = scene.alice();
        let up = scene.up_with(&file, "");
        assert!(up.status.success(), "{}{}\n{}\n{}", self.client, err(&up), alice.log(), scene.log());
        let status = alice.status();
        assert_eq!(status["openvpn"]["cipher"], self.cipher, "{status}");
        let pings = |size: u32| {
            let words = ["-n", "-q", "-c", "3", "-i", "0.05", "-W", "5", "-s", &size.to_string(), INSIDE];
            alice.command("ping").args(words).status().unwrap().success()
        };
        for size in [0, 64, 200, 777, 1272, 1400, 1472] {
            assert!(pings(size), "{size} bytes\n{}\n{}", alice.log(), scene.log());
        }
        transfers(alice, scene.bob());
        eventually("keys are renewed twice under traffic", || {
            assert!(pings(500), "{}\n{}", alice.log(), scene.log());
            alice.status()["openvpn"]["renewals"].as_u64() >= Some(2)
        });
        transfers(alice, scene.bob());
        assert_eq!(alice.status()["openvpn"]["connections"], 1, "{}", alice.log());
        alice.ok(&["down", &alice.tunnel]);
        assert_eq!(alice.network(), before);
        eventually("the server hears of the end", || {
            let log = scene.log();
            log.contains("client-instance exiting") || log.contains("Connection reset") || log.contains("remote-exit")
        });
    }

    pub(super) fn file(&self, scene: &Scene, wrap: &str, server: &str) -> String {
        let (cert, key) = scene.papers.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
        let ca = scene.papers.authority.pem();
        let mut text = format!("client\ndev tun\nremote {server} 1194 {}\nremote-cert-tls server\n", self.proto);
        text.push_str(self.client);
        text.push_str(&format!("<ca>\n{ca}</ca>\n{wrap}"));
        if self.login != Login::Password {
            text.push_str(&format!("<cert>\n{cert}</cert>\n<key>\n{key}</key>\n"));
        }
        if self.login != Login::Certificate {
            text.push_str("<auth-user-pass>\nalice\nopen sesame\n</auth-user-pass>\n");
        }
        text
    }
}

fn openvpn(arguments: &[&str]) {
    let made = Command::new("openvpn").args(arguments).output().unwrap();
    assert!(made.status.success(), "{}", err(&made));
}

pub(super) const CELL: Cell = Cell {
    wrap: Wrap::TlsCrypt,
    keys: &PKCS_ECDSA_P256_SHA256,
    login: Login::Certificate,
    proto: "udp4",
    server: "",
    client: "",
    cipher: "AES-256-GCM",
};

#[test]
fn aes_256_gcm_both_versions_of_ip_inside_over_udp() {
    Cell { server: "--server-ipv6 fd00:29::/64", client: "explicit-exit-notify 2\n", ..CELL }.run();
}

#[test]
fn aes_128_gcm_tls_1_2_rsa_tls_auth_password_over_tcp() {
    Cell {
        wrap: Wrap::TlsAuth("SHA256", true),
        keys: &PKCS_RSA_SHA256,
        login: Login::Password,
        proto: "tcp4",
        server: "--tls-version-max 1.2 --data-ciphers AES-128-GCM",
        cipher: "AES-128-GCM",
        ..CELL
    }
    .run();
}

#[test]
fn chacha20_p384_both_logins_no_envelope_over_udp_on_ipv6() {
    Cell {
        wrap: Wrap::Plain,
        keys: &PKCS_ECDSA_P384_SHA384,
        login: Login::Both,
        proto: "udp6",
        server: "--data-ciphers CHACHA20-POLY1305 --auth-gen-token 600 200",
        client: "tls-version-min 1.3\n",
        cipher: "CHACHA20-POLY1305",
    }
    .run();
}

#[test]
fn aes_256_cbc_net30_tls_crypt_v2_over_tcp_on_ipv6() {
    Cell {
        wrap: Wrap::TlsCryptV2,
        proto: "tcp6",
        server: "--data-ciphers AES-256-CBC --topology net30",
        client: "data-ciphers AES-256-CBC\n",
        cipher: "AES-256-CBC",
        ..CELL
    }
    .run();
}

#[test]
fn aes_128_cbc_p2p_tls_auth_without_direction_framing_of_lzo() {
    Cell {
        wrap: Wrap::TlsAuth("SHA512", false),
        keys: &PKCS_RSA_SHA256,
        server: "--data-ciphers AES-128-CBC --topology p2p --comp-lzo no",
        client: "data-ciphers AES-128-CBC\ncomp-lzo no\n",
        cipher: "AES-128-CBC",
        ..CELL
    }
    .run();
}

#[test]
fn aes_192_gcm_ed25519_a_stub_of_compression_that_is_pushed() {
    Cell {
        keys: &PKCS_ED25519,
        login: Login::Both,
        server: "--data-ciphers AES-192-GCM --allow-compression asym --compress stub-v2 --push compress~stub-v2",
        client: "data-ciphers AES-192-GCM\n",
        cipher: "AES-192-GCM",
        ..CELL
    }
    .run();
}

#[test]
fn pieces_and_a_small_tunnel_tls_1_2_tls_crypt_v2_on_ipv6() {
    Cell {
        wrap: Wrap::TlsCryptV2,
        keys: &PKCS_ECDSA_P384_SHA384,
        proto: "udp6",
        server: "--fragment 1300 --mssfix 1200 --tls-version-max 1.2",
        client: "fragment 1300\nmssfix 1200\n",
        ..CELL
    }
    .run();
}

#[test]
fn more_is_pushed_than_one_message_holds_and_some_of_it_is_filtered() {
    Cell {
        wrap: Wrap::TlsAuth("SHA1", true),
        keys: &PKCS_ED25519,
        proto: "tcp6",
        login: Login::Password,
        server: LONG_PUSH,
        client: "pull-filter ignore \"route 10.98.\"\ndata-ciphers CHACHA20-POLY1305:AES-256-GCM\n",
        cipher: "AES-256-GCM",
    }
    .run();
}

/// Thirty networks: more than a kilobyte.
const LONG_PUSH: &str = concat!(
    "--push route~10.97.1.0~255.255.255.0 --push route~10.97.3.0~255.255.255.0 --push route~10.97.5.0~255.255.255.0 ",
    "--push route~10.97.7.0~255.255.255.0 --push route~10.97.9.0~255.255.255.0 --push route~10.97.11.0~255.255.255.0 ",
    "--push route~10.97.13.0~255.255.255.0 --push route~10.97.15.0~255.255.255.0 --push route~10.97.17.0~255.255.255.0 ",
    "--push route~10.97.19.0~255.255.255.0 --push route~10.97.21.0~255.255.255.0 --push route~10.97.23.0~255.255.255.0 ",
    "--push route~10.97.25.0~255.255.255.0 --push route~10.97.27.0~255.255.255.0 --push route~10.97.29.0~255.255.255.0 ",
    "--push route~10.98.1.0~255.255.255.0 --push route~10.98.3.0~255.255.255.0 --push route~10.98.5.0~255.255.255.0 ",
    "--push route~10.98.7.0~255.255.255.0 --push route~10.98.9.0~255.255.255.0 --push route~10.98.11.0~255.255.255.0 ",
    "--push route~10.98.13.0~255.255.255.0 --push route~10.98.15.0~255.255.255.0 --push route~10.98.17.0~255.255.255.0 ",
    "--push route~10.98.19.0~255.255.255.0 --push route~10.98.21.0~255.255.255.0 --push route~10.98.23.0~255.255.255.0 ",
    "--push route~10.98.25.0~255.255.255.0 --push route~10.98.27.0~255.255.255.0 --push route~10.98.29.0~255.255.255.0"
);

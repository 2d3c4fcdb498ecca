//! The matrix with the roles turned round: `adit up SERVER.conf` and Debian's `openvpn` as the client, each value of each kind in
//! some cell; and several clients at once.

use std::collections::BTreeSet;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

use super::matrix::{CELL, Cell, Login, Wrap};
use super::serving::{Guest, REMOTE, pings};
use super::transfers::transfers;
use super::{INSIDE, Scene};
use crate::world::eventually;

/// Options of a command as lines of a file. `~` stands for a space inside a word.
fn lines(options: &str) -> String {
    let quoted =
        |word: &str| if word.contains('~') { format!("\"{}\"", word.replace('~', " ")) } else { word.to_owned() };
    let words: Vec<_> = options.split_whitespace().map(quoted).collect();
    words.join(" ").replace("--", "\n").replace("DIR/", "").replace("tmp-dir DIR", "") + "\n"
}

fn turned(cell: &Cell) {
    let scene = Scene::with(cell.keys);
    let (alice, bob) = (scene.alice(), scene.bob());
    let before = (alice.network(), bob.network());
    let (ours, theirs) = cell.wrap(&scene);
    let tcp = cell.proto.starts_with("tcp");
    let proto = if tcp { format!("{}-server", cell.proto) } else { cell.proto.to_owned() };
    let options = format!("--proto {proto} --topology subnet {ours} {} {}", cell.asks(), cell.server);
    bob.ok(&["up", &scene.file_of_server(&lines(&options))]);
    let file = cell.file(&scene, &theirs, if cell.proto.ends_with('6') { "fd77::2" } else { "192.0.2.2" });
    let goodbye = if tcp { "" } else { "--explicit-exit-notify 1" };
    let guest = Guest::of_file(alice, &file, &format!("--reneg-sec 3 {goodbye}")).once_connected(&scene);
    let log = guest.log();
    assert!(log.contains(&format!("cipher '{}'", cell.cipher)), "{log}");
    for size in [0, 64, 200, 777, 1272, 1400, 1472] {
        assert!(pings(alice, INSIDE, size), "{size} bytes\n{}\n{}", guest.log(), bob.log());
    }
    transfers(alice, bob);
    eventually("keys are renewed twice under traffic", || {
        assert!(pings(alice, INSIDE, 500), "{}\n{}", guest.log(), bob.log());
        scene.guests()[0]["renewals"].as_u64() >= Some(2)
    });
    transfers(alice, bob);
    assert_eq!(bob.status()["openvpn_server"]["admitted"], 1, "{}", guest.log());
    guest.end();
    eventually("the server hears of the end", || scene.guests().is_empty());
    bob.ok(&["down", &bob.tunnel]);
    assert_eq!((alice.network(), bob.network()), before);
}

#[test]
fn aes_128_gcm_tls_1_2_rsa_tls_auth_password_over_tcp() {
    turned(&Cell {
        wrap: Wrap::TlsAuth("SHA256", true),
        keys: &PKCS_RSA_SHA256,
        login: Login::Password,
        proto: "tcp4",
        server: "--tls-version-max 1.2 --data-ciphers AES-128-GCM",
        cipher: "AES-128-GCM",
        ..CELL
    });
}

#[test]
fn chacha20_p384_both_logins_tokens_no_envelope_over_udp_on_ipv6() {
    turned(&Cell {
        wrap: Wrap::Plain,
        keys: &PKCS_ECDSA_P384_SHA384,
        login: Login::Both,
        proto: "udp6",
        server: "--data-ciphers CHACHA20-POLY1305 --auth-gen-token 600 200",
        client: "tls-version-min 1.3\n",
        cipher: "CHACHA20-POLY1305",
    });
}

#[test]
fn aes_256_cbc_net30_tls_crypt_v2_over_tcp_on_ipv6() {
    turned(&Cell {
        wrap: Wrap::TlsCryptV2,
        proto: "tcp6",
        server: "--data-ciphers AES-256-CBC --topology net30 --server-ipv6 fd00:29::/64",
        client: "data-ciphers AES-256-CBC\n",
        cipher: "AES-256-CBC",
        ..CELL
    });
}

#[test]
fn aes_128_cbc_p2p_tls_auth_without_direction_framing_of_lzo() {
    turned(&Cell {
        wrap: Wrap::TlsAuth("SHA512", false),
        keys: &PKCS_RSA_SHA256,
        server: "--data-ciphers AES-128-CBC --topology p2p --comp-lzo no",
        client: "data-ciphers AES-128-CBC\ncomp-lzo no\n",
        cipher: "AES-128-CBC",
        ..CELL
    });
}

#[test]
fn aes_192_gcm_ed25519_pieces_a_long_push() {
    let routes: String = (1..40).map(|n| format!("--push route~10.97.{n}.0~255.255.255.0 ")).collect();
    let server = format!("--data-ciphers AES-192-GCM --fragment 1300 --mssfix 1200 {routes}");
    turned(&Cell {
        keys: &PKCS_ED25519,
        wrap: Wrap::TlsCryptV2,
        server: Box::leak(server.into_boxed_str()),
        client: "data-ciphers AES-192-GCM\nfragment 1300\nmssfix 1200\n",
        cipher: "AES-192-GCM",
        ..CELL
    });
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

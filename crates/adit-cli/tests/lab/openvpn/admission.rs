//! Who comes in to `adit up SERVER.ovpn`, and what single clients are given: files of `client-config-dir`, passwords, tokens,
//! withdrawn certificates, clients among themselves.

use std::fs;
use std::process::Command;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};

use super::Scene;
use super::serving::{Guest, REMOTE, pings};
use crate::world::eventually;

const SUBNET: &str = "topology subnet\ntls-crypt tc.key\n";

#[test]
fn a_file_of_its_own_gives_a_client_its_address_and_the_network_behind_it() {
    let scene = Scene::with(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (alice, bob) = (scene.alice(), scene.bob());
    let ccd = bob.dir.join("ccd");
    fs::create_dir(&ccd).unwrap();
    for (name, text) in [
        (
            "alice",
            "ifconfig-push 10.29.41.77 255.255.255.0\niroute 198.51.7.0 255.255.255.0\npush \"route 10.97.1.0 255.255.255.0\"\n",
        ),
        ("mallory", "disable\n"),
        ("broken", "nonsense\n"),
        ("DEFAULT", "push-reset\npush \"route 10.97.3.0 255.255.255.0\"\n"),
    ] {
        fs::write(ccd.join(name), text).unwrap();
    }
    let lines = "client-config-dir ccd\nroute 198.51.7.0 255.255.255.0\npush \"route 10.97.2.0 255.255.255.0\"\n";
    bob.ok(&["up", &scene.file_of_server(&format!("{SUBNET}{lines}"))]);
    let address = ["address", "add", "198.51.7.1/32", "dev", "lo"];
    assert!(alice.command("ip").args(address).status().unwrap().success());
    let guest = Guest::connected(&scene, alice, "alice", REMOTE);
    assert!(pings(bob, "10.29.41.77", 1000) && pings(bob, "198.51.7.1", 1000), "{}\n{}", guest.log(), bob.log());
    let log = guest.log();
    assert!(log.contains("10.97.1.0") && log.contains("10.97.2.0") && !log.contains("10.97.3.0"), "{log}");
    assert_eq!(scene.guests()[0]["networks"][0], "198.51.7.0/24");
    // Two at a time have no network.
    drop(guest);
    Guest::new(&scene, alice, "mallory", REMOTE).says("AUTH_FAILED");
    Guest::new(&scene, alice, "broken", REMOTE).says("AUTH_FAILED");
    let trouble = bob.status()["notes"].to_string();
    assert!(trouble.contains("ccd/broken:1"), "{trouble}");
    // Neither mallory's file nor one outside of the directory: that of all.
    let sly = Guest::connected(&scene, alice, "../ccd/mallory", REMOTE);
    let log = sly.log();
    assert!(log.contains("10.97.3.0") && !log.contains("10.97.2.0"), "{log}");
}

#[test]
fn clients_reach_each_other_through_the_server_only_where_it_says_so() {
    let scene = Scene::serving(SUBNET);
    let carol = scene.world.third();
    for (lines, reach) in [("", false), ("client-to-client\n", true)] {
        let bob = scene.bob();
        bob.ok(&["down", &bob.tunnel]);
        bob.ok(&["up", &scene.file_of_server(&format!("{SUBNET}{lines}"))]);
        let alice = Guest::connected(&scene, scene.alice(), "alice", REMOTE);
        let other = Guest::connected(&scene, &carol, "carol", &REMOTE.replace("192.0.2.2", "203.0.113.2"));
        assert!(pings(&carol, super::INSIDE, 100) && pings(scene.alice(), super::INSIDE, 100), "{}", alice.log());
        for size in [0, 1400] {
            let one = ["-n", "-q", "-c", "2", "-i", "0.1", "-W", "1", "-s", &size.to_string(), "10.29.41.2"];
            let is_there = carol.command("ping").args(one).output().unwrap().status.success();
            assert_eq!(is_there, reach, "{size} bytes\n{}", other.log());
        }
        let apart = scene.bob().status()["drops"]["apart"].as_u64().unwrap_or(0);
        assert_eq!(apart == 0, reach);
        if reach {
            super::transfers::transfers(&carol, scene.bob());
        }
    }
}

/// The program knows one password, so whoever renews keys with something else has a token.
#[test]
fn a_program_checks_passwords_and_tokens_take_their_place() {
    let lines = "script-security 2\nauth-user-pass-verify who.sh via-file\nverify-client-cert none\nusername-as-common-name\n\
                 auth-gen-token 600\n";
    let scene = Scene::serving(&format!("{SUBNET}{lines}"));
    let (alice, bob) = (scene.alice(), scene.bob());
    fs::write(alice.dir.join("right"), "alice\nopen sesame\n").unwrap();
    fs::write(alice.dir.join("wrong"), "alice\nopen barley\n").unwrap();
    let options = |login: &str| format!("{REMOTE} --auth-user-pass DIR/{login} --reneg-sec 3 --explicit-exit-notify 1");
    Guest::without_papers(&scene, alice, "wrong", &options("wrong")).says("AUTH_FAILED");
    Guest::new(&scene, alice, "nobody", REMOTE).says("AUTH_FAILED");
    assert_eq!(bob.status()["openvpn_server"]["refused"], 2);
    let guest = Guest::without_papers(&scene, alice, "right", &options("right")).once_connected(&scene);
    assert_eq!(scene.guests()[0]["name"], "alice");
    eventually("keys are renewed twice", || {
        assert!(pings(alice, super::INSIDE, 500), "{}\n{}", guest.log(), bob.log());
        scene.guests()[0]["renewals"].as_u64() >= Some(2)
    });
    guest.end();
    eventually("it has left", || scene.guests().is_empty());
    assert!(!bob.log().contains("sesame") && !bob.log().contains("barley"), "a password is in the log");
    assert_eq!(
        fs::read_dir(bob.dir.join("run/scratch").join(&bob.tunnel)).unwrap().count(),
        0,
        "nothing of a login is left"
    );
}

#[test]
fn a_client_whose_certificate_is_withdrawn_goes_and_stays_outside() {
    let scene = Scene::with(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (alice, bob) = (scene.alice(), scene.bob());
    let gone = Guest::new(&scene, alice, "gone", "--remote 192.0.2.2 1 --proto udp");
    let words = ["x509", "-noout", "-serial", "-in"];
    let said = Command::new("openssl").args(words).arg(alice.dir.join("gone.crt")).output().unwrap();
    let serial = String::from_utf8(said.stdout).unwrap().trim().trim_start_matches("serial=").to_owned();
    let serial: Vec<u8> =
        (0..serial.len()).step_by(2).map(|n| u8::from_str_radix(&serial[n..n + 2], 16).unwrap()).collect();
    let [cert, key] = ["gone.crt", "gone.key"].map(|name| fs::read(alice.dir.join(name)).unwrap());
    drop(gone);
    let list = |serials: &[&[u8]]| {
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&scene.papers.authority).unwrap().pem().unwrap()
    };
    fs::write(bob.dir.join("crl.pem"), list(&[])).unwrap();
    bob.ok(&["up", &scene.file_of_server(&format!("{SUBNET}crl-verify crl.pem\n"))]);
    let other = Guest::connected(&scene, alice, "alice", REMOTE);
    assert!(pings(alice, super::INSIDE, 100), "{}", other.log());
    for (name, bytes) in [("kept.crt", cert), ("kept.key", key)] {
        fs::write(alice.dir.join(name), bytes).unwrap();
    }
    let options = format!("{REMOTE} --cert DIR/kept.crt --key DIR/kept.key");
    let kept = Guest::without_papers(&scene, alice, "kept", &options).once_connected(&scene);
    // Half a list is none, and what was known before still counts.
    fs::write(bob.dir.join("crl.pem"), &list(&[&serial])[..300]).unwrap();
    eventually("it is said", || bob.status()["notes"].to_string().contains("crl.pem (`crl-verify`)"));
    assert_eq!(scene.guests().len(), 2);
    // As OpenVPN's administrators do it: nobody is told.
    fs::write(bob.dir.join("new.pem"), list(&[&serial])).unwrap();
    fs::rename(bob.dir.join("new.pem"), bob.dir.join("crl.pem")).unwrap();
    eventually("who is in with it is told so", || kept.log().contains("AUTH_FAILED"));
    eventually("and is out", || scene.guests().len() == 1);
    assert!(!bob.status()["notes"].to_string().contains("crl.pem"), "{}", bob.status());
    assert!(bob.ok(&["reload", &bob.tunnel]).contains("Nothing in the file differs"));
    Guest::without_papers(&scene, alice, "kept", &options).says("alert");
    assert!(bob.log().contains("revoked"), "{}", bob.log());
    assert!(pings(alice, super::INSIDE, 100), "{}", other.log());
    // The same by the names of a directory.
    drop(other);
    bob.ok(&["down", &bob.tunnel]);
    fs::create_dir(bob.dir.join("withdrawn")).unwrap();
    bob.ok(&["up", &scene.file_of_server(&format!("{SUBNET}crl-verify withdrawn dir\n"))]);
    let kept = Guest::without_papers(&scene, alice, "kept", &options).once_connected(&scene);
    fs::write(bob.dir.join("withdrawn").join(decimal(&serial)), "").unwrap();
    eventually("who is in with it is told so", || kept.log().contains("AUTH_FAILED"));
    Guest::without_papers(&scene, alice, "kept", &options).says("alert");
}

fn decimal(number: &[u8]) -> String {
    let mut digits = vec![0_u32];
    for byte in number {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            (*digit, carry) = (carry % 10, carry / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}

//! Our client against the real server.

use std::net::TcpListener;
use std::time::Duration;

use adit_lab::poll;
use adit_openvpn::{
    Cipher, Client, ClientChange, ClientConfig, ClientEvent, ClientKey, ControlWrap, Digest, Direction, Framing,
    MssFix, PeerRules, Pushed, StaticKey, Times, TlsSettings,
};
use adit_protocol::{Path, Protocol as _};

use crate::driver::{Driver, now};
use crate::scene::{self, INSIDE, SERVER, Scene};

/// What most tests have: the server's certificate checked, a certificate of our own.
fn config(scene: &Scene) -> ClientConfig {
    let paper = scene.papers.client();
    ClientConfig {
        remotes: vec![Path::to(SERVER.parse().unwrap()).into()],
        tls: TlsSettings {
            certificates: paper.chain(),
            key: Some(paper.key()),
            peer: PeerRules { authorities: vec![scene.papers.authority()], role_stated: true, ..PeerRules::default() },
            ..TlsSettings::default()
        },
        ..ClientConfig::default()
    }
}

fn start(scene: &Scene, config: ClientConfig) -> Driver<Client> {
    let client = Client::new(config, [7; 32], now()).unwrap();
    Driver::new(client, scene.socket())
}

/// Waits for the settings.
#[track_caller]
fn connected(scene: &Scene, driver: &mut Driver<Client>) -> Pushed {
    let found = driver.until("settings of the server", |driver| {
        driver.events.drain(..).find_map(|event| match event {
            ClientEvent::Connected(pushed) => Some(Ok(*pushed)),
            ClientEvent::Ended(why) => Some(Err(why)),
            ClientEvent::Connecting(_) | ClientEvent::Renewed | ClientEvent::Updated(_) | ClientEvent::Info(_) => None,
        })
    });
    found.unwrap_or_else(|why| panic!("{why}\n{}", scene.log()))
}

/// An echo request from us to the server's inner address.
fn echo(from: [u8; 4], number: u16, len: usize) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x41, 0x44];
    icmp.extend(number.to_be_bytes());
    icmp.resize(8 + len, 0x5a);
    let sum = scene::checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let mut packet = vec![0x45, 0];
    packet.extend((20 + icmp.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 1, 0, 0]);
    packet.extend(from);
    packet.extend(INSIDE);
    let sum = scene::checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(icmp);
    packet
}

/// Echo requests of several sizes come back.
#[track_caller]
fn pings(driver: &mut Driver<Client>, pushed: &Pushed) {
    let from = pushed.address4.unwrap().0.octets();
    for (number, len) in (1..).zip([0, 56, 500, 1400, 1472]) {
        driver.until("an echo", |driver| {
            let answer =
                |packet: &Vec<u8>| packet[20] == 0 && packet[26..28] == [0, number] && packet.len() == 28 + len;
            if driver.packets.drain(..).any(|packet| answer(&packet)) {
                return Some(());
            }
            driver.send(&echo(from, number.into(), len));
            None
        });
    }
}

/// The whole story: connect, echo, new keys while echoes go on, goodbye.
#[track_caller]
fn story(scene: &Scene, config: ClientConfig) -> Pushed {
    let mut driver = start(scene, config);
    let pushed = connected(scene, &mut driver);
    pings(&mut driver, &pushed);
    for _ in 0..2 {
        driver.core.apply(now(), ClientChange::Renegotiate);
        driver.until("new keys", |driver| {
            let renewed = driver.events.drain(..).any(|event| event == ClientEvent::Renewed);
            renewed.then_some(())
        });
        pings(&mut driver, &pushed);
    }
    driver.core.apply(now(), ClientChange::Disconnect);
    poll::until("the server hears the goodbye", Duration::from_secs(20), || {
        driver.turn();
        let log = scene.log();
        (log.contains("Delayed exit") || log.contains("client-instance exiting")).then_some(())
    });
    pushed
}

#[test]
fn tls_crypt_with_aes_256_gcm_and_keys_from_tls() {
    let mut scene = Scene::new();
    let key = scene.key("secret", "tc.key", "");
    scene.serve("--tls-crypt DIR/tc.key");
    let wrap = ControlWrap::TlsCrypt(StaticKey::parse(&key).unwrap());
    let pushed = story(&scene, ClientConfig { wraps: vec![wrap], ..config(&scene) });
    assert_eq!(pushed.cipher, Some(Cipher::Aes256Gcm));
    assert!(pushed.exported_keys && pushed.dynamic_envelope && pushed.control_exit, "{pushed:?}");
}

#[test]
fn tls_crypt_v2_with_a_key_that_openvpn_wrapped() {
    for flag in ["", "force-cookie"] {
        let mut scene = Scene::new();
        scene.key("tls-crypt-v2-server", "v2.key", "");
        let server = format!("--tls-crypt-v2 {}", scene.path("v2.key"));
        let key = scene.key("tls-crypt-v2-client", "c.key", &server);
        scene.serve(&format!("--tls-crypt-v2 DIR/v2.key {flag}"));
        let wrap = ControlWrap::TlsCryptV2(ClientKey::parse(&key).unwrap());
        story(&scene, ClientConfig { wraps: vec![wrap], ..config(&scene) });
    }
}

#[test]
fn tls_auth_in_every_direction_with_several_digests() {
    for (digest, server, direction) in [
        (Digest::Sha1, " 0", Some(Direction::Inverse)),
        (Digest::Sha256, " 1", Some(Direction::Normal)),
        (Digest::Sha512, "", None),
    ] {
        let mut scene = Scene::new();
        let key = scene.key("secret", "ta.key", "");
        scene.serve(&format!("--tls-auth DIR/ta.key{server} --auth {digest}"));
        let wrap = ControlWrap::TlsAuth { key: StaticKey::parse(&key).unwrap(), digest, direction };
        story(&scene, ClientConfig { wraps: vec![wrap], digest, ..config(&scene) });
    }
}

#[test]
fn no_envelope_and_every_cipher_of_the_data_channel() {
    for cipher in Cipher::ALL {
        let mut scene = Scene::new();
        scene.serve(&format!("--data-ciphers {cipher} --auth SHA256"));
        let config = ClientConfig { ciphers: vec![cipher], digest: Digest::Sha256, ..config(&scene) };
        let pushed = story(&scene, config);
        assert_eq!(pushed.cipher, Some(cipher));
    }
}

#[test]
fn tls_1_2_alone() {
    let mut scene = Scene::new();
    scene.serve("--tls-version-max 1.2");
    story(&scene, config(&scene));
}

#[test]
fn a_server_that_renews_keys_every_few_seconds() {
    let mut scene = Scene::new();
    scene.serve("--reneg-sec 3 3");
    let times = Times { renegotiate: Duration::ZERO, ..Times::default() };
    let mut driver = start(&scene, ClientConfig { times, ..config(&scene) });
    let pushed = connected(&scene, &mut driver);
    let mut renewed = 0;
    driver.until("three renewals under traffic", |driver| {
        pings(driver, &pushed);
        renewed += driver.events.drain(..).filter(|event| *event == ClientEvent::Renewed).count();
        (renewed >= 3).then_some(())
    });
}

#[test]
fn packets_in_pieces_whatever_they_are_sealed_with() {
    for (cipher, framing, options) in [
        (Cipher::Aes256Gcm, Framing::None, ""),
        (Cipher::ChaCha20Poly1305, Framing::StubV2, "--compress stub-v2"),
        (Cipher::Aes128Gcm, Framing::Lzo, "--comp-lzo no"),
        (Cipher::Aes256Cbc, Framing::Swap, "--compress stub"),
    ] {
        let mut scene = Scene::new();
        scene.serve(&format!("--data-ciphers {cipher} --fragment 400 --mssfix 0 {options}"));
        let config = ClientConfig {
            ciphers: vec![cipher],
            framing,
            fragment: Some(500),
            digest: Digest::Sha1,
            ..config(&scene)
        };
        let mut driver = start(&scene, config);
        let pushed = connected(&scene, &mut driver);
        pings(&mut driver, &pushed);
        let (came, went) = driver.longest;
        assert!((300..=400).contains(&came) && (400..=500).contains(&went), "{cipher}: {came} {went}");
    }
}

/// What a server's kernel answers to the beginning of a TCP connection, as it comes out of the tunnel.
fn segments(driver: &mut Driver<Client>, pushed: &Pushed) -> u16 {
    let from = pushed.address4.unwrap().0.octets();
    let mut tcp =
        vec![0x9c, 0x40, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x05, 0xb4];
    let addresses = [from, INSIDE].concat();
    let sum = scene::checksum(&[addresses.as_slice(), &[0, 6, 0, 24], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum);
    let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(addresses);
    let sum = scene::checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(tcp);
    driver.until("the answer of the server's kernel", |driver| {
        driver.send(&packet);
        let answer = driver.packets.drain(..).find(|packet| packet[9] == 6 && packet[33] == 0x12)?;
        assert_eq!(answer[40..42], [2, 4], "the size comes first");
        Some(u16::from_be_bytes([answer[42], answer[43]]))
    })
}

#[test]
fn segments_of_tcp_are_clamped_as_openvpn_does_it() {
    for (cipher, theirs, ours) in [
        (Cipher::Aes256Gcm, "", MssFix::default()),
        (Cipher::Aes256Gcm, "--mssfix 1300", MssFix::Datagram { size: 1300, with_headers: false }),
        (Cipher::Aes256Gcm, "--mssfix 1300 mtu", MssFix::Datagram { size: 1300, with_headers: true }),
        (Cipher::Aes256Gcm, "--mssfix 1300 fixed", MssFix::Inside(1300)),
        (Cipher::Aes256Cbc, "--mssfix 1300", MssFix::Datagram { size: 1300, with_headers: false }),
    ] {
        let mut said = vec![];
        for (server, mssfix) in [(theirs, MssFix::Off), ("--mssfix 0", ours), ("--mssfix 0", MssFix::Off)] {
            let mut scene = Scene::new();
            scene.serve(&format!("--data-ciphers {cipher} {server}"));
            let mut driver = start(&scene, ClientConfig { mssfix, ciphers: vec![cipher], ..config(&scene) });
            let pushed = connected(&scene, &mut driver);
            let listener = scene.world.bob.within(|| TcpListener::bind("10.29.41.1:5001").unwrap());
            said.push(segments(&mut driver, &pushed));
            drop(listener);
        }
        assert_eq!(said[0], said[1], "{cipher} {theirs:?}");
        assert_eq!(said[2], 1460, "without it");
        assert!(said[0] < 1460, "{cipher} {theirs:?}: {said:?}");
    }
}

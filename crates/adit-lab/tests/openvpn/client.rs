//! Our client against the real server.

use std::time::Duration;

use adit_lab::poll;
use adit_openvpn::{
    Cipher, Client, ClientChange, ClientConfig, ClientEvent, ClientKey, ControlWrap, Digest, Direction, PeerRules,
    Pushed, StaticKey, Times, TlsSettings,
};
use adit_protocol::{Path, Protocol as _};

use crate::driver::{Driver, now};
use crate::scene::{self, INSIDE, SERVER, Scene};

/// What most tests have: the server's certificate checked, a certificate of our own.
fn config(scene: &Scene) -> ClientConfig {
    let paper = scene.papers.client();
    ClientConfig {
        remotes: vec![Path::to(SERVER.parse().unwrap())],
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
    let pushed = story(&scene, ClientConfig { wrap, ..config(&scene) });
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
        story(&scene, ClientConfig { wrap, ..config(&scene) });
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
        story(&scene, ClientConfig { wrap, digest, ..config(&scene) });
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

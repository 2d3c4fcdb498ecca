//! The real client against our server.

use std::process::{Child, Command, Stdio};

use adit_openvpn::{
    Answer, Cipher, ClientSettings, Digest, Direction, Framing, Metadata, PeerRules, Server, ServerChange,
    ServerConfig, ServerEvent, ServerKey, ServerWrap, SharedWrap, StaticKey, TlsSettings,
};
use adit_protocol::{Protocol as _, Secret};

use crate::driver::{Driver, now};
use crate::scene::{Scene, checksum};

fn config(scene: &Scene, wrap: ServerWrap) -> ServerConfig {
    let paper = scene.papers.server();
    let peer = PeerRules { authorities: vec![scene.papers.authority()], role_stated: true, ..PeerRules::default() };
    let tls = TlsSettings { certificates: paper.chain(), key: Some(paper.key()), peer, ..TlsSettings::default() };
    ServerConfig { wrap, tls, ..ServerConfig::default() }
}

fn keyed(shared: SharedWrap) -> ServerWrap {
    ServerWrap::Keyed { shared: Some(Box::new(shared)), clients: None }
}

/// Our server, which lets everybody in and answers echo requests in the place of an inner host.
struct Served {
    driver: Driver<Server>,
    joined: usize,
    renewed: usize,
    left: usize,
    refuse: Option<&'static str>,
}

impl Served {
    fn new(scene: &Scene, config: ServerConfig) -> Self {
        let server = Server::new(config, [8; 32], now()).unwrap();
        let driver = Driver::new(server, scene.server_socket());
        Self { driver, joined: 0, renewed: 0, left: 0, refuse: None }
    }

    fn look(&mut self) {
        for event in std::mem::take(&mut self.driver.events) {
            match event {
                ServerEvent::Ask(request) => {
                    assert_eq!(request.common_name.as_deref(), Some("client"));
                    let answer = self.refuse.map_or_else(accept, |why| Answer::Refuse(why.into()));
                    self.driver.core.apply(now(), ServerChange::Answer(request.client, answer));
                }
                ServerEvent::Joined(_) => self.joined += 1,
                ServerEvent::Renewed(_) => self.renewed += 1,
                ServerEvent::Left(..) => self.left += 1,
                ServerEvent::Moved(..) | ServerEvent::Said(..) | ServerEvent::Carried(..) => {}
            }
        }
        for packet in std::mem::take(&mut self.driver.packets) {
            if packet[0] >> 4 == 4 && packet[9] == 1 && packet[20] == 8 {
                self.driver.send(&answered(packet));
            }
        }
    }

    #[track_caller]
    fn until(&mut self, scene: &Scene, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = std::time::Instant::now() + adit_lab::poll::PATIENCE;
        while !done(self) {
            assert!(std::time::Instant::now() < end, "in vain: {what}\n{}", scene.log());
            self.driver.turn();
            self.look();
        }
    }

    /// Alice's kernel sends echo requests through the tunnel; all are answered.
    #[track_caller]
    fn pings(&mut self, scene: &Scene, count: usize, size: usize) {
        let mut ping = ping(scene, count, size);
        let mut code = None;
        self.until(scene, "the end of ping", |_| {
            code = ping.try_wait().unwrap();
            code.is_some()
        });
        assert!(code.unwrap().success(), "{size} bytes: {code:?}\n{}", scene.log());
    }
}

fn accept() -> Answer {
    Answer::Accept(Box::new(ClientSettings {
        address4: Some(([10, 29, 41, 2].into(), [255, 255, 255, 0].into())),
        options: vec!["topology subnet".into(), "route-gateway 10.29.41.1".into()],
        ..ClientSettings::default()
    }))
}

fn ping(scene: &Scene, count: usize, size: usize) -> Child {
    let line =
        format!("ip netns exec {} ping -n -q -i 0.05 -W 5 -c {count} -s {size} 10.29.41.1", scene.world.alice.name());
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// An echo request, answered.
fn answered(mut packet: Vec<u8>) -> Vec<u8> {
    let (source, destination) = (packet[12..16].to_vec(), packet[16..20].to_vec());
    packet[12..16].copy_from_slice(&destination);
    packet[16..20].copy_from_slice(&source);
    packet[20..24].copy_from_slice(&[0; 4]);
    let sum = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum);
    packet
}

/// The client connects, echoes, renews keys by itself under traffic, says goodbye.
#[track_caller]
fn story(scene: &mut Scene, config: ServerConfig, options: &str) {
    let mut served = Served::new(scene, config);
    scene.connect(&format!("{options} --reneg-sec 4"));
    served.until(scene, "the client has joined", |served| served.joined == 1);
    served.until(scene, "the client is ready", |_| scene.log().contains("Initialization Sequence Completed"));
    for size in [0, 56, 1400, 1472] {
        served.pings(scene, 5, size);
    }
    while served.renewed < 2 {
        served.pings(scene, 20, 500);
    }
    scene.end();
    served.until(scene, "a goodbye", |served| served.left == 1);
}

#[test]
fn tls_crypt() {
    let mut scene = Scene::new();
    let key = scene.key("secret", "tc.key", "");
    let wrap = keyed(SharedWrap::TlsCrypt(StaticKey::parse(&key).unwrap()));
    let config = config(&scene, wrap);
    story(&mut scene, config, "--tls-crypt DIR/tc.key");
}

#[test]
fn tls_crypt_v2_with_a_key_that_we_wrapped() {
    let mut scene = Scene::new();
    let server = || ServerKey::new(Secret::new(std::array::from_fn(|i| i as u8 ^ 0x5a)));
    let key = StaticKey::new(Secret::new(std::array::from_fn(|i| i as u8 ^ 0x33)));
    let client = server().wrap(key, &Metadata::User(b"alice's laptop".to_vec())).unwrap();
    scene.write("c.key", &client.emit());
    let config = config(&scene, ServerWrap::Keyed { shared: None, clients: Some(Box::new(server())) });
    story(&mut scene, config, "--tls-crypt-v2 DIR/c.key");
}

#[test]
fn tls_auth() {
    for (digest, direction, option) in [
        (Digest::Sha1, Some(Direction::Normal), " 1"),
        (Digest::Sha512, None, ""),
        (Digest::Sha384, Some(Direction::Inverse), " 0"),
    ] {
        let mut scene = Scene::new();
        let key = scene.key("secret", "ta.key", "");
        let wrap = keyed(SharedWrap::TlsAuth { key: StaticKey::parse(&key).unwrap(), digest, direction });
        let config = config(&scene, wrap);
        story(&mut scene, config, &format!("--tls-auth DIR/ta.key{option} --auth {digest}"));
    }
}

#[test]
fn no_envelope_and_every_cipher_of_the_data_channel() {
    for cipher in Cipher::ALL {
        let mut scene = Scene::new();
        let config =
            ServerConfig { ciphers: vec![cipher], digest: Digest::Sha256, ..config(&scene, ServerWrap::Plain) };
        story(&mut scene, config, &format!("--data-ciphers {cipher} --auth SHA256"));
    }
}

#[test]
fn whoever_is_refused_reads_why() {
    let mut scene = Scene::new();
    let mut served = Served::new(&scene, config(&scene, ServerWrap::Plain));
    served.refuse = Some("come back tomorrow");
    scene.connect("");
    served.until(&scene, "the words", |_| scene.log().contains("AUTH_FAILED,come back tomorrow"));
    assert_eq!(served.joined, 0);
}

#[test]
fn packets_in_pieces_with_the_real_client() {
    for (cipher, framing, options) in
        [(Cipher::Aes256Gcm, Framing::None, ""), (Cipher::Aes128Cbc, Framing::Lzo, "--comp-lzo no")]
    {
        let mut scene = Scene::new();
        let config =
            ServerConfig { ciphers: vec![cipher], framing, fragment: Some(500), ..config(&scene, ServerWrap::Plain) };
        let options = format!("--data-ciphers {cipher} --fragment 400 --mssfix 0 {options}");
        story(&mut scene, config, &options);
    }
}

//! Behind Debian's nginx, HAProxy and Caddy: their TLS, their errors; the tunnel is a call of gRPC that they pass on.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use adit_protocol::Secret;
use adit_transport::client::HttpsLink;
use adit_transport::concealed::SigningKey;
use adit_transport::config::{Front, Hello, HttpsClient, HttpsServer, Identity, Pin, Roots, Route, Site, User};
use adit_transport::server::{HttpsListener, ServerControl};
use adit_transport::shape::Settings;

use crate::programs::{PATH, Program};
use crate::world::{Dir, HOST, PAGE, Running, echo, free, said, there_and_back};

#[tokio::test]
async fn a_tunnel_through_nginx() {
    a_tunnel_through(Program::Nginx).await;
}

#[tokio::test]
async fn a_tunnel_through_haproxy() {
    a_tunnel_through(Program::Haproxy).await;
}

#[tokio::test]
async fn a_tunnel_through_caddy() {
    a_tunnel_through(Program::Caddy).await;
}

#[tokio::test]
async fn a_stranger_at_nginx_sees_a_site() {
    let world = a_stranger_at(Program::Nginx).await;
    assert!(world.curl("/", &[]).await.contains("server: nginx"));
    assert!(world.curl("/missing", &[]).await.contains("404 Not Found</h1>"));
}

/// HAProxy has no files: the pages are ours, through it.
#[tokio::test]
async fn a_stranger_at_haproxy_sees_a_site() {
    let world = a_stranger_at(Program::Haproxy).await;
    assert!(world.curl("/missing", &[]).await.contains("404 Not Found</h1>"));
}

#[tokio::test]
async fn a_stranger_at_caddy_sees_a_site() {
    let world = a_stranger_at(Program::Caddy).await;
    assert!(world.curl("/", &[]).await.to_ascii_lowercase().contains("server: caddy"));
}

/// A tunnel comes up, carries datagrams of any size both ways, and ends when its user is removed.
async fn a_tunnel_through(program: Program) {
    let world = World::start(program).await;
    let (mut link, _control) = HttpsLink::new(world.client(1));
    for len in [1, 148, 1400, 60_000] {
        there_and_back(&mut link, world.front, &vec![7; len]).await;
    }
    for n in 0..200_u32 {
        there_and_back(&mut link, world.front, &[&n.to_be_bytes()[..], &[1; 1000]].concat()).await;
    }
    assert_eq!(world.control.status().streams.values().sum::<usize>(), 1);
    world.control.set_users(vec![]);
    let ends = async {
        while !world.control.status().streams.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends");
}

/// Whoever has no token gets the pages of the front, and on the path of the tunnel the answer of the site behind.
async fn a_stranger_at(program: Program) -> World {
    let world = World::start(program).await;
    let page = world.curl("/", &[]).await;
    assert!(page.contains(PAGE.trim()) && page.contains("HTTP/2 200"), "{page}");
    assert!(world.curl("/missing", &[]).await.contains("HTTP/2 404"));
    let mut answers = Vec::new();
    for authorization in ["x: y", "authorization: Bearer AAAA", "authorization: Basic AAAA"] {
        let call = ["-X", "POST", "-H", "content-type: application/grpc", "-H", authorization];
        answers.push(world.curl(PATH, &call).await);
    }
    assert!(answers[0].contains("HTTP/2 405"), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    world
}

struct World {
    front: SocketAddr,
    control: ServerControl,
    pin: Pin,
    _running: Running,
    _dir: Dir,
}

impl World {
    async fn start(program: Program) -> Self {
        let dir = Dir::new();
        let server = HttpsServer {
            listen: vec![([127, 0, 0, 1], 0).into()],
            front: Front::Behind { replays: Some(dir.path("used")) },
            site: Site::Directory(dir.path("site")),
            users: vec![user(1)],
            shape: Settings::default(),
        };
        let (listener, control) = HttpsListener::bind(server).await.unwrap();
        tokio::spawn(echo(listener));
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        dir.write("chain.pem", made.cert.pem());
        dir.write("key.pem", made.signing_key.serialize_pem());
        let pin = Pin::of(&rcgen::PublicKeyData::subject_public_key_info(&made.signing_key));
        let front = free();
        let running = program.start(&dir, front, control.listening()[0]).await;
        Self { front, control, pin, _running: running, _dir: dir }
    }

    fn client(&self, n: u8) -> HttpsClient {
        HttpsClient {
            host: HOST.into(),
            port: self.front.port(),
            addresses: vec![self.front],
            pins: vec![self.pin],
            roots: Roots::PinOnly,
            hello: Hello::Plain,
            identity: Identity { seed: Secret::new([n; 32]), token_secret: Some(Secret::new([n; 32])) },
            route: Route::Grpc { path: PATH.into() },
            fwmark: 0,
            shape: Settings::default(),
            visit: true,
            cache: None,
        }
    }

    /// What curl sees, head and body, without the date.
    async fn curl(&self, path: &str, more: &[&str]) -> String {
        let port = self.front.port();
        let mut curl = curl(&format!("https://{HOST}:{port}{path}"));
        curl.args(["-sik", "--max-time", "20", "--resolve", &format!("{HOST}:{port}:127.0.0.1")]).args(more);
        let said = said(curl).await;
        said.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
    }
}

fn curl(url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.arg(url);
    curl
}

fn user(n: u8) -> User {
    let key = SigningKey::from_seed(&[n; 32]).unwrap().public_key();
    User::new(key, Some(Secret::new([n; 32])))
}

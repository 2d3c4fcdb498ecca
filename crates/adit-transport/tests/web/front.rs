//! Behind Debian's nginx: its TLS, its pages, its errors; the tunnel is a call of gRPC that it passes on.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use adit_protocol::Secret;
use adit_transport::client::HttpsLink;
use adit_transport::concealed::SigningKey;
use adit_transport::config::{Front, Hello, HttpsClient, HttpsServer, Identity, Pin, Roots, Route, Site, User};
use adit_transport::server::{HttpsListener, ServerControl};
use adit_transport::shape::Settings;

use crate::world::{Dir, HOST, PAGE, Running, echo, free, said, there_and_back};

/// A tunnel comes up through nginx, carries datagrams of any size both ways, and ends when its user is removed.
#[tokio::test]
async fn a_tunnel_through_nginx() {
    let world = World::start().await;
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

/// Whoever has no token gets nginx's pages, and on the path of the tunnel the answer of the site behind.
#[tokio::test]
async fn a_stranger_at_nginx_sees_a_site() {
    let world = World::start().await;
    let page = world.curl("/", &[]).await;
    assert!(page.contains(PAGE.trim()) && page.contains("server: nginx"), "{page}");
    assert!(world.curl("/missing", &[]).await.contains("404 Not Found</h1>"));
    let mut answers = Vec::new();
    for authorization in ["x: y", "authorization: Bearer AAAA", "authorization: Basic AAAA"] {
        let call = ["-X", "POST", "-H", "content-type: application/grpc", "-H", authorization];
        answers.push(world.curl("/sync.Files/Watch", &call).await);
    }
    assert!(answers[0].contains("HTTP/2 405"), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

struct World {
    front: SocketAddr,
    control: ServerControl,
    pin: Pin,
    _nginx: Running,
    _dir: Dir,
}

impl World {
    async fn start() -> Self {
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
        let configuration = dir.write("nginx.conf", configuration(&dir, front, control.listening()[0]));
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg(dir.path("error.log")).arg("-c").arg(configuration).arg("-p").arg(dir.path(""));
        let nginx = Running::start(&mut command, &dir.path("nginx.out"), front).await;
        Self { front, control, pin, _nginx: nginx, _dir: dir }
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
            route: Route::Grpc { path: "/sync.Files/Watch".into() },
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

/// What an owner adds to a site is the second `location`.
fn configuration(dir: &Dir, front: SocketAddr, back: SocketAddr) -> String {
    let root = dir.path("site").display().to_string();
    let (chain, key) = (dir.path("chain.pem"), dir.path("key.pem"));
    let (pid, temporary) = (dir.path("nginx.pid"), dir.path("temporary"));
    format!(
        "daemon off; master_process off; pid {};
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};
            server {{
                listen {front} ssl http2;
                ssl_certificate {}; ssl_certificate_key {};
                root {root};
                location / {{ }}
                location /sync.Files/ {{
                    grpc_pass grpc://{back};
                    client_max_body_size 0;
                    grpc_read_timeout 1h; grpc_send_timeout 1h; client_body_timeout 1h;
                }}
            }}
        }}",
        pid.display(),
        chain.display(),
        key.display(),
        temp = temporary.display(),
    )
}

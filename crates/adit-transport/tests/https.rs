//! Both halves of the HTTPS carrier on loopback: the real client against the real server, with an observer in between.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use adit_engine::{DatagramIo, MAX_READ, RecvBatch, SendArena, Want};
use adit_protocol::{Path, Secret};
use adit_transport::client::{HttpsControl, HttpsLink, HttpsState};
use adit_transport::concealed::SigningKey;
use adit_transport::config::{
    Certificates, Front, Hello, HttpsClient, HttpsServer, Identity, Pin, Roots, Route, Site, User,
};
use adit_transport::server::{HttpsListener, ServerControl};
use adit_transport::shape::{Level, MachineSettings, PaddingMachine, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const HOST: &str = "site.test";
const SEED: [u8; 32] = [7; 32];
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Datagrams of all sizes travel both ways, and come back as they were.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_travel_both_ways() {
    let server = Server::start().await;
    let (mut link, control) = HttpsLink::new(server.client(server.address()));
    for len in [1, 32, 148, 1452, 9000, 65_507] {
        let datagram = vec![len as u8; len];
        assert_eq!(ask(&mut link, &datagram).await, datagram, "{len} bytes");
    }
    let status = control.status();
    assert_eq!((status.state, status.server), (HttpsState::Up, Some(server.address())));
    assert_eq!((status.connections, &status.failure), (1, &None));
    assert!(status.sent > 76_000 && status.received > 76_000, "{status:?}");
}

/// The page, its parts and its icon are loaded before the tunnel; the next time only what has changed is.
#[tokio::test(flavor = "multi_thread")]
async fn the_site_is_visited_first_and_then_remembered() {
    let server = Server::start().await;
    let cache = Dir::new("cache");
    let mut received = Vec::new();
    for _ in 0..2 {
        let config = HttpsClient { visit: true, cache: Some(cache.0.clone()), ..server.client(server.address()) };
        let (mut link, control) = HttpsLink::new(config);
        assert_eq!(ask(&mut link, b"hello").await, b"hello");
        received.push(control.status().received);
    }
    let remembered = std::fs::read_to_string(cache.0.join(format!("{HOST}-{}.toml", server.address().port()))).unwrap();
    for path in ["\"/\"", "/style.css", "/picture.png"] {
        assert!(remembered.contains(path), "{remembered}");
    }
    // The style sheet and the picture were loaded once.
    assert!(received[0] > 20_000, "{received:?}");
    assert!(received[1] < received[0] / 4, "{received:?}");
}

/// A key that is not the pinned one: said in words, and nothing but the hello was sent, to this day.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_gets_nothing_but_the_hello() {
    let server = Server::start().await;
    let relay = Relay::start(server.address()).await;
    let config = HttpsClient { pins: vec![Pin::of(b"another key")], ..server.client(relay.address) };
    let (mut link, control) = HttpsLink::new(config);
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    let silence = timeout(Duration::from_secs(5), exchange(&mut link, b"hello", &mut batch)).await;
    assert!(silence.is_err());
    assert_eq!(control.status().state, HttpsState::Stopped);
    let failure = control.status().failure.unwrap();
    assert!(failure.contains("pin"), "{failure}");
    assert_eq!(relay.connections(), 1);
    // A hello with a key share of ML-KEM, and an alert.
    assert!((1300..1700).contains(&relay.upstream()), "{} bytes", relay.upstream());
    assert_eq!(control.status().sent, 0);
}

/// Make before break: a second connection takes over, and every datagram arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_connection_loses_nothing() {
    let server = Server::start().await;
    let relay = Relay::start(server.address()).await;
    let (mut link, control) = HttpsLink::new(server.client(relay.address));
    assert_eq!(ask(&mut link, b"begin").await, b"begin");
    control.renew();
    let mut number = 0_u32;
    while control.status().connections < 2 {
        number += 1;
        assert_eq!(ask(&mut link, &number.to_be_bytes()).await, number.to_be_bytes());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for number in 0..100_u32 {
        assert_eq!(ask(&mut link, &number.to_be_bytes()).await, number.to_be_bytes());
    }
    assert_eq!(relay.connections(), 2);
    assert_eq!(control.status().failure, None);
    assert!(number > 10, "{number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_made_again() {
    let server = Server::start().await;
    let relay = Relay::start(server.address()).await;
    let (mut link, control) = HttpsLink::new(server.client(relay.address));
    assert_eq!(ask(&mut link, b"one").await, b"one");
    relay.cut();
    until(&control, |control| control.status().failure.is_some()).await;
    assert_eq!(ask(&mut link, b"two").await, b"two");
    assert_eq!(control.status().connections, 2);
}

/// Somebody says that the network has changed, and the old connection no longer answers: it is replaced without waiting out
/// the stall.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_with_its_network_is_replaced_at_once() {
    let server = Server::start().await;
    let relay = Relay::start(server.address()).await;
    let (mut link, control) = HttpsLink::new(server.client(relay.address));
    assert_eq!(ask(&mut link, b"one").await, b"one");
    relay.freeze_old();
    control.network_changed();
    until(&control, |control| control.status().connections == 2).await;
    assert_eq!(ask(&mut link, b"two").await, b"two");
}

/// A user that the server does not know sees the site, and is told what that may mean.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_tunnel_and_is_told_so() {
    let server = Server::start().await;
    server.control.set_users(vec![]);
    let (_link, control) = HttpsLink::new(server.client(server.address()));
    until(&control, |control| control.status().failure.is_some()).await;
    let failure = control.status().failure.unwrap();
    assert!(failure.contains("as to a stranger") && failure.contains("key"), "{failure}");
    assert_eq!(control.status().connections, 0);
}

/// A bulk of datagrams: none is lost on the way up, where the engine is made to wait, and all arrive in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_of_datagrams_arrives_in_order() {
    let server = Server::start().await;
    let (mut link, _control) = HttpsLink::new(server.client(server.address()));
    assert_eq!(ask(&mut link, b"begin").await, b"begin");
    let (mut sent, mut got) = (0_u32, Vec::new());
    let mut arena = SendArena::with_capacity(256 << 10);
    let mut batch = RecvBatch::with_capacity(1 << 20);
    const COUNT: u32 = 20_000;
    while got.len() < COUNT as usize {
        // So many under way, that the echo of the server need not drop any.
        while sent < COUNT && sent - (got.len() as u32) < 300 {
            let fill = |bytes: &mut [u8]| {
                bytes.fill(0);
                bytes[..4].copy_from_slice(&sent.to_be_bytes());
            };
            if arena.push_with(there(), 0, 1400, fill).is_err() {
                break;
            }
            sent += 1;
        }
        let want = Want { read: true, write: !arena.is_empty() };
        let ready = timeout(PATIENCE, link.ready(want)).await.unwrap().unwrap();
        if ready.write {
            link.try_send(&mut arena).unwrap();
        }
        if ready.read {
            link.try_recv(&mut batch).unwrap();
            while let Some(datagram) = batch.front() {
                assert_eq!(datagram.len(), 1400);
                got.push(u32::from_be_bytes(datagram[..4].try_into().unwrap()));
                batch.pop_front();
            }
        }
    }
    assert_eq!(got, (0..COUNT).collect::<Vec<_>>());
}

/// The machine of the documentation at both ends: a packet of padding for each of ours, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn machines_pad_both_ways_and_lose_nothing() {
    const COUNT: u64 = 60;
    let machines = MachineSettings::usual(&[shown_machine()]).unwrap();
    let mut totals = Vec::new();
    for machines in [None, Some(machines)] {
        let shape = Settings { machines, ..Settings::off() };
        let server = Server::start_with(shape.clone()).await;
        let (mut link, control) = HttpsLink::new(HttpsClient { shape, ..server.client(server.address()) });
        assert_eq!(ask(&mut link, b"begin").await, b"begin");
        for number in 0..COUNT {
            let datagram = [&number.to_be_bytes()[..], &[3; 600]].concat();
            assert_eq!(ask(&mut link, &datagram).await, datagram);
            // Longer than the machine takes to pad.
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let status = control.status();
        assert_eq!((status.connections, status.failure), (1, None));
        totals.push([status.sent, status.received]);
    }
    for way in [0, 1] {
        let more = totals[1][way] - totals[0][way];
        // A packet of padding is 512 bytes, in a frame and a record of its own; a busy machine may be late for some.
        let said = COUNT / 2 * 512..=(COUNT + 2) * (512 + 64);
        assert!(said.contains(&more), "{more} bytes more: {totals:?}");
    }
}

/// At the strong level datagrams wait for company, and none is lost or changes places.
#[tokio::test(flavor = "multi_thread")]
async fn strong_shaping_loses_nothing() {
    let shape = Level::Strong.settings();
    let server = Server::start_with(shape.clone()).await;
    let (mut link, _control) = HttpsLink::new(HttpsClient { shape, ..server.client(server.address()) });
    for len in [1, 148, 900, 1452, 9000, 65_507] {
        let datagram = vec![len as u8; len];
        assert_eq!(ask(&mut link, &datagram).await, datagram, "{len} bytes");
    }
    let (mut arena, mut batch, mut got) =
        (SendArena::with_capacity(64 << 10), RecvBatch::with_capacity(1 << 20), vec![]);
    for number in 0..100_u8 {
        arena.push(there(), 0, &[number; 100]).unwrap();
        link.try_send(&mut arena).unwrap();
    }
    while got.len() < 100 {
        let ready = timeout(PATIENCE, link.ready(Want { read: true, write: false })).await.unwrap().unwrap();
        if ready.read && link.try_recv(&mut batch).is_ok() {
            while let Some(datagram) = batch.front() {
                // Something before may have been answered twice.
                got.extend((datagram.len() == 100).then(|| datagram[0]));
                batch.pop_front();
            }
        }
    }
    assert_eq!(got, (0..100).collect::<Vec<_>>());
}

/// As `docs/shape.md` shows it.
fn shown_machine() -> PaddingMachine {
    let page = include_str!("../../../docs/shape.md");
    page.lines().find_map(|line| line.strip_prefix("HttpsMachine = ")).unwrap().parse().unwrap()
}

/// A server with a small site, and an engine that sends back what it gets.
struct Server {
    control: ServerControl,
    _site: Dir,
    echo: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    async fn start_with(shape: Settings) -> Self {
        let site = Dir::new("site");
        let page = "<link rel=stylesheet href=/style.css><img src=picture.png><p>Hello.";
        std::fs::write(site.0.join("index.html"), page).unwrap();
        std::fs::write(site.0.join("style.css"), noise(8000)).unwrap();
        std::fs::write(site.0.join("picture.png"), noise(20_000)).unwrap();
        let (listener, control) = HttpsListener::bind(HttpsServer {
            listen: vec![([127, 0, 0, 1], 0).into()],
            front: Front::Direct(Certificates::SelfSigned { names: vec![HOST.into()] }),
            site: Site::Directory(site.0.clone()),
            users: vec![user()],
            shape,
        })
        .await
        .unwrap();
        Self { control, _site: site, echo: tokio::spawn(echo(listener)) }
    }

    fn address(&self) -> SocketAddr {
        self.control.listening()[0]
    }

    /// A client that comes to this address.
    fn client(&self, address: SocketAddr) -> HttpsClient {
        HttpsClient {
            host: HOST.into(),
            port: address.port(),
            addresses: vec![address],
            pins: vec![self.control.pin().unwrap()],
            roots: Roots::PinOnly,
            hello: Hello::Plain,
            identity: Identity { seed: Secret::new(SEED), token_secret: None },
            route: Route::ConnectUdp { target: "adit".into(), port: 51_820 },
            fwmark: 0,
            shape: Settings::default(),
            visit: false,
            cache: None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.echo.abort();
    }
}

fn user() -> User {
    User::new(SigningKey::from_seed(&SEED).unwrap().public_key(), None)
}

async fn echo(mut listener: HttpsListener) {
    let mut batch = RecvBatch::with_capacity(1 << 20);
    let mut arena = SendArena::with_capacity(1 << 20);
    while listener.ready(Want { read: true, write: false }).await.is_ok() {
        match listener.try_recv(&mut batch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            result => result.unwrap(),
        }
        while let (Some(from), Some(datagram)) = (batch.front_path(), batch.front()) {
            if arena.push(from, 0, datagram).is_err() {
                listener.try_send(&mut arena).unwrap();
                continue;
            }
            batch.pop_front();
        }
        listener.try_send(&mut arena).unwrap();
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn there() -> Path {
    Path::to(([192, 0, 2, 1], 443).into())
}

/// Sends a datagram until an answer comes, as a protocol would, and gives the answer.
async fn ask(link: &mut HttpsLink, datagram: &[u8]) -> Vec<u8> {
    let mut batch = RecvBatch::with_capacity(1 << 20);
    let answer = async {
        loop {
            if timeout(Duration::from_secs(2), exchange(link, datagram, &mut batch)).await.is_err() {
                continue;
            }
            // An earlier one may have been answered twice.
            while let Some(found) = batch.front() {
                let found = found.to_vec();
                batch.pop_front();
                if found == datagram {
                    return found;
                }
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("no answer")
}

async fn exchange(link: &mut HttpsLink, datagram: &[u8], batch: &mut RecvBatch) {
    let mut arena = SendArena::with_capacity(70_000);
    arena.push(there(), 0, datagram).unwrap();
    while !arena.is_empty() {
        link.ready(Want { read: false, write: true }).await.unwrap();
        link.try_send(&mut arena).unwrap();
    }
    loop {
        link.ready(Want { read: true, write: false }).await.unwrap();
        match link.try_recv(batch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.unwrap(),
        }
    }
}

async fn until(control: &HttpsControl, mut holds: impl FnMut(&HttpsControl) -> bool) {
    let wait = async {
        while !holds(control) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{:?}", control.status()));
}

/// Somebody in between, who counts, cuts and freezes connections.
struct Relay {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    upstream: AtomicUsize,
    /// Connections up to this one are frozen.
    frozen: AtomicUsize,
    cut: AtomicBool,
}

impl Relay {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Seen>::default());
        let ours = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = 1 + ours.connections.fetch_add(1, Ordering::SeqCst);
                ours.cut.store(false, Ordering::SeqCst);
                let far = TcpStream::connect(server).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, Arc::clone(&ours), number, true));
                tokio::spawn(carry(far_in, near_out, Arc::clone(&ours), number, false));
            }
        });
        Self { address, seen }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Bytes that clients sent.
    fn upstream(&self) -> usize {
        self.seen.upstream.load(Ordering::SeqCst)
    }

    /// Closes the connections that there are when they next carry something.
    fn cut(&self) {
        self.seen.cut.store(true, Ordering::SeqCst);
    }

    /// From now on nothing passes on the connections that there are.
    fn freeze_old(&self) {
        self.seen.frozen.store(self.connections(), Ordering::SeqCst);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: Arc<Seen>,
    number: usize,
    is_upstream: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        let len = tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(len) if len > 0 => len,
                _ => return,
            },
            _ = tick.tick() => {
                if seen.cut.load(Ordering::SeqCst) {
                    return;
                }
                continue;
            }
        };
        if is_upstream {
            seen.upstream.fetch_add(len, Ordering::SeqCst);
        }
        while number <= seen.frozen.load(Ordering::SeqCst) {
            tick.tick().await;
        }
        if to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(what: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("adit-https-{what}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

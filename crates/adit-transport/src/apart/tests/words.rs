//! What the two processes say to each other: a web site that lives in two of them, and hostile ones.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use adit_engine::{DatagramIo as _, MAX_READ, RecvBatch, Want};
use adit_protocol::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{A_WHILE, say};
use crate::apart::keeper::{cleaned, counted, to_hex};
use crate::apart::words::{HEAD, MAX_SAID, MAX_TOLD, Pem, Said, Secretly, Start, Told, hear, parse_head};
use crate::apart::{Half, Needs, WebHalf, open};
use crate::config::{Certificates, Front, HttpsServer, Site, User};
use crate::server::{ServerControl, ServerStatus};
use crate::shape::{MachineSettings, Settings};

#[test]
fn users_are_read_as_they_are_written_and_never_printed() {
    let users = || vec![User::new([1; 32], Some(Secret::new([0x5a; 32]))), User::new([2; 32], None)];
    let told = Told::Users(users());
    let Told::Users(read) = reread(&told).unwrap() else { panic!("users are users") };
    let same =
        |(a, b): (&User, &User)| (&a.id, a.public_key) == (&b.id, b.public_key) && a.token_secret == b.token_secret;
    assert!(read.len() == 2 && read.iter().zip(&users()).all(same));
    assert!(!format!("{told:?}").contains("90"), "{told:?}");
    let pem = Told::Certificate(Pem { chain: b"chain".to_vec(), key: Secretly(b"key Z".to_vec().into()) });
    assert!(!format!("{pem:?}").contains("90"), "{pem:?}");
    let Told::Certificate(read) = reread(&pem).unwrap() else { panic!("a certificate is one") };
    assert_eq!((read.chain.as_slice(), read.key.0.as_slice()), (&b"chain"[..], &b"key Z"[..]));
}

#[test]
fn ten_thousand_users_fit_and_an_id_has_a_bound() {
    let many: Vec<_> = (0..10_000_u32).map(|n| User::new([n as u8; 32], Some(Secret::new([1; 32])))).collect();
    assert!(Told::Users(many).emit().unwrap().len() < MAX_TOLD / 8);
    let long = User { id: vec![0; 256], public_key: [0; 32], token_secret: None };
    assert!(Told::Users(vec![long]).emit().is_err());
}

#[test]
fn what_is_cut_or_of_no_kind_is_refused() {
    let users = Told::Users(vec![User::new([1; 32], Some(Secret::new([2; 32])))]).emit().unwrap();
    for len in HEAD + 1..users.len() {
        assert!(Told::parse(users[0], &users[HEAD..len]).is_err(), "{len}");
    }
    assert!(Told::parse(2, &[9, 0, 0, 0, 1]).is_err());
    assert!(Told::parse(77, &[]).is_err());
    assert!(Said::parse(77, b"\"serving\"").is_err());
    assert_eq!(Said::parse(6, b"\"serving\"").unwrap(), Said::Serving);
    let mut head = [6, 0, 0, 0, 0];
    head[1..].copy_from_slice(&(MAX_SAID as u32 + 1).to_le_bytes());
    assert!(parse_head(head, MAX_SAID).is_err(), "no room is made for it");
}

/// Errors go to logs and terminals.
#[test]
fn what_is_not_understood_is_not_repeated() {
    for said in ["\"\\u001b[2Jwell\"", "{\"\\u001b[2Jwell\":1}", "{\"now\":{\"well\":1}}"] {
        let error = Said::parse(6, said.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("well"), "{error}");
    }
}

#[test]
fn a_reason_is_one_line_and_a_hint() {
    let said = cleaned("it is not to be read\nroot: well\x1b[2J\r\n  hint: give another\nroot: well");
    assert_eq!(said, "it is not to be read root: well [2J \n  hint: give another root: well");
    assert_eq!(cleaned(&said), said);
    assert_eq!(cleaned(&"long".repeat(1000)).len(), 500);
}

#[test]
fn no_more_is_counted_than_there_can_be() {
    let streams = (0..4000_u32).map(|n| (to_hex(&n.to_le_bytes()), 2)).chain([(to_hex(b"last"), usize::MAX)]);
    let status = counted(usize::MAX, streams.rev().collect());
    assert_eq!((status.connections, status.streams.values().sum()), (2048, 2048_usize));
    let status = counted(1, (0..4000_u32).map(|n| (to_hex(&n.to_le_bytes()), 1)).collect());
    assert_eq!((status.streams.len(), status.streams.values().sum()), (2048, 2048_usize));
    assert_eq!(counted(1, vec![("no key".to_owned(), 1)]).streams.len(), 0);
}

/// Padding machines and all.
#[test]
fn settings_cross_as_they_are() {
    let page = include_str!("../../../../../docs/shape.md");
    let machine = page.lines().find_map(|line| line.strip_prefix("HttpsMachine = ")).unwrap().parse().unwrap();
    let machines = Some(MachineSettings::usual(&[machine]).unwrap());
    let front = Front::Behind { replays: Some("/a/b".into()) };
    let site = Site::Proxy { url: "http://a.example:8080".into(), root: None };
    let start = Start { sockets: 2, front, site, shape: Settings { machines, ..Settings::default() } };
    let Told::Start(read) = reread(&Told::Start(start.clone())).unwrap() else { panic!("a start is one") };
    assert_eq!((read.sockets, &read.front, &read.site), (2, &start.front, &start.site));
    assert_eq!(format!("{:?}", read.shape), format!("{:?}", start.shape));
}

#[tokio::test]
async fn a_web_site_in_another_process_is_served_and_started_again() {
    let world = World::open("again").await;
    let at = world.control.listening()[0];
    for life in 0..3 {
        let begun = world.begin(life).await;
        assert!(page(at).await.contains("Welcome."), "{life}");
        let open = TcpStream::connect(at).await.unwrap();
        while world.status().await.connections == 0 {}
        assert_eq!(world.control.process().unwrap().id, Some(life));
        begun.abort();
        let ended = begun.attended.await.unwrap();
        world.half.ended(&ended.to_string());
        assert_eq!(world.control.status(), ServerStatus::default());
        assert_eq!(world.control.process().unwrap().id, None);
        // Visitors wait meanwhile: the socket listens.
        drop((open, TcpStream::connect(at).await.unwrap()));
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_said() {
    let mut server = site("missing");
    server.site = Site::Directory("/nonexistent/pages".into());
    let (_bridge, _control, half) = open(server).await.unwrap();
    let begun = begin(&std::sync::Arc::new(half), 1);
    assert!(begun.serving.await.is_err(), "it never serves");
    let why = begun.attended.await.unwrap();
    assert!(why.to_string().contains("No such file"), "{why}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_before_any_process_is_begun() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = HttpsServer { listen: vec![taken.local_addr().unwrap()], ..site("taken") };
    assert_eq!(open(server).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

/// None of it makes the engine's process panic, grow, or believe anything.
#[tokio::test]
async fn what_a_hostile_process_says_ends_it() {
    let world = World::open("hostile").await;
    let long = [&[6][..], &(MAX_SAID as u32 + 1).to_le_bytes(), &[0; 100]].concat();
    let asks_much: Vec<u8> =
        (0..5000).flat_map(|n| Said::LookUp(format!("n{n}.example")).emit().unwrap().to_vec()).collect();
    let sayings: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\n\r\n", &[6, 2, 0, 0, 0, b'{', b'}'], &[1, 0, 0, 0, 0], &long, &[6, 1], &asks_much];
    for saying in sayings {
        let (ours, theirs) = StdStream::pair().unwrap();
        let hostile = async {
            tokio::time::sleep(A_WHILE).await;
            say(&theirs, saying);
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            std::future::pending::<()>().await
        };
        tokio::select! {
            _ended = world.half.attend(ours, || panic!("nobody serves")) => {}
            () = hostile => {}
        }
    }
    assert_eq!(world.control.status(), ServerStatus::default());
}

/// A name of a site behind is looked up, any other is not; what it gives for a reason is cleaned.
#[tokio::test]
async fn only_what_is_in_the_settings_is_looked_up() {
    let behind = Site::Proxy { url: "http://localhost:1".into(), root: None };
    let (_bridge, _control, half) = open(HttpsServer { site: behind, ..site("names") }).await.unwrap();
    let (ours, theirs) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let asks = async {
        let mut way = tokio::net::UnixStream::from_std(theirs).unwrap();
        for name in ["localhost", "elsewhere.example"] {
            way.write_all(&Said::LookUp(name.into()).emit().unwrap()).await.unwrap();
        }
        let mut found = BTreeMap::new();
        while found.len() < 2 {
            let (kind, body) = hear(&mut way, MAX_TOLD).await.unwrap().unwrap();
            if let Told::Addresses(addresses) = Told::parse(kind, &body).unwrap() {
                found.insert(addresses.name, addresses.found);
            }
        }
        assert!(found["localhost"].as_ref().unwrap().iter().all(|address| address.is_loopback()));
        assert!(found["elsewhere.example"].is_err());
        let failed = Said::Failed { denied: true, why: "a\x1b[2Jb".repeat(1000) };
        way.write_all(&failed.emit().unwrap()).await.unwrap();
        std::future::pending::<()>().await
    };
    tokio::select! {
        ended = half.attend(ours, || panic!("nobody serves")) => {
            let said = ended.to_string();
            assert_eq!(ended.kind(), io::ErrorKind::PermissionDenied);
            assert!(said.len() <= 500 && !said.contains('\x1b'), "{said}");
        }
        () = asks => {}
    }
}

#[test]
fn what_it_needs_is_what_its_settings_name() {
    let of = |front: Front, site: Site| {
        let start = Start { sockets: 0, front, site, shape: Settings::default() };
        let (_, datagrams) = StdStream::pair().unwrap();
        let (_, control) = StdStream::pair().unwrap();
        Half::of(start, datagrams, control).needs().unwrap()
    };
    let files = || Front::Direct(Certificates::Files { chain: "/secret/chain".into(), key: "/secret/key".into() });
    let pages = || Site::Directory("/var/www".into());
    assert_eq!(of(files(), pages()), Needs { read: vec!["/var/www".into()], ..Needs::default() });
    let behind = of(Front::Behind { replays: Some("/state/replays/tokens".into()) }, pages());
    assert_eq!(behind.write, [PathBuf::from("/state/replays")]);
    let acme = Front::Direct(Certificates::Acme {
        domains: vec!["a.example".into()],
        directory_url: "https://ca.example/dir".into(),
        contact: None,
        cache: "/state/acme".into(),
        root: None,
    });
    let proxy = Site::Proxy { url: "http://127.0.0.1:8080".into(), root: None };
    let needs = of(acme, proxy);
    assert_eq!((needs.write, needs.authorities), (vec!["/state/acme".into()], true));
    assert_eq!((needs.connect, needs.read), (vec![443, 8080], vec![]));
}

#[test]
fn key_ids_are_text_and_back() {
    for id in [&b""[..], b"\x00\xff\x10"] {
        assert_eq!(crate::apart::keeper::from_hex(&to_hex(id)).unwrap(), id);
    }
    assert!(crate::apart::keeper::from_hex("abc").is_none() && crate::apart::keeper::from_hex("zz").is_none());
}

fn reread(told: &Told) -> io::Result<Told> {
    let bytes = told.emit()?;
    let head: [u8; HEAD] = bytes[..HEAD].try_into().unwrap();
    let (kind, len) = parse_head(head, MAX_TOLD)?;
    assert_eq!(len, bytes.len() - HEAD);
    Told::parse(kind, &bytes[HEAD..])
}

struct World {
    control: ServerControl,
    half: std::sync::Arc<WebHalf>,
}

/// One life of the other "process": a task here.
struct Begun {
    task: tokio::task::JoinHandle<io::Result<()>>,
    attended: tokio::task::JoinHandle<io::Error>,
    serving: oneshot::Receiver<()>,
}

impl Begun {
    fn abort(&self) {
        self.task.abort();
    }
}

impl World {
    async fn open(name: &str) -> Self {
        let (mut bridge, control, half) = open(site(name)).await.unwrap();
        // The engine: reads whatever comes.
        tokio::spawn(async move {
            let mut batch = RecvBatch::with_capacity(MAX_READ);
            loop {
                bridge.ready(Want { read: true, write: false }).await.unwrap();
                let _nothing = bridge.try_recv(&mut batch);
                batch.clear();
            }
        });
        Self { control, half: std::sync::Arc::new(half) }
    }

    async fn begin(&self, number: u32) -> Begun {
        let mut begun = begin(&self.half, number);
        (&mut begun.serving).await.unwrap();
        begun
    }

    async fn status(&self) -> ServerStatus {
        self.control.look().await;
        self.control.status()
    }
}

fn begin(half: &std::sync::Arc<WebHalf>, number: u32) -> Begun {
    let (ours, theirs) = StdStream::pair().unwrap();
    let (serves, serving) = oneshot::channel();
    half.began(number);
    let half = half.clone();
    let attended = tokio::spawn(async move { half.attend(ours, || serves.send(()).unwrap()).await });
    let task = tokio::spawn(async move {
        let half = tokio::task::spawn_blocking(|| Half::receive(theirs)).await.unwrap()?;
        half.serve().await
    });
    Begun { task, attended, serving }
}

/// One page, and requests in clear text.
fn site(name: &str) -> HttpsServer {
    let directory = std::env::temp_dir().join(format!("adit-apart-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("index.html"), "<p>Welcome.</p>").unwrap();
    HttpsServer {
        listen: vec![([127, 0, 0, 1], 0).into()],
        front: Front::Behind { replays: None },
        site: Site::Directory(directory),
        users: Vec::new(),
        shape: Settings::off(),
    }
}

async fn page(at: SocketAddr) -> String {
    let mut visitor = TcpStream::connect(at).await.unwrap();
    visitor.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).await.unwrap();
    answer
}

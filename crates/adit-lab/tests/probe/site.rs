//! The servers that are asked: adit's with a user, and with none.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use adit_engine::{DatagramIo, MAX_READ, RecvBatch, SendArena, Want};
use adit_lab::poll::{self, PATIENCE};
use adit_protocol::{Path, Secret};
use adit_transport::client::HttpsLink;
use adit_transport::concealed::SigningKey;
use adit_transport::config::{
    Certificates, Front, Hello, HttpsClient, HttpsServer, Identity, Pin, Roots, Route, Site as Shown, User,
};
use adit_transport::server::HttpsListener;
use adit_transport::shape::Settings;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The name of the site.
pub(crate) const HOST: &str = "site.test";
const SEED: [u8; 32] = [7; 32];
const TOKENS: [u8; 32] = [9; 32];
/// Between two datagrams of the tunnel that is in use.
const PACE: Duration = Duration::from_millis(5);

/// Files and a certificate, the same for both servers.
pub(crate) struct Site {
    dir: PathBuf,
    pin: Pin,
}

/// adit's server, in a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pin: Pin,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A client that sends through the tunnel until it is stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Site {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("adit-probe-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("site/sub")).unwrap();
        fs::write(dir.join("site/index.html"), "<html><body>Hello, this is a site.</body></html>\n").unwrap();
        fs::write(dir.join("site/style.css"), "body { color: green }\n".repeat(200)).unwrap();
        fs::write(dir.join("site/sub/index.html"), "<html><body>And a part of it.</body></html>\n").unwrap();
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        fs::write(dir.join("chain.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let pin = Pin::of(&rcgen::PublicKeyData::subject_public_key_info(&made.signing_key));
        Self { dir, pin }
    }

    /// Paths that exist.
    pub(crate) fn paths(&self) -> Vec<String> {
        ["/style.css", "/sub/", "/index.html", "/sub"].map(str::to_owned).to_vec()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

impl Server {
    pub(crate) fn start(site: &Site, has_user: bool) -> Self {
        let files = Certificates::Files { chain: site.path("chain.pem"), key: site.path("key.pem") };
        Self::with(site, Front::Direct(files), has_user)
    }

    /// Behind another web server.
    pub(crate) fn behind(site: &Site, has_user: bool) -> Self {
        Self::with(site, Front::Behind { replays: None }, has_user)
    }

    fn with(site: &Site, front: Front, has_user: bool) -> Self {
        let key = SigningKey::from_seed(&SEED).unwrap().public_key();
        let config = HttpsServer {
            listen: vec![([127, 0, 0, 1], 0).into()],
            front,
            site: Shown::Directory(site.path("site")),
            users: if has_user { vec![User::new(key, Some(Secret::new(TOKENS)))] } else { Vec::new() },
            shape: Settings::default(),
        };
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
                let (listener, control) = HttpsListener::bind(config).await.unwrap();
                tell.send(control.listening()[0]).unwrap();
                tokio::select! {
                    () = echo(listener) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address: told.recv().unwrap(), pin: site.pin, end: Some(end), thread: Some(thread) }
    }

    /// A client whose tunnel is in use.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic_by(self.address, Route::ConnectUdp { target: "adit".to_owned(), port: 51_820 })
    }

    /// A client whose tunnel through the front there is in use.
    pub(crate) fn traffic_through(&self, front: SocketAddr, location: &str) -> Traffic {
        self.traffic_by(front, Route::Grpc { path: location.to_owned() })
    }

    fn traffic_by(&self, address: SocketAddr, route: Route) -> Traffic {
        let config = HttpsClient {
            host: HOST.to_owned(),
            port: address.port(),
            addresses: vec![address],
            pins: vec![self.pin],
            roots: Roots::PinOnly,
            hello: Hello::Plain,
            identity: Identity { seed: Secret::new(SEED), token_secret: Some(Secret::new(TOKENS)) },
            route,
            fwmark: 0,
            shape: Settings::default(),
            visit: true,
            cache: None,
        };
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                Builder::new_current_thread().enable_all().build().unwrap().block_on(talk(config, &stop, &answered));
            })
        };
        poll::until("the tunnel answers", PATIENCE, || (answered.load(Ordering::Relaxed) > 0).then_some(()));
        Traffic { stop, answered, thread }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Traffic {
    /// Stops it, and says how many datagrams came back since it was begun to be asked.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.answered.load(Ordering::Relaxed).saturating_sub(1)
    }
}

/// Every datagram goes back where it came from.
async fn echo(mut listener: HttpsListener) {
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    let mut arena = SendArena::with_capacity(MAX_READ);
    loop {
        listener.ready(Want { read: true, write: false }).await.unwrap();
        if listener.try_recv(&mut batch).is_err() {
            continue;
        }
        while let (Some(path), Some(datagram)) = (batch.front_path(), batch.front()) {
            // What does not fit is lost, as on any network.
            let _full = arena.push(path, 0, datagram);
            batch.pop_front();
        }
        listener.try_send(&mut arena).unwrap();
    }
}

/// Asks and waits, until it is told to stop.
async fn talk(config: HttpsClient, stop: &AtomicBool, answered: &AtomicU64) {
    let there = Path::to(config.addresses[0]);
    let (mut link, _control) = HttpsLink::new(config);
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    while !stop.load(Ordering::Relaxed) {
        let mut arena = SendArena::with_capacity(2000);
        arena.push(there, 0, &[5; 1200]).unwrap();
        let _not_yet = link.try_send(&mut arena);
        let ready = tokio::time::timeout(PACE * 20, link.ready(Want { read: true, write: false })).await;
        if ready.is_ok() && link.try_recv(&mut batch).is_ok() {
            while batch.front().is_some() {
                batch.pop_front();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

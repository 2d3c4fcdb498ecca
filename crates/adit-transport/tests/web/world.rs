//! Programs that end with the test, a directory of files, and the far end of a tunnel.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_engine::{DatagramIo, MAX_READ, RecvBatch, SendArena, Want};
use adit_transport::server::HttpsListener;

/// The name of the site.
pub(crate) const HOST: &str = "site.test";
/// Its page.
pub(crate) const PAGE: &str = "<html><body>A page like any other.</body></html>\n";

/// A directory with a site in it, removed at the end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("adit-web-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("site")).unwrap();
        std::fs::write(dir.join("site/index.html"), PAGE).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A program that runs until this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program whose output goes to a file, and waits until it listens.
    pub(crate) async fn start(command: &mut Command, log: &Path, listens: SocketAddr) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut running =
            Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}\n  hint: cargo xtask setup")));
        while TcpStream::connect(listens).is_err() {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {}", std::fs::read_to_string(log).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a program says that ends well, while our own server goes on.
pub(crate) async fn said(mut command: Command) -> String {
    let ended = tokio::task::spawn_blocking(move || {
        let ended = command.stdin(Stdio::null()).output();
        ended.unwrap_or_else(|error| panic!("{command:?}: {error}\n  hint: cargo xtask setup"))
    });
    let ended = ended.await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// A port of loopback that nobody listens on, below those that the system gives to connections: it stays free until a
/// program is told of it.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    // Processes that run at the same time begin at different places.
    let begin = std::process::id() as usize * 97;
    let mut ports = PORTS.map(|_| {
        let place = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len();
        SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + place as u16))
    });
    ports.find(|address| TcpListener::bind(address).is_ok()).unwrap()
}

/// The far end of a tunnel: every datagram comes back.
pub(crate) async fn echo(mut listener: HttpsListener) {
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    let mut arena = SendArena::with_capacity(4 * MAX_READ);
    loop {
        let ready = listener.ready(Want { read: true, write: false }).await;
        if ready.is_err() || listener.try_recv(&mut batch).is_err() {
            continue;
        }
        while let (Some(path), Some(datagram)) = (batch.front_path(), batch.front()) {
            if arena.push(path, 0, datagram).is_ok() {
                batch.pop_front();
            } else {
                listener.try_send(&mut arena).unwrap();
            }
        }
        listener.try_send(&mut arena).unwrap();
    }
}

/// Sends a datagram until the same comes back, as UDP would be used.
pub(crate) async fn there_and_back(link: &mut impl DatagramIo, to: SocketAddr, datagram: &[u8]) {
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    let mut arena = SendArena::with_capacity(4 * MAX_READ);
    for _ in 0..60 {
        arena.push(adit_protocol::Path::to(to), 0, datagram).unwrap();
        link.try_send(&mut arena).unwrap();
        let wait = link.ready(Want { read: true, write: false });
        if tokio::time::timeout(Duration::from_millis(500), wait).await.is_err() || link.try_recv(&mut batch).is_err() {
            continue;
        }
        while let Some(got) = batch.front() {
            if got == datagram {
                return;
            }
            batch.pop_front();
        }
    }
    panic!("nothing comes back");
}

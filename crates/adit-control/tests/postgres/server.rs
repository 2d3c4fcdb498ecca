//! Debian's PostgreSQL, in a directory of its own, on a Unix socket only.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Debian's unprivileged user for it.
const USER: &str = "postgres";

/// A server that runs until it is dropped.
pub(crate) struct Server(Arc<Shared>);

/// One of its databases, empty at first.
pub(crate) struct Database {
    server: Arc<Shared>,
    name: String,
}

struct Shared {
    dir: TempDir,
    user: (u32, u32),
    child: Mutex<Option<Child>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let user = (id("-u"), id("-g"));
        let dir = tempfile::Builder::new().prefix("adit-postgres-").tempdir().unwrap();
        chown(dir.path(), Some(user.0), Some(user.1)).unwrap();
        let shared = Shared { dir, user, child: Mutex::new(None) };
        let mut initdb = shared.command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        let made = initdb.arg(shared.data()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        shared.start();
        Self(Arc::new(shared))
    }

    /// Makes a database.
    pub(crate) async fn database(&self, number: usize) -> Database {
        let name = format!("test{number}");
        let client = self.0.connect("postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Database { server: self.0.clone(), name }
    }
}

impl Database {
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A connection beside the store's.
    pub(crate) async fn connect(&self) -> Client {
        self.server.connect(&self.name).await
    }

    /// The whole server, at once: connections break.
    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    pub(crate) fn start_again(&self) {
        self.server.start();
    }
}

impl Shared {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn url(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.dir.path().display())
    }

    async fn connect(&self, database: &str) -> Client {
        for _ in 0..600 {
            if let Ok((client, connection)) = tokio_postgres::connect(&self.url(database), NoTls).await {
                tokio::spawn(connection);
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("PostgreSQL does not come up: {}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
    }

    fn start(&self) {
        let log = File::options().append(true).create(true).open(self.dir.path().join("log")).unwrap();
        let mut postgres = self.command("postgres");
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-D"]).arg(self.data());
        postgres.arg("-k").arg(self.dir.path()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.child.lock().unwrap() = Some(postgres.spawn().unwrap());
    }

    fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // At once, and without a word to those connected.
            kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// A program of the newest PostgreSQL there is, as its unprivileged user.
    fn command(&self, program: &str) -> Command {
        let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
            .expect("Debian's PostgreSQL is installed (`cargo xtask setup`)")
            .map(|entry| entry.unwrap().path().join("bin").join(program))
            .filter(|path| path.is_file())
            .collect();
        found.sort();
        let mut command = Command::new(found.pop().expect("Debian's PostgreSQL is installed (`cargo xtask setup`)"));
        command.uid(self.user.0).gid(self.user.1).current_dir(Path::new("/"));
        command
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, USER]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is a user `postgres`")
}

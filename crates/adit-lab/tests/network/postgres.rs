//! Debian's PostgreSQL, as an unprivileged user, on a machine of its own or somebody else's.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use adit_lab::ns::Namespace;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;

/// The user that runs it: it refuses root.
const USER: &str = "postgres";

/// A server with its data, which go with it.
pub(crate) struct Postgres {
    host: Namespace,
    /// Where it listens.
    address: &'static str,
    dir: PathBuf,
    user: (u32, u32),
    child: Option<Child>,
}

impl Postgres {
    /// One that answers at this address of this machine, whoever asks.
    pub(crate) fn start(host: &Namespace, address: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("adit-lab-postgres-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (dir, user) = (std::env::temp_dir().join(name), (id("-u"), id("-g")));
        fs::create_dir_all(&dir).unwrap();
        chown(&dir, Some(user.0), Some(user.1)).unwrap();
        let mut postgres = Self { host: host.clone(), address, dir, user, child: None };
        let mut initdb = postgres.command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        let made = initdb.arg(postgres.dir.join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut rules = File::options().append(true).open(postgres.dir.join("data/pg_hba.conf")).unwrap();
        rules.write_all(b"host all all 0.0.0.0/0 trust\n").unwrap();
        postgres.start_again();
        postgres
    }

    /// For `--database`.
    pub(crate) fn url(&self) -> String {
        Self::url_at(self.address)
    }

    /// For `--database`, where it goes by this name.
    pub(crate) fn url_at(host: &str) -> String {
        format!("postgres://postgres@{host}/postgres?sslmode=disable")
    }

    /// At once, and without a word to those connected.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            Run::line(&format!("kill -QUIT {}", child.id())).ok();
            child.wait().unwrap();
        }
    }

    /// With the data it had, until it answers.
    pub(crate) fn start_again(&mut self) {
        let log = File::options().append(true).create(true).open(self.dir.join("log")).unwrap();
        let mut postgres = self.command("postgres");
        postgres.args(["-c", &format!("listen_addresses={}", self.address), "-c", "fsync=off", "-D"]);
        postgres.arg(self.dir.join("data"));
        postgres.arg("-k").arg(&self.dir).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(postgres.spawn().unwrap());
        poll::until("PostgreSQL to answer", PATIENCE, || {
            self.command("pg_isready").arg("-h").arg(&self.dir).output().unwrap().status.success().then_some(())
        });
    }

    /// A program of the newest PostgreSQL there is, as its own user, on its machine.
    fn command(&self, program: &str) -> Command {
        let there = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (`cargo xtask setup`)");
        let mut found: Vec<_> =
            there.map(|entry| entry.unwrap().path().join("bin").join(program)).filter(|path| path.is_file()).collect();
        found.sort();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.host.name(), "setpriv", "--clear-groups"]);
        command.arg(format!("--reuid={}", self.user.0)).arg(format!("--regid={}", self.user.1));
        command.arg(found.pop().expect("PostgreSQL is installed (`cargo xtask setup`)")).current_dir(Path::new("/"));
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _left = fs::remove_dir_all(&self.dir);
    }
}

fn id(which: &str) -> u32 {
    Run::line(&format!("id {which} {USER}")).ok().trim().parse().expect("there is a user `postgres`")
}

//! A machine with adit on it, in a network namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use adit_lab::ns::Namespace;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::subjects::beside_this_program;
use serde_json::Value;

/// One machine. Its daemon, if it has one, ends with it.
pub(crate) struct Machine {
    pub(crate) host: Namespace,
    /// The name of its tunnel, unlike all others: the socket of `wg` knows no namespaces.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    daemon: Option<Child>,
}

impl Machine {
    /// One without daemon: the first command that needs one starts it.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("n{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("adit-lab-{name}"));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        Self { host: Namespace::new(), name, dir, daemon: None }
    }

    /// One with a daemon, as systemd would run it.
    pub(crate) fn with_daemon() -> Self {
        let mut machine = Self::new();
        machine.start_daemon();
        machine
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start_daemon(&mut self) {
        self.daemon = Some(self.spawn(&["daemon"], "daemon.log"));
        poll::until("the daemon", PATIENCE, || {
            self.adit("status --json")
                .attempt()
                .err()
                .map_or(Some(()), |failed| failed.said.contains("no tunnel is up").then_some(()))
        });
    }

    /// Starts it where a server waits for one, which gives it its network at once.
    pub(crate) fn start_daemon_beside_a_server(&mut self) {
        self.daemon = Some(self.spawn(&["daemon"], "daemon.log"));
    }

    /// `kill -9`.
    pub(crate) fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// Its process: `ip netns exec` has become it.
    #[track_caller]
    pub(crate) fn daemon_process(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// `adit` here, ready to be given more.
    pub(crate) fn adit(&self, arguments: &str) -> Run {
        let line = format!("{} {arguments}", beside_this_program("adit").display());
        let run = self.host.command(&line).env("ADIT_RUNTIME_DIR", self.dir.join("run"));
        run.env("ADIT_STATE_DIR", self.dir.join("state")).env("ADIT_CONFIG_DIR", self.dir.join("profiles"))
    }

    /// What it says as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.adit(arguments).ok()).unwrap()
    }

    /// What it says when it must fail.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &str) -> String {
        match self.adit(arguments).attempt() {
            Ok(said) => panic!("`adit {arguments}` should fail, and says {said}"),
            Err(failed) => failed.said,
        }
    }

    /// `adit` here, staying.
    pub(crate) fn spawn(&self, arguments: &[&str], log: &str) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.dir.join(log)).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.host.name()]).arg(beside_this_program("adit")).args(arguments);
        command.env("ADIT_RUNTIME_DIR", self.dir.join("run")).env("ADIT_STATE_DIR", self.dir.join("state"));
        command.env("ADIT_CONFIG_DIR", self.dir.join("profiles")).env("ADIT_LOG", "debug");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// What `adit status` says of its tunnel.
    #[track_caller]
    pub(crate) fn tunnel(&self) -> Value {
        self.json(&format!("status --json {}", self.name))["tunnels"][0].clone()
    }

    /// What was written into a log of this machine.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// Everything that the firewall has here.
    pub(crate) fn ruleset(&self) -> String {
        self.host.run("nft list ruleset")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs =
                ["server.log", "daemon.log", "run/daemon.log"].map(|name| format!("== {name}\n{}", self.log(name)));
            tracing::error!("{}\n{}", self.name, logs.join("\n"));
            keep(&std::env::temp_dir().join(format!("{}.failed", self.name)), &logs.join("\n"));
        }
        let _gone_already = self.adit(&format!("down {}", self.name)).attempt();
        self.kill_daemon();
        let _left = fs::remove_dir_all(&self.dir);
    }
}

fn keep(file: &Path, text: &str) {
    let _unwritable = fs::write(file, text);
}

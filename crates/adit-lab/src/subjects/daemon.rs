//! A subject that runs: one interface in one namespace. Not here: its configuration (`wg`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::{Subject, Usage};
use crate::ns::Namespace;
use crate::poll;
use crate::shell::Run;

/// A running implementation. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    subject: Subject,
    namespace: Namespace,
    interface: String,
    log: PathBuf,
    child: Child,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Daemon {
    /// Starts it in a namespace, with an interface name that nothing else on the machine has (control sockets share
    /// one directory, whatever the namespace), and waits until it answers `wg`.
    #[track_caller]
    pub fn start(subject: &Subject, namespace: &Namespace) -> Self {
        let interface = format!("al{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self::start_as(subject, namespace, interface)
    }

    #[track_caller]
    fn start_as(subject: &Subject, namespace: &Namespace, interface: String) -> Self {
        let log = std::env::temp_dir().join(format!("adit-lab-{interface}.log"));
        let child = spawn(subject, namespace, &interface, &log);
        let mut daemon = Self { subject: subject.clone(), namespace: namespace.clone(), interface, log, child };
        daemon.wait_until_it_answers();
        daemon
    }

    /// Its interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Which implementation.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The namespace it was started in, where its sockets are.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it costs so far.
    #[track_caller]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as a service manager would (SIGTERM), and starts it anew under the same name, without configuration.
    #[track_caller]
    pub fn restart(&mut self) {
        self.end(Signal::TERM);
        self.start_again();
    }

    /// `kill -9`, and a new one under the same name, without configuration.
    #[track_caller]
    pub fn crash(&mut self) {
        self.end(Signal::KILL);
        self.start_again();
    }

    fn start_again(&mut self) {
        self.child = spawn(&self.subject, &self.namespace, &self.interface, &self.log);
        self.wait_until_it_answers();
    }

    fn end(&mut self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, signal);
        }
        poll::until(&format!("{} to end", self.subject.name), poll::PATIENCE, || self.child.try_wait().ok().flatten());
    }

    #[track_caller]
    fn wait_until_it_answers(&mut self) {
        let what = format!("{} to answer `wg show {}`", self.subject.name, self.interface);
        poll::until(&what, poll::PATIENCE, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended at once ({status}): {}", self.subject.name, self.log());
            }
            Run::line(&format!("wg show {}", self.interface)).attempt().ok()
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
        let _never_made = fs::remove_file(socket(&self.interface));
        if std::thread::panicking() {
            let kept = self.log();
            tracing::error!(subject = self.subject.name, interface = self.interface, kept, "its log");
        }
        let _never_made = fs::remove_file(&self.log);
    }
}

#[track_caller]
fn spawn(subject: &Subject, namespace: &Namespace, interface: &str, log: &Path) -> Child {
    let open = || File::options().create(true).append(true).open(log);
    let (Ok(out), Ok(err)) = (open(), open()) else { panic!("cannot write {}", log.display()) };
    // `ip netns exec` becomes the program it runs, so the child is the daemon itself.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name()]).arg(&subject.program).args(&subject.arguments).arg(interface);
    command.envs(subject.environment.iter().map(|(name, value)| (name, value)));
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    child.unwrap_or_else(|error| panic!("cannot start {}: {error}", subject.name))
}

fn socket(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

//! One peer of the demo: a room, and in it a daemon that is a child of this process.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::room::Room;
use super::{PeerFigures, Side};
use crate::client::Client;
use crate::exit::{Failure, Result};
use crate::ping;
use crate::places::Places;
use crate::process;
use crate::report::StatusReport;
use crate::rpc::{Done, Method};

/// How long a daemon may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A room with a daemon in it.
#[derive(Debug)]
pub(super) struct Peer {
    side: &'static Side,
    file: PathBuf,
    places: Places,
    client: Client,
    // Dropped in this order: the daemon ends while its namespace is still there.
    daemon: Daemon,
    room: Room,
}

/// A child that is ended, gently at first.
#[derive(Debug)]
struct Daemon(Child);

impl Peer {
    /// Starts a daemon in the room.
    pub(super) fn start(side: &'static Side, room: Room, directory: &Path, file: &Path) -> Result<Self> {
        let own = directory.join(side.label);
        let places = Places { socket: own.join("adit.sock"), directory: own };
        places.create()?;
        let daemon = Daemon(room.run({
            let places = places.clone();
            move || spawn(&places)
        })??);
        let client = wait_for(&places)?;
        Ok(Self { side, file: file.to_owned(), places, client, daemon, room })
    }

    pub(super) fn name(&self) -> &'static str {
        self.side.label
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.side.inside
    }

    pub(super) fn up(&mut self) -> Result<()> {
        let name = self.side.interface();
        self.client.call::<Done>(Method::Up { name, file: self.file.clone(), login: None }).map(drop)
    }

    pub(super) fn down(&mut self) -> Result<()> {
        self.client.call::<Done>(Method::Down { name: self.side.interface() }).map(drop)
    }

    /// Does this in the room, with the peer's own address.
    pub(super) fn inside<T: Send + 'static>(&self, work: impl FnOnce(Ipv4Addr) -> T + Send + 'static) -> Result<T> {
        let own = self.side.inside;
        self.room.run(move || work(own))
    }

    /// One ping from here.
    pub(super) fn ping(&self, to: Ipv4Addr, sequence: u16, patience: Duration) -> Result<Option<Duration>> {
        let interface = self.side.interface();
        self.room
            .run(move || ping::ping(&interface, to, sequence, ping::USUAL, patience))?
            .map_err(|e| Failure::failed(format!("cannot ping through the tunnel: {e}")))
    }

    /// CPU time of the daemon so far.
    pub(super) fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds(self.daemon.0.id())
    }

    /// What the daemon says of the tunnel, and the kernel of the daemon.
    pub(super) fn figures(&mut self) -> Result<PeerFigures> {
        let name = Some(self.side.interface());
        let report: StatusReport = self.client.call(Method::Status { name })?;
        let tunnel = report.tunnels.first().ok_or_else(|| Failure::failed("the daemon shows no tunnel"))?;
        let pid = self.daemon.0.id();
        Ok(PeerFigures::of(self.side.label, tunnel, process::resident_kib(pid), process::cpu_seconds(pid)))
    }

    /// The end of the daemon's log, on a new line, if there is any.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.places.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.iter().rev().map(|line| format!("\n    {line}")).collect()
    }
}

fn spawn(places: &Places) -> Result<Child> {
    let failed = |e: std::io::Error| Failure::io("cannot start a daemon", &e);
    let log = std::fs::File::create(places.log()).map_err(failed)?;
    Command::new(std::env::current_exe().map_err(failed)?)
        .args(["daemon", "--with-parent"])
        .env("ADIT_RUNTIME_DIR", &places.directory)
        .env("ADIT_SOCKET", &places.socket)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0) // Ctrl-C is for the demo, which ends its daemons in order
        .spawn()
        .map_err(failed)
}

fn wait_for(places: &Places) -> Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = Client::connect(places)? {
            return Ok(client);
        }
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(places.log()).unwrap_or_default();
            return Err(Failure::failed(format!("a daemon of the demo did not start: {}", log.trim())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

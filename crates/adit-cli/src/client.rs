//! The side of the commands: asks the daemon, and starts one if there is none.
//!
//! Not here: what is asked (`rpc`), where the daemon is (`places`).

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Failure, Result};
use crate::places::{Places, nobody_listens};
use crate::rpc::{self, MAX_ANSWER, Method, Request};
use crate::server::{DATABASE, MONITOR};
use crate::socket::HOW_TO_BE_A_MEMBER;

/// How long a daemon may take to listen after it was started.
const START_TIME: Duration = Duration::from_secs(10);

/// How long a killed daemon may take to be gone.
const LAST_BREATH: Duration = Duration::from_millis(100);

/// Bytes after which the log of daemons started by commands begins anew; it lies in memory.
const MAX_LOG: u64 = 1024 * 1024;

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects to a running daemon; `None` if there is none.
    pub(crate) fn connect(places: &Places) -> Result<Option<Self>> {
        Self::connect_to(&places.socket)
    }

    /// Connects to whoever listens there; `None` if nobody does.
    pub(crate) fn connect_to(socket: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self::over(stream))),
            Err(e) if nobody_listens(&e) => Ok(None),
            Err(e) => {
                let failure = Failure::io(format!("cannot talk to the process at {}", socket.display()), &e);
                let denied = e.kind() == std::io::ErrorKind::PermissionDenied;
                Err(if denied { failure.hint(HOW_TO_BE_A_MEMBER) } else { failure })
            }
        }
    }

    /// Speaks over a connection that is there.
    pub(crate) fn over(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), next_id: 1 }
    }

    /// The connection, for another process to go on with; between two questions nothing is read ahead.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream.into_inner()
    }

    /// Connects, after starting a daemon in the background if there is none.
    pub(crate) fn connect_or_start(places: &Places) -> Result<Self> {
        if let Some(client) = Self::connect_alive(places)? {
            return Ok(client);
        }
        places.create()?;
        let mut daemon = start(places)?;
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Some(client) = Self::connect_alive(places)? {
                return Ok(client);
            }
            // Two commands at once start two daemons: one of them leaves at once, and both commands use the other.
            if let Ok(Some(status)) = daemon.try_wait()
                && !status.success()
            {
                return Err(did_not_start(places));
            }
            if Instant::now() > deadline {
                return Err(Failure::failed(format!("the daemon did not answer within {} s", START_TIME.as_secs()))
                    .hint(format!("see {}", places.log().display())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Connects to a daemon that answers: one that was just killed still takes connections for a moment, and breaks them.
    fn connect_alive(places: &Places) -> Result<Option<Self>> {
        let Some(mut client) = Self::connect(places)? else { return Ok(None) };
        if client.exchange(Method::Info).is_ok_and(|line| line.ends_with(b"\n")) {
            return Ok(Some(client));
        }
        std::thread::sleep(LAST_BREATH);
        Ok(None)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call<T: DeserializeOwned>(&mut self, method: impl Serialize) -> Result<T> {
        let line =
            self.exchange(method).map_err(|e| Failure::broken(format!("the connection to the daemon broke: {e}")))?;
        if !line.ends_with(b"\n") {
            return Err(Failure::broken("the daemon went away before it answered")
                .hint("`adit status` shows what is still up; the daemon's log says why it ended"));
        }
        rpc::parse_answer(&line)
    }

    /// Sends a question and reads one line, which is cut short if the daemon went away.
    fn exchange(&mut self, method: impl Serialize) -> std::io::Result<Vec<u8>> {
        let id = self.next_id;
        self.next_id += 1;
        // Who is refused may be so before it has asked: then the answer is there all the same.
        let sent = self.stream.get_mut().write_all(&rpc::line(&Request::new(id, method)));
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_ANSWER as u64).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            sent?;
        }
        Ok(line)
    }
}

/// Starts this program again as a daemon that ends by itself.
fn start(places: &Places) -> Result<Child> {
    let failed = |e: std::io::Error| Failure::io("cannot start the daemon", &e);
    let log = open_log(&places.log())?;
    let errors = log.try_clone().map_err(failed)?;
    Command::new(std::env::current_exe().map_err(failed)?)
        .args(["daemon", "--on-demand"])
        .env("ADIT_RUNTIME_DIR", &places.directory)
        .env("ADIT_SOCKET", &places.socket)
        // Not for the daemon, and not for the commands of tunnels that it runs.
        .env_remove(DATABASE)
        .env_remove(MONITOR)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(failed)
}

/// The log to go on with, or a new one where that has become too long.
fn open_log(path: &Path) -> Result<File> {
    let failed = |e: std::io::Error| Failure::io(format!("cannot write {}", path.display()), &e);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    if log.metadata().map_err(failed)?.len() > MAX_LOG {
        log.set_len(0).map_err(failed)?;
    }
    Ok(log)
}

fn did_not_start(places: &Places) -> Failure {
    let log = std::fs::read_to_string(places.log()).unwrap_or_default();
    let last = log.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it wrote nothing");
    Failure::failed(format!("the daemon ended while starting: {last}")).hint(format!("see {}", places.log().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_version_says_so() {
        let failure = rpc::parse_answer::<()>(b"{\"adit\":9,\"id\":1,\"result\":{}}\n").unwrap_err();
        assert!(failure.message.contains("protocol 9"), "{failure}");
    }

    #[test]
    fn an_answer_that_is_not_json_is_a_failure_and_no_panic() {
        assert!(rpc::parse_answer::<()>(b"hello\n").is_err());
    }

    #[test]
    fn without_a_socket_there_is_no_daemon() {
        let directory = std::env::temp_dir().join(format!("adit-client-{}", std::process::id()));
        let places = Places { socket: directory.join("adit.sock"), directory };
        assert!(Client::connect(&places).unwrap().is_none());
    }
}

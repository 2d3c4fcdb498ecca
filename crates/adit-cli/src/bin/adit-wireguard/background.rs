//! Going to the background: a new process in a session of its own goes on with the interface and the socket.
//!
//! This program starts itself anew rather than fork: nothing is inherited but what is named here.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::io::FdFlags;

use crate::failure::Failure;
use crate::serve;
use crate::sys::take_descriptor;

/// Names the descriptor on which the new process says that it is ready.
const READY: &str = "ADIT_READY_FD";

/// Makes interface and socket, starts the process that goes on with them, and returns once it answers.
pub(crate) fn start(interface: &str) -> Result<(), Failure> {
    let (tun, socket) = (take_descriptor("WG_TUN_FD")?, take_descriptor("WG_UAPI_FD")?);
    let inside = serve::inside(interface, tun)?;
    let socket = serve::bind(inside.name(), socket)?;
    let failed = |e: io::Error| Failure::new(format!("could not go to the background: {e}"));
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    let tun = inside.descriptor().map_err(failed)?;

    let mut command = Command::new("/proc/self/exe");
    command.arg0("adit-wireguard").arg(interface).current_dir("/");
    command.env("WG_PROCESS_FOREGROUND", "1").stdin(Stdio::null()).stdout(Stdio::null());
    let handed = [("WG_TUN_FD", tun), ("WG_UAPI_FD", socket.descriptor()), (READY, writer.as_fd())];
    for (variable, fd) in handed {
        // There is no other thread that could start a process now.
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).map_err(|e| failed(e.into()))?;
        command.env(variable, fd.as_raw_fd().to_string());
    }
    if std::env::var_os("LOG_LEVEL").is_none() {
        command.stderr(Stdio::null());
    }
    command.spawn().map_err(failed)?;
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).map_err(failed)?;
    match said.strip_suffix(DONE) {
        Some(_) => {
            socket.hand_over();
            Ok(())
        }
        None if said.is_empty() => Err(Failure::new("it ended at once\n  hint: `adit-wireguard -f` shows why")),
        None => Err(Failure::new(said)),
    }
}

/// The way to tell the process that waits in the foreground.
#[derive(Debug)]
pub(crate) struct Ready(File);

/// What is said when all is well.
const DONE: &str = "ready\n";

/// The way to tell, if somebody waits. Also leaves the session of the terminal.
pub(crate) fn ready() -> Result<Option<Ready>, Failure> {
    let Some(fd) = take_descriptor(READY)? else { return Ok(None) };
    // Already a leader of a session is fine as well.
    let _ = rustix::process::setsid();
    Ok(Some(Ready(File::from(fd))))
}

impl Ready {
    /// Tells that all is well.
    pub(crate) fn done(self) {
        self.say(DONE);
    }

    /// Tells what went wrong.
    pub(crate) fn failed(self, failure: &Failure) {
        self.say(&failure.to_string());
    }

    fn say(mut self, what: &str) {
        // Nobody waiting any more is no reason to end.
        drop(self.0.write_all(what.as_bytes()));
    }
}

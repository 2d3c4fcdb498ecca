//! Where the daemon of this machine lives: its socket, lock, log and journals.
//!
//! Tunnels belong to a network namespace, so a daemon does too: inside another namespace than init's, everything is in a
//! directory of that namespace's own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::exit::{Failure, Result};

/// The directory of the daemon of the machine's own network namespace.
const RUNTIME_DIR: &str = "/run/adit";

/// What outlives a restart of the machine.
const STATE_DIR: &str = "/var/lib/adit";

/// Paths of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Holds the others.
    pub(crate) directory: PathBuf,
    /// Where it listens.
    pub(crate) socket: PathBuf,
}

/// Held by the process that may act for this directory: the daemon, or a command that cleans up after a killed one.
#[derive(Debug)]
pub(crate) struct DaemonLock {
    _file: File,
}

impl Places {
    /// The places of this process's network namespace, unless the environment says otherwise.
    pub(crate) fn of_this_process() -> Self {
        let from_env = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let directory = from_env("ADIT_RUNTIME_DIR").unwrap_or_else(|| {
            directory_for(namespace(Path::new("/proc/self/ns/net")), namespace(Path::new("/proc/1/ns/net")))
        });
        Self::new(directory, from_env("ADIT_SOCKET"))
    }

    fn new(directory: PathBuf, socket: Option<PathBuf>) -> Self {
        let socket = socket.unwrap_or_else(|| directory.join("adit.sock"));
        Self { directory, socket }
    }

    /// Where a daemon without a terminal writes what it has to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    /// Where the changes made to this machine are written down, to be undone after a crash.
    pub(crate) fn journals(&self) -> PathBuf {
        self.directory.join("host")
    }

    /// Where files are made for as long as a program is asked something.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// Removes what a killed daemon left of its questions: there are passwords among it.
    pub(crate) fn clear_scratch(&self) {
        let scratch = self.scratch();
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", scratch.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Where is kept what should outlive a restart: certificates, and which transport worked where. Another namespace's
    /// daemon keeps it where everything else of it is.
    pub(crate) fn state(&self) -> PathBuf {
        if let Some(directory) = std::env::var_os("ADIT_STATE_DIR").filter(|v| !v.is_empty()) {
            return directory.into();
        }
        if self.directory == Path::new(RUNTIME_DIR) { PathBuf::from(STATE_DIR) } else { self.directory.join("state") }
    }

    /// Where the server of a network listens to commands.
    pub(crate) fn server_socket(&self) -> PathBuf {
        self.directory.join("server.sock")
    }

    /// Where the server of a network keeps its state.
    pub(crate) fn server_state(&self) -> PathBuf {
        self.state().join("server")
    }

    /// The directories of adit's own that lead to the sockets, the outermost first: another namespace's is inside of the
    /// machine's own.
    pub(crate) fn on_the_way(&self) -> Vec<&Path> {
        let outer = self.directory.parent().filter(|parent| *parent == Path::new(RUNTIME_DIR));
        outer.into_iter().chain([self.directory.as_path()]).collect()
    }

    /// Makes the directory, for nobody but its owner.
    pub(crate) fn create(&self) -> Result<()> {
        let what = || format!("cannot create {}", self.directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(|e| Failure::io(what(), &e))
    }

    /// Takes the lock, or says that somebody else has it.
    pub(crate) fn try_lock(&self) -> Result<Option<DaemonLock>> {
        let path = self.directory.join("daemon.lock");
        let what = || format!("cannot lock {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Failure::io(what(), &e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DaemonLock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(Failure::io(what(), &e.into())),
        }
    }
}

/// The number of a network namespace, if it may be known.
fn namespace(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|m| m.ino())
}

fn directory_for(own: Option<u64>, init: Option<u64>) -> PathBuf {
    match (own, init) {
        (Some(own), Some(init)) if own != init => Path::new(RUNTIME_DIR).join(format!("netns-{own}")),
        _ => PathBuf::from(RUNTIME_DIR),
    }
}

/// Whether nobody listens there: there is no socket, or only a dead one.
pub(crate) fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_namespace_has_a_directory_of_its_own() {
        assert_eq!(directory_for(Some(1), Some(1)), Path::new("/run/adit"));
        assert_eq!(directory_for(Some(7), Some(1)), Path::new("/run/adit/netns-7"));
        assert_eq!(directory_for(Some(7), None), Path::new("/run/adit"), "an ordinary user may not look at init");
    }

    #[test]
    fn another_namespace_s_directory_is_reached_through_the_machine_s_own() {
        let way = |directory: &str| {
            let places = Places::new(directory.into(), None);
            places.on_the_way().into_iter().map(Path::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(way("/run/adit/netns-7"), [Path::new("/run/adit"), Path::new("/run/adit/netns-7")]);
        assert_eq!(way("/run/adit"), [Path::new("/run/adit")]);
        assert_eq!(way("/tmp/x/run"), [Path::new("/tmp/x/run")], "what is around it is not ours");
    }

    #[test]
    fn the_socket_can_be_elsewhere() {
        let places = Places::new("/x".into(), Some("/y/s".into()));
        assert_eq!((places.socket.as_path(), places.log()), (Path::new("/y/s"), PathBuf::from("/x/daemon.log")));
    }

    #[test]
    fn only_one_process_holds_the_lock() {
        let directory = std::env::temp_dir().join(format!("adit-places-{}", std::process::id()));
        let places = Places::new(directory.clone(), None);
        places.create().unwrap();
        let held = places.try_lock().unwrap();
        assert!(held.is_some());
        assert!(places.try_lock().unwrap().is_none());
        drop(held);
        assert!(places.try_lock().unwrap().is_some());
        std::fs::remove_dir_all(directory).unwrap();
    }
}

//! Where an interface is now, whatever namespace it was moved to and however it was renamed, and whether it is up.
//!
//! Not here: news of changes (`adit-host`); whoever hears that something changed asks here what is true.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{is_gone, sys};

/// Whether an interface can carry packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It was set up.
    Up,
    /// It was set down, or never up.
    Down,
    /// It was removed.
    Gone,
}

/// The interface of a [`TunDevice`](crate::TunDevice), for asking about it while an engine owns the device.
///
/// As long as this lives, so does the interface.
#[derive(Debug)]
pub struct TunLink {
    fd: OwnedFd,
    whereabouts: Whereabouts,
}

impl TunLink {
    pub(super) fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { fd: fd.try_clone_to_owned()?, whereabouts: Whereabouts::here()? })
    }

    /// What it was called when it was last asked about.
    pub fn name(&self) -> &str {
        self.whereabouts.name()
    }

    /// Whether it is up, wherever it is.
    ///
    /// # Errors
    /// It is in a namespace that this process may not look into.
    pub fn state(&mut self) -> io::Result<LinkState> {
        match self.whereabouts.ask(self.fd.as_fd(), sys::is_up) {
            Ok(true) => Ok(LinkState::Up),
            Ok(false) => Ok(LinkState::Down),
            Err(error) if is_gone(&error) && self.is_detached() => Ok(LinkState::Gone),
            Err(error) => Err(error),
        }
    }

    /// The network namespace that it is in; `None` if that is the calling thread's, or cannot be known (before Linux 5.2).
    pub fn elsewhere(&self) -> Option<Elsewhere> {
        let namespace = sys::namespace(self.fd.as_fd()).ok()?;
        let number = number_of(&namespace)?;
        (Some(number) != own_number()).then_some(Elsewhere { namespace, number })
    }

    fn is_detached(&self) -> bool {
        sys::query(self.fd.as_fd()).is_err()
    }
}

/// A network namespace that is not this process's.
#[derive(Debug)]
pub struct Elsewhere {
    /// To enter it.
    pub namespace: OwnedFd,
    /// To tell it from others, as long as it exists.
    pub number: u64,
}

/// Finds an interface by its descriptor of /dev/net/tun.
#[derive(Debug)]
pub(super) struct Whereabouts {
    name: String,
    /// The namespace that `probe` is in, if that is known.
    number: Option<u64>,
    /// A socket in the namespace that the interface was last seen in; `None` if that one cannot be entered.
    probe: Option<OwnedFd>,
}

impl Whereabouts {
    /// Begins to look in the namespace of the calling thread.
    pub(super) fn here() -> io::Result<Self> {
        Ok(Self { name: String::new(), number: own_number(), probe: Some(inet_socket()?) })
    }

    /// What it is called there.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks something about the interface, by its name, on a socket of its namespace.
    pub(super) fn ask<T>(
        &mut self,
        tun: BorrowedFd<'_>,
        question: impl Fn(BorrowedFd<'_>, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        self.name = sys::query(tun)?.0;
        if let Ok(namespace) = sys::namespace(tun) {
            self.follow(namespace);
        }
        let probe = self.probe.as_ref().ok_or(rustix::io::Errno::PERM)?;
        question(probe.as_fd(), &self.name)
    }

    fn follow(&mut self, namespace: OwnedFd) {
        let number = number_of(&namespace);
        if number.is_none() || number == self.number {
            return;
        }
        self.number = number;
        // A thread may be in a namespace of its own, and this one is gone right after.
        let made = std::thread::spawn(move || {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            inet_socket()
        });
        self.probe = made.join().ok().and_then(|socket: io::Result<_>| {
            socket.inspect_err(|error| tracing::debug!(%error, "the interface's namespace cannot be entered")).ok()
        });
    }
}

/// Numbers of namespaces are unique among those that exist.
fn number_of(namespace: &OwnedFd) -> Option<u64> {
    Some(rustix::fs::fstat(namespace).ok()?.st_ino)
}

fn own_number() -> Option<u64> {
    Some(rustix::fs::stat("/proc/thread-self/ns/net").ok()?.st_ino)
}

pub(super) fn inet_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

//! What can go wrong, as sentences with an exit code: 1 failed, 2 usage, 5 needs a privilege.

use std::fmt;
use std::io;

use adit::uapi_socket::SocketError;
use rustix::io::Errno;

/// A sentence for a person, and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: format!("{}\n  hint: `adit-wireguard --help`", message.into()) }
    }

    fn privilege(message: impl Into<String>) -> Self {
        Self { code: 5, message: message.into() }
    }

    /// The interface could not be made.
    pub(crate) fn tun(interface: &str, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Self::new(
                "there is no /dev/net/tun\n  hint: `modprobe tun`; in a container, start it with `--device /dev/net/tun`",
            ),
            Some(Errno::BUSY | Errno::INVAL | Errno::EXIST) => Self::new(format!(
                "the name {interface} is taken: there is such an interface already\n  \
                 hint: `ip link show {interface}` shows it; remove it, or choose another name"
            )),
            Some(Errno::PERM | Errno::ACCESS) => Self::privilege(format!(
                "not allowed to make the interface {interface}: that needs CAP_NET_ADMIN, and access to /dev/net/tun\n  \
                 hint: sudo adit-wireguard {interface}"
            )),
            _ => Self::new(format!("could not make the interface {interface}: {error}")),
        }
    }

    /// The socket could not be made.
    pub(crate) fn socket(error: &SocketError) -> Self {
        match error {
            SocketError::Denied { .. } => Self::privilege(error.to_string()),
            SocketError::Live { .. } | SocketError::InTheWay { .. } | SocketError::Failed { .. } => {
                Self::new(error.to_string())
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

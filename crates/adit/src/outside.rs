//! What can be changed about an outside while a tunnel runs.
//!
//! Not here: the outside itself (`adit-engine`).

use std::io;

use adit_engine::UdpControl;

/// What a tunnel's outside is, and its controls.
#[derive(Debug, Clone, Default)]
pub enum Outside {
    /// One that the program brought along: nothing can be changed.
    #[default]
    Custom,
    /// UDP sockets of this machine.
    Udp(UdpControl),
}

impl Outside {
    /// A word for people.
    pub const fn transport(&self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Udp(_) => "udp",
        }
    }

    /// The UDP port of this end.
    pub fn listen_port(&self) -> Option<u16> {
        match self {
            Self::Custom => None,
            Self::Udp(udp) => Some(udp.port()),
        }
    }

    /// The mark of outgoing datagrams; 0 is none.
    pub fn fwmark(&self) -> u32 {
        match self {
            Self::Custom => 0,
            Self::Udp(udp) => udp.fwmark(),
        }
    }

    /// Listens on another port; 0 picks one.
    ///
    /// # Errors
    /// What the system says; the old port stays in use then. `Unsupported` if there is no port.
    pub async fn set_listen_port(&self, port: u16) -> io::Result<()> {
        match self {
            Self::Custom => unsupported(port.into()),
            Self::Udp(udp) if port != 0 && port == udp.port() => Ok(()),
            Self::Udp(udp) => udp.rebind(port).await.map(drop),
        }
    }

    /// Marks outgoing datagrams; 0 is none.
    ///
    /// # Errors
    /// What the system says. `Unsupported` if there is no mark.
    pub async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        match self {
            Self::Custom => unsupported(mark),
            Self::Udp(udp) => udp.set_fwmark(mark).await,
        }
    }
}

/// "None in particular" is what an outside without a socket has.
fn unsupported(value: u32) -> io::Result<()> {
    if value == 0 { Ok(()) } else { Err(rustix::io::Errno::OPNOTSUPP.into()) }
}

//! What is known of a client's carrier, for people and for whoever chooses carriers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

use super::wire::Traffic;

/// Reaches an [`HttpsLink`](super::HttpsLink) that an engine owns.
#[derive(Debug, Clone)]
pub struct HttpsControl {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<Known>,
    pub(super) traffic: Arc<Traffic>,
}

/// How the carrier is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsStatus {
    /// What it is doing.
    pub state: HttpsState,
    /// Since when it does that.
    pub since: SystemTime,
    /// The server's address, of the connection that is up, or of the last one.
    pub server: Option<SocketAddr>,
    /// What the connection looks like from outside.
    pub label: &'static str,
    /// Why the last connection ended or did not come about, in words.
    pub failure: Option<String>,
    /// What the owner should do something about, such as a fingerprint that is out of date.
    pub warning: Option<String>,
    /// Connections that carried datagrams so far.
    pub connections: u64,
    /// Bytes of HTTP/2 that were written.
    pub sent: u64,
    /// Bytes of HTTP/2 that were read.
    pub received: u64,
}

/// What a client's carrier is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpsState {
    /// Connecting, or visiting the site.
    Connecting,
    /// Carrying datagrams.
    Up,
    /// Waiting before the next attempt. After a silent stall that takes minutes: another carrier may do better meanwhile.
    Waiting {
        /// The connection fell silent.
        stalled: bool,
    },
    /// It has met a server that is not the right one, and sends nothing more until it is told to.
    Stopped,
}

/// What the task tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) state: HttpsState,
    pub(super) since: SystemTime,
    pub(super) server: Option<SocketAddr>,
    pub(super) label: &'static str,
    pub(super) failure: Option<String>,
    pub(super) warning: Option<String>,
    pub(super) connections: u64,
}

/// What a task is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// The machine is in another network, perhaps.
    NetworkChanged,
    /// Another connection, please, before this one is left.
    Renew,
    /// Try again after having stopped.
    Retry,
}

/// Commands that may wait.
pub(super) const COMMANDS: usize = 4;

impl HttpsControl {
    /// How it is now.
    pub fn status(&self) -> HttpsStatus {
        let known = self.status.borrow().clone();
        HttpsStatus {
            state: known.state,
            since: known.since,
            server: known.server,
            label: known.label,
            failure: known.failure,
            warning: known.warning,
            connections: known.connections,
            sent: self.traffic.sent.load(Ordering::Relaxed),
            received: self.traffic.received.load(Ordering::Relaxed),
        }
    }

    /// Waits until more than the bytes has changed since the last call; for ever if the tunnel has stopped.
    pub async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Says that the machine may be in another network: a connection that does not prove to live is replaced at once, and
    /// nothing that happened in the old network is waited for.
    pub fn network_changed(&self) {
        self.tell(Command::NetworkChanged);
    }

    /// Replaces the connection by a new one, which is up before the old one is left.
    pub fn renew(&self) {
        self.tell(Command::Renew);
    }

    /// Tries again after it has stopped because of a wrong server.
    pub fn retry(&self) {
        self.tell(Command::Retry);
    }

    fn tell(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, ?command, "the carrier was told too much at once, or has stopped");
        }
    }
}

//! Asking a UDP link for changes while an engine owns it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

/// Requests that may wait.
pub(super) const REQUESTS: usize = 8;

/// Reaches a [`UdpLink`](super::UdpLink) that an engine owns.
#[derive(Debug, Clone)]
pub struct UdpControl {
    requests: mpsc::Sender<Request>,
    port: watch::Receiver<u16>,
    /// What was set last, by any handle.
    fwmark: Arc<AtomicU32>,
}

#[derive(Debug)]
pub(super) enum Request {
    Rebind { port: u16, answer: oneshot::Sender<io::Result<u16>> },
    Mark { mark: u32, answer: oneshot::Sender<io::Result<()>> },
}

impl UdpControl {
    pub(super) fn new(requests: mpsc::Sender<Request>, port: watch::Receiver<u16>, fwmark: u32) -> Self {
        Self { requests, port, fwmark: Arc::new(AtomicU32::new(fwmark)) }
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        *self.port.borrow()
    }

    /// The firewall mark of its sockets; 0 is none.
    pub fn fwmark(&self) -> u32 {
        self.fwmark.load(Ordering::Relaxed)
    }

    /// Moves to another port (0 picks one) and says which. The core keeps its peers and sessions.
    ///
    /// # Errors
    /// The port is taken, or needs a privilege: the old one stays. `NotConnected` if the engine has stopped.
    pub async fn rebind(&self, port: u16) -> io::Result<u16> {
        self.ask(|answer| Request::Rebind { port, answer }).await
    }

    /// Sets the firewall mark of both sockets, and of later ones; 0 is none.
    ///
    /// # Errors
    /// It needs a privilege. `NotConnected` if the engine has stopped.
    pub async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.ask(|answer| Request::Mark { mark, answer }).await?;
        self.fwmark.store(mark, Ordering::Relaxed);
        Ok(())
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Request) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the tunnel has stopped");
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

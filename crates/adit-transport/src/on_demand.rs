//! An HTTPS link that exists only while it is wanted: a tunnel whose UDP gets through connects to nothing else.
//!
//! Not here: when it is wanted (`ladder`), the link itself (`client`).

use std::fmt;
use std::io;
use std::sync::Arc;

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};
use tokio::sync::{mpsc, watch};

use crate::client::{HttpsControl, HttpsLink, HttpsState, HttpsStatus, Past};
use crate::config::HttpsClient;
use crate::ladder::Https;
use crate::ladder_link::HttpsSide;

/// New settings that may wait.
const SETTINGS: usize = 4;
/// As UDP over IPv6, so that there is one MTU whether there is a link or not.
const OVERHEAD: usize = 40 + 8;

/// Makes the settings of a link, each time that one is made. `None` is none that could be made.
pub type Settings = Box<dyn FnMut() -> Option<HttpsClient> + Send>;

/// A link that is made when it is wanted, and dropped when it is not.
pub struct OnDemand {
    settings: Settings,
    link: Option<(HttpsLink, HttpsControl)>,
    /// Outlives the links.
    past: Past,
    wanted: watch::Receiver<bool>,
    state: watch::Sender<Https>,
    new_settings: mpsc::Receiver<Settings>,
    shown: watch::Sender<Option<HttpsControl>>,
}

/// Reaches an [`OnDemand`] that an engine owns.
#[derive(Debug, Clone)]
pub struct OnDemandControl {
    new_settings: mpsc::Sender<Settings>,
    shown: watch::Receiver<Option<HttpsControl>>,
}

/// What brought [`OnDemand::ready`] back.
enum Wake {
    Ready(io::Result<Ready>),
    Settings(Settings),
    Look,
}

impl OnDemand {
    /// One that is not wanted yet, and how a ladder sees it.
    pub fn new(settings: Settings) -> (Self, OnDemandControl, HttpsSide) {
        let (wanted, is_wanted) = watch::channel(false);
        let (state, state_now) = watch::channel(Https::Down);
        let (to_settings, new_settings) = mpsc::channel(SETTINGS);
        let (shown, shown_now) = watch::channel(None);
        let link = Self { settings, link: None, past: Past::default(), wanted: is_wanted, state, new_settings, shown };
        let control = OnDemandControl { new_settings: to_settings, shown: shown_now };
        (link, control, HttpsSide { state: state_now, wanted })
    }

    /// Makes the link or drops it, as it is wanted, and says how it is.
    fn follow(&mut self) {
        let wanted = *self.wanted.borrow_and_update();
        if wanted && self.link.is_none() {
            self.link = (self.settings)().map(|settings| HttpsLink::with_past(settings, self.past.clone()));
            self.shown.send_replace(self.link.as_ref().map(|(_, control)| control.clone()));
        } else if !wanted && self.link.take().is_some() {
            self.shown.send_replace(None);
        }
        let state = match &self.link {
            Some((_, control)) => state_of(&control.status()),
            None => Https::Down,
        };
        self.state.send_if_modified(|now| {
            let is_new = *now != state;
            if is_new {
                *now = state;
            }
            is_new
        });
    }
}

fn state_of(status: &HttpsStatus) -> Https {
    match status.state {
        HttpsState::Up => Https::Up,
        HttpsState::Connecting | HttpsState::Waiting { .. } => Https::Down,
        HttpsState::Stopped => {
            Https::Refused(status.failure.clone().unwrap_or_else(|| "the server is not the right one".to_owned()))
        }
    }
}

impl DatagramIo for OnDemand {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            self.follow();
            let link = async {
                match &mut self.link {
                    Some((link, control)) => tokio::select! {
                        ready = link.ready(want) => Wake::Ready(ready),
                        () = control.changed() => Wake::Look,
                    },
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                wake = link => wake,
                Some(settings) = self.new_settings.recv() => Wake::Settings(settings),
                Ok(()) = self.wanted.changed() => Wake::Look,
                else => std::future::pending().await,
            };
            match wake {
                Wake::Ready(ready) => return ready,
                Wake::Settings(settings) => {
                    self.settings = settings;
                    // It may be another server.
                    self.past.tickets = Arc::default();
                    self.link = None;
                }
                Wake::Look => {}
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        match &mut self.link {
            Some((link, _)) => link.try_recv(into),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        match &mut self.link {
            Some((link, _)) => link.try_send(out),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn overhead(&self) -> usize {
        self.link.as_ref().map_or(OVERHEAD, |(link, _)| link.overhead()).max(OVERHEAD)
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
}

impl OnDemandControl {
    /// Other settings from now on: the link that there is goes, and is made anew if it is wanted.
    pub async fn set(&self, settings: Settings) {
        // If the engine has stopped, no settings matter.
        drop(self.new_settings.send(settings).await);
    }

    /// How the link is, if there is one.
    pub fn status(&self) -> Option<HttpsStatus> {
        self.shown.borrow().as_ref().map(HttpsControl::status)
    }

    /// The machine may be in another network.
    pub fn network_changed(&self) {
        if let Some(control) = &*self.shown.borrow() {
            control.network_changed();
        }
    }
}

impl fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDemand").field("link", &self.link).finish_non_exhaustive()
    }
}

//! What can be asked of an outside, and changed about it, while a tunnel runs.
//!
//! Not here: the outside itself (`carriers`, `adit-engine`, `adit-transport`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_engine::UdpControl;
use adit_transport::config::User;
use adit_transport::ladder::{Carrier, Https, Order};
use adit_transport::ladder_link::{LadderControl, Shown};
use adit_transport::ladder_memory::Memory;
use adit_transport::on_demand::OnDemandControl;
use adit_transport::server::ServerControl;
use tokio::sync::watch;

use crate::profile::wg_quick::Profile;
use crate::status::{CarrierStatus, WebSiteStatus};

/// What a tunnel's outside is, and its controls.
#[derive(Debug, Clone, Default)]
pub enum Outside {
    /// One that the program brought along: nothing can be changed.
    #[default]
    Custom,
    /// UDP sockets of this machine.
    Udp(UdpControl),
    /// UDP, and HTTPS as the visitor of a web site.
    Visitor(Visitor),
    /// UDP, and a web site whose visitors may be peers.
    WebSite(WebServer),
}

/// The controls of a client with HTTPS.
#[derive(Debug, Clone)]
pub struct Visitor {
    udp: UdpControl,
    ladder: LadderControl,
    https: OnDemandControl,
    /// The mark of connections that are made from now on.
    mark: Arc<AtomicU32>,
    state: PathBuf,
}

/// The controls of a server with HTTPS.
#[derive(Debug, Clone)]
pub struct WebServer {
    udp: UdpControl,
    site: ServerControl,
}

impl Outside {
    /// A word for people: the carrier in use, or those a server has.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Udp(_) => "udp",
            Self::Visitor(visitor) => word(visitor.shown().carrier),
            Self::WebSite(_) => "udp, https",
        }
    }

    /// The UDP port of this end.
    pub fn listen_port(&self) -> Option<u16> {
        self.udp().map(UdpControl::port)
    }

    /// The mark of outgoing datagrams; 0 is none.
    pub fn fwmark(&self) -> u32 {
        self.udp().map_or(0, UdpControl::fwmark)
    }

    /// Listens on another port; 0 picks one.
    ///
    /// # Errors
    /// What the system says; the old port stays in use then. `Unsupported` if there is no port.
    pub async fn set_listen_port(&self, port: u16) -> io::Result<()> {
        match self.udp() {
            None => unsupported(port.into()),
            Some(udp) if port != 0 && port == udp.port() => Ok(()),
            Some(udp) => udp.rebind(port).await.map(drop),
        }
    }

    /// Marks outgoing datagrams, and connections that are made from now on; 0 is none.
    ///
    /// # Errors
    /// What the system says. `Unsupported` if there is no mark.
    pub async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        let Some(udp) = self.udp() else { return unsupported(mark) };
        if let Self::Visitor(visitor) = self {
            visitor.mark.store(mark, Ordering::Relaxed);
        }
        udp.set_fwmark(mark).await
    }

    /// The controls of a client with HTTPS.
    pub const fn visitor(&self) -> Option<&Visitor> {
        match self {
            Self::Visitor(visitor) => Some(visitor),
            Self::Custom | Self::Udp(_) | Self::WebSite(_) => None,
        }
    }

    /// The controls of a server with HTTPS.
    pub const fn web_server(&self) -> Option<&WebServer> {
        match self {
            Self::WebSite(server) => Some(server),
            Self::Custom | Self::Udp(_) | Self::Visitor(_) => None,
        }
    }

    const fn udp(&self) -> Option<&UdpControl> {
        match self {
            Self::Custom => None,
            Self::Udp(udp) | Self::Visitor(Visitor { udp, .. }) | Self::WebSite(WebServer { udp, .. }) => Some(udp),
        }
    }
}

impl Visitor {
    pub(crate) const fn new(
        udp: UdpControl,
        ladder: LadderControl,
        https: OnDemandControl,
        mark: Arc<AtomicU32>,
        state: PathBuf,
    ) -> Self {
        Self { udp, ladder, https, mark, state }
    }

    /// Which carrier is in use, since when, and why.
    pub fn shown(&self) -> Shown {
        self.ladder.shown()
    }

    /// We are on this network now. One that is as before changes nothing; `None` is one that cannot be told from others.
    pub async fn network_changed(&self, network: Option<String>) {
        self.https.network_changed();
        self.ladder.network_changed(network).await;
    }

    /// Another server, other keys: the HTTPS connection is made anew; the sessions of the protocol go on.
    pub(crate) async fn set_profile(&self, profile: &Profile) {
        self.https.set(crate::carriers::settings(profile, &self.mark, &self.state)).await;
    }

    /// Which carrier worked on which network, as it is learnt.
    pub fn memory(&self) -> watch::Receiver<Memory> {
        self.ladder.memory()
    }

    /// Other carriers, or in another order. What works stays in use if it may.
    pub(crate) async fn set_order(&self, order: Order) {
        self.ladder.set_order(order).await;
    }

    /// Counts up whenever the peers should be called.
    pub(crate) fn calls(&self) -> watch::Receiver<u64> {
        self.ladder.calls()
    }

    pub(crate) fn status(&self) -> CarrierStatus {
        let shown = self.shown();
        let (first, all) = (shown.order.first(), [Carrier::Udp, Carrier::Https]);
        let others = all.into_iter().filter(|carrier| *carrier != first && shown.order.has(*carrier));
        let https = self.https.status();
        let failure = https.as_ref().and_then(|https| https.failure.clone()).filter(|_| shown.https != Https::Up);
        CarrierStatus {
            carrier: word(shown.carrier).to_owned(),
            for_seconds: tokio::time::Instant::now().into_std().saturating_duration_since(shown.since).as_secs(),
            why: shown.reason.to_string(),
            order: std::iter::once(first).chain(others).map(|carrier| word(carrier).to_owned()).collect(),
            https: match failure {
                Some(failure) if shown.https == Https::Down => format!("{}: {failure}", shown.https),
                Some(_) | None => shown.https.to_string(),
            },
            server: https.as_ref().and_then(|https| https.server),
            looks_like: https.as_ref().map(|https| https.label.to_owned()).filter(|label| !label.is_empty()),
            warning: https.and_then(|https| https.warning),
        }
    }
}

impl WebServer {
    pub(crate) const fn new(udp: UdpControl, site: ServerControl) -> Self {
        Self { udp, site }
    }

    /// From now on these may use the tunnel. Streams of those who are gone end.
    pub fn set_users(&self, users: Vec<User>) {
        self.site.set_users(users);
    }

    pub(crate) async fn status(&self) -> WebSiteStatus {
        self.site.look().await;
        let (now, process) = (self.site.status(), self.site.process());
        WebSiteStatus {
            listening: self.site.listening().to_vec(),
            pin: self.site.pin().map(|pin| pin.to_string()),
            connections: now.connections,
            streams: now.streams.values().sum(),
            process: process.as_ref().and_then(|process| process.id),
            trouble: process.and_then(|process| process.trouble),
        }
    }
}

const fn word(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Udp => "udp",
        Carrier::Https => "https",
    }
}

/// "None in particular" is what an outside without a socket has.
fn unsupported(value: u32) -> io::Result<()> {
    if value == 0 { Ok(()) } else { Err(rustix::io::Errno::OPNOTSUPP.into()) }
}

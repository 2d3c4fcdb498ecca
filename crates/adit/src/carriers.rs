//! The outside of a tunnel as its profile has it: UDP, UDP and HTTPS as a visitor, or UDP and a web site of our own.
//!
//! Not here: which carrier a client uses when (`adit_transport::ladder`), what can be changed while it runs (`outside`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_engine::{DatagramIo, Links, Offloads, Ready, RecvBatch, SendArena, UdpLink, UdpOptions, Want};
use adit_transport::apart::Bridge;
use adit_transport::config::{Certificates, Front, HttpsServer};
use adit_transport::ladder::{Carrier, Order};
use adit_transport::ladder_link::{LadderLink, LadderOptions};
use adit_transport::ladder_memory::Memory;
use adit_transport::on_demand::{OnDemand, Settings};
use adit_transport::server::{HttpsListener, ServerControl};

use crate::outside::{Outside, Visitor, WebServer};
use crate::profile::wg_quick::Profile;
use crate::{https, self_signed};

/// The outside of a tunnel.
#[derive(Debug)]
pub struct Carriers(Kind);

#[derive(Debug)]
enum Kind {
    Udp(Box<UdpLink>),
    Visitor(Box<LadderLink<UdpLink, OnDemand>>),
    WebSite(Box<Links<UdpLink, HttpsListener>>),
    WebSiteElsewhere(Box<Links<UdpLink, Bridge>>),
}

/// What a tunnel's outside is told of where it runs.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Where certificates and the like may be kept from one run to the next.
    pub state: PathBuf,
    /// The network we are in, if it can be told from others.
    pub network: Option<String>,
    /// Which carrier worked on which network.
    pub memory: Memory,
    /// Who serves a web site, if it is not to be served in this process.
    pub web: Option<WebElsewhere>,
}

/// Opens a web site in another process than this one.
pub struct WebElsewhere(Box<dyn FnOnce(HttpsServer) -> Opening + Send>);

type Opening = Pin<Box<dyn Future<Output = io::Result<(Bridge, ServerControl)>> + Send>>;

impl WebElsewhere {
    /// Opened by this, which waits until visitors are let in.
    pub fn by<F>(open: impl FnOnce(HttpsServer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<(Bridge, ServerControl)>> + Send + 'static,
    {
        Self(Box::new(move |server| Box::pin(open(server))))
    }
}

impl fmt::Debug for WebElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebElsewhere(…)")
    }
}

/// Why an outside could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The UDP sockets.
    #[error("cannot listen on UDP: {0}")]
    Udp(#[source] io::Error),
    /// The web site.
    #[error("cannot serve the web site of [Https]: {0}")]
    WebSite(#[source] io::Error),
}

impl Carriers {
    /// Makes what the profile asks for, and its controls. Must be called on the tokio runtime that it will run on.
    ///
    /// # Errors
    /// A port is taken or needs a privilege; files of the web site cannot be read.
    pub async fn open(
        profile: &Profile,
        options: UdpOptions,
        surroundings: Surroundings,
    ) -> Result<(Self, Outside), OpenError> {
        let (udp, control) = UdpLink::bind(options).map_err(OpenError::Udp)?;
        let Surroundings { state, network, memory, web } = surroundings;
        if let Some(mut server) = https::server(profile, &state) {
            std::fs::create_dir_all(&state).map_err(OpenError::WebSite)?;
            if let Front::Direct(certificates) = &mut server.front
                && let Certificates::SelfSigned { names } = certificates
            {
                let (chain, key) = self_signed::files(&state, names, profile.interface.private_key.as_ref())
                    .map_err(OpenError::WebSite)?;
                *certificates = Certificates::Files { chain, key };
            }
            let (kind, site) = match web {
                None => {
                    let (listener, site) = HttpsListener::bind(server).await.map_err(OpenError::WebSite)?;
                    (Kind::WebSite(Box::new(Links::new(udp, listener))), site)
                }
                Some(WebElsewhere(open)) => {
                    let (bridge, site) = open(server).await.map_err(OpenError::WebSite)?;
                    (Kind::WebSiteElsewhere(Box::new(Links::new(udp, bridge))), site)
                }
            };
            return Ok((Self(kind), Outside::WebSite(WebServer::new(control, site))));
        }
        if https::reached_by_https(profile).is_none() {
            return Ok((Self(Kind::Udp(Box::new(udp))), Outside::Udp(control)));
        }
        let mark = Arc::new(AtomicU32::new(options.fwmark));
        let (link, https, side) = OnDemand::new(settings(profile, &mark, &state));
        let order = order(profile);
        let (ladder, ladder_control) =
            LadderLink::new(udp, link, side, LadderOptions { order, asks: https::asks, network, memory });
        let outside = Outside::Visitor(Visitor::new(control, ladder_control, https, mark, state));
        Ok((Self(Kind::Visitor(Box::new(ladder))), outside))
    }
}

/// The carriers of a profile, in the order of its HTTPS peer, if it has one.
pub(crate) fn order(profile: &Profile) -> Order {
    let https = https::reached_by_https(profile);
    https.map_or(Order::only(Carrier::Udp), |peer| peer.transport.unwrap_or(Order::UDP_FIRST))
}

/// What an HTTPS link of this profile is made with, whenever one is made.
pub(crate) fn settings(profile: &Profile, mark: &Arc<AtomicU32>, state: &Path) -> Settings {
    let (profile, mark) = (profile.duplicate(), Arc::clone(mark));
    // Without a place to keep it, what was loaded is known as long as the program runs.
    let cache = (!state.as_os_str().is_empty()).then(|| state.join("visits"));
    Box::new(move || https::client(&profile, mark.load(Ordering::Relaxed), cache.as_deref()))
}

impl DatagramIo for Carriers {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        match &mut self.0 {
            Kind::Udp(link) => link.ready(want).await,
            Kind::Visitor(link) => link.ready(want).await,
            Kind::WebSite(link) => link.ready(want).await,
            Kind::WebSiteElsewhere(link) => link.ready(want).await,
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_recv(into),
            Kind::Visitor(link) => link.try_recv(into),
            Kind::WebSite(link) => link.try_recv(into),
            Kind::WebSiteElsewhere(link) => link.try_recv(into),
        }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_send(out),
            Kind::Visitor(link) => link.try_send(out),
            Kind::WebSite(link) => link.try_send(out),
            Kind::WebSiteElsewhere(link) => link.try_send(out),
        }
    }

    fn overhead(&self) -> usize {
        match &self.0 {
            Kind::Udp(link) => link.overhead(),
            Kind::Visitor(link) => link.overhead(),
            Kind::WebSite(link) => link.overhead(),
            Kind::WebSiteElsewhere(link) => link.overhead(),
        }
    }

    fn offloads(&self) -> Offloads {
        match &self.0 {
            Kind::Udp(link) => link.offloads(),
            Kind::Visitor(link) => link.offloads(),
            Kind::WebSite(link) => link.offloads(),
            Kind::WebSiteElsewhere(link) => link.offloads(),
        }
    }
}

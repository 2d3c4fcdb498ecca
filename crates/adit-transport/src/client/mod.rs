//! The client's half of the HTTPS carrier: one connection that a browser could have made, and datagrams in it.
//!
//! A task of the runtime that made the link keeps the connection; the engine holds the hub. Not here: the outer TLS
//! (`tls`), the bytes of HTTP/2 (`h2`), which carrier is used (`ladder`).

mod cache;
mod connect;
mod dial;
mod governor;
mod inflate;
mod look;
mod page;
mod pump;
mod request;
mod run;
mod status;
mod tunnel;
mod visit;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};
use adit_protocol::Path;
use tokio::sync::{Mutex, mpsc, watch};

pub use self::governor::Pace;
pub use self::look::{Looked, Trouble, look};
pub use self::status::{HttpsControl, HttpsState, HttpsStatus};

use self::connect::Server;
use self::run::Run;
use self::status::{COMMANDS, Known};
use self::wire::Traffic;
use crate::config::{Hello, HttpsClient};
use crate::hub::{Bounds, Hub};
use crate::tls::Tickets;
use crate::tls::profile::Profile;

/// The outside of a client whose datagrams travel in an HTTPS connection.
///
/// Whatever the core sends goes to the server of this link; what comes back has the path that was last sent to.
#[derive(Debug)]
pub struct HttpsLink {
    hub: Hub,
}

/// What the links to one server leave to those after them.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Together they greet it no more often than one.
    pub pace: Pace,
    /// The later ones resume sessions of the earlier ones.
    pub tickets: Arc<Tickets>,
}

impl HttpsLink {
    /// A link that begins to connect at once, on the runtime that this is called in.
    pub fn new(config: HttpsClient) -> (Self, HttpsControl) {
        Self::with_past(config, Past::default())
    }

    /// As [`new`](Self::new), for a server that there were links to before.
    pub fn with_past(config: HttpsClient, Past { pace, tickets }: Past) -> (Self, HttpsControl) {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.port));
        let first = config.addresses.first().copied().unwrap_or(nowhere);
        let (hub, joiner) = Hub::single(Bounds::default(), Path::to(first));
        let (commands, to_obey) = mpsc::channel(COMMANDS);
        let profile = Profile::chromium();
        let now = SystemTime::now();
        let warning = (config.hello == Hello::Browser).then(|| profile.expired(now)).flatten();
        let (status, known) = watch::channel(Known {
            state: HttpsState::Connecting,
            since: now,
            server: None,
            label: "",
            failure: None,
            warning: warning.map(|expired| expired.to_string()),
            connections: 0,
        });
        let (network, changes) = watch::channel(0);
        let traffic = Arc::<Traffic>::default();
        let cache = Mutex::new(None);
        let server = Server { config, profile, traffic: Arc::clone(&traffic), tickets, cache, network: changes };
        tokio::spawn(Run::new(Arc::new(server), joiner, pace, status, to_obey, network).run());
        (Self { hub }, HttpsControl { commands, status: known, traffic })
    }
}

impl DatagramIo for HttpsLink {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        self.hub.ready(want).await
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        self.hub.try_recv(into)
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        self.hub.try_send(out)
    }

    fn overhead(&self) -> usize {
        self.hub.overhead()
    }

    fn offloads(&self) -> Offloads {
        self.hub.offloads()
    }
}

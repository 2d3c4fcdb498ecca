//! The server: a genuine web site, and behind the same requests the tunnel for those who prove that they may.
//!
//! One TLS, one HTTP, one site for everyone. A request that is not a user's reaches the site as it came, so what a stranger
//! sees is the site by construction. Not here: datagrams of the tunnel (`capsule`, `hub`), and proofs (`concealed`, `token`).

mod accept;
mod admit;
mod body;
mod certificates;
mod h1;
mod h2;
mod ledger;
mod limits;
mod piece;
mod replays;
mod scene;
mod site;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod upload;
mod users;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};
use tokio::task::JoinHandle;

use crate::config::{Front, HttpsServer, Pin, User};
use crate::hub::{Bounds, Hub, hub};
use accept::Door;
use admit::{Admission, Proof};
use certificates::Shown;
use replays::Memory;
use scene::Scene;
use site::Site;
use users::Register;

/// The outside of an engine whose peers come over HTTPS. Dropping it ends the server.
#[derive(Debug)]
pub struct HttpsListener {
    hub: Hub,
    _tasks: Tasks,
}

/// Looks at a running server, and changes its users.
#[derive(Debug, Clone)]
pub struct ServerControl {
    register: Arc<Register>,
    door: Arc<Door>,
    shown: Option<Arc<Shown>>,
    listening: Vec<SocketAddr>,
}

/// A server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Connections of everybody.
    pub connections: usize,
    /// Streams of the tunnel, by the user's key id.
    pub streams: BTreeMap<Vec<u8>, usize>,
}

impl HttpsListener {
    /// Begins to listen, and to serve the site and the tunnel on the current runtime.
    ///
    /// # Errors
    /// An address cannot be listened on, or the site or the certificates cannot be read.
    pub async fn bind(server: HttpsServer) -> io::Result<(Self, ServerControl)> {
        let (hub, joiner) = hub(Bounds::default());
        let register = Arc::new(Register::new(server.users));
        let site = Site::open(&server.site)?;
        let mut tasks = Tasks(Vec::new());
        let (proof, tls, shown) = match &server.front {
            Front::Direct(certificates) => {
                let provider = tls::provider();
                let (shown, task) = certificates::open(certificates, Arc::clone(&provider)).await?;
                tasks.0.extend(task);
                (Proof::Concealed, Some(tls::config(certificates, Arc::clone(&shown), provider)?), Some(shown))
            }
            Front::Behind { replays } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                (Proof::Token(Memory::open(replays.clone(), now)?), None, None)
            }
        };
        let admission = Admission { register: Arc::clone(&register), proof };
        let door = Arc::new(Door::new(Arc::new(Scene { site, admission, joiner, shape: server.shape }), tls));
        let mut listening = Vec::new();
        for listener in accept::listen_at(&server.listen, accept::listen)? {
            listening.push(listener.local_addr()?);
            tasks.0.push(tokio::spawn(Arc::clone(&door).run(listener)));
        }
        Ok((Self { hub, _tasks: tasks }, ServerControl { register, door, shown, listening }))
    }
}

impl ServerControl {
    /// From now on these are the users. Streams of those who are gone, or whose keys are others now, end.
    pub fn set_users(&self, users: Vec<User>) {
        self.register.set(users);
    }

    /// The server now.
    pub fn status(&self) -> ServerStatus {
        ServerStatus { connections: self.door.open(), streams: self.register.count() }
    }

    /// The pin of the certificate that is shown now; `None` behind a front, or while there is no certificate yet.
    pub fn pin(&self) -> Option<Pin> {
        self.shown.as_ref()?.pin()
    }

    /// Where it listens, with the ports that were chosen for port 0.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }
}

impl DatagramIo for HttpsListener {
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

/// Tasks that end when this is dropped.
#[derive(Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

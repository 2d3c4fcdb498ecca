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
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apart::{Control, Pem};
use crate::config::{Front, HttpsServer, Pin, User};
use crate::hub::{Bounds, Hub, hub};
use crate::names::Names;
use accept::Door;
use admit::{Admission, Proof};
use replays::Memory;
use scene::Scene;
use site::Site;
use users::Register;

pub(crate) use accept::{listen_at, listening_socket};
pub(crate) use certificates::{Handed, Shown};
pub(crate) use limits::{CONNECTIONS, TUNNELS};

/// The outside of an engine whose peers come over HTTPS. Dropping it ends the server.
#[derive(Debug)]
pub struct HttpsListener {
    hub: Hub,
    _tasks: Tasks,
}

/// Looks at a running server, and changes its users, wherever it runs.
#[derive(Debug, Clone)]
pub struct ServerControl {
    way: Way,
    /// The certificate, if this process knows it.
    shown: Option<Arc<Shown>>,
    listening: Vec<SocketAddr>,
}

/// The way to a server.
#[derive(Debug, Clone)]
enum Way {
    /// It is in this process.
    Here { register: Arc<Register>, door: Arc<Door> },
    /// It is in another.
    Apart(Control),
}

/// The process of a server that is in another than its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProcess {
    /// Its number, while there is one.
    pub id: Option<u32>,
    /// Why nobody is served at the moment.
    pub trouble: Option<String>,
}

/// What a server asks others for.
#[derive(Debug)]
pub(crate) struct Means {
    /// Where hosts are.
    pub(crate) names: Names,
    /// The certificate and its key, in place of reading their files.
    pub(crate) certificate: watch::Receiver<Option<Pem>>,
}

/// A server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
        let listen = server.listen.clone();
        let means = Means { names: Names::of_this_machine(), certificate: watch::channel(None).1 };
        let prepared = Prepared::of(server, means).await?;
        prepared.listen(listen_at(&listen, accept::listen)?)
    }

    /// As [`bind`](Self::bind), at sockets that listen already.
    pub(crate) async fn serve(
        server: HttpsServer,
        sockets: Vec<StdListener>,
        means: Means,
    ) -> io::Result<(Self, ServerControl)> {
        let prepared = Prepared::of(server, means).await?;
        let sockets = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        prepared.listen(sockets.collect::<io::Result<_>>()?)
    }
}

/// A server that listens nowhere yet.
#[derive(Debug)]
struct Prepared {
    hub: Hub,
    register: Arc<Register>,
    door: Arc<Door>,
    shown: Option<Arc<Shown>>,
    tasks: Tasks,
}

impl Prepared {
    async fn of(server: HttpsServer, means: Means) -> io::Result<Self> {
        let (hub, joiner) = hub(Bounds::default());
        let register = Arc::new(Register::new(server.users));
        let Means { names, certificate } = means;
        let site = Site::open(&server.site, &names)?;
        let mut tasks = Tasks::default();
        let (proof, tls, shown) = match &server.front {
            Front::Direct(certificates) => {
                let provider = tls::provider();
                let (shown, task) = certificates::open(certificates, Arc::clone(&provider), certificate, names).await?;
                task.into_iter().for_each(|task| tasks.add(task));
                (Proof::Concealed, Some(tls::config(certificates, Arc::clone(&shown), provider)?), Some(shown))
            }
            Front::Behind { replays } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                (Proof::Token(Memory::open(replays.clone(), now)?), None, None)
            }
        };
        let admission = Admission { register: Arc::clone(&register), proof };
        let door = Arc::new(Door::new(Arc::new(Scene { site, admission, joiner, shape: server.shape }), tls));
        Ok(Self { hub, register, door, shown, tasks })
    }

    fn listen(self, sockets: Vec<TcpListener>) -> io::Result<(HttpsListener, ServerControl)> {
        let Self { hub, register, door, shown, mut tasks } = self;
        let mut listening = Vec::new();
        for socket in sockets {
            listening.push(socket.local_addr()?);
            tasks.add(tokio::spawn(Arc::clone(&door).run(socket)));
        }
        let control = ServerControl { way: Way::Here { register, door }, shown, listening };
        Ok((HttpsListener { hub, _tasks: tasks }, control))
    }
}

impl ServerControl {
    /// The controls of a server in another process.
    pub(crate) const fn apart(control: Control, shown: Option<Arc<Shown>>, listening: Vec<SocketAddr>) -> Self {
        Self { way: Way::Apart(control), shown, listening }
    }

    /// From now on these are the users. Streams of those who are gone, or whose keys are others now, end.
    pub fn set_users(&self, users: Vec<User>) {
        match &self.way {
            Way::Here { register, .. } => register.set(users),
            Way::Apart(control) => control.set_users(&users),
        }
    }

    /// Has a server in another process say how it is, if it does so soon; in this process that is always known.
    pub async fn look(&self) {
        if let Way::Apart(control) = &self.way {
            control.look().await;
        }
    }

    /// The server now; in another process, when it was last looked at.
    pub fn status(&self) -> ServerStatus {
        match &self.way {
            Way::Here { register, door } => ServerStatus { connections: door.open(), streams: register.count() },
            Way::Apart(control) => control.known().status,
        }
    }

    /// The process that serves, if it is another than this.
    pub fn process(&self) -> Option<ServerProcess> {
        let Way::Apart(control) = &self.way else { return None };
        let known = control.known();
        Some(ServerProcess { id: known.process, trouble: known.trouble })
    }

    /// The pin of the certificate that is shown now; `None` behind a front, or while there is no certificate yet.
    pub fn pin(&self) -> Option<Pin> {
        match (&self.shown, &self.way) {
            (Some(shown), _) => shown.pin(),
            (None, Way::Apart(control)) => control.known().pin,
            (None, Way::Here { .. }) => None,
        }
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
#[derive(Debug, Default)]
pub(crate) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    pub(crate) fn add(&mut self, task: JoinHandle<()>) {
        self.0.push(task);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

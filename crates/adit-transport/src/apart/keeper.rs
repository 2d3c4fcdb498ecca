//! The engine's process: keeps what the process of the web site needs, tells it, and hears how it is.
//!
//! Not here: datagrams (`bridge`), what is said (`words`), who starts that process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::bridge::{Bridge, PATIENCE, Port, bridge};
use super::words::{Addresses, MAX_SAID, Said, Start, Told, emit_users, hear};
use super::{MAX_SOCKETS, Pem};
use crate::config::{Certificates, Front, HttpsServer, Pin, Site, User};
use crate::names::look_up;
use crate::server::{
    CONNECTIONS, Handed, ServerControl, ServerStatus, Shown, TUNNELS, Tasks, listen_at, listening_socket,
};

/// Without a word from the other process for so long, it hangs.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two words of it, if nothing else is to be said.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two words of it that are listened to; further ones wait in its socket.
const BREAK: Duration = Duration::from_millis(5);
/// How long an answer to "how are you" is waited for.
const ANSWER: Duration = Duration::from_millis(500);
/// Names that are looked up at a time; who asks for more is told no.
const QUESTIONS: usize = 8;
/// The most letters of a reason that the other process gives.
const MAX_WHY: usize = 500;
/// What stands before a hint.
const HINT: &str = "\n  hint: ";
/// A process that was just killed still has its sockets for a moment: so often, and after so long, they are bound again.
const LAST_BREATH: u32 = 20;
const BREATH: Duration = Duration::from_millis(50);

/// What the process of a web site is given, whichever process that is: it may die, and another be started.
#[derive(Debug)]
pub struct WebHalf {
    start: Zeroizing<Vec<u8>>,
    sockets: Vec<TcpListener>,
    /// Hosts that may be looked up.
    names: Vec<String>,
    /// Whether the certificate, and so the pin, is the other process's own.
    pins: bool,
    site: Site,
    port: Port,
    users: watch::Receiver<Message>,
    certificate: Option<watch::Receiver<Option<Pem>>>,
    known: watch::Sender<Known>,
    reports: Arc<Notify>,
    _tasks: Tasks,
}

/// A message that is ready to be sent, and wiped.
type Message = Arc<Zeroizing<Vec<u8>>>;

/// The controls of a web site in another process.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    users: watch::Sender<Message>,
    known: watch::Sender<Known>,
    reports: Arc<Notify>,
}

/// What is known of the other process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) status: ServerStatus,
    pub(crate) pin: Option<Pin>,
    /// The process, while there is one.
    pub(crate) process: Option<u32>,
    /// Why there is none, or none that serves.
    pub(crate) trouble: Option<String>,
}

/// Listens where the settings say, and prepares what the process of the web site is to be given. Nobody is answered until
/// [`WebHalf::attend`] has been called with one. Must be called on a tokio runtime.
///
/// # Errors
/// An address cannot be listened on, or the certificate's files cannot be read or used.
pub async fn open(server: HttpsServer) -> io::Result<(Bridge, ServerControl, WebHalf)> {
    let names = names(&server)?;
    let mut tasks = Tasks::default();
    let (mut certificate, mut handed): (_, Option<Arc<Shown>>) = (None, None);
    match &server.front {
        Front::Direct(Certificates::Acme { cache, .. }) => private_directory(cache)?,
        Front::Direct(from) => {
            let found = Handed::open(from).await?;
            certificate = Some(found.pem.subscribe());
            handed = Some(Arc::clone(&found.shown));
            tasks.add(found.follow());
        }
        Front::Behind { replays } => replays.as_deref().and_then(Path::parent).map_or(Ok(()), private_directory)?,
    }
    let sockets = bind(&server.listen).await?;
    let listening = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<SocketAddr>>>()?;
    if sockets.len() > MAX_SOCKETS {
        let why = format!("a web site can listen at {MAX_SOCKETS} addresses, not at {}", sockets.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let site = server.site.clone();
    let pins = matches!(server.front, Front::Direct(Certificates::Acme { .. }));
    let start = Start { sockets: sockets.len(), front: server.front, site: server.site, shape: server.shape };
    let (users, to_tell) = watch::channel(Arc::new(emit_users(&server.users)?));
    let (known, reports) = (watch::Sender::new(Known::default()), Arc::new(Notify::new()));
    let (bridge, port) = bridge(PATIENCE);
    let control = Control { users, known: known.clone(), reports: Arc::clone(&reports) };
    let half = WebHalf {
        start: Told::Start(start).emit()?,
        sockets,
        names,
        pins,
        site,
        port,
        users: to_tell,
        certificate,
        known,
        reports,
        _tasks: tasks,
    };
    Ok((bridge, ServerControl::apart(control, handed, listening), half))
}

impl WebHalf {
    /// Tells a new process what it is to do, and hears of it until it or the engine ends; `serving` is called when visitors
    /// are let in. The other end of `control` is for [`Half::receive`](super::Half::receive). Returns why it ended: after
    /// that, nothing that this process holds is of use, and it is to be killed.
    pub async fn attend(&self, control: StdStream, serving: impl FnOnce() + Send) -> io::Error {
        let ended = tokio::select! {
            ended = self.try_attend(control, serving) => ended,
            () = self.port.gone() => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel has stopped")),
        };
        self.known.send_modify(|known| known.status = ServerStatus::default());
        match ended {
            // It goes to logs and to whoever asks how it is, whichever words were a stranger's.
            Err(error) => io::Error::new(error.kind(), cleaned(&error.to_string())),
            Ok(never) => match never {},
        }
    }

    /// Waits until the engine has stopped: then no process is needed any more.
    pub async fn unwanted(&self) {
        self.port.gone().await;
    }

    /// There is such a process now, for who looks.
    pub fn began(&self, process: u32) {
        self.known.send_modify(|known| known.process = Some(process));
    }

    /// There is none now, for who looks, and why.
    pub fn ended(&self, why: &str) {
        self.known.send_modify(|known| {
            *known = Known { pin: known.pin, trouble: Some(why.to_owned()), ..Known::default() };
        });
    }

    /// The directory of the web site, if it is one.
    pub const fn site_directory(&self) -> Option<&std::path::PathBuf> {
        match &self.site {
            Site::Directory(directory) => Some(directory),
            Site::Proxy { .. } => None,
        }
    }

    async fn try_attend(&self, control: StdStream, serving: impl FnOnce() + Send) -> io::Result<Infallible> {
        let (ours, theirs) = StdStream::pair()?;
        control.set_write_timeout(Some(SILENCE))?;
        self.send_start(&control, &theirs)?;
        drop(theirs);
        let [control, ours] = [control, ours].map(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        let (from, to) = control?.into_split();
        self.port.lead_to(ours?).await?;
        let (questions, asked) = mpsc::channel(QUESTIONS);
        tokio::select! {
            ended = self.hear_of(from, serving, questions) => ended,
            ended = self.tell(to, asked) => ended,
        }
    }

    /// The first message, and with it the stream of datagrams and the listening sockets.
    fn send_start(&self, control: &StdStream, datagrams: &StdStream) -> io::Result<()> {
        let sockets = self.sockets.iter().map(TcpListener::as_fd);
        let descriptors: Vec<_> = std::iter::once(datagrams.as_fd()).chain(sockets).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + MAX_SOCKETS))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        with.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(control, &[IoSlice::new(&self.start)], &mut with, SendFlags::NOSIGNAL)?;
        io::Write::write_all(&mut &*control, &self.start[sent..])
    }

    /// Hears what the other process says, which may be anything.
    async fn hear_of(
        &self,
        mut from: OwnedReadHalf,
        serving: impl FnOnce() + Send,
        questions: mpsc::Sender<String>,
    ) -> io::Result<Infallible> {
        let mut serving = Some(serving);
        loop {
            let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "it hangs");
            let heard = timeout(SILENCE, hear(&mut from, MAX_SAID)).await.map_err(silent)??;
            let (kind, body) = heard.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"))?;
            match Said::parse(kind, &body)? {
                Said::Serving => {
                    if let Some(serving) = serving.take() {
                        self.known.send_modify(|known| known.trouble = None);
                        serving();
                    }
                }
                Said::Failed { denied, why } => {
                    let kind = if denied { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
                    return Err(io::Error::new(kind, why));
                }
                Said::Now { connections, streams, pin } => {
                    let pin = pin.filter(|_| self.pins).and_then(|pin| pin.parse().ok());
                    self.known.send_modify(|known| {
                        known.status = counted(connections, streams);
                        known.pin = pin;
                    });
                }
                Said::LookUp(name) => questions
                    .try_send(name)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it asked for too much at once"))?,
            }
            // Who speaks without end costs little.
            sleep(BREAK).await;
        }
    }

    /// Tells the certificate and the users, now and whenever they change, and answers questions.
    async fn tell(&self, mut to: OwnedWriteHalf, mut asked: mpsc::Receiver<String>) -> io::Result<Infallible> {
        let (mut users, mut certificate) = (self.users.clone(), self.certificate.clone());
        users.mark_changed();
        if let Some(certificate) = &mut certificate {
            certificate.mark_changed();
        }
        let mut answers = JoinSet::new();
        loop {
            let message = tokio::select! {
                pem = changed(&mut certificate) => Arc::new(Told::Certificate(pem).emit()?),
                Ok(()) = users.changed() => users.borrow_and_update().clone(),
                () = self.reports.notified() => Arc::new(Told::Report.emit()?),
                Some(name) = asked.recv() => {
                    let may = self.names.contains(&name) && answers.len() < QUESTIONS;
                    answers.spawn(answer(name, may));
                    continue;
                }
                Some(Ok(addresses)) = answers.join_next() => Arc::new(Told::Addresses(addresses).emit()?),
            };
            to.write_all(&message).await?;
        }
    }
}

impl Control {
    pub(crate) fn set_users(&self, users: &[User]) {
        match emit_users(users) {
            Ok(message) => drop(self.users.send_replace(Arc::new(message))),
            Err(error) => tracing::warn!("the users of the web site stay as they were: {error}"),
        }
    }

    /// As it was when it last said so.
    pub(crate) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Asks how it is now; [`known`](Self::known) is that afterwards, if it answers soon.
    pub(crate) async fn look(&self) {
        let mut news = self.known.subscribe();
        if news.borrow_and_update().process.is_some() {
            self.reports.notify_one();
            let _late = timeout(ANSWER, news.changed()).await;
        }
    }
}

/// Waits for another certificate; for ever, if there is none to be handed on.
async fn changed(certificate: &mut Option<watch::Receiver<Option<Pem>>>) -> Pem {
    loop {
        let Some(news) = certificate else { return std::future::pending().await };
        if news.changed().await.is_err() {
            *certificate = None;
        } else if let Some(pem) = news.borrow_and_update().clone() {
            return pem;
        }
    }
}

async fn answer(name: String, may: bool) -> Addresses {
    let found = if may {
        look_up(&name).await.map_err(|error| error.to_string())
    } else {
        Err("this host may not be looked up".to_owned())
    };
    Addresses { name, found }
}

async fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut bound = listen_at(addresses, listening_socket);
    for _ in 0..LAST_BREATH {
        if !matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            break;
        }
        sleep(BREATH).await;
        bound = listen_at(addresses, listening_socket);
    }
    bound
}

/// The hosts that the web site has to find.
fn names(server: &HttpsServer) -> io::Result<Vec<String>> {
    let urls = server.urls();
    urls.into_iter().map(|url| Ok(host_and_port(url)?.0)).collect()
}

/// The host of an URL, and its port.
pub(super) fn host_and_port(url: &str) -> io::Result<(String, u16)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{url}` is not of the form https://host/…"));
    let url: http::Uri = url.parse().map_err(|_| bad())?;
    let usual = if url.scheme_str() == Some("http") { 80 } else { 443 };
    Ok((url.host().ok_or_else(bad)?.to_owned(), url.port_u16().unwrap_or(usual)))
}

/// Makes a directory for nobody but us: the other process may write in it, and could not make it.
fn private_directory(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// What the other process says that it counted, no more than it may have.
pub(super) fn counted(connections: usize, streams: Vec<(String, usize)>) -> ServerStatus {
    let mut left = TUNNELS;
    let some = streams.into_iter().filter_map(|(id, count)| {
        let count = count.min(left);
        left -= count;
        (count > 0).then_some((from_hex(&id)?, count))
    });
    ServerStatus { connections: connections.min(CONNECTIONS), streams: some.collect() }
}

/// What a stranger gave for a reason, fit for a log: one line, and perhaps a hint.
pub(super) fn cleaned(why: &str) -> String {
    let why: String = why.chars().take(MAX_WHY).collect();
    let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    match why.split_once(HINT) {
        Some((what, hint)) => format!("{}{HINT}{}", one_line(what), one_line(hint)),
        None => one_line(&why),
    }
}

/// Key ids as text, and back.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect())
}

/// What is said of streams, as the other process counts them.
pub(super) fn streams_said(streams: &BTreeMap<Vec<u8>, usize>) -> Vec<(String, usize)> {
    streams.iter().map(|(id, count)| (to_hex(id), *count)).collect()
}

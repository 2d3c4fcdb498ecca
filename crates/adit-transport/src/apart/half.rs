//! The process of the web site: given everything that it needs by the engine's process, it opens nothing by its own rights.
//!
//! Not here: which rights it gives up in between (`adit-cli`), datagrams (`carry`), what is said (`words`).

use std::collections::HashMap;
use std::io::{self, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::carry::carry;
use super::keeper::{HEARTBEAT, host_and_port, streams_said};
use super::words::{HEAD, MAX_TOLD, Said, Start, Told, hear, parse_head};
use super::{MAX_SOCKETS, Pem};
use crate::config::{Certificates, Front, HttpsServer, Site, User};
use crate::names::Names;
use crate::server::{HttpsListener, Means, ServerControl};

/// Words that wait to be said.
const WORDS: usize = 16;

/// What a process of a web site was given.
#[derive(Debug)]
pub struct Half {
    start: Start,
    sockets: Vec<TcpListener>,
    datagrams: StdStream,
    control: StdStream,
}

/// What it needs of the machine, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Files, and directories with all that is in them, that are read.
    pub read: Vec<PathBuf>,
    /// Directories in which files are made and changed.
    pub write: Vec<PathBuf>,
    /// Whether the machine's certificate authorities are read.
    pub authorities: bool,
    /// TCP ports that are connected to, wherever they are.
    pub connect: Vec<u16>,
}

/// Answers that are waited for.
type Waiting = Arc<Mutex<HashMap<String, Vec<oneshot::Sender<Result<Vec<IpAddr>, String>>>>>>;

impl Half {
    /// Receives what the engine's process gives. Waits for it, without a runtime: rights are to be given up before there are
    /// threads.
    ///
    /// # Errors
    /// The other end of `control` is not the engine's process.
    pub fn receive(control: StdStream) -> io::Result<Self> {
        let (head, descriptors) = receive_head(&control)?;
        let (kind, len) = parse_head(head, MAX_TOLD)?;
        let mut body = Zeroizing::new(vec![0; len]);
        (&control).read_exact(&mut body)?;
        let no_beginning = || io::Error::new(io::ErrorKind::InvalidData, "this is not how a web site begins");
        let Told::Start(start) = Told::parse(kind, &body)? else { return Err(no_beginning()) };
        let mut descriptors = descriptors.into_iter();
        let datagrams = StdStream::from(descriptors.next().ok_or_else(no_beginning)?);
        let sockets: Vec<_> = descriptors.map(TcpListener::from).collect();
        if sockets.len() != start.sockets {
            return Err(no_beginning());
        }
        Ok(Self { start, sockets, datagrams, control })
    }

    /// What came of settings, for a look at its needs.
    #[cfg(test)]
    pub(super) const fn of(start: Start, datagrams: StdStream, control: StdStream) -> Self {
        Self { start, sockets: Vec::new(), datagrams, control }
    }

    /// What has to be left to this process.
    ///
    /// # Errors
    /// There is an URL that is none.
    pub fn needs(&self) -> io::Result<Needs> {
        let mut needs = Needs::default();
        match &self.start.front {
            Front::Direct(Certificates::Acme { cache, root, directory_url, .. }) => {
                needs.write.push(cache.clone());
                needs.authorities |= root.is_none();
                needs.read.extend(root.clone());
                needs.connect.push(host_and_port(directory_url)?.1);
            }
            Front::Direct(Certificates::Files { .. } | Certificates::SelfSigned { .. }) => {}
            Front::Behind { replays } => {
                needs.write.extend(replays.as_deref().and_then(Path::parent).map(Path::to_owned));
            }
        }
        match &self.start.site {
            Site::Directory(directory) => needs.read.push(directory.clone()),
            Site::Proxy { url, root } => {
                needs.authorities |= root.is_none() && url.starts_with("https:");
                needs.read.extend(root.clone());
                needs.connect.push(host_and_port(url)?.1);
            }
        }
        Ok(needs)
    }

    /// Serves until the engine's process ends. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// There is something in the settings that cannot be done, which the engine's process was told; or it ended.
    pub async fn serve(self) -> io::Result<()> {
        let Self { start, sockets, datagrams, control } = self;
        let [control, datagrams] = [control, datagrams].map(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        let datagrams = datagrams?;
        let (mut from, mut to) = control?.into_split();
        let (say, said) = mpsc::channel(WORDS);
        let waiting = Waiting::default();
        let names = asked_for(say.clone(), Arc::clone(&waiting));
        let (users, pem) = first(&mut from, &start.front).await?;
        let certificate = watch::Sender::new(pem);
        let means = Means { names, certificate: certificate.subscribe() };
        let server =
            HttpsServer { listen: Vec::new(), front: start.front, site: start.site, users, shape: start.shape };
        let (listener, control) = match HttpsListener::serve(server, sockets, means).await {
            Ok(served) => served,
            Err(error) => {
                let failed =
                    Said::Failed { denied: error.kind() == io::ErrorKind::PermissionDenied, why: error.to_string() };
                to.write_all(&failed.emit()?).await?;
                return Err(error);
            }
        };
        // There is room.
        say.try_send(Said::Serving).map_err(io::Error::other)?;
        let asked = Notify::new();
        tokio::select! {
            ended = carry(listener, datagrams) => ended,
            ended = obey(from, &control, &certificate, &waiting, &asked) => ended,
            ended = speak(to, said) => ended,
            ended = report(&control, say, &asked) => ended,
        }
    }
}

/// The beginning of the first message, and the descriptors that come with it.
fn receive_head(control: &StdStream) -> io::Result<([u8; HEAD], Vec<OwnedFd>)> {
    let mut head = [0; HEAD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + MAX_SOCKETS))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(control, &mut [IoSliceMut::new(&mut head)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    let mut control = control;
    control.read_exact(&mut head[received.bytes..])?;
    Ok((head, descriptors))
}

/// Waits for the users, and for the certificate if it is handed on.
async fn first(from: &mut OwnedReadHalf, front: &Front) -> io::Result<(Vec<User>, Option<Pem>)> {
    let needs_pem = matches!(front, Front::Direct(Certificates::Files { .. } | Certificates::SelfSigned { .. }));
    let (mut users, mut pem) = (None, None);
    loop {
        match next(from).await? {
            Told::Users(these) => users = Some(these),
            Told::Certificate(this) => pem = Some(this),
            Told::Start(_) | Told::Addresses(_) | Told::Report => {}
        }
        if let Some(users) = users.take_if(|_| pem.is_some() || !needs_pem) {
            return Ok((users, pem));
        }
    }
}

async fn next(from: &mut OwnedReadHalf) -> io::Result<Told> {
    let (kind, body) = hear(from, MAX_TOLD).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Told::parse(kind, &body)
}

/// Does as it is told.
async fn obey(
    mut from: OwnedReadHalf,
    control: &ServerControl,
    certificate: &watch::Sender<Option<Pem>>,
    waiting: &Waiting,
    asked: &Notify,
) -> io::Result<()> {
    loop {
        match next(&mut from).await? {
            Told::Users(users) => control.set_users(users),
            Told::Certificate(pem) => drop(certificate.send_replace(Some(pem))),
            Told::Addresses(addresses) => {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                for answer in waiting.remove(&addresses.name).into_iter().flatten() {
                    let _not_waiting_any_more = answer.send(addresses.found.clone());
                }
            }
            Told::Report => asked.notify_one(),
            Told::Start(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it began already")),
        }
    }
}

/// Says what there is to say.
async fn speak(mut to: OwnedWriteHalf, mut said: mpsc::Receiver<Said>) -> io::Result<()> {
    while let Some(word) = said.recv().await {
        to.write_all(&word.emit()?).await?;
    }
    Ok(())
}

/// Says how it is, when asked and now and then.
async fn report(control: &ServerControl, say: mpsc::Sender<Said>, asked: &Notify) -> io::Result<()> {
    loop {
        let status = control.status();
        let now = Said::Now {
            connections: status.connections,
            streams: streams_said(&status.streams),
            pin: control.pin().map(|pin| pin.to_string()),
        };
        say.send(now).await.map_err(io::Error::other)?;
        tokio::select! {
            () = asked.notified() => {}
            () = sleep(HEARTBEAT) => {}
        }
    }
}

/// Names as the engine's process looks them up. Who asks for one that is asked for already waits with the other.
fn asked_for(say: mpsc::Sender<Said>, waiting: Waiting) -> Names {
    Names::by(move |name| {
        let (answer, answered) = oneshot::channel();
        let is_new = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let others = waiting.entry(name.clone()).or_default();
            others.retain(|other| !other.is_closed());
            others.push(answer);
            others.len() == 1
        };
        // At once: whoever asks may stop waiting, and others wait with it.
        let asked = if is_new { say.try_send(Said::LookUp(name)).map_err(io::Error::other) } else { Ok(()) };
        async move {
            asked?;
            answered.await.map_err(io::Error::other)?.map_err(io::Error::other)
        }
    })
}

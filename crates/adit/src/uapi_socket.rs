//! The control socket that `wg` talks to: `/var/run/wireguard/IFNAME.sock` (reference W-110 to W-118).
//!
//! Not here: the text on it (`adit_wireguard::uapi`).

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adit_engine::Gone;
use adit_wireguard::uapi::{Errno, Parser, Request, Set, emit_get};
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::{Tunnel, resolve};

/// Where `wg` looks for sockets.
pub const SOCKET_DIR: &str = "/var/run/wireguard";
/// Clients served at once; the next waits until one has gone.
const MAX_CLIENTS: usize = 32;
/// How long a client may say nothing, or take nothing, before it is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the socket is looked for where the kernel cannot tell of its removal.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A bound control socket. Its file is removed when this is dropped, unless another took its place.
#[derive(Debug)]
pub struct UapiSocket {
    listener: StdListener,
    path: PathBuf,
    /// `None`: not ours any more.
    identity: Option<Identity>,
}

/// Which file it is, whatever its name.
type Identity = (u64, u64);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers on it.
    #[error("{}: another program controls an interface of this name already\n  hint: `wg show` names it; end it first, or choose another name", path.display())]
    Live {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in its place.
    #[error("{}: is in the way, and is not a socket\n  hint: look what it is, and remove it", path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// The directory or socket may not be made.
    #[error("{}: not allowed to make it\n  hint: the control socket needs root (CAP_DAC_OVERRIDE)", path.display())]
    Denied {
        /// What was to be made.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{}: could not make the control socket: {source}", path.display())]
    Failed {
        /// What was to be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl UapiSocket {
    /// Makes the socket of an interface at [`SOCKET_DIR`]. A stale one is replaced.
    ///
    /// # Errors
    /// See [`SocketError`]; nothing is left behind.
    pub fn bind(interface: &str) -> Result<Self, SocketError> {
        Self::bind_in(Path::new(SOCKET_DIR), interface)
    }

    /// Makes the socket of an interface in another directory, which is made if it is not there, for its owner only.
    ///
    /// # Errors
    /// See [`SocketError`]; nothing is left behind.
    pub fn bind_in(dir: &Path, interface: &str) -> Result<Self, SocketError> {
        let path = dir.join(format!("{interface}.sock"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed(dir, e))?;
        clear_stale(&path)?;
        let listener = listen(&path).map_err(|e| failed(&path, e))?;
        Self::take(listener, path.clone()).map_err(|e| failed(&path, e))
    }

    /// Takes over a listening socket that somebody else made for this interface at [`SOCKET_DIR`].
    ///
    /// # Errors
    /// Its file is not there, or the descriptor is no socket.
    pub fn adopt(fd: OwnedFd, interface: &str) -> Result<Self, SocketError> {
        let path = Path::new(SOCKET_DIR).join(format!("{interface}.sock"));
        Self::take(StdListener::from(fd), path.clone()).map_err(|e| failed(&path, e))
    }

    fn take(listener: StdListener, path: PathBuf) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let identity = Some(identity(&path)?);
        Ok(Self { listener, path, identity })
    }

    /// The descriptor, to be handed to another process that goes on with it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Another process has taken it over: its file stays.
    pub fn hand_over(mut self) {
        self.identity = None;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers clients until the socket's file is removed, or accepting fails for good. Must be called on a tokio runtime
    /// with I/O and time enabled; may be dropped at any time.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub async fn serve(self, tunnel: &Tunnel) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut clients = JoinSet::new();
        let removed = self.removed();
        tokio::pin!(removed);
        loop {
            let accepted = async {
                let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?.0, slot))
            };
            tokio::select! {
                () = &mut removed => return Ok(()),
                Some(_) = clients.join_next() => {}
                accepted = accepted => match accepted {
                    Ok((stream, slot)) => {
                        let tunnel = tunnel.clone();
                        clients.spawn(async move {
                            // A client that hangs up early is its own affair.
                            drop(converse(stream, &tunnel).await);
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a client of the control socket could not be accepted");
                        sleep(ACCEPT_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Waits until the file is gone, or is another.
    async fn removed(&self) {
        let watch =
            self.watch().inspect_err(|error| tracing::debug!(%error, "no inotify: the socket is looked for")).ok();
        while self.is_there() {
            match &watch {
                Some(watch) => wait_for_news(watch).await,
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn is_there(&self) -> bool {
        identity(&self.path).ok().is_some_and(|now| Some(now) == self.identity)
    }

    /// Tells of what is removed from the directory. The socket's own inode lives as long as it listens.
    fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let what = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF;
        inotify::add_watch(&fd, self.path.parent().unwrap_or(Path::new("/")), what)?;
        #[expect(deprecated, reason = "its successor is unsafe for descriptors that may change; an OwnedFd does not")]
        AsyncFd::new(fd)
    }
}

impl Drop for UapiSocket {
    fn drop(&mut self) {
        if self.is_there() {
            // Gone meanwhile is gone as well.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Waits for any news and throws it away: the file is looked at anyway.
async fn wait_for_news(watch: &AsyncFd<OwnedFd>) {
    let Ok(mut guard) = watch.readable().await else { return sleep(LOOK_EVERY).await };
    let mut bytes = [0; 4096];
    while rustix::io::read(guard.get_inner().as_fd(), &mut bytes).is_ok_and(|n| n > 0) {}
    guard.clear_ready();
}

/// Everything that one client asks for, in order.
async fn converse(mut stream: UnixStream, tunnel: &Tunnel) -> io::Result<()> {
    let mut parser = Parser::with_scopes(resolve::zone_index);
    let mut bytes = Zeroizing::new([0; 4096]);
    loop {
        let count = timeout(PATIENCE, stream.read(&mut bytes[..])).await??;
        if count == 0 {
            if let Some(request) = parser.finish() {
                answer(&mut stream, tunnel, request).await?;
            }
            return Ok(());
        }
        let mut rest = &bytes[..count];
        while let Some(request) = parser.feed(&mut rest) {
            let malformed = matches!(request, Request::Malformed);
            answer(&mut stream, tunnel, request).await?;
            if malformed {
                return Ok(());
            }
        }
    }
}

async fn answer(stream: &mut UnixStream, tunnel: &Tunnel, request: Request) -> io::Result<()> {
    let text = match request {
        Request::Get => get(tunnel).await.unwrap_or_else(|Gone| Errno::ENODEV.answer_get().into()),
        Request::Set(set, outcome) => {
            let done = apply(tunnel, set).await;
            Errno::answer_set(done.and(outcome)).into()
        }
        Request::Malformed => Errno::answer_set(Err(Errno::EPROTO)).into(),
    };
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

async fn get(tunnel: &Tunnel) -> Result<Zeroizing<String>, Gone> {
    let device = tunnel.device().await?;
    Ok(emit_get(&device, tunnel.outside().listen_port().unwrap_or(0), tunnel.outside().fwmark()))
}

/// Applies a set as far as it goes: what `wg` wrote before the thing that failed stays.
async fn apply(tunnel: &Tunnel, set: Set) -> Result<(), Errno> {
    let outside = async {
        if let Some(port) = set.listen_port {
            tunnel.set_listen_port(port).await?;
        }
        if let Some(mark) = set.fwmark {
            tunnel.set_fwmark(mark).await?;
        }
        Ok(())
    };
    let outcome = outside.await.map_err(|e: io::Error| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
    let change = if outcome.is_ok() { set.change } else { set.before_port() };
    tunnel.configure(change).await.map_err(|Gone| Errno::ENODEV)?;
    outcome
}

/// Removes a socket that nobody listens on any more.
fn clear_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(path, e)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::InTheWay { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match knock(path) {
        Ok(()) => Err(SocketError::Live { path: path.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|e| failed(path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(SocketError::Live { path: path.to_owned() }),
        Err(e) => Err(failed(path, e)),
    }
}

/// Connects and hangs up, without waiting for somebody who does not accept.
fn knock(path: &Path) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?)
}

/// A listening socket whose file only its owner may open, from the first moment: its mode is set before it is bound.
fn listen(path: &Path) -> io::Result<StdListener> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&fd, rustix::fs::Mode::RWXU)?;
    rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(StdListener::from(fd))
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

fn failed(path: &Path, source: io::Error) -> SocketError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        SocketError::Denied { path }
    } else {
        SocketError::Failed { path, source }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt as _;

    use adit_engine::{DatagramChannel, PacketChannel, datagram_pair, packet_pair};
    use adit_wireguard::DeviceChange;

    use super::*;
    use crate::Options;

    /// A tunnel to nowhere with its socket in a directory of its own.
    struct World {
        dir: PathBuf,
        tunnel: Tunnel,
        _far: (PacketChannel, DatagramChannel),
    }

    impl World {
        fn new(test: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("adit-uapi-{test}-{}", std::process::id()));
            let here = SocketAddr::from(([192, 0, 2, 1], 1));
            let (inside, far_inside) = packet_pair(1420, 8);
            let (outside, far_outside) = datagram_pair(here, here, 8);
            let tunnel = Tunnel::start(DeviceChange::default(), inside, outside, Options::default()).unwrap();
            Self { dir, tunnel, _far: (far_inside, far_outside) }
        }

        fn bind(&self) -> Result<UapiSocket, SocketError> {
            UapiSocket::bind_in(&self.dir, "wg7")
        }

        fn serve(&self) -> (PathBuf, tokio::task::JoinHandle<io::Result<()>>) {
            let (socket, tunnel) = (self.bind().unwrap(), self.tunnel.clone());
            (socket.path().to_owned(), tokio::spawn(async move { socket.serve(&tunnel).await }))
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.dir).unwrap();
        }
    }

    /// Says something, and reads answers until `count` of them are whole.
    async fn ask(stream: &mut UnixStream, text: &str, count: usize) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while answer.matches("errno=").count() < count || !answer.ends_with("\n\n") {
            let mut bytes = [0; 512];
            let n = stream.read(&mut bytes).await.unwrap();
            assert!(n > 0, "hung up after {answer:?}");
            answer.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
        answer
    }

    #[tokio::test]
    async fn one_connection_carries_several_operations() {
        let world = World::new("several");
        let (path, _task) = world.serve();
        let mut stream = UnixStream::connect(path).await.unwrap();
        assert_eq!(ask(&mut stream, "get=1\n\nset=1\n\nget=1\n\n", 3).await, "errno=0\n\n".repeat(3));
        assert_eq!(ask(&mut stream, "set=1\nnonsense=1\n\n", 1).await, "errno=-22\n\n");
        assert_eq!(ask(&mut stream, "get=1\n\n", 1).await, "errno=0\n\n");
    }

    #[tokio::test]
    async fn what_an_outside_cannot_do_is_refused_with_the_sign_that_wg_expects() {
        let world = World::new("unsupported");
        let (path, _task) = world.serve();
        let mut stream = UnixStream::connect(path).await.unwrap();
        assert_eq!(ask(&mut stream, "set=1\nlisten_port=5\n\n", 1).await, "errno=-95\n\n");
        assert_eq!(ask(&mut stream, "set=1\nlisten_port=0\nfwmark=0\n\n", 1).await, "errno=0\n\n");
    }

    #[tokio::test]
    async fn a_silent_client_does_not_keep_others_waiting() {
        let world = World::new("silent");
        let (path, _task) = world.serve();
        let mut silent = UnixStream::connect(&path).await.unwrap();
        silent.write_all(b"set=1\n").await.unwrap();
        let mut other = UnixStream::connect(&path).await.unwrap();
        assert_eq!(ask(&mut other, "get=1\n\n", 1).await, "errno=0\n\n");
    }

    #[tokio::test]
    async fn only_the_owner_may_open_it_and_a_living_one_is_not_replaced() {
        let world = World::new("live");
        let (path, _task) = world.serve();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(fs::metadata(&world.dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(world.bind(), Err(SocketError::Live { .. })));
    }

    #[tokio::test]
    async fn a_stale_one_is_replaced_and_another_kind_of_file_is_not() {
        let world = World::new("stale");
        let first = world.bind().unwrap();
        let path = first.path().to_owned();
        // Like a daemon that was killed: its file stays, nobody listens.
        drop(StdListener::bind(world.dir.join("other.sock")).unwrap());
        drop(first);
        assert!(!path.exists());
        fs::rename(world.dir.join("other.sock"), &path).unwrap();
        drop(world.bind().unwrap());
        fs::write(&path, "").unwrap();
        assert!(matches!(world.bind(), Err(SocketError::InTheWay { .. })));
    }

    #[tokio::test]
    async fn removing_the_file_ends_the_service() {
        let world = World::new("removed");
        let (path, task) = world.serve();
        drop(UnixStream::connect(&path).await.unwrap());
        fs::remove_file(&path).unwrap();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_that_took_its_place_is_left_alone() {
        let world = World::new("replaced");
        let first = world.bind().unwrap();
        let path = first.path().to_owned();
        fs::remove_file(&path).unwrap();
        let second = world.bind().unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}

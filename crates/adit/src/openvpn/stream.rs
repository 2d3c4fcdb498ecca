//! TCP as the outside of an OpenVPN client: one stream at a time, made when there is something to send.
//!
//! A session needs a stream of its own. So one that is lost or closed is not made anew at once: what still waits for it is
//! dropped, and by the time the core begins its next session a new one may be made. Not here: which server (`ways`), when the
//! next session begins (the core).

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adit_engine::{DatagramIo, Ready, RecvBatch, SendArena, Want};
use adit_openvpn::{Deframer, MAX_FRAME, frame_length};
use adit_protocol::{Ecn, LinkId, Path};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Paths over TCP name this carrier.
pub(super) const STREAM: LinkId = LinkId(1);

/// How long a server may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What waits for a stream that is gone is dropped for so long: less than the shortest pause before a new session.
const GONE_FOR: Duration = Duration::from_millis(500);
/// Bytes that are read at a time.
const READ: usize = 64 << 10;
/// Bytes that wait for the kernel to take them; more stay with the engine.
const MAX_PENDING: usize = 128 << 10;
/// Bytes of headers of IPv6 and TCP, and of the length before each packet.
const OVERHEAD: usize = 40 + 32 + 2;
/// Orders and losses that may wait.
const WAITING: usize = 8;

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The stream of a client.
pub(super) struct StreamLink {
    state: State,
    mark: Arc<AtomicU32>,
    orders: mpsc::Receiver<()>,
    lost: mpsc::Sender<String>,
    buffer: Vec<u8>,
}

enum State {
    /// Until there is something to send.
    Idle,
    Connecting(SocketAddr, Attempt),
    Open(Box<Open>),
    /// What is sent is dropped until then.
    Gone(Instant),
}

struct Open {
    to: SocketAddr,
    stream: TcpStream,
    deframer: Deframer,
    /// Packets of the last read that the batch had no place for: never more than one read holds.
    left: VecDeque<Vec<u8>>,
    /// Framed bytes that the kernel has not taken: at most `MAX_PENDING`, and a run of datagrams.
    pending: VecDeque<u8>,
}

/// Reaches a [`StreamLink`] that an engine owns.
#[derive(Debug)]
pub(super) struct StreamControl {
    close: mpsc::Sender<()>,
    lost: mpsc::Receiver<String>,
    mark: Arc<AtomicU32>,
}

impl StreamControl {
    /// Ends the stream, once what waits is sent as far as the kernel takes it.
    pub(super) fn close(&self) {
        // If several orders wait, the stream is closed anyway.
        let _is_asked = self.close.try_send(());
    }

    /// Why a stream ended, or was not made.
    pub(super) async fn lost(&mut self) -> String {
        match self.lost.recv().await {
            Some(why) => why,
            None => pending().await,
        }
    }

    /// The mark of streams that are made from now on.
    pub(super) fn mark(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.mark)
    }
}

impl StreamLink {
    /// A link without a stream, whose streams will carry this mark (0: none).
    pub(super) fn new(mark: u32) -> (Self, StreamControl) {
        let ((close, orders), (lost, losses)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        let mark = Arc::new(AtomicU32::new(mark));
        let control = StreamControl { close, lost: losses, mark: Arc::clone(&mark) };
        (Self { state: State::Idle, mark, orders, lost, buffer: vec![0; READ] }, control)
    }

    fn lose(&mut self, why: String) {
        self.state = State::Gone(Instant::now() + GONE_FOR);
        // Where nobody listens, or hears of other losses, the core finds out by silence.
        let _is_told = self.lost.try_send(why);
    }

    fn close(&mut self) {
        if let State::Open(open) = &mut self.state {
            let _last_words = open.flush();
        }
        self.state = State::Gone(Instant::now() + GONE_FOR);
    }
}

/// What came of waiting.
enum Step {
    Ready(Ready),
    /// The state has changed.
    Again,
    Close,
    Lost(String),
}

impl State {
    /// Waits for what may change the state or make it ready. May be dropped at any time: an attempt goes on where it is kept.
    async fn step(&mut self, want: Want) -> Step {
        const SEND: Step = Step::Ready(Ready { read: false, write: true });
        match self {
            Self::Gone(until) if *until <= Instant::now() => {
                *self = Self::Idle;
                Step::Again
            }
            // Whoever has something to send may begin, or see it dropped.
            Self::Idle | Self::Gone(_) if want.write => SEND,
            Self::Idle | Self::Gone(_) => pending().await,
            Self::Connecting(to, attempt) => {
                let to = *to;
                match attempt.await {
                    Ok(stream) => {
                        let pending = VecDeque::with_capacity(READ);
                        *self = Self::Open(Box::new(Open {
                            to,
                            stream,
                            deframer: Deframer::default(),
                            left: VecDeque::new(),
                            pending,
                        }));
                        Step::Again
                    }
                    Err(error) => Step::Lost(format!("cannot connect to {to}: {error}")),
                }
            }
            Self::Open(open) => match open.ready(want).await {
                Ok(ready) => Step::Ready(ready),
                Err(error) => Step::Lost(error.to_string()),
            },
        }
    }
}

impl DatagramIo for StreamLink {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            let Self { state, orders, .. } = self;
            let step = tokio::select! {
                biased;
                Some(()) = orders.recv() => Step::Close,
                step = state.step(want) => step,
            };
            match step {
                Step::Ready(ready) => return Ok(ready),
                Step::Again => {}
                Step::Close => self.close(),
                Step::Lost(why) => self.lose(why),
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let State::Open(open) = &mut self.state else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (from, mut any) = (path(open.to), false);
        while into.has_room()
            && let Some(packet) = open.left.pop_front()
        {
            any |= into.push(from, Ecn::NotEct, &packet).is_ok();
        }
        while into.has_room() {
            let read = match open.stream.try_read(&mut self.buffer) {
                Ok(0) => Err("the server has closed the stream".to_owned()),
                Ok(n) => Ok(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => Err(error.to_string()),
            };
            let taken = read.and_then(|n| {
                let bytes = self.buffer.get(..n).unwrap_or_default();
                let left = &mut open.left;
                let packet = |packet: &[u8]| match into.push(from, Ecn::NotEct, packet) {
                    Ok(()) => any = true,
                    Err(_full) => left.push_back(packet.to_vec()),
                };
                open.deframer.push(bytes, packet).map_err(|error| error.to_string())
            });
            if let Err(why) = taken {
                self.lose(why);
                break;
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        match &mut self.state {
            State::Gone(until) if *until > Instant::now() => {
                while !out.is_empty() {
                    out.refuse_front();
                }
                Ok(())
            }
            State::Gone(_) | State::Idle => {
                if let Some(run) = out.front() {
                    let to = run.to.remote;
                    let attempt = connect(to, self.mark.load(Ordering::Relaxed));
                    self.state = State::Connecting(to, Box::pin(attempt));
                }
                Ok(())
            }
            State::Connecting(..) => Ok(()),
            State::Open(open) => {
                if let Err(error) = open.send(out) {
                    self.lose(error.to_string());
                }
                Ok(())
            }
        }
    }

    fn overhead(&self) -> usize {
        OVERHEAD
    }
}

impl Open {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            if want.read && !self.left.is_empty() {
                return Ok(Ready { read: true, write: false });
            }
            if !self.pending.is_empty() {
                // Nobody else asks for room for what is pending.
                tokio::select! {
                    writable = self.stream.writable() => {
                        writable?;
                        self.flush()?;
                    }
                    readable = self.stream.readable(), if want.read => {
                        return readable.map(|()| Ready { read: true, write: false });
                    }
                }
                continue;
            }
            return tokio::select! {
                readable = self.stream.readable(), if want.read => readable.map(|()| Ready { read: true, write: false }),
                writable = self.stream.writable(), if want.write => writable.map(|()| Ready { read: false, write: true }),
                else => pending().await,
            };
        }
    }

    /// Frames what waits, and gives the kernel what it takes.
    fn send(&mut self, out: &mut SendArena) -> io::Result<()> {
        loop {
            while self.pending.len() < MAX_PENDING
                && let Some(run) = out.front()
            {
                if run.to.remote != self.to {
                    // Of a session that is over.
                    out.refuse_front();
                    continue;
                }
                for packet in run.bytes.chunks(run.segment.max(1)) {
                    if let Some(length) = frame_length(packet) {
                        self.pending.extend(length);
                        self.pending.extend(packet);
                    }
                }
                out.pop_front();
            }
            if self.pending.is_empty() || !self.flush()? {
                return Ok(());
            }
        }
    }

    /// Gives the kernel what it takes; whether that was all.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.pending.is_empty() {
            match self.stream.try_write(self.pending.as_slices().0) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

const fn path(remote: SocketAddr) -> Path {
    Path { link: STREAM, remote, local: None }
}

async fn connect(to: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if mark != 0 {
        socket.set_mark(mark)?;
    }
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    let stream = timeout(CONNECT_WITHIN, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Without what is on its way.
impl fmt::Debug for StreamLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Connecting(..) => "connecting",
            State::Open(_) => "open",
            State::Gone(_) => "gone",
        };
        f.debug_struct("StreamLink").field("state", &state).finish_non_exhaustive()
    }
}

const _: () = assert!(MAX_FRAME <= READ);

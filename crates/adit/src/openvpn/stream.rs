//! What has to be connected first as the outside of an OpenVPN client: a stream of TCP, straight or through a proxy, or a proxy's
//! relay of datagrams. One at a time, made when there is something to send.
//!
//! A session needs one of its own. So one that is lost or closed is not made anew at once: what still waits for it is
//! dropped, and by the time the core begins its next session a new one may be made. Not here: which server and
//! which proxy (`ways`), what is said to a proxy (`proxy`), when the next session begins (the core).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit_engine::{DatagramIo, Ready, RecvBatch, SendArena, Want};
use adit_openvpn::{Deframer, MAX_FRAME, frame_length};
use adit_protocol::{Ecn, LinkId, Path};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::proxy::{Dial, Line, NoWay};
use super::relay::Relay;

/// Paths to servers that have to be connected to first name this carrier.
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

type Attempt = Pin<Box<dyn Future<Output = Result<Line, NoWay>> + Send>>;

/// The proxies on the way, by the addresses that stand for the servers behind them.
pub(super) type Dials = HashMap<SocketAddr, Dial>;

/// The stream of a client.
pub(super) struct StreamLink {
    state: State,
    mark: Arc<AtomicU32>,
    /// Looked at before a connection is made.
    dials: Arc<Mutex<Dials>>,
    orders: mpsc::Receiver<()>,
    lost: mpsc::Sender<NoWay>,
    buffer: Vec<u8>,
}

enum State {
    /// Until there is something to send.
    Idle,
    Connecting(SocketAddr, Attempt),
    Open(Box<Open>),
    Relayed(SocketAddr, Box<Relay>),
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
    lost: mpsc::Receiver<NoWay>,
    mark: Arc<AtomicU32>,
    dials: Arc<Mutex<Dials>>,
}

impl StreamControl {
    /// Ends the stream, once what waits is sent as far as the kernel takes it.
    pub(super) fn close(&self) {
        // If several orders wait, the stream is closed anyway.
        let _is_asked = self.close.try_send(());
    }

    /// Why a stream ended, or was not made.
    pub(super) async fn lost(&mut self) -> NoWay {
        match self.lost.recv().await {
            Some(why) => why,
            None => pending().await,
        }
    }

    /// The proxies of connections that are made from now on.
    pub(super) fn set_dials(&self, dials: Dials) {
        *self.dials.lock().unwrap_or_else(PoisonError::into_inner) = dials;
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
        let dials = Arc::new(Mutex::default());
        let control = StreamControl { close, lost: losses, mark: Arc::clone(&mark), dials: Arc::clone(&dials) };
        (Self { state: State::Idle, mark, dials, orders, lost, buffer: vec![0; READ] }, control)
    }

    fn lose(&mut self, why: NoWay) {
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
    Lost(NoWay),
}

impl Step {
    fn of(ready: io::Result<Ready>) -> Self {
        ready.map_or_else(|error| Self::Lost(NoWay::now(error.to_string())), Self::Ready)
    }
}

impl State {
    /// Of a connection that was made; what has come over it already is taken in.
    fn of(to: SocketAddr, line: Line) -> Result<Self, NoWay> {
        let (stream, early) = match line {
            Line::Relay(relay) => return Ok(Self::Relayed(to, relay)),
            Line::Stream(stream, early) => (stream, early),
        };
        let (mut deframer, mut left) = (Deframer::default(), VecDeque::new());
        deframer
            .push(&early, |packet| left.push_back(packet.to_vec()))
            .map_err(|error| NoWay::now(error.to_string()))?;
        Ok(Self::Open(Box::new(Open { to, stream, deframer, left, pending: VecDeque::with_capacity(READ) })))
    }

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
                    Ok(line) => match Self::of(to, line) {
                        Ok(state) => {
                            *self = state;
                            Step::Again
                        }
                        Err(why) => Step::Lost(why),
                    },
                    Err(why) => Step::Lost(why),
                }
            }
            Self::Open(open) => Step::of(open.ready(want).await),
            Self::Relayed(_, relay) => Step::of(relay.ready(want).await),
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
        if let State::Relayed(to, relay) = &self.state {
            let any = relay.recv(path(*to), &mut self.buffer, into);
            return if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
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
                self.lose(NoWay::now(why));
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
                    let dial = self.dials.lock().unwrap_or_else(PoisonError::into_inner).get(&to).cloned();
                    let attempt = connect(to, dial, self.mark.load(Ordering::Relaxed));
                    self.state = State::Connecting(to, Box::pin(attempt));
                }
                Ok(())
            }
            State::Connecting(..) => Ok(()),
            State::Open(open) => {
                if let Err(error) = open.send(out) {
                    self.lose(NoWay::now(error.to_string()));
                }
                Ok(())
            }
            State::Relayed(to, relay) => {
                relay.send(*to, out);
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

/// A connection to the server that this address stands for.
async fn connect(to: SocketAddr, dial: Option<Dial>, mark: u32) -> Result<Line, NoWay> {
    let Some(dial) = dial else {
        let stream =
            stream_to(to, mark).await.map_err(|error| NoWay::now(format!("cannot connect to {to}: {error}")))?;
        return Ok(Line::Stream(stream, Vec::new()));
    };
    let stream = stream_to(dial.at, mark)
        .await
        .map_err(|error| NoWay::now(format!("cannot connect to the {}: {error}", dial.name())))?;
    dial.ask(stream, mark).await
}

async fn stream_to(to: SocketAddr, mark: u32) -> io::Result<TcpStream> {
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
            State::Relayed(..) => "relayed",
            State::Gone(_) => "gone",
        };
        f.debug_struct("StreamLink").field("state", &state).finish_non_exhaustive()
    }
}

const _: () = assert!(MAX_FRAME <= READ);

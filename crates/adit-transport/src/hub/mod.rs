//! The seam between an engine and the connections that carry its datagrams as capsules.
//!
//! The hub is the engine's outside; each connection, a task of whatever runtime, holds a [`Seat`]. Between them are only
//! bounded channels, so neither waits inside the other. Not here: bytes of HTTP (`client`, `server`), capsules (`capsule`).

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use adit_engine::{DatagramIo, MAX_DATAGRAM, MAX_SEGMENTS, Ready, RecvBatch, Run, SendArena, Want};
use adit_protocol::{Ecn, Path};
use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::capsule::{Datagrams, MAX_OVERHEAD, datagram_len, put_datagram};

/// The most bytes of capsules in one chunk towards a connection: the largest run of datagrams always fits.
pub const MAX_CHUNK: usize = MAX_DATAGRAM + MAX_SEGMENTS * MAX_OVERHEAD;
/// What a chunk counts for at least, so that many small ones are bounded too.
const MIN_CHARGE: usize = 2 << 10;
/// One stream of a server may have a chunk waiting for it of this part of what is free for all.
const SHARE: usize = 4;
/// Connections that may wait to be seated.
const JOINS: usize = 16;
/// Datagrams kept by a client while it has no connection: so many bytes, the oldest go first.
const MAX_HELD: usize = 128 << 10;
/// A datagram that waited longer than this for a connection is worthless: the protocol has sent another by then.
const MAX_HELD_FOR: Duration = Duration::from_secs(4);

/// How much a hub and its seats keep.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at a time.
    pub streams: usize,
    /// Bytes of capsules that wait for one connection to write them.
    pub to_stream: usize,
    /// As `to_stream`, for all connections of a server together. The more of it is in use, the less each may have.
    pub to_streams: usize,
    /// Pieces of streams that wait for the engine, of all connections together.
    pub to_engine: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { streams: 4096, to_stream: 512 << 10, to_streams: 64 << 20, to_engine: 64 }
    }
}

/// The outside of an engine whose datagrams travel over connections.
#[derive(Debug)]
pub struct Hub {
    joins: mpsc::Receiver<Joined>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Taken from `arrivals`, and not yet by the engine.
    arrived: Option<Arrival>,
    kind: Kind,
    max_streams: usize,
    /// Kept so that the channels never close.
    joiner: Joiner,
}

/// Gives connections their seats at a [`Hub`].
#[derive(Debug, Clone)]
pub struct Joiner {
    joins: mpsc::Sender<Joined>,
    arrivals: mpsc::Sender<Arrival>,
    shared: Arc<Shared>,
    max_waiting: usize,
}

/// A connection's end of the hub. Dropping it ends the stream.
#[derive(Debug)]
pub struct Seat {
    /// What came from the wire.
    pub to_engine: ToEngine,
    /// What is to be written.
    pub from_engine: FromEngine,
}

/// Gives the engine what came over one connection.
#[derive(Debug)]
pub struct ToEngine {
    path: Path,
    arrivals: mpsc::Sender<Arrival>,
}

/// Gives one connection what the engine sends over it.
#[derive(Debug)]
pub struct FromEngine {
    chunks: mpsc::Receiver<Chunk>,
    room: Arc<Semaphore>,
}

/// The hub, and with it the engine, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tunnel has stopped")]
pub struct Gone;

/// Datagrams that could not be delivered.
#[derive(Debug)]
pub enum TryDeliver {
    /// There is no room for these now.
    Full(Datagrams),
    /// The engine has stopped.
    Gone,
}

/// Room for one piece.
#[derive(Debug)]
pub struct Room<'a> {
    from: Path,
    place: mpsc::Permit<'a, Arrival>,
}

#[derive(Debug)]
struct Shared {
    next_stream: AtomicU64,
    lost: AtomicU64,
    /// Bytes that wait for all streams, and how many may.
    waiting: AtomicUsize,
    max_waiting: usize,
}

#[derive(Debug)]
enum Kind {
    /// A client: one stream at a time, the newest.
    Single { to: Path, stream: Option<Stream>, held: Held },
    /// A server: a stream for each path.
    Many(HashMap<Path, Stream>),
}

#[derive(Debug)]
struct Joined {
    path: Path,
    stream: Stream,
}

/// The hub's end of a stream.
#[derive(Debug)]
struct Stream {
    chunks: mpsc::Sender<Chunk>,
    room: Arc<Semaphore>,
    /// What `room` has while nothing waits.
    max_waiting: usize,
    shared: Arc<Shared>,
}

/// Capsules that wait to be written.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    _waits: Waits,
}

/// A chunk is counted among what waits for all streams until this is dropped.
#[derive(Debug)]
struct Waits {
    shared: Arc<Shared>,
    charge: usize,
}

#[derive(Debug)]
struct Arrival {
    from: Path,
    datagrams: Datagrams,
}

/// Datagrams that wait for a connection.
#[derive(Debug, Default)]
struct Held {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
}

/// A hub for a server: each stream is a path of its own. Datagrams for a stream that does not keep up are dropped.
pub fn hub(bounds: Bounds) -> (Hub, Joiner) {
    Hub::new(bounds, Kind::Many(HashMap::new()))
}

impl Hub {
    /// A hub for a client. Whatever the core sends goes to the newest stream, and whatever comes, from any stream, comes by
    /// the path that was last sent to (at first this one), so the core does not see connections being replaced. A stream
    /// that does not keep up makes the engine wait.
    pub fn single(bounds: Bounds, to: Path) -> (Self, Joiner) {
        // It waits for its one stream; there is nothing to share.
        let bounds = Bounds { to_streams: usize::MAX, ..bounds };
        Self::new(bounds, Kind::Single { to, stream: None, held: Held::default() })
    }

    fn new(bounds: Bounds, kind: Kind) -> (Self, Joiner) {
        let (joins, to_join) = mpsc::channel(JOINS);
        let (arrivals, to_arrive) = mpsc::channel(bounds.to_engine.max(1));
        let max_waiting = bounds.to_stream.max(2 * MAX_CHUNK);
        let shared = Arc::new(Shared {
            next_stream: AtomicU64::default(),
            lost: AtomicU64::default(),
            waiting: AtomicUsize::default(),
            max_waiting: bounds.to_streams,
        });
        let joiner = Joiner { joins, arrivals, shared, max_waiting };
        let hub = Self {
            joins: to_join,
            arrivals: to_arrive,
            arrived: None,
            kind,
            max_streams: bounds.streams.max(1),
            joiner: joiner.clone(),
        };
        (hub, joiner)
    }

    /// Seats a connection; it may be refused, or replace another.
    fn seat(&mut self, joined: Joined) {
        match &mut self.kind {
            Kind::Single { stream, held, .. } => {
                self.joiner.shared.lost(held.give_to(&joined.stream));
                *stream = Some(joined.stream);
            }
            Kind::Many(streams) => {
                if streams.len() >= self.max_streams {
                    streams.retain(|_, stream| !stream.is_gone());
                }
                if streams.len() < self.max_streams {
                    streams.insert(joined.path, joined.stream);
                } else {
                    tracing::debug!(from = %joined.path.remote, "as many connections as there may be: another is refused");
                }
            }
        }
    }

    fn seat_waiting(&mut self) {
        while let Ok(joined) = self.joins.try_recv() {
            self.seat(joined);
        }
    }
}

impl DatagramIo for Hub {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            self.seat_waiting();
            if want.read && self.arrived.is_some() {
                return Ok(Ready { read: true, write: false });
            }
            let room = self.kind.has_room();
            tokio::select! {
                Some(joined) = self.joins.recv() => self.seat(joined),
                Some(arrival) = self.arrivals.recv(), if want.read => self.arrived = Some(arrival),
                () = room, if want.write => return Ok(Ready { read: false, write: true }),
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let mut any = false;
        while let Some(mut arrival) = self.arrived.take().or_else(|| self.arrivals.try_recv().ok()) {
            let from = match &self.kind {
                Kind::Single { to, .. } => *to,
                Kind::Many(_) => arrival.from,
            };
            while let Some(datagram) = arrival.datagrams.front() {
                if into.push(from, Ecn::NotEct, datagram).is_err() {
                    self.arrived = Some(arrival);
                    return Ok(());
                }
                any = true;
                arrival.datagrams.pop_front();
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        self.seat_waiting();
        match &mut self.kind {
            Kind::Single { to, stream, held } => send_single(to, stream, held, &self.joiner.shared, out),
            Kind::Many(streams) => send_many(streams, out),
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        // A stream has no largest datagram of its own. As for UDP, so that changing carriers does not change the MTU.
        40 + 8
    }
}

fn send_single(to: &mut Path, current: &mut Option<Stream>, held: &mut Held, shared: &Shared, out: &mut SendArena) {
    current.take_if(|stream| stream.is_gone());
    while !out.is_empty() {
        let (runs, len) = chunk_at_front(out, |_| true);
        if current.as_ref().is_some_and(|stream| !stream.has_room(len)) {
            return;
        }
        let chunk = fill(out, runs, len, to);
        let refused = match current {
            Some(stream) => stream.give(chunk).err(),
            None => Some(chunk),
        };
        if let Some(chunk) = refused {
            current.take_if(|stream| stream.is_gone());
            shared.lost(held.keep(chunk));
        }
    }
}

fn send_many(streams: &mut HashMap<Path, Stream>, out: &mut SendArena) {
    while let Some(Run { to, .. }) = out.front() {
        let (runs, len) = chunk_at_front(out, |run| run.to == to);
        let stream = match streams.get(&to) {
            Some(stream) => Some(stream),
            // The core asks for a way without the mark that tells streams of one address apart.
            None => {
                streams.iter().find(|(path, _)| path.without_source() == to.without_source()).map(|(_, found)| found)
            }
        };
        let sent = stream.filter(|stream| stream.has_room(len)).is_some_and(|stream| {
            let mut ignored = to;
            let chunk = peek(out, runs, len, &mut ignored);
            stream.give(chunk).is_ok()
        });
        for _ in 0..runs {
            if sent { out.pop_front() } else { out.refuse_front() }
        }
        if !sent && streams.get(&to).is_some_and(Stream::is_gone) {
            streams.remove(&to);
        }
    }
}

/// How many runs at the front, of those that may be, go into one chunk, and how many bytes that has.
fn chunk_at_front(out: &SendArena, mut may: impl FnMut(&Run<'_>) -> bool) -> (usize, usize) {
    let (mut runs, mut len) = (0, 0);
    for run in out.waiting() {
        let more: usize = run.bytes.chunks(run.segment.max(1)).map(|datagram| datagram_len(datagram.len())).sum();
        if runs > 0 && (len + more > MAX_CHUNK || !may(&run)) {
            break;
        }
        runs += 1;
        len += more;
    }
    (runs, len)
}

/// The first runs as capsules, and where the last one went.
fn peek(out: &SendArena, runs: usize, len: usize, to: &mut Path) -> Bytes {
    let mut chunk = BytesMut::with_capacity(len);
    for run in out.waiting().take(runs) {
        *to = run.to;
        for datagram in run.bytes.chunks(run.segment.max(1)) {
            put_datagram(&mut chunk, datagram);
        }
    }
    chunk.freeze()
}

/// As [`peek`], taken out of the arena.
fn fill(out: &mut SendArena, runs: usize, len: usize, to: &mut Path) -> Bytes {
    let chunk = peek(out, runs, len, to);
    for _ in 0..runs {
        out.pop_front();
    }
    chunk
}

impl Kind {
    /// Waits until something can be sent, or be dropped.
    fn has_room(&self) -> impl Future<Output = ()> + Send + use<> {
        let room = match self {
            Self::Single { stream: Some(stream), .. } => Some(Arc::clone(&stream.room)),
            Self::Single { stream: None, .. } | Self::Many(_) => None,
        };
        async move {
            if let Some(room) = room {
                // Closed: the stream is gone, which sending will find.
                drop(room.acquire_many(MAX_CHUNK as u32).await);
            }
        }
    }
}

impl Joiner {
    /// Seats a connection that is reached by this path. On a server `path.local` becomes a mark of the stream, because two
    /// of them may come from one address (through a front).
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn join(&self, path: Path) -> Result<Seat, Gone> {
        let number = self.shared.next_stream.fetch_add(1, Ordering::Relaxed);
        let path = Path { local: Some(mark(number)), ..path };
        let room = Arc::new(Semaphore::new(self.max_waiting));
        let (chunks, to_write) = mpsc::channel(self.max_waiting / MIN_CHARGE);
        let shared = Arc::clone(&self.shared);
        let stream = Stream { chunks, room: Arc::clone(&room), max_waiting: self.max_waiting, shared };
        let joined = Joined { path, stream };
        self.joins.send(joined).await.map_err(|_| Gone)?;
        Ok(Seat {
            to_engine: ToEngine { path, arrivals: self.arrivals.clone() },
            from_engine: FromEngine { chunks: to_write, room },
        })
    }

    /// Chunks of datagrams that a client's hub dropped because it had no connection for them.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits until the engine has stopped.
    pub async fn gone(&self) {
        self.joins.closed().await;
    }
}

/// A mark for a stream, as an address that goes nowhere (RFC 6666).
fn mark(number: u64) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(0x0100_u128 << 112 | u128::from(number)))
}

impl Seat {
    /// As [`ToEngine::deliver`].
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn deliver(&self, datagrams: Datagrams) -> Result<(), Gone> {
        self.to_engine.deliver(datagrams).await
    }

    /// As [`FromEngine::next`].
    pub async fn next(&mut self) -> Option<Bytes> {
        self.from_engine.next().await
    }

    /// The peer's address, as it was given.
    pub fn remote(&self) -> SocketAddr {
        self.to_engine.path.remote
    }
}

impl ToEngine {
    /// Gives the engine the datagrams of a piece of the stream, when it has room for them.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn deliver(&self, datagrams: Datagrams) -> Result<(), Gone> {
        if datagrams.is_empty() {
            return Ok(());
        }
        self.arrivals.send(Arrival { from: self.path, datagrams }).await.map_err(|_| Gone)
    }

    /// As [`deliver`](Self::deliver), if there is room now.
    ///
    /// # Errors
    /// There is no room, or the engine has stopped.
    pub fn try_deliver(&self, datagrams: Datagrams) -> Result<(), TryDeliver> {
        if datagrams.is_empty() {
            return Ok(());
        }
        let arrival = Arrival { from: self.path, datagrams };
        self.arrivals.try_send(arrival).map_err(|error| match error {
            mpsc::error::TrySendError::Full(arrival) => TryDeliver::Full(arrival.datagrams),
            mpsc::error::TrySendError::Closed(_) => TryDeliver::Gone,
        })
    }

    /// Waits for room for one piece. May be dropped at any time.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn room(&self) -> Result<Room<'_>, Gone> {
        let place = self.arrivals.reserve().await.map_err(|_| Gone)?;
        Ok(Room { from: self.path, place })
    }
}

impl Room<'_> {
    /// Gives the engine the datagrams of a piece.
    pub fn deliver(self, datagrams: Datagrams) {
        self.place.send(Arrival { from: self.from, datagrams });
    }
}

impl FromEngine {
    /// The next bytes of the stream: whole capsules, of one or many datagrams. `None` when there will be none, because the
    /// stream was replaced or refused, or the engine has stopped. May be dropped at any time without losing anything.
    pub async fn next(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.recv().await?;
        Some(self.taken(chunk))
    }

    /// As [`next`](Self::next), if there is something now.
    pub fn try_next(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.try_recv().ok()?;
        Some(self.taken(chunk))
    }

    fn taken(&self, chunk: Chunk) -> Bytes {
        self.room.add_permits(charge(chunk.bytes.len()));
        chunk.bytes
    }
}

impl Drop for FromEngine {
    fn drop(&mut self) {
        // Whoever waits for room finds out.
        self.room.close();
    }
}

impl Stream {
    fn is_gone(&self) -> bool {
        self.chunks.is_closed()
    }

    fn has_room(&self, len: usize) -> bool {
        let (room, charge) = (self.room.available_permits(), charge(len));
        self.is_gone() || (room >= charge && self.max_waiting - room + charge <= self.shared.share())
    }

    /// Queues a chunk, or gives it back.
    fn give(&self, chunk: Bytes) -> Result<(), Bytes> {
        let Ok(permit) = self.room.try_acquire_many(charge(chunk.len()) as u32) else { return Err(chunk) };
        // Given back by the seat when it takes the chunk.
        permit.forget();
        let chunk = Chunk { _waits: Waits::new(&self.shared, charge(chunk.len())), bytes: chunk };
        self.chunks.try_send(chunk).map_err(|error| match error {
            mpsc::error::TrySendError::Full(chunk) | mpsc::error::TrySendError::Closed(chunk) => chunk.bytes,
        })
    }
}

const fn charge(len: usize) -> usize {
    if len < MIN_CHARGE { MIN_CHARGE } else { len }
}

impl Held {
    /// Keeps a chunk, and says how many older ones it had to drop.
    fn keep(&mut self, chunk: Bytes) -> u64 {
        self.bytes += charge(chunk.len());
        self.chunks.push_back((Instant::now(), chunk));
        let mut dropped = 0;
        while self.bytes > MAX_HELD && self.pop().is_some() {
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<(Instant, Bytes)> {
        let (since, chunk) = self.chunks.pop_front()?;
        self.bytes -= charge(chunk.len());
        Some((since, chunk))
    }

    /// Gives a new stream what is not too old, and says how many chunks were.
    fn give_to(&mut self, stream: &Stream) -> u64 {
        let mut dropped = 0;
        while let Some((since, chunk)) = self.pop() {
            let is_young = since.elapsed() < MAX_HELD_FOR;
            dropped += u64::from(!(is_young && stream.give(chunk).is_ok()));
        }
        dropped
    }
}

impl Waits {
    fn new(shared: &Arc<Shared>, charge: usize) -> Self {
        shared.waiting.fetch_add(charge, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), charge }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(self.charge, Ordering::Relaxed);
    }
}

impl Shared {
    /// Bytes that may wait for one stream now: a part of what is free, so that slow streams, however many, leave something
    /// for the others (the dynamic thresholds of Choudhury and Hahne, 1998).
    fn share(&self) -> usize {
        self.max_waiting.saturating_sub(self.waiting.load(Ordering::Relaxed)) / SHARE
    }

    fn lost(&self, chunks: u64) {
        self.lost.fetch_add(chunks, Ordering::Relaxed);
    }
}

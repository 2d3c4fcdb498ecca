//! TCP as the outside of an OpenVPN server: many streams, each with packets in frames.
//!
//! Strangers open streams, so everything about them has a bound: how many there are, how many of one host and network have not come
//! in yet and how long they may take for it, what waits for one that does not read. Nobody is turned away for those who have not come
//! in: one of them goes. Not here: who comes in (the core, and the attendant, who
//! says of which streams that is known).

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_engine::{DatagramIo, Ready, RecvBatch, SendArena, Want};
use adit_openvpn::options::Family;
use adit_openvpn::{Deframer, frame_length};
use adit_protocol::{Ecn, Path};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::seats::{Bounds, Seat};
use crate::openvpn::stream::STREAM;

/// How long they may take for a packet that the core answers.
const SPEAK_WITHIN: Duration = Duration::from_secs(10);
/// How long they may take for coming in: a little more than an exchange of keys may (`hand-window`).
const COME_IN_WITHIN: Duration = Duration::from_secs(90);
/// Bytes that wait for one stream; what comes when they are there is dropped, as on any full line.
const MAX_QUEUED: usize = 256 << 10;
/// Runs of packets that wait for one stream.
const MAX_RUNS: usize = 256;
/// Bytes that are read at a time.
const READ: usize = 16 << 10;
/// Reads of all streams together that wait for the engine.
const MAX_READS: usize = 64;
/// Orders and losses that may wait.
const MAX_WAITING: usize = 256;
/// Connections that may wait for being accepted.
const BACKLOG: i32 = 128;
/// What waits for a stream that is closed is sent within this time all together, or not at all.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A machine that vanished is noticed after this silence, if nobody else notices it.
const SILENCE: Duration = Duration::from_secs(60);
/// One whose machine is there and takes nothing of what is sent is closed after this time.
const UNTAKEN: Duration = Duration::from_secs(120);
/// After the system had no room for another stream.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of headers of IPv6 and TCP, and of the length before each packet.
const OVERHEAD: usize = 40 + 32 + 2;

/// The streams of a server.
#[derive(Debug)]
pub struct Hub {
    reads: mpsc::Receiver<Read>,
    orders: mpsc::Receiver<Order>,
    streams: HashMap<SocketAddr, Outbox>,
    /// What was read and is not taken yet: at most one read, for no other is taken before.
    left: VecDeque<(SocketAddr, Vec<u8>)>,
    lost: mpsc::Sender<SocketAddr>,
    /// Ends with the hub, and all streams with it.
    _tasks: JoinSet<()>,
}

/// Reaches a [`Hub`] that an engine owns.
#[derive(Debug)]
pub struct HubControl {
    orders: mpsc::Sender<Order>,
    lost: mpsc::Receiver<SocketAddr>,
    port: u16,
}

#[derive(Debug)]
enum Order {
    /// Its client is in.
    Settled(SocketAddr),
    /// Its client is gone.
    Close(SocketAddr),
}

/// What streams say to the hub, in order.
#[derive(Debug)]
enum Read {
    Opened(SocketAddr, Outbox),
    Packets(SocketAddr, Vec<Vec<u8>>),
    Closed(SocketAddr),
}

/// The way to one stream; it is closed when this is dropped.
#[derive(Debug)]
struct Outbox {
    runs: mpsc::Sender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    /// Whoever is answered has sent something good.
    spoken: Arc<Notify>,
    settled: Arc<Notify>,
    /// Tells the stream when this is dropped, also while it waits for its client to read.
    _open: oneshot::Sender<Infallible>,
}

impl HubControl {
    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn settled(&self, stream: SocketAddr) {
        // If the hub is gone, so are all streams.
        drop(self.orders.send(Order::Settled(stream)).await);
    }

    pub(super) async fn close(&self, stream: SocketAddr) {
        drop(self.orders.send(Order::Close(stream)).await);
    }

    /// The next stream that has ended.
    pub(super) async fn lost(&mut self) -> SocketAddr {
        match self.lost.recv().await {
            Some(stream) => stream,
            None => pending().await,
        }
    }
}

impl Hub {
    /// Listens on a port, for so many streams at most, those half open beside them. Must be called on the tokio runtime that it will
    /// run on.
    ///
    /// # Errors
    /// The port is taken, or needs a privilege.
    pub fn listen(port: u16, family: Family, fwmark: u32, most: usize) -> io::Result<(Self, HubControl)> {
        let v4 = listener((Ipv4Addr::UNSPECIFIED, port).into(), fwmark)?;
        let port = v4.local_addr()?.port();
        let v6 = match family {
            Family::V4 => None,
            // A machine without IPv6 has the other alone.
            Family::Any | Family::V6 => match listener((Ipv6Addr::UNSPECIFIED, port).into(), fwmark) {
                Err(error) if has_no_ipv6(&error) => None,
                listener => Some(listener?),
            },
        };
        let ((to_hub, reads), (order, orders)) = (mpsc::channel(MAX_READS), mpsc::channel(MAX_WAITING));
        let (lost, losses) = mpsc::channel(MAX_WAITING);
        let bounds = Bounds::new(most);
        let mut tasks = JoinSet::new();
        for listener in std::iter::once(v4).chain(v6) {
            tasks.spawn(accept(listener, Arc::clone(&bounds), to_hub.clone()));
        }
        let hub = Self { reads, orders, streams: HashMap::new(), left: VecDeque::new(), lost, _tasks: tasks };
        Ok((hub, HubControl { orders: order, lost: losses, port }))
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Settled(stream) => {
                if let Some(outbox) = self.streams.get(&stream) {
                    outbox.settled.notify_one();
                }
            }
            Order::Close(stream) => drop(self.streams.remove(&stream)),
        }
    }

    fn take(&mut self, read: Read) {
        match read {
            Read::Opened(from, outbox) => drop(self.streams.insert(from, outbox)),
            Read::Packets(from, packets) => self.left.extend(packets.into_iter().map(|packet| (from, packet))),
            Read::Closed(from) => {
                self.streams.remove(&from);
                // Where nobody has room for it, the core finds out by silence.
                let _is_told = self.lost.try_send(from);
            }
        }
    }
}

impl DatagramIo for Hub {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            let read = want.read && !self.left.is_empty();
            // Nobody is waited for: what has no room is dropped.
            if read || want.write {
                return Ok(Ready { read, write: want.write });
            }
            tokio::select! {
                Some(order) = self.orders.recv() => self.obey(order),
                Some(read) = self.reads.recv(), if want.read => self.take(read),
                else => pending().await,
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let mut any = false;
        while into.has_room() {
            match self.left.pop_front() {
                Some((from, packet)) => any |= into.push(path(from), Ecn::NotEct, &packet).is_ok(),
                None => match self.reads.try_recv() {
                    Ok(read) => self.take(read),
                    Err(_) => break,
                },
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        while let Some(run) = out.front() {
            let mut framed = Vec::with_capacity(run.bytes.len() + 2 * run.bytes.len().div_ceil(run.segment.max(1)));
            for packet in run.bytes.chunks(run.segment.max(1)) {
                if let Some(length) = frame_length(packet) {
                    framed.extend(length);
                    framed.extend(packet);
                }
            }
            let is_sent = self.streams.get(&run.to.remote).is_some_and(|outbox| outbox.post(framed));
            if is_sent { out.pop_front() } else { out.refuse_front() }
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        OVERHEAD
    }
}

impl Outbox {
    /// Whether there was room.
    fn post(&self, framed: Vec<u8>) -> bool {
        let len = framed.len();
        self.spoken.notify_one();
        if self.queued.fetch_add(len, Ordering::Relaxed) + len <= MAX_QUEUED && self.runs.try_send(framed).is_ok() {
            return true;
        }
        self.queued.fetch_sub(len, Ordering::Relaxed);
        false
    }
}

const fn path(remote: SocketAddr) -> Path {
    Path { link: STREAM, remote, local: None }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let said = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(said, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn listener(at: SocketAddr, fwmark: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if fwmark != 0 {
        // Streams have it from the listener.
        socket.set_mark(fwmark)?;
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts streams for as long as there is a hub. They end with it.
async fn accept(listener: TcpListener, bounds: Arc<Bounds>, hub: mpsc::Sender<Read>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    // Who has no seat is closed at once.
                    if let Some(seat) = bounds.seat(from.ip()) {
                        streams.spawn(serve(stream, from, seat, hub.clone()));
                    }
                }
                // No descriptors, most likely: it is tried again.
                Err(_) => sleep(PAUSE).await,
            },
            Some(_ended) = streams.join_next() => {}
        }
    }
}

/// The life of a stream.
async fn serve(stream: TcpStream, from: SocketAddr, mut seat: Seat, hub: mpsc::Sender<Read>) {
    let quick = stream.set_nodelay(true);
    let kept = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE));
    let limited = SockRef::from(&stream).set_tcp_user_timeout(Some(UNTAKEN));
    if quick.is_err() || kept.is_err() || limited.is_err() {
        // It is gone already.
        return;
    }
    let (read, write) = stream.into_split();
    let (runs, inbox) = mpsc::channel(MAX_RUNS);
    let (queued, spoken, settled) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (open, closed) = oneshot::channel();
    let (queue, speak, settle) = (Arc::clone(&queued), Arc::clone(&spoken), Arc::clone(&settled));
    let outbox = Outbox { runs, queued: queue, spoken: speak, settled: settle, _open: open };
    if hub.send(Read::Opened(from, outbox)).await.is_err() {
        return;
    }
    tokio::select! {
        () = receive(read, from, &hub) => {}
        () = send(write, inbox, closed, &queued) => {}
        () = is_late(&spoken, &settled, &mut seat) => {}
    }
    // If the hub is gone, nobody asks.
    drop(hub.send(Read::Closed(from)).await);
}

/// Until a client has taken too long to say something good, or to come in, or another has its place; for ever if it has come in.
async fn is_late(spoken: &Notify, settled: &Notify, seat: &mut Seat) {
    let is_in = async {
        timeout(SPEAK_WITHIN, spoken.notified()).await?;
        timeout(COME_IN_WITHIN - SPEAK_WITHIN, settled.notified()).await
    };
    tokio::select! {
        is_in = is_in => if is_in.is_ok() {
            seat.settle();
            pending().await
        },
        () = seat.is_turned_out() => {}
    }
}

/// Until the stream ends, or holds what is not OpenVPN.
async fn receive(mut stream: OwnedReadHalf, from: SocketAddr, hub: &mpsc::Sender<Read>) {
    let (mut deframer, mut buffer) = (Deframer::default(), vec![0; READ]);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        let mut packets = Vec::new();
        let taken = deframer.push(buffer.get(..n).unwrap_or_default(), |packet| packets.push(packet.to_vec()));
        let is_told = packets.is_empty() || hub.send(Read::Packets(from, packets)).await.is_ok();
        if taken.is_err() || !is_told {
            return;
        }
    }
}

/// Until the stream ends, or the hub closes it and what waits is sent: a client that does not read holds nothing open.
async fn send<W: AsyncWrite + Unpin>(
    stream: W,
    inbox: mpsc::Receiver<Vec<u8>>,
    closed: oneshot::Receiver<Infallible>,
    queued: &AtomicUsize,
) {
    let all = send_all(stream, inbox, queued);
    tokio::pin!(all);
    tokio::select! {
        () = &mut all => {}
        _ = closed => {
            let _is_taken = timeout(LAST_WORDS, all).await;
        }
    }
}

/// Until there is nothing more to send, ever.
async fn send_all<W: AsyncWrite + Unpin>(mut stream: W, mut inbox: mpsc::Receiver<Vec<u8>>, queued: &AtomicUsize) {
    while let Some(framed) = inbox.recv().await {
        let len = framed.len();
        let written = stream.write_all(&framed).await;
        queued.fetch_sub(len, Ordering::Relaxed);
        if written.is_err() {
            return;
        }
    }
    // If it is gone already, it is closed.
    drop(stream.shutdown().await);
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::super::seats::MAX_HALF_OPEN;
    use super::*;

    const READ_IT: Want = Want { read: true, write: false };

    async fn connect(port: u16) -> TcpStream {
        TcpSocket::new_v4().unwrap().connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
    }

    fn framed(packet: &[u8]) -> Vec<u8> {
        [frame_length(packet).unwrap().as_slice(), packet].concat()
    }

    async fn received(hub: &mut Hub) -> Vec<(SocketAddr, Vec<u8>)> {
        hub.ready(READ_IT).await.unwrap();
        let mut batch = RecvBatch::with_capacity(1 << 18);
        hub.try_recv(&mut batch).unwrap();
        let mut all = Vec::new();
        while let (Some(from), Some(packet)) = (batch.front_path(), batch.front()) {
            all.push((from.remote, packet.to_vec()));
            batch.pop_front();
        }
        all
    }

    #[tokio::test]
    async fn what_is_framed_comes_out_whole_and_what_is_no_frame_ends_the_stream() {
        let (mut hub, mut control) = Hub::listen(0, Family::V4, 0, 4).unwrap();
        let mut stream = connect(control.port()).await;
        let from = stream.local_addr().unwrap();
        stream.write_all(&[framed(b"one"), framed(b"two")].concat()).await.unwrap();
        assert_eq!(received(&mut hub).await, [(from, b"one".to_vec()), (from, b"two".to_vec())]);
        stream.write_all(&[0, 0, 1]).await.unwrap();
        tokio::select! {
            lost = control.lost() => assert_eq!(lost, from),
            _ = hub.ready(READ_IT) => panic!("nothing comes of it"),
        }
        assert!(hub.streams.is_empty());
    }

    #[tokio::test]
    async fn what_a_client_does_not_read_is_dropped_and_keeps_nobody_waiting() {
        let (mut hub, control) = Hub::listen(0, Family::V4, 0, 4).unwrap();
        let mut stream = connect(control.port()).await;
        let from = stream.local_addr().unwrap();
        stream.write_all(&framed(b"hello")).await.unwrap();
        received(&mut hub).await;
        let outbox = hub.streams.get(&from).unwrap();
        let posted = (0..64 << 10).take_while(|_| outbox.post(vec![0; 1500])).count();
        assert!(posted < 64 << 10, "it takes no end of it");
        assert!(outbox.queued.load(Ordering::Relaxed) <= MAX_QUEUED);
        control.close(from).await;
        let order = hub.orders.recv().await.unwrap();
        assert!(matches!(order, Order::Close(closed) if closed == from));
    }

    /// How long a stream is waited for whose client does this after so long, and that much later.
    async fn ends_after(speaks: Option<u64>, comes_in: Option<u64>) -> Option<Duration> {
        let (bounds, spoken, settled) = (Bounds::new(3), Notify::new(), Notify::new());
        let mut seat = bounds.seat([192, 0, 2, 1].into()).unwrap();
        let began = tokio::time::Instant::now();
        let client = async {
            for (after, does) in [(speaks, &spoken), (comes_in, &settled)] {
                let Some(after) = after else { break };
                sleep(Duration::from_secs(after)).await;
                does.notify_one();
            }
            pending::<()>().await
        };
        tokio::select! {
            () = is_late(&spoken, &settled, &mut seat) => Some(began.elapsed()),
            () = client => None,
            () = sleep(100 * COME_IN_WITHIN) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_good_or_does_not_come_in_is_late_and_who_has_is_never() {
        let soon = Duration::from_millis(10);
        for (speaks, comes_in, most) in [(None, None, SPEAK_WITHIN), (Some(9), None, COME_IN_WITHIN)] {
            let ended = ends_after(speaks, comes_in).await.unwrap();
            assert!(ended <= most + soon && ended + SPEAK_WITHIN >= most, "{speaks:?}: {ended:?}");
        }
        assert_eq!(ends_after(Some(9), Some(70)).await, None);
    }

    #[tokio::test]
    async fn silent_streams_keep_nobody_out_and_are_closed_for_others() {
        let (mut hub, control) = Hub::listen(0, Family::V4, 0, 4).unwrap();
        let mut first = connect(control.port()).await;
        let mut silent = Vec::new();
        for _ in 0..MAX_HALF_OPEN.of_host {
            silent.push(connect(control.port()).await);
        }
        let ended = async {
            let mut byte = [0];
            first.read(&mut byte).await
        };
        tokio::select! {
            ended = ended => assert_eq!(ended.unwrap(), 0, "the oldest is closed"),
            _ = hub.ready(READ_IT) => panic!("nobody has said anything"),
        }
        let last = silent.last_mut().unwrap();
        last.write_all(&framed(b"hello")).await.unwrap();
        assert_eq!(received(&mut hub).await, [(last.local_addr().unwrap(), b"hello".to_vec())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_no_closed_stream_open() {
        let (near, mut far) = tokio::io::duplex(16);
        let (runs, inbox) = mpsc::channel(MAX_RUNS);
        let (open, closed) = oneshot::channel();
        let queued = AtomicUsize::new(0);
        let sent = send(near, inbox, closed, &queued);
        tokio::pin!(sent);
        runs.try_send(vec![1; 64]).unwrap();
        runs.try_send(vec![2; 64]).unwrap();
        assert!(timeout(100 * LAST_WORDS, &mut sent).await.is_err(), "it waits while the stream is open");
        let began = tokio::time::Instant::now();
        drop((runs, open));
        sent.await;
        assert!(began.elapsed() <= LAST_WORDS + Duration::from_millis(2), "{:?}", began.elapsed());
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [1; 16], "what fitted, and then the end");
    }

    #[tokio::test]
    async fn last_words_are_sent_to_who_reads_them() {
        let (near, mut far) = tokio::io::duplex(16);
        let (runs, inbox) = mpsc::channel(MAX_RUNS);
        let (open, closed) = oneshot::channel();
        let queued = AtomicUsize::new(64);
        runs.try_send(vec![1; 64]).unwrap();
        drop((runs, open));
        let mut read = Vec::new();
        let (_, n) = tokio::join!(send(near, inbox, closed, &queued), far.read_to_end(&mut read));
        assert_eq!((n.unwrap(), queued.load(Ordering::Relaxed)), (64, 0));
    }
}

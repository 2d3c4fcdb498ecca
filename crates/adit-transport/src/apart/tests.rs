//! Both ends of the bridge in one process: order, bounds, patience, and what hostile ends say.

mod words;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdStream;

use adit_engine::{
    DatagramChannel, DatagramIo as _, MAX_DATAGRAM, MAX_READ, RecvBatch, SendArena, Want, datagram_pair,
};
use adit_protocol::{DropReason, LinkId, Path};
use tokio::net::UnixStream;
use tokio::time::Duration;

use super::bridge::{Bridge, Port, bridge};
use super::carry::carry;
use super::frame::{HEAD, Head, Malformed};

#[test]
fn a_head_is_read_as_it_is_written() {
    for (remote, local) in
        [("192.0.2.1:443", None), ("[2001:db8::1]:9", Some("2001:db8::2")), ("[::1]:1", Some("10.0.0.1"))]
    {
        let remote = remote.parse().unwrap();
        let path = Path { link: LinkId(1), remote, local: local.map(|local| local.parse().unwrap()) };
        let head = Head { path, tos: 3, len: 2500, stride: 1000 };
        assert_eq!(Head::parse(&head.emit()), Ok(head));
    }
}

#[test]
fn a_head_that_nobody_writes_is_refused() {
    let good = |len, stride| Head { path: path(), tos: 0, len, stride };
    for (len, stride) in [(0, 1), (1, 0), (10, 11), (MAX_DATAGRAM + 1, 2000), (65, 1), (usize::from(u16::MAX) + 7, 1)] {
        assert_eq!(Head::parse(&good(len, stride).emit()), Err(Malformed), "{len}, {stride}");
    }
    assert!(Head::parse(&good(64, 1).emit()).is_ok());
    // Families that are none, addresses where there are none, and what is reserved.
    for (at, value) in [(10, 0), (10, 5), (10, 6), (11, 4), (11, 9), (32, 1), (14, 1), (15, 1)] {
        let mut head = good(10, 10).emit();
        head[at] = value;
        assert_eq!(Head::parse(&head), Err(Malformed), "{at}: {value}");
    }
}

/// What the engine sends leaves at the far end, and the other way round: all of it, in order, each datagram by itself.
#[tokio::test]
async fn datagrams_cross_whole_and_in_order() {
    let mut world = World::new(64).await;
    for round in 0..50 {
        let sizes = [1200, 1200, 1200, 40, 1200, 9000, 1, 1, 2];
        let mut arena = SendArena::with_capacity(100_000);
        for (n, len) in sizes.into_iter().enumerate() {
            arena.push_with(path(), 2, len, |bytes| bytes.fill((round + n) as u8)).unwrap();
        }
        while !arena.is_empty() {
            world.bridge.ready(WRITE).await.unwrap();
            world.bridge.try_send(&mut arena).unwrap();
        }
        for (n, len) in sizes.into_iter().enumerate() {
            let got = world.far.recv().await.unwrap();
            assert_eq!((got.tos, got.bytes), (2, vec![(round + n) as u8; len]));
            world.far.send(adit_engine::Datagram { tos: 1, bytes: vec![(round + n) as u8; len] }).await;
        }
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        for (n, len) in sizes.into_iter().enumerate() {
            while batch.front().is_none() {
                assert!(world.bridge.ready(READ).await.unwrap().read);
                let _nothing_yet = world.bridge.try_recv(&mut batch);
            }
            assert_eq!(batch.front().unwrap(), vec![(round + n) as u8; len]);
            assert_eq!(batch.front_path().unwrap().remote, path().remote);
            assert_eq!(batch.front_ecn(), Some(adit_protocol::Ecn::Ect1));
            batch.pop_front();
        }
    }
    assert_eq!(
        world.bridge.try_recv(&mut RecvBatch::with_capacity(MAX_READ)).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

/// The largest runs there are, cut wherever the stream is full.
#[tokio::test]
async fn a_run_that_leaves_in_parts_arrives_whole() {
    let mut world = World::new(4).await;
    let mut arena = SendArena::with_capacity(20 * 64_000);
    for n in 0..20 * 64 {
        arena.push_with(path(), 0, 1000, |bytes| bytes.fill(n as u8)).unwrap();
    }
    let sending = async {
        while !arena.is_empty() {
            world.bridge.ready(WRITE).await.unwrap();
            world.bridge.try_send(&mut arena).unwrap();
        }
        // What the arena has given away may still be here in part, and goes without being asked to.
        world.bridge.ready(READ).await.unwrap();
    };
    let receiving = async {
        for n in 0..20 * 64 {
            assert_eq!(world.far.recv().await.unwrap().bytes, [n as u8; 1000], "{n}");
        }
    };
    tokio::select! {
        () = sending => panic!("nothing comes back"),
        () = receiving => {}
    }
    assert_eq!(arena.take_drops().total(), 0);
}

/// UDP leaves by the same engine: a process that hangs must not hold it up.
#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_waited_for_a_while_and_then_not() {
    let (mut bridge, port) = bridge(super::bridge::PATIENCE);
    let (stream, hangs) = UnixStream::pair().unwrap();
    port.lead_to(stream).await.unwrap();
    let fill = |arena: &mut SendArena| while arena.push(path(), 0, &[7; 1000]).is_ok() {};
    let mut arena = SendArena::with_capacity(1 << 20);
    fill(&mut arena);
    bridge.try_send(&mut arena).unwrap();
    assert!(!arena.is_empty(), "what does not fit stays");
    assert_eq!(arena.take_drops().total(), 0);
    // By itself the clock goes on to the end of its patience.
    assert!(bridge.ready(WRITE).await.unwrap().write);
    bridge.try_send(&mut arena).unwrap();
    assert!(arena.is_empty());
    assert!(arena.take_drops().of(DropReason::OutsideFull) > 0);
    // And from now on at once.
    fill(&mut arena);
    bridge.try_send(&mut arena).unwrap();
    assert!(arena.is_empty());
    // What it takes at last is whole: the run that was cut goes on where it was.
    let mut reader = super::frame::Reader::new();
    let mut taken = SendArena::with_capacity(4 << 20);
    while let Ok(read) = reader.fill(&hangs) {
        assert!(read > 0);
        reader.give_to_arena(&mut taken).unwrap();
        fill(&mut arena);
        bridge.try_send(&mut arena).unwrap();
        if taken.room() < 1 << 20 {
            break;
        }
    }
    assert!(taken.waiting().all(|run| run.bytes.iter().all(|byte| *byte == 7) && run.segment == 1000));
}

#[tokio::test]
async fn a_batch_takes_what_it_has_room_for_and_the_rest_waits() {
    let mut world = World::new(2000).await;
    for n in 0..1000_u32 {
        world.far.send(adit_engine::Datagram { tos: 0, bytes: n.to_le_bytes().to_vec() }).await;
    }
    let mut next = 0_u32;
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    while next < 1000 {
        world.bridge.ready(READ).await.unwrap();
        let _nothing_yet = world.bridge.try_recv(&mut batch);
        assert!(batch.len() <= 256 + 64, "{}", batch.len());
        while let Some(datagram) = batch.front() {
            assert_eq!(datagram, next.to_le_bytes());
            batch.pop_front();
            next += 1;
        }
    }
}

#[tokio::test]
async fn who_sends_what_is_no_frame_is_left() {
    let (mut bridge, port) = bridge(WITHOUT_END);
    for garbage in [vec![0; HEAD], vec![0xff; 3 * HEAD], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4)] {
        let (stream, hostile) = UnixStream::pair().unwrap();
        port.lead_to(stream).await.unwrap();
        hostile.try_write(&garbage).unwrap();
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        bridge.ready(READ).await.unwrap();
        assert_eq!(bridge.try_recv(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(batch.is_empty());
        hostile.readable().await.unwrap();
        assert_eq!(hostile.try_read(&mut [0; 1]).unwrap(), 0, "it is told");
    }
}

/// The engine does not end with it, drops meanwhile, and goes on with the next.
#[tokio::test]
async fn a_process_that_dies_is_replaced() {
    let mut world = World::new(8).await;
    world.task.abort();
    let _aborted = (&mut world.task).await;
    let mut arena = SendArena::with_capacity(1000);
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    world.bridge.ready(READ).await.unwrap();
    assert_eq!(world.bridge.try_recv(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    arena.push(path(), 0, b"to nobody").unwrap();
    assert!(world.bridge.ready(WRITE).await.unwrap().write);
    world.bridge.try_send(&mut arena).unwrap();
    assert!(arena.is_empty() && arena.take_drops().of(DropReason::OutsideFull) == 1);
    world.connect(8).await;
    arena.push(path(), 0, b"to the next").unwrap();
    world.bridge.ready(WRITE).await.unwrap();
    world.bridge.try_send(&mut arena).unwrap();
    assert_eq!(world.far.recv().await.unwrap().bytes, b"to the next");
}

/// Nothing is lost while the far end waits for a bridge whose engine has no room.
#[tokio::test]
async fn the_far_end_waits_for_the_engine() {
    let mut world = World::new(10_000).await;
    for n in 0..4000_u32 {
        let mut bytes = vec![0; 1000];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        world.far.send(adit_engine::Datagram { tos: 0, bytes }).await;
    }
    // All that the stream holds, and a batch.
    tokio::task::yield_now().await;
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    for n in 0..4000_u32 {
        while batch.front().is_none() {
            world.bridge.ready(READ).await.unwrap();
            let _nothing_yet = world.bridge.try_recv(&mut batch);
        }
        assert_eq!(batch.front().unwrap()[..4], n.to_le_bytes());
        batch.pop_front();
    }
}

/// A bridge, and at its far end a channel in place of a web server.
struct World {
    bridge: Bridge,
    port: Port,
    far: DatagramChannel,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl World {
    async fn new(bound: usize) -> Self {
        let (bridge, port) = bridge(WITHOUT_END);
        let (outside, far) = ends(bound);
        let (stream, theirs) = UnixStream::pair().unwrap();
        port.lead_to(stream).await.unwrap();
        let task = tokio::spawn(carry(outside, theirs));
        Self { bridge, port, far, task }
    }

    async fn connect(&mut self, bound: usize) {
        let (outside, far) = ends(bound);
        let (stream, theirs) = UnixStream::pair().unwrap();
        self.port.lead_to(stream).await.unwrap();
        self.task = tokio::spawn(carry(outside, theirs));
        self.far = far;
    }
}

fn ends(bound: usize) -> (DatagramChannel, DatagramChannel) {
    datagram_pair(([127, 0, 0, 1], 1).into(), path().remote, bound)
}

const READ: Want = Want { read: true, write: false };
const WRITE: Want = Want { read: false, write: true };

fn path() -> Path {
    Path { link: LinkId(1), ..Path::to(SocketAddr::from(([192, 0, 2, 7], 4433))) }
}

/// The patience of a bridge that loses nothing, however slow the machine is.
const WITHOUT_END: Duration = Duration::from_secs(24 * 3600);

/// Long enough for what should not happen to happen.
const A_WHILE: Duration = Duration::from_millis(50);

/// Says something to the other end, whatever it makes of it.
fn say(to: &StdStream, bytes: &[u8]) {
    let mut to = to;
    let _gone = to.write_all(bytes);
}

//! The pump in virtual time, against a server that is only bytes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use adit_engine::{DatagramIo as _, MAX_READ, RecvBatch, SendArena};
use adit_protocol::Path;
use bytes::BufMut as _;
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::super::wire::Traffic;
use super::*;
use crate::capsule::{put_datagram, put_padding};
use crate::h2::Settings;
use crate::hub::{Bounds, Hub, Joiner};
use crate::shape::{Role, Settings as Shape};

const STREAM: StreamId = 1;
const DATA: u8 = 0;
const PING: u8 = 6;

#[tokio::test(start_paused = true)]
async fn capsules_travel_both_ways_and_padding_is_ignored() {
    let mut world = World::new(false).await;
    world.send(b"up");
    let (kind, _, payload) = world.frame().await;
    // Padding may follow.
    assert_eq!((kind, &payload[..5]), (DATA, &[0, 3, 0, b'u', b'p'][..]));
    let mut capsules = Vec::new();
    put_padding(&mut capsules, 100);
    put_datagram(&mut capsules, b"down");
    world.give(&frame(DATA, 0, STREAM, &capsules)).await;
    assert_eq!(world.receive().await, [b"down"]);
}

#[tokio::test(start_paused = true)]
async fn in_the_shape_of_grpc_capsules_are_messages() {
    let mut world = World::new(true).await;
    world.send(b"up");
    let (_, _, payload) = world.frame().await;
    assert_eq!(payload[..10], [0, 0, 0, 0, 5, 0, 3, 0, b'u', b'p']);
    // Two messages, of which the first ends inside a capsule.
    let mut stream = Vec::new();
    for part in [&[0, 5, 0, b'd'][..], b"own"] {
        stream.extend(grpc::prefix(part.len()));
        stream.extend(part);
    }
    for byte in stream {
        world.give(&frame(DATA, 0, STREAM, &[byte])).await;
    }
    assert_eq!(world.receive().await, [b"down"]);
}

/// After five seconds without an answer it asks, after ten the connection is dead.
#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_asked_and_then_given_up() {
    let mut world = World::new(false).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.send(b"anybody?");
    let sent = Instant::now();
    assert_eq!(world.frame().await.0, DATA);
    assert_eq!(world.frame().await.0, PING);
    assert_eq!(sent.elapsed().as_secs(), PING_AFTER.as_secs());
    assert!(matches!(world.end().await, End::Silent));
    assert_eq!(sent.elapsed().as_secs(), SILENT_AFTER.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_the_ping_is_kept() {
    let mut world = World::new(false).await;
    for _ in 0..5 {
        world.send(b"one way");
        assert_eq!(world.frame().await.0, DATA);
        let (kind, _, payload) = world.frame().await;
        assert_eq!(kind, PING);
        world.give(&frame(PING, 1, 0, &payload)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    world.send(b"still there");
    assert_eq!(world.frame().await.0, DATA);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_no_longer_ours_ends_it_within_a_second() {
    let mut world = World::new(false).await;
    world.around.is_here.store(false, Ordering::SeqCst);
    world.send(b"hello?");
    let sent = Instant::now();
    assert!(matches!(world.end().await, End::Moved));
    assert_eq!(sent.elapsed().as_secs(), LOOK_AFTER.as_secs());
}

/// When the network may have changed, the connection must prove to live within three seconds; until then it is kept.
#[tokio::test(start_paused = true)]
async fn a_doubted_connection_proves_itself_or_is_left() {
    let mut world = World::new(false).await;
    world.around.changed.notify_one();
    let (kind, _, payload) = world.frame().await;
    assert_eq!(kind, PING);
    world.give(&frame(PING, 1, 0, &payload)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;

    world.around.changed.notify_one();
    assert_eq!(world.frame().await.0, PING);
    let asked = Instant::now();
    // This may have been on its way before the network changed.
    world.give(&frame(8, 0, 0, &1_u32.to_be_bytes())).await;
    assert!(matches!(world.end().await, End::Moved));
    assert_eq!(asked.elapsed().as_secs(), PROVE_WITHIN.as_secs());
}

/// An upload over a slow line: the server says nothing for a long time, but it takes bytes.
#[tokio::test(start_paused = true)]
async fn a_slow_line_is_not_a_dead_one() {
    let mut world = World::new(false).await;
    world.give(&frame(4, 0, 0, &[0, 4, 0x10, 0, 0, 0])).await;
    world.give(&frame(8, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    for _ in 0..20 {
        world.send(&[1; 30_000]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut taken = vec![0; 8000];
        world.server.read_exact(&mut taken).await.unwrap();
    }
    assert!(!world.task.is_finished());
}

/// A connection that was replaced brings what is still on its way, then says goodbye.
#[tokio::test(start_paused = true)]
async fn a_replaced_connection_drains() {
    let mut world = World::new(false).await;
    world.send(b"last");
    let _newer = world.joiner.join(there()).await.unwrap();
    world.hub.try_send(&mut SendArena::with_capacity(1)).unwrap();
    assert_eq!(world.frame().await.0, DATA);
    tokio::time::sleep(DRAIN - Duration::from_secs(1)).await;
    let mut capsules = Vec::new();
    put_datagram(&mut capsules, b"late");
    world.give(&frame(DATA, 0, STREAM, &capsules)).await;
    assert_eq!(world.receive().await, [b"late"]);
    let (kind, flags, payload) = world.frame().await;
    assert_eq!((kind, flags, payload.len()), (DATA, 1, 0));
    assert!(matches!(world.end().await, End::Replaced));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_rules_or_ends_the_stream_ends_it() {
    let mut too_long = BytesMut::new();
    too_long.put_slice(&[0, 0x80, 1, 0xff, 0xff]);
    let cases = [
        (frame(DATA, 0, STREAM, &too_long), "more than"),
        (frame(DATA, 0, STREAM, &[0, 0]), "context"),
        (frame(DATA, 1, STREAM, &[]), "ended the tunnel"),
        (frame(3, 0, STREAM, &[0; 4]), "ended the tunnel"),
        (frame(7, 0, 0, &[0; 8]), "refused"),
        (frame(5, 0, STREAM, &[0; 8]), "push"),
    ];
    for (bytes, words) in cases {
        let mut world = World::new(false).await;
        world.give(&bytes).await;
        let End::Closed(why) = world.end().await else { panic!("{words}") };
        assert!(why.contains(words), "{why}");
    }
    let mut world = World::new(false).await;
    world.server.shutdown().await.unwrap();
    assert!(matches!(world.end().await, End::Closed(_)));
}

/// An engine that does not take what arrives makes the server wait, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn an_engine_that_is_behind_makes_the_server_wait() {
    let mut world = World::new(false).await;
    let (mut reader, mut writer) = tokio::io::split(std::mem::replace(&mut world.server, tokio::io::duplex(1).0));
    let writing = tokio::spawn(async move {
        for n in 0..2000_u32 {
            let mut capsules = Vec::new();
            put_datagram(&mut capsules, &[&n.to_be_bytes()[..], &[0; 1000]].concat());
            writer.write_all(&frame(DATA, 0, STREAM, &capsules)).await.unwrap();
        }
        std::future::pending::<()>().await
    });
    let reading = tokio::spawn(async move { while reader.read(&mut [0; 1000]).await.is_ok() {} });
    let mut got = Vec::new();
    while got.len() < 2000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let all = world.receive().await;
        got.extend(all.iter().map(|datagram| u32::from_be_bytes(datagram[..4].try_into().unwrap())));
    }
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
    writing.abort();
    reading.abort();
}

/// The same where one frame has many small messages of gRPC: all of them arrive, and those before the end of the stream too.
#[tokio::test(start_paused = true)]
async fn of_many_messages_in_one_frame_none_is_lost() {
    let mut world = World::new(true).await;
    let mut sent = 0_u32;
    for is_last in [false, true] {
        let mut messages = Vec::new();
        for _ in 0..1000 {
            let mut capsule = Vec::new();
            put_datagram(&mut capsule, &sent.to_be_bytes());
            messages.extend(grpc::prefix(capsule.len()));
            messages.extend(capsule);
            sent += 1;
        }
        world.give(&frame(DATA, u8::from(is_last), STREAM, &messages)).await;
    }
    let mut got = Vec::new();
    while got.len() < 2000 {
        let all = world.receive().await;
        got.extend(all.iter().map(|datagram| u32::from_be_bytes(datagram[..4].try_into().unwrap())));
    }
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
    assert!(matches!(world.end().await, End::Closed(_)));
}

struct World {
    hub: Hub,
    joiner: Joiner,
    server: DuplexStream,
    around: Arc<Around>,
    task: JoinHandle<End>,
}

struct Around {
    is_here: AtomicBool,
    changed: Notify,
}

impl Surroundings for Arc<Around> {
    fn is_here(&self) -> bool {
        self.is_here.load(Ordering::SeqCst)
    }

    async fn changed(&mut self) {
        self.changed.notified().await;
    }
}

impl World {
    /// A tunnel that was just opened.
    async fn new(is_grpc: bool) -> Self {
        let (near, server) = tokio::io::duplex(64 << 10);
        let (hub, joiner) = Hub::single(Bounds::default(), there());
        let seat = joiner.join(there()).await.unwrap();
        let settings = Settings { settings: vec![(4, 6_291_456)], window_update: 15_663_105 };
        let mut wire = Wire::new(near, &settings, Arc::<Traffic>::default());
        let stream = wire.connection.request([(":method", "CONNECT")], 146, false).unwrap();
        assert_eq!(stream, STREAM);
        wire.flush().await.unwrap();
        let around = Arc::new(Around { is_here: AtomicBool::new(true), changed: Notify::new() });
        let framing = if is_grpc { Framing::Grpc(grpc::Deframer::default()) } else { Framing::Capsules };
        let outgoing = Outgoing::new(Role::Client, &Shape::default(), Instant::now().into_std());
        let task = tokio::spawn(pump(wire, stream, framing, seat, outgoing, Arc::clone(&around)));
        let mut world = Self { hub, joiner, server, around, task };
        let mut preface = [0; 24];
        world.server.read_exact(&mut preface).await.unwrap();
        // Settings, window, request.
        for kind in [4, 8, 1] {
            assert_eq!(world.frame().await.0, kind);
        }
        world
    }

    /// Kind, flags and payload of the next frame from the client, without acknowledgements of settings.
    async fn frame(&mut self) -> (u8, u8, Vec<u8>) {
        loop {
            let mut head = [0; 9];
            self.server.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.server.read_exact(&mut payload).await.unwrap();
            if (head[3], head[4]) != (4, 1) {
                return (head[3], head[4], payload);
            }
        }
    }

    async fn give(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).await.unwrap();
    }

    fn send(&mut self, datagram: &[u8]) {
        let mut arena = SendArena::with_capacity(datagram.len());
        arena.push(there(), 0, datagram).unwrap();
        self.hub.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
    }

    /// What arrived, when something has.
    async fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        while batch.is_empty() {
            let ready = self.hub.ready(adit_engine::Want { read: true, write: false });
            tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap().unwrap();
            drop(self.hub.try_recv(&mut batch));
        }
        let mut all = Vec::new();
        while let Some(datagram) = batch.front() {
            all.push(datagram.to_vec());
            batch.pop_front();
        }
        all
    }

    async fn end(&mut self) -> End {
        tokio::time::timeout(Duration::from_secs(60), &mut self.task).await.unwrap().unwrap()
    }
}

fn there() -> Path {
    Path::to(([192, 0, 2, 1], 443).into())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

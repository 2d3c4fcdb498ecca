//! What a hostile connection costs the server in memory: for each kind of them, every byte of the process counted.
//!
//! One after the other with all they make, each in a runtime of its own, for they share the counter. Most connections are in clear text, as from a front, so that the hostile
//! end holds nothing itself. Not here: what the hostile see, and
//! that others are served (the stories beside the server's code).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod sys;
mod world;

use std::time::Duration;

use adit_transport::capsule::put_datagram;
use adit_transport::grpc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sys::Counting;
use world::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Front, HEADERS, PING, RST_STREAM, SETTINGS, Site, WINDOW_UPDATE,
    World, alone, begun, frame, request, taken, tell,
};

#[global_allocator]
static COUNTING: Counting = Counting;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Hostile connections of one story.
const MANY: usize = 24;
/// What all connections together may hold for their clients (`limits`), with what is on its way out of it.
const HELD: usize = 72 * MIB;

#[test]
fn half_open_handshakes() {
    let _alone = alone();
    // A record of the largest size, of which the last byte is missing.
    let mut hello = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
    hello.resize(16 * KIB, 0);
    let cost = tell(async {
        let world = World::new(Front::Own, Site::Files).await;
        world.cost(10 * MANY, async |tcp| taken(tcp, &hello).await).await
    });
    assert_within(cost, 10 * MANY * 80 * KIB);
}

#[test]
fn rapid_resets() {
    let _alone = alone();
    let mut frames = Vec::new();
    for stream in (1..20_001_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/"));
        frame(&mut frames, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    flood(&frames, 512 * KIB);
}

#[test]
fn heads_that_never_end() {
    let _alone = alone();
    for header in [&[][..], &[0, 1, b'x', 1, b'y'].repeat(100), &[[0, 1, b'x', 100].to_vec(), vec![b'y'; 100]].concat()]
    {
        let mut frames = Vec::new();
        frame(&mut frames, HEADERS, 0, 1, &request("GET", "/"));
        for _ in 0..20_000 {
            frame(&mut frames, CONTINUATION, 0, 1, header);
        }
        flood(&frames, 512 * KIB);
    }
}

#[test]
fn settings_and_pings_whose_answers_are_not_read() {
    let _alone = alone();
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[7; 8]), (SETTINGS, &[0, 3, 0, 0, 0, 9])] {
        let mut frames = Vec::new();
        for _ in 0..200_000 {
            frame(&mut frames, kind, 0, 0, payload);
        }
        flood(&frames, 256 * KIB);
    }
}

#[test]
fn frames_that_are_larger_than_they_may_be() {
    let _alone = alone();
    for kind in [DATA, HEADERS, SETTINGS, PING, 0xee] {
        let mut frames = Vec::new();
        frame(&mut frames, kind, 0, 1, &vec![0; 8 * MIB]);
        flood(&frames, 128 * KIB);
    }
}

/// Windows of nothing and of one byte: as many large answers as may be asked for at a time, and none is taken.
#[test]
fn answers_whose_windows_stay_closed() {
    let _alone = alone();
    let mut frames = Vec::new();
    frame(&mut frames, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in (1..256_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/large.bin"));
        frame(&mut frames, WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes());
    }
    let cost = held_by_many(&frames, Site::Files);
    assert_within(cost, HELD + MANY * MIB);
}

/// Windows as wide as they may be, and nothing is read.
#[test]
fn answers_that_are_not_read() {
    let _alone = alone();
    let mut frames = Vec::new();
    frame(&mut frames, SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    frame(&mut frames, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    for stream in (1..256_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/large.bin"));
    }
    let cost = held_by_many(&frames, Site::Files);
    assert_within(cost, HELD + MANY * MIB);
}

/// The same to the server's own TLS, which keeps some of it, too. What the hostile ends hold is counted with it.
#[test]
fn answers_that_are_not_read_over_tls() {
    let _alone = alone();
    let mut frames = begun();
    frame(&mut frames, SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    frame(&mut frames, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    for stream in (1..256_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/large.bin"));
    }
    let cost = tell(async {
        let world = World::new(Front::Own, Site::Files).await;
        world.cost_over_tls(MANY, &frames).await
    });
    assert_within(cost, HELD + MANY * MIB);
}

/// Large heads, and small headers in great number, for a site that takes its time.
#[test]
fn requests_that_wait_for_an_answer() {
    let _alone = alone();
    for headers in [
        [[0, 1, b'x', 0x7f, 0x81, 0xea, 0x01].to_vec(), vec![b'y'; 30_080]].concat(),
        [0, 1, b'x', 1, b'y'].repeat(900),
    ] {
        let mut frames = Vec::new();
        for stream in (1..256_u32).step_by(2) {
            let head = [request("GET", "/"), headers.clone()].concat();
            let (first, rest) = head.split_at(head.len().min(16_000));
            frame(&mut frames, HEADERS, END_STREAM, stream, first);
            for part in rest.chunks(16_000) {
                frame(&mut frames, CONTINUATION, 0, stream, part);
            }
            frame(&mut frames, CONTINUATION, END_HEADERS, stream, &[]);
        }
        let cost = held_by_many(&frames, Site::Silent);
        assert_within(cost, HELD + MANY * MIB);
    }
}

/// Bodies for a site that does not read them.
#[test]
fn uploads_that_nobody_reads() {
    let _alone = alone();
    let mut frames = Vec::new();
    for stream in (1..256_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS, stream, &request("POST", "/"));
        frame(&mut frames, DATA, 0, stream, &[1; 2000]);
    }
    let cost = held_by_many(&frames, Site::Silent);
    assert_within(cost, MANY * MIB);
}

/// By a user: capsules that promise much, end nowhere, or are nothing.
#[test]
fn malformed_capsules() {
    let _alone = alone();
    let mut datagram = Vec::new();
    put_datagram(&mut datagram, &[1; 65_000]);
    let cases: [&[u8]; 5] = [
        // A datagram of 2^62 - 1 bytes, one of more than UDP has, one that does not end.
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        &[0, 0xbf, 0xff, 0xff, 0xff, 0],
        &datagram[..datagram.len() - 1],
        // A capsule of a type that nobody knows and of 2^62 - 1 bytes, and a type that is cut off.
        &[0x40, 0x99, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        &[0xc0, 0, 0],
    ];
    for capsules in cases {
        let mut stream = capsules.to_vec();
        if capsules[0] == 0x40 {
            // What is skipped goes on and on.
            stream.resize(200 * KIB, 7);
        }
        let mut frames = Vec::new();
        for message in stream.chunks(16_000) {
            let mut bytes = grpc::prefix(message.len()).to_vec();
            bytes.extend_from_slice(message);
            frame(&mut frames, DATA, 0, 1, &bytes);
        }
        let cost = tell(async {
            let world = World::new(Front::Other, Site::Files).await;
            world.cost(8, async |tcp| in_a_tunnel(&world, tcp, &frames).await).await
        });
        assert_within(cost, 8 * 512 * KIB);
    }
}

/// A user begins a tunnel and sends this in it.
async fn in_a_tunnel(world: &World, tcp: &mut TcpStream, frames: &[u8]) {
    let mut head = Vec::new();
    frame(&mut head, HEADERS, END_HEADERS, 1, &world.tunnel_request());
    tcp.write_all(&[begun(), head].concat()).await.unwrap();
    // Settings, the head of an answer, and a greeting: it is a tunnel.
    let mut answer = Vec::new();
    while answer.len() < 60 {
        assert!(tcp.read_buf(&mut answer).await.unwrap() > 0, "{:?}", answer.escape_ascii().to_string());
    }
    taken(tcp, frames).await;
}

/// Many connections that send these frames and read nothing, each of which may cost so much.
fn flood(frames: &[u8], each: usize) {
    assert_within(held_by_many(frames, Site::Files), MANY * each);
}

/// What all cost together that send these frames and read nothing. The site is there for others meanwhile.
fn held_by_many(frames: &[u8], site: Site) -> usize {
    let bytes = [begun(), frames.to_vec()].concat();
    tell(async {
        let world = World::new(Front::Other, site).await;
        let cost = world.cost(MANY, async |tcp| taken(tcp, &bytes).await).await;
        if matches!(site, Site::Files) {
            tokio::time::timeout(Duration::from_secs(60), world.visit()).await.expect("the site answers");
        }
        cost
    })
}

fn assert_within(cost: usize, bound: usize) {
    assert!(cost <= bound, "{} KiB, of which {} may be", cost / KIB, bound / KIB);
    assert!(cost > 0, "nothing was counted");
}

//! Connections that break the rules of HTTP/2 or never get on: they end, and nobody else notices.

use std::time::Duration;

use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::log;
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, begun, frame, get, is_ended_by, visited,
};
use super::world::{HOST, World};

/// RFC 9113 §4 to §6: what is an error of the connection.
#[tokio::test]
async fn frames_that_break_the_rules_end_their_connection() {
    let world = World::with_users(vec![]).await;
    let bad: [(&str, u8, u8, u32, &[u8]); 21] = [
        ("data of no stream", DATA, 0, 0, &[0; 9]),
        ("data of a stream that was never opened", DATA, 0, 5, &[0; 9]),
        ("more padding than frame", DATA, PADDED, 0, &[200, 1, 2]),
        ("a request of no stream", HEADERS, END_HEADERS | END_STREAM, 0, &[0x82, 0x84, 0x87]),
        ("a request on a stream of the server", HEADERS, END_HEADERS | END_STREAM, 2, &[0x82, 0x84, 0x87]),
        ("a head with an index of nothing", HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
        ("a head with an index beyond the table", HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0x7f]),
        ("a head with a number that never ends", HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 64]),
        (
            "a head that shrinks the table beyond its limit",
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &[0x3f, 0xff, 0xff, 0x7f],
        ),
        ("a promise by a client", PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82, 0x84, 0x87]),
        ("a priority of no stream", PRIORITY, 0, 0, &[0; 5]),
        ("a reset of a stream that was never opened", RST_STREAM, 0, 7, &[0; 4]),
        ("a reset that is too short", RST_STREAM, 0, 1, &[0; 3]),
        ("settings with a remainder", SETTINGS, 0, 0, &[0; 5]),
        ("settings of a stream", SETTINGS, 0, 1, &[0; 6]),
        ("an acknowledgement with settings in it", SETTINGS, ACK, 0, &[0; 6]),
        ("a window beyond the largest", SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ("a ping that is too short", PING, 0, 0, &[0; 7]),
        ("a ping of a stream", PING, 0, 1, &[0; 8]),
        ("a window that grows by nothing", WINDOW_UPDATE, 0, 0, &[0; 4]),
        ("the rest of no head", CONTINUATION, END_HEADERS, 1, &[0x82, 0x84, 0x87]),
    ];
    for (what, kind, flags, stream, payload) in bad {
        let mut frames = Vec::new();
        frame(&mut frames, kind, flags, stream, payload);
        assert!(is_ended_by(&world, &frames).await, "{what}");
        visited(&world).await;
    }
}

/// A head that is interrupted, and random bytes after a good beginning.
#[tokio::test]
async fn nonsense_after_a_good_beginning_ends_its_connection() {
    let world = World::with_users(vec![]).await;
    let mut interrupted = Vec::new();
    frame(&mut interrupted, HEADERS, 0, 1, &get());
    frame(&mut interrupted, PING, 0, 0, &[0; 8]);
    let random: Vec<u8> = (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for frames in [&interrupted[..], &random, &[0xff; 5000], b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n"] {
        assert!(is_ended_by(&world, frames).await);
        visited(&world).await;
    }
}

/// What is not answered, and changes nothing: answers to pings that nobody sent, farewells, frames of unknown types.
#[tokio::test]
async fn frames_that_mean_nothing_are_passed_over_and_not_spoken_of() {
    let world = World::with_users(vec![]).await;
    let mut tls = begun(&world).await;
    let mut frames = Vec::new();
    for n in 0..1000_u32 {
        frame(&mut frames, PING, ACK, 0, &[n as u8; 8]);
        frame(&mut frames, 0xee, 0xff, n, &[1; 20]);
        frame(&mut frames, PRIORITY, 0, 2 * n + 1, &[0; 5]);
    }
    frame(&mut frames, GOAWAY, 0, 0, &[0; 8]);
    tls.write_all(&frames).await.unwrap();
    visited(&world).await;
    assert!(log::heard().all.iter().any(|line| line.contains("PING ack")), "{:?}", log::heard());
}

/// A head that comes letter by letter, in HTTP/1.1.
#[tokio::test]
async fn a_head_that_never_ends_ends_its_connection() {
    let world = World::with_users(vec![]).await;
    let mut tls = world.tls(b"http/1.1").await;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: site.test\r\nx-slow: ").await.unwrap();
    tokio::time::pause();
    let mut rest = Vec::new();
    let end = async { drop(tls.read_to_end(&mut rest).await) };
    tokio::time::timeout(Duration::from_secs(300), end).await.expect("it ends");
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    tokio::time::resume();
    visited(&world).await;
}

/// Who asks and takes nothing: the stream is reset in the end, and the connection goes on.
#[tokio::test]
async fn a_stream_whose_window_stays_closed_is_reset() {
    let world = World::with_users(vec![]).await;
    std::fs::write(world.dir.0.join("large.bin"), vec![1; 1 << 20]).unwrap();
    let mut client = world.connect().await;
    let request = Request::get(format!("https://{HOST}/large.bin")).body(()).unwrap();
    let (response, _) = client.send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    tokio::time::pause();
    // What is read and not given back keeps the window closed.
    let error = loop {
        if let Err(error) = body.data().await.expect("no orderly end") {
            break error;
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    tokio::time::resume();
    // What was read of it counts for the connection no more.
    drop(body);
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    visited(&world).await;
}

/// Who reads nothing from the wire, with windows as wide as they may be.
#[tokio::test]
async fn a_connection_that_takes_nothing_is_ended() {
    let world = World::with_users(vec![]).await;
    std::fs::write(world.dir.0.join("large.bin"), vec![1; 16 << 20]).unwrap();
    let mut tls = begun(&world).await;
    let mut frames = Vec::new();
    frame(&mut frames, SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    frame(&mut frames, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, 1, &super::raw::get_path("/large.bin"));
    tls.write_all(&frames).await.unwrap();
    // The answer has begun; from now on nothing of it is taken.
    tls.read_exact(&mut [0; 50_000]).await.unwrap();
    tokio::time::pause();
    // A minute after the last byte that the kernels still had room for.
    tokio::time::sleep(Duration::from_secs(900)).await;
    tokio::time::resume();
    assert_eq!(world.control.status().connections, 0);
    visited(&world).await;
}

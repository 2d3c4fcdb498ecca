//! Connections that mean harm: memory and time stay bounded, and everybody else is served.
//!
//! Each story ends with a visitor who gets the page, and with nothing in the log. Not here: frames that break the rules
//! (`malformed`), what it costs in memory (`tests/hostile` of this crate).

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::log;
use super::raw::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, begun, frame,
    get, get_path, is_ended_by, kinds, visited,
};
use super::tunnel::Tunnel;
use super::world::{HOST, World, key, user};
use crate::capsule::put_datagram;

#[tokio::test]
async fn half_open_handshakes_keep_nobody_out() {
    let world = World::with_users(vec![]).await;
    let mut half_open = Vec::new();
    for n in 0..200 {
        let mut tcp = TcpStream::connect(world.address()).await.unwrap();
        // The beginning of a record that never ends.
        tcp.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..n % 10]).await.unwrap();
        half_open.push(tcp);
    }
    visited(&world).await;
    drop(half_open);
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_ended() {
    let world = World::with_users(vec![]).await;
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    tokio::time::pause();
    let mut rest = Vec::new();
    drop(tcp.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn what_is_not_tls_gets_an_alert_and_no_more() {
    let world = World::with_users(vec![]).await;
    for bytes in [&b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n"[..], &[0; 2000], &[0xff; 50], b"SSH-2.0-x\r\n"] {
        let mut tcp = TcpStream::connect(world.address()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        drop(tcp.read_to_end(&mut answer).await);
        assert!(answer.is_empty() || (answer.len() == 7 && answer[0] == 0x15), "{answer:?}");
    }
    visited(&world).await;
}

/// CVE-2023-44487: streams that are opened and reset at once.
#[tokio::test]
async fn rapid_resets_end_their_connection() {
    let world = World::with_users(vec![]).await;
    let mut frames = Vec::new();
    for stream in (1..20_001_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &get());
        frame(&mut frames, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    assert!(is_ended_by(&world, &frames).await);
    visited(&world).await;
    // The library below said something; the program does not show it.
    assert!(log::heard().all.iter().any(|line| line.starts_with("h2::")), "{:?}", log::heard());
}

/// CVE-2024-27316 and others: a head that never ends.
#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let world = World::with_users(vec![]).await;
    let mut frames = Vec::new();
    frame(&mut frames, HEADERS, 0, 1, &get());
    for _ in 0..2000 {
        // A header of 100 bytes that is not put into the table.
        let mut header = vec![0, 1, b'x', 100];
        header.extend_from_slice(&[b'y'; 100]);
        frame(&mut frames, CONTINUATION, 0, 1, &header.repeat(20));
    }
    assert!(is_ended_by(&world, &frames).await);
    visited(&world).await;
}

#[tokio::test]
async fn empty_continuations_end_their_connection() {
    let world = World::with_users(vec![]).await;
    let mut frames = Vec::new();
    frame(&mut frames, HEADERS, 0, 1, &get());
    for _ in 0..50_000 {
        frame(&mut frames, CONTINUATION, 0, 1, &[]);
    }
    assert!(is_ended_by(&world, &frames).await);
    visited(&world).await;
}

/// Who asks for acknowledgements without reading them is not read either, so they do not pile up.
#[tokio::test]
async fn floods_of_settings_and_pings_stop_at_what_the_sender_reads() {
    for kind in [SETTINGS, PING] {
        let world = World::with_users(vec![]).await;
        let mut tls = begun(&world).await;
        let mut flood = Vec::new();
        for _ in 0..10_000 {
            frame(&mut flood, kind, 0, 0, if kind == PING { &[7; 8] } else { &[] });
        }
        // Until nothing more is taken, or the server has had enough.
        let mut sent = 0_usize;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(1), tls.write_all(&flood)).await {
            sent += flood.len();
            assert!(sent < 64 << 20, "everything is taken");
        }
        visited(&world).await;
    }
}

/// A window of nothing, and of one byte at a time.
#[tokio::test]
async fn games_with_windows_hold_up_only_their_player() {
    let world = World::with_users(vec![]).await;
    std::fs::write(world.dir.0.join("large.bin"), vec![1; 4 << 20]).unwrap();
    let mut tls = begun(&world).await;
    let mut frames = Vec::new();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    frame(&mut frames, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in (1..200_u32).step_by(2) {
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, stream, &get_path("/large.bin"));
        frame(&mut frames, WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes());
    }
    tls.write_all(&frames).await.unwrap();
    visited(&world).await;
    // A window beyond its largest size is an error of the connection.
    let mut frames = Vec::new();
    frame(&mut frames, WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    assert!(is_ended_by(&world, &frames).await);
}

#[tokio::test]
async fn oversized_frames_and_heads_are_refused() {
    let world = World::with_users(vec![]).await;
    let mut frames = Vec::new();
    frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, 1, &vec![0; 20_000]);
    assert!(is_ended_by(&world, &frames).await);

    let mut client = world.connect().await;
    let large = "x".repeat(60_000);
    let request = Request::get(format!("https://{HOST}/")).header("x-large", large).body(()).unwrap();
    let (response, _) = client.send.send_request(request, true).unwrap();
    let status = response.await.map(|response| response.status());
    assert!(status.is_err() || status.is_ok_and(|status| status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    visited(&world).await;
}

/// A tunnel that is written to and never read: what waits for it is bounded, and others are served.
#[tokio::test]
async fn a_tunnel_that_is_not_read_loses_datagrams_and_disturbs_nobody() {
    let world = World::with_users(vec![user(1), user(2)]).await;
    let (mut one, mut two) = (world.connect().await, world.connect().await);
    let (mut slow, mut quick) = (Tunnel::open(&mut one, 1).await, Tunnel::open(&mut two, 2).await);
    let mut bytes = Vec::new();
    for _ in 0..40 {
        put_datagram(&mut bytes, &[3; 1400]);
    }
    // The echo comes back until the stream's window of 64 KiB is used up; the rest is dropped before it.
    for _ in 0..400 {
        slow.to.reserve_capacity(bytes.len());
        slow.to.send_data(Bytes::from(bytes.clone()), false).unwrap();
        tokio::task::yield_now().await;
    }
    for n in 0..50_u8 {
        quick.send(&[&[n; 1000]]);
        assert_eq!(quick.receive().await, [n; 1000]);
    }
    visited(&world).await;
}

#[tokio::test]
async fn a_connection_without_requests_is_ended_in_order() {
    let world = World::with_users(vec![]).await;
    let mut tls = begun(&world).await;
    tokio::time::pause();
    let mut rest = Vec::new();
    drop(tls.read_to_end(&mut rest).await);
    // The last frames are a farewell.
    assert!(kinds(&rest).contains(&GOAWAY), "{:?}", kinds(&rest));
}

/// A stranger's connections and a user's tunnel are under the same limits, but a tunnel's stream may rest.
#[tokio::test]
async fn a_tunnel_may_rest_for_an_hour() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    tokio::time::resume();
    assert_eq!(world.control.status().streams.get(&key(1).key_id()[..]), Some(&1));
    tunnel.send(&[b"good morning"]);
    assert_eq!(tunnel.receive().await, b"good morning");
}

/// Who vanishes without a word, as a telephone out of reach, is noticed by the kernel: it asks, on every connection.
#[tokio::test]
async fn connections_are_watched_for_clients_that_vanish() {
    let world = World::with_users(vec![]).await;
    let tls = world.tls(b"h2").await;
    let client = tls.get_ref().0.local_addr().unwrap();
    // Of each socket: number, local and remote address, state, queues, and which timer runs. 02 is keep-alive.
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let [near, far] = [world.address(), client].map(|address| format!(":{:04X}", address.port()));
    let mut fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let socket =
        fields.find(|f| f.len() > 5 && f[1].ends_with(&near) && f[2].ends_with(&far)).expect("the server's socket");
    assert!(socket[5].starts_with("02:"), "{socket:?}");
}

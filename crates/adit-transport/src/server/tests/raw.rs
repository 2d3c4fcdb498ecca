//! Frames of HTTP/2 as bytes, good or bad, and what a server makes of them.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::log;
use super::world::{HOST, PAGE, World};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames, RFC 9113 §6.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// Flags of frames.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// Somebody who means no harm gets the page, and nothing that happened so far was worth a line in the log.
pub(super) async fn visited(world: &World) {
    let visit = async { world.connect().await.get("/").await };
    let page = tokio::time::timeout(Duration::from_secs(20), visit).await.expect("the site answers");
    assert_eq!((page.status, page.body.as_slice()), (StatusCode::OK, PAGE.as_bytes()));
    let heard = log::heard();
    assert!(heard.ours.is_empty() && heard.shown.is_empty(), "{heard:?}");
}

/// A connection after the preface and empty settings.
pub(super) async fn begun(world: &World) -> TlsStream<TcpStream> {
    let mut tls = world.tls(b"h2").await;
    let mut frames = PREFACE.to_vec();
    frame(&mut frames, SETTINGS, 0, 0, &[]);
    tls.write_all(&frames).await.unwrap();
    tls
}

/// Whether these frames make the server end the connection.
pub(super) async fn is_ended_by(world: &World, frames: &[u8]) -> bool {
    let (mut read, mut write) = tokio::io::split(begun(world).await);
    let send = async {
        // The server need not read to the end.
        drop(write.write_all(frames).await);
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let end = async { drop(read.read_to_end(&mut answer).await) };
    tokio::select! {
        () = end => true,
        () = send => unreachable!("it never ends"),
        () = tokio::time::sleep(Duration::from_secs(20)) => false,
    }
}

pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The types of the frames in a stream.
pub(super) fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        kinds.push(kind);
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        bytes = bytes.get(9 + len..).unwrap_or_default();
    }
    kinds
}

/// A request for the page, in HPACK: three entries of the static table, and the authority.
pub(super) fn get() -> Vec<u8> {
    let mut head = vec![0x82, 0x84, 0x87, 0x41, HOST.len() as u8];
    head.extend_from_slice(HOST.as_bytes());
    head
}

pub(super) fn get_path(path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x87, 0x41, HOST.len() as u8];
    head.extend_from_slice(HOST.as_bytes());
    head.extend_from_slice(&[0x04, path.len() as u8]);
    head.extend_from_slice(path.as_bytes());
    head
}

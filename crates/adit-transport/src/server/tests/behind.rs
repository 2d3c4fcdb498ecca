//! Behind a front: what comes in clear text, and proves itself by a token.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_engine::{DatagramIo as _, MAX_READ, RecvBatch, Want};
use adit_protocol::Secret;
use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{Dir, PAGE, World, user};
use crate::capsule::{Decoder, put_datagram};
use crate::config::{Front, HttpsServer, Site};
use crate::server::HttpsListener;
use crate::shape::Settings;
use crate::{grpc, token};

#[tokio::test]
async fn a_stream_in_the_shape_of_grpc_with_a_token_is_a_tunnel() {
    let world = behind().await;
    let (status, mut tunnel) = call(&world, Some(&authorization(1, now(), 1))).await;
    assert_eq!(status, StatusCode::OK);
    let (to, from) = tunnel.as_mut().unwrap();
    let mut message = vec![0; grpc::PREFIX_LEN];
    put_datagram(&mut message, b"through the front");
    let prefix = grpc::prefix(message.len() - grpc::PREFIX_LEN);
    message[..grpc::PREFIX_LEN].copy_from_slice(&prefix);
    for piece in message.chunks(7) {
        to.send_data(Bytes::copy_from_slice(piece), false).unwrap();
    }
    let (mut deframer, mut decoder) = (grpc::Deframer::default(), Decoder::default());
    let mut got = Vec::new();
    while got.is_empty() {
        let mut piece = from.data().await.unwrap().unwrap();
        loop {
            let capsules = deframer.next(&mut piece).unwrap();
            if capsules.is_empty() {
                break;
            }
            got.extend_from_slice(decoder.decode(capsules).unwrap().front().unwrap_or_default());
        }
    }
    assert_eq!(got, b"through the front");
    assert_eq!(world.control.status().streams.get(&user(1).id), Some(&1));
}

/// What an engine does not take keeps the client's window closed; nothing is lost.
#[tokio::test]
async fn an_engine_that_takes_nothing_makes_the_client_wait_and_no_message_is_lost() {
    const ALL: u32 = 20_000;
    let dir = Dir::new();
    let (site, front) = (Site::Directory(dir.0.clone()), Front::Behind { replays: None });
    let listen = vec![([127, 0, 0, 1], 0).into()];
    let server = HttpsServer { listen, front, site, users: vec![user(1)], shape: Settings::default() };
    let (mut engine, control) = HttpsListener::bind(server).await.unwrap();
    // Only tokens made after the start are good.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, tunnel) = call_at(control.listening()[0], Some(&authorization(1, now(), 1))).await;
    assert_eq!(status, StatusCode::OK);
    let (mut to, _from) = tunnel.unwrap();
    let mut sending = tokio::spawn(async move {
        for n in 0..ALL {
            let mut message = vec![0; grpc::PREFIX_LEN];
            put_datagram(&mut message, &[&n.to_be_bytes()[..], &[0; 1200]].concat());
            let prefix = grpc::prefix(message.len() - grpc::PREFIX_LEN);
            message[..grpc::PREFIX_LEN].copy_from_slice(&prefix);
            let mut message = Bytes::from(message);
            while !message.is_empty() {
                to.reserve_capacity(message.len());
                let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.unwrap().unwrap();
                to.send_data(message.split_to(room.min(message.len())), false).unwrap();
            }
        }
        to
    });
    tokio::select! {
        _ = &mut sending => panic!("a server kept {ALL} datagrams for an engine that takes none"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    let mut next = 0;
    while next < ALL {
        engine.ready(Want { read: true, write: false }).await.unwrap();
        drop(engine.try_recv(&mut batch));
        while let Some(datagram) = batch.front() {
            assert_eq!(datagram[..4], next.to_be_bytes());
            next += 1;
            batch.pop_front();
        }
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn other_tokens_old_ones_and_used_ones_get_the_sites_answer() {
    let world = behind().await;
    let (used, fresh) = (authorization(1, now(), 1), authorization(1, now(), 2));
    assert_eq!(call(&world, Some(&used)).await.0, StatusCode::OK);
    let bad = [
        None,
        Some(used),
        Some(authorization(9, now(), 3)),
        Some(authorization(1, now() - 3600, 4)),
        Some(authorization(1, now() + 3600, 5)),
        Some(fresh.replace("Bearer", "Basic")),
        Some(fresh[..fresh.len() - 2].to_owned()),
    ];
    for header in bad {
        assert_eq!(call(&world, header.as_deref()).await.0, StatusCode::METHOD_NOT_ALLOWED, "{header:?}");
    }
    assert_eq!(call(&world, Some(&fresh)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_front_that_speaks_http_1_1_gets_the_site() {
    let world = behind().await;
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    // In pieces, the first of which could be the beginning of HTTP/2.
    for piece in ["GET / HTTP/1.1\r\n", "host: a\r\nconnection: close\r\n\r\n"] {
        tcp.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(PAGE), "{answer}");
}

async fn behind() -> World {
    let dir = Dir::new();
    let replays = dir.0.join("used");
    let site = Site::Directory(dir.0.clone());
    World::of(dir, Front::Behind { replays: Some(replays) }, site, vec![user(1)]).await
}

type Streams = (h2::SendStream<Bytes>, h2::RecvStream);

async fn call(world: &World, authorization: Option<&str>) -> (StatusCode, Option<Streams>) {
    call_at(world.address(), authorization).await
}

async fn call_at(server: SocketAddr, authorization: Option<&str>) -> (StatusCode, Option<Streams>) {
    let tcp = TcpStream::connect(server).await.unwrap();
    let (mut send, connection) = h2::client::handshake(tcp).await.unwrap();
    // Its end is seen by its streams.
    tokio::spawn(connection);
    let mut request = Request::post("http://site.test/sync.Files/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let (response, to) = send.send_request(request.body(()).unwrap(), false).unwrap();
    let response = response.await.unwrap();
    let status = response.status();
    let is_tunnel = status == StatusCode::OK;
    if is_tunnel {
        assert_eq!(response.headers()["content-type"], "application/grpc");
    }
    (status, is_tunnel.then(|| (to, response.into_body())))
}

fn authorization(user: u8, time: u64, nonce: u8) -> String {
    token::authorize(&Secret::new([user; 32]), time, [nonce; token::NONCE_LEN])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

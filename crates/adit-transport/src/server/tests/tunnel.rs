//! Who gets a tunnel, and what everybody else sees.

use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Method, Request, StatusCode};

use super::world::{Client, HOST, TUNNEL, World, key, user};
use crate::capsule::{Decoder, put_datagram, put_padding};

#[tokio::test]
async fn a_user_gets_a_tunnel_and_its_datagrams_arrive() {
    let world = World::with_users(vec![user(1), user(2)]).await;
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;
    for len in [1, 100, 1400, 9000, 65_000] {
        tunnel.send(&[&vec![7; len]]);
        assert_eq!(tunnel.receive().await, vec![7; len]);
    }
    assert_eq!(world.control.status().streams.get(&user(1).id), Some(&1));
    assert_eq!(world.control.status().connections, 1);
}

#[tokio::test]
async fn unknown_capsules_and_padding_are_passed_over() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;
    let mut bytes = Vec::new();
    put_padding(&mut bytes, 700);
    bytes.extend_from_slice(&[0x40, 0x99, 3, 1, 2, 3]);
    put_datagram(&mut bytes, b"hello");
    for piece in bytes.chunks(5) {
        tunnel.to.send_data(Bytes::copy_from_slice(piece), false).unwrap();
    }
    assert_eq!(tunnel.receive().await, b"hello");
}

/// Requests for the tunnel with a wrong proof, with none, and with that of another connection: all are the site's.
#[tokio::test]
async fn whoever_is_no_user_sees_the_site_as_if_there_were_no_tunnel() {
    let with = World::with_users(vec![user(1)]).await;
    let without = World::with_users(vec![]).await;
    let (mut client, mut other) = (with.connect().await, without.connect().await);
    let replayed = with.connect().await.authorization(&key(1));
    let mut broken = client.authorization(&key(1)).into_bytes();
    broken[40] ^= 1;
    let headers = [
        None,
        Some(client.authorization(&key(9))),
        Some(replayed),
        Some(String::from_utf8(broken).unwrap()),
        Some("Concealed".into()),
        Some("Basic QWxhZGRpbjpvcGVu".into()),
    ];
    let mut seen = Vec::new();
    for header in &headers {
        let request = client.tunnel_request(header.as_deref());
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        let request = other.tunnel_request(header.as_deref());
        assert_eq!(other.ask(request).await, answer);
        seen.push(answer);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(with.control.status().streams.is_empty());
}

/// A good proof on a request that is not for the tunnel changes nothing about its answer.
#[tokio::test]
async fn a_users_other_requests_are_the_sites() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let proof = client.authorization(&key(1));
    for (method, path) in [(Method::GET, "/"), (Method::GET, "/nothing"), (Method::POST, "/"), (Method::OPTIONS, "/")] {
        let plain = Request::builder().method(method).uri(format!("https://{HOST}{path}")).body(()).unwrap();
        let mut proven = plain.clone();
        proven.headers_mut().insert("authorization", proof.parse().unwrap());
        assert_eq!(client.ask(plain).await, client.ask(proven).await);
    }
    for protocol in ["websocket", "connect-ip", "connect-tcp", "x"] {
        let mut request = client.tunnel_request(Some(&proof));
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        assert_eq!(client.ask(request).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(world.control.status().streams.is_empty());
    assert_eq!(TUNNEL.split('/').nth(2), Some(HOST));
}

#[tokio::test]
async fn the_site_and_the_tunnel_share_a_connection() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;
    assert_eq!(client.get("/").await.body, super::world::PAGE.as_bytes());
    tunnel.send(&[b"still here"]);
    assert_eq!(tunnel.receive().await, b"still here");
}

#[tokio::test]
async fn the_streams_of_a_removed_user_end() {
    let world = World::with_users(vec![user(1), user(2)]).await;
    let (mut one, mut two) = (world.connect().await, world.connect().await);
    let (mut first, mut second) = (Tunnel::open(&mut one, 1).await, Tunnel::open(&mut two, 2).await);
    world.control.set_users(vec![user(2)]);
    assert!(first.ends().await);
    second.send(&[b"not I"]);
    assert_eq!(second.receive().await, b"not I");
    let request = one.tunnel_request(Some(&one.authorization(&key(1))));
    assert_eq!(one.ask(request).await.status, StatusCode::METHOD_NOT_ALLOWED);
    world.control.set_users(vec![user(1), user(2)]);
    let mut again = Tunnel::open(&mut one, 1).await;
    again.send(&[b"back"]);
    assert_eq!(again.receive().await, b"back");
}

#[tokio::test]
async fn a_malformed_capsule_ends_its_stream_and_no_other() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let (mut bad, mut good) = (Tunnel::open(&mut client, 1).await, Tunnel::open(&mut client, 1).await);
    // A datagram that claims to be longer than UDP allows.
    bad.to.send_data(Bytes::from_static(&[0, 0xbf, 0xff, 0xff, 0xff, 0]), false).unwrap();
    let error = bad.from.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    good.send(&[b"unharmed"]);
    assert_eq!(good.receive().await, b"unharmed");
}

/// Many datagrams at once: all come back, in order, whatever the sizes of frames.
#[tokio::test]
async fn a_flood_of_datagrams_keeps_its_order() {
    let world = World::with_users(vec![user(1)]).await;
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;
    for round in 0..20_u32 {
        let batch: Vec<Vec<u8>> =
            (0..60_u32).map(|n| [&round.to_be_bytes()[..], &n.to_be_bytes(), &[5; 1300]].concat()).collect();
        let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        tunnel.send(&slices);
        for datagram in &batch {
            assert_eq!(&tunnel.receive().await, datagram);
        }
    }
}

/// A tunnel from the client's side.
pub(super) struct Tunnel {
    pub(super) to: SendStream<Bytes>,
    pub(super) from: RecvStream,
    decoder: Decoder,
    ready: std::collections::VecDeque<Vec<u8>>,
}

impl Tunnel {
    pub(super) async fn open(client: &mut Client, n: u8) -> Self {
        let request = client.tunnel_request(Some(&client.authorization(&key(n))));
        let (response, to) = client.send.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["capsule-protocol"], "?1");
        Self { to, from: response.into_body(), decoder: Decoder::default(), ready: std::collections::VecDeque::new() }
    }

    pub(super) fn send(&mut self, datagrams: &[&[u8]]) {
        let mut bytes = Vec::new();
        for datagram in datagrams {
            put_datagram(&mut bytes, datagram);
        }
        self.to.send_data(bytes.into(), false).unwrap();
    }

    /// Whether the server ends the stream in order, and says nothing more.
    pub(super) async fn ends(&mut self) -> bool {
        while let Some(Ok(piece)) = self.from.data().await {
            if !piece.is_empty() {
                return false;
            }
        }
        self.from.is_end_stream()
    }

    pub(super) async fn receive(&mut self) -> Vec<u8> {
        while self.ready.is_empty() {
            let piece = tokio::time::timeout(Duration::from_secs(20), self.from.data()).await;
            let piece = piece.expect("an answer").expect("no end").unwrap();
            self.from.flow_control().release_capacity(piece.len()).unwrap();
            let mut datagrams = self.decoder.decode(piece).unwrap();
            while let Some(datagram) = datagrams.front() {
                self.ready.push_back(datagram.to_vec());
                datagrams.pop_front();
            }
        }
        self.ready.pop_front().unwrap()
    }
}

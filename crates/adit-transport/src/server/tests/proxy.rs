//! A site that another web server answers for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::world::{Dir, HOST, World, server_config_of, user};
use crate::config::{Certificates, Front, Site};
use crate::server::limits::{HELD, WINDOW};

#[tokio::test]
async fn a_request_reaches_the_site_behind_as_it_came_and_its_answer_comes_back() {
    let world = proxied(site().await).await;
    let mut client = world.connect().await;
    let request = Request::builder()
        .method(Method::from_bytes(b"PROPFIND").unwrap())
        .uri(format!("https://{HOST}/echo?a=1"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("authorization", "Concealed k=AA")
        .body(())
        .unwrap();
    let answer = client.ask(request).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.starts_with("PROPFIND /echo?a=1 HTTP/1.1\n"), "{text}");
    for line in
        ["host: site.test\n", "cookie: a=1; b=2\n", "authorization: Concealed k=AA\n", "x-forwarded-for: 127.0.0.1\n"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(answer.headers["server"], "the-site-behind");
    assert!(!answer.headers.contains_key("keep-alive") && !answer.headers.contains_key("connection"));
}

#[tokio::test]
async fn a_body_goes_up_and_another_comes_down() {
    let world = proxied(site().await).await;
    let mut client = world.connect().await;
    let request = Request::post(format!("https://{HOST}/upload")).body(()).unwrap();
    let (response, mut to) = client.send.send_request(request, false).unwrap();
    let mut sent = 0;
    while sent < 1_000_000 {
        to.reserve_capacity(50_000);
        let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.unwrap().unwrap();
        to.send_data(Bytes::from(vec![1; room]), false).unwrap();
        sent += room;
    }
    to.send_data(Bytes::new(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut answer = Vec::new();
    while let Some(piece) = body.data().await {
        answer.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(answer, format!("{sent} bytes").into_bytes());
}

/// RFC 8441 at the front, RFC 6455 behind.
#[tokio::test]
async fn a_websocket_over_http_2_is_passed_on() {
    let world = proxied(site().await).await;
    let mut client = world.connect().await;
    let mut request =
        Request::connect(format!("https://{HOST}/socket")).header("sec-websocket-version", "13").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut to) = client.send.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut from = response.into_body();
    for text in ["one", "two"] {
        to.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
        assert_eq!(from.data().await.unwrap().unwrap(), text.to_uppercase());
    }
    to.send_data(Bytes::new(), true).unwrap();
    while let Some(Ok(piece)) = from.data().await {
        assert!(piece.is_empty());
    }
}

/// As many as would fill the ledger if each counted for all that it might hold. None holds anything.
#[tokio::test]
async fn websockets_that_rest_leave_each_other_alone() {
    let world = proxied(site().await).await;
    let mut sockets = Vec::new();
    for _ in 0..HELD / WINDOW as usize + 10 {
        let mut client = world.connect().await;
        let mut request =
            Request::connect(format!("https://{HOST}/socket")).header("sec-websocket-version", "13").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, to) = client.send.send_request(request, false).unwrap();
        sockets.push((response.await.unwrap().into_body(), to, client));
    }
    for (from, to, _) in &mut sockets {
        to.send_data(Bytes::from_static(b"still here"), false).unwrap();
        assert_eq!(from.data().await.unwrap().unwrap(), "STILL HERE");
    }
}

#[tokio::test]
async fn a_websocket_over_http_1_1_is_passed_on() {
    let world = proxied(site().await).await;
    let mut tls = world.tls(b"http/1.1").await;
    let request = format!(
        "GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    tls.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    tls.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HELLO");
    // Who says nothing more does not keep its place for ever.
    tokio::time::pause();
    let end = tokio::time::timeout(Duration::from_secs(3600), tls.read(&mut answer)).await.expect("it is ended");
    assert_eq!(end.unwrap_or_default(), 0);
}

/// Neither is for a site; and a site behind that is away is nothing of the tunnel.
#[tokio::test]
async fn connect_and_trace_are_refused_and_a_site_that_is_away_is_a_bad_gateway() {
    let world = proxied(site().await).await;
    let mut client = world.connect().await;
    for protocol in ["connect-udp", "connect-ip", "x"] {
        let mut request = client.tunnel_request(Some("Concealed k=AA"));
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        assert_eq!(client.ask(request).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let trace = Request::builder().method(Method::TRACE).uri(format!("https://{HOST}/")).body(()).unwrap();
    assert_eq!(client.ask(trace).await.status, StatusCode::METHOD_NOT_ALLOWED);

    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = proxied(away).await;
    assert_eq!(world.connect().await.get("/").await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn an_address_of_another_form_is_refused_at_the_start() {
    for bad in ["ftp://a.test", "a.test:80", "http://a.test/path", "https://a.test/path", "", "http://", "https://"] {
        let site = Site::Proxy { url: bad.into(), root: None };
        assert!(crate::server::site::Site::open(&site, &crate::names::Names::of_this_machine()).is_err(), "{bad}");
    }
}

/// A certificate that its file vouches for: requests, answers and sockets pass as without TLS.
#[tokio::test]
async fn a_site_behind_with_tls_is_asked_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = Dir::new();
    let root = dir.0.join("root.pem");
    std::fs::write(&root, made.cert.pem()).unwrap();
    let behind = site_with(Some(&made)).await;
    let world = proxied_to(dir, format!("https://localhost:{}", behind.port()), Some(root)).await;
    let mut client = world.connect().await;
    let answer = client.get("/echo").await;
    assert!(String::from_utf8(answer.body).unwrap().contains("host: site.test\n"));
    assert_eq!(answer.headers["server"], "the-site-behind");
    let mut request =
        Request::connect(format!("https://{HOST}/socket")).header("sec-websocket-version", "13").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut to) = client.send.send_request(request, false).unwrap();
    let mut from = response.await.unwrap().into_body();
    to.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(from.data().await.unwrap().unwrap(), "HELLO");
}

/// Another certificate, or the right one for another name: nothing is asked, and visitors get a bad gateway.
#[tokio::test]
async fn a_site_behind_that_nobody_vouches_for_is_not_asked() {
    let [made, other] =
        ["localhost", "localhost"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let behind = site_with(Some(&made)).await;
    for (root, name) in [(&other, "localhost"), (&made, "127.0.0.1")] {
        let dir = Dir::new();
        let file = dir.0.join("root.pem");
        std::fs::write(&file, root.cert.pem()).unwrap();
        let world = proxied_to(dir, format!("https://{name}:{}", behind.port()), Some(file)).await;
        assert_eq!(world.connect().await.get("/").await.status, StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn a_file_that_vouches_for_nobody_is_refused_at_the_start() {
    let dir = Dir::new();
    for (name, text) in
        [("missing", None), ("empty", Some("")), ("broken", Some("-----BEGIN CERTIFICATE-----\nAAAA\n"))]
    {
        let file = dir.0.join(name);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let site = Site::Proxy { url: "https://a.test".into(), root: Some(file) };
        let said =
            crate::server::site::Site::open(&site, &crate::names::Names::of_this_machine()).unwrap_err().to_string();
        assert!(said.contains(name), "{said}");
    }
}

async fn proxied(behind: SocketAddr) -> World {
    proxied_to(Dir::new(), format!("http://{behind}"), None).await
}

async fn proxied_to(dir: Dir, url: String, root: Option<PathBuf>) -> World {
    let front = Front::Direct(Certificates::SelfSigned { names: vec![HOST.into()] });
    World::of(dir, front, Site::Proxy { url, root }, vec![user(1)]).await
}

/// A site that says what it was asked, counts what it gets, and shouts back on its socket.
async fn site() -> SocketAddr {
    site_with(None).await
}

/// The same, with TLS.
async fn site_with(certificate: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>) -> SocketAddr {
    let tls = certificate.map(|made| TlsAcceptor::from(Arc::new(server_config_of(made))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                // Who does not trust us says so in the handshake, and leaves.
                let Some(tls) = tls else { return serve(tcp).await };
                if let Ok(stream) = tls.accept(tcp).await {
                    serve(stream).await;
                }
            });
        }
    });
    address
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(behind(request).await) });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Either side may break off.
    drop(connection.with_upgrades().await);
}

async fn behind(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let builder = Response::builder().header("server", "the-site-behind").header("keep-alive", "timeout=5");
    match request.uri().path() {
        "/socket" => {
            assert_eq!(request.headers()["upgrade"], "websocket");
            assert!(request.headers().contains_key("sec-websocket-key"));
            tokio::spawn(shout(request));
            let builder = builder.status(101).header("connection", "upgrade").header("upgrade", "websocket");
            builder.body(Full::default()).unwrap()
        }
        "/upload" => {
            let all = tokio::time::timeout(Duration::from_secs(20), request.into_body().collect()).await.unwrap();
            builder.body(Full::from(format!("{} bytes", all.unwrap().to_bytes().len()))).unwrap()
        }
        _ => {
            let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
            for (name, value) in request.headers() {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            builder.body(Full::from(text)).unwrap()
        }
    }
}

async fn shout(request: Request<Incoming>) {
    let mut socket = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
    let mut buffer = [0; 1000];
    while let Ok(n @ 1..) = socket.read(&mut buffer).await {
        socket.write_all(&buffer[..n].to_ascii_uppercase()).await.unwrap();
    }
}

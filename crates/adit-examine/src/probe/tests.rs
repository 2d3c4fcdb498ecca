//! Two servers that are the same, and two that differ in one thing: the prober says so, and can tell what.
//!
//! In virtual time: silence, of which a prober waits for much, costs nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::catalog;
use super::*;

const NAME: &str = "example.test";

/// What one server does otherwise than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    Nothing,
    ExtraHeader,
    OtherOrder,
    Resets,
    OneTicket,
    OtherPage,
    OtherStatusOfConnect,
}

#[tokio::test(start_paused = true)]
async fn two_servers_that_are_the_same_do_not_differ() {
    let comparison = compared(Quirk::Nothing).await;
    assert_eq!(comparison.differences, []);
    assert!(!comparison.different);
    assert_eq!(comparison.unconnected, 0);
    assert!(comparison.rules.iter().all(|rule| rule.probes > 0), "{:?}", comparison.rules);
}

#[tokio::test(start_paused = true)]
async fn one_header_more_is_found() {
    let comparison = compared(Quirk::ExtraHeader).await;
    let found = of(&comparison, "headers");
    assert!(found.iter().all(|difference| difference.target.contains("x-powered-by: adit")), "{found:?}");
    assert!(found.iter().any(|difference| difference.probe == "GET /"), "over HTTP/2: {found:?}");
    assert!(found.iter().any(|difference| difference.probe == "HTTP/1.1 GET /"), "over HTTP/1.1: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_headers_in_another_order_are_found() {
    let comparison = compared(Quirk::OtherOrder).await;
    assert!(!of(&comparison, "header order").is_empty());
    assert!(comparison.differences.iter().all(|difference| difference.aspect == "header order"), "{comparison:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_place_of_an_orderly_end_is_found() {
    let comparison = compared(Quirk::Resets).await;
    let found = of(&comparison, "end");
    assert!(found.iter().any(|difference| difference.target == "RST" && difference.against == "FIN"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn one_ticket_in_place_of_two_is_found() {
    let comparison = compared(Quirk::OneTicket).await;
    let found = of(&comparison, "tickets");
    assert!(found.iter().any(|difference| difference.rule == "R10"), "{found:?}");
    // This TLS puts all its tickets into one record: the size tells.
    assert!(found.iter().all(|one| one.target == "1 [98]" && one.against == "1 [179]"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn another_page_where_there_is_none_is_found() {
    let comparison = compared(Quirk::OtherPage).await;
    let found = of(&comparison, "body");
    assert!(found.iter().any(|difference| difference.probe == "GET of no file"), "{found:?}");
    assert!(!found.iter().any(|difference| difference.probe == "GET /"), "{found:?}");
}

/// What gives a proxy away that has no other fault.
#[tokio::test(start_paused = true)]
async fn another_answer_to_connect_is_found() {
    let comparison = compared(Quirk::OtherStatusOfConnect).await;
    let found = of(&comparison, "status");
    assert!(found.iter().all(|difference| difference.target.contains("407")), "{found:?}");
    for probe in ["CONNECT", "extended CONNECT: connect-udp", "Concealed: signed by a stranger", "HTTP/1.1 CONNECT"] {
        assert!(found.iter().any(|difference| difference.probe == probe), "{probe}: {found:?}");
    }
    assert!(!found.iter().any(|difference| difference.probe == "GET /"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_no_server_that_is_the_same() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let problem = compare(&Plan::new(closed, closed, NAME)).await.unwrap_err();
    assert_eq!(problem.server, closed);
}

#[test]
fn a_round_is_the_same_for_the_same_seed_and_another_for_the_next_round() {
    let plan =
        Plan { paths: vec!["/a".into()], ..Plan::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into(), NAME) };
    // The hellos that rustls makes are random; everything else follows from the seed.
    let details = |plan: &Plan, round| -> Vec<_> {
        catalog::round(plan, round).into_iter().map(|probe| (probe.kind, probe.detail.len())).collect()
    };
    assert_eq!(details(&plan, 0), details(&plan, 0));
    assert_ne!(details(&plan, 1), details(&plan, 2));
    let other = Plan { seed: 1, ..plan.clone() };
    assert_ne!(details(&plan, 1), details(&other, 1));
    assert!(plan.probes_in_a_round() >= 150, "{}", plan.probes_in_a_round());
}

#[test]
fn what_is_asked_names_each_kind_and_every_rule() {
    let plan = Plan::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into(), NAME);
    let probes = catalog::round(&plan, 0);
    for (rule, _) in report::RULES {
        assert!(probes.iter().any(|probe| probe.rule == rule), "{rule}");
    }
    assert!(probes.iter().all(|probe| report::RULES.iter().any(|(rule, _)| *rule == probe.rule)));
}

fn of<'a>(comparison: &'a Comparison, aspect: &str) -> Vec<&'a Difference> {
    comparison.differences.iter().filter(|difference| difference.aspect == aspect).collect()
}

/// The server with a quirk, compared with one that has none.
async fn compared(quirk: Quirk) -> Comparison {
    let authority = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate = authority.cert.der().clone();
    let key = authority.signing_key.serialize_der();
    let target = Server::start(quirk, &certificate, &key).await;
    let against = Server::start(Quirk::Nothing, &certificate, &key).await;
    let plan = Plan {
        seed: 7,
        parallel: 32,
        patience: Patience {
            quiet: Duration::from_millis(150),
            idle: Duration::from_millis(500),
            ..Patience::default()
        },
        ..Plan::new(target.address, against.address, NAME)
    };
    compare(&plan).await.unwrap()
}

struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(quirk: Quirk, certificate: &CertificateDer<'static>, key: &[u8]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.to_vec()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = if quirk == Quirk::OneTicket { 1 } else { 2 };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(quirk, acceptor.clone(), tcp));
            }
        });
        Self { address, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(quirk: Quirk, acceptor: TlsAcceptor, tcp: TcpStream) {
    tcp.set_nodelay(true).unwrap();
    if quirk == Quirk::Resets {
        tcp.set_zero_linger().unwrap();
    }
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(quirk, tls).await;
        return;
    }
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(quirk, &request).map(Full::<Bytes>::from)) });
    // However it ends.
    drop(http1::Builder::new().serve_connection(TokioIo::new(tls), service).with_upgrades().await);
}

async fn serve_http2(quirk: Quirk, tls: TlsStream<TcpStream>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.enable_connect_protocol().handshake::<_, Bytes>(tls).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, body) = answer(quirk, &request).into_parts();
        if let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), false) {
            drop(stream.send_data(body, true));
        }
    }
}

fn answer<B>(quirk: Quirk, request: &Request<B>) -> Response<Bytes> {
    let is_page = request.uri().path() == "/";
    let (status, page) = match request.method().as_str() {
        "CONNECT" if quirk == Quirk::OtherStatusOfConnect => (407, "go away"),
        "GET" | "HEAD" if is_page => (200, "<h1>a page</h1>"),
        "GET" | "HEAD" if quirk == Quirk::OtherPage => (404, "no such page here"),
        "GET" | "HEAD" => (404, "not found"),
        _ => (405, "not allowed"),
    };
    let response = Response::builder().status(status);
    let response = if quirk == Quirk::OtherOrder {
        response.header("content-type", "text/html").header("server", "a web server")
    } else {
        response.header("server", "a web server").header("content-type", "text/html")
    };
    let response = if quirk == Quirk::ExtraHeader { response.header("x-powered-by", "adit") } else { response };
    response.body(Bytes::from(page)).unwrap()
}

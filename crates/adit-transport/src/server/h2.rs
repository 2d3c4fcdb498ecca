//! HTTP/2 connections: each request goes to the tunnel if it is a user's, and to the web site otherwise.
//!
//! On the crate `h2` itself, because a tunnel wants whole frames as they come, without copies in between. Not here:
//! HTTP/1.1 (`h1`), what the site answers (`site`).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{LinkId, Path};
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::admit::Form;
use super::body::Body;
use super::ledger::{Account, Held};
use super::limits::{
    ANSWER, BODY_TIME, ERROR_RESETS, HEAD_BYTES, HEAD_TIME, IDLE_TIME, LINGER_TIME, PENDING_RESETS, SEND_BUFFER,
    STREAMS, TUNNEL_WINDOW, WINDOW,
};
use super::piece::Piece;
use super::scene::Visitor;
use super::users::Entry;
use super::wire::{Exporter, Wire};
use super::{tunnel, upload};
use crate::capsule::put_padding;
use crate::grpc;

/// Between two attempts to widen the windows of a connection with a tunnel.
const SETTLE: Duration = Duration::from_secs(1);

/// What one connection's requests share.
#[derive(Debug, Clone)]
struct Shared {
    visitor: Visitor,
    exporter: Exporter,
    /// Tells the connection that it carries a tunnel.
    widen: mpsc::Sender<()>,
}

/// Serves one connection until its end.
pub(super) async fn serve(visitor: Visitor, wire: Wire, exporter: Exporter) {
    let handshake = builder().handshake::<_, Piece>(wire);
    let Ok(Ok(connection)) = timeout(HEAD_TIME, handshake).await else { return };
    let (widen, widened) = mpsc::channel(1);
    drive(connection, &Shared { visitor, exporter, widen }, widened).await;
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(ERROR_RESETS))
        .enable_connect_protocol();
    builder
}

async fn drive(mut connection: Connection<Wire, Piece>, shared: &Shared, mut widened: mpsc::Receiver<()>) {
    // Ends with the connection, and all answers with it.
    let mut answers = JoinSet::new();
    let mut deadline = Instant::now() + IDLE_TIME;
    let (mut leaving, mut narrow) = (false, false);
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let working = shared.visitor.account.works();
                    // Noted here and not where it is answered: many connections may be heard before one answer begins.
                    let asked = shared.visitor.account.hold(len_of_request(&request));
                    let answer = answer(shared.clone(), request, asked, respond);
                    answers.spawn(async move {
                        answer.await;
                        drop(working);
                    });
                }
                Some(Err(error)) => return tracing::trace!(%error, "a connection ended"),
                None => return,
            },
            Some(_) = answers.join_next() => deadline = Instant::now() + IDLE_TIME,
            Some(()) = widened.recv() => {
                connection.set_target_window_size(TUNNEL_WINDOW);
                narrow = connection.set_initial_window_size(TUNNEL_WINDOW).is_err();
            }
            // Not before the client has acknowledged our first settings, which a front may do after its first request.
            () = sleep(SETTLE), if narrow => narrow = connection.set_initial_window_size(TUNNEL_WINDOW).is_err(),
            () = sleep_until(deadline), if answers.is_empty() => {
                if leaving {
                    return;
                }
                leaving = true;
                deadline = Instant::now() + LINGER_TIME;
                connection.graceful_shutdown();
            }
        }
    }
}

/// Answers one request, for which so much is held until then.
async fn answer(shared: Shared, request: Request<RecvStream>, asked: Held, mut respond: SendResponse<Piece>) {
    let Visitor { scene, account, peer } = &shared.visitor;
    if let Some((entry, form)) = scene.admission.look(&request, &shared.exporter).await {
        drop(asked);
        return accept_tunnel(shared, form, entry, request.into_body(), respond).await;
    }
    let is_head = request.method() == Method::HEAD;
    let request = request.map(|stream| upload::of(stream, account));
    let response = tokio::select! {
        response = scene.site.answer(request, *peer) => response,
        // Nobody waits for the answer any more.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    drop(asked);
    send(response, respond, is_head, account).await;
}

/// Bytes of memory that a request takes until it is answered, about: its head as it came, as a map, and as it is handed on.
fn len_of_request<B>(request: &Request<B>) -> usize {
    /// Of each header in the map, besides its text.
    const EACH: usize = 256;
    let text: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    3 * (text + path) + EACH * request.headers().len() + 2 * ANSWER
}

async fn accept_tunnel(
    shared: Shared,
    form: Form,
    entry: Entry,
    from_client: RecvStream,
    mut respond: SendResponse<Piece>,
) {
    let Visitor { scene, peer, .. } = &shared.visitor;
    let path = Path { link: LinkId(1), remote: *peer, local: None };
    let Ok(seat) = scene.joiner.join(path).await else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let mut response = Response::new(());
    let (name, value) = match form {
        Form::Capsules => (HeaderName::from_static("capsule-protocol"), HeaderValue::from_static("?1")),
        Form::Grpc => (http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
    };
    response.headers_mut().insert(name, value);
    add_date(&mut response);
    let Ok(mut to_client) = respond.send_response(response, false) else { return };
    if form == Form::Grpc && to_client.send_data(greeting().into(), false).is_err() {
        return;
    }
    // Full means that it was said already.
    let _ = shared.widen.try_send(());
    tracing::debug!(from = %peer, "a tunnel begins");
    tunnel::run(form, seat, entry, &scene.shape, from_client, to_client).await;
    tracing::debug!(from = %peer, "a tunnel ends");
}

/// The first message of a stream in the shape of gRPC: padding. A front may keep the head of an answer until something
/// follows it, as nginx does.
fn greeting() -> Bytes {
    const LEN: usize = 40;
    let mut message = BytesMut::from(&grpc::prefix(LEN)[..]);
    put_padding(&mut message, LEN);
    message.freeze()
}

/// Sends an answer of the site.
async fn send(response: Response<Body>, mut respond: SendResponse<Piece>, is_head: bool, account: &Arc<Account>) {
    let (head, body) = response.into_parts();
    let mut response = Response::from_parts(head, ());
    strip_hop_by_hop(&mut response);
    add_date(&mut response);
    let is_bodyless = is_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(len) = body.size_hint().exact()
        && !is_bodyless
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    let is_empty = is_bodyless || body.is_end_stream();
    // An error means that the client has gone.
    let Ok(mut stream) = respond.send_response(response, is_empty) else { return };
    if !is_empty && send_body(body, &mut stream, account).await.is_none() {
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// Sends a body as fast as the client takes it. `None` if it broke off.
async fn send_body(mut body: Body, to: &mut SendStream<Piece>, account: &Arc<Account>) -> Option<()> {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = poll_fn(|cx| to.poll_reset(cx)) => return None,
        };
        let Some(frame) = frame else { return to.send_data(Bytes::new().into(), true).ok() };
        match frame.ok()?.into_data() {
            Ok(mut data) => {
                let is_last = body.is_end_stream();
                // Where it was read from keeps a buffer of its own.
                let cost = 2 * data.len() + ANSWER;
                let held = Arc::new(timeout(BODY_TIME, account.hold_in_turn(cost)).await.ok()?);
                while !data.is_empty() {
                    let room = timeout(BODY_TIME, capacity(to, data.len())).await.ok()??;
                    let piece = Piece::of(data.split_to(room), &held);
                    to.send_data(piece, is_last && data.is_empty()).ok()?;
                }
                if is_last {
                    return Some(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return to.send_trailers(trailers).ok();
                }
            }
        }
    }
}

/// Waits until something may be sent, and says how much of what is wanted. `None` if the stream has ended.
pub(super) async fn capacity(to: &mut SendStream<Piece>, wanted: usize) -> Option<usize> {
    to.reserve_capacity(wanted);
    while to.capacity() == 0 {
        poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
    }
    Some(to.capacity().min(wanted))
}

/// RFC 9113 §8.2.2: these are not for HTTP/2.
fn strip_hop_by_hop(response: &mut Response<()>) {
    let keep_alive = HeaderName::from_static("keep-alive");
    let proxy_connection = HeaderName::from_static("proxy-connection");
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, keep_alive, proxy_connection] {
        response.headers_mut().remove(name);
    }
}

fn add_date(response: &mut Response<()>) {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    if let Ok(now) = HeaderValue::from_str(&now) {
        response.headers_mut().entry(DATE).or_insert(now);
    }
}

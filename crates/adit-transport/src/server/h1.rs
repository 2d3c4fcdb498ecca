//! HTTP/1.1 connections: everything is the web site's.
//!
//! Not here: HTTP/2 (`h2`), which alone carries tunnels.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body;
use super::limits::{HEAD_BYTES, HEAD_TIME};
use super::scene::Visitor;
use super::wire::Wire;

/// Serves one connection until its end.
pub(super) async fn serve(visitor: Visitor, wire: Wire) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let visitor = visitor.clone();
        async move {
            let working = Arc::new(visitor.account.works());
            // A WebSocket outlives its request.
            request.extensions_mut().insert(Arc::clone(&working));
            let response = visitor.scene.site.answer(request.map(body::patient), visitor.peer).await;
            Ok::<_, Infallible>(response.map(|body| body::noted(body, visitor.account, working)))
        }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES as usize)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a connection ended");
    }
}

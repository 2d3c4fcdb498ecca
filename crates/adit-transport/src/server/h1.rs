//! HTTP/1.1 connections: everything is the web site's.
//!
//! Not here: HTTP/2 (`h2`), which alone carries tunnels.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body;
use super::limits::{HEAD_BYTES, HEAD_TIME};
use super::scene::Scene;
use super::wire::Wire;

/// Serves one connection until its end.
pub(super) async fn serve(scene: Arc<Scene>, wire: Wire, peer: SocketAddr) {
    let service = service_fn(|request: Request<Incoming>| {
        let scene = Arc::clone(&scene);
        async move { Ok::<_, Infallible>(scene.site.answer(request.map(body::patient), peer).await) }
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

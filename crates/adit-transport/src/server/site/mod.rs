//! The web site that everybody sees: requests in, answers out, whoever asks.
//!
//! Not here: connections, and which requests are no business of the site (`admit`).

mod directory;
mod headers;
mod proxy;
pub(super) mod upstream;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};

use super::body::{self, Body};
use crate::config;
use crate::names::Names;
use directory::Directory;
use proxy::Proxy;

/// An answer in the making.
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>;

/// Where answers come from.
#[derive(Debug)]
pub(super) enum Site {
    Directory(Directory),
    Proxy(Box<Proxy>),
}

impl Site {
    pub(super) fn open(site: &config::Site, names: &Names) -> io::Result<Self> {
        Ok(match site {
            config::Site::Directory(path) => Self::Directory(Directory::open(path)?),
            config::Site::Proxy { url, root } => Self::Proxy(Box::new(Proxy::new(url, root.as_deref(), names)?)),
        })
    }

    pub(super) fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Answer<'_> {
        match self {
            Self::Directory(directory) => Box::pin(directory.answer(request)),
            Self::Proxy(proxy) => Box::pin(proxy.answer(request, peer)),
        }
    }
}

/// A short page that says what went wrong.
fn page(status: StatusCode) -> Response<Body> {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let html = format!(
        "<!DOCTYPE html>\n<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n</body>\n</html>\n"
    );
    let mut response = Response::new(body::full(html));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

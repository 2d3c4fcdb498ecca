//! A site of files: types, validators, ranges, conditions and compression, by tower-http.

use std::io;
use std::path::{Path, PathBuf};

use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, ETAG};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_http::compression::Compression;
use tower_http::services::ServeDir;

use super::page;
use crate::server::body::{self, Body, BodyError};
use crate::server::limits::FILE_PIECE;

/// The page for what is not there, if the owner has one.
const NOT_FOUND: &str = "404.html";
/// The largest such page.
const MAX_NOT_FOUND: u64 = 1 << 20;

/// Files below one directory.
#[derive(Debug)]
pub(crate) struct Directory {
    files: ServeDir,
    not_found: PathBuf,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a directory", path.display())));
        }
        Ok(Self { files: ServeDir::new(path).with_buf_chunk_size(FILE_PIECE), not_found: path.join(NOT_FOUND) })
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let files = self.files.clone();
        let response = match *request.method() {
            // As other servers do, nothing is compressed only to find its length.
            Method::HEAD => files.oneshot(request.map(drop)).await.map(whole),
            Method::GET => Compression::new(files).oneshot(request.map(drop)).await.map(whole),
            _ => {
                let mut response = page(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
                Ok(response)
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(never) => match never {},
        };
        match response.status() {
            StatusCode::NOT_FOUND => self.not_found().await,
            status if status.is_server_error() => page(status),
            _ => weaken(response),
        }
    }

    async fn not_found(&self) -> Response<Body> {
        let mut response = page(StatusCode::NOT_FOUND);
        let file = self.not_found.clone();
        if let Ok(Some(text)) = tokio::task::spawn_blocking(move || read_small(&file)).await {
            *response.body_mut() = body::full(text);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        }
        response
    }
}

fn read_small(file: &Path) -> Option<Vec<u8>> {
    let fits = std::fs::metadata(file).ok()?.len() <= MAX_NOT_FOUND;
    if fits { std::fs::read(file).ok() } else { None }
}

fn whole<B>(response: Response<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// RFC 9110 §8.8.1: what was compressed on the way is not the same bytes any more.
fn weaken(mut response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(CONTENT_ENCODING)
        && let Some(strong) = response.headers().get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat())
    {
        response.headers_mut().insert(ETAG, weak);
    }
    response
}

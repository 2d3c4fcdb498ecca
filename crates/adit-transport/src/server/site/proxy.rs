//! A site that another web server on this machine, or near it, answers for.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use super::websocket::{self, Downward};
use super::{headers, page, upstream};
use crate::names::Names;
use crate::server::body::{self, Body};
use crate::server::ledger::Working;
use crate::server::limits::{BODY_TIME, FILE_PIECE, LINGER_TIME};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// Hands requests on.
#[derive(Debug)]
pub(crate) struct Proxy {
    client: Client<HttpsConnector<HttpConnector<Names>>, Body>,
    scheme: Scheme,
    to: Authority,
}

impl Proxy {
    /// To a site given as `http://host:port` or `https://host:port`; the latter is vouched for by `root`, or by the machine's
    /// authorities.
    pub(crate) fn new(url: &str, root: Option<&Path>, names: &Names) -> io::Result<Self> {
        let bad = || {
            let why = format!("`{url}` is not of the form http://host:port or https://host:port");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        let parts = url.parse::<Uri>().map_err(|_| bad())?.into_parts();
        let has_path = parts.path_and_query.is_some_and(|path| path != "/");
        let scheme = parts.scheme.filter(|_| !has_path).ok_or_else(bad)?;
        let tls = match scheme.as_str() {
            "http" => upstream::no_tls()?,
            "https" => upstream::tls(root, "the site behind", "SiteRoot")?,
            _ => return Err(bad()),
        };
        let mut connector = HttpConnector::new_with_resolver(names.clone());
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(LINGER_TIME));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).http1_max_buf_size(4 * FILE_PIECE).build(connector);
        Ok(Self { client, scheme, to: parts.authority.ok_or_else(bad)? })
    }

    pub(crate) async fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        match *request.method() {
            Method::CONNECT if protocol.is_some_and(|protocol| protocol.as_str() == "websocket") => {
                self.websocket_of_h2(request, peer).await
            }
            // Not for a site to answer, and not for the one behind to see: as other proxies do.
            Method::CONNECT | Method::TRACE => page(StatusCode::METHOD_NOT_ALLOWED),
            _ if request.version() == Version::HTTP_11 && headers::wants_websocket(request.headers()) => {
                self.websocket_of_h1(request, peer).await
            }
            _ => {
                let request = self.onward(request, peer);
                self.ask(request).await.unwrap_or_else(page)
            }
        }
    }

    /// The request as it goes to the site behind.
    fn onward(&self, request: Request<Body>, peer: SocketAddr) -> Request<Body> {
        let (mut head, body) = request.into_parts();
        headers::strip(&mut head.headers);
        headers::forward(&mut head.headers, &head.uri, peer);
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut onward = Request::new(body);
        *onward.method_mut() = head.method;
        *onward.uri_mut() = self.uri(path);
        *onward.headers_mut() = head.headers;
        onward
    }

    fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.to.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// The answer of the site behind, or the status that says why there is none.
    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, StatusCode> {
        match timeout(BODY_TIME, self.client.request(request)).await {
            Ok(Ok(mut response)) => {
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    headers::strip(response.headers_mut());
                }
                *response.version_mut() = Version::HTTP_11;
                Ok(response.map(body::patient))
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %innermost(&error), "the site behind does not answer");
                Err(StatusCode::BAD_GATEWAY)
            }
            Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
        }
    }

    async fn websocket_of_h1(&self, mut request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let from_client = request.extensions_mut().remove::<OnUpgrade>();
        let working = request.extensions_mut().remove::<Arc<Working>>();
        let mut onward = self.onward(request, peer);
        add_upgrade(onward.headers_mut());
        let mut response = match self.ask(onward).await {
            Ok(response) => response,
            Err(status) => return page(status),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let from_site = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let (Some(client), Ok(site)) = (from_client, from_site.await) else { return };
                let Ok(client) = client.await else { return };
                websocket::carry(TokioIo::new(client), TokioIo::new(site), working).await;
            });
        }
        response
    }

    /// RFC 8441: the bodies of request and answer are the two directions.
    async fn websocket_of_h2(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let (head, from_client) = request.into_parts();
        let mut onward = self.onward(Request::from_parts(head, body::empty()), peer);
        *onward.method_mut() = Method::GET;
        add_upgrade(onward.headers_mut());
        let mut key = [0; 16];
        // The key proves nothing; it only has to be there.
        let _ = aws_lc_rs::rand::fill(&mut key);
        if let Ok(key) = HeaderValue::from_str(&Base64::encode_string(&key)) {
            onward.headers_mut().insert(WEBSOCKET_KEY, key);
        }
        let mut response = match self.ask(onward).await {
            Ok(response) => response,
            Err(status) => return page(status),
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let Ok(site) = hyper::upgrade::on(&mut response).await else { return page(StatusCode::BAD_GATEWAY) };
        let (from_site, to_site) = tokio::io::split(TokioIo::new(site));
        tokio::spawn(websocket::upward(from_client, to_site));
        headers::strip(response.headers_mut());
        response.headers_mut().remove(WEBSOCKET_ACCEPT);
        *response.status_mut() = StatusCode::OK;
        *response.body_mut() = Downward::new(from_site).boxed_unsync();
        response
    }
}

/// What is at the bottom of an error: why there is no connection, where those above it say that there is none.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

fn add_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

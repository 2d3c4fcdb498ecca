//! Whether a request asks for the tunnel, and is a user's. Everything else is the web site's.
//!
//! Whoever asks costs the same: each request of the form of a tunnel's has one proof checked, be there a good one, a bad
//! one, none, or no users at all. Not here: what is checked (`concealed`, `token`), the tunnel itself (`tunnel`).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};

use super::replays::Memory;
use super::users::{Entry, Register};
use super::wire::Exporter;
use crate::concealed::{Credentials, Origin};
use crate::token::Token;

/// RFC 9298 §3: the `:protocol` of a request for UDP.
const CONNECT_UDP: &str = "connect-udp";
/// RFC 9298 §2: where such requests go by default, followed by host and port of the target.
const CONNECT_UDP_PATH: &str = "/.well-known/masque/udp/";
/// The content type of a request of the form of gRPC.
const GRPC: &str = "application/grpc";

/// How the capsules of a tunnel lie in the bodies of its request and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are (RFC 9297).
    Capsules,
    /// In gRPC's length-prefixed messages.
    Grpc,
}

/// Looks at requests.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) register: Arc<Register>,
    /// What proves a user.
    pub(super) proof: Proof,
}

/// What a user is known by.
#[derive(Debug)]
pub(super) enum Proof {
    /// A signature over the TLS connection.
    Concealed,
    /// A token; our TLS it is not.
    Token(Memory),
}

impl Admission {
    /// The tunnel that a request may have, if it is a user's.
    pub(super) async fn look<B>(&self, request: &Request<B>, exporter: &Exporter) -> Option<(Entry, Form)> {
        let form = form(request)?;
        let user = match (&self.proof, form) {
            (Proof::Concealed, Form::Capsules) => self.by_signature(request, exporter).await,
            (Proof::Token(memory), Form::Grpc) => self.by_token(request, memory).await,
            (Proof::Concealed, Form::Grpc) | (Proof::Token(_), Form::Capsules) => None,
        }?;
        Some((self.register.enter(&user)?, form))
    }

    async fn by_signature<B>(&self, request: &Request<B>, exporter: &Exporter) -> Option<Vec<u8>> {
        let given = one_authorization(request).and_then(Credentials::parse);
        let (credentials, is_given) = (given.clone().unwrap_or_else(Credentials::of_nobody), given.is_some());
        let origin = request.uri().authority().and_then(|authority| Origin::https(authority.as_str()))?;
        let exported = exporter.ask(credentials.exporter_context(&origin)).await?;
        let users = self.register.users();
        users.keys.verify(&credentials, &exported).filter(|_| is_given).and_then(|place| users.id(place))
    }

    async fn by_token<B>(&self, request: &Request<B>, memory: &Memory) -> Option<Vec<u8>> {
        let given = one_authorization(request).and_then(Token::parse);
        let token = given.unwrap_or(Token::OF_NOBODY);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let users = self.register.users();
        let user = users.tokens.verify(&token, now).and_then(|place| users.id(place))?;
        memory.use_once(&token, now).await.then_some(user)
    }
}

/// Whether a request is of a form that a tunnel's has, whoever sends it.
fn form<B>(request: &Request<B>) -> Option<Form> {
    let is_grpc = |kind: &[u8]| kind == GRPC.as_bytes() || kind.starts_with(b"application/grpc+");
    match *request.method() {
        Method::CONNECT => {
            let protocol = request.extensions().get::<h2::ext::Protocol>()?;
            (protocol.as_str() == CONNECT_UDP && is_target(request.uri().path())).then_some(Form::Capsules)
        }
        Method::POST => {
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| is_grpc(kind.as_bytes())).then_some(Form::Grpc)
        }
        _ => None,
    }
}

/// Whether a path is that of a request for UDP: host and port follow. Whatever is named, the tunnel's own end answers.
fn is_target(path: &str) -> bool {
    let Some((host, port)) = path.strip_prefix(CONNECT_UDP_PATH).and_then(|target| target.split_once('/')) else {
        return false;
    };
    let port = port.strip_suffix('/').unwrap_or(port);
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The `Authorization` header, if there is exactly one.
fn one_authorization<B>(request: &Request<B>) -> Option<&[u8]> {
    let mut all = request.headers().get_all(AUTHORIZATION).iter();
    all.next().filter(|_| all.next().is_none()).map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_asked_for_by_connect_udp_with_a_target() {
        for (path, is) in [
            ("/.well-known/masque/udp/192.0.2.6/443/", true),
            ("/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/", true),
            ("/.well-known/masque/udp/adit/51820", true),
            ("/.well-known/masque/udp/adit/0/", false),
            ("/.well-known/masque/udp/adit/65536/", false),
            ("/.well-known/masque/udp/adit/", false),
            ("/.well-known/masque/udp//1/", false),
            ("/.well-known/masque/ip/adit/1/", false),
            ("/", false),
        ] {
            assert_eq!(is_target(path), is, "{path}");
        }
        let mut request = Request::connect("https://example.org/.well-known/masque/udp/a/1/").body(()).unwrap();
        assert_eq!(form(&request), None);
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(form(&request), None);
        request.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
        assert_eq!(form(&request), Some(Form::Capsules));
    }

    #[test]
    fn behind_a_front_it_is_asked_for_in_the_form_of_grpc() {
        let of = |kind| form(&Request::post("/a/b").header(CONTENT_TYPE, kind).body(()).unwrap());
        assert_eq!(of("application/grpc"), Some(Form::Grpc));
        assert_eq!(of("application/grpc+proto"), Some(Form::Grpc));
        assert_eq!(of("application/grpc-web"), None);
        assert_eq!(form(&Request::get("/a/b").header(CONTENT_TYPE, "application/grpc").body(()).unwrap()), None);
    }

    #[test]
    fn two_authorizations_are_none() {
        let request = Request::get("/").header(AUTHORIZATION, "a").header(AUTHORIZATION, "b").body(()).unwrap();
        assert_eq!(one_authorization(&request), None);
    }
}

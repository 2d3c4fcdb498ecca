//! Proxies on the way to a server: HTTP's CONNECT, and SOCKS 5.
//!
//! Not here: what is said to them (whoever makes connections).

use super::catalogue::{CLIENT, CONNECTION, Entry, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Said, doubt, refuse};
use super::identity::ASKED;
use super::lexer::Directive;
use super::material::Material;
use super::value::{self, host, port, text};

/// As many headers a proxy is told beside the usual: each remote has its own copy.
pub const MAX_HEADERS: usize = 16;

/// A proxy on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Which kind.
    pub kind: ProxyKind,
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A file or block with its user and password, a line each.
    pub login: Option<Material>,
    /// A person is asked for user and password, unless there is a `login` (`stdin`).
    pub ask: bool,
    /// The password is not sent as clear text, so that it is not sent at all (`auto-nct`, HTTP only).
    pub keeps_password: bool,
    /// Requests are HTTP/1.1 (HTTP only).
    pub http_1_1: bool,
    /// What else the proxy is told: names and values of headers (HTTP only).
    pub headers: Vec<(String, String)>,
}

/// Kinds of proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// CONNECT of HTTP.
    Http,
    /// SOCKS 5.
    Socks,
}

impl ProxyKind {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP proxy",
            Self::Socks => "SOCKS proxy",
        }
    }

    /// The option that its user and password can be written in.
    pub const fn login_option(self) -> &'static str {
        match self {
            Self::Http => "http-proxy-user-pass",
            Self::Socks => "socks-proxy-user-pass",
        }
    }
}

/// What is known of proxies while a file is read.
#[derive(Debug, Clone, Default)]
pub(super) struct ProxyDraft {
    http: Option<Proxy>,
    http_login: Option<Material>,
    http_1_1: bool,
    headers: Vec<(String, String)>,
    socks: Option<Proxy>,
    socks_login: Option<Material>,
}

impl ProxyDraft {
    /// Whether both kinds are asked for.
    pub(super) const fn are_two(&self) -> bool {
        self.http.is_some() && self.socks.is_some()
    }

    /// Whether there is one of HTTP.
    pub(super) const fn has_http(&self) -> bool {
        self.http.is_some()
    }

    /// The one that is asked for.
    pub(super) fn complete(&self) -> Option<Proxy> {
        let (proxy, login) = match (&self.http, &self.socks) {
            (Some(http), _) => (http, &self.http_login),
            (None, Some(socks)) => (socks, &self.socks_login),
            (None, None) => return None,
        };
        let proxy = proxy.clone();
        let login = proxy.login.or_else(|| login.clone());
        Some(match proxy.kind {
            ProxyKind::Http => Proxy { login, http_1_1: self.http_1_1, headers: self.headers.clone(), ..proxy },
            ProxyKind::Socks => Proxy { login, ..proxy },
        })
    }
}

const HERE: u8 = CLIENT | CONNECTION;

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("http-proxy", HERE, 2, 4, http_proxy),
    read("http-proxy-option", HERE, 1, 3, http_proxy_option).many(),
    ignored("http-proxy-retry", HERE, 0, 0, "attempts go on by themselves"),
    refused("http-proxy-timeout", HERE, "OpenVPN has removed this option", "write connect-timeout SECONDS"),
    read("http-proxy-user-pass", HERE, 1, 1, |draft, d| {
        let proxies = &mut draft.connection.proxies;
        proxies.http_login = value::material(d)?.or_else(|| proxies.http_login.take());
        draft.announce(d)
    }),
    read("socks-proxy", HERE, 1, 3, socks_proxy),
    ignored("socks-proxy-retry", HERE, 0, 0, "attempts go on by themselves"),
    read("socks-proxy-user-pass", HERE, 1, 1, |draft, d| {
        let proxies = &mut draft.connection.proxies;
        proxies.socks_login = value::material(d)?.or_else(|| proxies.socks_login.take());
        draft.announce(d)
    }),
];

fn proxy(kind: ProxyKind, host: String, port: u16) -> Proxy {
    Proxy { kind, host, port, login: None, ask: false, keeps_password: false, http_1_1: false, headers: Vec::new() }
}

fn http_proxy(draft: &mut Draft, d: &Directive) -> Outcome {
    let mut proxy = proxy(ProxyKind::Http, host(d, 1)?, port(d, 2)?);
    match d.word(3) {
        None | Some("none" | "auto") => {}
        Some("auto-nct") => proxy.keeps_password = true,
        Some(ASKED) => proxy.ask = true,
        Some(file) => proxy.login = Some(Material::File(file.to_owned())),
    }
    match d.word(4) {
        None | Some("basic" | "none") => {}
        Some(method @ ("ntlm" | "ntlm2")) => {
            let why = format!("{method} is an authentication that can be broken, and adit does not speak it");
            return refuse(4, why, "write `basic`, and use a proxy that takes it");
        }
        Some("digest") => {
            let why = "digest is an authentication by MD5, and adit does not speak it";
            return refuse(4, why, "write `basic`, and use a proxy that takes it");
        }
        Some(_) => return refuse(4, "there is no such authentication", "write `basic`, or nothing"),
    }
    let keeps_password = proxy.keeps_password;
    draft.connection.proxies.http = Some(proxy);
    if keeps_password {
        let why = "`auto-nct` forbids `basic`, the only authentication of proxies that adit speaks: a proxy that asks for a \
            password is not used";
        return doubt(why, "write `auto` if the way to the proxy is one that you trust");
    }
    Ok(Said::Accepted)
}

fn http_proxy_option(draft: &mut Draft, d: &Directive) -> Outcome {
    let proxies = &mut draft.connection.proxies;
    let (name, value) = match text(d, 1)? {
        "VERSION" => {
            proxies.http_1_1 = match text(d, 2)? {
                "1.0" => false,
                "1.1" => true,
                _ => return refuse(2, "requests are of HTTP/1.0 or HTTP/1.1", "write 1.0 or 1.1"),
            };
            return Ok(Said::Accepted);
        }
        "AGENT" => ("User-Agent", text(d, 2)?),
        "CUSTOM-HEADER" => match d.word(3) {
            Some(value) => (text(d, 2)?, value),
            None => text(d, 2)?.split_once(':').unwrap_or((text(d, 2)?, "")),
        },
        _ => return refuse(1, "there is no such setting", "write VERSION, AGENT or CUSTOM-HEADER"),
    };
    let (name, value) = (name.trim(), value.trim());
    // RFC 9110 §5.6.2: what a name may be made of.
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_of_names) || value.contains(char::is_control) {
        return refuse(2, "this is not a header of HTTP", "write CUSTOM-HEADER NAME VALUE");
    }
    if proxies.headers.len() == MAX_HEADERS {
        let why = format!("there are more than {MAX_HEADERS} headers");
        return refuse(0, why, "remove those that the proxy does not need");
    }
    proxies.headers.push((name.to_owned(), value.to_owned()));
    Ok(Said::Accepted)
}

fn socks_proxy(draft: &mut Draft, d: &Directive) -> Outcome {
    let port = if d.arguments() > 1 { port(d, 2)? } else { 1080 };
    let mut proxy = proxy(ProxyKind::Socks, host(d, 1)?, port);
    match d.word(3) {
        None => {}
        Some(ASKED) => proxy.ask = true,
        Some(file) => proxy.login = Some(Material::File(file.to_owned())),
    }
    draft.connection.proxies.socks = Some(proxy);
    Ok(Said::Accepted)
}

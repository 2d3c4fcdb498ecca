//! adit's own keys: how a peer is reached over HTTPS, and the section of a server that is a web site. Types, values, text.
//!
//! Not here: what wg-quick has (`value`, `parse`), what is made of them (`https` of this crate).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use adit_transport::config::{Hello, Pin, Roots};
use adit_transport::ladder::{Carrier, Order};
use adit_transport::shape::{BadMachine, Level, MAX_MACHINES, MachineSettings, PaddingMachine, Settings};

use super::value::{Fault, is_host_name, port};
use crate::https::HttpsKey;

/// How a peer is reached over HTTPS: the keys `Https…` of a `[Peer]` at a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Https {
    /// `HttpsUrl`.
    pub url: Url,
    /// `HttpsAddress`: where that is; if empty, the name is looked up.
    pub addresses: Vec<IpAddr>,
    /// `HttpsPin`.
    pub pins: Vec<Pin>,
    /// `HttpsRoots`; `None` is the machine's.
    pub roots: Option<Roots>,
    /// `HttpsHello`; `None` is a browser's, where this program can.
    pub hello: Option<Hello>,
    /// `HttpsPath`: the path that a front hands on.
    pub path: Option<String>,
    /// `HttpsShape` and `HttpsMachine`.
    pub shape: Shape,
}

/// What is done about the shape of what one end sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// `HttpsShape` or `Shape`; `None` is the usual level.
    pub level: Option<Level>,
    /// `HttpsMachine` or `Machine`, one each; at most [`MAX_MACHINES`].
    pub machines: Vec<PaddingMachine>,
}

impl Shape {
    /// As the transport takes it. Of the machines, the first [`MAX_MACHINES`] count; a file has no more.
    pub fn settings(&self) -> Settings {
        let machines = &self.machines[..self.machines.len().min(MAX_MACHINES)];
        let machines = MachineSettings::usual(machines).ok().filter(|_| !machines.is_empty());
        Settings { machines, ..self.level.unwrap_or_default().settings() }
    }
}

/// A web site: `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Its name, or its IPv4 address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The section `[Https]`: this end is a web site too, and its users come as visitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSite {
    /// `Listen`.
    pub listen: Vec<Listen>,
    /// `Site`.
    pub site: SiteSource,
    /// `Certificate` and `CertificateKey`, `Acme`, `SelfSigned`, or `Behind`.
    pub front: WebFront,
    /// `Shape` and `Machine`.
    pub shape: Shape,
}

/// What strangers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteSource {
    /// Files.
    Directory(PathBuf),
    /// Another web server.
    Proxy {
        /// `http://host[:port]` or `https://host[:port]`.
        url: String,
        /// `SiteRoot`: who vouches for it, if not the machine's authorities.
        root: Option<PathBuf>,
    },
}

/// Who ends TLS, and with which certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebFront {
    /// We do, with these PEM files.
    Files {
        /// The certificate and those that vouch for it.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// We do, with what an authority gives by ACME.
    Acme {
        /// The names of the site.
        domains: Vec<String>,
        /// `AcmeDirectory`; `None` is Let's Encrypt.
        directory: Option<String>,
        /// `AcmeContact`.
        contact: Option<String>,
        /// `AcmeRoot`: who vouches for the authority's own server.
        root: Option<PathBuf>,
    },
    /// We do, with a certificate of our own that only a pin makes worth anything.
    SelfSigned(Vec<String>),
    /// Another web server on this machine does.
    Behind,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On this port of every address.
    Port(u16),
    /// There only.
    At(SocketAddr),
}

impl Listen {
    /// The addresses to bind.
    pub fn addresses(self) -> Vec<SocketAddr> {
        match self {
            Self::At(address) => vec![address],
            Self::Port(port) => {
                vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

impl fmt::Display for SiteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Proxy { url, .. } => f.write_str(url),
        }
    }
}

/// The order of carriers as it is written.
pub(super) fn order_text(order: Order) -> &'static str {
    match (order.first(), order.has(Carrier::Udp), order.has(Carrier::Https)) {
        (Carrier::Udp, _, true) => "udp, https",
        (Carrier::Udp, _, false) => "udp",
        (Carrier::Https, true, _) => "https, udp",
        (Carrier::Https, false, _) => "https",
    }
}

pub(super) fn transport(text: &str) -> Result<Order, Fault> {
    let word = |word: &str| match word.to_ascii_lowercase().as_str() {
        "udp" => Some(Carrier::Udp),
        "https" => Some(Carrier::Https),
        _ => None,
    };
    let words: Option<Vec<_>> = text.split(',').map(word).collect();
    words.and_then(|list| Order::of(&list)).ok_or_else(|| {
        Fault::new("not a list of transports", "`udp`, `https`, or both with the first choice first: `udp, https`")
    })
}

pub(super) fn url(text: &str) -> Result<Url, Fault> {
    let example = "https://vpn.example.org, or with a port https://vpn.example.org:8443";
    let lower = text.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("https://") else {
        let bare = lower.strip_prefix("http://").unwrap_or(&lower);
        return Err(Fault::new("not the address of a web site with HTTPS", format!("https://{bare}")));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Some((site, path)) = rest.split_once('/') {
        let hint = format!("https://{site}, and `HttpsPath = /{path}` if the server is behind another web server");
        return Err(Fault::new("a path does not belong here", hint));
    }
    let (host, number) = rest.rsplit_once(':').map_or((rest, "443"), |(host, number)| (host, number));
    if !is_host_name(host) {
        return Err(Fault::new("not the name of a host", example));
    }
    match port(number) {
        Ok(port @ 1..) => Ok(Url { host: host.to_owned(), port }),
        Ok(0) | Err(_) => Err(Fault::new("a port is a number from 1 to 65535", example)),
    }
}

pub(super) fn pin(text: &str) -> Result<Pin, Fault> {
    text.parse().map_err(|_| {
        Fault::new("not the hash of a key", "`sha256/` and 44 letters; the server's `adit status` shows it")
    })
}

pub(super) fn roots(text: &str) -> Result<Roots, Fault> {
    match text.to_ascii_lowercase().as_str() {
        "system" => Ok(Roots::System),
        "pin" => Ok(Roots::PinOnly),
        _ => Err(Fault::new("neither system nor pin", "`system`, or `pin` for a self-signed certificate")),
    }
}

pub(super) fn hello(text: &str) -> Result<Hello, Fault> {
    match text.to_ascii_lowercase().as_str() {
        "browser" => Ok(Hello::Browser),
        "plain" => Ok(Hello::Plain),
        _ => Err(Fault::new("neither browser nor plain", "`browser`, or `plain` where a browser's is not needed")),
    }
}

pub(super) fn shape(text: &str) -> Result<Level, Fault> {
    let found = Level::ALL.into_iter().find(|(_, word)| word.eq_ignore_ascii_case(text));
    found.map(|(level, _)| level).ok_or_else(|| {
        Fault::new(
            "neither off, normal nor strong",
            "`normal`; `off` for no padding; `strong` for more, with some delay",
        )
    })
}

/// How a level is written.
pub(super) fn shape_text(level: Level) -> &'static str {
    Level::ALL.into_iter().find(|(one, _)| *one == level).map_or("", |(_, word)| word)
}

/// One more machine, where there are so many.
pub(super) fn machine(text: &str, before: usize) -> Result<PaddingMachine, Fault> {
    if before >= MAX_MACHINES {
        return Err(Fault::new(format!("there are {before} already, the most there may be"), "remove one"));
    }
    text.parse().map_err(|problem: BadMachine| {
        let said = problem.to_string();
        let why = said.split_once('\n').map_or(said.as_str(), |(why, _)| why);
        Fault::new(why, "one line of text that begins with 02, as maybenot's tools print it")
    })
}

pub(super) fn path(text: &str) -> Result<String, Fault> {
    let fits = text.len() <= MAX_PATH
        && text.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| !part.is_empty())
                && rest.bytes().all(|b| b.is_ascii_graphic() && !br#"?#"\"#.contains(&b))
        });
    let hint = "a path like /updates.Feed/Watch, the one that the web server in front hands on";
    fits.then(|| text.to_owned()).ok_or_else(|| Fault::new("not a path", hint))
}

pub(super) fn address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| Fault::new("not an address", "an address like 192.0.2.1 or 2001:db8::1, without a port"))
}

pub(super) fn key(text: &str) -> Result<HttpsKey, Fault> {
    HttpsKey::from_base64(text)
        .ok_or_else(|| Fault::new("not a key of 44 letters", "on the client, `adit pubkey --https` prints it"))
}

pub(super) fn listen(text: &str) -> Result<Listen, Fault> {
    let of_port = text.bytes().all(|b| b.is_ascii_digit()).then(|| port(text).ok().filter(|port| *port > 0)).flatten();
    let of_address = || text.parse().ok().filter(|address: &SocketAddr| address.port() > 0).map(Listen::At);
    of_port
        .map(Listen::Port)
        .or_else(of_address)
        .ok_or_else(|| Fault::new("not a place to listen at", "443, or with an address 192.0.2.1:443 or [::1]:8443"))
}

pub(super) fn site(text: &str) -> Result<SiteSource, Fault> {
    let lower = text.to_ascii_lowercase();
    for scheme in ["http://", "https://"] {
        let Some(rest) = lower.strip_prefix(scheme) else { continue };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if !host.is_empty() && !host.contains('/') {
            return Ok(SiteSource::Proxy { url: format!("{scheme}{host}"), root: None });
        }
    }
    let file = absolute(text).map_err(|_| {
        let hint = "/var/www/html, or of another server http://127.0.0.1:8080 or https://origin.example.org";
        Fault::new("neither a directory nor a web server", hint)
    })?;
    Ok(SiteSource::Directory(file))
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, Fault> {
    let fits = text.starts_with('/') && text.len() <= MAX_PATH;
    fits.then(|| PathBuf::from(text))
        .ok_or_else(|| Fault::new("not the whole path of a file", "one that begins with /"))
}

pub(super) fn domain(text: &str) -> Result<String, Fault> {
    is_host_name(text)
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| Fault::new("not the name of a host", "a name like www.example.org"))
}

pub(super) fn directory(text: &str) -> Result<String, Fault> {
    let fits = text.starts_with("https://") && text.len() <= MAX_PATH && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Fault::new("not the address of an ACME directory", "https://acme-v02.api.letsencrypt.org/directory")
    })
}

pub(super) fn contact(text: &str) -> Result<String, Fault> {
    let mail = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = mail.len() <= MAX_PATH
        && mail.bytes().all(|b| b.is_ascii_graphic())
        && mail.split_once('@').is_some_and(|(who, host)| !who.is_empty() && is_host_name(host));
    fits.then(|| format!("mailto:{mail}")).ok_or_else(|| Fault::new("not a mail address", "admin@example.org"))
}

/// The longest path or address that is read.
const MAX_PATH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_one_or_both_in_the_order_of_preference() {
        for text in ["udp", "https", "udp, https", "https, udp"] {
            assert_eq!(order_text(transport(&text.replace(' ', "")).unwrap()), text);
        }
        for wrong in ["", "tcp", "udp,udp", "udp,https,udp", "udp,"] {
            assert!(transport(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_web_site_is_named_by_its_url() {
        for good in ["https://a.example", "https://a.example:8443", "https://192.0.2.1"] {
            assert_eq!(url(good).unwrap().to_string(), good);
        }
        assert_eq!(url("HTTPS://A.example:443/").unwrap().to_string(), "https://a.example");
        for (wrong, instead) in [
            ("a.example", "https://a.example"),
            ("http://a.example", "https://a.example"),
            (
                "https://a.example/x/y",
                "https://a.example, and `HttpsPath = /x/y` if the server is behind another web server",
            ),
        ] {
            assert_eq!(url(wrong).unwrap_err().write_instead.unwrap(), instead);
        }
        for wrong in ["https://", "https://a b", "https://a.example:0", "https://a.example:x", "https://[::1]"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_listens_on_a_port_or_at_an_address() {
        assert_eq!(listen("443").unwrap().addresses().len(), 2);
        assert_eq!(listen("[::1]:8443").unwrap().to_string(), "[::1]:8443");
        for wrong in ["", "0", "65536", "localhost:443", "1.2.3.4", "1.2.3.4:0"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_site_is_a_directory_or_another_server() {
        assert_eq!(site("/var/www").unwrap(), SiteSource::Directory("/var/www".into()));
        for (text, is) in [
            ("http://127.0.0.1:80/", "http://127.0.0.1:80"),
            ("HTTPS://Origin.example", "https://origin.example"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(site(text).unwrap(), SiteSource::Proxy { url: is.to_owned(), root: None });
        }
        for wrong in ["", "www", "ftp://a", "http://", "http://a/b", "https://", "https://a/b"] {
            assert!(site(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_and_contacts_are_checked() {
        assert!(path("/a.B/C").is_ok() && contact("a@b.example").unwrap() == "mailto:a@b.example");
        for wrong in ["", "/", "a/b", "/a//b", "/a?b", "/a b"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a", "@b.example", "a@", "a b@c.example"] {
            assert!(contact(wrong).is_err(), "{wrong}");
        }
    }
}

//! adit's own keys while a file is read: what was said so far, on which line, and what comes of it at the end.
//!
//! Not here: single values (`https`), lines (`parse`).

use std::net::IpAddr;
use std::path::PathBuf;

use adit_transport::config::{Hello, Pin, Roots};
use adit_transport::ladder::{Carrier, Order};

use super::conflicts::{doubtful, wrong};
use super::parse::Draft;
use super::{Finding, Https, Listen, Shape, SiteSource, Url, WebFront, WebSite};

/// The keys `Transport` and `Https…` of one peer.
#[derive(Debug, Default)]
pub(super) struct HttpsDraft {
    pub(super) transport: Option<(Order, usize)>,
    pub(super) url: Option<(Url, usize)>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pins: Vec<Pin>,
    pub(super) roots: Option<(Roots, usize)>,
    pub(super) hello: Option<Hello>,
    pub(super) path: Option<String>,
    pub(super) shape: Shape,
    pub(super) key: Option<(crate::https::HttpsKey, usize)>,
    /// The first line of another key than `Transport` and `HttpsKey`; `HttpsUrl` was among them, right or wrong.
    pub(super) first_line: Option<usize>,
    pub(super) has_url: bool,
}

/// The section `[Https]`.
#[derive(Debug, Default)]
pub(super) struct WebDraft {
    pub(super) line: usize,
    pub(super) listen: Vec<Listen>,
    pub(super) site: Option<SiteSource>,
    pub(super) site_root: Option<(PathBuf, usize)>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) certificate_key: Option<PathBuf>,
    pub(super) acme: Vec<String>,
    pub(super) acme_directory: Option<String>,
    pub(super) acme_contact: Option<String>,
    pub(super) acme_root: Option<PathBuf>,
    pub(super) self_signed: Vec<String>,
    pub(super) behind: bool,
    pub(super) shape: Shape,
    /// Which keys stand there, right or wrong.
    pub(super) has: Has,
}

/// Which keys of `[Https]` stand there.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Has {
    pub(super) listen: bool,
    pub(super) site: bool,
    pub(super) certificate: bool,
    pub(super) certificate_key: bool,
    pub(super) acme: bool,
    pub(super) self_signed: bool,
}

impl HttpsDraft {
    /// The carriers and the settings of HTTPS.
    pub(super) fn finish(self, has_endpoint: bool) -> (Option<Order>, Option<Https>) {
        let https = self.url.map(|(url, _)| Https {
            url,
            addresses: self.addresses,
            pins: self.pins,
            roots: self.roots.map(|(roots, _)| roots),
            hello: self.hello,
            path: self.path,
            shape: self.shape,
        });
        let implied = || match (&https, has_endpoint) {
            (None, _) => None,
            (Some(_), true) => Some(Order::UDP_FIRST),
            (Some(_), false) => Some(Order::only(Carrier::Https)),
        };
        let order = self.transport.map(|(order, _)| order).or_else(implied);
        let uses_https = order.is_some_and(|order| order.has(Carrier::Https));
        (order, https.filter(|_| uses_https))
    }

    fn uses_https(&self) -> bool {
        match &self.transport {
            Some((order, _)) => order.has(Carrier::Https),
            None => self.url.is_some(),
        }
    }
}

impl WebDraft {
    pub(super) fn finish(self) -> Option<WebSite> {
        let files = self.certificate.zip(self.certificate_key).map(|(chain, key)| WebFront::Files { chain, key });
        let (directory, contact, root) = (self.acme_directory, self.acme_contact, self.acme_root);
        let acme = (!self.acme.is_empty()).then_some(WebFront::Acme { domains: self.acme, directory, contact, root });
        let own = (!self.self_signed.is_empty()).then_some(WebFront::SelfSigned(self.self_signed));
        let front = if self.behind { Some(WebFront::Behind) } else { files.or(acme).or(own) }?;
        let listen = if self.listen.is_empty() { vec![Listen::Port(USUAL_PORT)] } else { self.listen };
        let site = match (self.site?, self.site_root) {
            (SiteSource::Proxy { url, .. }, Some((root, _))) => SiteSource::Proxy { url, root: Some(root) },
            (site, _) => site,
        };
        Some(WebSite { listen, site, front, shape: self.shape })
    }
}

/// What is wrong or doubtful between these keys.
pub(super) fn find(web: Option<&WebDraft>, peers: &[Draft], findings: &mut Vec<Finding>) {
    for peer in peers {
        client(peer, findings);
    }
    several(web, peers, findings);
    match web {
        Some(web) => server(web, peers, findings),
        None => {
            for (_, line) in peers.iter().filter_map(|peer| peer.https.key) {
                let why = "has no effect without a section [Https]".to_owned();
                findings.push(doubtful(line, "HttpsKey", why, "add the section, or remove the key"));
            }
        }
    }
}

fn client(peer: &Draft, findings: &mut Vec<Finding>) {
    let https = &peer.https;
    if let Some((order, line)) = https.transport {
        if order.has(Carrier::Https) && !https.has_url {
            let why = "https needs to know which web site: `HttpsUrl` is missing".to_owned();
            findings.push(wrong(line, "Transport", why, "HttpsUrl = https://(name of the server)"));
        }
        if order.has(Carrier::Udp) && !peer.has_endpoint {
            let why = "udp needs to know where the peer is: `Endpoint` is missing".to_owned();
            findings.push(wrong(
                line,
                "Transport",
                why,
                "Endpoint = (name of the server):51820, or `Transport = https`",
            ));
        }
    }
    let Some(first) = https.first_line else { return };
    if https.transport.is_some_and(|(order, _)| !order.has(Carrier::Https)) {
        let why = "has no effect, for `Transport` does not name https".to_owned();
        findings.push(doubtful(first, "Https…", why, "Transport = udp, https"));
    }
    if https.transport.is_none() && !https.has_url {
        let why = "has no effect without `HttpsUrl`".to_owned();
        findings.push(doubtful(first, "Https…", why, "HttpsUrl = https://(name of the server)"));
    }
    if let (Some((Roots::PinOnly, line)), true) = (https.roots, https.pins.is_empty()) {
        let why = "without a pin anybody could be the server".to_owned();
        findings.push(wrong(line, "HttpsRoots", why, "HttpsPin = sha256/… (the server's `adit status` shows it)"));
    }
}

/// A tunnel has one web site, its own or that of one server.
fn several(web: Option<&WebDraft>, peers: &[Draft], findings: &mut Vec<Finding>) {
    let line = |peer: &Draft| peer.https.url.as_ref().map_or(peer.line, |(_, line)| *line);
    let mut visited = peers.iter().enumerate().filter(|(_, peer)| peer.https.uses_https());
    let Some((place, first)) = visited.next().map(|(place, peer)| (place, line(peer))) else { return };
    if let Some((_, second)) = visited.next() {
        let why = format!("a tunnel that uses https has one [Peer], and line {first} names a web site already");
        let hint = "move this [Peer] into a file of its own, with its own [Interface], and `adit up` both";
        findings.push(wrong(line(second), "HttpsUrl", why, hint));
    } else if let Some(other) = peers.iter().enumerate().find(|(other, _)| *other != place).map(|(_, peer)| peer) {
        let why = format!("a tunnel that uses https has one [Peer], and there is another in line {}", other.line);
        let hint = "move one of them into a file of its own, with its own [Interface], and `adit up` both";
        findings.push(wrong(first, "HttpsUrl", why, hint));
    }
    if web.is_some() {
        let why = "this end is a web site itself ([Https]); it cannot be the visitor of another".to_owned();
        findings.push(wrong(first, "HttpsUrl", why, "a file of its own for the other server"));
    }
}

fn server(web: &WebDraft, peers: &[Draft], findings: &mut Vec<Finding>) {
    let (line, has) = (web.line, web.has);
    if !has.site {
        let why = "`Site` is missing: strangers must see a web site".to_owned();
        findings.push(wrong(line, "[Https]", why, "Site = /var/www/html, or http://127.0.0.1:8080 of another server"));
    }
    let is_tls = |site: &SiteSource| matches!(site, SiteSource::Proxy { url, .. } if url.starts_with("https:"));
    if let (Some((_, line)), Some(site)) = (&web.site_root, &web.site)
        && !is_tls(site)
    {
        let why = "has no effect, for `Site` is no web server with TLS".to_owned();
        findings.push(doubtful(*line, "SiteRoot", why, "Site = https://(name of the other server)"));
    }
    let fronts = [has.certificate || has.certificate_key, has.acme, has.self_signed, web.behind];
    match fronts.into_iter().filter(|there| *there).count() {
        0 => {
            let why = "it is not said where the certificate comes from".to_owned();
            let hint =
                "`Acme = (name)`, `Certificate` and `CertificateKey`, or `Behind = true` behind another web server";
            findings.push(wrong(line, "[Https]", why, hint));
        }
        1 => {}
        _ => {
            let why = "there are several ways to a certificate".to_owned();
            let hint = "keep one of Certificate with CertificateKey, Acme, SelfSigned, Behind";
            findings.push(wrong(line, "[Https]", why, hint));
        }
    }
    if has.certificate != has.certificate_key {
        let why = "`Certificate` and `CertificateKey` belong together".to_owned();
        findings.push(wrong(line, "[Https]", why, "give both files"));
    }
    if web.behind && !has.listen {
        let why = "`Listen` is missing: where does the web server in front find us?".to_owned();
        findings.push(wrong(line, "[Https]", why, "Listen = 127.0.0.1:8443"));
    }
    if peers.iter().all(|peer| peer.https.key.is_none()) {
        let why = "no [Peer] has an `HttpsKey`: nobody can use the tunnel over HTTPS".to_owned();
        findings.push(doubtful(line, "[Https]", why, "HttpsKey = (output of `adit pubkey --https` on the peer)"));
    }
    let mut seen = std::collections::HashMap::new();
    for (key, line) in peers.iter().filter_map(|peer| peer.https.key) {
        if let Some(first) = seen.insert(key, line) {
            let why = format!("this key is in line {first} already");
            findings.push(wrong(line, "HttpsKey", why, "each peer has its own"));
        }
    }
}

/// Where browsers look.
const USUAL_PORT: u16 = 443;

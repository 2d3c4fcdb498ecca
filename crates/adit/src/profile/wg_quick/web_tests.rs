//! Tests of adit's own keys: what they come to, what is said of wrong ones, and that text and profile are the same thing.

use std::path::Path;

use adit_transport::config::{Hello, Roots};
use adit_transport::ladder::{Carrier, Order};

use super::*;

const A: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";
const B: &str = "vpXqGaZP9hHIhaseOUhKlIHZEBkVSPfX3W2cEUvtKE4=";
const C: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn a_client_names_its_transports_and_the_web_site() {
    let text = client(&format!(
        "Endpoint = 192.0.2.1:51820\nTransport = https, udp\nHttpsUrl = https://www.example.org:8443\n\
         HttpsAddress = 192.0.2.1, 2001:db8::1\nHttpsPin = {PIN}\nHttpsRoots = pin\nHttpsHello = plain\n\
         HttpsPath = /updates.Feed/Watch"
    ));
    let profile = ok(&text);
    let peer = &profile.peers[0];
    assert_eq!(peer.transport, Some(Order::HTTPS_FIRST));
    let https = peer.https.as_ref().unwrap();
    assert_eq!(https.url.to_string(), "https://www.example.org:8443");
    assert_eq!(https.addresses.len(), 2);
    assert_eq!((https.pins.len(), https.roots, https.hello), (1, Some(Roots::PinOnly), Some(Hello::Plain)));
    assert_eq!(https.path.as_deref(), Some("/updates.Feed/Watch"));
    assert_eq!(parse(&profile.emit()).profile, profile);
}

#[test]
fn a_web_site_alone_means_udp_where_it_can_be_had() {
    let both = ok(&client("Endpoint = 192.0.2.1:1\nHttpsUrl = https://a.example"));
    assert_eq!(both.peers[0].transport, Some(Order::UDP_FIRST));
    let one = ok(&client("HttpsUrl = https://a.example"));
    assert_eq!(one.peers[0].transport, Some(Order::only(Carrier::Https)));
    assert_eq!(one.peers[0].way().unwrap().to_string(), "a.example:443");
    let at = ok(&client("HttpsUrl = https://a.example\nHttpsAddress = 192.0.2.7"));
    assert_eq!(at.peers[0].way().unwrap().to_string(), "192.0.2.7:443");
    for profile in [both, one, at] {
        assert_eq!(parse(&profile.emit()).profile, profile);
    }
}

#[test]
fn a_server_has_a_site_and_a_certificate() {
    for (front, is) in [
        ("Acme = www.example.org, example.org\nAcmeContact = me@example.org", "acme"),
        ("Certificate = /etc/c.pem\nCertificateKey = /etc/k.pem", "files"),
        ("SelfSigned = lab.example", "own"),
        ("Behind = true\nListen = 127.0.0.1:8443", "behind"),
    ] {
        let profile = ok(&server(&format!("Site = /var/www/html\n{front}")));
        let site = profile.web_site.as_ref().unwrap();
        assert_eq!(site.site, SiteSource::Directory("/var/www/html".into()));
        let found = match &site.front {
            WebFront::Acme { domains, contact, .. } => {
                assert_eq!((domains.len(), contact.as_deref()), (2, Some("mailto:me@example.org")));
                "acme"
            }
            WebFront::Files { .. } => "files",
            WebFront::SelfSigned(_) => "own",
            WebFront::Behind => "behind",
        };
        assert_eq!(found, is);
        assert!(profile.peers[0].https_key.is_some());
        assert_eq!(parse(&profile.emit()).profile, profile);
    }
    let behind = ok(&server("Site = https://origin.example:8443\nSiteRoot = /etc/ca.pem\nSelfSigned = a.example"));
    let site = SiteSource::Proxy { url: "https://origin.example:8443".into(), root: Some("/etc/ca.pem".into()) };
    assert_eq!(behind.web_site.as_ref().unwrap().site, site);
    assert_eq!(parse(&behind.emit()).profile, behind);
    let usual = ok(&server("Site = http://127.0.0.1:8080\nSelfSigned = a.example"));
    assert_eq!(usual.web_site.unwrap().listen, [Listen::Port(443)]);
}

#[test]
fn both_ends_say_what_is_done_about_shape() {
    use adit_transport::shape::{Level, MAX_MACHINES, Settings};

    let machine = machine();
    for (level, word) in Level::ALL {
        let own = ok(&client(&format!("HttpsUrl = https://a.example\nHttpsShape = {word}\nHttpsMachine = {machine}")));
        let shape = &own.peers[0].https.as_ref().unwrap().shape;
        assert_eq!((shape.level, shape.machines.len()), (Some(level), 1));
        assert!(shape.settings().machines.is_some());
        assert_eq!(parse(&own.emit()).profile, own);

        let lines = format!("Machine = {machine}\n").repeat(MAX_MACHINES);
        let other = ok(&server(&format!("Site = /w\nSelfSigned = a.example\nShape = {word}\n{lines}")));
        let shape = &other.web_site.as_ref().unwrap().shape;
        assert_eq!((shape.level, shape.machines.len()), (Some(level), MAX_MACHINES));
        assert_eq!(shape.settings().coalesce, level.settings().coalesce);
        assert_eq!(parse(&other.emit()).profile, other);
    }
    let usual = ok(&client("HttpsUrl = https://a.example"));
    let settings = usual.peers[0].https.as_ref().unwrap().shape.settings();
    assert!(settings.machines.is_none() && settings.padding_per_mille == Settings::default().padding_per_mille);
}

#[test]
fn a_shape_that_is_none_is_said_with_its_line_and_what_to_write() {
    let url = "HttpsUrl = https://a.example";
    let machines = format!("Machine = {}\n", machine()).repeat(9);
    for (text, line, said, hint) in [
        (client(&format!("{url}\nHttpsShape = loud")), 6, "`HttpsShape = loud`: neither off", "`normal`"),
        (client(&format!("{url}\nHttpsMachine = 02AAAA")), 6, "not a padding machine", "begins with 02"),
        (client(&format!("{url}\nHttpsMachine = 01AAAA")), 6, "version", "begins with 02"),
        (client(&format!("{url}\nHttpsShape = off\nHttpsShape = off")), 7, "in line 6", ""),
        (client(&format!("{url}\nShape = off")), 6, "does not belong under [Peer]", "HttpsShape = off"),
        (server(&format!("Site = /w\nSelfSigned = a.example\n{machines}")), 14, "the most there may be", "remove one"),
        (server("Site = /w\nSelfSigned = a.example\nHttpsShape = off"), 6, "does not belong", "Shape = off"),
    ] {
        let findings = parse(&text).findings;
        let found = findings.iter().find(|finding| finding.is_trouble()).unwrap();
        let said_of_it = found.in_file(Path::new("f")).to_string();
        assert!(found.line == line && said_of_it.contains(said) && said_of_it.contains(hint), "{said}\n{said_of_it}");
    }
}

#[test]
fn what_does_not_fit_together_is_said_with_its_line_and_what_to_write() {
    let url = "HttpsUrl = https://a.example";
    for (text, line, said) in [
        (client("Transport = udp, https\nEndpoint = a:1"), 5, "`HttpsUrl` is missing"),
        (client(&format!("{url}\nTransport = https, udp")), 6, "`Endpoint` is missing"),
        (client(&format!("{url}\nTransport = tcp")), 6, "not a list of transports"),
        (client(&format!("{url}\nHttpsRoots = pin")), 6, "without a pin anybody could be the server"),
        (client("HttpsUrl = http://a.example"), 5, "not the address of a web site with HTTPS"),
        (client("HttpsUrl = https://a.example\nHttpsPin = sha256/AAAA"), 6, "not the hash of a key"),
        (format!("{}\n[Peer]\nPublicKey = {C}\n", client(url)), 5, "one [Peer], and there is another in line 7"),
        (
            format!("{}\n[Peer]\nPublicKey = {C}\nHttpsUrl = https://b.example\n", client(url)),
            9,
            "one [Peer], and line 5 names a web site already\n  hint: move this [Peer] into a file of its own",
        ),
        (
            format!("[Interface]\nPrivateKey = {A}\n[Peer]\nPublicKey = {C}\n[Peer]\nPublicKey = {B}\n{url}\n"),
            7,
            "one [Peer], and there is another in line 3",
        ),
        (server("SelfSigned = a.example"), 3, "`Site` is missing"),
        (server("Site = /var/www"), 3, "where the certificate comes from"),
        (server("Site = /var/www\nCertificate = /c"), 3, "belong together"),
        (server("Site = /var/www\nSelfSigned = a.example\nAcme = a.example"), 3, "several ways to a certificate"),
        (server("Site = /var/www\nBehind = true"), 3, "`Listen` is missing"),
        (server("Site = www\nSelfSigned = a.example"), 4, "neither a directory nor a web server"),
        (server("Site = /var/www\nSelfSigned = a.example\n[Https]\n"), 6, "there is one already, in line 3"),
        (format!("{}\n{url}\n", server("Site = /var/www\nSelfSigned = a.example")), 10, "a web site itself"),
    ] {
        let wrong: Vec<_> = parse(&text).findings.into_iter().filter(Finding::is_wrong).collect();
        let [finding] = &wrong[..] else { panic!("one wrong line in\n{text}\nnot {wrong:?}") };
        let said_of_it = finding.in_file(Path::new("f")).to_string();
        assert!(finding.line == line && said_of_it.contains(said), "line {line}: {said}\n{said_of_it}");
        assert!(said_of_it.contains("\n  hint: "), "{said_of_it}");
    }
}

#[test]
fn what_has_no_effect_is_said() {
    for (text, said) in [
        (client("Endpoint = a:1\nTransport = udp\nHttpsUrl = https://a.example"), "does not name https"),
        (client(&format!("Endpoint = a:1\nHttpsPin = {PIN}")), "without `HttpsUrl`"),
        (client(&format!("Endpoint = a:1\nHttpsKey = {C}")), "without a section [Https]"),
        (server("Site = http://127.0.0.1:8080\nSiteRoot = /ca.pem\nSelfSigned = a.example"), "no web server with TLS"),
        (
            format!(
                "[Interface]\nPrivateKey = {A}\n[Https]\nSite = /w\nSelfSigned = a.example\n[Peer]\nPublicKey = {B}\n"
            ),
            "nobody can use the tunnel over HTTPS",
        ),
    ] {
        let parsed = parse(&text);
        assert!(!parsed.findings.iter().any(Finding::is_wrong), "{text}");
        let doubts: Vec<_> = parsed.findings.iter().filter(|f| f.is_trouble()).map(ToString::to_string).collect();
        assert!(doubts.len() == 1 && doubts[0].contains(said), "{said}: {doubts:?}");
    }
}

/// The machine that the documentation shows.
fn machine() -> String {
    let page = include_str!("../../../../../docs/shape.md");
    page.lines().find_map(|line| line.strip_prefix("HttpsMachine = ")).unwrap().to_owned()
}

fn ok(text: &str) -> Profile {
    parse(text).strict(Path::new("f")).unwrap().0
}

fn client(lines: &str) -> String {
    format!("[Interface]\nPrivateKey = {A}\n[Peer]\nPublicKey = {B}\n{lines}\n")
}

fn server(lines: &str) -> String {
    format!("[Interface]\nPrivateKey = {A}\n[Https]\n{lines}\n[Peer]\nPublicKey = {B}\nHttpsKey = {C}\n")
}

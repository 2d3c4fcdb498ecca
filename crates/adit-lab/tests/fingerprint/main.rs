//! The living fingerprint: Debian's Chromium and our client visit the same site on loopback, and must look the same.
//!
//! `cargo xtask fingerprint` runs this and shows what differs; with `--update` it writes the profile anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod browser;
mod frames;
mod site;
mod text;

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use adit_lab::{ns::Namespace, poll::PATIENCE, shell::Run};
use adit_protocol::Secret;
use adit_transport::shape::Settings;
use adit_transport::{
    client::HttpsLink,
    config::{Hello, HttpsClient, Identity, Roots, Route},
    tls::{
        self, ClientHello,
        observed::Observed,
        profile::{Http2Profile, Profile},
    },
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use self::site::{HANGS_UP, HOST, Site, Visit};

/// Set by `cargo xtask fingerprint --update`: the profile is written, not compared.
const UPDATE: &str = "ADIT_FINGERPRINT_UPDATE";

/// Hellos of ours that are compared: they are drawn anew each time.
const HELLOS: usize = 8;

/// Where our hellos go, so that they are told from the browser's: that opens connections as it likes.
const HELLOS_TO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Where our whole client goes.
const CLIENT_TO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Where our client goes that comes again.
const AGAIN_TO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// Tickets follow the handshake within this.
const TICKETS: Duration = Duration::from_secs(1);

/// Visits by the browser until one was whole.
const VISITS: usize = 6;

#[test]
fn our_client_looks_like_the_browser_of_this_machine() {
    let namespace = Namespace::new();
    let site = Site::open(&namespace);
    let version = browser::version();
    let visits = visits(&namespace, &site, &version);
    let theirs = visits.iter().find(|visit| is_whole(visit)).or(visits.first()).expect("the browser came");
    let seen = Observed::parse(&theirs.hello).expect("a browser's hello can be read");
    let http2 = theirs.http2.profile(&theirs.records);
    if std::env::var_os(UPDATE).is_some() {
        return update(&version, theirs, &seen, &http2);
    }

    let mut differences = Vec::new();
    let profile = Profile::chromium();
    differences.extend(profile.tls.differences(&seen.profile).into_iter().map(|words| format!("profile: {words}")));
    differences.extend(http2_differences(&profile.http2, &http2).into_iter().map(|words| format!("profile: {words}")));
    let visit = our_visit(&namespace, &site);
    let ours = visit.http2.profile(&visit.records);
    differences.extend(http2_differences(&ours, &http2).into_iter().map(|words| format!("our client: {words}")));
    if visit.http2.order() != theirs.http2.order() {
        differences.push(format!(
            "our client: requests in order: {:?}, not {:?}",
            visit.http2.order(),
            theirs.http2.order()
        ));
    }
    for hello in our_hellos(&namespace, &site) {
        let ours = Observed::parse(&hello).expect("our hello can be read");
        differences.extend(ours.differences(&seen).into_iter().map(|words| format!("our hello: {words}")));
    }
    let theirs = Observed::parse(&their_hello_again(&namespace, &site, &version)).expect("a hello can be read");
    let ours = Observed::parse(&our_hello_again(&namespace, &site)).expect("our hello can be read");
    differences.extend(ours.differences(&theirs).into_iter().map(|words| format!("our hello when we resume: {words}")));
    differences.sort();
    differences.dedup();
    assert!(
        differences.is_empty(),
        "adit does not look like Chromium {version} (ours first, then the browser's):\n{}\n  \
         hint: `cargo xtask fingerprint --update` writes the profile anew; what the profile cannot say needs code",
        differences.join("\n"),
    );
}

/// The browser sometimes ends before it asks for the icon, which it does when everything else is there.
fn visits(namespace: &Namespace, site: &Site, version: &str) -> Vec<Visit> {
    let mut seen = Vec::new();
    let mut said = Vec::new();
    for _ in 0..VISITS {
        said.extend(browser::visit(namespace, site, &browser::user_agent(version), "/").err());
        seen = site.visits(Ipv4Addr::LOCALHOST);
        if seen.iter().any(is_whole) {
            break;
        }
    }
    assert!(said.len() < VISITS, "no visit showed the page: {said:#?}");
    seen
}

fn is_whole(visit: &Visit) -> bool {
    visit.http2.order().contains(&"/favicon.ico")
}

/// What a watcher could tell from our profile's HTTP/2 against the browser's, in words.
fn http2_differences(ours: &Http2Profile, theirs: &Http2Profile) -> Vec<String> {
    let rows = |profile: &Http2Profile| {
        let mut rows = vec![
            ("SETTINGS".to_owned(), format!("{:?}", profile.settings)),
            ("window update".to_owned(), profile.window_update.to_string()),
            ("pseudo headers".to_owned(), profile.pseudo_headers.join(" ")),
            ("first records".to_owned(), format!("{:?}", profile.first_records)),
        ];
        for request in &profile.requests {
            rows.push((format!("weight of a {:?}", request.kind), request.weight.to_string()));
            let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            rows.push((format!("headers of a {:?}", request.kind), headers.join(" | ")));
        }
        rows
    };
    let (ours, theirs) = (rows(ours), rows(theirs));
    let mut found = Vec::new();
    if ours.len() != theirs.len() {
        found.push(format!("kinds of requests: {}, not {}", ours.len(), theirs.len()));
    }
    let pairs = ours.into_iter().zip(theirs).filter(|(a, b)| a != b);
    found.extend(pairs.map(|(a, b)| format!("{}: {}, not {}", a.0, a.1, b.1)));
    found
}

/// Greets the site as our client does, and gives what it said.
fn our_hellos(namespace: &Namespace, site: &Site) -> Vec<Vec<u8>> {
    let greeting = greeting(site);
    namespace.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..HELLOS {
                let tcp = TcpStream::connect((HELLOS_TO, 443)).await.unwrap();
                let stream = tls::connect(tcp, &greeting).await.unwrap();
                assert_eq!(stream.alpn(), Some(&b"h2"[..]));
            }
        });
    });
    let came = || Some(site.visits(HELLOS_TO)).filter(|visits| visits.len() >= HELLOS);
    let ours = adit_lab::poll::until("our visits", PATIENCE, came);
    ours.into_iter().map(|visit| visit.hello).collect()
}

/// The hello with which the browser comes again, after a connection that the site has closed.
fn their_hello_again(namespace: &Namespace, site: &Site, version: &str) -> Vec<u8> {
    let mut said = Vec::new();
    for _ in 0..VISITS {
        said.extend(browser::visit(namespace, site, &browser::user_agent(version), HANGS_UP).err());
        if let Some(hello) = resuming(site.visits(Ipv4Addr::LOCALHOST)) {
            return hello;
        }
    }
    panic!("the browser resumed no session: {said:#?}");
}

/// The hello with which our client does.
fn our_hello_again(namespace: &Namespace, site: &Site) -> Vec<u8> {
    let greeting = greeting(site);
    namespace.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut first = tls::connect(TcpStream::connect((AGAIN_TO, 443)).await.unwrap(), &greeting).await.unwrap();
            // Nobody says anything but TLS itself, which brings its tickets.
            assert!(tokio::time::timeout(TICKETS, first.read_u8()).await.is_err());
            let again = tls::connect(TcpStream::connect((AGAIN_TO, 443)).await.unwrap(), &greeting).await.unwrap();
            assert!(again.is_resumed());
        });
    });
    adit_lab::poll::until("our second visit", PATIENCE, || resuming(site.visits(AGAIN_TO)))
}

/// The hello of a visit that offers to resume a session.
fn resuming(visits: Vec<Visit>) -> Option<Vec<u8>> {
    const PRE_SHARED_KEY: u16 = 41;
    let offers = |visit: &Visit| {
        Observed::parse(&visit.hello).is_some_and(|seen| seen.profile.extensions.contains(&PRE_SHARED_KEY))
    };
    visits.into_iter().find(offers).map(|visit| visit.hello)
}

fn greeting(site: &Site) -> ClientHello {
    ClientHello {
        host: HOST.to_owned(),
        pins: vec![site.pin],
        roots: Roots::PinOnly,
        hello: Hello::Browser,
        profile: Profile::chromium(),
        tickets: Arc::default(),
    }
}

/// Lets our client visit the site as it does before it asks for a tunnel, which this site does not have.
fn our_visit(namespace: &Namespace, site: &Site) -> Visit {
    let config = HttpsClient {
        host: HOST.to_owned(),
        port: 443,
        addresses: vec![(CLIENT_TO, 443).into()],
        pins: vec![site.pin],
        roots: Roots::PinOnly,
        hello: Hello::Browser,
        identity: Identity { seed: Secret::new([7; 32]), token_secret: None },
        route: Route::ConnectUdp { target: "localhost".to_owned(), port: 51820 },
        fwmark: 0,
        shape: Settings::default(),
        visit: true,
        cache: None,
    };
    namespace.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_link, _control) = HttpsLink::new(config);
            let came = async {
                loop {
                    if let Some(visit) = site.visits(CLIENT_TO).into_iter().next() {
                        return visit;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(PATIENCE, came).await.expect("our client visits the site")
        })
    })
}

fn update(version: &str, visit: &Visit, seen: &Observed, http2: &Http2Profile) {
    let date = Run::line("date -u +%F").ok();
    let text = text::profile(version, date.trim(), &seen.profile, http2);
    Profile::parse(&text).expect("what we write can be read");
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adit-transport/profiles");
    std::fs::write(profiles.join("chromium.toml"), text).unwrap();
    std::fs::write(profiles.join("chromium.hex"), text::hex(&visit.hello)).unwrap();
}

//! Certificates from pebble, the test authority of Let's Encrypt's makers, which proves names over TLS as the real one.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use adit_transport::config::{Certificates, Front, HttpsServer, Site};
use adit_transport::server::{HttpsListener, ServerControl};
use adit_transport::shape::Settings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::world::{Dir, HOST, PAGE, Running, free, said};

/// The server gets a certificate for its name, curl trusts it by the authority's root, and a restart needs no authority.
#[tokio::test]
async fn a_certificate_from_an_authority() {
    let dir = Dir::new();
    let site = free();
    let (pebble, root) = Pebble::start(&dir, site).await;
    let (listener, control) = serve(&dir, site, &pebble.directory).await;
    let pin = certified(&control, &dir).await;

    let mut curl = Command::new("curl");
    curl.arg("-sS").arg("--cacert").arg(dir.path("ca.pem")).arg(root);
    dir.write("root.pem", said(curl).await);
    assert!(visit(&dir, site).await.contains(PAGE.trim()));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path("cache")), 0o700);
    for file in ["cache/account.json", "cache/key.pem", "cache/chain.pem"] {
        assert_eq!(mode(&dir.path(file)), 0o600, "{file}");
    }

    drop(listener);
    drop(pebble);
    let (_listener, control) = serve(&dir, site, "https://localhost:1/dir").await;
    assert_eq!(control.pin(), Some(pin));
    assert!(visit(&dir, site).await.contains(PAGE.trim()));
}

async fn serve(dir: &Dir, at: SocketAddr, directory: &str) -> (HttpsListener, ServerControl) {
    let certificates = Certificates::Acme {
        domains: vec![HOST.into()],
        directory_url: directory.into(),
        contact: Some(format!("mailto:owner@{HOST}")),
        cache: dir.path("cache"),
        root: Some(dir.path("ca.pem")),
    };
    for _ in 0..100 {
        let server = HttpsServer {
            listen: vec![at],
            front: Front::Direct(certificates.clone()),
            site: Site::Directory(dir.path("site")),
            users: vec![],
            shape: Settings::default(),
        };
        match HttpsListener::bind(server).await {
            // The tasks of the one before end a moment after it, and a program that another test is starting may have its socket
            // for as long.
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(Duration::from_millis(50)).await,
            bound => return bound.unwrap(),
        }
    }
    panic!("{at} is never free again");
}

/// Waits until there is a certificate.
async fn certified(control: &ServerControl, dir: &Dir) -> adit_transport::config::Pin {
    for _ in 0..600 {
        if let Some(pin) = control.pin().filter(|_| dir.path("cache/chain.pem").is_file()) {
            return pin;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no certificate: {}", std::fs::read_to_string(dir.path("pebble.log")).unwrap_or_default());
}

/// What curl gets, who trusts only the authority's root.
async fn visit(dir: &Dir, site: SocketAddr) -> String {
    let port = site.port();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--resolve", &format!("{HOST}:{port}:{}", site.ip())]);
    curl.arg("--cacert").arg(dir.path("root.pem")).arg(format!("https://{HOST}:{port}/"));
    said(curl).await
}

struct Pebble {
    directory: String,
    _authority: Running,
    _names: Running,
}

impl Pebble {
    /// An authority that finds every name on loopback, and asks there at this port; and where its root is to be had.
    async fn start(dir: &Dir, site: SocketAddr) -> (Self, String) {
        own_certificate(dir);
        let (names, management) = (free(), free());
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        command.args(["-dns01", &names.to_string(), "-management", &management.to_string()]);
        let names_running = Running::start(&mut command, &dir.path("names.log"), management).await;

        let (api, api_management) = (free(), free());
        let configuration = serde_json::json!({ "pebble": {
            "listenAddress": api.to_string(),
            "managementListenAddress": api_management.to_string(),
            "certificate": dir.path("api.pem"),
            "privateKey": dir.path("api.key"),
            "httpPort": 1,
            "tlsPort": site.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let configuration = dir.write("pebble.json", configuration.to_string());
        let mut command = Command::new("pebble");
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .arg("-config")
            .arg(configuration)
            .args(["-dnsserver", &names.to_string()]);
        let authority = Running::start(&mut command, &dir.path("pebble.log"), api).await;
        let directory = format!("https://localhost:{}/dir", api.port());
        let root = format!("https://localhost:{}/roots/0", api_management.port());
        (Self { directory, _authority: authority, _names: names_running }, root)
    }
}

/// What the authority's own server shows, and who vouches for it.
fn own_certificate(dir: &Dir) {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "who vouches for the authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    dir.write("ca.pem", issuer.pem());
    dir.write("api.pem", leaf.pem());
    dir.write("api.key", key.serialize_pem());
}

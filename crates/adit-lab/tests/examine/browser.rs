//! Debian's Chromium visiting a site that Debian's nginx serves over TLS and HTTP/2: what ordinary traffic looks like.

use adit_examine::Verdict;
use adit_lab::chromium::Chromium;
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;

use crate::scene::{BOB, Captured, Running, Scene, detections, verdict};

/// No rule finds anything, the engines say TLS, and the rules that can be decided are decided.
#[test]
fn a_browser_on_a_web_site_passes_every_rule() {
    let captured = visit();
    let examination = captured.examined();
    assert_eq!(detections(&examination), [""; 0], "{examination:#?}");
    for rule in ["R1", "R7", "R8", "R9", "R10", "R14", "R16", "R18", "R22"] {
        assert_eq!(verdict(&examination, rule), Verdict::Pass, "{:#?}", examination.rule(rule));
    }
    assert_eq!(captured.ndpi(), ["TLS"]);
    assert!(captured.tshark("tls") > 10);
}

const NAME: &str = "site.test";

fn visit() -> Captured {
    let scene = Scene::new();
    let (key, certificate) = scene.certificate(NAME);
    std::fs::create_dir(scene.files.join("site")).unwrap();
    scene.write("site/index.html", INDEX);
    scene.write("site/style.css", "p { color: teal }\n".repeat(300));
    scene.write("site/script.js", "// nothing to do here, slowly\n".repeat(1200));
    scene.write("site/picture.svg", PICTURE);
    let configuration = scene.write("nginx.conf", nginx(&scene, &key, &certificate));
    let _nginx = Running::start(&scene.world.bob, &format!("nginx -c {configuration}"), &[], None);
    poll::until("nginx listens", PATIENCE, || {
        scene.world.alice.attempt(&format!("curl -sk -m 5 -o /dev/null https://{BOB}/")).ok()
    });
    scene.captured_visit(&Chromium::new(NAME, BOB, &pin(&certificate)))
}

/// The hash of a certificate's key, as Chromium wants it.
fn pin(certificate: &str) -> String {
    let line = format!(
        "openssl x509 -in {certificate} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
    );
    Run::line("sh -c").arg(line).ok().trim().to_owned()
}

fn nginx(scene: &Scene, key: &str, certificate: &str) -> String {
    let at = scene.files.display();
    format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/nginx.err; user root; events {{}}\n\
         http {{ access_log off; types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}\n\
         server {{ listen 443 ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key}; root {at}/site; }} }}\n"
    )
}

const INDEX: &str = "<!doctype html><title>site</title><link rel=stylesheet href=style.css><script src=script.js></script>\
    <img src=picture.svg><p>a page\n";

const PICTURE: &str =
    "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle cx='4' cy='4' r='4' fill='teal'/></svg>";

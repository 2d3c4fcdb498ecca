//! Debian's Chromium, headless, on a visit to the site. Not here: what is seen of it (`site`).

use adit_lab::{ns::Namespace, shell::Run};

use crate::site::{HOST, Site};

/// Switches that keep it from talking to anybody but the site, and from asking for anything this machine lacks.
const SWITCHES: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --no-proxy-server --virtual-time-budget=5000 --dump-dom";

/// The version of the browser, as `156.0.8078.79`.
pub(crate) fn version() -> String {
    let said = Run::line("chromium --version").ok();
    let version = said.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    version.unwrap_or_else(|| panic!("`chromium --version` says {said:?}")).to_owned()
}

/// What it calls itself when it has a window: headless, it says so in this one place.
pub(crate) fn user_agent(version: &str) -> String {
    let major = version.split('.').next().unwrap_or_default();
    format!("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36")
}

/// Visits a page of the site once, with an empty profile.
pub(crate) fn visit(namespace: &Namespace, site: &Site, user_agent: &str, path: &str) {
    let home = std::env::temp_dir().join(format!("{}-chromium", namespace.name()));
    let pin = site.pin.to_string();
    let page = namespace
        .command(&format!("timeout 120 chromium {SWITCHES}"))
        .arg(format!("--user-agent={user_agent}"))
        .arg(format!("--user-data-dir={}", home.display()))
        .arg(format!("--host-resolver-rules=MAP {HOST} 127.0.0.1"))
        .arg(format!("--ignore-certificate-errors-spki-list={}", pin.trim_start_matches("sha256/")))
        .arg(format!("https://{HOST}{path}"))
        .ok();
    std::fs::remove_dir_all(&home).unwrap();
    assert!(page.contains("hello"), "the browser did not get the page: {page}");
}

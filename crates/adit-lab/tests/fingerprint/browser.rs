//! Debian's Chromium, headless, on a visit to the site. Not here: what is seen of it (`site`).

use adit_lab::{chromium::Chromium, ns::Namespace, shell::Run};

use crate::site::{HOST, Site};

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

/// Visits a page of the site once, with an empty profile; where it shows nothing, the caller sees no visit, and asks again.
pub(crate) fn visit(namespace: &Namespace, site: &Site, user_agent: &str, path: &str) -> Result<(), String> {
    let pin = site.pin.to_string();
    Chromium::new(HOST, "127.0.0.1", pin.trim_start_matches("sha256/"))
        .switch("--virtual-time-budget=5000")
        .switch(format!("--user-agent={user_agent}"))
        .visit(namespace, path, "hello")
}

//! Debian's Chromium, headless, on visits to a web site of the lab. Not here: what is seen of it on the wire (the stories).

use std::fs;
use std::path::{Path, PathBuf};

use crate::ns::Namespace;
use crate::shell::Run;

/// Switches that keep it from talking to anybody but the site, and from asking for anything this machine lacks.
const SWITCHES: &str = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run \
    --no-proxy-server --disable-background-networking --disable-component-update --disable-sync --dump-dom";

/// How often a browser is asked, at most: now and then, on a busy machine, it ends well and has shown nothing.
const ATTEMPTS: usize = 4;

/// A browser that knows one site.
#[derive(Clone, Debug)]
pub struct Chromium {
    host: String,
    address: String,
    pin: String,
    switches: Vec<String>,
}

impl Chromium {
    /// A browser that finds `host` at `address` and takes a certificate whose key has this SHA-256 in Base64, whoever signed it.
    pub fn new(host: &str, address: &str, pin: &str) -> Self {
        Self { host: host.to_owned(), address: address.to_owned(), pin: pin.to_owned(), switches: Vec::new() }
    }

    /// One switch more.
    #[must_use]
    pub fn switch(mut self, switch: impl Into<String>) -> Self {
        self.switches.push(switch.into());
        self
    }

    /// Visits a page of the site once, with an empty profile, which is gone afterwards: did it show `expected`?
    ///
    /// # Errors
    ///
    /// What it showed instead, or said.
    pub fn visit(&self, from: &Namespace, path: &str, expected: &str) -> Result<(), String> {
        let profile = Profile(std::env::temp_dir().join(format!("{}-chromium", from.name())));
        let page = from
            .command(&format!("timeout 120 chromium {SWITCHES}"))
            .arg(format!("--host-resolver-rules=MAP {} {}, MAP * ~NOTFOUND", self.host, self.address))
            .arg(format!("--ignore-certificate-errors-spki-list={}", self.pin))
            .arg(format!("--user-data-dir={}", profile.0.display()));
        let page = self.switches.iter().fold(page, Run::arg).arg(format!("https://{}{path}", self.host)).attempt();
        match page {
            Ok(page) if page.contains(expected) => Ok(()),
            Ok(page) => Err(format!("it showed {page:?}")),
            Err(failed) => Err(failed.to_string()),
        }
    }
}

/// Asks again until a visit was whole, at most a few times; what the last one came to is the failure of the test.
///
/// The visits are the caller's, so that each can have a capture of its own.
#[track_caller]
pub fn until_shown<T>(mut visit: impl FnMut() -> Result<T, String>) -> T {
    let mut said = Vec::new();
    for _ in 0..ATTEMPTS {
        match visit() {
            Ok(seen) => return seen,
            Err(why) => said.push(why),
        }
    }
    panic!("the browser did not get the page in {ATTEMPTS} visits: {said:#?}");
}

/// The directory of a profile, removed when it is dropped.
struct Profile(PathBuf);

impl Drop for Profile {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        let _gone = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_shows_nothing_is_asked_again() {
        let mut asked = 0;
        let shown = until_shown(|| {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("nothing".to_owned()) }
        });
        assert_eq!(shown, 3);
    }

    #[test]
    #[should_panic(expected = "did not get the page in 4 visits")]
    fn a_browser_that_never_shows_it_is_a_failure() {
        until_shown(|| Err::<(), _>("nothing".to_owned()));
    }
}

//! The reference set: which fingerprints belong to browsers, which to programs, and which are known to be blocked.
//!
//! The set itself is data, `data/ja4.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

/// The set.
#[derive(Debug, Deserialize)]
pub struct Reference {
    /// Every known fingerprint.
    pub entry: Vec<Entry>,
}

/// One fingerprint.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// The JA4.
    pub ja4: String,
    /// Whose it is.
    pub name: String,
    /// What that means.
    pub kind: Kind,
}

/// What a fingerprint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A current browser, measured.
    Browser,
    /// A program that is no browser.
    Program,
    /// On a block list, whoever else may send it.
    Blocked,
}

impl Reference {
    /// The set that this build carries.
    pub fn built_in() -> &'static Self {
        static SET: LazyLock<Reference> = LazyLock::new(|| {
            // A test reads it, so that what cannot be read never leaves this house; an empty set knows no browser.
            toml::from_str(include_str!("../data/ja4.toml")).unwrap_or(Reference { entry: Vec::new() })
        });
        &SET
    }

    /// What is known of a fingerprint. A block list is stronger than anything else.
    pub fn find(&self, ja4: &str) -> Option<&Entry> {
        let mut found = self.entry.iter().filter(|entry| entry.ja4 == ja4);
        let first = found.clone().find(|entry| entry.kind == Kind::Blocked);
        first.or_else(|| found.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_can_be_read_and_knows_the_browser() {
        let set = Reference::built_in();
        assert_eq!(set.find("t13d1517h2_8daaf6152771_cb7bf5808d99").unwrap().kind, Kind::Browser);
        assert_eq!(set.find("t13d1516h2_8daaf6152771_d8a2da3f94cd").unwrap().kind, Kind::Blocked);
        assert!(set.find("t13d1517h2_8daaf6152771_000000000000").is_none());
    }
}

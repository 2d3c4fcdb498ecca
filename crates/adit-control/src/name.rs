//! Names that people give to networks, devices and groups, and names by which a server is found.
//!
//! Checked once, here: beyond, a name is safe in a file name, a command line, SQL, a log and a sentence.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a name, which plain letters have one each of.
pub const MAX_NAME: usize = 63;
/// What a device is called that wished for nothing that is a name.
const NAMELESS: &str = "device";
/// Characters of a bad name that are shown.
const SHOWN: usize = 32;

/// A name for a network, device or group: 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name may not be empty\n  hint: 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`, as in `annas-phone`")]
    Empty,
    /// Too long.
    #[error(
        "{0:?}… is too long for a name\n  hint: a name has at most {MAX_NAME} characters, and fewer of those beyond plain letters"
    )]
    Long(String),
    /// A character that names do not have.
    #[error(
        "{name:?} is not a name: it has {character:?}\n  hint: letters, digits, `-`, `_` and `.`, as in `annas-phone`"
    )]
    Character {
        /// What was given, shortened.
        name: String,
        /// The first character that is wrong.
        character: char,
    },
    /// It begins with a sign.
    #[error("{0:?} is not a name: it begins with a sign\n  hint: begin with a letter or a digit, as in `annas-phone`")]
    Begins(String),
}

impl Name {
    /// Checks a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let shown = || text.chars().take(SHOWN).collect::<String>();
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if text.len() > MAX_NAME {
            return Err(NameError::Long(shown()));
        }
        if let Some(character) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(NameError::Character { name: shown(), character });
        }
        if !first.is_alphanumeric() {
            return Err(NameError::Begins(shown()));
        }
        Ok(Self(text.into()))
    }

    /// The name nearest to what a device says it would like to be called: whatever it says, it is a name.
    pub fn wished(text: &str) -> Self {
        let replaced = text.chars().map(|c| if is_allowed(c) { c } else { '-' });
        // No more than could be of use: what a device says may be long.
        let name: String = replaced.skip_while(|c| !c.is_alphanumeric()).take(MAX_NAME).collect();
        let name = shortened(&name, MAX_NAME);
        Self(name.trim_end_matches(['-', '.', '_']).into()).or_nameless()
    }

    fn or_nameless(self) -> Self {
        if self.0.is_empty() { Self(NAMELESS.into()) } else { self }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// By which names are told apart: two names that differ in case only are the same to people.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// This name, or the first of `name-2`, `name-3`, … that is not among those taken (given [folded](Self::folded)).
    #[must_use]
    pub fn unlike(&self, taken: &BTreeSet<String>) -> Self {
        if !taken.contains(&self.folded()) {
            return self.clone();
        }
        let numbered = |number: usize| {
            let suffix = format!("-{number}");
            Self(format!("{}{suffix}", shortened(&self.0, MAX_NAME - suffix.len())).into())
        };
        // Among one more candidate than names are taken, one is free.
        (2..).map(numbered).find(|name| !taken.contains(&name.folded())).unwrap_or_else(|| self.clone())
    }
}

/// The beginning of a text, of at most so many bytes.
fn shortened(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

/// Where a server is found: a DNS name in lower case, or an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Box<str>);

/// A text that is neither a DNS name nor an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is neither a host name nor an address\n  hint: give one as `vpn.example.org`, `192.0.2.7` or `2001:db8::7`"
)]
pub struct HostError(String);

impl Host {
    /// Checks a name (RFC 1123 §2.1) or an address.
    pub fn new(text: &str) -> Result<Self, HostError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string().into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels_fit = name.split('.').all(|label| {
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        });
        // A name of digits and dots only is an address with a mistake in it.
        let is_number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if labels_fit && name.len() <= 253 && !is_number {
            return Ok(Self(name.into()));
        }
        Err(HostError(text.chars().take(SHOWN).collect()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        Self::new(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_people_and_machines_are_names() {
        for name in ["a", "laptop", "Annas-Phone", "büro.2", "携帯", "7"] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
        assert!(Name::new(&"x".repeat(MAX_NAME)).is_ok());
        // What a device is told of itself has room for bytes.
        assert!(Name::new(&"ж".repeat(MAX_NAME / 2)).is_ok());
        assert!(matches!(Name::new(&"ж".repeat(MAX_NAME / 2 + 1)), Err(NameError::Long(_))));
        let wished = Name::wished(&"ж".repeat(200));
        assert_eq!(wished.as_str().chars().count(), MAX_NAME / 2);
        let other = wished.unlike(&BTreeSet::from([wished.folded()]));
        assert!(Name::new(other.as_str()).is_ok() && other.as_str().ends_with("-2"), "{other}");
    }

    #[test]
    fn paths_sql_and_control_characters_are_refused_with_a_sentence_that_says_which() {
        let bad = [
            "../../etc/passwd",
            "a/b",
            "a\\b",
            "x'; DROP TABLE peers;--",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "a b",
            "a:b",
            "\u{202e}gpj.exe",
            "a\"b",
            "a%s",
            "$(reboot)",
            "a*",
        ];
        for name in bad {
            let error = Name::new(name).unwrap_err();
            assert!(matches!(error, NameError::Character { .. } | NameError::Begins(_)), "{error}");
            assert!(error.to_string().contains("hint:"));
            assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert!(matches!(Name::new("-rf"), Err(NameError::Begins(_))));
        assert!(matches!(Name::new(".."), Err(NameError::Begins(_))));
        assert!(matches!(Name::new(&"x".repeat(MAX_NAME + 1)), Err(NameError::Long(_))));
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_stays_a_name() {
        let taken = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let phone = Name::new("Phone").unwrap();
        assert_eq!(phone.unlike(&taken(&[])).as_str(), "Phone");
        assert_eq!(phone.unlike(&taken(&["phone"])).as_str(), "Phone-2");
        assert_eq!(phone.unlike(&taken(&["phone", "phone-2", "phone-3"])).as_str(), "Phone-4");
        let long = Name::new(&"x".repeat(MAX_NAME)).unwrap();
        let other = long.unlike(&BTreeSet::from([long.folded()]));
        assert!(Name::new(other.as_str()).is_ok() && other != long);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, host) in [
            ("vpn.example.org", "vpn.example.org"),
            ("VPN.Example.ORG.", "vpn.example.org"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8::7", "2001:db8::7"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Host::new(text).unwrap().as_str(), host);
        }
        for text in ["", ".", "a..b", "-a.example", "a b", "a/b", "192.0.2.300", "x'y", &"a.".repeat(200), "münchen.de"]
        {
            assert!(Host::new(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_device_wishes_becomes_a_name(text in any::<String>()) {
            let name = Name::wished(&text);
            prop_assert_eq!(Name::new(name.as_str()), Ok(name.clone()));
            if Name::new(&text).is_ok() && !text.ends_with(['-', '.', '_']) {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}

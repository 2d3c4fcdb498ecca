//! Fingerprint profiles: what one version of one browser looks like on the wire, as data with an expiry.
//!
//! Not here: the code that makes a hello of it (`chrome`), the HTTP/2 that sends its headers, the capture that writes it.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use thiserror::Error;

/// The profile that comes with this version, as text.
pub const CHROMIUM: &str = include_str!("../../profiles/chromium.toml");

/// What one version of one browser looks like on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Browser, version and system, for people.
    pub name: String,
    captured: toml::value::Datetime,
    lifetime_days: u32,
    /// The operating system that it was captured on.
    pub platform: String,
    /// Its ClientHello.
    pub tls: TlsProfile,
    /// Its HTTP/2.
    pub http2: Http2Profile,
}

/// A browser's ClientHello, without its reserved (GREASE) values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsProfile {
    /// The fingerprint that others compute of it.
    pub ja4: String,
    /// Cipher suites, in order.
    pub ciphers: Vec<u16>,
    /// Extensions, ascending: the browser shuffles them.
    pub extensions: Vec<u16>,
    /// Signature algorithms, in order.
    pub signature_algorithms: Vec<u16>,
    /// Key exchange groups, in order.
    pub groups: Vec<u16>,
    /// Groups for which a key is sent at once.
    pub key_shares: Vec<u16>,
    /// Versions of TLS, in order.
    pub versions: Vec<u16>,
    /// Application protocols, in order.
    pub alpn: Vec<String>,
    /// Application protocols for which settings are offered in the handshake (ALPS).
    pub application_settings: Vec<String>,
    /// Algorithms of certificate compression (RFC 8879).
    pub certificate_compression: Vec<u16>,
    /// Trust anchors named in the hello, in hexadecimal.
    pub trust_anchors: Vec<String>,
}

/// A browser's HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http2Profile {
    /// Its SETTINGS, in order: identifier and value.
    pub settings: Vec<(u16, u32)>,
    /// By how much it raises the window of the connection at once.
    pub window_update: u32,
    /// Pseudo headers of a request, in order.
    pub pseudo_headers: Vec<String>,
    /// Sizes of its first records after Finished, without their headers.
    pub first_records: Vec<u16>,
    /// What it sends with each kind of request.
    pub requests: Vec<RequestProfile>,
}

/// What a browser sends with one kind of request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestProfile {
    /// What is asked for.
    pub kind: Kind,
    /// The priority's weight, as it stands in the HEADERS frame.
    pub weight: u8,
    /// Headers after the pseudo headers, in order. `{referer}` stands for the page that asked.
    pub headers: Vec<(String, String)>,
}

/// What a browser asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A page.
    Document,
    /// A style sheet.
    Style,
    /// A script.
    Script,
    /// A picture.
    Image,
    /// The site's icon.
    Icon,
}

/// A profile that cannot be read.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// It is not TOML, or not of this shape.
    #[error("the fingerprint profile cannot be read: {0}\n  hint: write it with `cargo xtask fingerprint --update`")]
    Syntax(#[from] toml::de::Error),
    /// A value in it makes no sense.
    #[error("the fingerprint profile cannot be used: {0}\n  hint: write it with `cargo xtask fingerprint --update`")]
    Value(&'static str),
}

/// A profile older than it should be: browsers have moved on, and its hello stands out more each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Which profile.
    pub name: String,
    /// How long ago it expired.
    pub days: u64,
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, days } = self;
        write!(
            f,
            "the browser that this adit looks like ({name}) is out of date: its profile expired {days} days ago\n  \
             hint: update adit; or, from its source, run `cargo xtask fingerprint --update` beside a current Chromium and build again"
        )
    }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// The text is not a profile.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)?;
        if profile.captured.date.is_none() {
            return Err(ProfileError::Value("`captured` has no date"));
        }
        profile.tls.trust_anchor_list()?;
        if !Kind::ALL.iter().all(|&kind| profile.request(kind).is_some()) {
            return Err(ProfileError::Value("a kind of request is missing"));
        }
        Ok(profile)
    }

    /// The profile that comes with this version of adit.
    #[must_use]
    pub fn chromium() -> Arc<Self> {
        static PROFILE: LazyLock<Arc<Profile>> =
            LazyLock::new(|| Arc::new(Profile::parse(CHROMIUM).expect("a test reads the same text")));
        Arc::clone(&PROFILE)
    }

    /// When it was captured: midnight of that day.
    #[must_use]
    pub fn captured(&self) -> SystemTime {
        let days = self.captured.date.map_or(0, |date| days_from_civil(i64::from(date.year), date.month, date.day));
        SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY)
    }

    /// A warning, if it is too old.
    #[must_use]
    pub fn expired(&self, now: SystemTime) -> Option<Expired> {
        let expiry = self.captured() + Duration::from_secs(u64::from(self.lifetime_days) * DAY);
        let late = now.duration_since(expiry).ok()?;
        Some(Expired { name: self.name.clone(), days: late.as_secs() / DAY })
    }

    /// What it sends with one kind of request. A profile that was parsed has all of them.
    #[must_use]
    pub fn request(&self, kind: Kind) -> Option<&RequestProfile> {
        self.http2.requests.iter().find(|request| request.kind == kind)
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Document, Self::Style, Self::Script, Self::Image, Self::Icon];
}

impl TlsProfile {
    /// The body of the list of trust anchors: each with its length before it.
    ///
    /// # Errors
    ///
    /// One is not hexadecimal, empty, or longer than 255 bytes.
    pub fn trust_anchor_list(&self) -> Result<Vec<u8>, ProfileError> {
        let bad = || ProfileError::Value("a trust anchor is not hexadecimal");
        let mut list = Vec::new();
        for anchor in &self.trust_anchors {
            let bytes = anchor
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2))
                .collect::<Option<Vec<u8>>>()
                .filter(|bytes| !bytes.is_empty())
                .ok_or_else(bad)?;
            list.push(u8::try_from(bytes.len()).map_err(|_| bad())?);
            list.extend(bytes);
        }
        Ok(list)
    }
}

const DAY: u64 = 24 * 60 * 60;

/// Days from 1970-01-01 to a date of the Gregorian calendar; dates before that count as the first day.
fn days_from_civil(year: i64, month: u8, day: u8) -> u64 {
    // Years begin in March here, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(days).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_that_comes_with_adit_can_be_read() {
        let profile = Profile::parse(CHROMIUM).unwrap();
        assert_eq!(profile.tls.trust_anchor_list().unwrap().len(), 184);
        assert_eq!(profile.request(Kind::Document).unwrap().headers[0].0, "sec-ch-ua");
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(2026, 11, 21), 20_778);
        assert_eq!(days_from_civil(1960, 1, 1), 0);
    }

    #[test]
    fn a_profile_is_good_for_its_lifetime_and_then_says_how_to_update() {
        let profile = Profile::chromium();
        let expiry = profile.captured() + Duration::from_secs(90 * DAY);
        assert_eq!(profile.expired(expiry - Duration::from_secs(1)), None);
        let warning = profile.expired(expiry + Duration::from_secs(3 * DAY)).unwrap();
        assert_eq!(warning.days, 3);
        assert!(warning.to_string().contains("cargo xtask fingerprint --update"), "{warning}");
    }

    #[test]
    fn a_profile_with_a_broken_anchor_or_a_missing_request_is_refused() {
        let odd = CHROMIUM.replace("\"82df130201\"", "\"82df13020\"");
        assert!(matches!(Profile::parse(&odd), Err(ProfileError::Value(_))));
        let missing = CHROMIUM.replace("kind = \"icon\"", "kind = \"image\"");
        assert!(matches!(Profile::parse(&missing), Err(ProfileError::Value(_))));
        assert!(matches!(Profile::parse("name = 1"), Err(ProfileError::Syntax(_))));
    }
}

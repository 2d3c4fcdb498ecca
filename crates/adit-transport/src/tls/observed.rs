//! A ClientHello as it was seen on the wire, read back into the terms of a profile, and compared.
//!
//! Not here: how it was captured. Used by the tests and by `cargo xtask fingerprint`, never on the path of data.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::profile::TlsProfile;

/// What a ClientHello says: what belongs into a profile, and what only has to be as with the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What belongs into a profile.
    pub profile: TlsProfile,
    /// The server's name.
    pub server_name: Option<String>,
    /// Whether reserved (GREASE) values stand where Chromium puts them: first among the cipher suites, groups, key
    /// shares, versions and signature algorithms, first and last among the extensions.
    pub grease: Grease,
    /// The size of each extension, ascending by its number. That of a reserved one is left out.
    pub sizes: Vec<(u16, usize)>,
    /// The size of each key share, in order.
    pub key_share_sizes: Vec<(u16, usize)>,
    /// The length of the session identifier.
    pub session_id: usize,
    /// The whole message, with its header of four bytes.
    pub length: usize,
}

/// Where reserved (GREASE, RFC 8701) values were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "seven independent observations, compared as a whole")]
pub struct Grease {
    /// First cipher suite.
    pub cipher: bool,
    /// First extension.
    pub first_extension: bool,
    /// Last extension.
    pub last_extension: bool,
    /// First group.
    pub group: bool,
    /// First key share, of one byte.
    pub key_share: bool,
    /// First version.
    pub version: bool,
    /// First signature algorithm.
    pub signature_algorithm: bool,
}

const SERVER_NAME: u16 = 0x0000;
const GROUPS: u16 = 0x000a;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const COMPRESSION: u16 = 0x001b;
const VERSIONS: u16 = 0x002b;
const KEY_SHARE: u16 = 0x0033;
const APPLICATION_SETTINGS: u16 = 0x44cd;
const TRUST_ANCHORS: u16 = 0xca34;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

impl Observed {
    /// Reads a ClientHello: the handshake message, without the header of its record.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        if reader.byte()? != 1 {
            return None;
        }
        let mut body = Reader(reader.vector(3)?);
        body.take(2 + 32)?;
        let session_id = body.vector(1)?.len();
        let ciphers = numbers(body.vector(2)?)?;
        body.vector(1)?;
        let mut rest = Reader(body.vector(2)?);
        let mut extensions = Vec::new();
        while !rest.0.is_empty() {
            extensions.push((rest.number()?, rest.vector(2)?));
        }
        Self::from_parts(message.len(), session_id, &ciphers, &extensions)
    }

    fn from_parts(length: usize, session_id: usize, ciphers: &[u16], extensions: &[(u16, &[u8])]) -> Option<Self> {
        let body = |wanted: u16| extensions.iter().find(|(number, _)| *number == wanted).map(|(_, body)| *body);
        let list = |wanted, width| match body(wanted) {
            Some(body) => numbers(Reader(body).vector(width)?),
            None => Some(Vec::new()),
        };
        let (groups, versions) = (list(GROUPS, 2)?, list(VERSIONS, 1)?);
        let (algorithms, compression) = (list(SIGNATURE_ALGORITHMS, 2)?, list(COMPRESSION, 1)?);
        let shares = key_shares(body(KEY_SHARE).unwrap_or(&[0, 0]))?;
        let names = |wanted| body(wanted).map_or(Some(Vec::new()), strings);
        let mut sizes: Vec<_> = extensions
            .iter()
            .filter(|(number, _)| !is_grease(*number))
            .map(|(number, body)| (*number, body.len()))
            .collect();
        sizes.sort_unstable();
        let first = |numbers: &[u16]| numbers.first().copied().is_some_and(is_grease);
        let grease = Grease {
            cipher: first(ciphers),
            first_extension: extensions.first().is_some_and(|(number, _)| is_grease(*number)),
            last_extension: extensions.last().is_some_and(|(number, _)| is_grease(*number)),
            group: first(&groups),
            key_share: shares.first().is_some_and(|&(group, size)| is_grease(group) && size == 1),
            version: first(&versions),
            signature_algorithm: first(&algorithms),
        };
        let real_shares: Vec<_> = shares.into_iter().filter(|(group, _)| !is_grease(*group)).collect();
        let mut profile = TlsProfile {
            ja4: String::new(),
            ciphers: real(ciphers),
            extensions: sizes.iter().map(|(number, _)| *number).collect(),
            signature_algorithms: real(&algorithms),
            groups: real(&groups),
            key_shares: real_shares.iter().map(|(group, _)| *group).collect(),
            versions: real(&versions),
            alpn: names(ALPN)?,
            application_settings: names(APPLICATION_SETTINGS)?,
            certificate_compression: compression,
            trust_anchors: body(TRUST_ANCHORS).map_or(Some(Vec::new()), anchors)?,
        };
        let server_name = body(SERVER_NAME)
            .and_then(|body| String::from_utf8(Reader(Reader(body).vector(2)?.get(1..)?).vector(2)?.to_vec()).ok());
        profile.ja4 = ja4(&profile, server_name.is_some());
        Some(Self { profile, server_name, grease, sizes, key_share_sizes: real_shares, session_id, length })
    }

    /// What an observer sees differ between two clients that greet the same server, in words; empty if nothing does.
    ///
    /// Not compared: the order of extensions, which is shuffled, and the padded length of the encrypted hello, which is
    /// drawn anew each time.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = self.profile.differences(&other.profile);
        let mut compare = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                found.push(format!("{what}: {ours}, not {theirs}"));
            }
        };
        compare("reserved values", format!("{:?}", self.grease), format!("{:?}", other.grease));
        compare("extension sizes", format!("{:?}", self.fixed_sizes()), format!("{:?}", other.fixed_sizes()));
        compare("key share sizes", format!("{:?}", self.key_share_sizes), format!("{:?}", other.key_share_sizes));
        compare("session identifier", self.session_id.to_string(), other.session_id.to_string());
        compare("length but for the variable part", self.fixed_length().to_string(), other.fixed_length().to_string());
        found
    }

    /// Sizes of the extensions, without those that vary from hello to hello or with the server's name.
    fn fixed_sizes(&self) -> Vec<(u16, usize)> {
        let varies = |number| number == ENCRYPTED_CLIENT_HELLO || number == SERVER_NAME;
        self.sizes.iter().copied().filter(|&(number, _)| !varies(number)).collect()
    }

    fn fixed_length(&self) -> usize {
        let varying = self.sizes.iter().filter(|(number, _)| [ENCRYPTED_CLIENT_HELLO, SERVER_NAME].contains(number));
        self.length - varying.map(|(_, size)| size).sum::<usize>()
    }

    /// The size of the encrypted hello: for Chromium one of four.
    #[must_use]
    pub fn encrypted_hello_size(&self) -> Option<usize> {
        self.sizes.iter().find(|(number, _)| *number == ENCRYPTED_CLIENT_HELLO).map(|&(_, size)| size)
    }
}

impl TlsProfile {
    /// Which fields differ, in words.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let rows = |profile: &Self| {
            let hex =
                |numbers: &[u16]| numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(" ");
            [
                ("JA4", profile.ja4.clone()),
                ("cipher suites", hex(&profile.ciphers)),
                ("extensions", hex(&profile.extensions)),
                ("signature algorithms", hex(&profile.signature_algorithms)),
                ("groups", hex(&profile.groups)),
                ("key shares", hex(&profile.key_shares)),
                ("versions", hex(&profile.versions)),
                ("application protocols", profile.alpn.join(" ")),
                ("application settings", profile.application_settings.join(" ")),
                ("certificate compression", hex(&profile.certificate_compression)),
                ("trust anchors", profile.trust_anchors.join(" ")),
            ]
        };
        let pairs = rows(self).into_iter().zip(rows(other));
        pairs.filter(|(a, b)| a.1 != b.1).map(|(a, b)| format!("{}: {}, not {}", a.0, a.1, b.1)).collect()
    }
}

/// The fingerprint JA4 of a hello over TCP (FoxIO's definition).
fn ja4(profile: &TlsProfile, named: bool) -> String {
    let version = match profile.versions.iter().max() {
        Some(0x0304) => "13",
        Some(0x0303) | None => "12",
        Some(_) => "00",
    };
    let alpn = profile.alpn.first().map_or_else(
        || "00".to_owned(),
        |name| {
            let mut letters = name.chars();
            let first = letters.next().unwrap_or('0');
            [first, letters.next_back().unwrap_or(first)].iter().collect()
        },
    );
    let hex = |numbers: &[u16]| numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",");
    let mut suites = profile.ciphers.clone();
    suites.sort_unstable();
    let extensions: Vec<_> =
        profile.extensions.iter().copied().filter(|&number| number != SERVER_NAME && number != ALPN).collect();
    let second = format!("{}_{}", hex(&extensions), hex(&profile.signature_algorithms));
    format!(
        "t{version}{}{:02}{:02}{alpn}_{}_{}",
        if named { 'd' } else { 'i' },
        profile.ciphers.len().min(99),
        profile.extensions.len().min(99),
        short_hash(&hex(&suites)),
        short_hash(&second),
    )
}

fn short_hash(text: &str) -> String {
    let mut hash = String::new();
    for byte in &digest(&SHA256, text.as_bytes()).as_ref()[..6] {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

fn real(numbers: &[u16]) -> Vec<u16> {
    numbers.iter().copied().filter(|&number| !is_grease(number)).collect()
}

fn numbers(bytes: &[u8]) -> Option<Vec<u16>> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

fn strings(body: &[u8]) -> Option<Vec<String>> {
    let mut list = Reader(Reader(body).vector(2)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        found.push(String::from_utf8(list.vector(1)?.to_vec()).ok()?);
    }
    Some(found)
}

fn anchors(body: &[u8]) -> Option<Vec<String>> {
    let mut list = Reader(Reader(body).vector(2)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        found.push(list.vector(1)?.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Some(found)
}

fn key_shares(body: &[u8]) -> Option<Vec<(u16, usize)>> {
    let mut list = Reader(Reader(body).vector(2)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        found.push((list.number()?, list.vector(2)?.len()));
    }
    Some(found)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// A vector after its length of `width` bytes.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.take(width)?.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        self.take(length)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tls::profile::Profile;

    /// A hello of Debian's Chromium, captured with the profile.
    const CAPTURED: &str = include_str!("../../profiles/chromium.hex");

    pub(in crate::tls) fn captured() -> Vec<u8> {
        let digits: Vec<u8> = CAPTURED.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_profile_says_what_the_captured_browser_said() {
        let seen = Observed::parse(&captured()).unwrap();
        assert_eq!(seen.profile.differences(&Profile::chromium().tls), Vec::<String>::new());
        assert_eq!(seen.profile.ja4, "t13d1517h2_8daaf6152771_cb7bf5808d99");
        assert_eq!(seen.server_name.as_deref(), Some("example.test"));
        assert_eq!(seen.key_share_sizes, [(0x11ec, 1216), (0x001d, 32)]);
        let everywhere = Grease {
            cipher: true,
            first_extension: true,
            last_extension: true,
            group: true,
            key_share: true,
            version: true,
            signature_algorithm: true,
        };
        assert_eq!(seen.grease, everywhere);
    }

    /// A hello that is cut short anywhere is refused, never read beyond its end.
    #[test]
    fn a_hello_that_is_cut_short_is_refused() {
        let whole = captured();
        for length in 0..whole.len() {
            assert_eq!(Observed::parse(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn differences_are_named() {
        let seen = Observed::parse(&captured()).unwrap();
        let mut other = seen.clone();
        other.profile.groups.swap(0, 1);
        other.session_id = 0;
        let words = seen.differences(&other);
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].starts_with("groups: 11ec 001d"), "{words:?}");
    }
}

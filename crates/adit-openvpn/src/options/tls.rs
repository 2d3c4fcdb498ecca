//! TLS of the control channel: versions, suites, groups, and when keys are made anew.
//!
//! Not here: certificates (`identity`), ciphers of the data channel (`data`).

use std::time::Duration;

use super::catalogue::{BOTH, Entry, SERVER, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Said, doubt, refuse};
use super::identity;
use super::lexer::Directive;
use super::value::{choice, number, seconds, text};

/// Versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What TLS may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// The oldest version; `None`: the oldest that is spoken.
    pub least: Option<TlsVersion>,
    /// The newest version; `None`: the newest that is spoken.
    pub most: Option<TlsVersion>,
    /// Suites of TLS 1.2, by the names of OpenSSL or IANA, ours in front. Empty: all that are spoken.
    pub suites: Vec<String>,
    /// Suites of TLS 1.3, by name. Empty: all that are spoken.
    pub suites13: Vec<String>,
    /// Groups that keys are agreed on, by name, in order. Empty: our own choice.
    pub groups: Vec<String>,
    /// How long a control packet waits for its acknowledgement at first; `None`: two seconds.
    pub first_timeout: Option<Duration>,
}

/// When keys are made anew, and how long that may take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rekeying {
    /// After this time; zero: the other end decides. `None`: an hour.
    pub after: Option<Duration>,
    /// At least this much earlier or later, so that not all clients come at once.
    pub after_at_least: Option<Duration>,
    /// After so many bytes.
    pub after_bytes: Option<u64>,
    /// After so many packets.
    pub after_packets: Option<u64>,
    /// How long making keys may take; `None`: a minute.
    pub hand_window: Option<Duration>,
    /// How long old keys are good beside new ones; `None`: an hour.
    pub transition: Option<Duration>,
}

/// Suites of TLS 1.2 that are spoken, by their names in OpenSSL and with IANA.
const SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256"),
];
/// Suites of TLS 1.3.
const SUITES13: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
/// Groups, by all their names.
const GROUPS: [&str; 9] =
    ["X25519MLKEM768", "X25519", "SECP256R1", "PRIME256V1", "P-256", "SECP384R1", "P-384", "SECP521R1", "P-521"];

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("dh", BOTH, 1, 1, identity::dh),
    ignored("ecdh-curve", BOTH, 1, 1, "groups are chosen by both ends; `tls-groups` names them"),
    read("hand-window", BOTH, 1, 1, |draft, d| {
        draft.rekeying.hand_window = Some(seconds(d, 1)?.max(Duration::from_secs(1)));
        Ok(Said::Accepted)
    }),
    ignored("key-method", BOTH, 1, 1, "there is only method 2 today"),
    refused("keying-material-exporter", BOTH, "no plugin is there to take the exported keys", "remove the line"),
    ignored("providers", BOTH, 1, 15, "these are parts of OpenSSL, which adit does not use"),
    read("reneg-bytes", BOTH, 1, 1, |draft, d| {
        draft.rekeying.after_bytes = Some(number(d, 1, 0..=u64::MAX)?).filter(|bytes| *bytes > 0);
        Ok(Said::Accepted)
    }),
    read("reneg-pkts", BOTH, 1, 1, |draft, d| {
        draft.rekeying.after_packets = Some(number(d, 1, 0..=u64::MAX)?).filter(|packets| *packets > 0);
        Ok(Said::Accepted)
    }),
    read("reneg-sec", BOTH, 1, 2, |draft, d| {
        draft.rekeying.after = Some(seconds(d, 1)?);
        draft.rekeying.after_at_least = if d.arguments() > 1 { Some(seconds(d, 2)?) } else { None };
        Ok(Said::Accepted)
    }),
    ignored(
        "single-session",
        BOTH,
        0,
        0,
        "a peer that begins anew takes the place of its old session once it has proved who it is",
    ),
    read("tls-cert-profile", BOTH, 1, 1, tls_cert_profile),
    read("tls-cipher", BOTH, 1, 1, tls_cipher),
    read("tls-ciphersuites", BOTH, 1, 1, |draft, d| {
        draft.tls.suites13 = list(d)?;
        let known = |name: &&String| SUITES13.iter().any(|suite| suite.eq_ignore_ascii_case(name));
        all_some_none(&draft.tls.suites13, known, &format!("write some of {}", SUITES13.join(":")))
    }),
    ignored("tls-exit", BOTH, 0, 0, "whether to go on after a failure is `adit up`'s decision"),
    read("tls-groups", BOTH, 1, 1, |draft, d| {
        draft.tls.groups = list(d)?;
        let known = |name: &&String| GROUPS.iter().any(|group| group.eq_ignore_ascii_case(name));
        all_some_none(&draft.tls.groups, known, "write some of X25519MLKEM768:X25519:secp256r1:secp384r1:secp521r1")
    }),
    read("tls-timeout", BOTH, 1, 1, |draft, d| {
        draft.tls.first_timeout = Some(seconds(d, 1)?.max(Duration::from_secs(1)));
        Ok(Said::Accepted)
    }),
    read("tls-version-max", BOTH, 1, 1, tls_version_max),
    read("tls-version-min", BOTH, 1, 2, tls_version_min),
    read("tran-window", BOTH, 1, 1, |draft, d| {
        draft.rekeying.transition = Some(seconds(d, 1)?);
        Ok(Said::Accepted)
    }),
    refused(
        "tls-export-cert",
        SERVER,
        "certificates are not written to a directory",
        "remove the line; `adit status` shows the peer's certificate",
    ),
];

/// Names with colons between them.
fn list(d: &Directive) -> Result<Vec<String>, super::finding::Refusal> {
    let names: Vec<_> = text(d, 1)?.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return refuse(1, "the list is empty", "write names with colons between them");
    }
    Ok(names)
}

fn all_some_none(names: &[String], known: impl Fn(&&String) -> bool, instead: &str) -> Outcome {
    let unknown: Vec<_> = names.iter().filter(|name| !known(name)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(Said::Accepted);
    }
    if unknown.len() == names.len() {
        return refuse(1, "adit speaks none of these", instead);
    }
    doubt(format!("adit does not speak {}; the others are used", unknown.join(", ")), instead)
}

/// Whether a name of `tls-cipher` admits a suite that is spoken.
fn admits(name: &str) -> bool {
    // OpenSSL's words for groups of suites.
    let word = name.split(['@', '+']).next().unwrap_or_default();
    if ["DEFAULT", "ALL", "HIGH", "ECDHE", "EECDH", "AESGCM", "CHACHA20", "TLSv1.2"].contains(&word) {
        return true;
    }
    SUITES
        .iter()
        .any(|(openssl, iana)| openssl.eq_ignore_ascii_case(name) || iana.eq_ignore_ascii_case(&name.replace('_', "-")))
}

fn tls_cipher(draft: &mut Draft, d: &Directive) -> Outcome {
    draft.tls.suites = list(d)?;
    // A suite of TLS 1.3 in this list has no effect, in OpenVPN neither.
    let is_exclusion = |name: &str| name.starts_with(['!', '-', '@']);
    if draft.tls.suites.iter().any(|name| !is_exclusion(name) && admits(name)) {
        return Ok(Said::Accepted);
    }
    draft.tls.suites.clear();
    let why = "none of these has forward secrecy on an elliptic curve and authenticated encryption, which is all that adit \
        speaks in TLS 1.2; the list is left aside, and the server is offered ECDHE with AES-GCM and ChaCha20-Poly1305. If it \
        has nothing but this list, it will refuse";
    doubt(why, "write tls-cipher ECDHE-RSA-AES256-GCM-SHA384, or remove the line")
}

fn tls_cert_profile(_: &mut Draft, d: &Directive) -> Outcome {
    match choice(d, 1, &[("insecure", 0), ("legacy", 1), ("preferred", 2), ("suiteb", 3)])? {
        0 | 1 => {
            let why = "certificates with SHA-1 signatures or RSA keys below 2048 bits are refused all the same";
            doubt(why, "remove the line; ask for new certificates if the connection is refused")
        }
        3 => refuse(1, "suite B as a rule is not checked here", "write `preferred`, and `tls-groups secp384r1`"),
        _ => Ok(Said::Accepted),
    }
}

const VERSIONS: [(&str, Option<TlsVersion>); 4] =
    [("1.0", None), ("1.1", None), ("1.2", Some(TlsVersion::V1_2)), ("1.3", Some(TlsVersion::V1_3))];

fn tls_version_min(draft: &mut Draft, d: &Directive) -> Outcome {
    if d.word(2).is_some_and(|word| word != "or-highest") {
        return refuse(2, "there is no such choice", "write `or-highest`, or nothing");
    }
    // Older ones are not spoken at all, so the rule holds.
    draft.tls.least = choice(d, 1, &VERSIONS)?;
    Ok(Said::Accepted)
}

fn tls_version_max(draft: &mut Draft, d: &Directive) -> Outcome {
    let Some(most) = choice(d, 1, &VERSIONS)? else {
        let why = "TLS before 1.2 is broken, and adit does not speak it";
        return refuse(
            1,
            why,
            "write tls-version-max 1.2, or remove the line; a server that has nothing newer must be updated",
        );
    };
    draft.tls.most = Some(most);
    Ok(Said::Accepted)
}

//! The data channel: ciphers, digest, replay window, the framing of compression.
//!
//! Not here: the sizes of packets (`connection`), computing with keys (`cipher` and the core).

use std::time::Duration;

use super::catalogue::{BOTH, Entry, PUSHED, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, doubt, refuse};
use super::lexer::Directive;
use super::value::{choice, seconds, small, text};
use crate::{Cipher, Digest};

/// What the data channel may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOptions {
    /// What is negotiated, ours in front.
    pub ciphers: Vec<Cipher>,
    /// With a peer that negotiates nothing.
    pub fallback: Option<Cipher>,
    /// The digest of HMACs.
    pub digest: Digest,
    /// The bytes that a peer expects for compression; nothing is ever compressed.
    pub framing: Framing,
    /// What a server answers to clients that still ask for compression.
    pub migrate: bool,
    /// How far behind a packet may come, and how late.
    pub replay_window: (u32, Duration),
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            ciphers: Cipher::DEFAULT.to_vec(),
            fallback: None,
            digest: Digest::default(),
            framing: Framing::None,
            migrate: false,
            replay_window: (64, Duration::from_secs(15)),
        }
    }
}

/// What stands before each packet of the data channel since there was compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Nothing.
    #[default]
    None,
    /// The byte of `comp-lzo`.
    Lzo,
    /// The byte of `compress`, with the packet's first byte moved to its end.
    Stub,
    /// A byte only where it would be mistaken.
    StubV2,
}

/// What is known of ciphers while a file is read.
#[derive(Debug, Clone, Default)]
pub(super) struct CipherDraft {
    pub(super) cipher: Option<Cipher>,
    list: Option<Vec<Cipher>>,
    fallback: Option<Cipher>,
    no_negotiation: bool,
}

impl CipherDraft {
    /// What may be negotiated, and what an end that negotiates nothing gets.
    pub(super) fn settle(&self) -> (Vec<Cipher>, Option<Cipher>) {
        let mut list = match (&self.list, self.no_negotiation, self.cipher) {
            (_, true, Some(cipher)) => vec![cipher],
            (Some(list), _, _) => list.clone(),
            (None, _, _) => Cipher::DEFAULT.to_vec(),
        };
        // OpenVPN 2.6 no longer adds it, which cut many off; where a list is written, the list alone counts.
        if let Some(cipher) = self.cipher.filter(|cipher| self.list.is_none() && !list.contains(cipher)) {
            list.push(cipher);
        }
        (list, self.fallback.or(self.cipher))
    }
}

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("allow-compression", BOTH, 1, 1, |_, d| match text(d, 1)? {
        "no" => Ok(Said::Accepted),
        "asym" | "yes" => doubt(NEVER_COMPRESSED, "write allow-compression no"),
        _ => refuse(1, "there is no such choice", "write `no`"),
    }),
    refused("allow-deprecated-insecure-static-crypto", BOTH, STATIC_KEY.0, STATIC_KEY.1),
    read("auth", BOTH, 1, 1, auth),
    read("cipher", BOTH | PUSHED, 1, 1, |draft, d| {
        draft.cipher.cipher = Some(cipher(text(d, 1)?).map_err(|(why, instead)| wrong(1, why, instead))?);
        Ok(Said::Accepted)
    }),
    read("comp-lzo", BOTH | PUSHED, 0, 1, comp_lzo),
    ignored("comp-noadapt", BOTH, 0, 0, "nothing is compressed"),
    read("compress", BOTH | PUSHED, 0, 1, compress),
    read("data-ciphers", BOTH, 1, 1, data_ciphers),
    read("data-ciphers-fallback", BOTH, 1, 1, |draft, d| {
        draft.cipher.fallback = Some(cipher(text(d, 1)?).map_err(|(why, instead)| wrong(1, why, instead))?);
        Ok(Said::Accepted)
    }),
    ignored("disable-occ", BOTH, 0, 0, "what the other end says of its options is only compared, never enforced"),
    ignored("engine", BOTH, 0, 1, "this is a part of OpenSSL, which adit does not use"),
    ignored("keysize", BOTH, 1, 1, "each cipher has one key size today"),
    ignored("mute-replay-warnings", BOTH, 0, 0, "replayed packets are counted, not logged"),
    read("ncp-ciphers", BOTH, 1, 1, data_ciphers),
    read("ncp-disable", BOTH, 0, 0, |draft, _| {
        draft.cipher.no_negotiation = true;
        doubt(
            "taken as: nothing but `cipher` is offered; OpenVPN itself has removed this option",
            "write data-ciphers with that one cipher",
        )
    }),
    refused(
        "no-iv",
        BOTH,
        "without an initialisation vector equal packets look equal",
        "remove the line, here and at the other end",
    ),
    refused(
        "no-replay",
        BOTH,
        "without replay protection anybody on the way can repeat your packets",
        "remove the line, here and at the other end",
    ),
    ignored("prng", BOTH, 1, 2, "randomness comes from the operating system"),
    ignored("replay-persist", BOTH, 1, 1, "keys are new with each session, so there is nothing to remember"),
    read("replay-window", BOTH, 1, 2, |draft, d| {
        let packets = small(d, 1, 0..=65_536)?;
        let time =
            if d.arguments() > 1 { seconds(d, 2)?.min(Duration::from_secs(600)) } else { Duration::from_secs(15) };
        draft.data.replay_window = (packets, time);
        Ok(Said::Accepted)
    }),
    refused("secret", BOTH, STATIC_KEY.0, STATIC_KEY.1),
    refused("test-crypto", BOTH, "this is a command, not a setting", "remove the line"),
];

const NEVER_COMPRESSED: &str =
    "adit never compresses, because sizes of compressed packets tell what is in them (VORACLE)";
const STATIC_KEY: (&str, &str) = (
    "one key for all time keeps nothing secret once it is lost, and OpenVPN is removing this mode",
    "use certificates: two lines of `peer-fingerprint` need no authority, or let `adit invite` make a WireGuard network",
);

fn wrong(word: usize, why: String, instead: &str) -> Refusal {
    Refusal { word, why, instead: Some(instead.to_owned()) }
}

/// A cipher, or why it is not one of ours.
fn cipher(name: &str) -> Result<Cipher, (String, &'static str)> {
    if let Some(cipher) = Cipher::from_name(name) {
        return Ok(cipher);
    }
    let upper = name.to_ascii_uppercase();
    let is = |beginnings: &[&str]| beginnings.iter().any(|beginning| upper.starts_with(beginning));
    Err(match upper.as_str() {
        "NONE" => (
            "without a cipher everybody on the way can read along".to_owned(),
            "write AES-256-GCM, here and at the other end",
        ),
        "BF-CBC" => (
            "Blowfish has blocks of 64 bits: after some gigabytes packets can be read (SWEET32)".to_owned(),
            "remove the line: a server of OpenVPN 2.4 or later chooses AES-GCM by itself; an older one needs `cipher AES-256-CBC` at both ends",
        ),
        _ if is(&["DES", "RC2", "CAST5", "RC5", "IDEA"]) => (
            format!("{name} is broken, or has blocks of 64 bits (SWEET32)"),
            "write AES-256-GCM, or AES-256-CBC for a server older than 2.4, at both ends",
        ),
        _ if upper.contains("-CFB") || upper.contains("-OFB") || upper.contains("-CTR") => (
            format!("{name} is a mode that only static keys had a use for, and adit does not speak it"),
            "write AES-256-GCM, or AES-256-CBC, at both ends",
        ),
        _ if is(&["CAMELLIA", "ARIA", "SEED", "SM4"]) => {
            (format!("adit does not speak {name}"), "write AES-256-GCM or CHACHA20-POLY1305, at both ends")
        }
        _ => (format!("there is no cipher {name}"), "write AES-256-GCM, AES-128-GCM, CHACHA20-POLY1305 or AES-256-CBC"),
    })
}

fn data_ciphers(draft: &mut Draft, d: &Directive) -> Outcome {
    let (mut list, mut left, mut last) = (Vec::<Cipher>::new(), Vec::new(), None);
    for name in text(d, 1)?.split(':').filter(|name| !name.is_empty()) {
        if name == "DEFAULT" {
            let new: Vec<_> = Cipher::DEFAULT.into_iter().filter(|cipher| !list.contains(cipher)).collect();
            list.extend(new);
            continue;
        }
        match cipher(name.strip_prefix('?').unwrap_or(name)) {
            Ok(cipher) if !list.contains(&cipher) => list.push(cipher),
            Ok(_) => {}
            // A question mark says that it may be missing.
            Err(_) if name.starts_with('?') => {}
            Err(why) => {
                left.push(name);
                last = Some(why);
            }
        }
    }
    match (list.is_empty(), last) {
        (true, Some((why, instead))) => refuse(1, why, instead),
        (true, None) => refuse(1, "no cipher of the list is left", "write AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305"),
        (false, last) => {
            draft.cipher.list = Some(list);
            match last {
                None => Ok(Said::Accepted),
                Some((why, _)) => {
                    doubt(format!("{} left out: {why}; the others are offered", left.join(", ")), "leave it away")
                }
            }
        }
    }
}

fn auth(draft: &mut Draft, d: &Directive) -> Outcome {
    let name = text(d, 1)?;
    let Some(digest) = Digest::from_name(name) else {
        let (why, instead) = match name.to_ascii_uppercase().as_str() {
            "NONE" => {
                ("without a digest anybody on the way can change packets", "write SHA256, here and at the other end")
            }
            "MD5" | "RSA-MD5" | "MD4" | "RSA-MD4" => {
                ("this digest is broken", "write SHA256, here and at the other end")
            }
            _ => ("adit does not have this digest", "write SHA1, SHA256, SHA384 or SHA512, as at the other end"),
        };
        return refuse(1, why, instead);
    };
    draft.data.digest = digest;
    Ok(Said::Accepted)
}

fn comp_lzo(draft: &mut Draft, d: &Directive) -> Outcome {
    let compresses = match d.word(1) {
        Some("no") => false,
        None | Some("yes" | "adaptive") => true,
        Some(_) => return refuse(1, "there is no such choice", "write comp-lzo no"),
    };
    draft.data.framing = Framing::Lzo;
    if !compresses || draft.is_pushed() {
        return Ok(Said::Accepted);
    }
    doubt(
        format!(
            "{NEVER_COMPRESSED}; packets get the byte that the other end expects, and what comes compressed is dropped"
        ),
        "write comp-lzo no, and have the server push `comp-lzo no`, or remove the line at both ends",
    )
}

fn compress(draft: &mut Draft, d: &Directive) -> Outcome {
    let (framing, compresses) = match d.word(1) {
        None | Some("stub") => (Framing::Stub, false),
        Some("stub-v2") => (Framing::StubV2, false),
        Some("lz4") => (Framing::Stub, true),
        Some("lz4-v2") => (Framing::StubV2, true),
        Some("lzo") => (Framing::Lzo, true),
        Some("migrate") => {
            draft.data.migrate = true;
            return Ok(Said::Accepted);
        }
        Some(_) => {
            return refuse(
                1,
                "there is no such compression",
                "write compress stub-v2, or remove the line at both ends",
            );
        }
    };
    draft.data.framing = framing;
    if !compresses || draft.is_pushed() {
        return Ok(Said::Accepted);
    }
    doubt(
        format!(
            "{NEVER_COMPRESSED}; packets get the framing that the other end expects, and what comes compressed is dropped"
        ),
        "write compress stub-v2, or remove the line at both ends",
    )
}

/// `key-derivation` of a push.
pub(super) fn key_derivation(draft: &mut Draft, d: &Directive) -> Outcome {
    choice(d, 1, &[("tls-ekm", ())])?;
    draft.pushed.key_export = true;
    Ok(Said::Accepted)
}

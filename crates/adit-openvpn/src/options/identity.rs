//! Who we are and who the other end must be: certificates and keys, rules about the peer's certificate, user and password.
//!
//! Not here: checking certificates (`verify`), versions and suites of TLS (`tls`).

use super::catalogue::{BOTH, CLIENT, Entry, SERVER, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, doubt, ignore, refuse};
use super::lexer::Directive;
use super::material::Material;
use super::value::{self, choice, text};

/// Our own certificate and key, and the authorities that vouch for the other end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Certificates of authorities, PEM.
    pub ca: Option<Material>,
    /// Our certificate, PEM.
    pub cert: Option<Material>,
    /// Its key, PEM.
    pub key: Option<Material>,
    /// Certificates between ours and the authority, PEM.
    pub extra_certs: Option<Material>,
    /// All of it in one file: PKCS#12, in base64 if it is inline.
    pub pkcs12: Option<Material>,
    /// A file whose first line decrypts the key. `None`: a person is asked, if it is encrypted.
    pub key_password: Option<Material>,
}

/// What the other end's certificate must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerRules {
    /// It is for this kind of end, by key usage and extended key usage (`remote-cert-tls`).
    pub kind: Option<PeerKind>,
    /// It has one of these key usages, as bits (`remote-cert-ku`). Empty: not asked.
    pub key_usages: Vec<u16>,
    /// It has this extended key usage: an OID, or OpenSSL's name of one.
    pub extended_key_usage: Option<String>,
    /// It bears this name.
    pub name: Option<PeerName>,
    /// It is one of these, by SHA-256; no authority is asked then. Empty: not asked.
    pub fingerprints: Vec<[u8; 32]>,
    /// The certificate of who signed it is one of these, by SHA-256. Empty: not asked.
    pub issuer_fingerprints: Vec<[u8; 32]>,
    /// Which certificates are withdrawn.
    pub crl: Option<Crl>,
}

/// The two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// A server.
    Server,
    /// A client.
    Client,
}

/// A name that the certificate must bear; compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    /// The whole subject, as OpenSSL prints it: `C=DE, O=Example, CN=vpn`.
    Subject(String),
    /// The common name.
    Common(String),
    /// The beginning of the common name.
    CommonPrefix(String),
}

/// Withdrawn certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crl {
    /// A list.
    List(Material),
    /// A directory in which a file is called like each withdrawn serial number.
    Directory(String),
}

/// User and password of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Two lines: user, password. `None`: a person is asked.
    pub source: Option<Material>,
}

/// What a client does when its password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthRetry {
    /// It ends.
    #[default]
    Never,
    /// It tries again with the same.
    Same,
    /// It asks again.
    Ask,
}

/// A question that goes with user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticChallenge {
    /// What the person reads.
    pub question: String,
    /// The answer may be seen while it is typed.
    pub echo: bool,
    /// The answer is written behind the password, not beside it.
    pub concatenate: bool,
}

/// What a client says of its user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginOptions {
    /// User and password, if the server wants them.
    pub login: Option<Login>,
    /// The password is asked for or read each time, not kept.
    pub forget: bool,
    /// What is done when they are refused.
    pub retry: AuthRetry,
    /// A question beside them.
    pub challenge: Option<StaticChallenge>,
}

/// What stands in place of a file where a person is asked.
pub(super) const ASKED: &str = "stdin";

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("askpass", BOTH, 0, 1, |draft, d| {
        let is_asked = d.block.is_none() && d.word(1).is_none_or(|file| file == ASKED);
        draft.identity.key_password =
            if is_asked { None } else { value::material(d)?.or(draft.identity.key_password.take()) };
        draft.announce(d)
    }),
    read("auth-nocache", BOTH, 0, 0, |draft, _| {
        draft.login.forget = true;
        let why = "the password is kept in memory while the tunnel is up, for nobody is asked again when the connection is made anew";
        doubt(why, "ask the server's owner for `auth-gen-token`, which takes the password's place")
    }),
    read("auth-retry", CLIENT, 1, 1, |draft, d| {
        let kinds = [("none", AuthRetry::Never), ("nointeract", AuthRetry::Same), ("interact", AuthRetry::Ask)];
        draft.login.retry = choice(d, 1, &kinds)?;
        if draft.login.retry == AuthRetry::Ask {
            let why = "nobody is asked again by the daemon: a password that is refused later ends the connection, and the tunnel stays closed";
            return doubt(why, "take it down and bring it up again, which asks");
        }
        Ok(Said::Accepted)
    }),
    read("auth-user-pass", CLIENT, 0, 1, auth_user_pass),
    read("ca", BOTH, 1, 1, |draft, d| {
        draft.identity.ca = value::material(d)?.or_else(|| draft.identity.ca.take());
        draft.announce(d)
    }),
    refused(
        "capath",
        BOTH,
        "a directory of authorities is OpenSSL's way, with names made of hashes",
        "put the certificates into one file, and write `ca FILE`",
    ),
    read("cert", BOTH, 1, 1, |draft, d| {
        draft.identity.cert = value::material(d)?.or_else(|| draft.identity.cert.take());
        draft.announce(d)
    }),
    read("crl-verify", BOTH, 1, 2, crl_verify),
    refused(
        "cryptoapicert",
        BOTH,
        "this is a key in the certificate store of Windows, and adit cannot ask it",
        "export the key, and write `pkcs12 FILE`",
    ),
    read("extra-certs", BOTH, 1, 1, |draft, d| {
        draft.identity.extra_certs = value::material(d)?.or_else(|| draft.identity.extra_certs.take());
        draft.announce(d)
    }),
    read("key", BOTH, 1, 1, |draft, d| {
        draft.identity.key = value::material(d)?.or_else(|| draft.identity.key.take());
        draft.announce(d)
    }),
    read("ns-cert-type", BOTH, 1, 1, |draft, d| {
        let kind = peer_kind(d)?;
        draft.peer.kind = Some(kind);
        let why = "this asks for an extension that certificates no longer have; it is taken as `remote-cert-tls`, which is stricter";
        doubt(why, format!("write remote-cert-tls {}", text(d, 1)?))
    }),
    read("peer-fingerprint", BOTH, 1, 1, |draft, d| {
        let list = fingerprints(d)?;
        list.into_iter().try_for_each(|one| value::add(&mut draft.peer.fingerprints, one))?;
        Ok(Said::Accepted)
    })
    .many(),
    read("pkcs12", BOTH, 1, 1, |draft, d| {
        draft.identity.pkcs12 = value::material(d)?.or_else(|| draft.identity.pkcs12.take());
        draft.announce(d)
    }),
    refused("pkcs11-cert-private", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-id", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-id-management", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-pin-cache", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-private-mode", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-protected-authentication", BOTH, TOKEN.0, TOKEN.1),
    refused("pkcs11-providers", BOTH, TOKEN.0, TOKEN.1),
    read("remote-cert-eku", BOTH, 1, 1, |draft, d| {
        draft.peer.extended_key_usage = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    read("remote-cert-ku", BOTH, 0, 15, remote_cert_ku),
    read("remote-cert-tls", BOTH, 1, 1, |draft, d| {
        draft.peer.kind = Some(peer_kind(d)?);
        Ok(Said::Accepted)
    }),
    read("static-challenge", CLIENT, 2, 3, static_challenge),
    refused(
        "tls-remote",
        BOTH,
        "OpenVPN has removed this option: it compared names in a form of its own",
        "write `verify-x509-name NAME name`",
    ),
    read("verify-hash", BOTH, 1, 2, verify_hash).many(),
    read("verify-x509-name", BOTH, 1, 2, verify_x509_name),
    ignored(
        "x509-track",
        BOTH,
        1,
        1,
        "it shows parts of certificates to scripts; `adit status` shows the peer's certificate",
    )
    .many(),
    read("x509-username-field", SERVER, 1, 15, |draft, d| {
        let fields = d.words.iter().skip(1).map(|word| word.text.clone()).collect();
        draft.server.username_fields = fields;
        Ok(Said::Accepted)
    }),
];

const TOKEN: (&str, &str) =
    ("adit cannot ask a key on a smart card (PKCS#11)", "use `cert` and `key`, or `pkcs12`, with a key in a file");

fn peer_kind(d: &Directive) -> Result<PeerKind, Refusal> {
    choice(d, 1, &[("server", PeerKind::Server), ("client", PeerKind::Client)])
}

fn auth_user_pass(draft: &mut Draft, d: &Directive) -> Outcome {
    let source = if d.block.is_none() && d.word(1).is_none_or(|file| file == ASKED) {
        None
    } else if d.word(1) == Some("username-only") {
        return refuse(
            1,
            "a login without a password is not spoken here",
            "write `auth-user-pass`, and leave the password empty",
        );
    } else {
        // What is only announced takes nothing from a block that was there.
        let before = draft.login.login.take().and_then(|login| login.source);
        value::material(d)?.or(before)
    };
    draft.login.login = Some(Login { source });
    draft.announce(d)
}

fn crl_verify(draft: &mut Draft, d: &Directive) -> Outcome {
    draft.peer.crl = match (d.word(2), value::material(d)?) {
        (Some("dir"), _) => Some(Crl::Directory(text(d, 1)?.to_owned())),
        (Some(_), _) => {
            return refuse(2, "there is no such choice", "write `crl-verify FILE`, or `crl-verify DIRECTORY dir`");
        }
        (None, Some(list)) => Some(Crl::List(list)),
        (None, None) => return draft.announce(d),
    };
    draft.announce(d)
}

/// Bytes with colons between them, as `openssl x509 -fingerprint -sha256` prints them.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut parts = text.trim().split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

fn fingerprints(d: &Directive) -> Result<Vec<[u8; 32]>, Refusal> {
    const LOOKS: &str = "write the SHA-256 fingerprint, 32 bytes with colons between: \
        openssl x509 -fingerprint -sha256 -noout -in CERTIFICATE";
    let Some(block) = &d.block else {
        return match fingerprint(text(d, 1)?) {
            Some(one) => Ok(vec![one]),
            None => refuse(1, "this is not a fingerprint", LOOKS),
        };
    };
    let mut list = Vec::new();
    for (line, number) in block.text.expose().lines().map(str::trim).zip(block.first_line..) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match fingerprint(line) {
            Some(one) => value::add(&mut list, one)?,
            None => return refuse(0, format!("line {number} is not a fingerprint"), LOOKS),
        }
    }
    if list.is_empty() { refuse(0, "the block holds no fingerprint", LOOKS) } else { Ok(list) }
}

fn verify_hash(draft: &mut Draft, d: &Directive) -> Outcome {
    if d.word(2).is_some_and(|word| !word.eq_ignore_ascii_case("SHA256")) {
        return refuse(
            2,
            "only SHA-256 tells certificates apart safely",
            "write the SHA-256 fingerprint of the authority's certificate",
        );
    }
    let list = fingerprints(d)?;
    list.into_iter().try_for_each(|one| value::add(&mut draft.peer.issuer_fingerprints, one))?;
    Ok(Said::Accepted)
}

fn remote_cert_ku(draft: &mut Draft, d: &Directive) -> Outcome {
    // Without a value: any usage that a peer of TLS can have, which the other rules ask for anyway.
    let mut usages = Vec::new();
    for n in 1..=d.arguments() {
        match u16::from_str_radix(text(d, n)?.trim_start_matches("0x"), 16) {
            Ok(bits) => usages.push(bits),
            Err(_) => return refuse(n, "this is not a key usage", "write its bits in base 16, such as a0"),
        }
    }
    draft.peer.key_usages = usages;
    Ok(Said::Accepted)
}

fn static_challenge(draft: &mut Draft, d: &Directive) -> Outcome {
    draft.login.challenge = Some(StaticChallenge {
        question: text(d, 1)?.to_owned(),
        echo: choice(d, 2, &[("0", false), ("1", true)])?,
        concatenate: d.arguments() > 2 && choice(d, 3, &[("scrv1", false), ("concat", true)])?,
    });
    Ok(Said::Accepted)
}

fn verify_x509_name(draft: &mut Draft, d: &Directive) -> Outcome {
    let name = text(d, 1)?.to_owned();
    let wildcard = name.starts_with("*.");
    draft.peer.name = Some(match d.word(2) {
        None | Some("subject") => PeerName::Subject(name),
        Some("name") => PeerName::Common(name),
        Some("name-prefix") => PeerName::CommonPrefix(name),
        Some(_) => return refuse(2, "there is no such choice", "write `subject`, `name` or `name-prefix`"),
    });
    if matches!(draft.peer.name, Some(PeerName::Subject(_))) && !text(d, 1)?.contains('=') {
        let instead = format!("write verify-x509-name {} name", d.rest());
        return doubt(
            "without a second word the whole subject is compared, such as `C=DE, O=Example, CN=vpn`",
            instead,
        );
    }
    if wildcard {
        return doubt("names are compared letter by letter, `*` too", "write the name as it stands in the certificate");
    }
    Ok(Said::Accepted)
}

/// `dh`: rustls has no finite-field Diffie-Hellman, and needs no parameters.
pub(super) fn dh(_: &mut Draft, d: &Directive) -> Outcome {
    if d.word(1) == Some("none") {
        return Ok(Said::Accepted);
    }
    ignore("keys are agreed on elliptic curves, which need no such parameters")
}

//! A client, and what both ends have, as configurations describe them: every setting in the terms of the core, or why this build
//! cannot keep to it.
//!
//! Nothing that claims security is left away in silence: what the core does not do is refused here, with the way out. Not
//! here: servers (`assemble::server`), reading lines (`options`), files (whoever has a disk puts them into the text first),
//! names and sockets.

mod keys;
mod server;
#[cfg(test)]
mod tests;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{CipherSuite, NamedGroup};
use thiserror::Error;

pub use self::server::{server, server_spoken};
use crate::client::{ClientConfig, ControlWrap};
use crate::data::MssFix;
use crate::key_file::{ClientKey, KeyFileError, StaticKey};
use crate::options::{self, Crl, KeyDirection, Material, OnSilence, PeerKind, PeerName, TlsVersion};
use crate::session::{Credentials, Times};
use crate::tls::TlsSettings;
use crate::verify::{NameRule, PeerRules, RulesError};
use crate::wrap::Direction;
use crate::{Revoked, Role};

/// A configuration that this build cannot keep to.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// A setting that the core does not have.
    #[error("`{option}`: {why}\n  hint: {hint}")]
    NotSpoken {
        /// The option.
        option: &'static str,
        /// Why not.
        why: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A file that was not put into the text.
    #[error("`{option} {name}` names a file, and its content is not here\n  hint: `adit import` takes it in")]
    Elsewhere {
        /// The option.
        option: &'static str,
        /// The file.
        name: String,
    },
    /// A certificate, key or list that cannot be read.
    #[error("`{option}`: {why}\n  hint: {hint}")]
    Damaged {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A key that is encrypted, and whose password is not in the configuration.
    #[error(
        "`{option}` is encrypted, and its password is not here\n  hint: bring it up on a terminal, where `adit up` asks for it, \
         or write `askpass FILE`, with the password in the file's first line"
    )]
    Locked {
        /// The option.
        option: &'static str,
    },
    /// A password that does not open the key.
    #[error(
        "`{option}`: the password of the key is wrong\n  hint: it is that of the key, not the user's; \
         `openssl {} -in FILE -noout` asks for it too", asked_by_openssl(.option)
    )]
    WrongPassword {
        /// The option.
        option: &'static str,
    },
    /// A key of the control channel that cannot be read.
    #[error("`{option}`: {why}")]
    Key {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        why: KeyFileError,
    },
}

/// The command of OpenSSL's that opens what this option names.
fn asked_by_openssl(option: &str) -> &'static str {
    if option == "pkcs12" { "pkcs12" } else { "pkey" }
}

/// The settings of a client. Remotes are not among them: names have to be looked up first.
///
/// # Errors
/// The first thing that this build cannot keep to.
pub fn client(config: &options::ClientConfig, login: Option<Credentials>) -> Result<ClientConfig, Unusable> {
    let common = &config.common;
    spoken(config)?;
    let first = config.remotes.first();
    let defaults = ClientConfig::default();
    let patience = first.map(|remote| remote.connect_timeout);
    let mtu = first.and_then(|remote| remote.sizes.tun_mtu).unwrap_or(defaults.mtu);
    let fragment = config.remotes.iter().filter_map(|remote| remote.sizes.fragment).min();
    let mssfix = first.and_then(|remote| remote.sizes.mssfix).unwrap_or_else(|| MssFix::unsaid(mtu, fragment));
    let relayed = config.remotes.iter().map(options::Remote::relay_header).max().unwrap_or(0);
    Ok(ClientConfig {
        remotes: Vec::new(),
        stream: config.remotes.iter().all(|remote| remote.transport == options::Transport::Tcp),
        wraps: config.remotes.iter().map(|remote| wrap(config, &remote.wrap)).collect::<Result<_, _>>()?,
        tls: tls(common, Role::Client)?,
        ciphers: common.data.ciphers.clone(),
        fallback_cipher: common.data.fallback,
        digest: common.data.digest,
        framing: common.data.framing.into(),
        credentials: login,
        pulling: config.pulling.clone(),
        peer_info: common.hooks.peer_info.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        block_ipv6: common.inside.block_ipv6,
        fragment,
        mssfix: mssfix.with_room_for(relayed),
        mtu,
        times: times(common, patience),
        ping: common.life.ping,
        ping_restart: common.life.silence.map_or(defaults.ping_restart, |(time, _)| Some(time)),
        reconnect: first.map_or(defaults.reconnect, |remote| remote.retry),
    })
}

/// Whether silence of the server is the end (`ping-exit`).
pub fn ends_on_silence(config: &options::ClientConfig) -> bool {
    matches!(config.common.life.silence, Some((_, OnSilence::Exit)))
}

const LATER: &str = "this build of adit does not do that yet";

fn not_spoken(is_asked: bool, option: &'static str, why: &'static str, hint: &'static str) -> Result<(), Unusable> {
    if is_asked { Err(Unusable::NotSpoken { option, why, hint }) } else { Ok(()) }
}

/// Whether this build can do all that a client's configuration asks for. No key is opened for it.
///
/// # Errors
/// The first thing that it cannot ([`Unusable::NotSpoken`]).
pub fn spoken(config: &options::ClientConfig) -> Result<(), Unusable> {
    let peer = &config.common.peer;
    let any = |wanted: fn(&options::Remote) -> bool| config.remotes.iter().any(wanted);
    not_spoken(
        config
            .remotes
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one.sizes.fragment.is_some() != other.sizes.fragment.is_some())),
        "fragment",
        "some of the remotes have it and some have not, which this build of adit does not do yet",
        "put each kind of remotes into a file of its own",
    )?;
    not_spoken(
        any(|remote| remote.sizes.fragment.is_some() && remote.transport == options::Transport::Tcp),
        "fragment",
        "over TCP nothing is cut, and the server does not expect it",
        "remove the line, or the remotes over TCP",
    )?;
    not_spoken(any(|remote| remote.local.is_some()), "local", LATER, "remove the line; the routing table chooses")?;
    of_both(&config.common)?;
    not_spoken(
        matches!(peer.crl, Some(Crl::Directory(_))),
        "crl-verify",
        "a directory of withdrawn certificates is looked at for servers only",
        "write `crl-verify FILE`, with a list that the authority signed",
    )?;
    not_spoken(
        config.common.hooks.run.iter().any(|hook| hook.moment == options::Moment::TlsVerify),
        "tls-verify",
        "no program is asked about certificates",
        "write `verify-x509-name` or `peer-fingerprint`, which say the same without a program",
    )?;
    not_spoken(
        peer.kind == Some(PeerKind::Client),
        "remote-cert-tls",
        "the other end of a client is a server",
        "write `remote-cert-tls server`",
    )?;
    not_spoken(
        !(peer.key_usages.is_empty() || states_its_role(peer)),
        "remote-cert-ku",
        "key usages are compared together with the extended one only",
        "write `remote-cert-tls server`, which is stricter",
    )?;
    not_spoken(
        peer.extended_key_usage.is_some() && !states_its_role(peer),
        "remote-cert-eku",
        "only the usage of servers is looked for",
        "write `remote-cert-tls server`",
    )
}

/// What neither end does.
fn of_both(common: &options::Common) -> Result<(), Unusable> {
    let options::Common { peer, rekeying, socket, .. } = common;
    not_spoken(socket.device.is_some(), "bind-dev", LATER, "remove the line; the routing table chooses")?;
    not_spoken(
        !peer.issuer_fingerprints.is_empty(),
        "verify-hash",
        LATER,
        "write `peer-fingerprint` with the fingerprint of the other end's own certificate",
    )?;
    not_spoken(
        rekeying.after_bytes.is_some() || rekeying.after_packets.is_some(),
        "reneg-bytes",
        "keys are renewed by time, and before a cipher's own limit",
        "remove the line; `reneg-sec` renews more often",
    )
}

/// Whether the server's certificate must say that it is one.
fn states_its_role(peer: &options::PeerRules) -> bool {
    states_that_it_is(Role::Server, peer)
}

/// Whether the certificate of the other end, which has this role, must say so.
fn states_that_it_is(role: Role, peer: &options::PeerRules) -> bool {
    const OF_SERVERS: [&str; 3] = ["TLS Web Server Authentication", "serverAuth", "1.3.6.1.5.5.7.3.1"];
    const OF_CLIENTS: [&str; 3] = ["TLS Web Client Authentication", "clientAuth", "1.3.6.1.5.5.7.3.2"];
    let (kind, usages) =
        if role == Role::Server { (PeerKind::Server, OF_SERVERS) } else { (PeerKind::Client, OF_CLIENTS) };
    peer.kind == Some(kind) || peer.extended_key_usage.as_deref().is_some_and(|usage| usages.contains(&usage))
}

fn times(common: &options::Common, patience: Option<std::time::Duration>) -> Times {
    let (defaults, rekeying) = (Times::default(), &common.rekeying);
    let hand_window = rekeying.hand_window.unwrap_or(defaults.hand_window);
    Times {
        retransmit: common.tls.first_timeout.unwrap_or(defaults.retransmit),
        hand_window: patience.map_or(hand_window, |patience| patience.min(hand_window)),
        transition_window: rekeying.transition.unwrap_or(defaults.transition_window),
        renegotiate: rekeying.after.unwrap_or(defaults.renegotiate),
    }
}

fn wrap(config: &options::ClientConfig, wrap: &options::ControlWrap) -> Result<ControlWrap, Unusable> {
    Ok(match wrap {
        options::ControlWrap::Plain => ControlWrap::Plain,
        options::ControlWrap::TlsAuth { key: material, direction: way } => ControlWrap::TlsAuth {
            key: shared_key("tls-auth", material)?,
            digest: config.common.data.digest,
            direction: way.map(direction),
        },
        options::ControlWrap::TlsCrypt { key: material } => ControlWrap::TlsCrypt(shared_key("tls-crypt", material)?),
        options::ControlWrap::TlsCryptV2 { key: material } => {
            let option = "tls-crypt-v2";
            let key = ClientKey::parse(text(option, material)?).map_err(|why| Unusable::Key { option, why })?;
            ControlWrap::TlsCryptV2(key)
        }
    })
}

fn shared_key(option: &'static str, material: &Material) -> Result<StaticKey, Unusable> {
    StaticKey::parse(text(option, material)?).map_err(|why| Unusable::Key { option, why })
}

const fn direction(direction: KeyDirection) -> Direction {
    match direction {
        KeyDirection::Normal => Direction::Normal,
        KeyDirection::Inverse => Direction::Inverse,
    }
}

fn text<'a>(option: &'static str, material: &'a Material) -> Result<&'a str, Unusable> {
    match material {
        Material::Inline(text) => Ok(text.expose()),
        Material::File(name) => Err(Unusable::Elsewhere { option, name: name.clone() }),
    }
}

/// Certificates and rules of this end.
fn tls(common: &options::Common, ours: Role) -> Result<TlsSettings, Unusable> {
    let options::Common { identity, peer, tls, .. } = common;
    let authorities = identity.ca.as_ref().map(|ca| certificates_of("ca", ca)).transpose()?;
    let revoked = match &peer.crl {
        Some(Crl::List(list)) => lists(text("crl-verify", list)?)?,
        Some(Crl::Directory(_)) | None => Vec::new(),
    };
    let name = peer.name.clone().map(|name| match name {
        PeerName::Subject(name) => NameRule::Subject(name),
        PeerName::Common(name) => NameRule::Name(name),
        PeerName::CommonPrefix(name) => NameRule::NamePrefix(name),
    });
    // Last: a password that has to be asked for hides nothing else that is wrong.
    let own = keys::own(identity)?;
    // Where the configuration names authorities, those of a bundle vouch for nobody (measured: OpenVPN 2.6.14).
    let authorities = authorities.unwrap_or(own.others);
    Ok(TlsSettings {
        certificates: own.certificates,
        key: own.key,
        peer: PeerRules {
            authorities,
            fingerprints: peer.fingerprints.clone(),
            role_stated: states_that_it_is(ours.other(), peer),
            name,
            revoked,
            may_be_absent: false,
        },
        only_tls13: tls.least == Some(TlsVersion::V1_3),
        only_tls12: tls.most == Some(TlsVersion::V1_2),
        suites: suites(tls),
        groups: tls.groups.iter().filter_map(|name| group(name)).collect(),
    })
}

fn certificates_of(option: &'static str, material: &Material) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    const HINT: &str = "it is a PEM file: `-----BEGIN CERTIFICATE-----`";
    let damaged = |why: String| Unusable::Damaged { option, why, hint: HINT };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(option, material)?.as_bytes()).collect();
    let found = found.map_err(|error| damaged(format!("a certificate cannot be read: {error}")))?;
    if found.is_empty() { Err(damaged("there is no certificate in it".to_owned())) } else { Ok(found) }
}

/// Certificates that are withdrawn, as the content of `crl-verify FILE` says it.
///
/// # Errors
/// It is no list, or damaged ([`Unusable::Damaged`]).
pub fn revoked(pem: &str) -> Result<Revoked, Unusable> {
    Revoked::of_lists(&lists(pem)?).map_err(|error| match error {
        RulesError::Revoked { number, why } => no_list(format!("list {number} cannot be read: {why}")),
        RulesError::Authority { .. } | RulesError::NoTrust => no_list(error.to_string()),
    })
}

fn lists(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| no_list(format!("the list cannot be read: {error}")))?;
    // Without a list nothing would be compared, and a withdrawn certificate let in.
    if found.is_empty() { Err(no_list("there is no list in it".to_owned())) } else { Ok(found) }
}

const fn no_list(why: String) -> Unusable {
    Unusable::Damaged { option: "crl-verify", why, hint: "it is a PEM file: `-----BEGIN X509 CRL-----`" }
}

/// Suites of both versions; empty: all. Where only one version's are named, the other's stay as they are.
fn suites(tls: &options::TlsOptions) -> Vec<CipherSuite> {
    if tls.suites.is_empty() && tls.suites13.is_empty() {
        return Vec::new();
    }
    let is = |asked: &str, name: &str| asked.eq_ignore_ascii_case(name);
    let in_13 = |name: &str| tls.suites13.is_empty() || tls.suites13.iter().any(|asked| is(asked, name));
    // What is not a name of one of ours (`DEFAULT`, `HIGH`) stands for all that we have, but for those it takes away.
    let by_name: Vec<_> =
        tls.suites.iter().filter(|asked| SUITES_12.iter().any(|s| is(asked, s.0) || is(asked, s.1))).collect();
    let in_12 = |openssl: &str, iana: &str| {
        by_name.is_empty() || by_name.iter().any(|asked| is(asked, openssl) || is(asked, iana))
    };
    let taken = |openssl: &str, iana: &str| {
        let excluded = tls.suites.iter().filter_map(|asked| asked.strip_prefix(['!', '-']));
        excluded.into_iter().any(|asked| is(asked, openssl) || is(asked, iana))
    };
    let new = SUITES_13.iter().filter(|(name, _)| in_13(name)).map(|(_, suite)| *suite);
    let old = SUITES_12
        .iter()
        .filter(|(openssl, iana, _)| in_12(openssl, iana) && !taken(openssl, iana))
        .map(|suite| suite.2);
    new.chain(old).collect()
}

const SUITES_13: [(&str, CipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

#[rustfmt::skip]
const SUITES_12: [(&str, &str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

fn group(name: &str) -> Option<NamedGroup> {
    match name.to_ascii_uppercase().as_str() {
        "X25519MLKEM768" => Some(NamedGroup::X25519MLKEM768),
        "X25519" => Some(NamedGroup::X25519),
        "SECP256R1" | "PRIME256V1" | "P-256" => Some(NamedGroup::secp256r1),
        "SECP384R1" | "P-384" => Some(NamedGroup::secp384r1),
        "SECP521R1" | "P-521" => Some(NamedGroup::secp521r1),
        _ => None,
    }
}

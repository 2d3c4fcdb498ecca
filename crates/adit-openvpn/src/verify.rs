//! Who the peer must be: chains of certificates by OpenVPN's rules, which are not those of the web.
//!
//! A certificate need not carry a host's name; what it must say is in [`PeerRules`]. Not here: our own certificate, the
//! handshake (`tls`).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use thiserror::Error;
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{Revoked, Role, shows};

/// What a peer's certificate must be, beside valid.
#[derive(Debug, Clone, Default)]
pub struct PeerRules {
    /// Authorities that may have signed it (`ca`). May be empty where `fingerprints` are given.
    pub authorities: Vec<CertificateDer<'static>>,
    /// SHA-256 of the certificates that are accepted (`peer-fingerprint`); empty: any that the authorities signed.
    pub fingerprints: Vec<[u8; 32]>,
    /// It must say that it is for the peer's role (`remote-cert-tls`).
    pub role_stated: bool,
    /// What its subject must be (`verify-x509-name`).
    pub name: Option<NameRule>,
    /// Lists of certificates that are revoked (`crl-verify`).
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Whether clients may have none (`verify-client-cert none` and `optional`); of no meaning for servers.
    pub may_be_absent: bool,
}

/// How the subject of a certificate is compared: literally, never as a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameRule {
    /// The whole subject: `C=DE, O=Example, CN=server`.
    Subject(String),
    /// The common name.
    Name(String),
    /// The beginning of the common name.
    NamePrefix(String),
}

/// Why a certificate was refused: which one, by which rule, and what to do.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read.
    #[error("the certificate of the peer is damaged: {0}")]
    Unreadable(String),
    /// Nobody we trust signed it, or the chain has a fault.
    #[error("the certificate `{subject}` is not accepted: {why}")]
    Chain {
        /// Its subject.
        subject: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Its fingerprint is not on the list.
    #[error(
        "the certificate `{subject}` has the fingerprint {found}, which `peer-fingerprint` does not list\n  hint: add it if the peer's owner confirms it"
    )]
    Fingerprint {
        /// Its subject.
        subject: String,
        /// SHA-256, as hexadecimal digits.
        found: String,
    },
    /// It does not say that it is for the peer's role.
    #[error(
        "the certificate `{subject}` does not say that it is for a {role}, which `remote-cert-tls {role}` demands: {missing} is missing\n  hint: have it issued with that extension, or leave the option away"
    )]
    Role {
        /// Its subject.
        subject: String,
        /// `server` or `client`.
        role: &'static str,
        /// The extension.
        missing: &'static str,
    },
    /// Its subject is another.
    #[error("the certificate is that of `{subject}`, and `verify-x509-name` demands `{wanted}`")]
    Name {
        /// What it says.
        subject: String,
        /// What is demanded.
        wanted: String,
    },
}

/// The rules, ready to be asked by TLS.
pub(crate) struct Verifier {
    peer: Role,
    rules: PeerRules,
    anchors: Vec<TrustAnchor<'static>>,
    /// Looked at in key exchanges only, and changed while the server runs.
    revoked: RwLock<Revoked>,
    algorithms: WebPkiSupportedAlgorithms,
    subjects: Vec<DistinguishedName>,
}

/// The rules themselves cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RulesError {
    /// An authority's certificate cannot be read.
    #[error("certificate {number} of `ca` is damaged: {why}\n  hint: copy it again, whole")]
    Authority {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// A revocation list cannot be read.
    #[error("list {number} of `crl-verify` is damaged: {why}\n  hint: copy it again, whole")]
    Revoked {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// Neither authorities nor fingerprints.
    #[error("nothing says whom to trust\n  hint: give `ca`, or `peer-fingerprint`")]
    NoTrust,
}

impl Verifier {
    pub(crate) fn new(peer: Role, rules: PeerRules, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, RulesError> {
        let absent = peer == Role::Client && rules.may_be_absent;
        if rules.authorities.is_empty() && rules.fingerprints.is_empty() && !absent {
            return Err(RulesError::NoTrust);
        }
        let mut anchors = Vec::new();
        for (number, der) in (1..).zip(&rules.authorities) {
            let anchor = anchor_from_trusted_cert(der)
                .map_err(|error| RulesError::Authority { number, why: error.to_string() })?;
            anchors.push(anchor.to_owned());
        }
        let revoked = RwLock::new(Revoked::of_lists(&rules.revoked)?);
        let subjects = anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref())).collect();
        Ok(Self { peer, rules, anchors, revoked, algorithms, subjects })
    }

    /// These are withdrawn, and no others.
    pub(crate) fn revoke(&self, revoked: Revoked) {
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = revoked;
    }

    /// Whether certificates that were accepted are withdrawn since.
    pub(crate) fn is_revoked(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let may_be = self.revoked.read().unwrap_or_else(PoisonError::into_inner).may_name(chain);
        let Some((leaf, between)) = chain.split_first().filter(|_| may_be) else { return false };
        self.check(leaf, between, now).is_err()
    }

    /// The rules, one after the other, cheap ones last: what is forged must fail before it is read.
    fn check(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Refused> {
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| Refused::Unreadable(error.to_string()))?;
        let subject = subject_of(&parsed);
        // Whatever is shown counts, also an authority between: who is withdrawn vouches for nobody.
        let beside = between.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1));
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        if revoked.has_serial(&parsed) || beside.into_iter().any(|one| revoked.has_serial(&one)) {
            let why = "it was revoked: its serial number, or that of an authority shown with it, is in the directory of \
                       `crl-verify`";
            return Err(Refused::Chain { subject, why: why.to_owned() });
        }
        drop(revoked);
        if !self.anchors.is_empty() {
            self.chain(leaf, between, now).map_err(|why| Refused::Chain { subject: subject.clone(), why })?;
        }
        if !self.rules.fingerprints.is_empty() {
            let found = digest(&SHA256, leaf);
            if !self.rules.fingerprints.iter().any(|known| found.as_ref() == known) {
                let found = found.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
                return Err(Refused::Fingerprint { subject, found });
            }
        }
        self.role(&parsed)?;
        self.name(&parsed)
    }

    /// Signed by an authority, in time, not revoked.
    fn chain(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<(), String> {
        let usage = match self.peer {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let leaf = EndEntityCert::try_from(leaf).map_err(explain)?;
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let lists: Vec<_> = revoked.lists.iter().collect();
        // A missing list is no reason to refuse; a list that is out of date is.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let path = leaf
            .verify_for_usage(self.algorithms.all, &self.anchors, between, now, usage, revocation, None)
            .map_err(explain)?;
        self.authority_in_time(path.anchor(), now)
    }

    /// An authority that was renewed with its key stands there twice: one of them must be in time.
    fn authority_in_time(&self, found: &TrustAnchor<'_>, now: UnixTime) -> Result<(), String> {
        let same = |anchor: &TrustAnchor<'_>| {
            anchor.subject_public_key_info == found.subject_public_key_info && anchor.subject == found.subject
        };
        let roots = self.anchors.iter().zip(&self.rules.authorities).filter(|(anchor, _)| same(anchor));
        let mut verdicts = roots.map(|(_, root)| in_time(root, now));
        let Some(first) = verdicts.next() else { return Err("its authority is not among `ca`".into()) };
        if verdicts.any(|verdict| verdict.is_ok()) { Ok(()) } else { first }
    }

    /// `remote-cert-tls`: key usage is there, whatever it allows, and extended key usage names the role.
    fn role(&self, leaf: &X509Certificate<'_>) -> Result<(), Refused> {
        if !self.rules.role_stated {
            return Ok(());
        }
        let usage = leaf.key_usage().ok().flatten().is_some();
        let extended = leaf.extended_key_usage().ok().flatten();
        let (role, stated, purpose) = match self.peer {
            Role::Server => ("server", extended.is_some_and(|e| e.value.server_auth), "TLS Web Server Authentication"),
            Role::Client => ("client", extended.is_some_and(|e| e.value.client_auth), "TLS Web Client Authentication"),
        };
        let missing = match (usage, stated) {
            (true, true) => return Ok(()),
            (false, _) => "key usage",
            (true, false) => purpose,
        };
        Err(Refused::Role { subject: subject_of(leaf), role, missing })
    }

    fn name(&self, leaf: &X509Certificate<'_>) -> Result<(), Refused> {
        let common = || common_name(leaf).unwrap_or_default();
        let (subject, wanted, fits) = match &self.rules.name {
            None => return Ok(()),
            Some(NameRule::Subject(wanted)) => {
                let fits = leaf.subject().to_string() == *wanted;
                (subject_of(leaf), wanted, fits)
            }
            Some(NameRule::Name(wanted)) => (shown(&common()), wanted, common() == *wanted),
            Some(NameRule::NamePrefix(wanted)) => (shown(&common()), wanted, common().starts_with(wanted.as_str())),
        };
        if fits { Ok(()) } else { Err(Refused::Name { subject, wanted: wanted.clone() }) }
    }

    fn verdict(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.check(leaf, between, now).map_err(|refused| CertificateError::Other(OtherError(Arc::new(refused))).into())
    }
}

/// The common name of a certificate's subject.
pub(crate) fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.subject().iter_common_name().last()?.as_str().ok().map(str::to_owned)
}

/// An authority that is out of date signs nothing any more.
fn in_time(root: &CertificateDer<'_>, now: UnixTime) -> Result<(), String> {
    let (_, root) = X509Certificate::from_der(root).map_err(|error| error.to_string())?;
    let (now, validity) = (now.as_secs() as i64, root.validity());
    let subject = root.subject();
    if now > validity.not_after.timestamp() {
        let date = validity.not_after;
        return Err(format!(
            "the authority `{subject}` expired on {date}\n  hint: ask the network's owner for a new `ca`"
        ));
    }
    if now < validity.not_before.timestamp() {
        let date = validity.not_before;
        return Err(format!("the authority `{subject}` is valid only from {date} on\n  hint: is the clock right?"));
    }
    Ok(())
}

/// What is wrong with a chain, in words.
fn explain(error: webpki::Error) -> String {
    // One sentence for each that people meet; the library's own words for the rest.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds errors as it likes")]
    match error {
        webpki::Error::UnknownIssuer => {
            "no certificate of `ca` signed it, nor one that it came with\n  hint: is `ca` that of this network?".into()
        }
        webpki::Error::InvalidSignatureForPublicKey => {
            "no certificate of `ca` signed it, though one has the name of who did\n  hint: is `ca` that of this network?".into()
        }
        webpki::Error::CertExpired { not_after, .. } => {
            format!(
                "it, or one that signed it, expired {} s after 1970\n  hint: it must be issued again",
                not_after.as_secs()
            )
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            format!("it is valid only from {} s after 1970 on\n  hint: is the clock right?", not_before.as_secs())
        }
        webpki::Error::CertRevoked => "it is on the list of `crl-verify`: it was revoked".into(),
        webpki::Error::CrlExpired { .. } => {
            "the list of `crl-verify` is out of date\n  hint: the network's owner must issue it again".into()
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => "its extended key usage is for the other role".into(),
        webpki::Error::CaUsedAsEndEntity => {
            "it is that of an authority itself\n  hint: such certificates are accepted with `peer-fingerprint` alone"
                .into()
        }
        other => other.to_string(),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verdict(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.rules.may_be_absent
    }

    fn offer_client_auth(&self) -> bool {
        !self.rules.authorities.is_empty() || !self.rules.fingerprints.is_empty()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verdict(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The subject as a sentence can hold it: a stranger wrote it.
fn subject_of(certificate: &X509Certificate<'_>) -> String {
    shown(&certificate.subject().to_string())
}

/// A name of a stranger's, to be shown; never to be compared.
fn shown(name: &str) -> String {
    name.chars().filter(|c| shows(*c)).take(MAX_SHOWN).collect()
}

/// As much of a name is shown.
const MAX_SHOWN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server without a certificate cannot be; a client that accepted any would speak to anybody.
    #[test]
    fn only_clients_may_be_trusted_without_a_word_about_whom() {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let made = |peer, may_be_absent| {
            Verifier::new(peer, PeerRules { may_be_absent, ..PeerRules::default() }, algorithms).map(|_| ())
        };
        assert_eq!(made(Role::Server, true), Err(RulesError::NoTrust));
        assert_eq!(made(Role::Client, false), Err(RulesError::NoTrust));
        assert_eq!(made(Role::Client, true), Ok(()));
    }
}

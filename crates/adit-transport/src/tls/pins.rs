//! Is this the right server: the check of its certificate chain and of its pinned key, before anything is sent to it.
//!
//! Not here: the proof that the server holds the key of its certificate; each back end checks that signature itself.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use subtle::{Choice, ConstantTimeEq};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;
use crate::config::{Pin, Roots};

/// The pin of a certificate's key, if the certificate can be read.
pub fn pin_of_certificate(der: &[u8]) -> Option<Pin> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Pin::of(certificate.tbs_certificate.subject_pki.raw))
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub from: SystemTime,
    /// Not after this.
    pub until: SystemTime,
}

impl Validity {
    /// Of a certificate in DER, if it can be read.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let at = |seconds: i64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
        Some(Self { from: at(validity.not_before.timestamp())?, until: at(validity.not_after.timestamp())? })
    }

    /// Of the first certificate in a PEM file, if it can be read.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let first = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
        Self::of_certificate(&first)
    }
}

/// Is it one of these? Looks at all of them, whichever it is.
fn is_one_of(found: Pin, pins: &[Pin]) -> bool {
    pins.iter().fold(Choice::from(0), |any, pin| any | found.hash().ct_eq(pin.hash())).into()
}

/// Judges one server's certificates during one handshake, and remembers why it said no.
///
/// A failed handshake is an alert to the TLS library; the reason that a person can use is taken from here.
pub(super) struct Judge {
    host: String,
    name: ServerName<'static>,
    pins: Vec<Pin>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    refusal: OnceLock<Refusal>,
    seen: OnceLock<Validity>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("host", &self.host).field("pins", &self.pins).finish_non_exhaustive()
    }
}

/// Why a judge said no.
#[derive(Debug, Clone)]
enum Refusal {
    Untrusted(String),
    WrongKey(Pin),
}

/// The handshake must not go on.
#[derive(Debug)]
pub(super) struct Refused;

impl Judge {
    pub(super) fn new(host: &str, pins: &[Pin], roots: Roots, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let authorities = match roots {
            Roots::System => Some(system_roots()?),
            Roots::PinOnly if pins.is_empty() => return Err(TlsError::NoPin),
            Roots::PinOnly => None,
        };
        Self::with_authorities(host, pins, authorities, provider)
    }

    pub(super) fn with_authorities(
        host: &str,
        pins: &[Pin],
        authorities: Option<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::BadName { host: host.to_owned() })?;
        let chain = authorities
            .map(|authorities| WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider).build())
            .transpose()
            .map_err(|problem| TlsError::Roots { reason: problem.to_string() })?;
        Ok(Self {
            host: host.to_owned(),
            name,
            pins: pins.to_vec(),
            chain,
            refusal: OnceLock::new(),
            seen: OnceLock::new(),
        })
    }

    /// When the certificate is good that was judged, whatever came of it.
    pub(super) fn seen(&self) -> Option<Validity> {
        self.seen.get().copied()
    }

    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// The chain must lead to an authority (unless only the pin counts), and the key must be a pinned one, if any is.
    pub(super) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        if let Some(validity) = Validity::of_certificate(leaf) {
            // The first is the one that counts here, too.
            let _first = self.seen.set(validity);
        }
        let result = self.chain_leads_home(leaf, intermediates, now).and_then(|()| self.key_is_pinned(leaf));
        result.map_err(|problem| {
            // The first refusal is the one that counts.
            drop(self.refusal.set(problem));
            Refused
        })
    }

    /// Why this judge said no, or else what the handshake itself died of.
    pub(super) fn explain(&self, handshake: io::Error) -> TlsError {
        let host = self.host.clone();
        match self.refusal.get().cloned() {
            Some(Refusal::Untrusted(reason)) => TlsError::Untrusted { host, reason },
            Some(Refusal::WrongKey(found)) => TlsError::WrongKey { host, found },
            None => TlsError::Handshake { host, source: handshake },
        }
    }

    fn chain_leads_home(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let Some(chain) = &self.chain else { return Ok(()) };
        chain
            .verify_server_cert(leaf, intermediates, &self.name, &[], now)
            .map(|_| ())
            .map_err(|problem| Refusal::Untrusted(problem.to_string()))
    }

    fn key_is_pinned(&self, leaf: &CertificateDer<'_>) -> Result<(), Refusal> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let Some(found) = pin_of_certificate(leaf) else {
            return Err(Refusal::Untrusted("it cannot be read".to_owned()));
        };
        if is_one_of(found, &self.pins) { Ok(()) } else { Err(Refusal::WrongKey(found)) }
    }
}

/// The machine's certificate authorities.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = found.errors.first().map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return Err(TlsError::Roots { reason });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_several_pins_will_do() {
        let pins = [Pin::of(b"one"), Pin::of(b"two")];
        assert!(is_one_of(Pin::of(b"two"), &pins));
        assert!(!is_one_of(Pin::of(b"three"), &pins));
        assert!(!is_one_of(Pin::of(b"one"), &[]));
    }

    #[test]
    fn when_a_certificate_is_good_is_read_of_its_file() {
        let mut params = rcgen::CertificateParams::new(vec!["example.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of_pem(made.pem().as_bytes()).unwrap();
        assert_eq!(validity.until.duration_since(validity.from).unwrap(), Duration::from_secs(86_400));
        assert_eq!(Validity::of_certificate(made.der()), Some(validity));
        assert_eq!(Validity::of_pem(b"nothing"), None);
    }

    #[test]
    fn trusting_nobody_but_a_pin_needs_a_pin() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        assert!(matches!(Judge::new("example.test", &[], Roots::PinOnly, provider), Err(TlsError::NoPin)));
    }
}

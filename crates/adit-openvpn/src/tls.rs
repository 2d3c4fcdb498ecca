//! TLS as bytes in, bytes out, for both roles.
//!
//! Not here: who the peer must be (`verify`), how the bytes travel (`reliable`), what is said inside (`exchange`).

use std::fmt;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::aws_lc_rs::digest::{SHA256, digest};
use adit_protocol::Secret;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, Connection, InvalidMessage, NamedGroup, OtherError,
    ServerConfig, ServerConnection, SupportedProtocolVersion, version,
};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::verify::{PeerRules, Refused, RulesError, Verifier, common_name};
use crate::{Revoked, Role};

/// Our own certificate, and whom we trust.
#[derive(Debug, Default)]
pub struct TlsSettings {
    /// Our certificate, and those between it and the authority (`cert`, `extra-certs`). A client may have none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Its key (`key`).
    pub key: Option<PrivateKeyDer<'static>>,
    /// What the peer must be.
    pub peer: PeerRules,
    /// Only TLS 1.3 (`tls-version-min 1.3`).
    pub only_tls13: bool,
    /// Only TLS 1.2 (`tls-version-max 1.2`).
    pub only_tls12: bool,
    /// Suites that may be used (`tls-cipher`, `tls-ciphersuites`); empty: all that are spoken.
    pub suites: Vec<CipherSuite>,
    /// Groups that keys may be agreed on (`tls-groups`); empty: all that are spoken.
    pub groups: Vec<NamedGroup>,
}

/// Settings that TLS cannot be run with.
#[derive(Debug, Error)]
pub enum TlsSettingsError {
    /// Whom to trust.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Certificate and key.
    #[error("our own certificate and key cannot be used: {0}\n  hint: does `key` belong to `cert`?")]
    Own(rustls::Error),
    /// A server without a certificate.
    #[error("a server needs a certificate\n  hint: give `cert` and `key`")]
    NoCertificate,
    /// No version is left.
    #[error("no version of TLS is left\n  hint: `tls-version-min` must not be above `tls-version-max`")]
    NoVersion,
}

/// Why TLS came to an end, in words for people.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// We refuse the peer's certificate.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The peer refuses us or has nothing in common with us.
    #[error("the peer ended TLS: {0}\n  hint: its log says why")]
    Alert(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

/// What connections are made from.
#[derive(Clone)]
pub(crate) struct TlsFactory {
    config: Config,
    verifier: Arc<Verifier>,
    clock: Arc<Clock>,
}

#[derive(Clone)]
enum Config {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

/// The wall clock as TLS asks for it: what the core was told last.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

impl TlsFactory {
    pub(crate) fn new(role: Role, settings: TlsSettings) -> Result<Self, TlsSettingsError> {
        let (provider, versions) = (Arc::new(provider(&settings)), versions(&settings)?);
        let clock = Arc::new(Clock::default());
        let TlsSettings { certificates, key, peer, .. } = settings;
        let verifier = Arc::new(Verifier::new(role.other(), peer, provider.signature_verification_algorithms)?);
        let (who, when) = (Arc::clone(&verifier), Arc::clone(&clock));
        let config = match role {
            Role::Client => Config::Client(client_config((certificates, key), provider, versions, who, when)?),
            Role::Server => Config::Server(server_config((certificates, key), provider, versions, who, when)?),
        };
        Ok(Self { config, verifier, clock })
    }

    /// These certificates are withdrawn from now on, and no others.
    pub(crate) fn revoke(&self, revoked: Revoked) {
        self.verifier.revoke(revoked);
    }

    /// Whether a certificate that the peer has shown is withdrawn since.
    pub(crate) fn has_revoked(&self, tls: &Tls) -> bool {
        let chain = tls.connection.peer_certificates().unwrap_or_default();
        self.clock.current_time().is_some_and(|now| self.verifier.is_revoked(chain, now))
    }

    pub(crate) fn set_time(&self, unix: Duration) {
        self.clock.0.store(unix.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn connect(&self) -> Result<Tls, TlsFailure> {
        let connection = match &self.config {
            Config::Client(config) => {
                // Neither sent nor checked: whoever the peer must be is in the rules.
                let name =
                    ServerName::try_from("openvpn.invalid").map_err(|error| TlsFailure::Other(error.to_string()))?;
                ClientConnection::new(Arc::clone(config), name).map(Connection::from)
            }
            Config::Server(config) => ServerConnection::new(Arc::clone(config)).map(Connection::from),
        };
        Ok(Tls { connection: connection.map_err(failure)? })
    }
}

/// What TLS is done with: the suites and groups that the settings leave.
fn provider(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.suites.is_empty() {
        provider.cipher_suites.retain(|suite| settings.suites.contains(&suite.suite()));
    }
    if !settings.groups.is_empty() {
        // Groups beyond the usual ones are there when they are asked for.
        provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
        provider.kx_groups.retain(|group| settings.groups.contains(&group.name()));
        provider.kx_groups.sort_by_key(|group| settings.groups.iter().position(|asked| *asked == group.name()));
    }
    provider
}

static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
static ONLY_12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
static ONLY_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];

fn versions(settings: &TlsSettings) -> Result<&'static [&'static SupportedProtocolVersion], TlsSettingsError> {
    match (settings.only_tls12, settings.only_tls13) {
        (false, false) => Ok(&BOTH),
        (true, false) => Ok(&ONLY_12),
        (false, true) => Ok(&ONLY_13),
        (true, true) => Err(TlsSettingsError::NoVersion),
    }
}

/// Certificates and their key.
type Papers = (Vec<CertificateDer<'static>>, Option<PrivateKeyDer<'static>>);

fn client_config(
    (certificates, key): Papers,
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    verifier: Arc<Verifier>,
    clock: Arc<Clock>,
) -> Result<Arc<ClientConfig>, TlsSettingsError> {
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(versions)
        .map_err(TlsSettingsError::Own)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match key {
        Some(key) => builder.with_client_auth_cert(certificates, key).map_err(TlsSettingsError::Own)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

fn server_config(
    (certificates, key): Papers,
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    verifier: Arc<Verifier>,
    clock: Arc<Clock>,
) -> Result<Arc<ServerConfig>, TlsSettingsError> {
    let key = key.ok_or(TlsSettingsError::NoCertificate)?;
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(versions)
        .map_err(TlsSettingsError::Own)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(TlsSettingsError::Own)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// One TLS connection.
pub(crate) struct Tls {
    connection: Connection,
}

impl Tls {
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes in bytes of the peer. After a failure there may still be an alert to send.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), TlsFailure> {
        while !bytes.is_empty() {
            match self.connection.read_tls(&mut bytes) {
                Ok(0) => return Err(TlsFailure::Other("the peer has closed TLS".into())),
                Ok(_) => {}
                Err(error) => return Err(TlsFailure::Other(error.to_string())),
            }
            self.connection.process_new_packets().map_err(failure)?;
        }
        Ok(())
    }

    /// The plain text of the next record, as long as there is one.
    pub(crate) fn next_record(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut reader = self.connection.reader();
        let record = Zeroizing::new(reader.fill_buf().ok()?.to_vec());
        reader.consume(record.len());
        (!record.is_empty()).then_some(record)
    }

    /// Sends plain text, as one record where it fits one.
    pub(crate) fn write(&mut self, plain: &[u8]) -> Result<(), TlsFailure> {
        self.connection.writer().write_all(plain).map_err(|error| TlsFailure::Other(error.to_string()))
    }

    /// Appends everything that is to be sent.
    pub(crate) fn poll(&mut self, into: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to memory does not fail; if it did, nothing more would come of it.
            if self.connection.write_tls(into).is_err() {
                return;
            }
        }
    }

    /// Key material of both ends, for nothing else.
    pub(crate) fn export(&self, label: &str) -> Result<Secret<256>, TlsFailure> {
        let mut out = Secret::new([0; 256]);
        self.connection.export_keying_material(&mut out.expose_mut()[..], label.as_bytes(), None).map_err(failure)?;
        Ok(out)
    }

    /// SHA-256 of the peer's certificate.
    pub(crate) fn peer_fingerprint(&self) -> Option<[u8; 32]> {
        let leaf = self.connection.peer_certificates()?.first()?;
        digest(&SHA256, leaf).as_ref().try_into().ok()
    }

    /// The common name of the peer's certificate.
    pub(crate) fn peer_name(&self) -> Option<String> {
        let leaf = self.connection.peer_certificates()?.first()?;
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        common_name(&parsed)
    }
}

/// An error of TLS, in words.
fn failure(error: rustls::Error) -> TlsFailure {
    // One sentence for each that people meet; the library's own words for the rest.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library adds errors as it likes")]
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            match inner.downcast_ref::<Refused>() {
                Some(refused) => TlsFailure::Refused(refused.clone()),
                None => TlsFailure::Other(inner.to_string()),
            }
        }
        rustls::Error::AlertReceived(alert) => TlsFailure::Alert(format!("{alert:?}")),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            TlsFailure::Other("what the peer sends is not TLS".into())
        }
        other => TlsFailure::Other(other.to_string()),
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls(handshaking: {})", self.is_handshaking())
    }
}

impl fmt::Debug for TlsFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsFactory(…)")
    }
}

//! Certificates from an authority that speaks ACME (RFC 8555), which asks for proof over TLS itself (RFC 8737).
//!
//! Not here: showing that proof to the authority's handshake (`Shown`).

use std::error::Error;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;

use super::Shown;
use crate::names::Names;
use crate::server::site::upstream;

/// How often it is looked whether the certificate is to be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// After a failure, and twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// How long an order may take, proof and all.
const ORDER_TIME: Duration = Duration::from_secs(300);

/// What is asked of whom, and where it is kept.
pub(super) struct Acme {
    pub(super) domains: Vec<String>,
    pub(super) directory_url: String,
    pub(super) contact: Option<String>,
    pub(super) cache: PathBuf,
    pub(super) root: Option<PathBuf>,
    pub(super) names: Names,
}

type Failure = Box<dyn Error + Send + Sync>;

impl Acme {
    /// Shows the certificate that is kept, if there is one. Makes the directory for it if not.
    pub(super) async fn show_cached(&self, shown: &Shown) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.cache)?;
        let (Ok(chain), Ok(key)) = (tokio::fs::read(self.chain_file()).await, tokio::fs::read(self.key_file()).await)
        else {
            return Ok(());
        };
        if let Err(error) = shown.show_pem(&chain, &key) {
            tracing::warn!(%error, "the certificate in {} cannot be used, another is ordered", self.cache.display());
        }
        Ok(())
    }

    /// Orders certificates whenever there is none, or the one there is has lived two thirds of its life.
    pub(super) async fn keep_fresh(self, shown: Arc<Shown>) {
        let mut retry = RETRY_FIRST;
        loop {
            if !self.is_due(&shown) {
                sleep(LOOK_EVERY).await;
                continue;
            }
            let ordered = tokio::time::timeout(ORDER_TIME, self.order(&shown)).await;
            match ordered.unwrap_or_else(|_| Err("the authority took too long".into())) {
                Ok(()) => retry = RETRY_FIRST,
                Err(error) => {
                    let seconds = retry.as_secs();
                    tracing::warn!(%error, "no certificate from {}, trying again in {seconds} s", self.directory_url);
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn is_due(&self, shown: &Shown) -> bool {
        let Some(current) = shown.current.borrow().clone() else { return true };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as i64;
        current.cert.first().is_none_or(|certificate| is_old(certificate, &self.domains, now))
    }

    async fn order(&self, shown: &Shown) -> Result<(), Failure> {
        let account = self.account().await?;
        let names: Vec<_> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let proven = self.prove(&mut order, shown).await;
        for name in &self.domains {
            shown.prove(name, None);
        }
        proven?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.domains.clone())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&RetryPolicy::default()).await?;
        let key = zeroize::Zeroizing::new(key.serialize_pem());
        shown.show_pem(chain.as_bytes(), key.as_bytes())?;
        keep(&self.key_file(), key.as_bytes())?;
        keep(&self.chain_file(), chain.as_bytes())?;
        Ok(())
    }

    /// Shows the authority that the names lead here.
    async fn prove(&self, order: &mut instant_acme::Order, shown: &Shown) -> Result<(), Failure> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge =
                authorization.challenge(ChallengeType::TlsAlpn01).ok_or("no proof over TLS is offered")?;
            let name = challenge.identifier().to_string();
            let proof = proof(&name, challenge.key_authorization().digest().as_ref(), shown)?;
            shown.prove(&name, Some(proof));
            challenge.set_ready().await?;
        }
        let status = order.poll_ready(&RetryPolicy::default()).await?;
        if status == OrderStatus::Ready { Ok(()) } else { Err(format!("the order is {status:?}").into()) }
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, Failure> {
        let file = self.cache.join("account.json");
        if let Ok(kept) = tokio::fs::read(&file).await {
            let credentials: AccountCredentials = serde_json::from_slice(&kept)?;
            return Ok(self.builder()?.from_credentials(credentials).await?);
        }
        let contact: Vec<_> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = self.builder()?.create(&new, self.directory_url.clone(), None).await?;
        keep(&file, &zeroize::Zeroizing::new(serde_json::to_vec(&credentials)?))?;
        Ok(account)
    }

    fn builder(&self) -> io::Result<AccountBuilder> {
        let tls = upstream::tls(self.root.as_deref(), "the authority", "AcmeRoot")?;
        let mut connector = HttpConnector::new_with_resolver(self.names.clone());
        connector.enforce_http(false);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(connector);
        Ok(Account::builder_with_http(Box::new(Client::builder(TokioExecutor::new()).build(connector))))
    }

    fn chain_file(&self) -> PathBuf {
        self.cache.join("chain.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.cache.join("key.pem")
    }
}

/// RFC 8737 §3: a certificate of the name with the proof in it.
fn proof(name: &str, digest: &[u8], shown: &Shown) -> Result<CertifiedKey, Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Not compared with each other as the owner's are: what must be critical here is unknown to whoever compares them.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], shown.provider.key_provider.load_private_key(key)?))
}

/// Whether a certificate has lived two thirds of its life, or is not for all the names.
fn is_old(certificate: &CertificateDer<'_>, names: &[String], now: i64) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return true };
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let others = parsed.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.clone());
    let is_for = |name: &String| {
        others
            .iter()
            .flatten()
            .any(|other| matches!(other, x509_parser::extensions::GeneralName::DNSName(dns) if dns == name))
    };
    now < from || now >= from + (to - from) / 3 * 2 || !names.iter().all(is_for)
}

/// Writes a file that only we may read, whole or not at all.
fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let beside = file.with_extension("new");
    let mut new = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(bytes)?;
    new.sync_data()?;
    std::fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_or_for_other_names() {
        let mut params = CertificateParams::new(["a.test".to_owned(), "b.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let start = params.not_before.unix_timestamp();
        let day = 24 * 3600;
        let names = ["a.test".to_owned(), "b.test".to_owned()];
        for (now, old) in [(-1, true), (0, false), (59, false), (60, true), (100, true)] {
            assert_eq!(is_old(made.der(), &names, start + now * day), old, "day {now}");
        }
        assert!(is_old(made.der(), &["c.test".to_owned()], start));
        assert!(is_old(&CertificateDer::from_slice(b"no certificate"), &names, start));
    }
}

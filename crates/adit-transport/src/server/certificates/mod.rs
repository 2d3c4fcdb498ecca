//! The certificate of the server: where it comes from, and which one is shown now.
//!
//! Not here: the rest of the TLS configuration (`tls`).

mod acme;
mod files;
mod handed;

pub(crate) use handed::Handed;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apart::Pem;
use crate::config::{Certificates, Pin};
use crate::names::Names;

/// RFC 8737 §6.2: the protocol in which an ACME authority asks for the proof of a name.
pub(super) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// The certificate that is shown, which may change while the server runs.
#[derive(Debug)]
pub(crate) struct Shown {
    current: watch::Sender<Option<Arc<CertifiedKey>>>,
    /// Certificates that prove names to an authority, while it asks for them. Touched by its handshakes only.
    proofs: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    provider: Arc<CryptoProvider>,
}

/// Gets certificates, and keeps them fresh by a task where they can change.
pub(super) async fn open(
    from: &Certificates,
    provider: Arc<CryptoProvider>,
    handed: watch::Receiver<Option<Pem>>,
    names: Names,
) -> io::Result<(Arc<Shown>, Option<JoinHandle<()>>)> {
    let shown = Arc::new(Shown::new(provider));
    let is_handed = handed.borrow().is_some();
    let task = match from {
        Certificates::SelfSigned { .. } | Certificates::Files { .. } if is_handed => {
            Some(handed::show(handed, Arc::clone(&shown))?)
        }
        Certificates::SelfSigned { names } => {
            let made = rcgen::generate_simple_self_signed(names.clone()).map_err(io::Error::other)?;
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
            shown.show(vec![made.cert.der().clone()], key)?;
            None
        }
        Certificates::Files { chain, key } => {
            let read = files::Files::open(chain.clone(), key.clone()).await;
            let (chain, key) = read.read().await?;
            shown.show_pem(&chain, &key)?;
            let shown = Arc::clone(&shown);
            Some(tokio::spawn(read.watch(move |chain, key| shown.show_pem(&chain, &key))))
        }
        Certificates::Acme { domains, directory_url, contact, cache, root } => {
            let acme = acme::Acme {
                domains: domains.clone(),
                directory_url: directory_url.clone(),
                contact: contact.clone(),
                cache: cache.clone(),
                root: root.clone(),
                names,
            };
            acme.show_cached(&shown).await?;
            Some(tokio::spawn(acme.keep_fresh(Arc::clone(&shown))))
        }
    };
    Ok((shown, task))
}

impl Shown {
    fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { current: watch::Sender::new(None), proofs: RwLock::default(), provider }
    }

    /// From now on this one is shown.
    fn show(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<()> {
        self.current.send_replace(Some(Arc::new(self.certified(chain, key)?)));
        Ok(())
    }

    /// As [`show`](Self::show), from two files in PEM.
    fn show_pem(&self, chain: &[u8], key: &[u8]) -> io::Result<()> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        self.show(chain, PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?)
    }

    fn certified(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<CertifiedKey> {
        if chain.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in the file"));
        }
        CertifiedKey::from_der(chain, key, &self.provider).map_err(io::Error::other)
    }

    /// A name is being proven to an authority by this certificate, or no longer.
    fn prove(&self, name: &str, certificate: Option<CertifiedKey>) {
        let mut proofs = self.proofs.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match certificate {
            Some(certificate) => proofs.insert(name.to_owned(), Arc::new(certificate)),
            None => proofs.remove(name),
        };
    }

    /// The pin of the key that is shown, if there is one.
    pub(super) fn pin(&self) -> Option<Pin> {
        let current = self.current.borrow();
        let (_, parsed) = x509_parser::parse_x509_certificate(current.as_ref()?.cert.first()?).ok()?;
        Some(Pin::of(parsed.tbs_certificate.subject_pki.raw))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_ALPN)) {
            let proofs = self.proofs.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(proof) = hello.server_name().and_then(|name| proofs.get(name)) {
                return Some(Arc::clone(proof));
            }
        }
        self.current.borrow().clone()
    }
}

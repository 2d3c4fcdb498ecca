//! A certificate that one process reads and another shows.
//!
//! Not here: how it gets there (`apart`).

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::Shown;
use super::files::Files;
use crate::apart::{Pem, Secretly};
use crate::config::Certificates;
use crate::server::tls::provider;

/// The process that reads: what is to be handed on, and the same as this process knows it, for its pin.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) shown: Arc<Shown>,
    pub(crate) pem: watch::Sender<Option<Pem>>,
    files: Option<Files>,
}

impl Handed {
    /// Reads the files, or makes a certificate that nobody vouches for.
    pub(crate) async fn open(from: &Certificates) -> io::Result<Self> {
        let shown = Arc::new(Shown::new(provider()));
        let (chain, key, files) = match from {
            Certificates::Files { chain, key } => {
                let files = Files::open(chain.clone(), key.clone()).await;
                let (chain, key) = files.read().await?;
                (chain, key, Some(files))
            }
            Certificates::SelfSigned { names } => {
                let made = rcgen::generate_simple_self_signed(names.clone()).map_err(io::Error::other)?;
                (made.cert.pem().into_bytes(), Zeroizing::new(made.signing_key.serialize_pem().into_bytes()), None)
            }
            Certificates::Acme { .. } => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "who orders certificates keeps them"));
            }
        };
        shown.show_pem(&chain, &key)?;
        Ok(Self { shown, pem: watch::Sender::new(Some(Pem { chain, key: Secretly(key) })), files })
    }

    /// Hands on what changes, if that can be.
    pub(crate) fn follow(self) -> JoinHandle<()> {
        let Self { shown, pem, files } = self;
        tokio::spawn(async move {
            let used = |chain: Vec<u8>, key: Zeroizing<Vec<u8>>| {
                shown.show_pem(&chain, &key)?;
                pem.send_replace(Some(Pem { chain, key: Secretly(key) }));
                Ok(())
            };
            match files {
                Some(files) => files.watch(used).await,
                // The sender is kept for as long as this task.
                None => std::future::pending().await,
            }
        })
    }
}

/// The process that shows: what is handed to it, now and whenever it changes.
pub(super) fn show(mut handed: watch::Receiver<Option<Pem>>, shown: Arc<Shown>) -> io::Result<JoinHandle<()>> {
    let use_it = move |pem: Option<Pem>| pem.map_or(Ok(()), |pem| shown.show_pem(&pem.chain, &pem.key.0));
    let first = handed.borrow_and_update().clone();
    use_it(first)?;
    Ok(tokio::spawn(async move {
        while handed.changed().await.is_ok() {
            let pem = handed.borrow_and_update().clone();
            if let Err(error) = use_it(pem) {
                tracing::warn!(%error, "the new certificate cannot be used, the old one stays");
            }
        }
    }))
}

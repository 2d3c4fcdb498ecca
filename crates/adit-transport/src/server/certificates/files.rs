//! Certificates in PEM files, read again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::Shown;

/// How often it is looked whether they changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where they are.
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    pub(super) fn open(chain: PathBuf, key: PathBuf) -> Self {
        Self { chain, key }
    }

    pub(super) async fn read(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let of =
            |path: &PathBuf, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let chain = tokio::fs::read(&self.chain).await.map_err(|error| of(&self.chain, error))?;
        let key = tokio::fs::read(&self.key).await.map_err(|error| of(&self.key, error))?;
        Ok((chain, key))
    }

    /// Shows what is in the files whenever they changed. While they do not fit each other, what was shown stays.
    pub(super) async fn watch(self, shown: Arc<Shown>) {
        let mut seen = self.changed().await;
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.changed().await;
            if now == seen {
                continue;
            }
            let read = self.read().await;
            match read.and_then(|(chain, key)| shown.show_pem(&chain, &key)) {
                Ok(()) => seen = now,
                Err(error) => tracing::warn!(%error, "the new certificate cannot be used, the old one stays"),
            }
        }
    }

    async fn changed(&self) -> [Option<SystemTime>; 2] {
        let of = async |path: &PathBuf| tokio::fs::metadata(path).await.and_then(|file| file.modified()).ok();
        [of(&self.chain).await, of(&self.key).await]
    }
}

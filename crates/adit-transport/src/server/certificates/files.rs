//! Certificates in PEM files, read again when they change.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use zeroize::Zeroizing;

/// How often it is looked whether they changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where they are, and what was seen of them last.
#[derive(Debug)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
    seen: [Option<Stamp>; 2],
}

/// What changes when a file is written or replaced: when it was changed, its length, and which file it is.
type Stamp = (SystemTime, u64, u64);

impl Files {
    pub(super) async fn open(chain: PathBuf, key: PathBuf) -> Self {
        let seen = stamps(&chain, &key).await;
        Self { chain, key, seen }
    }

    pub(super) async fn read(&self) -> io::Result<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        let of =
            |path: &PathBuf, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let chain = tokio::fs::read(&self.chain).await.map_err(|error| of(&self.chain, error))?;
        let key = tokio::fs::read(&self.key).await.map_err(|error| of(&self.key, error))?;
        Ok((chain, Zeroizing::new(key)))
    }

    /// Has what is in the files used whenever they changed. While that cannot be, what was used stays.
    pub(super) async fn watch(mut self, used: impl Fn(Vec<u8>, Zeroizing<Vec<u8>>) -> io::Result<()>) {
        loop {
            sleep(LOOK_EVERY).await;
            // Before they are read: a change meanwhile is seen the next time.
            let now = stamps(&self.chain, &self.key).await;
            if now == self.seen {
                continue;
            }
            let read = self.read().await;
            match read.and_then(|(chain, key)| used(chain, key)) {
                Ok(()) => self.seen = now,
                Err(error) => tracing::warn!(%error, "the new certificate cannot be used, the old one stays"),
            }
        }
    }
}

/// What tells whether the files have changed; links are followed.
async fn stamps(chain: &Path, key: &Path) -> [Option<Stamp>; 2] {
    let of = async |path: &Path| {
        let file = tokio::fs::metadata(path).await.ok()?;
        Some((file.modified().ok()?, file.len(), file.ino()))
    };
    [of(chain).await, of(key).await]
}

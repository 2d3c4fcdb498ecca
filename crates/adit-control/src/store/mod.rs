//! Where the state is kept. One handle for every database; behind it, one owner of the connection that is asked in turn.
//!
//! The seam is [`Ask`]: what a database must be able to answer. SQLite and PostgreSQL do, and one suite of tests holds both
//! to the same answers. Not here: what is kept (`model`), what is changed (`decide`).

mod audit;
mod backup;
mod chain;
mod error;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

pub use audit::{Actor, AuditRow, Entry, MAX_ACTOR, MAX_AUDIT_PAGE};
pub use backup::Backup;
pub(crate) use backup::Snapshot;
use chain::Verifier;
pub use chain::{AuditHash, Chain};
pub use error::StoreError;

use crate::model::{Change, Model};
use crate::time::UnixTime;
use crate::usage::{Usage, UsageDelta};

/// Questions that wait for the owner of the connection.
const MAX_WAITING: usize = 64;

/// Finds the addresses of a host by its name. It may block, and is called anew for each connection.
#[cfg(feature = "postgres")]
pub type LookUp = Arc<dyn Fn(&str) -> std::io::Result<Vec<std::net::IpAddr>> + Send + Sync>;

/// Addresses of one host that are tried; a [`LookUp`] may find more.
#[cfg(feature = "postgres")]
pub const MAX_ADDRESSES: usize = 8;

/// The state of one network. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    asks: mpsc::Sender<Ask>,
    newest: watch::Receiver<u64>,
    is_shared: bool,
    is_up: Arc<AtomicBool>,
}

/// What a database is asked. Whatever fails has changed nothing.
enum Ask {
    /// Everything but usage and log.
    Load(Reply<Model>),
    /// In one transaction: all changes, the revision after `expected`, and a row of the log.
    Commit { expected: u64, changes: Vec<Change>, entry: Entry, reply: Reply<u64> },
    /// Adds what devices used. Devices that are gone are passed over.
    RecordUsage { deltas: Vec<UsageDelta>, now: UnixTime, reply: Reply<()> },
    /// What devices used.
    LoadUsage(Reply<Usage>),
    /// The newest rows of the log that are older than `before`.
    Audit { before: Option<u64>, limit: u32, reply: Reply<Vec<AuditRow>> },
    /// The first entry of the log that must have a hash.
    HashedFrom(Reply<u64>),
    /// Everything, of one moment.
    Snapshot(Reply<Snapshot>),
    /// Everything becomes this, but for the log, which goes on. Answers with the new revision.
    Restore { snapshot: Box<Snapshot>, entry: Entry, reply: Reply<u64> },
    /// The last question.
    Close(oneshot::Sender<()>),
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

impl Store {
    /// Opens the state in a directory, which becomes its owner's only; makes it if it is not there. One server at a time
    /// has it, until the last clone is dropped or [closed](Self::close).
    pub fn sqlite(dir: &Path) -> Result<Self, StoreError> {
        sqlite::open(dir)
    }

    /// Connects to a PostgreSQL database by its URL, and makes the tables if they are not there. Several servers may, and
    /// each hears of what the others change. Inside a tokio runtime.
    #[cfg(feature = "postgres")]
    pub async fn postgres(url: &str) -> Result<Self, StoreError> {
        postgres::open(url, None).await
    }

    /// As [`postgres`](Self::postgres), for a process that may not look names up itself: whenever it connects, it asks for
    /// the addresses of those in the URL.
    #[cfg(feature = "postgres")]
    pub async fn postgres_by(url: &str, look_up: LookUp) -> Result<Self, StoreError> {
        postgres::open(url, Some(look_up)).await
    }

    /// The names in the URL of a PostgreSQL database that are looked up to connect to it.
    #[cfg(feature = "postgres")]
    pub fn postgres_names(url: &str) -> Result<Vec<String>, StoreError> {
        postgres::names(url)
    }

    /// Whether other servers may change it.
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether the database did what it was last asked. One that is shared is asked every few seconds.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// The newest revision that this server has heard of, as others make them. SQLite has no others: it stays.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Reads the whole model.
    pub async fn load(&self) -> Result<Model, StoreError> {
        self.ask(Ask::Load).await
    }

    /// Makes changes to revision `expected`, and writes the log's row, all or nothing. Gives the new revision.
    pub async fn commit(&self, expected: u64, changes: Vec<Change>, entry: Entry) -> Result<u64, StoreError> {
        self.ask(|reply| Ask::Commit { expected, changes, entry, reply }).await
    }

    /// Adds what devices used, as one batch.
    pub async fn record_usage(&self, deltas: Vec<UsageDelta>, now: UnixTime) -> Result<(), StoreError> {
        self.ask(|reply| Ask::RecordUsage { deltas, now, reply }).await
    }

    /// Reads what devices used.
    pub async fn load_usage(&self) -> Result<Usage, StoreError> {
        self.ask(Ask::LoadUsage).await
    }

    /// Up to `limit` (at most [`MAX_AUDIT_PAGE`]) rows of the log before the row `before`, newest first.
    pub async fn audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.ask(|reply| Ask::Audit { before, limit: limit.min(MAX_AUDIT_PAGE), reply }).await
    }

    /// Reads the whole log and says whether it is what was written. `kept` is an entry's number and the hash that somebody
    /// kept of it. Entries that come meanwhile are not looked at.
    pub async fn verify_audit(&self, kept: Option<(u64, AuditHash)>) -> Result<Chain, StoreError> {
        // Before the log: it may have gone on when that is read, and never be behind.
        let revision = self.load().await?.revision;
        let hashed_from = self.ask(Ask::HashedFrom).await?;
        let mut page = self.audit(None, MAX_AUDIT_PAGE).await?;
        let mut verifier = Verifier::new(page.first(), revision, hashed_from, kept);
        let mut below = u64::MAX;
        // A number below zero, which only a forger writes, is read as zero, and would be found below itself for ever.
        while let Some(oldest) = page.last().map(|row| row.id).filter(|oldest| *oldest < below) {
            page.into_iter().for_each(|row| verifier.look(row));
            page = self.audit(Some(oldest), MAX_AUDIT_PAGE).await?;
            below = oldest;
        }
        Ok(verifier.finish())
    }

    /// Writes everything to a file, while the server runs.
    pub async fn backup(&self, file: &Path, now: UnixTime) -> Result<(), StoreError> {
        let snapshot = self.ask(Ask::Snapshot).await?;
        let file = file.to_owned();
        blocking(move || backup::write(&file, &snapshot, now)).await
    }

    /// Makes everything as it is in a backup, while the server runs; the log goes on, with a row about it. A log without
    /// rows becomes the backup's. Gives the new revision.
    pub async fn restore(&self, backup: &Backup<'_>, actor: &Actor, now: UnixTime) -> Result<u64, StoreError> {
        let what = format!("restored everything from {}", backup.called.display());
        let entry = Entry::new(actor, "server.restore", what, now);
        let (file, called, key) = (backup.file.to_owned(), backup.called.to_owned(), backup.key);
        let snapshot = Box::new(blocking(move || backup::read(&file, &called, key.as_ref())).await?);
        self.ask(|reply| Ask::Restore { snapshot, entry, reply }).await
    }

    /// Lets the database go, and waits until it is free for another server. Other clones find it closed.
    pub async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.asks.send(Ask::Close(reply)).await.is_ok() {
            closed.await.unwrap_or_default();
        }
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| StoreError::Closed)?;
        let answer = answer.await.unwrap_or(Err(StoreError::Closed));
        self.is_up.store(answer.as_ref().err().is_none_or(StoreError::is_about_what_was_asked), Ordering::Relaxed);
        answer
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
}

/// Gives an answer. Whoever asked may have gone; a change is made all the same.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}

/// The number after the highest that these changes give away.
fn next_id(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.id().saturating_add(1)).max().unwrap_or(0)
}

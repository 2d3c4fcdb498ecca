//! The state in a SQLite file: one thread owns the connection, one server owns the directory.
//!
//! Every commit is on the disk before it is answered (`synchronous = FULL`, write-ahead log). Not here: what is kept
//! (`model`), the rows of each table (`rows`).

mod rows;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};

use super::chain::first_hashed;
use super::{Ask, AuditRow, Entry, MAX_WAITING, Snapshot, Store, StoreError, answer, next_id};
use crate::model::{Change, Model};
use crate::time::UnixTime;
use crate::usage::UsageDelta;

/// The file in the state's directory.
const FILE: &str = "adit.db";
/// Locked while a server uses the directory.
const LOCK: &str = "lock";
/// Each makes of the schema before it the next. Only ever appended to.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/sqlite/0001-tables.sql"),
    include_str!("../../migrations/sqlite/0002-audit-chain.sql"),
    include_str!("../../migrations/sqlite/0003-audit-since.sql"),
];

/// One moment of everything, also on a disk that has become read-only.
const READING: TransactionBehavior = TransactionBehavior::Deferred;
/// Alone from its first statement on.
const WRITING: TransactionBehavior = TransactionBehavior::Immediate;

/// What the thread owns.
struct Sqlite {
    connection: Connection,
    place: String,
    /// Unlocked when it is dropped, after the connection.
    _lock: File,
}

pub(super) fn open(dir: &Path) -> Result<Store, StoreError> {
    let mut sqlite = Sqlite::open(dir)?;
    let revision = sqlite.load()?.revision;
    let (asks, asked) = mpsc::channel(MAX_WAITING);
    // The sender goes with the thread: then nobody waits for others' changes, of which there are none.
    let (newest, heard) = watch::channel(revision);
    let run = move || {
        let _newest = newest;
        sqlite.run(asked);
    };
    let thread = std::thread::Builder::new().name("adit-state".to_owned()).spawn(run);
    thread.map_err(|error| StoreError::file("start a thread for", dir, &error))?;
    Ok(Store { asks, newest: heard, is_shared: false, is_up: Arc::new(AtomicBool::new(true)) })
}

impl Sqlite {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = own(dir)?;
        let path = dir.join(FILE);
        let create = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        create.map_err(|error| StoreError::file("open", &path, &error))?;
        let place = path.display().to_string();
        let failed = |error| explain(&place, &error);
        let connection = connect(&path).map_err(failed)?;
        let mut sqlite = Self { connection, place, _lock: lock };
        sqlite.migrate()?;
        Ok(sqlite)
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let place = self.place.clone();
        let failed = |error| explain(&place, &error);
        let known = MIGRATIONS.len();
        let found: u32 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found as usize > known {
            return Err(StoreError::Newer { place, found: u64::from(found), known: known as u64 });
        }
        for (number, migration) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
            let transaction = self.connection.transaction_with_behavior(WRITING).map_err(failed)?;
            transaction.execute_batch(migration).map_err(failed)?;
            if number == 1 {
                rows::begin(&transaction).map_err(failed)?;
            }
            transaction.pragma_update(None, "user_version", number).map_err(failed)?;
            transaction.commit().map_err(failed)?;
        }
        Ok(())
    }

    fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        while let Some(ask) = asked.blocking_recv() {
            match ask {
                Ask::Load(reply) => answer(reply, self.load()),
                Ask::Commit { expected, changes, entry, reply } => {
                    answer(reply, self.commit(expected, &changes, &entry))
                }
                Ask::RecordUsage { deltas, now, reply } => answer(reply, self.record_usage(&deltas, now)),
                Ask::LoadUsage(reply) => answer(reply, self.read(rows::usage)),
                Ask::Audit { before, limit, reply } => {
                    answer(reply, self.read(|connection| rows::audit(connection, before, limit)));
                }
                Ask::HashedFrom(reply) => answer(reply, self.read(rows::hashed_from)),
                Ask::Snapshot(reply) => answer(reply, self.snapshot()),
                Ask::Restore { snapshot, entry, reply } => answer(reply, self.restore(&snapshot, &entry)),
                Ask::Close(reply) => {
                    drop(self);
                    return answer(reply, ());
                }
            }
        }
    }

    fn load(&mut self) -> Result<Model, StoreError> {
        self.in_transaction(READING, |transaction| rows::model(transaction))
    }

    fn commit(&mut self, expected: u64, changes: &[Change], entry: &Entry) -> Result<u64, StoreError> {
        self.in_transaction(WRITING, |transaction| {
            let found = rows::revision(transaction)?;
            if found != expected {
                return Err(Trouble::Store(StoreError::Conflict { expected, found }));
            }
            for change in changes {
                rows::write(transaction, change)?;
            }
            let revision = found + 1;
            rows::move_on(transaction, revision, next_id(changes))?;
            rows::log(transaction, revision, entry)?;
            Ok(revision)
        })
    }

    fn record_usage(&mut self, deltas: &[UsageDelta], now: UnixTime) -> Result<(), StoreError> {
        self.in_transaction(WRITING, |transaction| {
            for delta in deltas {
                rows::add_usage(transaction, delta, now)?;
            }
            Ok(())
        })
    }

    fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        self.in_transaction(READING, |transaction| {
            let audit = rows::audit(transaction, None, u32::MAX)?.into_iter().rev().collect();
            Ok(Snapshot { model: rows::model(transaction)?, usage: rows::usage(transaction)?, audit })
        })
    }

    fn restore(&mut self, snapshot: &Snapshot, entry: &Entry) -> Result<u64, StoreError> {
        self.in_transaction(WRITING, |transaction| {
            let revision = rows::revision(transaction)? + 1;
            rows::replace(transaction, &snapshot.model, &snapshot.usage)?;
            if rows::audit(transaction, None, 1)?.is_empty() {
                snapshot.audit.iter().try_for_each(|row: &AuditRow| rows::log_again(transaction, row))?;
                rows::hash_from(transaction, first_hashed(&snapshot.audit))?;
            }
            rows::move_on(transaction, revision, snapshot.model.next_id)?;
            rows::log(transaction, revision, entry)?;
            Ok(revision)
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|trouble| trouble.explain(&self.place))
    }

    /// All of it, or nothing: a transaction that is dropped is rolled back.
    fn in_transaction<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let done = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        done(&mut self.connection).map_err(|trouble: Trouble| trouble.explain(&self.place))
    }
}

/// What ends a transaction.
#[derive(Debug)]
enum Trouble {
    Sqlite(rusqlite::Error),
    Store(StoreError),
    /// A row that is not what was written.
    Row(String),
}

impl Trouble {
    fn explain(self, place: &str) -> StoreError {
        match self {
            Self::Sqlite(error) => explain(place, &error),
            Self::Store(error) => error,
            Self::Row(reason) => StoreError::Damaged { place: place.to_owned(), reason },
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn explain(place: &str, error: &rusqlite::Error) -> StoreError {
    let (place, reason) = (place.to_owned(), error.to_string());
    let code = error.sqlite_error_code();
    tracing::debug!(?code, reason, "the state could not be read or written");
    if code == Some(ErrorCode::DiskFull) {
        StoreError::Full(place)
    } else if code == Some(ErrorCode::ReadOnly) {
        StoreError::ReadOnly(place)
    } else if code == Some(ErrorCode::DatabaseCorrupt) || code == Some(ErrorCode::NotADatabase) {
        StoreError::Damaged { place, reason }
    } else {
        StoreError::Failed { place, reason }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Makes the directory its owner's only, and this process the only server that uses it.
fn own(dir: &Path) -> Result<File, StoreError> {
    let failed = |what| move |error: std::io::Error| StoreError::file(what, dir, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make"))?;
    let mode = fs::metadata(dir).map_err(failed("look at"))?.permissions().mode();
    if mode & 0o777 != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed("close to others"))?;
    }
    let path: PathBuf = dir.join(LOCK);
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(|error| StoreError::file("open", &path, &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(StoreError::InUse(dir.to_owned())),
        Err(error) => Err(StoreError::file("lock", &path, &error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, network, peer};
    use crate::peer::PeerId;

    fn entry() -> Entry {
        Entry::new(&crate::store::Actor::new("root", "here"), "peer.add", "x".repeat(1_000), NOW)
    }

    /// Admits devices until one cannot be stored.
    fn fill(sqlite: &mut Sqlite) -> (Model, StoreError) {
        let mut revision = sqlite.commit(0, &[Change::SetNetwork(network())], &entry()).unwrap();
        for id in 1..200 {
            let before = sqlite.load().unwrap();
            match sqlite.commit(revision, &[Change::PutPeer(peer(id, &format!("app{id}")))], &entry()) {
                Ok(next) => revision = next,
                Err(error) => return (before, error),
            }
        }
        panic!("the limit does not hold");
    }

    /// A limit of pages is to SQLite what a full disk is: no page more can be had.
    #[test]
    fn a_full_disk_changes_nothing_and_with_room_it_works_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut sqlite = Sqlite::open(dir.path()).unwrap();
        let pages: u32 = sqlite.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        sqlite.connection.pragma_update(None, "max_page_count", pages + 8).unwrap();
        let (before, error) = fill(&mut sqlite);
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        assert!(error.to_string().contains("nothing was changed"));
        assert_eq!(sqlite.load().unwrap(), before);
        sqlite.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        let one_more = [Change::PutPeer(peer(200, "late"))];
        assert_eq!(sqlite.commit(before.revision, &one_more, &entry()), Ok(before.revision + 1));
    }

    #[test]
    fn a_read_only_database_changes_nothing_and_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut sqlite = Sqlite::open(dir.path()).unwrap();
        sqlite.commit(0, &[Change::SetNetwork(network())], &entry()).unwrap();
        let before = sqlite.load().unwrap();
        sqlite.connection.pragma_update(None, "query_only", true).unwrap();
        let refused = sqlite.commit(1, &[Change::PutPeer(peer(1, "nas"))], &entry());
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
        assert_eq!(sqlite.load().unwrap(), before);
        assert!(!before.peers.contains_key(&PeerId(1)));
    }
}

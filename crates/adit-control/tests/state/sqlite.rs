//! SQLite: the suite of every store, and what only a file can do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use adit_control::{Actor, Entry, Store, StoreError};
use tempfile::TempDir;

use crate::conformance::{self, Place, furnish};
use crate::world::NOW;

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for Directory {
    async fn open(&self) -> Store {
        Store::sqlite(self.0.path()).unwrap()
    }
}

macro_rules! run {
    ($scenario:ident) => {
        #[tokio::test]
        async fn $scenario() {
            conformance::$scenario(&Directory::new()).await;
        }
    };
}

crate::every_scenario!(run);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_its_owner_can_read_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("var/adit");
    let store = Store::sqlite(&state).unwrap();
    furnish(&store).await;
    assert_eq!(mode(&state), 0o700);
    let files: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "the database, its log and the lock: {files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    store.close().await;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    Store::sqlite(&state).unwrap().close().await;
    assert_eq!(mode(&state), 0o700);
}

#[tokio::test]
async fn a_second_server_on_the_same_state_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    let refused = Store::sqlite(dir.path()).unwrap_err();
    assert_eq!(refused, StoreError::InUse(dir.path().to_owned()));
    assert!(refused.to_string().contains("hint:"));
    store.close().await;
    Store::sqlite(dir.path()).unwrap().close().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    Store::sqlite(dir.path()).unwrap().close().await;
    let file = dir.path().join("adit.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::sqlite(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, known: 3, .. }), "{refused:?}");
    let version: u32 =
        rusqlite::Connection::open(&file).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn what_is_no_database_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("adit.db"), "this is not a database, but long enough to be read as one".repeat(100))
        .unwrap();
    let refused = Store::sqlite(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_record_that_was_changed_by_hand_is_damaged_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    furnish(&store).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("adit.db")).unwrap();
    connection.execute("UPDATE peers SET record = '{}' WHERE id = 1", []).unwrap();
    drop(connection);
    assert!(matches!(Store::sqlite(dir.path()).unwrap_err(), StoreError::Damaged { .. }));
}

#[tokio::test]
async fn the_log_cannot_be_changed_or_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    furnish(&store).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("adit.db")).unwrap();
    for statement in ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"] {
        let error = connection.execute(statement, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

/// The state after somebody wrote to the database by hand.
async fn tampered(statement: &str) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    furnish(&store).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("adit.db")).unwrap();
    connection.execute_batch(&format!("DROP TRIGGER audit_is_never_changed; {statement}")).unwrap();
    drop(connection);
    let store = Store::sqlite(dir.path()).unwrap();
    (dir, store)
}

#[tokio::test]
async fn a_log_whose_hashes_were_wiped_is_not_called_whole() {
    let (_dir, store) = tampered("UPDATE audit SET hash = NULL").await;
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.entries, chain.since), (3, None));
    assert_eq!(chain.broken.map(|(id, _)| id), Some(3));
    let model = store.load().await.unwrap();
    let entry = Entry::new(&Actor::new("anna", "here"), "peer.add", "more".to_owned(), NOW);
    store.commit(model.revision, Vec::new(), entry).await.unwrap();
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.since, chain.broken.map(|(id, _)| id)), (Some((4, NOW)), Some(3)), "nor after the next entry");
    store.close().await;
}

/// As it was before there were hashes, and before it was noted from where on there are.
#[tokio::test]
async fn a_log_from_before_there_were_hashes_is_whole_from_where_they_begin() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    furnish(&store).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("adit.db")).unwrap();
    let older = "DROP TRIGGER audit_is_never_changed; UPDATE audit SET hash = NULL;
        ALTER TABLE state DROP COLUMN hashed_from; PRAGMA user_version = 2";
    connection.execute_batch(older).unwrap();
    drop(connection);
    let store = Store::sqlite(dir.path()).unwrap();
    let model = store.load().await.unwrap();
    let entry = Entry::new(&Actor::new("anna", "here"), "peer.add", "more".to_owned(), NOW);
    store.commit(model.revision, Vec::new(), entry).await.unwrap();
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.entries, chain.since, chain.broken), (4, Some((4, NOW)), None));
    store.close().await;
}

#[tokio::test]
async fn a_forged_entry_below_zero_ends_the_look_at_the_log_and_is_found() {
    for number in [-1, i64::MIN] {
        let forged = format!(
            "INSERT INTO audit (id, revision, at, who, origin, verb, what) VALUES ({number}, 1, 1, '', '', '', '')"
        );
        let (_dir, store) = tampered(&forged).await;
        let chain = store.verify_audit(None).await.unwrap();
        assert_eq!((chain.entries, chain.broken.is_some()), (4, true), "{chain:?}");
        store.close().await;
    }
}

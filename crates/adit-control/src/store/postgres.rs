//! The state in PostgreSQL, for several gateways that serve one network: one task owns the connection, another listens for
//! what the others change, and asks now and then in case a notice was lost.
//!
//! A connection that breaks is made anew with the next question. Not here: the rows of each table (`rows`), the URL and how it
//! is connected to (`place`).

mod place;
mod rows;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel, Transaction};

use self::place::Place;
use super::chain::first_hashed;
use super::{Ask, Entry, LookUp, MAX_WAITING, Snapshot, Store, StoreError, answer, next_id};
use crate::model::{Change, Model};
use crate::time::UnixTime;
use crate::usage::{Usage, UsageDelta};

/// Each makes of the schema before it the next. Only ever appended to.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/postgres/0001-tables.sql"),
    include_str!("../../migrations/postgres/0002-audit-chain.sql"),
    include_str!("../../migrations/postgres/0003-audit-since.sql"),
];
/// How long an answer may take before the database counts as gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the revision is asked for, in case a notice of it was lost.
const POLL: Duration = Duration::from_secs(2);
/// How long after a failure the listener tries again.
const RETRY: Duration = Duration::from_millis(500);

/// What the task owns.
struct Postgres {
    place: Arc<Place>,
    client: Option<Client>,
    listener: JoinHandle<()>,
}

/// The listener has no purpose without its owner.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

pub(super) async fn open(url: &str, look_up: Option<LookUp>) -> Result<Store, StoreError> {
    let place = Arc::new(Place::of(url, look_up)?);
    let mut client = connected(&place).await.map_err(|trouble| trouble.explain(&place.shown))?;
    let revision = migrate(&mut client).await.map_err(|trouble| trouble.explain(&place.shown))?;
    let (asks, asked) = mpsc::channel(MAX_WAITING);
    let (newest, heard) = watch::channel(revision);
    let is_up = Arc::new(AtomicBool::new(true));
    let listener = tokio::spawn(listen_for_ever(place.clone(), newest, is_up.clone()));
    tokio::spawn(Postgres { place, client: Some(client), listener }.run(asked));
    Ok(Store { asks, newest: heard, is_shared: true, is_up })
}

/// The names that this URL has looked up whenever it is connected to.
pub(super) fn names(url: &str) -> Result<Vec<String>, StoreError> {
    Place::of(url, None).map(|place| place.names())
}

/// What ends a transaction.
#[derive(Debug)]
enum Trouble {
    Postgres(tokio_postgres::Error),
    Store(StoreError),
    /// A row that is not what was written.
    Row(String),
    /// No answer.
    Slow,
    /// No host of the database is found by its name.
    NotFound(String),
}

impl Trouble {
    fn explain(self, place: &str) -> StoreError {
        let place = place.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Row(reason) => StoreError::Damaged { place, reason },
            Self::Slow => StoreError::Unreachable { place, reason: "it does not answer".to_owned() },
            Self::NotFound(reason) => StoreError::Unreachable { place, reason },
            Self::Postgres(error) => {
                let reason = described(&error);
                tracing::debug!(reason, "the database refuses");
                let code = error.code();
                let is_gone = [&SqlState::ADMIN_SHUTDOWN, &SqlState::CRASH_SHUTDOWN, &SqlState::CANNOT_CONNECT_NOW];
                if code.is_none_or(|code| is_gone.contains(&code)) {
                    StoreError::Unreachable { place, reason }
                } else if code == Some(&SqlState::DISK_FULL) {
                    StoreError::Full(place)
                } else if code == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                    StoreError::ReadOnly(place)
                } else {
                    StoreError::Failed { place, reason }
                }
            }
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// With its causes: the outermost says little.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A connection with nobody who listens to its notices.
async fn connected(place: &Place) -> Result<Client, Trouble> {
    let (client, connection) = in_time(place.connect()).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(reason = described(&error), "the connection to the database broke");
        }
    });
    Ok(client)
}

async fn in_time<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(Trouble::Slow))
}

/// Brings the schema up to date, one gateway at a time, and gives the revision.
async fn migrate(client: &mut Client) -> Result<u64, Trouble> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtext('adit migrations'))").await?;
    let there = "SELECT to_regclass('adit.schema_version') IS NOT NULL";
    if !transaction.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        let begin = "CREATE SCHEMA IF NOT EXISTS adit; CREATE TABLE adit.schema_version (version BIGINT NOT NULL);
            INSERT INTO adit.schema_version VALUES (0)";
        transaction.batch_execute(begin).await?;
    }
    let found: i64 = transaction.query_one("SELECT version FROM adit.schema_version", &[]).await?.try_get(0)?;
    let (found, known) = (rows::uint(found), MIGRATIONS.len() as u64);
    if found > known {
        let place = "the PostgreSQL database".to_owned();
        return Err(Trouble::Store(StoreError::Newer { place, found, known }));
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| rows::uint(*number) > found) {
        transaction.batch_execute(migration).await?;
        if number == 1 {
            rows::begin(&transaction).await?;
        }
        transaction.execute("UPDATE adit.schema_version SET version = $1", &[&number]).await?;
    }
    let revision = rows::revision(&transaction, "").await?;
    transaction.commit().await?;
    Ok(revision)
}

impl Postgres {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Load(reply) => {
                    let done = in_time(load(self.client().await)).await;
                    answer(reply, self.settle(done));
                }
                Ask::Commit { expected, changes, entry, reply } => {
                    let done = in_time(commit(self.client().await, expected, &changes, &entry)).await;
                    answer(reply, self.settle(done));
                }
                Ask::RecordUsage { deltas, now, reply } => {
                    let done = in_time(record_usage(self.client().await, &deltas, now)).await;
                    answer(reply, self.settle(done));
                }
                Ask::LoadUsage(reply) => {
                    let done = in_time(load_usage(self.client().await)).await;
                    answer(reply, self.settle(done));
                }
                Ask::Audit { before, limit, reply } => {
                    let done = in_time(audit(self.client().await, before, limit)).await;
                    answer(reply, self.settle(done));
                }
                Ask::HashedFrom(reply) => {
                    let done = in_time(hashed_from(self.client().await)).await;
                    answer(reply, self.settle(done));
                }
                Ask::Snapshot(reply) => {
                    let done = in_time(snapshot(self.client().await)).await;
                    answer(reply, self.settle(done));
                }
                Ask::Restore { snapshot, entry, reply } => {
                    let done = in_time(restore(self.client().await, &snapshot, &entry)).await;
                    answer(reply, self.settle(done));
                }
                Ask::Close(reply) => {
                    drop(self);
                    return answer(reply, ());
                }
            }
        }
    }

    /// The connection, made anew if it broke.
    async fn client(&mut self) -> Result<&mut Client, Trouble> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = None;
            self.client = Some(connected(&self.place).await?);
        }
        self.client.as_mut().ok_or(Trouble::Slow)
    }

    /// Tells people what went wrong, and lets a connection go that may be of no more use.
    fn settle<T>(&mut self, done: Result<T, Trouble>) -> Result<T, StoreError> {
        let done = done.map_err(|trouble| trouble.explain(&self.place.shown));
        if matches!(done, Err(StoreError::Unreachable { .. })) {
            self.client = None;
        }
        done
    }
}

type Connected<'a> = Result<&'a mut Client, Trouble>;

/// One moment of everything.
async fn reading(client: Connected<'_>) -> Result<Transaction<'_>, Trouble> {
    let transaction = client?.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(transaction.start().await?)
}

async fn load(client: Connected<'_>) -> Result<Model, Trouble> {
    rows::model(&reading(client).await?).await
}

async fn load_usage(client: Connected<'_>) -> Result<Usage, Trouble> {
    rows::usage(&reading(client).await?).await
}

async fn audit(client: Connected<'_>, before: Option<u64>, limit: u32) -> Result<Vec<super::AuditRow>, Trouble> {
    rows::audit(&reading(client).await?, before, limit).await
}

async fn hashed_from(client: Connected<'_>) -> Result<u64, Trouble> {
    rows::hashed_from(&reading(client).await?).await
}

async fn snapshot(client: Connected<'_>) -> Result<Snapshot, Trouble> {
    let transaction = reading(client).await?;
    let audit = rows::audit(&transaction, None, u32::MAX).await?.into_iter().rev().collect();
    Ok(Snapshot { model: rows::model(&transaction).await?, usage: rows::usage(&transaction).await?, audit })
}

async fn commit(client: Connected<'_>, expected: u64, changes: &[Change], entry: &Entry) -> Result<u64, Trouble> {
    let transaction = client?.transaction().await?;
    let found = rows::revision(&transaction, "FOR UPDATE").await?;
    if found != expected {
        return Err(Trouble::Store(StoreError::Conflict { expected, found }));
    }
    for change in changes {
        rows::write(&transaction, change).await?;
    }
    rows::move_on(&transaction, found + 1, next_id(changes), entry).await?;
    transaction.commit().await?;
    Ok(found + 1)
}

async fn record_usage(client: Connected<'_>, deltas: &[UsageDelta], now: UnixTime) -> Result<(), Trouble> {
    let transaction = client?.transaction().await?;
    rows::add_usage(&transaction, deltas, now).await?;
    Ok(transaction.commit().await?)
}

async fn restore(client: Connected<'_>, snapshot: &Snapshot, entry: &Entry) -> Result<u64, Trouble> {
    let transaction = client?.transaction().await?;
    let revision = rows::revision(&transaction, "FOR UPDATE").await? + 1;
    rows::replace(&transaction, &snapshot.model, &snapshot.usage).await?;
    if rows::audit(&transaction, None, 1).await?.is_empty() {
        for row in &snapshot.audit {
            rows::log_again(&transaction, row).await?;
        }
        rows::hash_from(&transaction, first_hashed(&snapshot.audit)).await?;
    }
    rows::move_on(&transaction, revision, snapshot.model.next_id, entry).await?;
    transaction.commit().await?;
    Ok(revision)
}

async fn listen_for_ever(place: Arc<Place>, newest: watch::Sender<u64>, is_up: Arc<AtomicBool>) {
    loop {
        if let Err(trouble) = listen(&place, &newest, &is_up).await {
            tracing::debug!(?trouble, "not told of others' changes for the moment");
        }
        is_up.store(false, Ordering::Relaxed);
        tokio::time::sleep(RETRY).await;
    }
}

/// Notes every revision that is heard of, until the connection breaks.
async fn listen(place: &Place, newest: &watch::Sender<u64>, is_up: &AtomicBool) -> Result<(), Trouble> {
    let (client, mut connection) = in_time(place.connect()).await?;
    let notices = newest.clone();
    let driver = async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notice) = message? {
                note(&notices, notice.payload().parse().unwrap_or(0));
            }
        }
        Ok(())
    };
    let asking = async {
        client.batch_execute("LISTEN adit").await?;
        loop {
            let revision =
                in_time(async { Ok(client.query_one("SELECT revision FROM adit.state", &[]).await?) }).await?;
            let revision = rows::uint(revision.try_get(0)?);
            is_up.store(true, Ordering::Relaxed);
            // A notice that was no revision would hide those that are.
            newest.send_if_modified(|known| std::mem::replace(known, revision) < revision);
            tokio::time::sleep(POLL).await;
        }
    };
    // Both on this task: when one ends, or the task is stopped, so is the other.
    tokio::select! {
        ended = driver => ended,
        ended = asking => ended,
    }
}

fn note(newest: &watch::Sender<u64>, revision: u64) {
    newest.send_if_modified(|known| {
        let is_news = revision > *known;
        *known = (*known).max(revision);
        is_news
    });
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place.shown).finish_non_exhaustive()
    }
}

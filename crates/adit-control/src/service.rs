//! Commands in, models out: one task decides, stores with a row of the log, and tells whoever watches.
//!
//! It follows what other gateways change, and goes on with what it knows when the database is gone. Not here: what a
//! command means (`decide`), how it is stored (`store`), what a gateway makes of it (`desired`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::decide::{Command, Decision, Outcome, Refusal, decide};
use crate::model::{Change, Model};
use crate::peer::PeerId;
use crate::store::{Actor, AuditHash, AuditRow, Backup, Chain, Entry, Store, StoreError};
use crate::time::UnixTime;
use crate::usage::{Usage, UsageDelta};

/// Commands that wait.
const MAX_WAITING: usize = 256;
/// How often a command is decided anew because another gateway was faster.
const MAX_TRIES: usize = 16;
/// How long after a failure the database is asked again for what others changed.
const RETRY: Duration = Duration::from_secs(1);
/// Devices whose usage is stored at once: a command waits for no more than these.
const USAGE_BATCH: usize = 500;
/// How often usage that other gateways counted is read.
const REFRESH_USAGE: Duration = Duration::from_secs(30);

/// Why a command did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServiceError {
    /// It is not right.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The people of one network. Clones are the same one; when the last is dropped, its task ends.
#[derive(Debug, Clone)]
pub struct Service {
    asks: mpsc::Sender<Ask>,
    model: watch::Receiver<Arc<Model>>,
    usage: watch::Receiver<Arc<Usage>>,
    store: Store,
}

enum Ask {
    Execute {
        command: Box<Command>,
        actor: Actor,
        now: UnixTime,
        reply: oneshot::Sender<Result<Outcome, ServiceError>>,
    },
    RecordUsage {
        deltas: Vec<UsageDelta>,
        now: UnixTime,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Everything was replaced.
    Reload(oneshot::Sender<Result<(), StoreError>>),
}

impl Service {
    /// Reads everything, and starts the task. Inside a tokio runtime.
    pub async fn start(store: Store) -> Result<Self, StoreError> {
        let (model, seen_model) = watch::channel(Arc::new(store.load().await?));
        let (usage, seen_usage) = watch::channel(Arc::new(store.load_usage().await?));
        let (asks, asked) = mpsc::channel(MAX_WAITING);
        let (unrecorded, recorders) = (BTreeMap::new(), Vec::new());
        let task = Task { store: store.clone(), model, usage, unrecorded, recorders, behind: None };
        tokio::spawn(task.run(asked));
        Ok(Self { asks, model: seen_model, usage: seen_usage, store })
    }

    /// The model as it is now.
    pub fn model(&self) -> Arc<Model> {
        self.model.borrow().clone()
    }

    /// Every model from now on; a slow reader sees the newest only.
    pub fn watch(&self) -> watch::Receiver<Arc<Model>> {
        self.model.clone()
    }

    /// What devices used, with what could not be stored yet.
    pub fn usage(&self) -> Arc<Usage> {
        self.usage.borrow().clone()
    }

    /// As [`watch`](Self::watch), of usage.
    pub fn watch_usage(&self) -> watch::Receiver<Arc<Usage>> {
        self.usage.clone()
    }

    /// Whether the database did what it was last asked. See [`Store::is_up`].
    pub fn is_database_up(&self) -> bool {
        self.store.is_up()
    }

    /// Revisions that other gateways made, that were heard of and are not read yet.
    pub fn behind(&self) -> u64 {
        self.store.watch().borrow().saturating_sub(self.model.borrow().revision)
    }

    /// What a command would change. Nothing is changed.
    pub fn preview(&self, command: Command, now: UnixTime) -> Result<Decision, Refusal> {
        decide(&self.model(), command, now)
    }

    /// Carries a command out: when it is answered, it is stored, in the log, and seen by whoever watches.
    pub async fn execute(&self, command: Command, actor: Actor, now: UnixTime) -> Result<Outcome, ServiceError> {
        let command = Box::new(command);
        self.ask(|reply| Ask::Execute { command, actor, now, reply }).await?
    }

    /// Adds what devices used since the last time. If it cannot be stored now it counts all the same, and is stored with
    /// the next.
    pub async fn record_usage(&self, deltas: Vec<UsageDelta>, now: UnixTime) -> Result<(), StoreError> {
        self.ask(|reply| Ask::RecordUsage { deltas, now, reply }).await?
    }

    /// See [`Store::audit`].
    pub async fn audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.store.audit(before, limit).await
    }

    /// See [`Store::verify_audit`].
    pub async fn verify_audit(&self, kept: Option<(u64, AuditHash)>) -> Result<Chain, StoreError> {
        self.store.verify_audit(kept).await
    }

    /// See [`Store::backup`].
    pub async fn backup(&self, file: &Path, now: UnixTime) -> Result<(), StoreError> {
        self.store.backup(file, now).await
    }

    /// See [`Store::restore`]. Whoever watches sees it.
    pub async fn restore(&self, backup: &Backup<'_>, actor: &Actor, now: UnixTime) -> Result<(), StoreError> {
        self.store.restore(backup, actor, now).await?;
        self.ask(Ask::Reload).await?
    }

    /// Lets the database go, and waits until another server can have it.
    pub async fn close(self) {
        self.store.close().await;
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}

/// What the task owns.
struct Task {
    store: Store,
    model: watch::Sender<Arc<Model>>,
    usage: watch::Sender<Arc<Usage>>,
    /// Usage that is counted and not stored: one for each device, so it is bounded.
    unrecorded: BTreeMap<PeerId, UsageDelta>,
    /// Who waits until it is stored, with the time they told.
    recorders: Vec<(UnixTime, oneshot::Sender<Result<(), StoreError>>)>,
    /// Others changed something that is not read yet: when to try.
    behind: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut newest = self.store.watch();
        let mut refresh = tokio::time::interval(REFRESH_USAGE);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What others changed goes before commands, and they before usage, of which there may be much.
                biased;
                Ok(()) = newest.changed() => {
                    let heard = *newest.borrow_and_update();
                    if heard > self.model.borrow().revision {
                        self.follow().await;
                    }
                }
                ask = asked.recv() => match ask {
                    Some(ask) => self.handle(ask).await,
                    None => return,
                },
                () = tokio::time::sleep_until(self.behind.unwrap_or_else(Instant::now)), if self.behind.is_some() => {
                    self.follow().await;
                }
                _ = refresh.tick(), if self.store.is_shared() => self.refresh_usage().await,
                () = std::future::ready(()), if !self.recorders.is_empty() => self.record_some().await,
            }
        }
    }

    async fn handle(&mut self, ask: Ask) {
        // Whoever asked may have gone; what was done is done.
        match ask {
            Ask::Execute { command, actor, now, reply } => drop(reply.send(self.execute(*command, &actor, now).await)),
            Ask::RecordUsage { deltas, now, reply } => {
                self.count(&deltas, now);
                self.recorders.push((now, reply));
            }
            Ask::Reload(reply) => {
                let loaded = self.load().await;
                let loaded = match self.store.load_usage().await {
                    Ok(usage) => loaded.map(|()| drop(self.usage.send_replace(Arc::new(usage)))),
                    Err(error) => loaded.and(Err(error)),
                };
                drop(reply.send(loaded));
            }
        }
    }

    async fn execute(&mut self, command: Command, actor: &Actor, now: UnixTime) -> Result<Outcome, ServiceError> {
        let mut tries = 1;
        loop {
            let model = self.model.borrow().clone();
            let decision = decide(&model, command.clone(), now)?;
            if decision.changes.is_empty() {
                return Ok(decision.outcome);
            }
            let entry = Entry::new(actor, decision.verb, decision.what, now);
            match self.store.commit(model.revision, decision.changes.clone(), entry).await {
                Ok(revision) => {
                    self.publish(&model, &decision.changes, revision);
                    return Ok(decision.outcome);
                }
                Err(StoreError::Conflict { .. }) if tries < MAX_TRIES => {
                    tries += 1;
                    self.load().await?;
                }
                Err(error) => {
                    // A connection that broke may have done it all the same: look as soon as it is back.
                    if matches!(error, StoreError::Unreachable { .. }) {
                        self.behind = Some(Instant::now() + RETRY);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn publish(&self, model: &Model, changes: &[Change], revision: u64) {
        let mut next = model.clone();
        for change in changes {
            next.apply(change);
            if let Change::RemovePeer(id) = change {
                self.usage.send_if_modified(|usage| Arc::make_mut(usage).peers.remove(id).is_some());
            }
        }
        next.revision = revision;
        self.model.send_replace(Arc::new(next));
    }

    /// Adds to what is known, and to what is to be stored.
    fn count(&mut self, deltas: &[UsageDelta], now: UnixTime) {
        let model = self.model.borrow().clone();
        let known: Vec<_> = deltas.iter().filter(|delta| model.peers.contains_key(&delta.peer)).copied().collect();
        if !known.is_empty() {
            self.usage.send_modify(|usage| Arc::make_mut(usage).add(&known, now));
        }
        for delta in known {
            let sum = self.unrecorded.entry(delta.peer).or_insert(UsageDelta { received: 0, sent: 0, ..delta });
            sum.received = sum.received.saturating_add(delta.received);
            sum.sent = sum.sent.saturating_add(delta.sent);
            sum.seen = sum.seen.max(delta.seen);
        }
    }

    /// Stores some of what is not stored yet, and tells those who wait when it was the rest, or went wrong.
    async fn record_some(&mut self) {
        let now = self.recorders.iter().map(|(now, _)| *now).max().unwrap_or_default();
        let some: Vec<_> = self.unrecorded.values().take(USAGE_BATCH).copied().collect();
        let stored = if some.is_empty() { Ok(()) } else { self.store.record_usage(some.clone(), now).await };
        if stored.is_ok() {
            some.iter().for_each(|delta| _ = self.unrecorded.remove(&delta.peer));
        }
        if stored.is_err() || self.unrecorded.is_empty() {
            for (_, reply) in self.recorders.drain(..) {
                drop(reply.send(stored.clone()));
            }
        }
    }

    /// Reads what others changed. If that fails, the known model stays, and it is tried again.
    async fn follow(&mut self) {
        let loaded = self.load().await;
        self.behind = loaded.err().map(|_| Instant::now() + RETRY);
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let model = self.store.load().await?;
        let is_news = model.revision != self.model.borrow().revision;
        if is_news {
            self.unrecorded.retain(|peer, _| model.peers.contains_key(peer));
            self.model.send_replace(Arc::new(model));
        }
        Ok(())
    }

    /// What all gateways counted, and what this one has not told yet.
    async fn refresh_usage(&mut self) {
        if let Ok(mut usage) = self.store.load_usage().await
            && self.unrecorded.is_empty()
        {
            usage.peers.retain(|peer, _| self.model.borrow().peers.contains_key(peer));
            self.usage.send_if_modified(|known| {
                let is_news = **known != usage;
                if is_news {
                    *known = Arc::new(usage);
                }
                is_news
            });
        }
    }
}

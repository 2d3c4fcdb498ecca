//! Makes the changes of a plan one by one, each noted in the journal first, and undoes them: at the end, on failure, or
//! for a run that was killed.
//!
//! Not here: which changes (`plan`), how each is made (`backend`), another plan while the interface is up (`update`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::future::ready;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::backend::{self, Backend, Linux};
use crate::change::{Change, Stage};
use crate::error::HostError;
use crate::gateway::OtherFirewall;
use crate::journal::{self, Journal};
use crate::nft;
use crate::plan::{self, HostPlan};
use crate::update::update;

/// Where journals are kept if nothing else is said. It is emptied by a restart of the machine, as are the changes.
pub const STATE_DIR: &str = "/run/adit/host";
/// How often another process's turn at the machine is waited for.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The machine that tunnels run on.
#[derive(Debug, Clone)]
pub struct Host {
    dir: PathBuf,
    /// Marks given out by [`Host::choose_fwmark`], by interface: they may not be visible on the machine yet.
    marks: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// An interface's turn, before there is an interface: what a killed run left is undone, the profile's PreUp commands
/// ran. End it by [`Prepared::apply`] or [`Prepared::cancel`]; dropping it leaves the rest to [`Host::recover`].
#[derive(Debug)]
pub struct Prepared {
    host: Host,
    name: String,
    mark: Option<u32>,
    journal: Journal,
}

/// What was changed for one interface. Undo it by [`Applied::undo`]; dropping it leaves the machine as it is, for
/// [`Host::recover`].
#[derive(Debug)]
pub struct Applied {
    host: Host,
    plan: HostPlan,
    mark: u32,
    journal: Journal,
}

impl Host {
    /// The machine, with journals at [`STATE_DIR`].
    #[must_use]
    pub fn new() -> Self {
        Self::at(STATE_DIR)
    }

    /// The machine, with journals in `dir`. It is made when it is needed, for its owner only.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), marks: Arc::default() }
    }

    /// The mark that this tunnel's own datagrams must carry, if any: the profile's, or for a full tunnel without one, a
    /// free one that is kept for this interface. Set it on the sockets and in [`HostPlan::fwmark`] before
    /// [`Host::apply`], or the tunnel's datagrams go into the tunnel.
    pub async fn choose_fwmark(&self, plan: &HostPlan) -> Result<Option<u32>, HostError> {
        if plan.fwmark.is_some_and(|mark| mark != 0) || !plan.is_full_tunnel() {
            return Ok(plan.fwmark);
        }
        let observed = Linux.observe(plan).await?;
        Ok(Some(self.keep_mark(&plan.name, |taken| observed.free_mark(taken))))
    }

    /// What [`Host::apply`] would do now, commands of the profile included. Changes nothing.
    pub async fn plan(&self, plan: &HostPlan) -> Result<Vec<Change>, HostError> {
        let observed = Linux.observe(plan).await?;
        let mark = plan.fwmark.filter(|mark| *mark != 0).unwrap_or_else(|| observed.free_mark(&BTreeSet::new()));
        let mut changes = plan.changes_before();
        changes.extend(plan::diff(plan, &observed, mark));
        changes.extend(plan.changes_after());
        Ok(changes)
    }

    /// Makes the machine fit the plan. What a killed run left for this interface is undone first; if a change fails,
    /// all of them are undone.
    pub async fn apply(&self, plan: &HostPlan) -> Result<Applied, HostError> {
        self.prepare(plan).await?.apply(plan).await
    }

    /// The first half of [`Host::apply`], for one who makes the interface only then, as profiles expect of PreUp: undoes
    /// what a killed run left, runs the PreUp commands, chooses the mark.
    pub async fn prepare(&self, plan: &HostPlan) -> Result<Prepared, HostError> {
        check_name(&plan.name)?;
        let journal = prepare(self, &mut Linux, plan).await?;
        match self.choose_fwmark(plan).await {
            Ok(mark) => Ok(Prepared { host: self.clone(), name: plan.name.clone(), mark, journal }),
            Err(error) => Err(undo_for(self, &mut Linux, journal, &plan.name, error).await),
        }
    }

    /// Makes the machine fit another plan for the same interface: only what differs is changed, and no command run.
    /// Commands for the end are replaced. If a change fails, it is taken back and those before it stay; the next update goes
    /// on from there, to this plan or to another.
    pub async fn update(&self, applied: &mut Applied, plan: &HostPlan) -> Result<Vec<Change>, HostError> {
        let _turn = self.turn().await?;
        let made = update(self, &mut Linux, &mut applied.journal, plan, applied.mark).await?;
        applied.plan = plan.clone();
        Ok(made)
    }

    /// Other programs' packet filters that a gateway has to be told to by their own means. Each says how when displayed.
    ///
    /// # Errors
    /// As [`Host::plan`].
    pub async fn other_firewalls(&self) -> Result<Vec<OtherFirewall>, HostError> {
        Ok(backend::other_firewalls(&nft::chains().await?))
    }

    /// Undoes what a killed run left for an interface. Returns what was undone; nothing if there was nothing. Fails
    /// with [`HostError::Busy`] if its process lives.
    pub async fn recover(&self, link: &str) -> Result<Vec<Change>, HostError> {
        check_name(link)?;
        match Journal::open_existing(&self.dir, link)? {
            Some(journal) => undo(self, &mut Linux, journal, link, ready(())).await,
            None => Ok(Vec::new()),
        }
    }

    /// Undoes what killed runs left, for every interface whose process is gone. One that fails does not stop the next:
    /// each has its own result.
    pub async fn recover_all(&self) -> Result<Vec<(String, Result<Vec<Change>, HostError>)>, HostError> {
        let mut results = Vec::new();
        for link in Journal::links(&self.dir)? {
            match self.recover(&link).await {
                Err(HostError::Busy { .. }) => {}
                Ok(undone) if undone.is_empty() => {}
                result => results.push((link, result)),
            }
        }
        Ok(results)
    }

    /// Where the journals are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn keep_mark(&self, link: &str, choose: impl FnOnce(&BTreeSet<u32>) -> u32) -> u32 {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mark) = marks.get(link) {
            return *mark;
        }
        let taken = marks.values().copied().collect();
        let mark = choose(&taken);
        marks.insert(link.to_owned(), mark);
        mark
    }

    fn give_back_mark(&self, link: &str) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(link);
    }

    /// Waits until no other process or task plans and changes the machine's network.
    async fn turn(&self) -> Result<File, HostError> {
        let path = self.dir.join("lock");
        let failed = |source| HostError::Journal { what: "lock", path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_RETRY).await,
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Prepared {
    /// The mark that the tunnel's own datagrams must carry, if any: see [`Host::choose_fwmark`].
    #[must_use]
    pub fn fwmark(&self) -> Option<u32> {
        self.mark
    }

    /// The second half of [`Host::apply`]: the interface exists now. If a change fails, all of them are undone.
    pub async fn apply(self, plan: &HostPlan) -> Result<Applied, HostError> {
        let plan =
            HostPlan { name: self.name, fwmark: plan.fwmark.filter(|mark| *mark != 0).or(self.mark), ..plan.clone() };
        let (journal, mark) = apply(&self.host, &mut Linux, self.journal, &plan).await?;
        Ok(Applied { host: self.host, plan, mark, journal })
    }

    /// Gives up before there is an interface. PostDown commands run if PreUp commands did.
    pub async fn cancel(self) -> Result<Vec<Change>, HostError> {
        undo(&self.host, &mut Linux, self.journal, &self.name, ready(())).await
    }
}

impl Applied {
    /// The plan that is in force.
    #[must_use]
    pub fn plan(&self) -> &HostPlan {
        &self.plan
    }

    /// What was changed, and is to be undone.
    pub(crate) fn changes(&mut self) -> Result<Vec<Change>, HostError> {
        Ok(self.journal.open_changes()?.into_iter().map(|(_, change)| change).collect())
    }

    /// The mark and routing table of a full tunnel; nothing for other tunnels.
    #[must_use]
    pub fn fwmark(&self) -> Option<u32> {
        self.plan.is_full_tunnel().then_some(self.mark)
    }

    /// Undoes everything, last first, and runs the profile's commands for the end. One thing that cannot be undone does
    /// not stop the others; it stays in the journal and is in the error.
    pub async fn undo(self) -> Result<Vec<Change>, HostError> {
        self.undo_around(ready(())).await
    }

    /// The same, with the interface removed by `remove` when everything else is undone, and before the PostDown commands
    /// run, as profiles expect.
    pub async fn undo_around(self, remove: impl Future<Output = ()> + Send) -> Result<Vec<Change>, HostError> {
        undo(&self.host, &mut Linux, self.journal, &self.plan.name, remove).await
    }
}

/// An interface's name is part of file names and of nftables text; the kernel takes some that are neither.
fn check_name(link: &str) -> Result<(), HostError> {
    let fits = (1..=15).contains(&link.len()) && !matches!(link, "." | "..");
    if fits && link.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte)) {
        return Ok(());
    }
    Err(HostError::BadName { link: link.to_owned() })
}

async fn prepare<B: Backend>(host: &Host, machine: &mut B, plan: &HostPlan) -> Result<Journal, HostError> {
    let mut journal = Journal::open(&host.dir, &plan.name)?;
    if !journal.open_changes()?.is_empty() {
        tracing::info!(interface = plan.name, "undoing what a killed run left");
        undo(host, machine, journal, &plan.name, ready(())).await?;
        journal = Journal::open(&host.dir, &plan.name)?;
    }
    match make(machine, &mut journal, plan.changes_before()).await {
        Ok(()) => Ok(journal),
        Err(error) => Err(undo_for(host, machine, journal, &plan.name, error).await),
    }
}

async fn apply<B: Backend>(
    host: &Host,
    machine: &mut B,
    mut journal: Journal,
    plan: &HostPlan,
) -> Result<(Journal, u32), HostError> {
    match make_all(host, machine, &mut journal, plan).await {
        Ok(mark) => Ok((journal, mark)),
        Err(error) => Err(undo_for(host, machine, journal, &plan.name, error).await),
    }
}

/// Undoes what was done until something failed, and gives back why it failed.
async fn undo_for<B: Backend>(
    host: &Host,
    machine: &mut B,
    journal: Journal,
    link: &str,
    error: HostError,
) -> HostError {
    if let Err(left) = undo(host, machine, journal, link, ready(())).await {
        tracing::warn!("{left}");
    }
    error
}

async fn make_all<B: Backend>(
    host: &Host,
    machine: &mut B,
    journal: &mut Journal,
    plan: &HostPlan,
) -> Result<u32, HostError> {
    let mark = {
        // Not while commands run: they may take long, or bring up another tunnel.
        let _turn = host.turn().await?;
        let observed = machine.observe(plan).await?;
        if observed.link.is_none() {
            return Err(HostError::NoLink { link: plan.name.clone() });
        }
        let mark = match plan.fwmark.filter(|mark| *mark != 0) {
            Some(mark) => mark,
            None if plan.is_full_tunnel() => host.keep_mark(&plan.name, |taken| observed.free_mark(taken)),
            None => 0,
        };
        observed.firewalls.iter().for_each(|other| tracing::warn!(interface = plan.name, "{other}"));
        make(machine, journal, plan::diff(plan, &observed, mark)).await?;
        mark
    };
    make(machine, journal, plan.changes_after()).await?;
    Ok(mark)
}

async fn make<B: Backend>(machine: &mut B, journal: &mut Journal, changes: Vec<Change>) -> Result<(), HostError> {
    for change in changes {
        journal.record(&change)?;
        tracing::debug!("{change}");
        machine.apply(&change).await?;
    }
    Ok(())
}

/// Undoes what the journal has, last first, but commands for after everything after everything, and `remove` before them.
async fn undo<B: Backend>(
    host: &Host,
    machine: &mut B,
    mut journal: Journal,
    link: &str,
    remove: impl Future<Output = ()> + Send,
) -> Result<Vec<Change>, HostError> {
    let mut open = journal.open_changes()?;
    open.reverse();
    let last = |(_, change): &(usize, Change)| matches!(change, Change::AtEnd { stage: Stage::PostDown, .. });
    let (after, before): (Vec<_>, Vec<_>) = open.into_iter().partition(last);
    let mut undone = Vec::new();
    let mut left = Vec::new();
    for (number, change) in before {
        match undo_one(host, machine, &mut journal, link, number, &change).await {
            Ok(()) => undone.push(change),
            Err(error) => left.push(error.to_string()),
        }
    }
    remove.await;
    for (number, change) in after {
        match undo_one(host, machine, &mut journal, link, number, &change).await {
            Ok(()) => undone.push(change),
            Err(error) => left.push(error.to_string()),
        }
    }
    host.give_back_mark(link);
    if left.is_empty() {
        journal.close()?;
        return Ok(undone);
    }
    Err(HostError::Left { link: link.to_owned(), left })
}

async fn undo_one<B: Backend>(
    host: &Host,
    machine: &mut B,
    journal: &mut Journal,
    link: &str,
    number: usize,
    change: &Change,
) -> Result<(), HostError> {
    if matches!(change, Change::AtEnd { .. } | Change::Run { .. }) {
        // Noted first: a command is run once, even if this process is killed while it runs; and its failure is its own.
        journal.undone(number)?;
        if let Err(error) = machine.undo(change).await {
            tracing::warn!("{error}");
        }
        return Ok(());
    }
    let turn = host.turn().await?;
    if !hand_over(&host.dir, link, change)? {
        machine.undo(change).await?;
    }
    drop(turn);
    journal.undone(number)
}

fn hand_over(dir: &Path, link: &str, change: &Change) -> Result<bool, HostError> {
    if matches!(change, Change::Sysctl { .. } | Change::Dns(_)) {
        return journal::hand_over(dir, link, change);
    }
    Ok(false)
}

#[cfg(test)]
mod tests;

//! Makes the machine fit another plan for an interface that is up: only what differs is changed.
//!
//! A change counts as made if it is the last that the journal has open for its place, and not in doubt: one is in doubt
//! from the moment it is begun until it is known to have ended well, and again from when it is taken away. What is in
//! doubt is made again by the next update that wants it. Not here: the first plan of an interface, its end (`apply`).

use crate::apply::Host;
use crate::backend::Backend;
use crate::change::Change;
use crate::error::HostError;
use crate::journal::Journal;
use crate::plan::{self, HostPlan, Observed};

/// A change of the journal, by its number there.
type Noted = (usize, Change);

/// Gives what was made. If something fails, the change that failed is taken back, and those before it stay.
pub(crate) async fn update<B: Backend>(
    host: &Host,
    machine: &mut B,
    journal: &mut Journal,
    plan: &HostPlan,
    mark: u32,
) -> Result<Vec<Change>, HostError> {
    if let Err(error) = journal.compact() {
        tracing::debug!(%error, "a journal stays as long as it is");
    }
    let old = journal.open_changes()?;
    let ours: Vec<Change> = old.iter().map(|(_, change)| change.clone()).collect();
    let observed = machine.observe(plan).await?.without(&ours);
    let mark = match plan.fwmark.filter(|mark| *mark != 0) {
        Some(mark) => mark,
        None if plan.is_full_tunnel() && mark == 0 => host.keep_mark(&plan.name, |taken| observed.free_mark(taken)),
        None => mark,
    };
    let mut new = plan::diff(plan, &observed, mark);
    new.extend(plan.changes_after().into_iter().filter(|change| matches!(change, Change::AtEnd { .. })));
    let mut made = Vec::new();
    for change in &new {
        if stand(machine, journal, &observed, &old, change).await? {
            made.push(change.clone());
        }
    }
    take_away(machine, journal, &new).await?;
    Ok(made)
}

/// Makes one change, unless it stands. Says whether it was made.
async fn stand<B: Backend>(
    machine: &mut B,
    journal: &mut Journal,
    observed: &Observed,
    old: &[Noted],
    change: &Change,
) -> Result<bool, HostError> {
    let place: Vec<&Noted> = old.iter().filter(|(_, there)| there == change || change.replaces(there)).collect();
    let stands = place.last().is_some_and(|(number, last)| last == change && !journal.is_doubtful(*number));
    if stands && !observed.may_have_lost(change) {
        return Ok(false);
    }
    let noted = place.iter().rev().find(|(_, there)| there == change).map(|(number, _)| *number);
    let number = noted.map_or_else(|| journal.record(change), Ok)?;
    let later: Vec<usize> = place.iter().map(|(later, _)| *later).filter(|later| *later > number).collect();
    for begun in later.iter().chain([&number]) {
        journal.doubt(*begun);
    }
    tracing::debug!("{change}");
    if let Err(error) = machine.apply(change).await {
        if noted.is_none() {
            take_back(machine, journal, &place, number, change).await;
        }
        return Err(error);
    }
    journal.trust(number);
    // What lay over it does no more, and must not be taken for made.
    for number in later {
        journal.undone(number)?;
    }
    Ok(!stands)
}

/// After a change that failed, of which some may be there. What had its place before is written over it, never away: until
/// the next attempt the machine has the old name servers, not none. If that fails too, it stays in the journal, in doubt.
/// A packet filter changes as a whole or not at all: most likely the old one stands, which is not loaded from here, for the
/// journal has not its text; the next update that wants it does that.
async fn take_back<B: Backend>(
    machine: &mut B,
    journal: &mut Journal,
    place: &[&Noted],
    number: usize,
    change: &Change,
) {
    let before = place.iter().max_by_key(|(number, _)| (!journal.is_doubtful(*number), *number));
    let taken = match before {
        Some((before, _)) if change.is_whole_or_not() => {
            journal.doubt(*before);
            Ok(())
        }
        Some((_, before)) => machine.apply(before).await,
        None => machine.undo(change).await,
    };
    if let Err(error) = taken.and_then(|()| journal.undone(number)) {
        tracing::warn!("{error}");
    }
}

/// Undoes what the new plan has not, last first.
async fn take_away<B: Backend>(machine: &mut B, journal: &mut Journal, new: &[Change]) -> Result<(), HostError> {
    let (stay, go): (Vec<Noted>, Vec<Noted>) =
        journal.open_changes()?.into_iter().partition(|(_, change)| new.contains(change));
    if go.iter().any(|(_, change)| matches!(change, Change::Address { .. })) {
        // With an address the kernel may take others of its network, and every route.
        for (number, _) in stay.iter().filter(|(_, change)| matches!(change, Change::Address { .. } | Change::Route(_)))
        {
            journal.doubt(*number);
        }
    }
    for (number, change) in go.iter().rev() {
        let forget = matches!(change, Change::AtEnd { .. } | Change::Run { .. });
        if !forget && !new.iter().any(|newer| newer.replaces(change)) {
            journal.doubt(*number);
            machine.undo(change).await?;
        }
        journal.undone(*number)?;
    }
    for (number, change) in &stay {
        if journal.is_doubtful(*number) {
            machine.apply(change).await?;
            journal.trust(*number);
        }
    }
    Ok(())
}

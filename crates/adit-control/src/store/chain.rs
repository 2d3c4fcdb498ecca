//! The chain of the log: each entry carries a hash over itself and the entry before it, so that none can be changed, taken
//! out or put in between without all later ones being made anew.
//!
//! What it does not prove: whoever can write to the database can make the whole chain anew. Only who kept the hash of an
//! entry elsewhere notices that. Not here: where entries are (`sqlite`, `postgres`), reading them page by page (`store`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{AuditRow, Entry};
use crate::time::UnixTime;

/// What each hash begins with.
const LABEL: &[u8] = b"adit audit v1\n";

/// The hash of an entry: SHA-256, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// Before the first entry.
    const NOTHING: Self = Self([0; 32]);

    /// Of a new entry with this number, that makes this revision, after one with the hash `before`.
    pub(super) fn next(before: Option<&Self>, id: u64, revision: u64, entry: &Entry) -> Self {
        let Entry { at, who, origin, verb, what } = entry;
        Self::over(before, [id, revision, at.0], [who, origin, verb, what])
    }

    /// What an entry's hash must be.
    fn of(before: Option<&Self>, row: &AuditRow) -> Self {
        let AuditRow { id, revision, at, who, origin, verb, what, .. } = row;
        Self::over(before, [*id, *revision, at.0], [who, origin, verb, what])
    }

    fn over(before: Option<&Self>, numbers: [u64; 3], texts: [&String; 4]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(LABEL);
        context.update(&before.unwrap_or(&Self::NOTHING).0);
        numbers.iter().for_each(|number| context.update(&number.to_be_bytes()));
        for text in texts {
            // Its length first: two texts cannot be taken for two others.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuditHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a hash is 64 digits from 0 to f";
        let digit = |b: u8| (b as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(wrong);
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(wrong);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return Err(wrong) };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for AuditHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AuditHash> for String {
    fn from(hash: AuditHash) -> Self {
        hash.to_string()
    }
}

/// What was found of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// How many entries there are.
    pub entries: u64,
    /// The first entry that carries a hash, and its time: from there on the log is what was written, if nothing is broken.
    pub since: Option<(u64, UnixTime)>,
    /// The newest entry and its hash: kept elsewhere, it proves later that nothing up to there was made anew.
    pub newest: Option<(u64, AuditHash)>,
    /// The newest entry at which something is wrong, and what.
    pub broken: Option<(u64, &'static str)>,
}

/// Looks at a log, newest entry first.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Chain,
    /// The entry that came last: its hash is checked when the one before it is known.
    later: Option<AuditRow>,
    /// What somebody kept.
    kept: Option<(u64, AuditHash)>,
    /// The number of the newest entry.
    end: u64,
    /// The first entry that must have a hash.
    hashed_from: u64,
}

/// The first entry of a log, given oldest first, that must have a hash from now on.
pub(super) fn first_hashed(log: &[AuditRow]) -> u64 {
    let first = log.iter().find(|row| row.hash.is_some()).map(|row| row.id);
    first.or_else(|| Some(log.last()?.id.saturating_add(1))).unwrap_or(1)
}

impl Verifier {
    /// `revision` is one that the log must reach; `kept` an entry whose hash somebody has kept.
    pub(super) fn new(
        newest: Option<&AuditRow>,
        revision: u64,
        hashed_from: u64,
        kept: Option<(u64, AuditHash)>,
    ) -> Self {
        let mut chain = Chain { entries: 0, since: None, newest: None, broken: None };
        chain.newest = newest.and_then(|row| Some((row.id, row.hash?)));
        let end = newest.map_or((0, 0), |row| (row.id, row.revision));
        if end.1 < revision {
            chain.broken = Some((end.0, "entries after it are missing: the state has gone on"));
        }
        if kept.is_some_and(|(id, _)| id > end.0) {
            chain.broken = Some((end.0, "the entry whose hash was kept is missing"));
        }
        Self { chain, later: None, kept, end: end.0, hashed_from }
    }

    /// The next older entry.
    pub(super) fn look(&mut self, row: AuditRow) {
        self.chain.entries += 1;
        if let Some((_, hash)) = self.kept.filter(|(id, _)| *id == row.id)
            && row.hash != Some(hash)
        {
            self.wrong(row.id, "it has another hash than the one that was kept");
        }
        if let Some(later) = self.later.take() {
            self.check(&later, Some(&row));
        }
        self.later = Some(row);
    }

    /// There is none older.
    pub(super) fn finish(mut self) -> Chain {
        if let Some(first) = self.later.take() {
            self.check(&first, None);
        }
        // Nothing was compared with anything: that must not look like a log that is whole.
        if self.chain.entries > 0 && self.chain.since.is_none() {
            self.wrong(
                self.end,
                "neither it nor any entry before it has a hash: they were taken away, or an older adit wrote it all",
            );
        }
        self.chain
    }

    fn check(&mut self, row: &AuditRow, before: Option<&AuditRow>) {
        if row.id != before.map_or(0, |before| before.id) + 1 {
            self.wrong(row.id, "entries before it are missing");
        }
        let Some(hash) = row.hash else {
            if before.is_some_and(|before| before.hash.is_some()) {
                self.wrong(row.id, "it has no hash, and the entry before it has");
            } else if row.id >= self.hashed_from {
                self.wrong(row.id, "it has no hash, and was written with one");
            }
            return;
        };
        self.chain.since = Some((row.id, row.at));
        if hash != AuditHash::of(before.and_then(|before| before.hash.as_ref()), row) {
            self.wrong(row.id, "it is not what was written, or the entry before it is not");
        }
    }

    /// The newest is told: what is older may follow from it.
    fn wrong(&mut self, id: u64, why: &'static str) {
        self.chain.broken.get_or_insert((id, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::NOW;
    use crate::store::Actor;

    /// A log of this many entries, oldest first; those before `since` are from before there were hashes.
    fn log(length: u64, since: u64) -> Vec<AuditRow> {
        let mut rows: Vec<AuditRow> = Vec::new();
        for id in 1..=length {
            let entry = Entry::new(&Actor::new("anna", "here"), "peer.add", format!("added {id}"), NOW);
            let before = rows.last().and_then(|row| row.hash);
            let hash = (id >= since).then(|| AuditHash::next(before.as_ref(), id, id, &entry));
            let Entry { at, who, origin, verb, what } = entry;
            rows.push(AuditRow { id, revision: id, at, who, origin, verb, what, hash });
        }
        rows
    }

    /// Without looking where hashes begin, as far as they are not taken away from the newest.
    fn verified(rows: &[AuditRow], revision: u64, kept: Option<(u64, AuditHash)>) -> Chain {
        verified_from(rows, revision, first_hashed(rows), kept)
    }

    fn verified_from(rows: &[AuditRow], revision: u64, from: u64, kept: Option<(u64, AuditHash)>) -> Chain {
        let mut verifier = Verifier::new(rows.last(), revision, from, kept);
        rows.iter().rev().for_each(|row| verifier.look(row.clone()));
        verifier.finish()
    }

    #[test]
    fn a_log_as_it_was_written_is_whole() {
        let rows = log(9, 1);
        let chain = verified(&rows, 9, Some((4, rows[3].hash.unwrap())));
        assert_eq!((chain.entries, chain.since, chain.broken), (9, Some((1, NOW)), None));
        assert_eq!(chain.newest, Some((9, rows[8].hash.unwrap())));
        assert_eq!(verified(&[], 0, None).broken, None);
        let later = verified(&log(9, 4), 9, None);
        assert_eq!((later.since, later.broken), (Some((4, NOW)), None), "older entries have no hash");
    }

    #[test]
    fn whatever_is_changed_is_found() {
        let broken_at = |change: &dyn Fn(&mut Vec<AuditRow>)| {
            let mut rows = log(9, 1);
            change(&mut rows);
            verified(&rows, 9, None).broken.map(|(id, _)| id)
        };
        assert_eq!(broken_at(&|rows| rows[4].who.push('x')), Some(5));
        assert_eq!(broken_at(&|rows| rows[4].at.0 += 1), Some(5));
        assert_eq!(broken_at(&|rows| rows[8].what.clear()), Some(9));
        assert_eq!(broken_at(&|rows| drop(rows.remove(4))), Some(6), "taken out");
        assert_eq!(broken_at(&|rows| drop(rows.remove(0))), Some(2), "the first");
        assert_eq!(broken_at(&|rows| drop(rows.pop())), Some(8), "the state is further than the log");
        assert_eq!(broken_at(&|rows| rows[4].hash = None), Some(6));
        assert_eq!(broken_at(&|rows| rows[..5].iter_mut().for_each(|row| row.hash = None)), Some(6));
        assert!(broken_at(&|rows| rows.swap(3, 4)).is_some());
        assert_eq!(broken_at(&|rows| rows[8].hash = None), Some(9));
        assert_eq!(broken_at(&|rows| rows[0].id = 0), Some(2), "a number that no log gives");
    }

    #[test]
    fn a_log_without_any_hash_is_not_called_whole() {
        let chain = verified(&log(9, 10), 9, None);
        assert_eq!((chain.entries, chain.since, chain.newest), (9, None, None));
        let (at, why) = chain.broken.unwrap();
        assert!(at == 9 && why.contains("taken away"), "{why}");
    }

    /// All hashes are taken away, and the next entry begins anew, as the store would.
    #[test]
    fn a_log_whose_hashes_were_wiped_is_not_whole_after_the_next_entry_either() {
        let mut rows = log(10, 10);
        let broken = |from| verified_from(&rows, 10, from, None).broken.map(|(id, _)| id);
        assert_eq!((broken(1), broken(4)), (Some(9), Some(9)));
        assert_eq!(broken(10), None, "older entries never had one");
        assert_eq!((first_hashed(&rows), first_hashed(&rows[..9]), first_hashed(&[])), (10, 10, 1));
        rows[9].hash = None;
        assert!(verified_from(&rows, 10, 10, None).broken.is_some());
    }

    #[test]
    fn a_hash_that_was_kept_finds_a_chain_that_was_made_anew() {
        let kept = log(9, 1)[8].hash.unwrap();
        let mut other = log(9, 1);
        let mut before = None;
        for row in &mut other {
            row.who = "eve".to_owned();
            row.hash = Some(AuditHash::of(before.as_ref(), row));
            before = row.hash;
        }
        assert_eq!(verified(&other, 9, None).broken, None, "by itself it looks whole");
        assert_eq!(verified(&other, 9, Some((9, kept))).broken.map(|(id, _)| id), Some(9));
        assert_eq!(verified(&other[..5], 5, Some((9, kept))).broken.map(|(id, _)| id), Some(5));
    }

    /// Made with another program: the bytes as they are described.
    #[test]
    fn the_hash_is_what_it_is_said_to_be() {
        let entry = Entry { at: UnixTime(5), who: "a".into(), origin: "b".into(), verb: "c".into(), what: "é".into() };
        let first = AuditHash::next(None, 1, 2, &entry);
        assert_eq!(first.to_string(), "f5a553b886a3f4e062def674b0907d2c3352d4abb46398c4e799914422e13f00");
        assert_eq!(
            AuditHash::next(Some(&first), 2, 3, &entry).to_string(),
            "8882c956f3aa8ff7d2c8636c487caea15f60054583ab6c49231be795d82d16e7"
        );
        assert_eq!(first.to_string().parse(), Ok(first));
        assert!("xyz".parse::<AuditHash>().is_err() && "é".repeat(32).parse::<AuditHash>().is_err());
    }
}

//! The log of changes: who, what, from where, when. It is written with the change or not at all, and never changed.

use serde::{Deserialize, Serialize};

use super::AuditHash;
use crate::time::UnixTime;

/// Characters of who and from where.
pub const MAX_ACTOR: usize = 128;
/// Rows read at once.
pub const MAX_AUDIT_PAGE: u32 = 1_000;

/// Who wants a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    who: String,
    origin: String,
}

impl Actor {
    /// As in `uid 1000 (anna)` and `local socket`. Shortened, and without control characters: it may come from a stranger.
    pub fn new(who: &str, origin: &str) -> Self {
        let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_ACTOR).collect();
        Self { who: plain(who), origin: plain(origin) }
    }
}

/// A change as the log will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: UnixTime,
    /// Who.
    pub who: String,
    /// From where.
    pub origin: String,
    /// The kind of change: `peer.disable`.
    pub verb: String,
    /// What was done, as a sentence.
    pub what: String,
}

impl Entry {
    /// What `actor` did.
    pub fn new(actor: &Actor, verb: &str, what: String, at: UnixTime) -> Self {
        let Actor { who, origin } = actor.clone();
        Self { at, who, origin, verb: verb.to_owned(), what }
    }
}

/// A change as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its place in the log, from 1.
    pub id: u64,
    /// The revision that it made.
    pub revision: u64,
    /// When.
    pub at: UnixTime,
    /// Who.
    pub who: String,
    /// From where.
    pub origin: String,
    /// The kind of change.
    pub verb: String,
    /// What was done.
    pub what: String,
    /// Over this entry and the one before; entries of an older adit have none.
    #[serde(default)]
    pub hash: Option<AuditHash>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_short_and_has_no_control_characters() {
        let actor = Actor::new("anna\u{1b}[2J\n", &"x".repeat(1_000));
        assert_eq!((actor.who.as_str(), actor.origin.len()), ("anna[2J", MAX_ACTOR));
    }
}

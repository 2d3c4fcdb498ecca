//! Every option there is: where it may stand, how many words it takes, and what becomes of it.
//!
//! Not here: the options themselves, which stand in the tables of their areas.

use super::draft::Draft;
use super::finding::Outcome;
use super::lexer::Directive;
use super::{connection, data, dns, hooks, identity, inside, life, process, proxy, pushed, server, tls};

/// In the file of a client.
pub(super) const CLIENT: u8 = 1;
/// In the file of a server.
pub(super) const SERVER: u8 = 2;
/// In either.
pub(super) const BOTH: u8 = CLIENT | SERVER;
/// In a `<connection>` block too.
pub(super) const CONNECTION: u8 = 4;
/// In what a server is told of one client.
pub(super) const CCD: u8 = 8;
/// In what a server pushes.
pub(super) const PUSHED: u8 = 16;

/// One option.
pub(super) struct Entry {
    pub(super) name: &'static str,
    places: u8,
    least: usize,
    most: usize,
    pub(super) many: bool,
    pub(super) treat: Treat,
}

/// What becomes of it.
pub(super) enum Treat {
    /// This reads it.
    Read(fn(&mut Draft, &Directive) -> Outcome),
    /// It has no effect, because of this.
    Ignored(&'static str),
    /// It is refused, because of this; what to do instead.
    Refused(&'static str, &'static str),
    /// Whoever goes through the lines has looked at it already.
    Handled,
}

pub(super) const fn read(
    name: &'static str,
    places: u8,
    least: usize,
    most: usize,
    reader: fn(&mut Draft, &Directive) -> Outcome,
) -> Entry {
    Entry { name, places, least, most, many: false, treat: Treat::Read(reader) }
}

pub(super) const fn ignored(name: &'static str, places: u8, least: usize, most: usize, why: &'static str) -> Entry {
    Entry { name, places, least, most, many: false, treat: Treat::Ignored(why) }
}

pub(super) const fn refused(name: &'static str, places: u8, why: &'static str, instead: &'static str) -> Entry {
    Entry { name, places, least: 0, most: usize::MAX, many: false, treat: Treat::Refused(why, instead) }
}

impl Entry {
    /// Each line adds to those before.
    pub(super) const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    /// Whoever goes through the lines has looked at it already.
    pub(super) const fn handled(self) -> Self {
        Self { treat: Treat::Handled, ..self }
    }

    /// Whether it may stand there.
    pub(super) const fn may_stand(&self, place: u8) -> bool {
        self.places & place != 0
    }

    /// Whether a `<connection>` block may hold it.
    pub(super) const fn is_of_connections(&self) -> bool {
        self.may_stand(CONNECTION)
    }

    /// Why it may not stand there, and what to do.
    pub(super) const fn stands_wrong(&self, place: u8) -> (&'static str, &'static str) {
        match place {
            CONNECTION => ("a <connection> block cannot hold this", "put it outside of the block"),
            PUSHED => ("a server cannot set this for a client", "remove it from what the server pushes"),
            CCD => ("this is not said of a single client", "put it into the file of the server"),
            CLIENT if self.may_stand(SERVER) => {
                ("only a server is told this", "remove the line from the file of the client")
            }
            SERVER if self.may_stand(CLIENT) => {
                ("only a client is told this", "remove the line from the file of the server")
            }
            _ if self.may_stand(CCD) => {
                ("this belongs into the file of one client", "put it into a file of `client-config-dir`")
            }
            _ => ("only a server sends this, while a client connects", "remove the line"),
        }
    }

    /// What is wrong with the number of words, if something is.
    pub(super) fn counts_wrong(&self, d: &Directive) -> Option<String> {
        if d.block.is_some() || (self.least..=self.most).contains(&d.arguments()) {
            return None;
        }
        let words = |n: usize| if n == 1 { "one word".to_owned() } else { format!("{n} words") };
        Some(match (self.least, self.most) {
            (0, 0) => "it stands alone".to_owned(),
            (least, most) if least == most => format!("it takes {}", words(least)),
            (least, 15..) => format!("it takes at least {}", words(least)),
            (least, most) => format!("it takes {least} to {most} words"),
        })
    }
}

const TABLES: [&[Entry]; 12] = [
    connection::TABLE,
    data::TABLE,
    dns::TABLE,
    hooks::TABLE,
    identity::TABLE,
    inside::TABLE,
    life::TABLE,
    process::TABLE,
    proxy::TABLE,
    pushed::TABLE,
    server::TABLE,
    tls::TABLE,
];

/// Roles are read before everything else: `client`, `tls-client`, `tls-server`.
const ROLES: [&str; 3] = ["client", "tls-client", "tls-server"];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    TABLES.into_iter().flatten()
}

/// Whether it says which end the file is for.
pub(super) fn is_role(name: &str) -> bool {
    ROLES.contains(&name)
}

/// Whether there is such an option.
pub(super) fn is_known(name: &str) -> bool {
    is_role(name) || find(name).is_some()
}

/// The option of this name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    all().find(|entry| entry.name == name)
}

/// The known name that looks most like this one, if one does.
pub(super) fn similar(name: &str) -> Option<&'static str> {
    let most = name.len() / 4 + 1;
    // A difference in length alone is as many letters: most names need no closer look.
    let names = all().map(|entry| entry.name).chain(ROLES).filter(|known| known.len().abs_diff(name.len()) <= most);
    let close = names.map(|known| (distance(name, known), known)).min()?;
    (close.0 <= most && name.len() > 2).then_some(close.1)
}

/// How many letters must change to make one of the other (Levenshtein). Only short words are compared.
fn distance(one: &str, other: &str) -> usize {
    if one.len() > 40 {
        return usize::MAX;
    }
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, letter) in one.chars().enumerate() {
        let mut before = row.first().copied().unwrap_or_default();
        if let Some(first) = row.first_mut() {
            *first = n + 1;
        }
        for (at, known) in other.iter().enumerate() {
            let (Some(&left), Some(&above)) = (row.get(at), row.get(at + 1)) else { continue };
            let best = (before + usize::from(letter != *known)).min(left + 1).min(above + 1);
            before = above;
            if let Some(cell) = row.get_mut(at + 1) {
                *cell = best;
            }
        }
    }
    row.last().copied().unwrap_or_default()
}

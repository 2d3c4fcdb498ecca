//! What can go wrong with the state, in sentences: what happened, to what, what to do next.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the state could not be read or written. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else made a change first.
    #[error("the state has moved on from revision {expected} to {found}\n  hint: try again")]
    Conflict {
        /// The revision that the change was made to.
        expected: u64,
        /// The revision there is.
        found: u64,
    },
    /// Another server has it.
    #[error("another adit server uses the state in {}\n  hint: there can be one for each directory; stop that one first", .0.display())]
    InUse(PathBuf),
    /// No room.
    #[error(
        "the disk with {0} is full: nothing was changed\n  hint: make room (`df -h`) and try again; connections go on"
    )]
    Full(String),
    /// Not to be written.
    #[error("{0} is read-only: nothing was changed\n  hint: is the disk mounted read-only after an error (`dmesg`)?")]
    ReadOnly(String),
    /// What is there is not what was written.
    #[error(
        "{place} is damaged: {reason}\n  hint: restore the last backup (`adit server restore FILE`) into a new directory"
    )]
    Damaged {
        /// The database.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Written by a newer adit.
    #[error(
        "{place} was written by a newer adit: it has schema {found}, and this one knows {known}\n  hint: update adit on this machine, or restore a backup of before the update"
    )]
    Newer {
        /// The database or backup.
        place: String,
        /// Its schema.
        found: u64,
        /// The newest that is known.
        known: u64,
    },
    /// A database elsewhere does not answer.
    #[error(
        "cannot reach {place}: {reason}\n  hint: devices that a server runs already stay connected; try again when the database is back"
    )]
    Unreachable {
        /// The database.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Anything else that the database says.
    #[error("{place} refuses: {reason}")]
    Failed {
        /// The database.
        place: String,
        /// What it says.
        reason: String,
    },
    /// A file or directory.
    #[error("cannot {what} {}: {reason}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Not a backup.
    #[error("{} is not a backup that could be restored: {reason}\n  hint: `adit server backup FILE` writes one", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was closed.
    #[error("the state is closed: this server is stopping")]
    Closed,
}

impl StoreError {
    /// Whether the database is well, and what it was asked was not right.
    pub(super) const fn is_about_what_was_asked(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::File { .. } | Self::Backup { .. } | Self::Newer { .. })
    }

    /// A file operation that failed. A full or read-only disk is called so.
    pub(super) fn file(what: &'static str, path: &Path, error: &io::Error) -> Self {
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::Full(path.display().to_string());
        }
        if kind == io::ErrorKind::ReadOnlyFilesystem {
            return Self::ReadOnly(path.display().to_string());
        }
        Self::File { what, path: path.to_owned(), reason: error.to_string() }
    }
}

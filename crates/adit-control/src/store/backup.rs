//! The whole state as one file of JSON: the same for every database, so a backup of one restores into the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use adit_wireguard::PublicKey;
use serde::{Deserialize, Serialize};

use super::{AuditRow, StoreError};
use crate::model::Model;
use crate::time::UnixTime;
use crate::usage::Usage;

/// The newest format that is known.
const FORMAT: u64 = 1;
/// The largest backup that is read.
const MAX_BACKUP: u64 = 1 << 30;

/// A backup that is to take the place of what is there.
#[derive(Debug, Clone, Copy)]
pub struct Backup<'a> {
    /// Where it is.
    pub file: &'a Path,
    /// What people call it, in the log and in errors: `file` may be a copy.
    pub called: &'a Path,
    /// The key that its network must have; `None` takes any.
    pub key: Option<PublicKey>,
}

/// Everything that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) model: Model,
    pub(crate) usage: Usage,
    pub(crate) audit: Vec<AuditRow>,
}

#[derive(Serialize, Deserialize)]
struct Written<T> {
    adit_backup: u64,
    taken: UnixTime,
    snapshot: T,
}

/// Read first, for a newer format may look otherwise.
#[derive(Deserialize)]
struct Format {
    adit_backup: u64,
}

/// Writes a backup: whole, or not at all; for its owner only.
pub(super) fn write(path: &Path, snapshot: &Snapshot, taken: UnixTime) -> Result<(), StoreError> {
    let failed = |error: &io::Error| StoreError::file("write the backup", path, error);
    let text =
        serde_json::to_vec(&Written { adit_backup: FORMAT, taken, snapshot }).map_err(|error| failed(&error.into()))?;
    if text.len() as u64 > MAX_BACKUP {
        let reason = format!("it would have more than {} MiB, and could not be read again", MAX_BACKUP >> 20);
        return Err(StoreError::Backup { path: path.to_owned(), reason });
    }
    let beside = beside(path);
    let written = write_new(&beside, &text).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // The rest of what could not be written; if it cannot be removed, the error that counts is the first.
        fs::remove_file(&beside).unwrap_or_default();
        return Err(failed(&error));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| failed(&error))
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Reads a backup, and believes it only if it does not contradict itself, and is of the network that it should be of.
pub(super) fn read(path: &Path, called: &Path, key: Option<&PublicKey>) -> Result<Snapshot, StoreError> {
    let snapshot = parse(path, called)?;
    match &snapshot.model.network {
        Some(network) if key.is_some_and(|key| *key != network.key) => {
            let reason = format!("it is of another network, {}, which has another key", network.name);
            Err(StoreError::Backup { path: called.to_owned(), reason })
        }
        Some(_) | None => Ok(snapshot),
    }
}

fn parse(path: &Path, called: &Path) -> Result<Snapshot, StoreError> {
    let failed = |error: io::Error| StoreError::file("read the backup", called, &error);
    let bad = |reason: String| StoreError::Backup { path: called.to_owned(), reason };
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BACKUP + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BACKUP {
        return Err(bad("it is too large".to_owned()));
    }
    let format: Format = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    if format.adit_backup > FORMAT {
        let place = called.display().to_string();
        return Err(StoreError::Newer { place, found: format.adit_backup, known: FORMAT });
    }
    let written: Written<Snapshot> = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    match written.snapshot.model.contradictions().into_iter().next() {
        Some(contradiction) => Err(bad(contradiction)),
        None => Ok(written.snapshot),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::fixture::{NOW, home, peer};
    use crate::peer::PeerId;

    fn snapshot() -> Snapshot {
        Snapshot { model: home(), usage: Usage::default(), audit: Vec::new() }
    }

    #[test]
    fn a_backup_is_read_as_it_was_written_and_only_its_owner_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup.json");
        for _ in 0..2 {
            write(&path, &snapshot(), NOW).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path, &path, None).unwrap(), snapshot());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_backup_of_another_network_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup.json");
        write(&path, &snapshot(), NOW).unwrap();
        let key = snapshot().model.network.unwrap().key;
        assert!(read(&path, &path, Some(&key)).is_ok());
        let refused = read(&path, Path::new("mine"), Some(&PublicKey::new([0x55; 32]))).unwrap_err().to_string();
        assert!(refused.starts_with("mine is not a backup") && refused.contains("another network, home"), "{refused}");
    }

    #[test]
    fn what_is_no_backup_is_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup.json");
        assert!(matches!(read(&path, &path, None), Err(StoreError::File { .. })));
        let refused = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            read(&path, &path, None).unwrap_err()
        };
        assert!(matches!(refused(b"not json"), StoreError::Backup { .. }));
        assert!(matches!(refused(br#"{"adit_backup": 1}"#), StoreError::Backup { .. }));
        assert!(matches!(refused(br#"{"adit_backup": 2, "other": 1}"#), StoreError::Newer { found: 2, known: 1, .. }));
        let mut twice = snapshot();
        twice.model.peers.insert(PeerId(9), peer(9, "NAS"));
        write(&path, &twice, NOW).unwrap();
        assert!(matches!(read(&path, &path, None), Err(StoreError::Backup { .. })));
    }

    #[test]
    fn a_backup_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("directory");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken, &snapshot(), NOW).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(write(Path::new("/dev/full/x"), &snapshot(), NOW), Err(StoreError::File { .. })));
    }
}

//! The resolver's file, written directly: what was there is kept in the journal and comes back only if ours is still there.
//!
//! Not here: when to use it (`dns`).

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DnsChange, Machine, RESOLV_CONF, lines};
use crate::error::HostError;
use crate::plan::HostPlan;

/// What resolvers read of a file; further servers are ignored by them.
const SERVERS_MAX: usize = 3;

/// What is at a path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Saved {
    /// Nothing.
    #[default]
    Missing,
    /// A file.
    File {
        /// What it holds.
        text: String,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
}

impl Saved {
    pub(super) fn is_file_with(&self, expected: &str) -> bool {
        matches!(self, Self::File { text, .. } if text == expected)
    }

    /// What is at `path` now.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(error),
        };
        if metadata.file_type().is_symlink() {
            return Ok(Self::Link { target: fs::read_link(path)? });
        }
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        Ok(Self::File { text, mode: metadata.permissions().mode() & 0o7777 })
    }
}

/// With servers: only these. With search domains alone: what was there, searched in these.
pub(super) fn plan(desired: &HostPlan, machine: &Machine) -> DnsChange {
    let mut text = format!("# Written by adit for {}; what was here comes back when it goes down.\n", desired.name);
    if desired.dns.is_empty() {
        let kept = machine.text.lines().filter(|line| !line.starts_with("search") && !line.starts_with("domain"));
        text.extend(kept.map(|line| format!("{line}\n")));
    }
    if desired.dns.len() > SERVERS_MAX {
        tracing::warn!(interface = desired.name, "programs read only the first {SERVERS_MAX} name servers of a file");
    }
    let servers = desired.dns.get(..SERVERS_MAX).unwrap_or(&desired.dns);
    text.push_str(&lines(servers, &desired.search));
    DnsChange::File { path: PathBuf::from(RESOLV_CONF), text, was: machine.conf.clone() }
}

/// Puts `text` at `path`: as a new file in one step, or in place where something is mounted over the path.
pub(super) fn write(path: &Path, text: &str) -> Result<(), HostError> {
    put(path, text, 0o644).map_err(|source| HostError::File { what: "write", path: path.to_owned(), source })
}

pub(super) fn verify(path: &Path, text: &str) -> Result<(), HostError> {
    match fs::read_to_string(path) {
        Ok(found) if found == text => Ok(()),
        Ok(found) => Err(HostError::DnsNotSet { link: path.display().to_string(), found }),
        Err(source) => Err(HostError::File { what: "read back", path: path.to_owned(), source }),
    }
}

/// Brings back what was there, if what is there now is what was written.
pub(super) fn restore(path: &Path, text: &str, was: &Saved) -> Result<(), HostError> {
    let failed = |source| HostError::File { what: "restore", path: path.to_owned(), source };
    let now = Saved::read(path).map_err(failed)?;
    // Longer by the tail of what was there: a write in place that was cut off before the length was set.
    let ours = matches!(&now, Saved::File { text: found, .. } if found.starts_with(text));
    if !ours {
        return Ok(());
    }
    match was {
        Saved::File { text, mode } => put(path, text, *mode),
        Saved::Link { target } => replace(path, |beside| symlink(target, beside)),
        Saved::Missing => fs::remove_file(path),
    }
    .map_err(failed)
}

fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let replaced = replace(path, |beside| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    });
    match replaced {
        // A mount cannot be renamed over; a read-only directory may hold a writable mount.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EROFS | libc::EXDEV)) => {
            in_place(path, text)
        }
        done => done,
    }
}

/// Makes something beside `path` and moves it there, so that no reader finds half of it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("conf.adit");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make(&beside)?;
    fs::rename(&beside, path).inspect_err(|_| {
        if let Err(error) = fs::remove_file(&beside) {
            tracing::debug!(%error, "could not remove {}", beside.display());
        }
    })
}

/// Never empty on the way: first the bytes, then the length.
fn in_place(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::TempDir;

    #[test]
    fn what_was_there_comes_back_with_its_permissions() {
        let dir = TempDir::new();
        let path = dir.path().join("resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let was = Saved::read(&path).unwrap();
        write(&path, "ours\n").unwrap();
        verify(&path, "ours\n").unwrap();
        restore(&path, "ours\n", &was).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), was);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_symbolic_link_comes_back_and_its_target_was_never_written() {
        let dir = TempDir::new();
        let path = dir.path().join("resolv.conf");
        fs::write(dir.path().join("real"), "nameserver 192.0.2.1\n").unwrap();
        symlink("real", &path).unwrap();
        let was = Saved::read(&path).unwrap();
        write(&path, "ours\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("real")).unwrap(), "nameserver 192.0.2.1\n");
        restore(&path, "ours\n", &was).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("real"));
    }

    #[test]
    fn what_somebody_else_wrote_since_stays() {
        let dir = TempDir::new();
        let path = dir.path().join("resolv.conf");
        write(&path, "ours\n").unwrap();
        fs::write(&path, "theirs\n").unwrap();
        restore(&path, "ours\n", &Saved::Missing).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs\n");
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let dir = TempDir::new();
        let path = dir.path().join("resolv.conf");
        write(&path, "ours\n").unwrap();
        restore(&path, "ours\n", &Saved::Missing).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), Saved::Missing);
        restore(&path, "ours\n", &Saved::Missing).unwrap();
    }

    #[test]
    fn a_write_in_place_that_was_cut_off_is_undone() {
        let dir = TempDir::new();
        let path = dir.path().join("resolv.conf");
        let was = Saved::File { text: "nameserver 192.0.2.1\n".into(), mode: 0o644 };
        fs::write(&path, "ours\nver 192.0.2.1\n").unwrap();
        restore(&path, "ours\n", &was).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), was);
    }
}

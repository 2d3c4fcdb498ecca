//! Whose certificates are withdrawn (`crl-verify`), looked at again for as long as a server runs: whoever replaces the list as
//! OpenVPN's server wants it need not tell anybody.
//!
//! Not here: what is done with whom (the core).

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_engine::EngineHandle;
use adit_openvpn::options::{Crl, ServerConfig};
use adit_openvpn::{Revoked, Server as Core, ServerChange};
use adit_protocol::Protocol as _;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Files, plain};
use crate::openvpn::attendant::for_people;

/// How often it is looked whether it has changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest list that is read.
const MAX_LIST: u64 = 1 << 20;
/// The most names of a directory.
const MAX_NAMES: usize = 1 << 16;

/// Where it is said which certificates are withdrawn.
#[derive(Debug)]
pub(super) struct Withdrawn {
    place: Place,
    /// What the system said of it when it was read last.
    seen: Option<Stamp>,
}

#[derive(Debug, Clone)]
enum Place {
    /// Lists that authorities signed.
    List(PathBuf),
    /// Files called like the serial numbers of certificates.
    Directory(PathBuf),
}

/// What tells that a file is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Withdrawn {
    /// What a configuration names, if it names any.
    pub(super) fn of(config: &ServerConfig, files: &Files) -> Option<Self> {
        let place = match config.common.peer.crl.as_ref()? {
            Crl::List(_) => Place::List(files.revoked.clone()?),
            Crl::Directory(name) => Place::Directory(files.base.join(name)),
        };
        Some(Self { place, seen: None })
    }

    /// What is withdrawn now, if that has changed since it was looked at last. May wait for the disk.
    ///
    /// # Errors
    /// It cannot be read: what was known before still counts.
    pub(super) fn look(&mut self) -> Result<Option<Revoked>, String> {
        let found = match &self.place {
            Place::List(path) => list(path, self.seen),
            Place::Directory(path) => directory(path, self.seen),
        };
        Ok(found?.map(|(revoked, seen)| {
            self.seen = Some(seen);
            revoked
        }))
    }

    /// Where a server does not know yet what is withdrawn.
    pub(super) const fn is_new(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Looks for as long as somebody listens to what is wrong with it.
    pub(super) async fn run(mut self, engine: EngineHandle<Core>, trouble: watch::Sender<Option<String>>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = trouble.closed() => return,
                _ = look.tick() => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let Ok((again, found)) = looked.await else { return };
            self = again;
            match found {
                Ok(None) => {}
                Ok(Some(revoked)) => {
                    tracing::debug!(?revoked, "what `crl-verify` names was read again");
                    trouble.send_replace(None);
                    let change = ServerChange::Revoke(Box::new(revoked));
                    if engine.with(move |core, now| core.apply(now, change)).await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    let path = self.place.path().display();
                    let why = format!("cannot read {path} (`crl-verify`): {why}; what it said before still counts");
                    let why = for_people(&why);
                    trouble.send_if_modified(|said| {
                        let is_new = said.as_ref() != Some(&why);
                        if is_new {
                            tracing::warn!("{why}");
                            *said = Some(why);
                        }
                        is_new
                    });
                }
            }
        }
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::List(path) | Self::Directory(path) => path,
        }
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self { file: (found.dev(), found.ino()), length: found.len(), changed: (found.ctime(), found.ctime_nsec()) }
    }
}

fn list(path: &Path, before: Option<Stamp>) -> Result<Option<(Revoked, Stamp)>, String> {
    let why = |error: io::Error| error.to_string();
    if before == Some(Stamp::of(&std::fs::metadata(path).map_err(why)?)) {
        return Ok(None);
    }
    let (text, found) = plain::read(path, MAX_LIST).map_err(why)?;
    let revoked = adit_openvpn::revoked_of(&text).map_err(|error| error.to_string().replace("\n  hint:", ";"))?;
    Ok(Some((revoked, Stamp::of(&found))))
}

fn directory(path: &Path, before: Option<Stamp>) -> Result<Option<(Revoked, Stamp)>, String> {
    let why = |error: io::Error| error.to_string();
    // Before the names: what comes while they are read is seen the next time.
    let found = Stamp::of(&std::fs::metadata(path).map_err(why)?);
    if before == Some(found) {
        return Ok(None);
    }
    let mut serials = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(why)? {
        let Ok(name) = entry.map_err(why)?.file_name().into_string() else { continue };
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            serials.insert(name);
        }
        if serials.len() > MAX_NAMES {
            return Err(format!("it has more than {MAX_NAMES} names"));
        }
    }
    Ok(Some((Revoked::of_serials(serials), found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty list of an authority that is in nobody's way.
    const LIST: &str = include_str!("withdrawn/empty.pem");

    #[test]
    fn what_has_changed_is_read_again_and_what_is_damaged_is_said() {
        let path = std::env::temp_dir().join(format!("adit-withdrawn-{}", std::process::id()));
        let mut withdrawn = Withdrawn { place: Place::List(path.clone()), seen: None };
        assert!(withdrawn.look().unwrap_err().contains("No such file"));
        std::fs::write(&path, LIST).unwrap();
        assert!(withdrawn.look().unwrap().is_some());
        assert!(withdrawn.look().unwrap().is_none());
        // Half of it is there: whoever writes it has not done so yet.
        std::fs::write(&path, &LIST[..200]).unwrap();
        assert!(withdrawn.look().is_err() && withdrawn.look().is_err(), "for as long as it is so");
        std::fs::write(&path, format!("\n{LIST}")).unwrap();
        assert!(withdrawn.look().unwrap().is_some());
        std::fs::write(&path, "x".repeat(MAX_LIST as usize + 1)).unwrap();
        assert!(withdrawn.look().unwrap_err().contains("longer"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn names_of_a_directory_are_serial_numbers() {
        let path = std::env::temp_dir().join(format!("adit-withdrawn-dir-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("12345678901234567890123"), "").unwrap();
        std::fs::write(path.join("README"), "").unwrap();
        let mut withdrawn = Withdrawn { place: Place::Directory(path.clone()), seen: None };
        assert_eq!(format!("{:?}", withdrawn.look().unwrap().unwrap()), "Revoked(0 lists, 1 numbers)");
        assert!(withdrawn.look().unwrap().is_none());
        std::fs::remove_dir_all(&path).unwrap();
        assert!(withdrawn.look().is_err());
    }
}

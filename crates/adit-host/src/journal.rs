//! What was changed for one interface, on disk before it is changed, so that a run that was killed can be undone.
//!
//! A line of JSON for each change, a line for each that is undone. The file is locked while its owner lives, written anew
//! when most of it is settled, and gone when nothing is left to undo. Not here: making and undoing changes (`apply`).

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::error::HostError;

const SUFFIX: &str = "journal";
/// Lines that say nothing any more, beyond as many as there are changes to be undone: with more, a journal is written anew.
const SETTLED_LINES: usize = 64;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// This is about to be changed.
    Change(Change),
    /// The change of this number, counted from zero, is undone.
    Undone(usize),
    /// The change of this number must be undone like this one: what it was made on top of is gone.
    Amended(usize, Change),
}

/// The journal of one interface, held by this process.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Each change and whether it is still to be undone.
    changes: Vec<(Change, bool)>,
    /// Those that are begun and not known to have ended well. In memory alone: after a crash all of them are undone.
    doubtful: BTreeSet<usize>,
    lines: usize,
}

impl Journal {
    /// Opens or makes the journal of `link`. Fails if another process holds it.
    pub(crate) fn open(dir: &Path, link: &str) -> Result<Self, HostError> {
        let failed = |source| HostError::Journal { what: "make", path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let path = path_of(dir, link);
        loop {
            let journal = Self::lock(&path, link, true)?;
            if let Some(journal) = journal {
                return Ok(journal);
            }
        }
    }

    /// Opens the journal of `link` if there is one. Fails if another process holds it.
    pub(crate) fn open_existing(dir: &Path, link: &str) -> Result<Option<Self>, HostError> {
        let path = path_of(dir, link);
        while path.exists() {
            if let Some(journal) = Self::lock(&path, link, false)? {
                return Ok(Some(journal));
            }
        }
        Ok(None)
    }

    /// The interfaces that have a journal, held or not.
    pub(crate) fn links(dir: &Path) -> Result<Vec<String>, HostError> {
        let failed = |source| HostError::Journal { what: "list", path: dir.to_owned(), source };
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut links = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let link = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.'));
            links.extend(link.map(str::to_owned));
        }
        links.sort();
        Ok(links)
    }

    /// `None` if the file was removed by its owner between opening and locking it.
    fn lock(path: &Path, link: &str, create: bool) -> Result<Option<Self>, HostError> {
        let failed = |source| HostError::Journal { what: "open", path: path.to_owned(), source };
        let file = match OpenOptions::new().read(true).append(true).create(create).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(HostError::Busy { link: link.to_owned() }),
            Err(error) => return Err(failed(error.into())),
        }
        let mut journal =
            Self { path: path.to_owned(), file, changes: Vec::new(), doubtful: BTreeSet::new(), lines: 0 };
        if !journal.is_at_its_path() {
            return Ok(None);
        }
        // The journal's next version, if its owner died before it was that.
        remove_if_there(&next_version(path)).map_err(failed)?;
        journal.read().map_err(failed)?;
        Ok(Some(journal))
    }

    fn is_at_its_path(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(mine) = self.file.metadata() else { return false };
        fs::metadata(&self.path).is_ok_and(|there| there.ino() == mine.ino() && there.dev() == mine.dev())
    }

    /// Reads what is there. A last line that was cut off stands for a change that was never made; it is removed, so
    /// that the next line starts on its own.
    fn read(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            self.file.set_len(whole as u64)?;
        }
        let text = text.get(..whole).unwrap_or_default();
        self.changes = parse(text)?;
        self.lines = text.iter().filter(|byte| **byte == b'\n').count();
        Ok(())
    }

    /// Notes a change that is about to be made. Gives its number.
    pub(crate) fn record(&mut self, change: &Change) -> Result<usize, HostError> {
        self.write(&Line::Change(change.clone()))?;
        self.changes.push((change.clone(), true));
        Ok(self.changes.len() - 1)
    }

    /// Notes that a change is undone.
    pub(crate) fn undone(&mut self, number: usize) -> Result<(), HostError> {
        self.write(&Line::Undone(number))?;
        if let Some((_, open)) = self.changes.get_mut(number) {
            *open = false;
        }
        self.doubtful.remove(&number);
        Ok(())
    }

    /// A change is about to be made, or undone: whether it holds is not known until [`Journal::trust`] or
    /// [`Journal::undone`].
    pub(crate) fn doubt(&mut self, number: usize) {
        self.doubtful.insert(number);
    }

    /// A change is made, and known to hold.
    pub(crate) fn trust(&mut self, number: usize) {
        self.doubtful.remove(&number);
    }

    /// Whether a change may hold or not.
    pub(crate) fn is_doubtful(&self, number: usize) -> bool {
        self.doubtful.contains(&number)
    }

    /// What is still to be undone, with its number, in the order it was made. Read anew, because another interface's
    /// end may have amended it.
    pub(crate) fn open_changes(&mut self) -> Result<Vec<(usize, Change)>, HostError> {
        self.read().map_err(|source| HostError::Journal { what: "read", path: self.path.clone(), source })?;
        let open = self.changes.iter().enumerate().filter(|(_, (_, open))| *open);
        Ok(open.map(|(number, (change, _))| (number, change.clone())).collect())
    }

    /// Writes the journal anew without what is settled, if that is most of it. Numbers given out before are void then. To
    /// be called where no other interface's end may amend it: with the machine's turn. If it fails, nothing is lost.
    pub(crate) fn compact(&mut self) -> Result<(), HostError> {
        let open = self.open_changes()?;
        if self.lines <= 2 * open.len() + SETTLED_LINES {
            return Ok(());
        }
        let next = next_version(&self.path);
        let adopted = write_locked(&next, &open).and_then(|file| fs::rename(&next, &self.path).map(|()| file));
        let failed = |source| HostError::Journal { what: "rewrite", path: self.path.clone(), source };
        match adopted {
            Ok(file) => self.file = file,
            Err(error) => {
                drop(fs::remove_file(&next));
                return Err(failed(error));
            }
        }
        self.lines = open.len();
        let doubtful = open.iter().map(|(number, _)| self.doubtful.contains(number)).enumerate();
        self.doubtful = doubtful.filter_map(|(number, doubtful)| doubtful.then_some(number)).collect();
        self.changes = open.into_iter().map(|(_, change)| (change, true)).collect();
        let dir = self.path.parent().unwrap_or(&self.path);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// Removes the journal, nothing being left in it.
    pub(crate) fn close(self) -> Result<(), HostError> {
        fs::remove_file(&self.path).map_err(|source| HostError::Journal { what: "remove", path: self.path, source })
    }

    fn write(&mut self, line: &Line) -> Result<(), HostError> {
        let failed = |source| HostError::Journal { what: "write", path: self.path.clone(), source };
        let text = text_of(line).map_err(failed)?;
        self.file.write_all(&text).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.lines += 1;
        Ok(())
    }
}

/// Lets another interface's journal, held or not, take over what `gone` would have brought back, if that interface
/// changed the same place later. Returns whether one did.
pub(crate) fn hand_over(dir: &Path, link: &str, gone: &Change) -> Result<bool, HostError> {
    for other in Journal::links(dir)?.into_iter().filter(|other| other != link) {
        let path = path_of(dir, &other);
        let failed = |source| HostError::Journal { what: "change", path: path.clone(), source };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut changes = parse(text.get(..whole).unwrap_or_default()).map_err(failed)?;
        let taken = changes.iter_mut().position(|(change, open)| *open && gone.hand_over(change));
        if let Some((number, (change, _))) = taken.and_then(|number| Some((number, changes.get(number)?))) {
            let line = text_of(&Line::Amended(number, change.clone())).map_err(failed)?;
            let mut file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
            file.write_all(&line).map_err(failed)?;
            file.sync_data().map_err(failed)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn path_of(dir: &Path, link: &str) -> PathBuf {
    dir.join(format!("{link}.{SUFFIX}"))
}

/// Where the next version of a journal is written. No interface's journal has such a name.
fn next_version(path: &Path) -> PathBuf {
    path.with_extension(format!("{SUFFIX}.next"))
}

/// A journal with nothing but these changes, whole on disk, and locked before anybody can find it.
fn write_locked(path: &Path, open: &[(usize, Change)]) -> io::Result<File> {
    remove_if_there(path)?;
    let mut file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = Vec::new();
    for (_, change) in open {
        text.extend(text_of(&Line::Change(change.clone()))?);
    }
    file.write_all(&text)?;
    file.sync_all()?;
    Ok(file)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn text_of(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

fn parse(text: &[u8]) -> io::Result<Vec<(Change, bool)>> {
    let mut changes: Vec<(Change, bool)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line)? {
            Line::Change(change) => changes.push((change, true)),
            Line::Undone(number) => {
                if let Some((_, open)) = changes.get_mut(number) {
                    *open = false;
                }
            }
            Line::Amended(number, amended) => {
                if let Some((change, _)) = changes.get_mut(number) {
                    *change = amended;
                }
            }
        }
    }
    Ok(changes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory that goes with the value.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("adit-host-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn up() -> Change {
        Change::Up { link: "wg0".into() }
    }

    fn sysctl(was: &str) -> Change {
        Change::Sysctl { key: "net/x".into(), value: "1".into(), was: was.into() }
    }

    #[test]
    fn a_change_is_there_for_the_next_process_until_it_is_undone() {
        let dir = TempDir::new();
        let mut journal = Journal::open(dir.path(), "wg0").unwrap();
        journal.record(&up()).unwrap();
        journal.record(&sysctl("0")).unwrap();
        journal.undone(0).unwrap();
        drop(journal);
        let mut journal = Journal::open_existing(dir.path(), "wg0").unwrap().unwrap();
        assert_eq!(journal.open_changes().unwrap(), [(1, sysctl("0"))]);
        journal.close().unwrap();
        assert!(Journal::open_existing(dir.path(), "wg0").unwrap().is_none());
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_forgotten_and_does_not_spoil_the_next() {
        let dir = TempDir::new();
        let mut journal = Journal::open(dir.path(), "wg0").unwrap();
        journal.record(&up()).unwrap();
        journal.file.write_all(b"{\"change\":{\"sysc").unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path(), "wg0").unwrap();
        journal.record(&sysctl("0")).unwrap();
        assert_eq!(journal.open_changes().unwrap(), [(0, up()), (1, sysctl("0"))]);
    }

    #[test]
    fn a_journal_in_use_is_refused_and_free_again_when_its_owner_is_gone() {
        let dir = TempDir::new();
        let journal = Journal::open(dir.path(), "wg0").unwrap();
        let error = Journal::open(dir.path(), "wg0").unwrap_err();
        assert!(matches!(error, HostError::Busy { .. }), "{error}");
        drop(journal);
        Journal::open(dir.path(), "wg0").unwrap();
    }

    #[test]
    fn only_root_reads_it() {
        let dir = TempDir::new();
        let state = dir.path().join("a/b");
        drop(Journal::open(&state, "wg0").unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&path_of(&state, "wg0")), 0o600);
    }

    #[test]
    fn what_the_first_of_two_would_bring_back_is_handed_to_the_second() {
        let dir = TempDir::new();
        let mut second = Journal::open(dir.path(), "wg1").unwrap();
        second.record(&up()).unwrap();
        second.record(&sysctl("1")).unwrap();
        assert!(hand_over(dir.path(), "wg0", &sysctl("0")).unwrap());
        assert_eq!(second.open_changes().unwrap(), [(0, up()), (1, sysctl("0"))]);
        assert!(!hand_over(dir.path(), "wg0", &up()).unwrap());
    }

    /// A journal of which most is settled: one change was amended and is to be undone, many are.
    fn settled(dir: &Path) -> Journal {
        let mut journal = Journal::open(dir, "wg0").unwrap();
        for round in 0..40 {
            let number = journal.record(&sysctl(&round.to_string())).unwrap();
            if round != 7 {
                journal.undone(number).unwrap();
            }
        }
        journal.record(&up()).unwrap();
        journal.write(&Line::Amended(7, sysctl("amended"))).unwrap();
        journal
    }

    fn left() -> [Change; 2] {
        [sysctl("amended"), up()]
    }

    fn found(dir: &Path) -> Vec<Change> {
        let mut journal = Journal::open_existing(dir, "wg0").unwrap().unwrap();
        journal.open_changes().unwrap().into_iter().map(|(_, change)| change).collect()
    }

    #[test]
    fn what_is_settled_goes_when_it_is_most_of_the_journal() {
        let dir = TempDir::new();
        let mut journal = settled(dir.path());
        journal.doubt(40);
        let len = || fs::read_to_string(path_of(dir.path(), "wg0")).unwrap().lines().count();
        assert_eq!(len(), 81);
        journal.compact().unwrap();
        assert_eq!(len(), 2);
        assert_eq!(journal.open_changes().unwrap(), [(0, sysctl("amended")), (1, up())]);
        assert!(!journal.is_doubtful(0) && journal.is_doubtful(1), "doubts go by the new numbers");
        // It goes on as before: held by this process, read by root only, and written to.
        assert!(matches!(Journal::open(dir.path(), "wg0"), Err(HostError::Busy { .. })));
        let mode = fs::metadata(path_of(dir.path(), "wg0")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(journal.record(&up()).unwrap(), 2);
        journal.undone(0).unwrap();
        assert!(!hand_over(dir.path(), "wg1", &sysctl("0")).unwrap());
        // With little that is settled it is left alone.
        journal.compact().unwrap();
        assert_eq!(len(), 4);
        drop(journal);
        assert_eq!(found(dir.path()), [up(), up()]);
        assert_eq!(Journal::links(dir.path()).unwrap(), ["wg0"]);
    }

    /// Killed before the next version is whole, before it takes the place of the old one, and after.
    #[test]
    fn a_kill_at_any_moment_of_writing_it_anew_leaves_what_is_to_be_undone() {
        let dir = TempDir::new();
        let mut journal = settled(dir.path());
        let (path, old) = (journal.path.clone(), fs::read(&journal.path).unwrap());
        journal.compact().unwrap();
        let new = fs::read(&path).unwrap();
        drop(journal);
        for written in 0..=new.len() {
            let next = next_version(&path);
            fs::write(&path, &old).unwrap();
            fs::write(&next, &new[..written]).unwrap();
            assert_eq!(Journal::links(dir.path()).unwrap(), ["wg0"]);
            assert_eq!(found(dir.path()), left());
            assert!(!next.exists(), "it is forgotten");
        }
        fs::write(&path, &new).unwrap();
        assert_eq!(found(dir.path()), left());
    }

    /// As on a full disk: here somebody has put a directory in the way.
    #[test]
    fn a_journal_that_cannot_be_written_anew_stays_as_it_is() {
        let dir = TempDir::new();
        let mut journal = settled(dir.path());
        fs::create_dir(next_version(&journal.path)).unwrap();
        assert!(matches!(journal.compact(), Err(HostError::Journal { what: "rewrite", .. })));
        assert_eq!(journal.record(&up()).unwrap(), 41);
        let open: Vec<_> = journal.open_changes().unwrap();
        assert_eq!(open, [(7, sysctl("amended")), (40, up()), (41, up())]);
    }

    #[test]
    fn links_are_those_with_a_journal() {
        let dir = TempDir::new();
        assert_eq!(Journal::links(&dir.path().join("none")).unwrap(), Vec::<String>::new());
        let _one = Journal::open(dir.path(), "wg0").unwrap();
        let _two = Journal::open(dir.path(), "a.journal").unwrap();
        assert_eq!(Journal::links(dir.path()).unwrap(), ["a.journal", "wg0"]);
    }
}

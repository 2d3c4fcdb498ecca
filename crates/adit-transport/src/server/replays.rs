//! The memory of used tokens, kept in a file across restarts.
//!
//! Not here: what is remembered and for how long (`token`).

use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::token::{MAX_REMEMBERED, Replays, Token};

/// Records appended to the file after which it is written anew, without those that are too old.
const APPENDS: usize = MAX_REMEMBERED / 4;
/// The largest file that is read.
const MAX_FILE: u64 = 4 << 20;

/// What was used, here and on disk.
#[derive(Debug, Clone)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    replays: Replays,
    file: Option<PathBuf>,
    appended: usize,
}

impl Memory {
    /// Reads the file, if there is one to be kept. What cannot be read is taken for lost: then only tokens made from now on
    /// are good.
    pub(super) fn open(file: Option<PathBuf>, now: u64) -> io::Result<Self> {
        if let Some(directory) = file.as_deref().and_then(Path::parent) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let replays = match &file {
            Some(file) => read(file)?.unwrap_or_else(|| Replays::lost(now)),
            None => Replays::lost(now),
        };
        let mut inner = Inner { replays, file, appended: 0 };
        inner.rewrite()?;
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Notes that a verified token is used now. `false` if it was before, or if that could not be noted on disk.
    pub(super) async fn use_once(&self, token: &Token, now: u64) -> bool {
        let token = *token;
        let mut inner = Arc::clone(&self.0).lock_owned().await;
        let noted =
            tokio::task::spawn_blocking(move || inner.replays.use_once(&token, now) && inner.note(&token).is_ok());
        noted.await.unwrap_or(false)
    }
}

impl Inner {
    fn note(&mut self, token: &Token) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.appended >= APPENDS {
            return self.rewrite();
        }
        let mut file = private().append(true).open(file)?;
        file.write_all(&Replays::record(token))?;
        file.sync_data()?;
        self.appended += 1;
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let beside = file.with_extension("new");
        let mut new = private().create(true).write(true).truncate(true).open(&beside)?;
        new.write_all(&self.replays.emit())?;
        new.sync_data()?;
        std::fs::rename(&beside, file)?;
        self.appended = 0;
        Ok(())
    }
}

fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.mode(0o600);
    options
}

fn read(file: &Path) -> io::Result<Option<Replays>> {
    match std::fs::metadata(file) {
        Ok(found) if found.len() > MAX_FILE => Ok(None),
        Ok(_) => Ok(Replays::parse(&std::fs::read(file)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;
    use crate::token::{WINDOW, authorize};

    const NOW: u64 = 1_800_000_000;

    #[tokio::test]
    async fn a_token_used_before_a_restart_is_not_good_after_it() {
        let dir = Dir::new("restart");
        let memory = Memory::open(Some(dir.file()), NOW).unwrap();
        assert!(memory.use_once(&token(1, NOW), NOW).await);
        assert!(memory.use_once(&token(2, NOW), NOW).await);
        for _ in 0..2 {
            let memory = Memory::open(Some(dir.file()), NOW + 1).unwrap();
            assert!(!memory.use_once(&token(1, NOW), NOW + 1).await);
            assert!(!memory.use_once(&token(2, NOW), NOW + 1).await);
        }
        let memory = Memory::open(Some(dir.file()), NOW + 1).unwrap();
        assert!(memory.use_once(&token(3, NOW), NOW + 1).await, "what was not used is still good");
    }

    #[tokio::test]
    async fn without_its_file_only_new_tokens_are_good() {
        let dir = Dir::new("lost");
        std::fs::write(dir.file(), b"short").unwrap();
        for memory in [Memory::open(Some(dir.file()), NOW).unwrap(), Memory::open(None, NOW).unwrap()] {
            assert!(!memory.use_once(&token(1, NOW - 1), NOW).await);
            assert!(memory.use_once(&token(1, NOW), NOW).await);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_noted_is_not_admitted() {
        let dir = Dir::new("full");
        let memory = Memory::open(Some(dir.file()), NOW).unwrap();
        std::fs::remove_dir_all(&dir.0).unwrap();
        assert!(!memory.use_once(&token(1, NOW), NOW).await);
    }

    #[tokio::test]
    async fn the_file_is_written_anew_without_what_is_too_old() {
        let dir = Dir::new("anew");
        let memory = Memory::open(Some(dir.file()), NOW).unwrap();
        for n in 0..5 {
            assert!(memory.use_once(&token(n, NOW), NOW).await);
        }
        memory.0.lock().await.appended = APPENDS;
        let later = NOW + WINDOW + 1;
        assert!(memory.use_once(&token(9, later), later).await);
        assert_eq!(read(&dir.file()).unwrap().unwrap().len(), 1);
    }

    fn token(n: u8, time: u64) -> Token {
        Token::parse(authorize(&Secret::new([1; 32]), time, [n; 16]).as_bytes()).unwrap()
    }

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("adit-replays-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn file(&self) -> PathBuf {
            self.0.join("used")
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

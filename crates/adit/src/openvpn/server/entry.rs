//! What a server is told of single clients: the files of `client-config-dir`.
//!
//! A client's name becomes the name of a file only by [`file_of`], which no name leads out of the directory. Not here: what the
//! lines mean (`adit_openvpn::options`).

use std::io;
use std::path::PathBuf;

use std::time::Duration;

use adit_openvpn::options::{self, ClientEntry, ServerOptions};
use tokio::time::timeout;

use super::plain;

/// The longest file that is read.
const MAX_FILE: u64 = 64 << 10;
/// The longest name of a client that may have a file of its own.
const MAX_NAME: usize = 128;
/// How long the disk may take: clients do not wait for ever, nor keep others waiting.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// For clients without a file of their own.
const DEFAULT: &str = "DEFAULT";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    directory: PathBuf,
    /// Who has no file does not come in.
    exclusive: bool,
}

/// A file that does not let its client in, for whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    /// `ccd-exclusive`.
    #[error("it has no file of its own, and `ccd-exclusive` demands one")]
    None,
    /// The system does not give it.
    #[error("cannot read {}: {why}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A line is wrong.
    #[error("{}:{line}: {why}", .file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Entries {
    /// The directory of a configuration, if it names one.
    pub(super) fn of(server: &ServerOptions, base: &std::path::Path) -> Option<Self> {
        let directory = base.join(server.client_dir.as_ref()?);
        Some(Self { directory, exclusive: server.client_dir_exclusive })
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// What is said of a client of this name, or of one that has none.
    ///
    /// # Errors
    /// The file cannot be used, or is missing and must not be: then the client does not come in.
    pub(super) async fn look_up(&self, name: Option<&str>) -> Result<ClientEntry, EntryError> {
        let own = match name.and_then(file_of) {
            Some(file) => self.read(&file).await?,
            None => None,
        };
        match own {
            Some(entry) => Ok(entry),
            None if self.exclusive => Err(EntryError::None),
            None => self.read(DEFAULT).await.map(Option::unwrap_or_default),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<ClientEntry>, EntryError> {
        let file = self.directory.join(name);
        let (directory, own) = (self.directory.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || plain::read_in(&directory, &own, MAX_FILE));
        let read = match timeout(READ_WITHIN, read).await {
            Ok(read) => read.map_err(io::Error::other).flatten(),
            Err(late) => Err(late.into()),
        };
        let text = match read {
            Ok((text, _)) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EntryError::Unreadable { file, why: error.to_string() }),
        };
        match options::parse_client_entry(&text) {
            (Some(entry), _) if entry.username.is_some() => {
                let why = "`override-username`: this build of adit does not do that yet".to_owned();
                Err(EntryError::Wrong { file, line: 0, why })
            }
            (Some(entry), _) => Ok(Some(entry)),
            (None, findings) => {
                let wrong = findings.iter().find(|finding| finding.is_refused());
                let (line, why) = wrong.map_or((0, String::new()), |finding| (finding.line, finding.to_string()));
                Err(EntryError::Wrong { file, line, why })
            }
        }
    }
}

/// The file of a client: its name, with `_` for what is not a letter of English, a digit, or one of `_-.@:=`, as OpenVPN has it;
/// and for a point in front. The file of all is nobody's own.
fn file_of(name: &str) -> Option<String> {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "_-.@:=".contains(c);
    let file: String = name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    let file = if file.starts_with('.') { file.replacen('.', "_", 1) } else { file };
    (!file.is_empty() && file.len() <= MAX_NAME && file != DEFAULT).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for (name, file) in [
            ("alice", Some("alice")),
            ("Alice Smith", Some("Alice_Smith")),
            ("a@b.example", Some("a@b.example")),
            ("..", Some("_.")),
            (".", Some("_")),
            (".hidden", Some("_hidden")),
            ("../etc/passwd", Some("_._etc_passwd")),
            ("/etc/passwd", Some("_etc_passwd")),
            ("a/../../b", Some("a_.._.._b")),
            ("a\0b\nc", Some("a_b_c")),
            ("ä", Some("_")),
            ("", None),
            (DEFAULT, None),
        ] {
            assert_eq!(file_of(name).as_deref(), file, "{name:?}");
        }
        assert_eq!(file_of(&"x".repeat(MAX_NAME + 1)), None);
        for c in (0..=0x2ff).filter_map(char::from_u32) {
            let name = format!("{c}{c}{c}x");
            let file = file_of(&name).unwrap();
            assert!(!file.contains(['/', '\\', '\0']) && !file.starts_with('.') && file.len() == 4, "{name:?}");
        }
    }

    #[tokio::test]
    async fn a_client_has_its_own_file_or_that_of_all_and_what_is_wrong_lets_nobody_in() {
        let dir = std::env::temp_dir().join(format!("adit-entries-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("alice", "ifconfig-push 10.8.0.9 255.255.255.0\niroute 192.168.4.0 255.255.255.0\n");
        write(DEFAULT, "push \"route 10.1.0.0 255.255.0.0\"\n");
        write("mallory", "disable\n");
        write("carol", "disable\nnonsense\n");
        write("dave", &"#".repeat(MAX_FILE as usize + 1));
        let mut entries = Entries { directory: dir.clone(), exclusive: false };
        assert_eq!(entries.look_up(Some("alice")).await.unwrap().networks.len(), 1);
        assert_eq!(entries.look_up(Some("bob")).await.unwrap().push.len(), 1);
        assert!(entries.look_up(Some("mallory")).await.unwrap().disabled);
        assert!(matches!(entries.look_up(Some("carol")).await, Err(EntryError::Wrong { line: 2, .. })));
        assert!(matches!(entries.look_up(Some("dave")).await, Err(EntryError::Unreadable { .. })));
        // Whoever opens it as others do waits for somebody to write.
        let (rw, fifo) = (rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("eve"), fifo, rw, 0).unwrap();
        assert!(matches!(entries.look_up(Some("eve")).await, Err(EntryError::Unreadable { .. })));
        assert_eq!(entries.look_up(None).await.unwrap().push.len(), 1);
        entries.exclusive = true;
        assert_eq!(entries.look_up(Some("bob")).await, Err(EntryError::None));
        assert_eq!(entries.look_up(Some(DEFAULT)).await, Err(EntryError::None), "the file of all is not its own");
        assert_eq!(entries.look_up(None).await, Err(EntryError::None));
        assert!(entries.look_up(Some("alice")).await.is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

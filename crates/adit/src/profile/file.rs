//! Reading a profile from disk: where it is, who may read it, and how large it may be.
//!
//! Not here: what it says (`wg_quick`).

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::wg_quick::{self, Finding, Profile, Refused};

/// A profile read from a file.
#[derive(Debug)]
pub struct Loaded {
    /// Where it was read from.
    pub file: PathBuf,
    /// The name of the interface: the file's name without `.conf`.
    pub name: String,
    /// What it says.
    pub profile: Profile,
    /// What is to be said of each line.
    pub findings: Vec<Finding>,
    /// Others may read it, though it holds a private key.
    pub exposed: Option<Exposed>,
}

/// A file with secrets that others may read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: everybody on this machine may read the private key in it (mode {mode:04o})\n  hint: chmod 600 {file}", file = file.display())]
pub struct Exposed {
    /// The file.
    pub file: PathBuf,
    /// Its mode.
    pub mode: u32,
}

/// Why a profile could not be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No such file.
    #[error("{}: there is no such file\n  hint: give a path, or the name of a file NAME.conf in {}", file.display(), directories())]
    Missing {
        /// The file that was looked for.
        file: PathBuf,
    },
    /// It is there, and may not be read.
    #[error("{}: not allowed to read it\n  hint: become root, or have the file's owner do it", file.display())]
    Denied {
        /// The file.
        file: PathBuf,
    },
    /// It is there, and could not be read.
    #[error("{}: could not read it: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too long to be a profile.
    #[error("{}: longer than {} MiB, which no profile is", file.display(), MAX_FILE >> 20)]
    TooLong {
        /// The file.
        file: PathBuf,
    },
    /// It is not text.
    #[error("{}:{line}: not text in UTF-8\n  hint: save the file as plain text", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// The first line that is not text, from 1.
        line: usize,
    },
    /// Its name cannot be that of an interface.
    #[error("{}: `{name}` cannot be the name of an interface\n  hint: name the file NAME.conf, NAME being 1 to 15 of the characters a-z A-Z 0-9 _ = + . -", file.display())]
    BadName {
        /// The file.
        file: PathBuf,
        /// What its name would make of the interface.
        name: String,
    },
    /// It has wrong lines.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Finds what a person meant by `FILE|NAME`: a name without a slash is looked for in the directories of profiles.
pub fn locate(argument: &str) -> PathBuf {
    let direct = PathBuf::from(argument);
    if argument.contains('/') || argument.ends_with(".conf") || !is_interface_name(argument) {
        return direct;
    }
    let candidates = DIRECTORIES.map(|d| Path::new(d).join(format!("{argument}.conf")));
    let [first, ..] = &candidates;
    // A file that may not be looked at is still the one that was meant.
    let there = |file: &&PathBuf| !matches!(file.metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound);
    candidates.iter().find(there).unwrap_or(first).clone()
}

/// Reads a profile strictly: all wrong lines at once, nothing else done.
pub fn load(file: &Path) -> Result<Loaded, LoadError> {
    let name = name_of(file)?;
    let (text, mode) = read(file)?;
    let (profile, findings) = wg_quick::parse(&text).strict(file)?;
    let exposed = exposed(file, mode, &profile);
    Ok(Loaded { file: file.to_owned(), name, profile, findings, exposed })
}

/// The text of a file, and its mode.
pub fn read(file: &Path) -> Result<(Zeroizing<String>, u32), LoadError> {
    let failed = |source: io::Error| {
        let (kind, file) = (source.kind(), file.to_owned());
        if kind == io::ErrorKind::NotFound {
            LoadError::Missing { file }
        } else if kind == io::ErrorKind::PermissionDenied {
            LoadError::Denied { file }
        } else {
            LoadError::Unreadable { file, source }
        }
    };
    let open = std::fs::File::open(file).map_err(failed)?;
    let metadata = open.metadata().map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity((metadata.len().min(MAX_FILE) + 1) as usize));
    open.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLong { file: file.to_owned() });
    }
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        LoadError::NotText { file: file.to_owned(), line }
    })?;
    Ok((Zeroizing::new(text.to_owned()), metadata.mode() & 0o7777))
}

/// Whether a file of this mode shows a secret to everybody.
pub fn exposed(file: &Path, mode: u32, profile: &Profile) -> Option<Exposed> {
    let secret = profile.interface.private_key.is_some() || profile.peers.iter().any(|p| p.preshared_key.is_some());
    (secret && mode & 0o007 != 0).then(|| Exposed { file: file.to_owned(), mode })
}

/// The interface that a file is for.
pub fn name_of(file: &Path) -> Result<String, LoadError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".conf").unwrap_or(&name).to_owned();
    if is_interface_name(&name) { Ok(name) } else { Err(LoadError::BadName { file: file.to_owned(), name }) }
}

/// Whether the kernel and wg-quick take this as the name of an interface.
pub fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=+.-".contains(&b))
        && name != "."
        && name != ".."
}

fn directories() -> String {
    DIRECTORIES.join(" or ")
}

/// Where profiles are looked for by name, in this order.
pub const DIRECTORIES: [&str; 2] = ["/etc/adit", "/etc/wireguard"];
/// The longest file: room for tens of thousands of peers.
const MAX_FILE: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A directory of its own that goes away with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("adit-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
            let file = self.0.join(name);
            std::fs::write(&file, bytes).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const GOOD: &[u8] = b"[Interface]\nPrivateKey = mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=\n";

    #[test]
    fn a_file_gives_its_name_to_the_interface() {
        let dir = Dir::new("name");
        let loaded = load(&dir.file("wg-home.conf", GOOD, 0o600)).unwrap();
        assert_eq!(loaded.name, "wg-home");
        assert_eq!(loaded.exposed, None);
        let error = load(&dir.file("a name that is too long.conf", GOOD, 0o600)).unwrap_err();
        assert!(error.to_string().contains("cannot be the name of an interface"), "{error}");
    }

    #[test]
    fn a_key_that_everybody_may_read_is_said_to_be_so() {
        let dir = Dir::new("mode");
        let file = dir.file("wg0.conf", GOOD, 0o644);
        let exposed = load(&file).unwrap().exposed.unwrap();
        assert!(
            exposed.to_string().ends_with(&format!("(mode 0644)\n  hint: chmod 600 {}", file.display())),
            "{exposed}"
        );
    }

    #[test]
    fn each_way_of_not_being_readable_has_its_sentence() {
        let dir = Dir::new("unreadable");
        let missing = load(&dir.0.join("nothing.conf")).unwrap_err();
        assert!(matches!(missing, LoadError::Missing { .. }), "{missing}");
        let directory = load(&dir.0).unwrap_err();
        assert!(matches!(directory, LoadError::Unreadable { .. } | LoadError::BadName { .. }), "{directory}");
        let binary = load(&dir.file("wg1.conf", b"[Interface]\n\xff\xfe\n", 0o600)).unwrap_err();
        assert!(matches!(binary, LoadError::NotText { line: 2, .. }), "{binary}");
        let long = load(&dir.file("wg2.conf", &vec![b'#'; MAX_FILE as usize + 1], 0o600)).unwrap_err();
        assert!(matches!(long, LoadError::TooLong { .. }), "{long}");
        let wrong = load(&dir.file("wg3.conf", b"[Interface]\n", 0o600)).unwrap_err();
        assert!(matches!(wrong, LoadError::Refused(_)), "{wrong}");
    }

    #[test]
    fn a_name_is_looked_for_where_profiles_are_and_a_path_is_taken_as_it_is() {
        assert_eq!(locate("./x"), Path::new("./x"));
        assert_eq!(locate("x.conf"), Path::new("x.conf"));
        assert_eq!(locate("surely-missing"), Path::new("/etc/adit/surely-missing.conf"));
    }
}

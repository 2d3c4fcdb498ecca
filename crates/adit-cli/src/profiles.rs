//! Profiles that are kept: where, under which name, and so that nothing is ever half written or overwritten. And the keys of
//! devices that are about to join, on disk before anybody is told of them.
//!
//! Not here: finding a profile by what a person types (`name`), what is in it (`adit::profile`).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit::profile::file;
use adit_wireguard::{PrivateKey, PublicKey};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};
use crate::name::{self, check_name};

/// The longest name of an interface.
const MAX_NAME: usize = 15;
/// As many profiles of one name are told apart by number.
const MAX_SAME: u32 = 99;
/// The mark of a profile is among its first lines.
const MARK_WITHIN: usize = 8;
/// How long the key of an attempt is kept that came to nothing: the server forgets the invite as fast.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where profiles and pending keys are.
#[derive(Debug)]
pub(crate) struct Profiles {
    directory: PathBuf,
    /// Others that a name is looked for in, which a new profile should not hide.
    others: Vec<PathBuf>,
    pending: PathBuf,
    /// Where the kernel shows interfaces.
    interfaces: PathBuf,
}

/// A key that waits for its profile.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) key: PrivateKey,
    /// It is from an attempt before.
    pub(crate) resumed: bool,
}

impl Profiles {
    /// Those of this machine, with what waits in `state`.
    pub(crate) fn of_this_machine(state: &Path) -> Self {
        let [directory, other] = name::directories();
        Self { directory, others: vec![other], pending: state.join("joining"), interfaces: "/sys/class/net".into() }
    }

    /// Where a profile of this name is kept.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.conf"))
    }

    /// The name for a new profile: the one that is asked for, or one like that of the network.
    pub(crate) fn choose(&self, asked: Option<&str>, network: &str) -> Result<String> {
        if let Some(name) = asked {
            check_name(name)?;
            return match self.taken(name) {
                None => Ok(name.to_owned()),
                Some(by) => Err(Failure::usage(format!("the name {name} is taken: {by}"))
                    .hint("choose another, or leave the option away and one is found")),
            };
        }
        let base = as_name(network);
        let numbered = |n: u32| {
            let suffix = format!("-{n}");
            format!("{}{suffix}", base.get(..MAX_NAME - suffix.len()).unwrap_or(&base))
        };
        std::iter::once(base.clone())
            .chain((2..=MAX_SAME).map(numbered))
            .find(|name| self.taken(name).is_none())
            .ok_or_else(|| {
                Failure::usage(format!("there are {MAX_SAME} profiles called like {base}"))
                    .hint("choose a name yourself: `adit join --profile NAME`, `adit import --name NAME`")
            })
    }

    /// What has this name already.
    fn taken(&self, name: &str) -> Option<String> {
        let profile = std::iter::once(&self.directory)
            .chain(&self.others)
            .flat_map(|directory| ["conf", "ovpn"].map(|ending| directory.join(format!("{name}.{ending}"))))
            .find(|file| file.symlink_metadata().is_ok());
        let interface = || self.interfaces.join(name).symlink_metadata().is_ok();
        match profile {
            Some(file) => Some(format!("{} is there", file.display())),
            None => interface().then(|| format!("there is a network interface {name}")),
        }
    }

    /// The profile that was made with this invite, if one was.
    pub(crate) fn of_invite(&self, invite: &PublicKey) -> Option<String> {
        let is_profile =
            |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".conf")?.to_owned());
        let mut names: Vec<_> = self.directory.read_dir().ok()?.filter_map(is_profile).collect();
        names.sort();
        let mark = mark(invite);
        names.into_iter().find(|name| {
            let text = file::read(&self.file(name));
            text.is_ok_and(|(text, _)| text.lines().take(MARK_WITHIN).any(|line| line == mark))
        })
    }

    /// The key for joining with this invite: that of an attempt before, or a new one, which is on disk when this returns.
    pub(crate) fn pending(&self, invite: &PublicKey) -> Result<Pending> {
        create(&self.directory)?;
        create(&self.pending)?;
        self.forget_old();
        let file = self.pending_file(invite);
        match fs::read_to_string(&file).map(Zeroizing::new) {
            Ok(text) => match PrivateKey::from_base64(text.trim_end()) {
                Ok(key) => Ok(Pending { key, resumed: true }),
                Err(_) => Err(Failure::failed(format!("{} holds no key", file.display()))
                    .hint("remove it, and join with the same link")),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = new_key()?;
                let mut text = Zeroizing::new(key.to_base64());
                text.push('\n');
                write_new(&file, &text).map_err(|e| Failure::io(format!("cannot write {}", file.display()), &e))?;
                Ok(Pending { key, resumed: false })
            }
            Err(e) => Err(Failure::io(format!("cannot read {}", file.display()), &e)),
        }
    }

    /// Keeps a profile that this invite was redeemed for, under a name that nothing has.
    pub(crate) fn keep(&self, name: &str, invite: &PublicKey, profile: &str) -> Result<PathBuf> {
        let file = self.file(name);
        let mut text = Zeroizing::new(String::with_capacity(profile.len() + 256));
        text.push_str(
            "# Made by `adit join`; the next line says with which invite, so that it is not redeemed twice.\n",
        );
        text.push_str(&mark(invite));
        text.push_str("\n\n");
        text.push_str(profile);
        match write_new(&file, &text) {
            Ok(()) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::failed(format!("{} has just been made by somebody else", file.display()))
                    .hint("join with the same link again: another name is found then"))
            }
            Err(e) => Err(Failure::io(format!("cannot write {}", file.display()), &e)
                .hint("nothing is lost: join with the same link again, the server knows this device already")),
        }
    }

    /// Keeps an OpenVPN configuration, under a name that nothing has.
    pub(crate) fn keep_openvpn(&self, name: &str, text: &str) -> Result<PathBuf> {
        create(&self.directory)?;
        let file = self.directory.join(format!("{name}.ovpn"));
        match write_new(&file, text) {
            Ok(()) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::failed(format!("{} has just been made by somebody else", file.display()))
                    .hint("import the file again: another name is found then"))
            }
            Err(e) => Err(Failure::io(format!("cannot write {}", file.display()), &e)),
        }
    }

    /// What was made with this invite is kept: its key need not wait any more.
    pub(crate) fn forget(&self, invite: &PublicKey) {
        // If it stays, it goes when it is old.
        let _left = fs::remove_file(self.pending_file(invite));
    }

    fn pending_file(&self, invite: &PublicKey) -> PathBuf {
        self.pending.join(format!("{}.key", invite.to_hex()))
    }

    /// Removes keys of attempts that came to nothing long ago.
    fn forget_old(&self) {
        let Ok(entries) = self.pending.read_dir() else { return };
        for entry in entries.filter_map(io::Result::ok) {
            let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > KEPT) {
                let _is_asked_again = fs::remove_file(entry.path());
            }
        }
    }
}

/// The line of a profile that says which invite it was made with: its public half, which redeems nothing.
fn mark(invite: &PublicKey) -> String {
    format!("# Invite: {invite}")
}

/// A network's name as that of an interface.
fn as_name(network: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_=+.".contains(c);
    let letters = network.chars().map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' });
    let mut name = String::new();
    for letter in letters {
        // No two in a row, none at the beginning, and no name that is a directory's.
        let doubled = "-.".contains(letter) && name.chars().last().is_none_or(|last| "-.".contains(last));
        if !doubled && name.len() < MAX_NAME {
            name.push(letter);
        }
    }
    let name = name.trim_end_matches(['-', '.']);
    if name.is_empty() { "adit".to_owned() } else { name.to_owned() }
}

fn new_key() -> Result<PrivateKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| Failure::failed(format!("the system gives no random numbers: {e}")))?;
    Ok(PrivateKey::new(*bytes))
}

/// Makes a directory for nobody but its owner, if it is not there.
fn create(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| Failure::io(format!("cannot create {}", directory.display()), &e))
}

/// Writes a file that is not there yet, whole or not at all, readable by nobody but its owner, and on the disk when this
/// returns.
fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let new = directory.join(format!(".{name}.{}.new", std::process::id()));
    let written = fill(&new, text).and_then(|()| {
        renameat_with(CWD, &new, CWD, file, RenameFlags::NOREPLACE)?;
        fs::File::open(directory)?.sync_all()
    });
    if written.is_err() {
        let _not_there = fs::remove_file(&new);
    }
    written
}

fn fill(file: &Path, text: &str) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::exit::Exit;

    struct Machine {
        root: PathBuf,
        profiles: Profiles,
    }

    impl Machine {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("adit-profiles-{}-{name}", std::process::id()));
            let [directory, other, pending, interfaces] = ["adit", "wireguard", "joining", "net"].map(|d| root.join(d));
            for directory in [&other, &interfaces] {
                fs::create_dir_all(directory).unwrap();
            }
            Self { root, profiles: Profiles { directory, others: vec![other], pending, interfaces } }
        }

        fn put(&self, file: &str) {
            fs::write(self.root.join(file), "").unwrap();
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).unwrap();
        }
    }

    fn invite(n: u8) -> PublicKey {
        PublicKey::new([n; 32])
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_network_s_name_becomes_one_that_an_interface_can_have() {
        for (network, name) in [
            ("home", "home"),
            ("Home Office", "home-office"),
            ("a/../b", "a-b"),
            ("..", "adit"),
            ("Büro", "b-ro"),
            ("学校", "adit"),
            ("a very long name indeed", "a-very-long-nam"),
            ("-x-", "x"),
        ] {
            assert_eq!(as_name(network), name);
            check_name(&as_name(network)).unwrap();
        }
    }

    #[test]
    fn a_name_that_something_has_gets_a_number_and_one_that_was_asked_for_is_refused() {
        let machine = Machine::new("choose");
        let profiles = &machine.profiles;
        assert_eq!(profiles.choose(None, "Home"), Ok("home".to_owned()));
        machine.put("wireguard/home.conf");
        machine.put("net/home-2");
        assert_eq!(profiles.choose(None, "Home"), Ok("home-3".to_owned()));
        machine.put("net/a-very-long-nam");
        assert_eq!(profiles.choose(None, "a very long name"), Ok("a-very-long-n-2".to_owned()));
        let taken = profiles.choose(Some("home"), "x").unwrap_err();
        assert_eq!(taken.kind, Exit::Usage);
        assert!(taken.message.contains("wireguard/home.conf is there"), "{taken}");
        assert!(profiles.choose(Some("../x"), "x").is_err());
    }

    #[test]
    fn a_profile_is_never_overwritten_and_nobody_else_reads_it() {
        let machine = Machine::new("keep");
        machine.profiles.pending(&invite(1)).unwrap();
        let file = machine.profiles.keep("home", &invite(1), "first").unwrap();
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let again = machine.profiles.keep("home", &invite(2), "second").unwrap_err();
        assert!(again.hints[0].contains("same link"), "{again}");
        assert!(fs::read_to_string(&file).unwrap().ends_with("\n\nfirst"));
        let names: Vec<_> = file.parent().unwrap().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["home.conf"], "nothing is left of the second");
    }

    #[test]
    fn the_key_of_an_attempt_is_used_again_until_it_is_done() {
        let machine = Machine::new("pending");
        let first = machine.profiles.pending(&invite(1)).unwrap();
        assert_eq!((mode(&machine.profiles.pending_file(&invite(1))), first.resumed), (0o600, false));
        let second = machine.profiles.pending(&invite(1)).unwrap();
        assert!(second.resumed && second.key == first.key);
        assert!(machine.profiles.pending(&invite(2)).unwrap().key != first.key);
        machine.profiles.forget(&invite(1));
        assert!(machine.profiles.pending(&invite(1)).unwrap().key != first.key);
    }

    #[test]
    fn a_profile_is_found_by_the_invite_it_was_made_with() {
        let machine = Machine::new("of-invite");
        assert_eq!(machine.profiles.of_invite(&invite(1)), None, "without a directory either");
        machine.profiles.pending(&invite(1)).unwrap();
        machine.profiles.keep("home", &invite(1), "text").unwrap();
        machine.profiles.keep("work", &invite(2), "text").unwrap();
        machine.put("adit/junk.conf");
        assert_eq!(machine.profiles.of_invite(&invite(2)), Some("work".to_owned()));
        assert_eq!(machine.profiles.of_invite(&invite(3)), None);
    }

    #[test]
    fn a_key_that_is_none_is_said_to_be_so_and_one_of_long_ago_is_gone() {
        let machine = Machine::new("old");
        machine.profiles.pending(&invite(1)).unwrap();
        let file = machine.profiles.pending_file(&invite(1));
        fs::write(&file, "junk").unwrap();
        assert!(machine.profiles.pending(&invite(1)).unwrap_err().message.contains("holds no key"));
        let long_ago = std::time::SystemTime::now() - 2 * KEPT;
        fs::File::open(&file).unwrap().set_modified(long_ago).unwrap();
        assert!(!machine.profiles.pending(&invite(1)).unwrap().resumed);
    }
}

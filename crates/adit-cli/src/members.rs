//! The group `adit`: who may ask the daemon and the server of a network without being root.
//!
//! Not here: what they may ask (`daemon::door`, `server::desk`), how the kernel says who asks (`socket`).

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use crate::exit::{Failure, Result};
use crate::name::{check_name, directories};

/// What the group is called.
pub(crate) const GROUP: &str = "adit";
/// Groups of the system are below this (`groupadd --system`). The private group of a user who is called `adit` is not.
const FIRST_USER: u32 = 1_000;
/// In a directory's mode: others than its owner and its group come in, or it is shared as /tmp is.
const SHARED: u32 = 0o1007;
/// In a directory's mode: its group comes in.
const OF_GROUP: u32 = 0o070;
/// Much more than the file has.
const MAX_FILE: usize = 4 << 20;

/// The number of the group on this machine; `None` if there is none.
pub(crate) fn group() -> Option<u32> {
    let text = fs::read_to_string("/etc/group").ok().filter(|text| text.len() <= MAX_FILE)?;
    number_in(&text)
}

fn number_in(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':'))?;
    let number = line.split(':').nth(1)?.parse().ok()?;
    (1..FIRST_USER).contains(&number).then_some(number)
}

/// Lets the group's members come as far as the sockets in this directory, and see nothing else of it. One that others use
/// as well is left as it is, and refused: its mode is not adit's to change.
pub(crate) fn open_directory(directory: &Path, group: u32) -> Result<()> {
    let failed = |e: std::io::Error| Failure::io(format!("cannot let the group adit into {}", directory.display()), &e);
    let found = fs::symlink_metadata(directory).map_err(failed)?;
    let is_own = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    let groups = [0, rustix::process::getegid().as_raw(), group];
    if !is_own || is_shared(found.mode(), found.gid(), groups) {
        return Err(Failure::failed(format!(
            "{0} is not for adit alone (mode {1:04o}, group {2}), so the group adit is not let in by changing its mode",
            directory.display(),
            found.mode() & 0o7777,
            found.gid()
        ))
        .hint(format!(
            "set ADIT_RUNTIME_DIR to a directory that is not there yet, or `chmod 700 {}` if nobody else uses it",
            directory.display()
        )));
    }
    admit(directory, group).map_err(failed)
}

/// Whether others use a directory of this mode and group, where these groups are adit's, or nobody's in particular.
fn is_shared(mode: u32, gid: u32, groups: [u32; 3]) -> bool {
    mode & SHARED != 0 || mode & OF_GROUP != 0 && !groups.contains(&gid)
}

fn admit(directory: &Path, group: u32) -> std::io::Result<()> {
    // What is in it is not theirs, whatever its own modes are.
    for inner in ["host", "scratch", "state"] {
        match fs::set_permissions(directory.join(inner), Permissions::from_mode(0o700)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    chown(directory, None, Some(group))?;
    fs::set_permissions(directory, Permissions::from_mode(0o710))
}

/// Lets the group's members connect to a socket. Who may not change groups any more relies on the directory.
pub(crate) fn open_socket(socket: &Path, group: u32) -> std::io::Result<()> {
    if chown(socket, None, Some(group)).is_ok() {
        return fs::set_permissions(socket, Permissions::from_mode(0o660));
    }
    let directory = socket.parent().unwrap_or(Path::new("/")).metadata()?;
    if directory.gid() == group && directory.mode() & 0o007 == 0 {
        return fs::set_permissions(socket, Permissions::from_mode(0o666));
    }
    Ok(())
}

/// Refuses a file that somebody else than root could have written: its commands are run as root.
pub(crate) fn check_file(name: &str, file: &Path) -> Result<()> {
    check_name(name)?;
    let refused = |why: &str| {
        Err(Failure::privilege(format!("{}: {why}, and its commands are run as root", file.display())).hint(format!(
            "run it with `sudo`, or keep the file as {0}/{name}.conf or {0}/{name}.ovpn, root's own",
            directories()[0].display()
        )))
    };
    let Some(directory) = directories()
        .into_iter()
        .find(|known| ["conf", "ovpn"].iter().any(|ending| known.join(format!("{name}.{ending}")) == file))
    else {
        return refused("only root brings up a tunnel of a file elsewhere");
    };
    for place in [directory.as_path(), file] {
        match place.metadata() {
            Ok(it) if it.uid() == 0 && it.mode() & 0o022 == 0 => {}
            Ok(_) => return refused("others than root may write it"),
            Err(e) => return Err(Failure::io(format!("cannot look at {}", place.display()), &e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_one_of_the_system() {
        assert_eq!(number_in("root:x:0:\naditor:x:5:\nadit:x:942:anna,ben\n"), Some(942));
        for none in ["", "root:x:0:\n", "adit:x:1000:\n", "adit:x:0:\n", "adit:x:\n", "adit:x:-1:\n", "radit:x:5:\n"] {
            assert_eq!(number_in(none), None, "{none}");
        }
    }

    #[test]
    fn a_directory_that_others_use_is_not_changed() {
        let kept = tempfile::tempdir().unwrap();
        let directory = kept.path();
        let own = rustix::process::getegid().as_raw();
        for mode in [0o1777, 0o777, 0o1700, 0o755, 0o711] {
            fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
            let refused = open_directory(directory, own).unwrap_err();
            assert!(refused.message.contains("not for adit alone"), "{refused}");
            assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, mode);
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
        open_directory(directory, own).unwrap();
        open_directory(directory, own).unwrap();
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o710);
    }

    /// Such as `root:staff`, which is what a person makes for others to use.
    #[test]
    fn a_directory_of_another_group_is_others_too() {
        let (staff, own, adit) = (50, 1000, 942);
        for mode in [0o42770, 0o40750, 0o40710] {
            assert!(is_shared(mode, staff, [0, own, adit]), "{mode:o}");
            assert!([0, own, adit].iter().all(|gid| !is_shared(mode, *gid, [0, own, adit])), "{mode:o}");
        }
        assert!(!is_shared(0o40700, staff, [0, own, adit]), "they do not come in");
    }

    #[test]
    fn a_file_of_somebody_is_not_brought_up_as_root() {
        for (name, file) in [
            ("home", "/tmp/home.conf"),
            ("home", "/etc/adit/other.conf"),
            ("home", "/etc/adit/../../tmp/home.conf"),
            ("../home", "/etc/adit/../home.conf"),
            ("home", "home.conf"),
        ] {
            assert!(check_file(name, Path::new(file)).is_err(), "{file}");
        }
    }
}

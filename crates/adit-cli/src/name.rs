//! From what a person types to a configuration file and an interface name, by the rules of wg-quick.
//!
//! Not here: what is in the file (`adit::profile`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};

/// Where a bare NAME is looked for, in this order; the first is where new profiles are kept.
const DIRECTORIES: [&str; 2] = ["/etc/adit", "/etc/wireguard"];

/// The same, unless the environment names another first one.
pub(crate) fn directories() -> [PathBuf; 2] {
    let [own, other] = DIRECTORIES.map(PathBuf::from);
    let elsewhere = std::env::var_os("ADIT_CONFIG_DIR").filter(|directory| !directory.is_empty());
    [elsewhere.map_or(own, PathBuf::from), other]
}

/// Longest interface name the kernel takes (IFNAMSIZ - 1).
const MAX_NAME: usize = 15;

/// A configuration file and the interface it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The interface, called like the file.
    pub(crate) name: String,
    /// The file, absolute.
    pub(crate) file: PathBuf,
}

impl Source {
    /// What `adit up` is given: a path if it has a slash or ends in `.conf` or `.ovpn`, else a name.
    pub(crate) fn find(text: &str) -> Result<Self> {
        Self::find_in(text, &directories().each_ref().map(PathBuf::as_path))
    }

    /// Where a profile of this bare name is kept, whether or not it can be looked at.
    pub(crate) fn kept(text: &str) -> Option<Self> {
        let is_name = !is_path(text) && check_name(text).is_ok();
        let file = || openvpn_profile(text).unwrap_or_else(|| directories()[0].join(format!("{text}.conf")));
        is_name.then(|| Self { name: text.to_owned(), file: file() })
    }

    fn find_in(text: &str, directories: &[&Path]) -> Result<Self> {
        if is_path(text) {
            let name = name_of_path(text)?;
            let file = std::path::absolute(text)
                .map_err(|e| Failure::usage(format!("{text} is not a path to a file: {e}")))?;
            if !file.is_file() {
                return Err(missing_file(text, &file));
            }
            return Ok(Self { name, file });
        }
        check_name(text)?;
        // A directory that cannot be read is asked for the file by name: a person may read the file all the same.
        for directory in directories {
            let file = directory.join(format!("{text}.conf"));
            match file.metadata() {
                Ok(_) => return Ok(Self { name: text.to_owned(), file }),
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(Failure::io(format!("cannot look for {}", file.display()), &e));
                }
                Err(_) => {}
            }
        }
        match openvpn_profile_in(text, directories) {
            Some(file) => Ok(Self { name: text.to_owned(), file }),
            None => Err(unknown_name(text, directories)),
        }
    }
}

/// Whether a file is called like an OpenVPN configuration, or is one by what is in it: those of servers are often called `.conf`.
pub(crate) fn is_openvpn(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovpn"))
        || adit::profile::file::read(file).is_ok_and(|(text, _)| adit_openvpn::options::is_likely(&text))
}

/// The OpenVPN profile of this name that `adit import` kept, if there is one and no other profile is called so.
pub(crate) fn openvpn_profile(name: &str) -> Option<PathBuf> {
    openvpn_profile_in(name, &directories().each_ref().map(PathBuf::as_path))
}

fn openvpn_profile_in(name: &str, directories: &[&Path]) -> Option<PathBuf> {
    let named = |directory: &&Path, ending: &str| directory.join(format!("{name}.{ending}"));
    let is_free = check_name(name).is_ok() && !directories.iter().any(|d| named(d, "conf").exists());
    directories.iter().map(|d| named(d, "ovpn")).find(|file| is_free && file.is_file())
}

/// The name of a running tunnel from what a person types: the name, or the file it was brought up from.
pub(crate) fn tunnel_name(text: &str) -> Result<String> {
    if is_path(text) {
        return name_of_path(text);
    }
    check_name(text)?;
    Ok(text.to_owned())
}

/// Whether the kernel and wg-quick take this as an interface name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = (1..=MAX_NAME).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=+.-".contains(&b));
    if fits && plain && name != "." && name != ".." {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` cannot be the name of an interface"))
        .hint("a name has 1 to 15 letters, digits or any of _ = + . -"))
}

fn is_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".conf") || is_openvpn(Path::new(text))
}

fn name_of_path(text: &str) -> Result<String> {
    let path = Path::new(text);
    let ending = if is_openvpn(path) { path.extension() } else { Some(OsStr::new("conf")) };
    let stem = path.file_stem().filter(|_| path.extension() == ending).and_then(OsStr::to_str);
    let name = stem.ok_or_else(|| {
        Failure::usage(format!("{text} does not end in .conf or .ovpn, so it names no interface"))
            .hint("call the file like the interface it is for, such as home.conf")
    })?;
    check_name(name).map_err(|failure| {
        // Such files are called by whoever hands them out.
        if is_openvpn(path) {
            failure.hint(format!("`adit import '{text}'` keeps it under a name that fits"))
        } else {
            failure
        }
    })?;
    Ok(name.to_owned())
}

fn missing_file(text: &str, file: &Path) -> Failure {
    match file.metadata() {
        Ok(_) => Failure::usage(format!("{text} is not a file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Failure::usage(format!("there is no file {}", file.display()))
                .hint("give the path of a configuration file, or the name of one in /etc/adit or /etc/wireguard")
        }
        Err(e) => Failure::io(format!("cannot look at {}", file.display()), &e),
    }
}

fn unknown_name(name: &str, directories: &[&Path]) -> Failure {
    let places: Vec<_> = directories.iter().map(|d| d.join(format!("{name}.conf")).display().to_string()).collect();
    let known = known_names(directories);
    let known = match known.as_slice() {
        [] => "none is configured yet; give the path of a configuration file".to_owned(),
        names => format!("known: {}", names.join(", ")),
    };
    Failure::usage(format!("there is no tunnel called `{name}`: looked for {}", places.join(" and "))).hint(known)
}

/// The names a person could use.
fn known_names(directories: &[&Path]) -> Vec<String> {
    let mut names: Vec<String> = directories
        .iter()
        .filter_map(|d| d.read_dir().ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".conf").or_else(|| file.strip_suffix(".ovpn")).map(str::to_owned))
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn names_are_those_wg_quick_takes() {
        for good in ["a", "wg0", "my_vpn=+.-", "fifteen-letters"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "sixteen--letters", "a b", "a/b", "ä", "..", ".", "a:b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_named_like_its_file() {
        assert_eq!(tunnel_name("./x/home.conf"), Ok("home".to_owned()));
        assert_eq!(tunnel_name("home.conf"), Ok("home".to_owned()));
        assert_eq!(tunnel_name("home"), Ok("home".to_owned()));
        assert_eq!(tunnel_name("a/office.ovpn"), Ok("office".to_owned()));
        assert_eq!(tunnel_name("OFFICE.OVPN"), Ok("OFFICE".to_owned()));
        assert!(tunnel_name("Head Office.ovpn").unwrap_err().hints[1].contains("adit import"));
        assert_eq!(tunnel_name("./home.txt").unwrap_err().kind, Exit::Usage);
    }

    #[test]
    fn the_first_directory_wins_and_an_unknown_name_lists_the_known() {
        let root = std::env::temp_dir().join(format!("adit-name-{}", std::process::id()));
        let (first, second) = (root.join("a"), root.join("b"));
        for (directory, names) in [(&first, &["home.conf"][..]), (&second, &["home.conf", "work.conf", "notes.txt"])] {
            std::fs::create_dir_all(directory).unwrap();
            for name in names {
                std::fs::write(directory.join(name), "").unwrap();
            }
        }
        let directories = [first.as_path(), second.as_path()];
        let home = Source::find_in("home", &directories).unwrap();
        assert_eq!(home.file, first.join("home.conf"));
        assert_eq!(Source::find_in("work", &directories).unwrap().file, second.join("work.conf"));
        let unknown = Source::find_in("play", &directories).unwrap_err();
        assert_eq!((unknown.kind, unknown.hints), (Exit::Usage, vec!["known: home, work".to_owned()]));
        std::fs::write(first.join("office.ovpn"), "").unwrap();
        std::fs::write(first.join("work.ovpn"), "").unwrap();
        assert_eq!(Source::find_in("office", &directories).unwrap().file, first.join("office.ovpn"));
        assert_eq!(openvpn_profile_in("office", &directories), Some(first.join("office.ovpn")));
        assert_eq!(openvpn_profile_in("work", &directories), None, "the other profile is the one of this name");
        assert_eq!(openvpn_profile_in("../office", &directories), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}

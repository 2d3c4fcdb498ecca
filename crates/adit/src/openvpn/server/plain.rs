//! Files where others than the daemon may write: only what is a file at all is read, only so much of it, and without waiting for
//! anybody; and nothing is written elsewhere for them.
//!
//! Not here: what they say.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Whoever opens a pipe would wait for the other end, and a terminal would become ours.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The text of a file, of at most so many bytes, and what the system says of it.
pub(super) fn read(path: &Path, most: u64) -> io::Result<(String, Metadata)> {
    text(File::from(rustix::fs::openat(CWD, path, FLAGS, Mode::empty())?), most)
}

/// The same of a file in a directory. A link that leads out of it is not followed: who may write there need not be one who may read
/// all that the daemon does.
pub(super) fn read_in(directory: &Path, name: &str, most: u64) -> io::Result<(String, Metadata)> {
    let directory =
        rustix::fs::openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stays = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = match rustix::fs::openat2(&directory, name, FLAGS, Mode::empty(), stays) {
        // An old kernel: no link is followed at all there.
        Err(rustix::io::Errno::NOSYS) => rustix::fs::openat(&directory, name, FLAGS | OFlags::NOFOLLOW, Mode::empty()),
        Err(rustix::io::Errno::XDEV) => return Err(io::Error::other("it is a link that leads out of the directory")),
        opened => opened,
    };
    text(File::from(opened?), most)
}

/// Puts a text in the place of a file, all at once. What is beside it, under whatever name, is neither followed nor written to: who may
/// write to the directory need not be one who may write wherever the daemon does.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", data_encoding::HEXLOWER.encode(&random)));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Whatever is wrong, this is not to be left; if it cannot be removed either, that is not what is told.
        let _is_left = std::fs::remove_file(&beside);
    }
    written
}

fn text(file: File, most: u64) -> io::Result<(String, Metadata)> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {} KiB", most >> 10)));
    }
    Ok((text, found))
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_link_in_its_place_is_not_followed() {
        let base = std::env::temp_dir().join(format!("adit-replace-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        std::fs::write(base.join("other"), "other").unwrap();
        std::os::unix::fs::symlink(base.join("other"), base.join("pool")).unwrap();
        replace(&base.join("pool"), "text").unwrap();
        let read = |name: &str| std::fs::read_to_string(base.join(name)).unwrap();
        assert_eq!((read("pool").as_str(), read("other").as_str()), ("text", "other"));
        std::fs::create_dir(base.join("directory")).unwrap();
        assert!(replace(&base.join("directory"), "text").is_err());
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 3, "nothing is left beside");
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_is_no_file_or_leads_out_is_not_read_and_nobody_waits_for_it() {
        let base = std::env::temp_dir().join(format!("adit-plain-{}", std::process::id()));
        let directory = base.join("ccd");
        std::fs::create_dir_all(directory.join("below")).unwrap();
        std::fs::write(base.join("secret"), "secret").unwrap();
        std::fs::write(directory.join("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", directory.join("link")).unwrap();
        std::os::unix::fs::symlink("../secret", directory.join("out")).unwrap();
        std::os::unix::fs::symlink(base.join("secret"), directory.join("far")).unwrap();
        rustix::fs::mknodat(CWD, directory.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let text =
            |name: &str, most| read_in(&directory, name, most).map(|(text, _)| text).map_err(|error| error.to_string());
        assert_eq!((text("file", 4), text("link", 4)), (Ok("text".to_owned()), Ok("text".to_owned())));
        assert_eq!(text("file", 3), Err("it is longer than 0 KiB".to_owned()));
        for name in ["out", "far"] {
            assert_eq!(text(name, 100), Err("it is a link that leads out of the directory".to_owned()), "{name}");
        }
        for name in ["pipe", "below"] {
            assert_eq!(text(name, 100), Err("it is not a file".to_owned()), "{name}");
        }
        assert_eq!(read_in(&directory, "none", 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&directory.join("out"), 100).unwrap().0, "secret", "whoever names it whole means it");
        assert!(read(&directory.join("pipe"), 100).is_err());
        std::fs::remove_dir_all(&base).unwrap();
    }
}

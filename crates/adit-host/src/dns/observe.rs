//! How this machine's name servers can be set: looking, without changing anything.
//!
//! Not here: what follows from it (`dns`).

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Machine, RESOLV_CONF, Saved, resolved};
use crate::error::HostError;

/// Looks at the machine.
pub(crate) async fn observe() -> Result<Machine, HostError> {
    let path = Path::new(RESOLV_CONF);
    let conf = Saved::read(path).map_err(|source| HostError::File { what: "read", path: path.to_owned(), source })?;
    let text = fs::read_to_string(path).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let resolvconf = env::var_os("PATH").and_then(|path| find(&path, "resolvconf")).filter(|path| !is_resolvectl(path));
    Ok(Machine {
        conf,
        text,
        mounted: is_mounted(&mounts, RESOLV_CONF),
        resolved: resolved::answers().await,
        resolvconf,
    })
}

fn is_mounted(mountinfo: &str, path: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

fn find(path: &std::ffi::OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path).map(|dir| dir.join(program)).find(|file| {
        fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// systemd ships `resolvconf` as another name of `resolvectl`.
fn is_resolvectl(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|real| real.file_name() == Some("resolvectl".as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_mounted_over_is_found_in_mountinfo() {
        let mounts = "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      612 29 8:1 /etc/netns/lab/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw\n";
        assert!(is_mounted(mounts, "/etc/resolv.conf"));
        assert!(!is_mounted(mounts, "/etc/hosts"));
    }
}

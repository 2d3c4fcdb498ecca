//! The one question to a socket that has no safe call.
#![expect(unsafe_code, reason = "getsockopt(2) with SO_PEERGROUPS writes a list of any length")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Groups that are asked for first.
const FIRST: usize = 64;
/// The most groups that a process can be in (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// The supplementary groups of whoever connected, as they were then.
pub(super) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let size = size_of::<libc::gid_t>();
    let mut groups: Vec<libc::gid_t> = vec![0; FIRST];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * size).map_err(io::Error::other)?;
        let list = groups.as_mut_ptr().cast();
        // SAFETY: `list` points to `bytes` bytes of a vector that lives beyond the call, in which any bytes are numbers.
        let done = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, list, &raw mut bytes)
        };
        let needed = bytes as usize / size;
        if done == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() || needed > MAX_GROUPS {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

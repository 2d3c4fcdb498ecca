//! System calls by number, for the test of what is refused.
#![expect(unsafe_code, reason = "calls that no library names yet are made by syscall(2)")]

use std::io;

/// The error of a system call whose arguments are all nothing: no call of files does anything with these.
pub(super) fn call_with_nothing(number: i64) -> io::Error {
    // SAFETY: as pointers the arguments are null, which the kernel refuses to follow; no memory of ours is touched.
    let done = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    if done == -1 { io::Error::last_os_error() } else { io::Error::other(format!("done: {done}")) }
}

//! System calls by number, for the test of what is refused.
#![expect(unsafe_code, reason = "calls that no library names yet are made by syscall(2)")]

use std::io;

/// The error of a system call whose arguments are all nothing: no call of files does anything with these.
pub(super) fn call_with_nothing(number: i64) -> io::Error {
    // SAFETY: as pointers the arguments are null, which the kernel refuses to follow; no memory of ours is touched.
    let done = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    if done == -1 { io::Error::last_os_error() } else { io::Error::other(format!("done: {done}")) }
}

/// The error of a call that makes a process as fork(2) does. A process that it makes all the same ends at once.
pub(super) fn fork_by(number: i64) -> io::Error {
    // SAFETY: without CLONE_VM the new process has a copy of the memory; it does nothing but end, below.
    match unsafe { libc::syscall(number, libc::SIGCHLD, 0, 0, 0, 0) } {
        // SAFETY: ends this process and touches nothing; no destructor, no handler is run.
        0 => unsafe { libc::_exit(0) },
        -1 => io::Error::last_os_error(),
        process => io::Error::other(format!("there is a process {process}")),
    }
}

//! The scheduling attributes of the calling thread, for which the standard library has nothing.
//!
//! Not here: what is asked for (`promptness`).
#![expect(unsafe_code, reason = "the system calls take a structure by address")]

use std::io;
use std::time::Duration;

use libc::sched_attr;

/// The attributes of the calling thread.
pub(super) fn attributes() -> io::Result<sched_attr> {
    // SAFETY: all zeros is a valid structure of integers.
    let mut attributes: sched_attr = unsafe { std::mem::zeroed() };
    let (this, size, flags) = (0, size_of::<sched_attr>() as u32, 0);
    let into: *mut sched_attr = &raw mut attributes;
    // SAFETY: the pointer is to a structure of the given size that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, this, into, size, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

/// Sets the length of the calling thread's slices, and nothing else of how it is scheduled. Programs it starts do not
/// inherit it.
pub(super) fn set_slice(slice: Duration) -> io::Result<()> {
    let mut attributes = attributes()?;
    attributes.size = size_of::<sched_attr>() as u32;
    attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    let (this, flags) = (0, 0);
    let from: *const sched_attr = &raw const attributes;
    // SAFETY: the pointer is to a structure, whose size it holds, that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, this, from, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

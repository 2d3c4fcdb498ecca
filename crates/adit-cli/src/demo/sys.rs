//! The one system call of the demo that is not safe by its signature.
#![expect(unsafe_code, reason = "unshare(2) can be unsound with other flags than the one used here")]

use std::io;

use rustix::thread::UnshareFlags;

/// Moves the calling thread, and what it starts from now on, into a new network namespace.
pub(super) fn enter_new_network_namespace() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET shares no memory and no descriptor table differently; only sockets made later are elsewhere.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

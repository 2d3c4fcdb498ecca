//! Descriptors that the environment names by number.
#![expect(unsafe_code, reason = "a number becomes a descriptor that is owned")]

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use crate::failure::Failure;

/// Takes over the descriptor that an environment variable names; `None` if there is no such variable.
///
/// To be called once for each variable, before this process opens anything by itself.
pub(crate) fn take_descriptor(variable: &str) -> Result<Option<OwnedFd>, Failure> {
    let Some(text) = std::env::var_os(variable) else { return Ok(None) };
    let number: RawFd = text
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number > 2 && std::fs::exists(format!("/proc/self/fd/{number}")).unwrap_or(false))
        .ok_or_else(|| Failure::usage(format!("{variable} does not name an open descriptor")))?;
    // SAFETY: it is open, as just checked, and nothing in this process owns it: it was open before `main`, by the word of
    // whoever set the variable, and no variable is taken twice.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let failed = |e| Failure::new(format!("{variable}: {e}"));
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(failed)?;
    Ok(Some(fd))
}

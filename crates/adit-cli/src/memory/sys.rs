//! The one call that the standard library does not have. Not here: which values, and why (`memory`).

#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt is a function of C"))]

/// What can be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tunable {
    /// Bytes from which on an allocation has pages of its own.
    MmapFrom,
    /// Free bytes at the end of the heap from which on they are returned.
    TrimFrom,
    /// Heaps, at the most.
    Arenas,
}

/// Tells glibc; another C library has other ways, and is left alone. A value that it does not take is a wish not granted.
#[cfg(target_env = "gnu")]
pub(super) fn tune(wishes: &[(Tunable, i32)]) {
    for (tunable, value) in wishes {
        let name = match tunable {
            Tunable::MmapFrom => libc::M_MMAP_THRESHOLD,
            Tunable::TrimFrom => libc::M_TRIM_THRESHOLD,
            Tunable::Arenas => libc::M_ARENA_MAX,
        };
        // SAFETY: takes two numbers and no pointer; any number is answered with whether it was taken.
        let _taken = unsafe { libc::mallopt(name, *value) };
    }
}

/// Another C library has other ways.
#[cfg(not(target_env = "gnu"))]
pub(super) const fn tune(_wishes: &[(Tunable, i32)]) {}

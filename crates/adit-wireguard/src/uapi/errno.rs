//! Error numbers as the control text writes them.
//!
//! Not here: sentences for people; `wg` makes its own from the number.

use std::fmt;

/// An error number of Linux, positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Permission denied.
    pub const EACCES: Self = Self(13);
    /// The port is in use.
    pub const EADDRINUSE: Self = Self(98);
    /// A key that is not known, or a value that is not one.
    pub const EINVAL: Self = Self(22);
    /// Reading, writing or a socket failed.
    pub const EIO: Self = Self(5);
    /// The interface is not there.
    pub const ENODEV: Self = Self(19);
    /// A line that is not `key=value`.
    pub const EPROTO: Self = Self(71);
    /// More than this implementation keeps.
    pub const E2BIG: Self = Self(7);

    /// The number a system call failed with. Zero and negative numbers are no errors of a call: they become `EIO`.
    pub const fn from_raw(number: i32) -> Self {
        if number > 0 { Self(number) } else { Self::EIO }
    }

    /// The number, positive.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The whole answer to a `set`: `errno=0`, or the negative number, for `wg` negates it again (reference W-117).
    pub fn answer_set(outcome: Result<(), Self>) -> String {
        format!("errno={}\n\n", outcome.map_or_else(|e| -e.0, |()| 0))
    }

    /// The whole answer to a `get` that failed: the positive number, for here `wg` reads digits only.
    pub fn answer_get(self) -> String {
        format!("errno={}\n\n", self.0)
    }

    /// What an answer says after `errno=`, with either sign.
    pub(super) fn parse(text: &str) -> Option<Result<(), Self>> {
        let number: i32 = text.parse().ok()?;
        Some(if number == 0 { Ok(()) } else { Err(Self(number.checked_abs()?)) })
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::EACCES => "EACCES",
            Self::EADDRINUSE => "EADDRINUSE",
            Self::EINVAL => "EINVAL",
            Self::EIO => "EIO",
            Self::ENODEV => "ENODEV",
            Self::EPROTO => "EPROTO",
            Self::E2BIG => "E2BIG",
            Self(number) => return write!(f, "Errno({number})"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {} ({self:?})", self.0)
    }
}

impl std::error::Error for Errno {}

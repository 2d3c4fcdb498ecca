//! How a command ends: its exit code, and a failure as a person reads it.

use std::fmt::Display;
use std::io;

use serde::{Deserialize, Serialize};

use crate::rpc::Login;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// What was asked for was done.
    Done,
    /// It was tried, and failed.
    Failed,
    /// The request or the configuration is wrong; nothing was changed.
    Usage,
    /// There is no such tunnel running.
    NotConnected,
    /// It needs a privilege this process does not have.
    Privilege,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotConnected => 3,
            Self::Privilege => 5,
        }
    }
}

/// Why a command did not do what it was asked to: what happened, to what, and in a hint the next thing to do.
///
/// Travels from the daemon to the command as it is, so that both say the same sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// How the command ends.
    pub(crate) kind: Exit,
    /// What happened, to what.
    pub(crate) message: String,
    /// What to do next, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hints: Vec<String>,
    /// What a server asks, and whose answer would let the command go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) challenge: Option<Box<Challenge>>,
    /// Whether there was nobody who could have done it. Known on this side of a connection only.
    #[serde(skip)]
    pub(crate) is_broken: bool,
}

/// A question of a server to its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Challenge {
    /// What to show.
    pub(crate) question: String,
    /// Whether the answer may be seen while it is typed.
    pub(crate) echo: bool,
    /// The login of the next attempt, but for the answer at the end of the password.
    pub(crate) login: Login,
}

/// What most functions of this crate return.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure from a text whose lines after the first may be `  hint: …`.
    pub(crate) fn new(kind: Exit, text: impl Display) -> Self {
        let text = text.to_string();
        let mut message = Vec::new();
        let mut hints = Vec::new();
        // Several sentences, each with its own hint, stay as they are.
        if text.matches("\n  hint: ").count() > 1 {
            return Self { kind, message: text, hints, challenge: None, is_broken: false };
        }
        for line in text.lines() {
            match line.trim_start().strip_prefix("hint: ") {
                Some(hint) => hints.push(hint.to_owned()),
                None => message.push(line),
            }
        }
        Self { kind, message: message.join("\n"), hints, challenge: None, is_broken: false }
    }

    /// It was tried, and failed.
    pub(crate) fn failed(text: impl Display) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// The request is wrong.
    pub(crate) fn usage(text: impl Display) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// There is no such tunnel.
    pub(crate) fn not_connected(text: impl Display) -> Self {
        Self::new(Exit::NotConnected, text)
    }

    /// A privilege is missing.
    pub(crate) fn privilege(text: impl Display) -> Self {
        Self::new(Exit::Privilege, text)
    }

    /// An operation of the system failed; a refused permission asks for privilege.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Self::privilege(format!("{what}: {error}")).hint("run it as root, for example with `sudo`")
        } else {
            Self::failed(format!("{what}: {error}"))
        }
    }

    /// Whether the other process is gone, rather than having refused.
    pub(crate) fn is_about_the_connection(&self) -> bool {
        self.is_broken
    }

    /// The other process went away before it answered.
    pub(crate) fn broken(text: impl Display) -> Self {
        Self { is_broken: true, ..Self::failed(text) }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_sentences_keeps_its_hint_below_it() {
        let text = "a:1: wrong\n  hint: write b\na:2: wrong\n  hint: write c";
        let failure = Failure::failed(text);
        assert_eq!((failure.message.as_str(), failure.hints.len()), (text, 0));
    }

    #[test]
    fn hints_in_a_library_error_become_hints() {
        let failure = Failure::failed("the port 51820 is taken\n  hint: choose another ListenPort");
        assert_eq!(failure.message, "the port 51820 is taken");
        assert_eq!(failure.hints, ["choose another ListenPort"]);
    }

    #[test]
    fn a_refused_permission_asks_for_privilege() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Failure::io("cannot open it", &refused).kind, Exit::Privilege);
        let gone = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(Failure::io("cannot open it", &gone).kind, Exit::Failed);
    }

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotConnected, Exit::Privilege].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 5]);
    }
}

//! What can go wrong with the machine, in sentences: what happened, to what, what to do next.
//!
//! Not here: deciding whether an error stops a run (`apply`).

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::change::Stage;

/// Why the machine could not be changed, or changed back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The kernel refuses this user.
    #[error("cannot {what}: not permitted\n  hint: run it as root, or give it CAP_NET_ADMIN")]
    Denied {
        /// What was tried.
        what: String,
    },
    /// Not a name for an interface.
    #[error("`{link}` is no name for an interface\n  hint: up to 15 letters, digits and any of _ = + . -")]
    BadName {
        /// The name.
        link: String,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {link}\n  hint: `ip link` lists those there are; it may have been removed while in use"
    )]
    NoLink {
        /// Its name.
        link: String,
    },
    /// The kernel refused a change or a question.
    #[error("cannot {what}: {source}{}", hint_for(source))]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The journal could not be read or written, so nothing may be changed.
    #[error("cannot {what} {}: {source}\n  hint: the directory must be writable; changes are written there before they are made", path.display())]
    Journal {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process looks after this interface.
    #[error("{link} is in use by another process\n  hint: take it down there first (`adit down {link}`)")]
    Busy {
        /// Its name.
        link: String,
    },
    /// A program that is needed is not installed.
    #[error("cannot {what}: the program `{program}` is not installed\n  hint: {hint}")]
    NoProgram {
        /// What was tried.
        what: String,
        /// Its name.
        program: String,
        /// How to get it.
        hint: &'static str,
    },
    /// A program that was run said no.
    #[error("cannot {what}: {program} said: {said}")]
    Program {
        /// What was tried.
        what: String,
        /// Its name.
        program: String,
        /// What it printed, or how it ended.
        said: String,
    },
    /// A command of the profile failed.
    #[error("{stage} failed ({ended}): {command}\n  hint: the line is from the profile; try it in a shell")]
    Hook {
        /// Which line of the profile.
        stage: Stage,
        /// The command.
        command: String,
        /// How it ended.
        ended: String,
    },
    /// systemd-resolved could not be told.
    #[error("cannot {what}: systemd-resolved said: {said}\n  hint: `resolvectl status` shows whether it runs")]
    Resolved {
        /// What was tried.
        what: String,
        /// What it answered.
        said: String,
    },
    /// The name servers are not what was set.
    #[error(
        "the name servers of {link} were set and then were not there: {found}\n  hint: another program manages DNS on this machine"
    )]
    DnsNotSet {
        /// The interface.
        link: String,
        /// What was there.
        found: String,
    },
    /// A file of the system could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Several things could not be undone; the journal keeps them.
    #[error("not everything of {link} could be undone; `adit down {link}` tries again:\n{}", list(left))]
    Left {
        /// The interface.
        link: String,
        /// One sentence for each thing that is left.
        left: Vec<String>,
    },
}

impl HostError {
    /// Whether more privilege is what is missing.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Journal { source, .. } | Self::File { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            Self::Kernel { .. }
            | Self::BadName { .. }
            | Self::NoLink { .. }
            | Self::Busy { .. }
            | Self::NoProgram { .. }
            | Self::Program { .. }
            | Self::Hook { .. }
            | Self::Resolved { .. }
            | Self::DnsNotSet { .. }
            | Self::Left { .. } => false,
        }
    }

    /// The kernel's answer to `what`, as the sentence that fits it.
    pub(crate) fn kernel(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied { what }
        } else {
            Self::Kernel { what, source }
        }
    }
}

fn hint_for(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EEXIST) => {
            "\n  hint: something else made it already; `ip address`, `ip route` and `ip rule` show what"
        }
        Some(libc::ENETDOWN | libc::ENODEV) => "\n  hint: the interface went away or down while it was set up",
        Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => "\n  hint: this kernel was built without it, or IPv6 is off",
        Some(libc::EINVAL) => "\n  hint: the kernel does not take this value; IPv6 needs an MTU of at least 1280",
        _ => "",
    }
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}

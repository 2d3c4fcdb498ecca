//! Name servers of a tunnel: which of the machine's ways to use, and what to tell it. Pure here; each way has its file.
//!
//! Not here: answering or forwarding queries.

mod file;
mod observe;
mod resolvconf;
mod resolved;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::HostError;
use crate::plan::HostPlan;

pub(crate) use file::Saved;
pub(crate) use observe::observe;
pub use resolved::LinkServers;
pub(crate) use resolved::asked as asked_by_resolved;

/// Where the machine's resolver reads its name servers.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Makes the machine ask other name servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DnsChange {
    /// Tells systemd-resolved about the interface.
    Resolved {
        /// The interface.
        link: String,
        /// Name servers.
        servers: Vec<IpAddr>,
        /// Domains, and whether they only route queries here rather than being searched too.
        domains: Vec<(String, bool)>,
        /// Whether names of no known domain are asked here.
        default_route: bool,
    },
    /// Gives resolvconf a record, exclusive and of the highest priority.
    Resolvconf {
        /// The program.
        program: PathBuf,
        /// The name of the record.
        record: String,
        /// The record.
        text: String,
    },
    /// Writes the resolver's file.
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        text: String,
        /// What was there.
        was: Saved,
    },
}

/// How this machine's name servers can be set, as observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// What is at [`RESOLV_CONF`].
    pub(crate) conf: Saved,
    /// What that reads as, links followed.
    pub(crate) text: String,
    /// Whether something is mounted over it, as in a container or a network namespace.
    pub(crate) mounted: bool,
    /// Whether systemd-resolved answers on the bus.
    pub(crate) resolved: bool,
    /// The `resolvconf` program, if there is one that is not `resolvectl` by another name.
    pub(crate) resolvconf: Option<PathBuf>,
}

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way<'a> {
    Resolved,
    Resolvconf(&'a PathBuf),
    File,
}

/// A file that something is mounted over belongs to this namespace alone, and what resolved or resolvconf would write
/// does not reach it. Else resolved if it is what programs really ask; else resolvconf if there is one; else the file.
fn choose(machine: &Machine) -> Way<'_> {
    if machine.mounted {
        return Way::File;
    }
    let asks_resolved = match &machine.conf {
        Saved::Link { target } => target.to_string_lossy().contains("systemd/resolve/"),
        Saved::File { .. } | Saved::Missing => false,
    } || machine.text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("nameserver") && matches!(words.next(), Some("127.0.0.53" | "127.0.0.54"))
    });
    match &machine.resolvconf {
        _ if machine.resolved && asks_resolved => Way::Resolved,
        Some(program) => Way::Resolvconf(program),
        None => Way::File,
    }
}

/// What to tell this machine for this plan; nothing if there is nothing to say.
pub(crate) fn plan(desired: &HostPlan, machine: &Machine) -> Option<DnsChange> {
    Some(match choose(machine) {
        Way::Resolved => resolved::plan(desired),
        Way::Resolvconf(program) => resolvconf::plan(desired, program),
        Way::File => file::plan(desired, machine),
    })
}

impl DnsChange {
    /// Whether the two write the same place.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Resolved { link: a, .. }, Self::Resolved { link: b, .. }) => a == b,
            (Self::Resolvconf { record: a, .. }, Self::Resolvconf { record: b, .. }) => a == b,
            (Self::File { path: a, .. }, Self::File { path: b, .. }) => a == b,
            _ => false,
        }
    }

    /// When another interface's file was written over ours, it must bring back what was there before both.
    pub(crate) fn hand_over(&self, other: &mut Self) -> bool {
        match (self, other) {
            (Self::File { path, text, was }, Self::File { path: path2, was: was2, .. })
                if path == path2 && was2.is_file_with(text) =>
            {
                was2.clone_from(was);
                true
            }
            _ => false,
        }
    }

    /// The machine as it was before this change.
    pub(crate) fn before(&self, mut machine: Machine) -> Machine {
        match self {
            Self::File { was, .. } => {
                if let Saved::File { text, .. } = was {
                    machine.text.clone_from(text);
                }
                machine.conf = was.clone();
                machine
            }
            Self::Resolved { .. } | Self::Resolvconf { .. } => machine,
        }
    }

    /// Makes the change, then reads back whether it holds.
    pub(crate) async fn apply(&self) -> Result<(), HostError> {
        match self {
            Self::Resolved { link, servers, domains, default_route } => {
                resolved::set(link, servers, domains, *default_route).await?;
                resolved::verify(link, servers).await
            }
            Self::Resolvconf { program, record, text } => {
                resolvconf::add(program, record, text).await?;
                resolvconf::verify(record, text)
            }
            Self::File { path, text, .. } => {
                file::write(path, text)?;
                file::verify(path, text)
            }
        }
    }

    /// Undoes the change, if it is still what is there.
    pub(crate) async fn undo(&self) -> Result<(), HostError> {
        match self {
            Self::Resolved { link, .. } => resolved::revert(link).await,
            Self::Resolvconf { program, record, .. } => resolvconf::remove(program, record).await,
            Self::File { path, text, was } => file::restore(path, text, was),
        }
    }
}

impl fmt::Display for DnsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved { link, servers, domains, default_route } => {
                write!(f, "tell systemd-resolved about {link}: servers {}", join(servers))?;
                if !domains.is_empty() {
                    let domains =
                        domains.iter().map(|(name, route)| format!("{}{name}", if *route { "~" } else { "" }));
                    write!(f, ", domains {}", domains.collect::<Vec<_>>().join(" "))?;
                }
                write!(f, ", default route {}", if *default_route { "yes" } else { "no" })
            }
            Self::Resolvconf { record, text, .. } => {
                write!(f, "give resolvconf {record}: {}", text.trim_end().replace('\n', ", "))
            }
            Self::File { path, text, .. } => {
                let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
                write!(f, "write {}: {}", path.display(), lines.join(", "))
            }
        }
    }
}

fn join(items: &[IpAddr]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The lines that every `resolv.conf` reader knows.
fn lines(servers: &[IpAddr], search: &[String]) -> String {
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests;

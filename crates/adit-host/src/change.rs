//! One change to the machine as a value: what it is, how it reads, what it replaces.
//!
//! Not here: which changes a plan needs (`plan`), making and undoing them (`backend`).

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dns::DnsChange;
use crate::firewall::Ruleset;
use crate::gateway::{GatewayTable, Pass};

/// The number of the routing table that everybody uses when nothing is said.
pub(crate) const TABLE_MAIN: u32 = 254;

/// One change to the machine. What it takes to undo it is inside, so that a journal of changes is enough to undo them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Change {
    /// Runs a command of the profile now.
    Run {
        /// When the profile wants it run.
        stage: Stage,
        /// What the shell is given.
        command: String,
        /// The interface it is run for.
        link: String,
    },
    /// Does nothing now; undoing it runs a command of the profile, once.
    AtEnd {
        /// Before or after everything else is undone.
        stage: Stage,
        /// What the shell is given.
        command: String,
        /// The interface it is run for.
        link: String,
    },
    /// Writes a file under `/proc/sys`.
    Sysctl {
        /// Its name with slashes, as in `net/ipv4/ip_forward`.
        key: String,
        /// What it should hold.
        value: String,
        /// What it held.
        was: String,
    },
    /// Sets the largest packet of the interface.
    Mtu {
        /// The interface.
        link: String,
        /// Bytes.
        mtu: u32,
        /// Bytes before, if the interface was there.
        was: Option<u32>,
    },
    /// Gives the interface an address.
    Address {
        /// The interface.
        link: String,
        /// The address with the length of its network.
        address: IpNet,
    },
    /// Sets the interface up.
    Up {
        /// The interface.
        link: String,
    },
    /// Adds a route.
    Route(Route),
    /// Loads a table of packet filter rules.
    Firewall(Ruleset),
    /// Loads the table of packet filter rules of a gateway.
    Gateway(GatewayTable),
    /// Lets the interface's packets pass another program's packet filter.
    Pass(Pass),
    /// Adds a rule that chooses a routing table.
    Rule(Rule),
    /// Makes the machine ask other name servers.
    Dns(DnsChange),
}

/// When a command of the profile is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before the interface is set up.
    PreUp,
    /// After everything is set up.
    PostUp,
    /// Before anything is undone.
    PreDown,
    /// After everything is undone.
    PostDown,
}

/// A route to a network through an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Through which interface; empty for one that has none, such as `unreachable`.
    pub link: String,
    /// In which routing table.
    pub table: u32,
}

/// A rule that chooses a routing table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// For IPv6, else for IPv4.
    pub v6: bool,
    /// Its place: lower is asked first.
    pub priority: u32,
    /// Only packets without this mark.
    pub unless_mark: Option<u32>,
    /// The table it chooses.
    pub table: u32,
    /// Ignores answers of this prefix length or shorter, so 0 ignores the default route.
    pub suppress: Option<u32>,
}

impl Change {
    /// Whether the two write the same place, so that the later one replaces the earlier.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sysctl { key: a, .. }, Self::Sysctl { key: b, .. }) => a == b,
            (Self::Mtu { link: a, .. }, Self::Mtu { link: b, .. }) => a == b,
            (Self::Firewall(a), Self::Firewall(b)) => a.table == b.table,
            (Self::Gateway(a), Self::Gateway(b)) => a.table == b.table,
            (Self::Dns(a), Self::Dns(b)) => a.replaces(b),
            _ => false,
        }
    }

    /// Whether it is made in one transaction, which may fail but not stop half way.
    pub(crate) const fn is_whole_or_not(&self) -> bool {
        matches!(self, Self::Firewall(_) | Self::Gateway(_))
    }

    /// Another interface's change to the same place, made on top of this one: when this one is undone first, the other
    /// must later bring back what was there before both. Returns whether `other` took that over.
    pub(crate) fn hand_over(&self, other: &mut Self) -> bool {
        match (self, other) {
            (Self::Sysctl { key, value, was }, Self::Sysctl { key: key2, was: was2, .. })
                if key == key2 && value == was2 =>
            {
                was2.clone_from(was);
                true
            }
            (Self::Dns(mine), Self::Dns(theirs)) => mine.hand_over(theirs),
            _ => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { stage, command, .. } => write!(f, "run {stage}: {command}"),
            Self::AtEnd { stage, command, .. } => write!(f, "at the end run {stage}: {command}"),
            Self::Sysctl { key, value, was } if value == was => {
                write!(f, "keep {} = {value}", key.replace('/', "."))
            }
            Self::Sysctl { key, value, was } => write!(f, "set {} = {value} (was {was})", key.replace('/', ".")),
            Self::Mtu { link, mtu, was: Some(was) } if was != mtu => {
                write!(f, "set mtu of {link} to {mtu} (was {was})")
            }
            Self::Mtu { link, mtu, .. } => write!(f, "set mtu of {link} to {mtu}"),
            Self::Address { link, address } => write!(f, "add address {address} to {link}"),
            Self::Up { link } => write!(f, "set {link} up"),
            Self::Route(route) => write!(f, "add {route}"),
            Self::Firewall(Ruleset { table, text }) | Self::Gateway(GatewayTable { table, text, .. }) => {
                write!(f, "load nftables {table}")?;
                text.lines().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Self::Pass(pass) => write!(f, "{pass}"),
            Self::Rule(rule) => write!(f, "add {rule}"),
            Self::Dns(dns) => write!(f, "{dns}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreUp => "PreUp",
            Self::PostUp => "PostUp",
            Self::PreDown => "PreDown",
            Self::PostDown => "PostDown",
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {} dev {}", self.to, self.link)?;
        if self.table == TABLE_MAIN { Ok(()) } else { write!(f, " table {}", self.table) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule{} {}:", if self.v6 { " -6" } else { "" }, self.priority)?;
        if let Some(mark) = self.unless_mark {
            write!(f, " not fwmark {mark:#x}")?;
        }
        if self.table == TABLE_MAIN {
            write!(f, " table main")?;
        } else {
            write!(f, " table {}", self.table)?;
        }
        self.suppress.map_or(Ok(()), |length| write!(f, " suppress_prefixlength {length}"))
    }
}

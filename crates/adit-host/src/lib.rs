//! The machine under a tunnel: what an interface needs from it, as plan, apply, undo.
//!
//! [`HostPlan`] says what one interface should have: addresses, MTU, routes, DNS, commands. [`Host`] looks at the
//! machine, works out the [`Change`]s, writes each to a journal on disk before it makes it, and undoes them all when the
//! tunnel ends, or when the next run finds the journal of one that was killed.
//!
//! Not here: packets, protocols, profile files, creating the TUN. The interface must exist before [`Host::apply`]; one
//! who makes it between a profile's PreUp and the rest uses [`Host::prepare`] and [`Applied::undo_around`].

mod apply;
mod backend;
mod change;
mod dns;
mod error;
mod firewall;
mod gateway;
mod hooks;
mod journal;
mod look;
mod mend;
mod netlink;
mod nft;
mod passage;
mod plan;
mod update;
mod watch;

pub use apply::{Applied, Host, Prepared, STATE_DIR};
pub use change::{Change, Route, Rule, Stage};
pub use dns::DnsChange;
pub use error::HostError;
pub use firewall::Ruleset;
pub use gateway::{Enrol, Gateway, GatewayTable, OtherFirewall, Pass, Ports, Reach, To, Transport};
pub use look::{LinkServers, Looked, Names};
pub use passage::{Dropped, Hook, Passage, dropped_by, has_table};
pub use plan::{Hooks, HostPlan, Table};
pub use watch::{HostEvent, HostEvents};

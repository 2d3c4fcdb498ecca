//! The people of an adit network: who is in it, who may come in, who may reach what, how much, and who changed that.
//!
//! A [`Command`] is decided purely ([`decide`]), stored together with a row of the log ([`Store`]), and seen as the next
//! [`Model`] ([`Service`]). What a gateway must run follows from model, [`Usage`] and time ([`Desired`]). Here is never a
//! packet, and never a private key of a device: no type could hold one.

mod address;
mod decide;
mod desired;
#[cfg(test)]
mod fixture;
mod invite;
mod key;
mod model;
mod name;
mod network;
mod peer;
mod policy;
mod service;
mod store;
mod time;
mod usage;

pub use decide::{
    App, Command, Decision, Keys, Limits, NetworkChange, NewInvite, NewPeer, Outcome, Redeem, Refusal, Token, decide,
};
pub use desired::{Desired, Enrolling, Running};
pub use invite::{
    Invite, InviteId, InviteState, KEEP_CLOSED, MAX_CLOSED_INVITES, MAX_OPEN, MAX_OPEN_INVITES, MAX_USES, Redemption,
};
pub use key::HttpsKey;
pub use model::{Change, MAX_PEERS, Model};
pub use name::{Host, HostError, MAX_NAME, Name, NameError};
pub use network::{MAX_DNS, MAX_HOSTS, Network, NetworkFault, Trust, Web};
pub use peer::{Kind, MAX_GROUPS, OverQuota, Peer, PeerId, Period, Quota, Rate, SLOWED};
pub use policy::{
    MAX_RULES, MAX_TARGETS, MAX_TEXT, Place, Policy, PolicyDiff, PolicyError, PolicyFault, Ports, Protocol, Reach,
    Rule, Target, Traffic, Who,
};
pub use service::{Service, ServiceError};
pub use store::{Actor, AuditHash, AuditRow, Backup, Chain, Entry, MAX_ACTOR, MAX_AUDIT_PAGE, Store, StoreError};
#[cfg(feature = "postgres")]
pub use store::{LookUp, MAX_ADDRESSES};
pub use time::UnixTime;
pub use usage::{Counters, PeerUsage, Usage, UsageDelta};

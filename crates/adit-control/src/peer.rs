//! A device that is admitted: its keys, addresses, groups and limits.
//!
//! Not here: what it has used (`usage`), who decides about it (`decide`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use adit_wireguard::PublicKey;
use serde::{Deserialize, Serialize};

use crate::invite::InviteId;
use crate::key::{self, HttpsKey};
use crate::name::Name;
use crate::time::UnixTime;

/// Groups that one device or invite is in.
pub const MAX_GROUPS: usize = 32;

/// Names a device for ever: it is given once and never again, whatever the device is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A device as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// By which it is known for ever.
    pub id: PeerId,
    /// What people call it. Unique, whatever the case.
    pub name: Name,
    /// What it speaks.
    pub kind: Kind,
    /// Its WireGuard public key; of one that speaks OpenVPN, SHA-256 of its certificate, which names it as well.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// Its key for the HTTPS carrier. Plain WireGuard apps have none.
    pub https_key: Option<HttpsKey>,
    /// Its IPv4 address in the tunnel.
    pub v4: Ipv4Addr,
    /// Its IPv6 address in the tunnel.
    pub v6: Ipv6Addr,
    /// Groups that the policy speaks of.
    pub groups: BTreeSet<Name>,
    /// Not switched off by a person.
    pub enabled: bool,
    /// From when on it is cut off.
    pub expires: Option<UnixTime>,
    /// How much it may use.
    pub quota: Option<Quota>,
    /// How fast it may be.
    pub rate: Rate,
    /// When it was admitted.
    pub created: UnixTime,
    /// The invite that it came by.
    pub invite: Option<InviteId>,
}

/// What a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// adit: both carriers, enrolment by link.
    Adit,
    /// A plain WireGuard app, set up by file or QR code.
    #[serde(rename = "wireguard")]
    WireGuard,
    /// A stock OpenVPN client, set up by file.
    #[serde(rename = "openvpn")]
    OpenVpn,
}

/// How much a device may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes inside the tunnel, both directions together.
    pub bytes: u64,
    /// In which time.
    pub per: Period,
    /// What happens beyond.
    pub action: OverQuota,
}

/// The time that a quota is for, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
    /// For ever.
    Total,
}

/// What happens to a device that has used its quota up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverQuota {
    /// It goes on, at [`SLOWED`] at most.
    Slow,
    /// It is cut off until the next period.
    Block,
    /// It goes on, and people are told.
    Notify,
}

/// How fast a device may be, in bits per second. `None`: as fast as it can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// To the device.
    pub down: Option<u64>,
    /// From the device.
    pub up: Option<u64>,
}

/// What is left for a device that is over its quota and not blocked.
pub const SLOWED: Rate = Rate { down: Some(1_000_000), up: Some(1_000_000) };

impl Rate {
    /// The slower of both, in each direction.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        let slower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self { down: slower(self.down, other.down), up: slower(self.up, other.up) }
    }
}

impl Peer {
    /// Whether its time is over.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_two_rates_counts_in_each_direction() {
        let fast_up = Rate { down: Some(10), up: None };
        assert_eq!(fast_up.at_most(SLOWED), Rate { down: Some(10), up: Some(1_000_000) });
        assert_eq!(Rate::default().at_most(Rate::default()), Rate::default());
    }
}

//! An invite: who may still come in by it. Of its secret only the public halves are known here.
//!
//! Not here: the secret and the link (they are the door's), redeeming (`decide`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use adit_wireguard::PublicKey;
use serde::{Deserialize, Serialize};

use crate::key::{self, HttpsKey};
use crate::name::Name;
use crate::peer::PeerId;
use crate::time::UnixTime;

/// Devices that one invite can admit.
pub const MAX_USES: u32 = 1_000;
/// How long an invite can be open.
pub const MAX_OPEN: Duration = Duration::from_secs(366 * 86_400);
/// Invites that are open at the same time.
pub const MAX_OPEN_INVITES: usize = 1_000;
/// How long a closed invite can still say why it is closed.
pub const KEEP_CLOSED: Duration = Duration::from_secs(30 * 86_400);
/// Closed invites that are kept for that.
pub const MAX_CLOSED_INVITES: usize = 1_000;

/// Names an invite for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InviteId(pub u64);

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An invite as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// By which it is known for ever.
    pub id: InviteId,
    /// What the device will be called. `None`: as it wishes.
    pub name: Option<Name>,
    /// The WireGuard public key that its secret makes.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// The key for the HTTPS carrier that its secret makes.
    pub https_key: HttpsKey,
    /// From where in the tunnel it is redeemed.
    pub address: Ipv6Addr,
    /// Groups of the devices that come by it.
    pub groups: BTreeSet<Name>,
    /// Devices that it admits.
    pub uses: u32,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it admits nobody.
    pub expires: UnixTime,
    /// When a person took it back.
    pub revoked: Option<UnixTime>,
    /// Who came by it, at most [`uses`](Self::uses).
    pub redeemed: Vec<Redemption>,
}

/// A device that came by an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The device.
    pub peer: PeerId,
    /// The key it came with.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// When.
    pub at: UnixTime,
}

/// Whether an invite still admits, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteState {
    /// It does.
    Open,
    /// As many devices came as it was for.
    Used,
    /// Its time is over.
    Expired,
    /// A person took it back.
    Revoked,
}

impl Invite {
    /// Devices that it can still admit, time permitting.
    pub fn uses_left(&self) -> u32 {
        self.uses.saturating_sub(u32::try_from(self.redeemed.len()).unwrap_or(u32::MAX))
    }

    /// Whether it still admits.
    pub fn state(&self, now: UnixTime) -> InviteState {
        match self {
            _ if self.revoked.is_some() => InviteState::Revoked,
            _ if self.uses_left() == 0 => InviteState::Used,
            _ if self.expires <= now => InviteState::Expired,
            _ => InviteState::Open,
        }
    }

    /// Since when it admits nobody. `None`: it does.
    pub fn closed_since(&self, now: UnixTime) -> Option<UnixTime> {
        match self.state(now) {
            InviteState::Open => None,
            InviteState::Revoked => self.revoked,
            InviteState::Expired => Some(self.expires),
            InviteState::Used => self.redeemed.iter().map(|redemption| redemption.at).max(),
        }
    }

    /// Whether it is closed so long that nothing need be known of it.
    pub fn is_forgotten(&self, now: UnixTime) -> bool {
        self.closed_since(now).is_some_and(|since| since.after(KEEP_CLOSED) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, invite};

    #[test]
    fn an_invite_says_why_it_is_closed_and_since_when() {
        let open = invite(1);
        assert_eq!((open.state(NOW), open.closed_since(NOW)), (InviteState::Open, None));
        assert_eq!(open.state(open.expires), InviteState::Expired);
        assert_eq!(open.closed_since(open.expires), Some(open.expires));
        let used = Redemption { peer: PeerId(9), key: PublicKey::new([9; 32]), at: NOW };
        let used = Invite { redeemed: vec![used], ..open };
        assert_eq!((used.state(used.expires), used.uses_left()), (InviteState::Used, 0));
        assert_eq!(used.closed_since(used.expires), Some(NOW));
        let revoked = Invite { revoked: Some(NOW), ..used };
        assert_eq!(revoked.state(NOW), InviteState::Revoked);
        assert!(!revoked.is_forgotten(NOW));
        assert!(revoked.is_forgotten(NOW.after(KEEP_CLOSED)));
    }
}

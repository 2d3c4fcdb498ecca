//! Everything that is known of one network, as plain values; and how a change makes the next of it.
//!
//! Not here: which changes are right (`decide`), where they are kept (`store`), bytes used (`usage`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::invite::{Invite, InviteId};
use crate::name::Name;
use crate::network::Network;
use crate::peer::{Peer, PeerId};
use crate::policy::Policy;

/// Devices in one network.
pub const MAX_PEERS: usize = 65_533;

/// A network and its people at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Counts the changes: a change is made to one revision, and makes the next.
    pub revision: u64,
    /// The number of the next device or invite. Numbers are never given twice.
    pub next_id: u64,
    /// The network. `None` before it is made.
    pub network: Option<Network>,
    /// The devices.
    pub peers: BTreeMap<PeerId, Peer>,
    /// The invites that are open, and those closed of late.
    pub invites: BTreeMap<InviteId, Invite>,
    /// Who may reach what.
    pub policy: Policy,
}

/// A model in which nothing has happened.
impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 0,
            next_id: 1,
            network: None,
            peers: BTreeMap::new(),
            invites: BTreeMap::new(),
            policy: Policy::default(),
        }
    }
}

/// A step from one model to the next. A decision has a few, which are made together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The network is made, or becomes this.
    SetNetwork(Network),
    /// The policy becomes this.
    SetPolicy(Policy),
    /// A device is admitted, or becomes this.
    PutPeer(Peer),
    /// A device is gone, with what it has used.
    RemovePeer(PeerId),
    /// An invite is made, or becomes this.
    PutInvite(Invite),
    /// An invite is forgotten.
    RemoveInvite(InviteId),
}

impl Change {
    /// The number that it gives away, if it does.
    pub(crate) const fn id(&self) -> u64 {
        match self {
            Self::PutPeer(peer) => peer.id.0,
            Self::PutInvite(invite) => invite.id.0,
            Self::SetNetwork(_) | Self::SetPolicy(_) | Self::RemovePeer(_) | Self::RemoveInvite(_) => 0,
        }
    }
}

impl Model {
    /// Makes a change. The revision is the store's to count.
    pub fn apply(&mut self, change: &Change) {
        self.next_id = self.next_id.max(change.id().saturating_add(1));
        match change {
            Change::SetNetwork(network) => self.network = Some(network.clone()),
            Change::SetPolicy(policy) => self.policy = policy.clone(),
            Change::PutPeer(peer) => drop(self.peers.insert(peer.id, peer.clone())),
            Change::RemovePeer(id) => drop(self.peers.remove(id)),
            Change::PutInvite(invite) => drop(self.invites.insert(invite.id, invite.clone())),
            Change::RemoveInvite(id) => drop(self.invites.remove(id)),
        }
    }

    /// What a device is called that wishes for this name and joins now: the name, or with the first number that makes it
    /// unlike all others.
    #[must_use]
    pub fn free_name(&self, wish: &Name) -> Name {
        wish.unlike(&self.peers.values().map(|peer| peer.name.folded()).collect())
    }

    /// The device of that name, whatever the case, or of that number.
    pub fn find_peer(&self, text: &str) -> Option<&Peer> {
        let folded = text.to_lowercase();
        let named = self.peers.values().find(|peer| peer.name.folded() == folded);
        named.or_else(|| self.peers.get(&PeerId(text.parse().ok()?)))
    }

    /// The youngest invite for a device of that name, whatever the case, or the one of that number.
    pub fn find_invite(&self, text: &str) -> Option<&Invite> {
        let folded = text.to_lowercase();
        let is_named = |invite: &&Invite| invite.name.as_ref().is_some_and(|name| name.folded() == folded);
        let named = self.invites.values().rev().find(is_named);
        named.or_else(|| self.invites.get(&InviteId(text.parse().ok()?)))
    }

    /// The invite that has this address in the tunnel.
    pub fn invite_at(&self, address: Ipv6Addr) -> Option<&Invite> {
        self.invites.values().find(|invite| invite.address == address)
    }

    /// What contradicts itself, in sentences: nothing, if every change was decided here. Asked of what comes from files.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(network) = &self.network else {
            if !self.peers.is_empty() || !self.invites.is_empty() {
                found.push("there are devices or invites, but no network".to_owned());
            }
            return found;
        };
        found.extend(network.check().err().map(|fault| fault.to_string()));
        let mut seen = Seen { keys: BTreeSet::from([*network.key.as_bytes()]), ..Seen::default() };
        for (id, peer) in &self.peers {
            let number = network.number_v4(peer.v4);
            let has_place = number.is_some_and(|n| (2..=network.last_host()).contains(&n));
            let is_whole = *id == peer.id
                && has_place
                && number == network.number_v6(peer.v6)
                && id.0 < self.next_id
                && seen.names.insert(peer.name.folded())
                && seen.add(*peer.key.as_bytes(), peer.https_key.map(|key| *key.as_bytes()))
                && seen.v4.insert(peer.v4);
            if !is_whole {
                found.push(format!("device {} (number {id}) clashes with another, or has no place", peer.name));
            }
        }
        for (id, invite) in &self.invites {
            let is_whole = *id == invite.id
                && network.v6.contains(&invite.address)
                && network.number_v6(invite.address).is_none()
                && id.0 < self.next_id
                && invite.redeemed.len() <= invite.uses as usize
                && seen.add(*invite.key.as_bytes(), Some(*invite.https_key.as_bytes()))
                && seen.v6.insert(invite.address);
            if !is_whole {
                found.push(format!("invite number {id} clashes with another, or has no place"));
            }
        }
        let strangers = self.policy.strangers(self).into_iter();
        found.extend(strangers.map(|id| format!("the policy speaks of device number {id}, which is gone")));
        found
    }
}

/// What must be unique.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    keys: BTreeSet<[u8; 32]>,
    https_keys: BTreeSet<[u8; 32]>,
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
}

impl Seen {
    fn add(&mut self, key: [u8; 32], https_key: Option<[u8; 32]>) -> bool {
        self.keys.insert(key) && https_key.is_none_or(|key| self.https_keys.insert(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{home, invite, peer};

    #[test]
    fn a_device_is_found_by_name_and_by_number() {
        let model = home();
        assert_eq!(model.find_peer("LAPTOP").unwrap().id, PeerId(2));
        assert_eq!(model.find_peer("3").unwrap().name.as_str(), "phone");
        assert_eq!(model.find_peer("desk"), None);
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut model = home();
        model.apply(&Change::PutPeer(peer(7, "desk")));
        model.apply(&Change::RemovePeer(PeerId(7)));
        assert_eq!(model.next_id, 8);
    }

    #[test]
    fn contradictions_are_found() {
        assert_eq!(home().contradictions(), Vec::<String>::new());
        let with = |change: Change| {
            let mut model = home();
            model.apply(&change);
            model.contradictions().len()
        };
        assert_eq!(with(Change::PutPeer(peer(9, "desk"))), 0);
        assert_eq!(with(Change::PutPeer(peer(9, "Laptop"))), 1);
        assert_eq!(with(Change::PutPeer(Peer { key: home().peers[&PeerId(1)].key, ..peer(9, "desk") })), 1);
        assert_eq!(with(Change::PutPeer(Peer { v4: home().peers[&PeerId(1)].v4, ..peer(9, "desk") })), 1);
        assert_eq!(with(Change::PutPeer(Peer { v4: "10.77.0.1".parse().unwrap(), ..peer(9, "desk") })), 1);
        assert_eq!(with(Change::PutInvite(invite(9))), 0);
        assert_eq!(with(Change::PutInvite(Invite { address: peer(9, "x").v6, ..invite(9) })), 1);
        assert_eq!(with(Change::PutInvite(Invite { uses: 0, redeemed: vec![], ..invite(9) })), 0);
    }
}

//! All peers, found by place or by public key.

use std::collections::BTreeMap;

use crate::PublicKey;
use crate::index::Slot;
use crate::peer::Peer;

/// The peers of a device.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Box<Peer>>>,
    free: Vec<Slot>,
    by_key: BTreeMap<PublicKey, Slot>,
    made: u64,
}

impl Peers {
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn at(&self, slot: Slot) -> Option<&Peer> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    pub(crate) fn slot(&self, public: &PublicKey) -> Option<Slot> {
        self.by_key.get(public).copied()
    }

    pub(crate) fn by_key_mut(&mut self, public: &PublicKey) -> Option<&mut Peer> {
        self.slot(public).and_then(|slot| self.at_mut(slot))
    }

    /// A new peer, which must not be there yet.
    pub(crate) fn make(&mut self, public: PublicKey) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot((self.slots.len() - 1) as u32)
        });
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = Some(Box::new(Peer::new(slot, self.made, public)));
        }
        self.made += 1;
        self.by_key.insert(public, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Peer>> {
        let peer = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.by_key.remove(&peer.public());
        self.free.push(slot);
        Some(peer)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> + '_ {
        self.slots.iter().filter_map(Option::as_deref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> + '_ {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// The places of all peers.
    pub(crate) fn all(&self) -> Vec<Slot> {
        self.iter().map(|peer| peer.slot).collect()
    }
}

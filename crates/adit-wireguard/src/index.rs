//! From the index in a message to the peer that it belongs to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use crate::message::Index;

/// A peer's place in the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

/// All indices in use: those of pending handshakes and of live sessions, unique together (reference W-06).
#[derive(Debug, Default)]
pub(crate) struct IndexTable {
    map: HashMap<u32, Slot, BuildHasherDefault<Spread>>,
}

impl IndexTable {
    /// An index that nobody can guess and nobody has, now this peer's.
    pub(crate) fn reserve(&mut self, rng: &mut ChaCha20Rng, slot: Slot) -> Index {
        loop {
            let index = rng.next_u32();
            if let std::collections::hash_map::Entry::Vacant(entry) = self.map.entry(index) {
                entry.insert(slot);
                return Index(index);
            }
        }
    }

    pub(crate) fn release(&mut self, index: Index) {
        self.map.remove(&index.0);
    }

    #[inline]
    pub(crate) fn peer(&self, index: Index) -> Option<Slot> {
        self.map.get(&index.0).copied()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

/// The indices in the table are random and our own choice, so a stranger cannot make them collide: spreading their bits
/// is enough.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

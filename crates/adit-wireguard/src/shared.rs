//! What all peers of a device share: randomness, indices, the agenda, what waits to go out.

use std::collections::VecDeque;

use adit_protocol::{Drops, Path};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use zeroize::Zeroize as _;

use adit_protocol::Secret;

use crate::Event;
use crate::constants::{DEFAULT_MTU, MAX_OUTPUTS, MAX_OUTPUTS_FOR_COOKIES};
use crate::cookie::MacKeys;
use crate::hash::kdf;
use crate::index::{IndexTable, Slot};
use crate::keyring::Released;
use crate::noise::Identity;
use crate::session::SealJob;
use crate::timers::Agenda;

/// The part of a device that a peer may touch.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) rng: ChaCha20Rng,
    pub(crate) index: IndexTable,
    pub(crate) agenda: Agenda,
    pub(crate) drops: Drops,
    /// Completed since the device was made, with peers that are gone.
    pub(crate) handshakes: u64,
    pub(crate) own: Option<Own>,
    pub(crate) up: bool,
    pub(crate) mtu: usize,
    /// Of all staged packets.
    pub(crate) staged_bytes: usize,
    /// Peers whose staged packets may go now.
    pub(crate) ready: VecDeque<Slot>,
    outputs: VecDeque<Queued>,
}

/// Our identity, and what receivers of handshakes derive from it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) identity: Identity,
    pub(crate) mac_keys: MacKeys,
}

/// Something for `poll_output`.
#[derive(Debug)]
pub(crate) enum Queued {
    /// A handshake message of this peer, or a cookie reply, which is nobody's.
    Transmit { owner: Option<Slot>, to: Path, datagram: Vec<u8>, tos: u8 },
    /// A keepalive.
    Keepalive { owner: Slot, job: SealJob, to: Path },
    /// News.
    Event(Event),
}

impl Shared {
    pub(crate) fn new(mut seed: [u8; 32]) -> Self {
        let rng = ChaCha20Rng::from_seed(seed);
        seed.zeroize();
        Self {
            rng,
            index: IndexTable::default(),
            agenda: Agenda::default(),
            drops: Drops::default(),
            handshakes: 0,
            own: None,
            up: true,
            mtu: DEFAULT_MTU,
            staged_bytes: 0,
            ready: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Puts something out; what nobody has fetched for too long is lost, as on a wire.
    pub(crate) fn push(&mut self, output: Queued) {
        let for_stranger = matches!(output, Queued::Transmit { owner: None, .. });
        let bound = if for_stranger { MAX_OUTPUTS_FOR_COOKIES } else { MAX_OUTPUTS };
        if self.outputs.len() < bound {
            self.outputs.push_back(output);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.outputs.pop_front()
    }

    /// Takes back what was put out for a peer that is gone (reference W-123).
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.outputs.retain(|output| match output {
            Queued::Transmit { owner, .. } => *owner != Some(slot),
            Queued::Keepalive { owner, .. } => *owner != slot,
            Queued::Event(_) => true,
        });
    }

    pub(crate) fn release(&mut self, gone: Released) {
        for index in gone {
            self.index.release(index);
        }
    }

    /// Goes on with a generator that follows from what was and from `fresh`.
    pub(crate) fn reseed(&mut self, fresh: &[u8; 32]) {
        let old = self.ephemeral();
        let [seed] = kdf(&old, fresh);
        self.rng = ChaCha20Rng::from_seed(*seed.expose());
    }

    /// A fresh ephemeral private key (reference W-17).
    ///
    /// The generator goes on with a key of its own making: whoever reads our memory later cannot draw this one again, so
    /// what was sent under it stays secret.
    pub(crate) fn ephemeral(&mut self) -> Secret<32> {
        let (mut secret, mut seed) = (Secret::new([0; 32]), Secret::new([0; 32]));
        self.rng.fill_bytes(secret.expose_mut());
        self.rng.fill_bytes(seed.expose_mut());
        self.rng = ChaCha20Rng::from_seed(*seed.expose());
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_copies_part_when_one_is_reseeded_and_both_seeds_matter() {
        // Not constants: rustc 1.95 uses the memory of one for the next that is equal, although it was wiped in between.
        let seed = |n: u8| std::hint::black_box([n; 32]);
        let drawn = |first: u8, fresh: Option<u8>| {
            let mut shared = Shared::new(seed(first));
            if let Some(fresh) = fresh {
                shared.reseed(&seed(fresh));
            }
            *shared.ephemeral().expose()
        };
        let all = [drawn(1, None), drawn(1, Some(0)), drawn(1, Some(1)), drawn(2, Some(1))];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(drawn(1, Some(1)), all[2], "and nothing else does");
    }

    #[test]
    fn an_ephemeral_key_cannot_be_drawn_again_from_what_is_left_in_memory() {
        let mut shared = Shared::new([7; 32]);
        for round in 0..3 {
            let drawn = shared.ephemeral();
            // As an intruder would: all that the generator gave since it was keyed, and what it gives next.
            let mut rewound = shared.rng.clone();
            rewound.set_word_pos(0);
            let mut stream = [0; 4096];
            rewound.fill_bytes(&mut stream);
            assert!(!stream.windows(32).any(|window| window == drawn.expose()), "round {round}");
            assert_ne!(shared.rng.get_seed(), [7; 32]);
        }
    }
}

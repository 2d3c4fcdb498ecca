//! The data keys of one key exchange in use: numbers given and seen, and, where both ends can, the change from epoch to
//! epoch.
//!
//! Not here: the formats (`data`), which exchange's keys are sent with (`session`).

use std::sync::Arc;
use std::time::Instant;

use adit_protocol::{IpPacket, ReplayWindow};
use arrayvec::ArrayVec;

use crate::Role;
use crate::constants::{
    EPOCHS_AHEAD, LAST_COMFORTABLE_EPOCH, LAST_COMFORTABLE_ID, LAST_ID, MAX_BLOCKS, MAX_FORGED, WORN_BLOCKS,
    WORN_FORGED,
};
use crate::data::{Agreed, Chain, Content, Cut, DataKeys, Fragments, SealJob, epoch_of};
use crate::key_file::StaticKey;

/// Data keys in use.
#[derive(Debug)]
pub(crate) struct Data {
    /// Those that are sent with; without epochs, those that open too.
    keys: Arc<DataKeys>,
    pub(crate) since: Instant,
    /// The peer has sent under them.
    pub(crate) confirmed: bool,
    /// The number that will be given next: from 1 in every epoch.
    next: u64,
    /// Blocks of the cipher that were sealed under the sending key, and packets: what limits GCM.
    blocks: u64,
    seen: ReplayWindow<32>,
    epochs: Option<Box<Epochs>>,
}

/// Both directions' keys from epoch to epoch.
#[derive(Debug)]
struct Epochs {
    key_id: u8,
    agreed: Agreed,
    sending: Chain,
    /// At the epoch after the last of `ahead`.
    receiving: Chain,
    current: Arc<DataKeys>,
    /// Late packets are opened with it, under a window of its own.
    previous: Option<(Arc<DataKeys>, ReplayWindow<32>)>,
    ahead: ArrayVec<Arc<DataKeys>, EPOCHS_AHEAD>,
}

/// The bits of a number after its epoch.
const COUNTER_BITS: u32 = 48;

impl Data {
    /// The client sends with key 0, the server with key 1.
    pub(crate) fn new(role: Role, key_id: u8, keys: &StaticKey, agreed: &Agreed, since: Instant) -> Self {
        let epochs = agreed.epochs.then(|| Box::new(Epochs::new(role, key_id, keys, agreed)));
        let keys = match &epochs {
            Some(epochs) => DataKeys::of_epoch(key_id, &epochs.sending, agreed),
            None => DataKeys::new(role, key_id, keys, agreed),
        };
        Self { keys, since, confirmed: false, next: 1, blocks: 0, seen: ReplayWindow::new(), epochs }
    }

    /// A packet in pieces, if it is too long for one datagram; `None` if it would take too many.
    pub(crate) fn cut(&self, packet: &IpPacket<'_>, fragments: &mut Fragments) -> Option<Cut> {
        self.keys.cut(packet, fragments)
    }

    /// Whether a random block must be given to [`seal`](Self::seal).
    pub(crate) fn needs_iv(&self) -> bool {
        self.keys.needs_iv()
    }

    /// Work for the next number; `None` when numbers are used up.
    pub(crate) fn seal(&mut self, content: Content, len: usize, iv: [u8; 16]) -> Option<SealJob> {
        if self.blocks > WORN_BLOCKS && self.epochs.is_some() {
            self.go_on();
        }
        let blocks = 1 + content.len(len).div_ceil(16) as u64;
        let number = match &self.epochs {
            _ if self.blocks + blocks > MAX_BLOCKS => return None,
            None if self.next > LAST_ID => return None,
            None => self.next,
            Some(_) if self.next >> COUNTER_BITS > 0 => return None,
            Some(epochs) => u64::from(epochs.sending.epoch()) << COUNTER_BITS | self.next,
        };
        self.next += 1;
        self.blocks += blocks;
        Some(SealJob { keys: Arc::clone(&self.keys), number, iv, content })
    }

    /// The next epoch of what is sent.
    fn go_on(&mut self) {
        // After the last there is none: its numbers must not begin anew.
        if let Some(epochs) = &mut self.epochs
            && epochs.sending.epoch() < u16::MAX
        {
            epochs.sending.go_on();
            self.keys = DataKeys::of_epoch(epochs.key_id, &epochs.sending, &epochs.agreed);
            (self.next, self.blocks) = (1, 0);
        }
    }

    /// Whether a new key exchange is wanted, for what was sent or for what was forged.
    pub(crate) fn is_worn(&self) -> bool {
        let receiving = self.epochs.as_ref().map_or(&self.keys, |epochs| &epochs.current);
        if receiving.forged() > WORN_FORGED {
            return true;
        }
        match &self.epochs {
            Some(epochs) => epochs.sending.epoch() >= LAST_COMFORTABLE_EPOCH,
            None => self.next > LAST_COMFORTABLE_ID || self.blocks > WORN_BLOCKS,
        }
    }

    /// The keys that open this datagram, whose header has `header` bytes.
    pub(crate) fn opening(&self, header: usize, datagram: &[u8]) -> Option<&Arc<DataKeys>> {
        let keys = match &self.epochs {
            None => &self.keys,
            Some(epochs) => {
                let epoch = epoch_of(header, datagram)?;
                epochs.known().find(|keys| keys.epoch() == Some(epoch))?
            }
        };
        (keys.forged() < MAX_FORGED).then_some(keys)
    }

    /// Whether these keys are among ours.
    pub(crate) fn has(&self, keys: &Arc<DataKeys>) -> bool {
        match &self.epochs {
            None => Arc::ptr_eq(&self.keys, keys),
            Some(epochs) => epochs.known().any(|known| Arc::ptr_eq(known, keys)),
        }
    }

    /// Whether the number of a packet, authentic under `keys`, is new.
    pub(crate) fn accept(&mut self, keys: &Arc<DataKeys>, number: u64) -> bool {
        let Some(epochs) = &mut self.epochs else {
            let new = number != 0 && self.seen.accept(number);
            self.confirmed |= new;
            return new;
        };
        let counter = number & ((1 << COUNTER_BITS) - 1);
        if counter == 0 {
            return false;
        }
        if let Some((previous, seen)) = &mut epochs.previous
            && Arc::ptr_eq(previous, keys)
        {
            return seen.accept(counter);
        }
        while !Arc::ptr_eq(&epochs.current, keys) {
            // The peer has gone on, so do we.
            let Some(next) = epochs.next() else { return false };
            let seen = std::mem::take(&mut self.seen);
            epochs.previous = Some((std::mem::replace(&mut epochs.current, next), seen));
        }
        let new = self.seen.accept(counter);
        self.confirmed |= new;
        let heard = epochs.current.epoch();
        while self.epochs.as_ref().is_some_and(|epochs| Some(epochs.sending.epoch()) < heard) {
            self.go_on();
        }
        new
    }
}

impl Epochs {
    fn new(role: Role, key_id: u8, keys: &StaticKey, agreed: &Agreed) -> Self {
        let (sending, receiving) = match role {
            Role::Client => (0, 1),
            Role::Server => (1, 0),
        };
        let mut receiving = Chain::new(agreed.cipher, keys.cipher(receiving));
        let current = DataKeys::of_epoch(key_id, &receiving, agreed);
        receiving.go_on();
        let sending = Chain::new(agreed.cipher, keys.cipher(sending));
        let mut epochs =
            Self { key_id, agreed: *agreed, sending, receiving, current, previous: None, ahead: ArrayVec::new() };
        epochs.look_ahead();
        epochs
    }

    /// Keys that open something, the present ones first.
    fn known(&self) -> impl Iterator<Item = &Arc<DataKeys>> {
        let previous = self.previous.as_ref().map(|(keys, _)| keys);
        std::iter::once(&self.current).chain(previous).chain(&self.ahead)
    }

    fn next(&mut self) -> Option<Arc<DataKeys>> {
        let next = self.ahead.pop_at(0);
        self.look_ahead();
        next
    }

    fn look_ahead(&mut self) {
        while !self.ahead.is_full() && self.receiving.epoch() < u16::MAX {
            self.ahead.push(DataKeys::of_epoch(self.key_id, &self.receiving, &self.agreed));
            self.receiving.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;
    use crate::data::{Framing, Segments};
    use crate::testing::start;
    use crate::{Cipher, Digest};

    fn ends(epochs: bool) -> (Data, Data) {
        let keys = StaticKey::new(Secret::new(std::array::from_fn(|i| i as u8)));
        let agreed = Agreed {
            cipher: Cipher::Aes128Gcm,
            digest: Digest::Sha1,
            peer_id: Some(1),
            framing: Framing::None,
            epochs,
            fragment: None,
            segments: Segments::Free,
        };
        let end = |role| Data::new(role, 0, &keys, &agreed, start());
        (end(Role::Client), end(Role::Server))
    }

    /// The first bytes of a packet with this number, and whether the other end takes it.
    fn arrives(number: u64, at: &mut Data) -> bool {
        let datagram = [[0x48, 0, 0, 1].as_slice(), &number.to_be_bytes()].concat();
        let Some(keys) = at.opening(4, &datagram).cloned() else { return false };
        assert!(at.has(&keys));
        at.accept(&keys, number)
    }

    fn sent(from: &mut Data) -> u64 {
        from.seal(Content::Packet, 100, [0; 16]).unwrap().number
    }

    #[test]
    fn without_epochs_numbers_end_and_keys_wear_before() {
        let (mut client, _) = ends(false);
        assert_eq!((sent(&mut client), sent(&mut client)), (1, 2));
        client.blocks = WORN_BLOCKS;
        assert!(!client.is_worn());
        sent(&mut client);
        assert!(client.is_worn());
        client.next = LAST_ID;
        assert_eq!(sent(&mut client), LAST_ID);
        assert!(client.seal(Content::Packet, 1, [0; 16]).is_none());
    }

    #[test]
    fn past_the_limit_of_its_blocks_a_key_seals_no_more() {
        let (mut client, _) = ends(false);
        client.blocks = MAX_BLOCKS - 3;
        assert!(client.seal(Content::Packet, 33, [0; 16]).is_none());
        assert!(client.seal(Content::Packet, 32, [0; 16]).is_some());
        assert!(client.seal(Content::Packet, 0, [0; 16]).is_none());
    }

    #[test]
    fn a_key_under_which_too_much_was_forged_is_replaced_and_then_opens_no_more() {
        for epochs in [false, true] {
            let (mut client, mut server) = ends(epochs);
            let number = sent(&mut client);
            let datagram = [[0x48, 0, 0, 1].as_slice(), &number.to_be_bytes()].concat();
            let keys = Arc::clone(server.opening(4, &datagram).unwrap());
            keys.count_forged(WORN_FORGED);
            assert!(!server.is_worn());
            keys.count_forged(1);
            assert!(server.is_worn() && server.opening(4, &datagram).is_some());
            keys.count_forged(MAX_FORGED - WORN_FORGED - 1);
            assert!(server.opening(4, &datagram).is_none());
            assert!(server.seal(Content::Packet, 1, [0; 16]).is_some());
        }
    }

    /// A number given twice under one key would give the key away.
    #[test]
    fn in_the_last_epoch_numbers_go_on_and_end() {
        let (mut client, _) = ends(true);
        while client.epochs.as_ref().unwrap().sending.epoch() < u16::MAX {
            client.go_on();
        }
        let first = sent(&mut client);
        client.blocks = WORN_BLOCKS + 1;
        assert_eq!((first & 0xffff, sent(&mut client) & 0xffff), (1, 2));
        client.blocks = MAX_BLOCKS;
        assert!(client.seal(Content::Packet, 1, [0; 16]).is_none());
    }

    #[test]
    fn a_worn_key_is_followed_by_the_next_epoch_and_the_peer_follows() {
        let (mut client, mut server) = ends(true);
        let first = sent(&mut client);
        assert_eq!(first, 1 << 48 | 1);
        client.blocks = WORN_BLOCKS + 1;
        let (second, third) = (sent(&mut client), sent(&mut client));
        assert_eq!((second, third), (2 << 48 | 1, 2 << 48 | 2));
        assert!(arrives(third, &mut server) && arrives(second, &mut server));
        assert_eq!(sent(&mut server) >> 48, 2, "it sends in that epoch too");
        assert!(arrives(first, &mut server), "late, from the epoch before");
        assert!(!arrives(first, &mut server) && !arrives(third, &mut server), "twice");
    }

    #[test]
    fn only_the_epoch_before_and_the_next_few_are_opened() {
        let (_, mut server) = ends(true);
        assert!(!arrives(6 << 48 | 1, &mut server), "too far ahead");
        assert!(arrives(5 << 48 | 1, &mut server));
        assert!(!arrives(3 << 48 | 1, &mut server), "two before");
        assert!(arrives(4 << 48 | 1, &mut server));
        assert!(!arrives(5 << 48, &mut server), "the number 0");
        assert!(arrives(9 << 48 | 1, &mut server) && !arrives(14 << 48 | 1, &mut server));
    }

    #[test]
    fn long_before_the_last_epoch_keys_are_exchanged_anew() {
        let (mut client, _) = ends(true);
        while !client.is_worn() {
            client.blocks = WORN_BLOCKS + 1;
            sent(&mut client);
        }
        assert_eq!(sent(&mut client) >> 48, LAST_COMFORTABLE_EPOCH.into());
    }
}

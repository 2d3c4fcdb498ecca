//! The keys of one session, and the jobs that seal and open with them (§5.4.6).
//!
//! Not here: counters and the replay window (`keyring`), which stay with the device.

use std::fmt;
use std::sync::Arc;

use adit_protocol::aead::{self, Key, OpenItem, SealItem, TAG_LEN};
use adit_protocol::{IpPacket, Open, Opening, Path, Seal, Sealing};
use arrayvec::ArrayVec;

use crate::constants::{AEAD_BATCH, DATA_HEADER, PADDING};
use crate::index::Slot;
use crate::message::{self, Index};

/// The two keys of a session and its two indices. Shared with the jobs; wiped when the last of them is gone.
#[derive(Debug)]
pub(crate) struct SessionKeys {
    /// The peer puts this into what it sends to us.
    pub(crate) local: Index,
    /// We put this into what we send to the peer.
    pub(crate) remote: Index,
    pub(crate) sending: Key,
    pub(crate) receiving: Key,
}

/// Sealing one packet into a data message: §5.4.6 without the device.
pub struct SealJob {
    keys: Arc<SessionKeys>,
    counter: u64,
    mtu: usize,
}

/// Opening one data message: §5.4.6 without the device.
pub struct OpenJob {
    keys: Arc<SessionKeys>,
    counter: u64,
    slot: Slot,
    from: Path,
}

/// Proof that a data message was authentic.
pub struct Opened {
    pub(crate) keys: Arc<SessionKeys>,
    pub(crate) counter: u64,
    pub(crate) slot: Slot,
    pub(crate) from: Path,
}

impl SealJob {
    #[inline]
    pub(crate) const fn new(keys: Arc<SessionKeys>, counter: u64, mtu: usize) -> Self {
        Self { keys, counter, mtu }
    }
}

impl OpenJob {
    #[inline]
    pub(crate) const fn new(keys: Arc<SessionKeys>, counter: u64, slot: Slot, from: Path) -> Self {
        Self { keys, counter, slot, from }
    }
}

/// Length of the data message that a packet of `len` bytes becomes.
#[inline]
pub(crate) const fn wire_len(len: usize, mtu: usize) -> usize {
    DATA_HEADER + padded(len, mtu) + TAG_LEN
}

/// `len` and its padding: to a multiple of 16, but not beyond the MTU; a packet longer than the MTU is padded as its
/// last part would be (reference W-07).
#[inline]
const fn padded(len: usize, mtu: usize) -> usize {
    let last = if len <= mtu || mtu == 0 { len } else { len % mtu };
    let aligned = last.next_multiple_of(PADDING);
    let end = if aligned > mtu && mtu != 0 { mtu } else { aligned };
    len + (end - last)
}

impl Seal for SealJob {
    #[inline]
    fn wire_len(&self, packet_len: usize) -> usize {
        wire_len(packet_len, self.mtu)
    }

    #[inline]
    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]) {
        let Some((header, rest)) = datagram.split_first_chunk_mut::<DATA_HEADER>() else { return };
        *header = message::data_header(self.keys.remote, self.counter);
        let mut used = 0;
        if let Some(packet) = packet {
            packet.copy_to(rest);
            used = packet.len();
        }
        let end = rest.len().saturating_sub(TAG_LEN);
        if let Some(padding) = rest.get_mut(used..end) {
            padding.fill(0);
        }
    }

    fn seal_batch(batch: &mut [Sealing<'_, Self>]) {
        for chunk in batch.chunks_mut(AEAD_BATCH) {
            let mut items: ArrayVec<SealItem<'_>, AEAD_BATCH> = chunk
                .iter_mut()
                .map(|sealing| SealItem {
                    key: &sealing.job.keys.sending,
                    nonce: nonce(sealing.job.counter),
                    aad: &[],
                    buffer: sealing.datagram.get_mut(DATA_HEADER..).unwrap_or_default(),
                })
                .collect();
            aead::seal_batch(&mut items);
        }
    }
}

impl Open for OpenJob {
    type Opened = Opened;

    fn open_batch(batch: &mut [Opening<'_, Self>]) {
        for chunk in batch.chunks_mut(AEAD_BATCH) {
            let mut items: ArrayVec<OpenItem<'_>, AEAD_BATCH> = chunk
                .iter_mut()
                .filter_map(|opening| {
                    let job = opening.job.as_ref()?;
                    Some(OpenItem {
                        key: &job.keys.receiving,
                        nonce: nonce(job.counter),
                        aad: &[],
                        buffer: opening.datagram.get_mut(DATA_HEADER..).unwrap_or_default(),
                        authentic: false,
                    })
                })
                .collect();
            aead::open_batch(&mut items);
            let authentic: ArrayVec<bool, AEAD_BATCH> = items.iter().map(|item| item.authentic).collect();
            drop(items);
            let mut authentic = authentic.into_iter();
            for opening in chunk {
                let Some(job) = opening.job.take() else { continue };
                if authentic.next() == Some(true) {
                    let Self { keys, counter, slot, from } = job;
                    opening.outcome = Some(Opened { keys, counter, slot, from });
                }
            }
        }
    }
}

/// Four zero bytes, then the counter (§5.4.6).
#[inline]
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (_, last) = nonce.split_at_mut(4);
    last.copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl fmt::Debug for SealJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealJob").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenJob").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("counter", &self.counter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;

    #[test]
    fn padding_goes_to_sixteen_but_not_beyond_the_mtu() {
        for (len, mtu, expected) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1421, 1420, 1436),
            (2840, 1420, 2840),
            (17, 0, 32),
        ] {
            assert_eq!(padded(len, mtu), expected, "{len} bytes, MTU {mtu}");
        }
    }

    fn keys() -> Arc<SessionKeys> {
        let key = |n| Key::new(&Secret::new([n; 32]));
        Arc::new(SessionKeys { local: Index(1), remote: Index(2), sending: key(7), receiving: key(7) })
    }

    #[test]
    fn what_a_batch_seals_a_batch_opens_and_a_forgery_among_them_stays_alone() {
        let keys = keys();
        let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let packet = IpPacket::parse(&packet).unwrap();
        let mut datagrams = vec![vec![0xff; wire_len(20, 1420)]; 2 * AEAD_BATCH + 3];
        let mut batch: Vec<_> = datagrams
            .iter_mut()
            .enumerate()
            .map(|(counter, datagram)| {
                let job = SealJob::new(Arc::clone(&keys), counter as u64, 1420);
                assert_eq!(job.wire_len(20), datagram.len());
                job.lay_out(Some(&packet), datagram);
                Sealing { job, datagram }
            })
            .collect();
        SealJob::seal_batch(&mut batch);
        datagrams[5][20] ^= 1;
        let from = Path::to(([192, 0, 2, 1], 1).into());
        let mut batch: Vec<_> = datagrams
            .iter_mut()
            .enumerate()
            .map(|(counter, datagram)| {
                Opening::new(OpenJob::new(Arc::clone(&keys), counter as u64, Slot(0), from), datagram)
            })
            .collect();
        OpenJob::open_batch(&mut batch);
        for (counter, opening) in batch.iter().enumerate() {
            assert_eq!(opening.outcome.is_some(), counter != 5);
            if let Some(opened) = &opening.outcome {
                assert_eq!(opened.counter, counter as u64);
                assert_eq!(opening.datagram[16..36], *packet.pieces().0);
                assert_eq!(opening.datagram[36..48], [0; 12], "padding is zeros");
            }
        }
    }
}

//! Sealing and opening as jobs: in batches, in place, without the core.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use adit_protocol::aead::{self as bulk, OpenItem, SealItem};
use adit_protocol::{IpPacket, Open, Opening, Path, Seal, Sealing};
use arrayvec::ArrayVec;

use super::aead::{
    NUMBER, With, associated, open_gcm, open_gcm_tag_last, seal_gcm, seal_gcm_tag_last, tag_first, tag_last,
};
use super::{DataHeader, DataKeys, Piece, Way, cbc, epoch};
use crate::constants::{AEAD_BATCH, OCC, OCC_EXIT, PING};

/// What a packet holds.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// An inner packet, given when it is laid out.
    Packet,
    /// A piece of one, with its header.
    Piece(Vec<u8>),
    /// "I am alive."
    Ping,
    /// "I leave."
    Exit,
}

/// Sealing one packet.
pub struct SealJob {
    pub(crate) keys: Arc<DataKeys>,
    /// In formats without epochs of 32 bits.
    pub(crate) number: u64,
    /// Random, for ciphers that need it.
    pub(crate) iv: [u8; cbc::BLOCK],
    pub(crate) content: Content,
}

/// Opening one packet.
pub struct OpenJob {
    pub(crate) keys: Arc<DataKeys>,
    pub(crate) header: DataHeader,
    /// Which session it is for, in the words of whoever planned it.
    pub(crate) session: u32,
    pub(crate) from: Path,
}

/// Proof that a packet was authentic.
pub struct Opened {
    pub(crate) keys: Arc<DataKeys>,
    pub(crate) session: u32,
    pub(crate) from: Path,
    /// The number under which it was sealed; whether it was seen before is not known yet.
    pub(crate) number: u64,
    /// Where in the datagram the inner packet, or the piece, lies; `None` if it is compressed.
    pub(crate) plain: Option<Range<usize>>,
    /// Which piece it is, if it is one.
    pub(crate) piece: Option<Piece>,
}

impl Content {
    const EXIT: [u8; 17] = {
        let mut bytes = [OCC_EXIT; 17];
        let mut at = 0;
        while at < OCC.len() {
            bytes[at] = OCC[at];
            at += 1;
        }
        bytes
    };

    /// Bytes that it has by itself; `None` for a packet's.
    fn fixed(&self) -> Option<&[u8]> {
        match self {
            Self::Packet => None,
            Self::Piece(piece) => Some(piece),
            Self::Ping => Some(&PING),
            Self::Exit => Some(&Self::EXIT),
        }
    }

    /// Bytes of it, where a packet would have so many.
    pub(crate) fn len(&self, packet_len: usize) -> usize {
        self.fixed().map_or(packet_len, <[u8]>::len)
    }

    /// Whether it is laid out as it is, without header and framing.
    const fn is_piece(&self) -> bool {
        matches!(self, Self::Piece(_))
    }
}

impl Seal for SealJob {
    #[inline]
    fn wire_len(&self, packet_len: usize) -> usize {
        let len = self.content.len(packet_len);
        if self.content.is_piece() { self.keys.sealed_len(len) } else { self.keys.wire_len(len) }
    }

    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]) {
        let keys = &*self.keys;
        let added = if self.content.is_piece() { 0 } else { keys.added() };
        let len = self.content.len(packet.map_or(0, IpPacket::len)) + added;
        let Some((header, body)) = datagram.split_at_mut_checked(keys.header.len) else { return };
        header.copy_from_slice(keys.header.as_slice());
        let (number_at, plain_at) = match &keys.way {
            Way::Aead { sealer, .. } => (0, sealer.plain_at()),
            Way::Cbc { sealer, .. } => {
                let number_at = sealer.number_at();
                let end = number_at + cbc::NUMBER + len;
                let padding = body.len().saturating_sub(end);
                if let Some(room) = body.get_mut(end..) {
                    room.fill(padding as u8);
                }
                if let Some(iv) = body.get_mut(number_at - cbc::BLOCK..number_at) {
                    iv.copy_from_slice(&self.iv);
                }
                (number_at, number_at + cbc::NUMBER)
            }
            Way::Epoch(_) => (0, epoch::NUMBER),
        };
        if matches!(keys.way, Way::Epoch(_)) {
            if let Some(number) = body.first_chunk_mut() {
                *number = self.number.to_be_bytes();
            }
        } else if let Some(number) = body.get_mut(number_at..number_at + NUMBER) {
            number.copy_from_slice(&(self.number as u32).to_be_bytes());
        }
        if let Some(room) = body.get_mut(plain_at..plain_at + len) {
            let write = |to: &mut [u8]| match (self.content.fixed(), packet) {
                (Some(bytes), _) => to.copy_from_slice(bytes),
                (None, Some(packet)) => packet.copy_to(to),
                (None, None) => {}
            };
            if self.content.is_piece() { write(room) } else { keys.lay_out(room, write) }
        }
    }

    fn seal_batch(batch: &mut [Sealing<'_, Self>]) {
        for chunk in batch.chunks_mut(AEAD_BATCH) {
            let mut items: ArrayVec<SealItem<'_>, AEAD_BATCH> = ArrayVec::new();
            // Which of them have their tag first on the wire.
            let mut first: ArrayVec<bool, AEAD_BATCH> = ArrayVec::new();
            for sealing in chunk.iter_mut() {
                let (keys, number) = (&*sealing.job.keys, sealing.job.number);
                let header_len = keys.header.len;
                match &keys.way {
                    Way::Cbc { sealer, .. } => {
                        sealer.seal(sealing.datagram.get_mut(header_len..).unwrap_or_default());
                    }
                    Way::Aead { sealer, .. } => {
                        let nonce = sealer.nonce(number as u32);
                        let Some((before, text)) = sealing.datagram.split_at_mut_checked(header_len + NUMBER) else {
                            continue;
                        };
                        let aad = associated(header_len, before);
                        match &sealer.with {
                            With::Gcm(key) => seal_gcm(key, nonce, aad, text),
                            With::ChaCha(key) => {
                                items.push(SealItem { key, nonce, aad, buffer: text });
                                first.push(true);
                            }
                        }
                    }
                    Way::Epoch(with) => {
                        let nonce = with.nonce(number);
                        let before = header_len + epoch::NUMBER;
                        let Some((aad, text)) = sealing.datagram.split_at_mut_checked(before) else { continue };
                        match &with.with {
                            With::Gcm(key) => seal_gcm_tag_last(key, nonce, aad, text),
                            With::ChaCha(key) => {
                                items.push(SealItem { key, nonce, aad, buffer: text });
                                first.push(false);
                            }
                        }
                    }
                }
            }
            bulk::seal_batch(&mut items);
            for (item, _) in items.iter_mut().zip(first).filter(|(_, first)| *first) {
                tag_first(item.buffer);
            }
        }
    }
}

impl Open for OpenJob {
    type Opened = Opened;

    fn open_batch(batch: &mut [Opening<'_, Self>]) {
        for chunk in batch.chunks_mut(AEAD_BATCH) {
            open_chacha(chunk);
            for opening in chunk {
                // What ChaCha20-Poly1305 refused has lost its job.
                let Some(job) = opening.job.take() else { continue };
                let at = job.header.len;
                let found = match &job.keys.way {
                    Way::Cbc { opener, .. } => {
                        let text = opening.datagram.get_mut(at..).unwrap_or_default();
                        let start = at + opener.number_at() + cbc::NUMBER;
                        opener.open(text).map(|(number, len)| (number.into(), start..start + len))
                    }
                    Way::Epoch(key) => open_epoch(key, at, opening.datagram),
                    Way::Aead { opener, .. } => open_aead(opener, at, opening.datagram),
                };
                let Some((number, plain)) = found else {
                    job.keys.count_forged(1);
                    continue;
                };
                let text = opening.datagram.get_mut(plain.clone()).unwrap_or_default();
                let (piece, inner) = job.keys.take_off(text);
                let plain = inner.map(|inner| plain.start + inner.start..plain.start + inner.end);
                let Self { keys, session, from, .. } = job;
                opening.outcome = Some(Opened { keys, session, from, number, plain, piece });
            }
        }
    }
}

/// Number and place of the plain text; opened now by GCM, already by ChaCha20-Poly1305.
fn open_aead(opener: &super::aead::AeadKey, at: usize, datagram: &mut [u8]) -> Option<(u64, Range<usize>)> {
    let len = datagram.len();
    let (before, text) = datagram.split_at_mut_checked(at + NUMBER)?;
    let number = u32::from_be_bytes(*before.last_chunk::<NUMBER>()?);
    match &opener.with {
        With::Gcm(key) => open_gcm(key, opener.nonce(number), associated(at, before), text)
            .then(|| (number.into(), at + opener.plain_at()..len)),
        With::ChaCha(_) => Some((number.into(), at + opener.plain_at()..len - bulk::TAG_LEN)),
    }
}

/// The same for a packet of an epoch.
fn open_epoch(key: &epoch::EpochKey, at: usize, datagram: &mut [u8]) -> Option<(u64, Range<usize>)> {
    let len = datagram.len();
    let (before, text) = datagram.split_at_mut_checked(at + epoch::NUMBER)?;
    let number = u64::from_be_bytes(*before.last_chunk()?);
    let plain = at + epoch::NUMBER..len.checked_sub(bulk::TAG_LEN)?;
    match &key.with {
        With::Gcm(with) => open_gcm_tag_last(with, key.nonce(number), before, text).then_some((number, plain)),
        With::ChaCha(_) => Some((number, plain)),
    }
}

/// Opens all that is under ChaCha20-Poly1305 together; takes the job of what is not authentic.
fn open_chacha(chunk: &mut [Opening<'_, OpenJob>]) {
    let mut verdicts: ArrayVec<Option<bool>, AEAD_BATCH> = ArrayVec::new();
    {
        let mut items: ArrayVec<OpenItem<'_>, AEAD_BATCH> = ArrayVec::new();
        for opening in chunk.iter_mut() {
            let Some(job) = &opening.job else {
                verdicts.push(None);
                continue;
            };
            let at = job.header.len;
            let (with, numbered) = match &job.keys.way {
                Way::Aead { opener, .. } => (&opener.with, at + NUMBER),
                Way::Epoch(key) => (&key.with, at + epoch::NUMBER),
                Way::Cbc { .. } => {
                    verdicts.push(None);
                    continue;
                }
            };
            let With::ChaCha(key) = with else {
                verdicts.push(None);
                continue;
            };
            let Some((before, text)) = opening.datagram.split_at_mut_checked(numbered) else {
                verdicts.push(Some(false));
                continue;
            };
            let (nonce, aad) = match &job.keys.way {
                Way::Epoch(key) => {
                    let number = before.last_chunk().copied().unwrap_or_default();
                    (key.nonce(u64::from_be_bytes(number)), &*before)
                }
                Way::Aead { opener, .. } => {
                    tag_last(text);
                    let number = before.last_chunk().copied().unwrap_or_default();
                    (opener.nonce(u32::from_be_bytes(number)), associated(at, before))
                }
                Way::Cbc { .. } => continue,
            };
            items.push(OpenItem { key, nonce, aad, buffer: text, authentic: false });
            verdicts.push(Some(true));
        }
        bulk::open_batch(&mut items);
        let mut items = items.iter();
        for verdict in &mut verdicts {
            if *verdict == Some(true) {
                *verdict = items.next().map(|item| item.authentic);
            }
        }
    }
    for (opening, verdict) in chunk.iter_mut().zip(verdicts) {
        if verdict == Some(false)
            && let Some(job) = opening.job.take()
        {
            job.keys.count_forged(1);
        }
    }
}

/// Without the bytes of a piece: they are of somebody's packet.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet => f.write_str("Packet"),
            Self::Piece(bytes) => write!(f, "Piece({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Exit => f.write_str("Exit"),
        }
    }
}

impl fmt::Debug for SealJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealJob").field("number", &self.number).field("content", &self.content).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenJob").field("header", &self.header).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;
    use crate::data::{Agreed, Chain, Framing, Segments};
    use crate::packet::First;
    use crate::testing::hex;
    use crate::{Cipher, Digest, Role, StaticKey};

    fn path() -> Path {
        Path::to(([192, 0, 2, 1], 1194).into())
    }

    fn key() -> StaticKey {
        let text = b"abcdefgh01234567ABCDEFGHjkuchenl";
        StaticKey::new(Secret::new(std::array::from_fn(|i| text[i % 32] ^ i as u8)))
    }

    fn agreed(cipher: Cipher) -> Agreed {
        Agreed { cipher, digest: Digest::Sha256, peer_id: Some(0x17), framing: Framing::None, ..plain() }
    }

    /// Nothing but what must be.
    fn plain() -> Agreed {
        Agreed {
            cipher: Cipher::Aes256Gcm,
            digest: Digest::Sha1,
            peer_id: None,
            framing: Framing::None,
            epochs: false,
            fragment: None,
            segments: Segments::Free,
        }
    }

    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 77, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.resize(77, 7);
        packet
    }

    fn seal(keys: &Arc<DataKeys>, number: u64, content: Content) -> Vec<u8> {
        let bytes = packet();
        let packet = (content == Content::Packet).then(|| IpPacket::parse(&bytes).unwrap());
        let job = SealJob { keys: Arc::clone(keys), number, iv: [9; 16], content };
        let mut datagram = vec![0xff; job.wire_len(packet.as_ref().map_or(0, IpPacket::len))];
        job.lay_out(packet.as_ref(), &mut datagram);
        SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
        datagram
    }

    fn open(keys: &Arc<DataKeys>, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let mut datagram = datagram.to_vec();
        let header = DataHeader::parse(First::parse(*datagram.first()?)?, &datagram)?;
        let job = OpenJob { keys: Arc::clone(keys), header, session: 0, from: path() };
        let mut batch = [Opening::new(job, &mut datagram)];
        OpenJob::open_batch(&mut batch);
        let opened = batch[0].outcome.take()?;
        Some((opened.number, datagram[opened.plain?].to_vec()))
    }

    #[test]
    fn an_aead_packet_of_openvpns_own_test_is_opened() {
        let wire = hex(
            "07000017000000011fdd908f0e9dc25e79d832020d58e73f2262f977d6bb2118fa0ea82e6b1706d949aefcb5efcbbacd5c09a9ab45f4\
             d391d3f68794cb0b82c3d33389b61622b3281598e2ff6d5cc38b",
        );
        // Its opcode is none (the test is of the cipher alone), so the header is given.
        let keys = DataKeys::new(Role::Server, 0, &key(), &agreed(Cipher::Aes256Gcm));
        let mut datagram = wire;
        let header = DataHeader { key_id: 7, peer_id: Some(0x17), len: 4 };
        let job = OpenJob { keys, header, session: 0, from: path() };
        let mut batch = [Opening::new(job, &mut datagram)];
        OpenJob::open_batch(&mut batch);
        let opened = batch[0].outcome.take().unwrap();
        assert_eq!(opened.number, 1);
        assert_eq!(datagram[opened.plain.unwrap()], *b"The quick little fox jumps over the bureaucratic hurdles");
    }

    #[test]
    fn a_packet_of_the_fourth_epoch_of_openvpns_own_test_is_opened() {
        let mut datagram = hex(
            "0700001700040000000000016eacea349ca836aab4d49ce685399a9bab964526e9cd11ece8cb7d77bdbc5c6ac4f49f36ea02e9c1f5d97\
             644afa9118ba9f9a892623f1a130ffff5913d39d75b18573b5748589a7d",
        );
        let mut chain = Chain::new(Cipher::Aes256Gcm, key().cipher(0));
        (1..4).for_each(|_| chain.go_on());
        let keys = DataKeys::of_epoch(0, &chain, &agreed(Cipher::Aes256Gcm));
        let header = DataHeader { key_id: 7, peer_id: Some(0x17), len: 4 };
        let mut batch = [Opening::new(OpenJob { keys, header, session: 0, from: path() }, &mut datagram)];
        OpenJob::open_batch(&mut batch);
        let opened = batch[0].outcome.take().unwrap();
        assert_eq!(opened.number, 0x0004_0000_0000_0001);
        assert_eq!(datagram[opened.plain.unwrap()], *b"The quick little fox jumps over the bureaucratic hurdles");
    }

    #[test]
    fn packets_of_an_epoch_are_sealed_and_opened_and_no_bit_may_change() {
        for cipher in Cipher::ALL.into_iter().filter(|cipher| cipher.is_aead()) {
            let keys = DataKeys::of_epoch(2, &Chain::new(cipher, key().cipher(0)), &agreed(cipher));
            let wire = seal(&keys, 0x0001_0000_0000_0007, Content::Packet);
            assert_eq!((wire.len(), wire[0]), (4 + 8 + 77 + 16, 9 << 3 | 2));
            assert_eq!(open(&keys, &wire), Some((0x0001_0000_0000_0007, packet())), "{cipher}");
            for bit in 8..wire.len() * 8 {
                let mut forged = wire.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&keys, &forged), None, "{cipher}, bit {bit}");
            }
            (0..wire.len()).for_each(|len| assert_eq!(open(&keys, &wire[..len]), None, "{cipher}, {len} bytes"));
        }
    }

    #[test]
    fn a_cbc_packet_of_a_real_client_is_opened() {
        let mut bytes = [0; 256];
        bytes[..32].copy_from_slice(&hex("dd7b8aa4fa7e31d1290f4788f13e8e6ea31cfdc8e50602a34f60d55c8d6a1da6"));
        bytes[64..96].copy_from_slice(&hex("d09f890aa56c167ed12267d8f758e59540b71284c425235dcc40a2407d4347eb"));
        let keys = DataKeys::new(Role::Server, 0, &StaticKey::new(Secret::new(bytes)), &agreed(Cipher::Aes256Cbc));
        let wire = hex(
            "48000000c6a16658e30a2dec3cdd5753278d52cf11141009d9aa95a3a6c885223532f63afa61b28e775025fe5896e1dfe7218110cb89\
             14af8a77cd85fc8b1a5a7b68e04368a824bd500157d5152e17a4b89e97dd",
        );
        assert_eq!(open(&keys, &wire), Some((1, PING.to_vec())));
    }

    #[test]
    fn what_one_end_seals_the_other_opens_whatever_was_agreed() {
        for cipher in Cipher::ALL {
            for framing in [Framing::None, Framing::Lzo, Framing::Swap, Framing::StubV2] {
                for (peer_id, digest) in [(None, Digest::Sha1), (Some(5), Digest::Sha512)] {
                    let agreed = Agreed { cipher, digest, peer_id, framing, ..plain() };
                    let client = DataKeys::new(Role::Client, 3, &key(), &agreed);
                    let server = DataKeys::new(Role::Server, 3, &key(), &agreed);
                    let wire = seal(&client, 7, Content::Packet);
                    assert_eq!(wire.len(), client.wire_len(77), "{agreed:?}");
                    assert_eq!(open(&server, &wire), Some((7, packet())), "{agreed:?}");
                    assert_eq!(open(&client, &wire), None, "to themselves: {agreed:?}");
                    assert_eq!(open(&server, &seal(&client, 8, Content::Ping)), Some((8, PING.to_vec())), "{agreed:?}");
                    let exit = open(&client, &seal(&server, 1, Content::Exit)).unwrap();
                    assert_eq!(exit, (1, [OCC.as_slice(), &[OCC_EXIT]].concat()), "{agreed:?}");
                }
            }
        }
    }

    #[test]
    fn no_bit_of_a_packet_may_change_but_in_the_header_of_old_ciphers() {
        for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305, Cipher::Aes128Cbc] {
            let client = DataKeys::new(Role::Client, 0, &key(), &agreed(cipher));
            let server = DataKeys::new(Role::Server, 0, &key(), &agreed(cipher));
            let wire = seal(&client, 1, Content::Packet);
            let protected = if cipher.is_aead() { 8 } else { 32 };
            for bit in protected..wire.len() * 8 {
                let mut forged = wire.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&server, &forged), None, "{cipher}, bit {bit}");
            }
            assert_eq!(server.forged(), (wire.len() * 8 - protected) as u64, "all of them are counted");
            assert!(open(&server, &wire).is_some() && client.forged() == 0);
            for len in 0..wire.len() {
                assert_eq!(open(&server, &wire[..len]), None, "{cipher}, {len} bytes");
            }
        }
    }

    #[test]
    fn a_piece_of_a_packet_never_prints() {
        let shown = format!("{:?}", Content::Piece(vec![0xda; 3]));
        assert_eq!(shown, "Piece(3 bytes)");
    }

    #[test]
    fn in_a_batch_of_all_ciphers_only_what_was_forged_is_refused() {
        let pairs: Vec<_> = (0..200_usize)
            .map(|n| {
                let agreed = agreed(Cipher::ALL[n % 7]);
                let side = |role| DataKeys::new(role, 0, &key(), &agreed);
                (side(Role::Client), side(Role::Server))
            })
            .collect();
        let mut wires: Vec<_> =
            pairs.iter().zip(1..).map(|((client, _), n)| seal(client, n, Content::Packet)).collect();
        for wire in wires.iter_mut().step_by(3) {
            *wire.last_mut().unwrap() ^= 1;
        }
        let header = DataHeader { key_id: 0, peer_id: Some(0x17), len: 4 };
        let mut batch: Vec<_> = pairs
            .iter()
            .zip(&mut wires)
            .map(|((_, server), wire)| {
                Opening::new(OpenJob { keys: Arc::clone(server), header, session: 0, from: path() }, wire)
            })
            .collect();
        OpenJob::open_batch(&mut batch);
        for (n, opening) in batch.iter().enumerate() {
            let number = opening.outcome.as_ref().map(|opened| opened.number);
            assert_eq!(number, (n % 3 != 0).then_some(n as u64 + 1), "{n}");
        }
    }
}

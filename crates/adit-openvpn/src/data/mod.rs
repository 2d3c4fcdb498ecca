//! The data channel: what inner packets look like on the wire, and the jobs that seal and open them.
//!
//! Not here: which keys are in use and when (`keyring`), replay windows, addresses.

mod aead;
mod cbc;
mod clamp;
mod epoch;
mod fragment;
mod framing;
mod job;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adit_protocol::IpPacket;
use adit_protocol::aead::TAG_LEN;

use self::aead::AeadKey;
use self::cbc::{CbcOpener, CbcSealer};
pub use self::clamp::MssFix;
pub(crate) use self::clamp::Segments;
pub(crate) use self::epoch::Chain;
use self::epoch::EpochKey;
use self::fragment::Part;
pub(crate) use self::fragment::{Fragments, Piece};
pub use self::framing::Framing;
pub(crate) use self::job::Content;
pub use self::job::{OpenJob, Opened, SealJob};
use crate::constants::NO_PEER_ID;
use crate::key_file::StaticKey;
use crate::packet::{First, Opcode};
use crate::{Cipher, Digest, Role};

/// Everything that is agreed about the data channel of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) cipher: Cipher,
    /// For ciphers that do not authenticate.
    pub(crate) digest: Digest,
    /// The number that a client puts before its packets (and a server, before those to it); `None`: short headers.
    pub(crate) peer_id: Option<u32>,
    pub(crate) framing: Framing,
    /// Each direction goes on from key to key by itself.
    pub(crate) epochs: bool,
    /// Packets may be cut, and no datagram is longer than this (`fragment`). Both ends must have it, each with its own size.
    pub(crate) fragment: Option<u16>,
    /// How large the segments of TCP inside may be.
    pub(crate) segments: Segments,
}

/// The keys of one key exchange, or of one direction in one epoch. Shared with the jobs; wiped when the last of them is gone.
pub(crate) struct DataKeys {
    header: Header,
    framing: Framing,
    way: Way,
    /// Whether four bytes precede each packet, and of how many bytes a piece can be.
    fragment: Option<usize>,
    /// What a packet of TCP may measure.
    segments: Option<usize>,
    /// Packets that did not open.
    forged: AtomicU64,
}

/// A packet, as it is sent.
pub(crate) enum Cut {
    Whole,
    Pieces(Vec<Vec<u8>>),
}

/// What precedes a sealed packet: opcode and key, and perhaps the number of the peer.
#[derive(Debug, Clone, Copy)]
struct Header {
    bytes: [u8; 4],
    len: usize,
}

enum Way {
    Aead {
        sealer: AeadKey,
        opener: AeadKey,
    },
    Cbc {
        sealer: Box<CbcSealer>,
        opener: Box<CbcOpener>,
    },
    /// One direction in one epoch.
    Epoch(EpochKey),
}

impl DataKeys {
    /// The client sends with key 0, the server with key 1.
    pub(crate) fn new(role: Role, key_id: u8, keys: &StaticKey, agreed: &Agreed) -> Arc<Self> {
        let (sending, receiving) = match role {
            Role::Client => (0, 1),
            Role::Server => (1, 0),
        };
        let Agreed { cipher, digest, .. } = *agreed;
        let way = if cipher.is_aead() {
            let key = |which| AeadKey::new(cipher, keys.cipher(which), keys.hmac(which));
            Way::Aead { sealer: key(sending), opener: key(receiving) }
        } else {
            let (sealing, opening) =
                ((keys.cipher(sending), keys.hmac(sending)), (keys.cipher(receiving), keys.hmac(receiving)));
            Way::Cbc {
                sealer: Box::new(CbcSealer::new(cipher, digest, sealing.0, sealing.1)),
                opener: Box::new(CbcOpener::new(cipher, digest, opening.0, opening.1)),
            }
        };
        Self::with(Header::new(key_id, agreed.peer_id), way, agreed)
    }

    /// One direction, in the present epoch of its chain.
    pub(crate) fn of_epoch(key_id: u8, chain: &Chain, agreed: &Agreed) -> Arc<Self> {
        let header = Header::new(key_id, Some(agreed.peer_id.unwrap_or(NO_PEER_ID)));
        Self::with(header, Way::Epoch(chain.key()), agreed)
    }

    fn with(header: Header, way: Way, agreed: &Agreed) -> Arc<Self> {
        let Agreed { framing, fragment, segments, .. } = *agreed;
        let forged = AtomicU64::new(0);
        let mut keys = Self { header, framing, way, fragment: fragment.map(|_| 0), segments: None, forged };
        if let Some(longest) = fragment {
            // What is in a piece has its framing already.
            let room = keys.largest(longest.into(), Self::sealed_len);
            keys.fragment = Some(fragment::largest(room.saturating_sub(fragment::HEADER)));
        }
        keys.segments = match segments {
            Segments::Free => None,
            Segments::Datagram(longest) => Some(keys.largest(longest, Self::wire_len)),
            Segments::Inside(longest) => Some(longest),
        };
        Arc::new(keys)
    }

    /// The most bytes that come to at most `longest` on the wire.
    fn largest(&self, longest: usize, on_wire: impl Fn(&Self, usize) -> usize) -> usize {
        // Padding makes some lengths come to the same.
        let mut len = (longest + cbc::BLOCK).saturating_sub(on_wire(self, 0));
        while len > 0 && on_wire(self, len) > longest {
            len -= 1;
        }
        len
    }

    /// The epoch they are for, if they are for one.
    pub(crate) const fn epoch(&self) -> Option<u16> {
        match &self.way {
            Way::Epoch(key) => Some(key.epoch),
            Way::Aead { .. } | Way::Cbc { .. } => None,
        }
    }

    /// How many packets did not open under them.
    pub(crate) fn forged(&self) -> u64 {
        self.forged.load(Ordering::Relaxed)
    }

    /// So many more did not open.
    pub(crate) fn count_forged(&self, more: u64) {
        self.forged.fetch_add(more, Ordering::Relaxed);
    }

    /// Whether a random block must be given to each job.
    pub(crate) const fn needs_iv(&self) -> bool {
        matches!(self.way, Way::Cbc { .. })
    }

    /// Bytes on the wire of an inner packet of `len` bytes.
    pub(crate) fn wire_len(&self, len: usize) -> usize {
        self.sealed_len(self.added() + len)
    }

    /// Bytes that come before and after an inner packet, under the seal.
    fn added(&self) -> usize {
        self.framing.max_added() + if self.fragment.is_some() { fragment::HEADER } else { 0 }
    }

    /// A packet in pieces, if it is too long for one datagram; `None` if it would take too many.
    pub(crate) fn cut(&self, packet: &IpPacket<'_>, fragments: &mut Fragments) -> Option<Cut> {
        let Some(piece) = self.fragment else { return Some(Cut::Whole) };
        let len = self.framing.max_added() + packet.len();
        if len <= piece {
            return Some(Cut::Whole);
        }
        let mut payload = vec![0; len];
        self.framing.lay_out(&mut payload, |room| packet.copy_to(room));
        fragment::cut(&payload, piece, fragments.number()).map(Cut::Pieces)
    }

    /// Lays out what is under the seal of a packet: header of a fragment, framing, and what `write` writes.
    fn lay_out(&self, room: &mut [u8], write: impl FnOnce(&mut [u8])) {
        let room = match self.fragment {
            Some(_) => {
                let Some((header, rest)) = room.split_first_chunk_mut() else { return };
                *header = Part::Whole.emit();
                rest
            }
            None => room,
        };
        self.framing.lay_out(room, |packet| {
            write(packet);
            self.clamp(packet);
        });
    }

    /// Takes header and framing off in place: which piece it is, if it is one, and where packet or piece lies. No place: it
    /// is compressed, or nothing.
    fn take_off(&self, plain: &mut [u8]) -> (Option<Piece>, Option<Range<usize>>) {
        let len = plain.len();
        let (before, text) = match self.fragment {
            None => (0, plain),
            Some(_) => {
                let Some((header, text)) = plain.split_first_chunk_mut() else { return (None, None) };
                match Part::parse(*header) {
                    Part::Whole => (fragment::HEADER, text),
                    Part::Piece(piece) => return (Some(piece), Some(fragment::HEADER..len)),
                    Part::Other => return (None, None),
                }
            }
        };
        let inner = self.framing.take_off(text);
        if let Some(packet) = inner.clone().and_then(|inner| text.get_mut(inner)) {
            self.clamp(packet);
        }
        (None, inner.map(|inner| before + inner.start..before + inner.end))
    }

    /// Takes the framing off a packet that was in pieces.
    pub(crate) fn take_off_whole(&self, payload: &mut [u8]) -> Option<Range<usize>> {
        self.framing.take_off(payload)
    }

    fn clamp(&self, packet: &mut [u8]) {
        if let Some(inside) = self.segments {
            clamp::clamp(packet, inside);
        }
    }

    /// Bytes on the wire of so many under the seal.
    fn sealed_len(&self, plain: usize) -> usize {
        self.header.len
            + match &self.way {
                Way::Aead { .. } => aead::ADDED + plain,
                Way::Cbc { sealer, .. } => sealer.wire_len(plain),
                Way::Epoch(_) => epoch::NUMBER + TAG_LEN + plain,
            }
    }
}

impl Header {
    fn new(key_id: u8, peer_id: Option<u32>) -> Self {
        let mut bytes = peer_id.unwrap_or(0).to_be_bytes();
        let opcode = if peer_id.is_some() { Opcode::DataV2 } else { Opcode::DataV1 };
        let [first, ..] = &mut bytes;
        *first = First { opcode, key_id }.byte();
        Self { bytes, len: if peer_id.is_some() { 4 } else { 1 } }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Where a data packet says it belongs. Nothing of it is authenticated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataHeader {
    pub(crate) key_id: u8,
    /// The number of the peer, if there is one that says something.
    pub(crate) peer_id: Option<u32>,
    /// Bytes before what is sealed.
    pub(crate) len: usize,
}

/// The epoch that a data packet with a header of `len` bytes says it is of, if its format has one.
pub(crate) fn epoch_of(len: usize, datagram: &[u8]) -> Option<u16> {
    datagram.get(len..)?.first_chunk().map(|epoch| u16::from_be_bytes(*epoch))
}

impl DataHeader {
    /// Reads the header of a datagram whose first byte is `first`; `None` if it is no data packet.
    pub(crate) fn parse(first: First, datagram: &[u8]) -> Option<Self> {
        let key_id = first.key_id;
        match first.opcode {
            Opcode::DataV1 => Some(Self { key_id, peer_id: None, len: 1 }),
            Opcode::DataV2 => {
                let peer_id = u32::from_be_bytes(*datagram.first_chunk::<4>()?) & NO_PEER_ID;
                Some(Self { key_id, peer_id: (peer_id != NO_PEER_ID).then_some(peer_id), len: 4 })
            }
            Opcode::SoftReset
            | Opcode::Control
            | Opcode::Ack
            | Opcode::HardResetClientV2
            | Opcode::HardResetServerV2
            | Opcode::HardResetClientV3
            | Opcode::ControlWkc => None,
        }
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeys(…)")
    }
}

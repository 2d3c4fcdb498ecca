//! Packets cut into several datagrams (`fragment`): four bytes before each, and the pieces put together again.
//!
//! Not here: sealing the pieces (`job`), how long a datagram may be (`mod`).

use std::collections::VecDeque;
use std::time::Instant;

use crate::constants::{FRAGMENT_LIFE, MAX_PARTIAL, MAX_PARTIAL_BYTES};

/// Bytes before each packet or piece.
pub(super) const HEADER: usize = 4;
/// All pieces of a packet but the last are a multiple of this long.
const UNIT: usize = 4;
/// Pieces of a packet: their number has five bits.
const MAX_PIECES: usize = 32;
/// Bytes of a packet that was in pieces, its framing counted.
const MAX_WHOLE: usize = 65_536;

/// What the four bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A packet follows.
    Whole,
    /// A piece of one.
    Piece(Piece),
    /// A test, which nobody makes.
    Other,
}

/// Which piece of which packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Counts packets that were cut, and begins anew after 255.
    packet: u8,
    /// From 0.
    number: u8,
    /// In the last piece: how long each of the others is.
    others: Option<usize>,
}

impl Part {
    pub(super) fn parse(bytes: [u8; HEADER]) -> Self {
        let word = u32::from_be_bytes(bytes);
        let bits = |from: u32, count: u32| word >> from & ((1 << count) - 1);
        let (packet, number) = (bits(2, 8) as u8, bits(10, 5) as u8);
        match bits(0, 2) {
            0 => Self::Whole,
            1 => Self::Piece(Piece { packet, number, others: None }),
            2 => Self::Piece(Piece { packet, number, others: Some(bits(15, 14) as usize * UNIT) }),
            _ => Self::Other,
        }
    }

    pub(super) fn emit(self) -> [u8; HEADER] {
        let word = match self {
            Self::Whole => 0,
            Self::Piece(Piece { packet, number, others }) => {
                let (kind, units) = others.map_or((1, 0), |others| (2, (others / UNIT) as u32));
                kind | u32::from(packet) << 2 | u32::from(number) << 10 | units << 15
            }
            Self::Other => 3,
        };
        word.to_be_bytes()
    }
}

/// The largest piece (a multiple of [`UNIT`]) of at most so many bytes.
pub(super) const fn largest(room: usize) -> usize {
    room / UNIT * UNIT
}

/// Cuts a payload into pieces of at most `piece` bytes, each with its header; `None` if they are too many.
pub(super) fn cut(payload: &[u8], piece: usize, packet: u8) -> Option<Vec<Vec<u8>>> {
    let piece = largest(piece);
    if piece == 0 || payload.len().div_ceil(piece) > MAX_PIECES {
        return None;
    }
    // All about as long as each other, which never makes them more.
    let size = payload.len().div_ceil(payload.len().div_ceil(piece)).next_multiple_of(UNIT);
    let count = payload.len().div_ceil(size);
    let with_header = |(number, bytes): (usize, &[u8])| {
        let others = (number + 1 == count).then_some(size);
        let part = Part::Piece(Piece { packet, number: number as u8, others });
        [part.emit().as_slice(), bytes].concat()
    };
    Some(payload.chunks(size).enumerate().map(with_header).collect())
}

/// Both directions of a session whose packets may be in pieces.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// The number of the packet that is cut next.
    next: u8,
    /// The last packet of which a piece has arrived.
    newest: u8,
    /// Packets that are not whole: at most `MAX_PARTIAL`, and `MAX_PARTIAL_BYTES`; the oldest go first.
    partial: VecDeque<Partial>,
}

/// A packet of which pieces are missing.
#[derive(Debug)]
struct Partial {
    packet: u8,
    since: Instant,
    /// How long each piece but the last is.
    size: Option<usize>,
    last: Option<u8>,
    /// A bit for each piece that is there.
    have: u32,
    bytes: Vec<u8>,
}

impl Fragments {
    /// The number for a packet that is cut now.
    pub(crate) const fn number(&mut self) -> u8 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// Takes a piece; the payload, if it was the last that was missing.
    pub(crate) fn take(&mut self, now: Instant, piece: Piece, bytes: &[u8]) -> Option<Vec<u8>> {
        self.forget(now, piece.packet);
        let known = self.partial.iter().position(|partial| partial.packet == piece.packet);
        let mut partial =
            known.and_then(|at| self.partial.remove(at)).unwrap_or_else(|| Partial::new(piece.packet, now));
        if !partial.take(piece, bytes) {
            // The number was given to another packet meanwhile, or the peer has no manners: this one begins anew.
            partial = Partial::new(piece.packet, now);
            if !partial.take(piece, bytes) {
                return None;
            }
        }
        if partial.is_whole() {
            return Some(partial.bytes);
        }
        self.partial.push_back(partial);
        while self.partial.len() > MAX_PARTIAL || self.bytes() > MAX_PARTIAL_BYTES {
            self.partial.pop_front();
        }
        None
    }

    /// What has waited too long, and what is far behind the newest packet: numbers come again.
    fn forget(&mut self, now: Instant, packet: u8) {
        let ahead = packet.wrapping_sub(self.newest);
        if ahead < 128 {
            self.newest = packet;
        } else if usize::from(ahead.wrapping_neg()) >= MAX_PARTIAL {
            self.partial.clear();
            self.newest = packet;
        }
        let newest = self.newest;
        self.partial.retain(|partial| {
            usize::from(newest.wrapping_sub(partial.packet)) < MAX_PARTIAL && partial.since + FRAGMENT_LIFE > now
        });
    }

    fn bytes(&self) -> usize {
        self.partial.iter().map(|partial| partial.bytes.len()).sum()
    }
}

impl Partial {
    const fn new(packet: u8, since: Instant) -> Self {
        Self { packet, since, size: None, last: None, have: 0, bytes: Vec::new() }
    }

    /// Whether the piece fits to those before.
    fn take(&mut self, piece: Piece, bytes: &[u8]) -> bool {
        let (number, bit) = (piece.number, 1 << piece.number);
        let size = piece.others.unwrap_or(bytes.len());
        let fits = self.have & bit == 0
            && self.size.is_none_or(|known| known == size)
            && bytes.len() <= size
            && !bytes.is_empty()
            && match (piece.others, self.last) {
                (Some(_), Some(_)) => false,
                (Some(_), None) => self.have >> number == 0,
                (None, last) => last.is_none_or(|last| number < last),
            };
        let from = usize::from(number) * size;
        let until = from + bytes.len();
        if !fits || until > MAX_WHOLE {
            return false;
        }
        if self.bytes.len() < until {
            self.bytes.resize(until, 0);
        }
        if let Some(room) = self.bytes.get_mut(from..until) {
            room.copy_from_slice(bytes);
        }
        (self.size, self.have) = (Some(size), self.have | bit);
        self.last = piece.others.map(|_| number).or(self.last);
        true
    }

    fn is_whole(&self) -> bool {
        self.last.is_some_and(|last| self.have.trailing_ones() == u32::from(last) + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::start;

    fn piece(packet: u8, number: u8, others: Option<usize>) -> Piece {
        Piece { packet, number, others }
    }

    fn taken(fragments: &mut Fragments, wire: &[u8]) -> Option<Vec<u8>> {
        let (header, bytes) = wire.split_first_chunk().unwrap();
        let Part::Piece(piece) = Part::parse(*header) else { panic!("no piece") };
        fragments.take(start(), piece, bytes)
    }

    #[test]
    fn the_four_bytes_say_which_piece_it_is() {
        for (bytes, part) in [
            ([0, 0, 0, 0], Part::Whole),
            ([0, 0, 4 | 1, 0b1010_1001], Part::Piece(piece(0b0110_1010, 1, None))),
            ([0, 0, 0x88, 0b0000_0110], Part::Piece(piece(1, 2, Some(4)))),
            ([0x1f, 0xff, 0xff, 0xfe], Part::Piece(piece(255, 31, Some(0x3fff * 4)))),
            ([0, 0, 0, 3], Part::Other),
        ] {
            assert_eq!(Part::parse(bytes), part);
            assert_eq!(part.emit(), bytes, "{part:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_are_the_payload_again(
            payload in prop::collection::vec(any::<u8>(), 1..9000),
            size in 1_usize..1500,
            packet in any::<u8>(),
            order in any::<u64>(),
        ) {
            let Some(mut pieces) = cut(&payload, size, packet) else {
                prop_assert!(largest(size) == 0 || payload.len().div_ceil(largest(size)) > MAX_PIECES);
                return Ok(());
            };
            prop_assert!(pieces.iter().all(|piece| piece.len() <= HEADER + size));
            let mut order = order | 1;
            pieces.sort_by_cached_key(|_| { order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); order >> 33 });
            let mut fragments = Fragments::default();
            let (last, first) = pieces.split_last().unwrap();
            for piece in first {
                prop_assert_eq!(taken(&mut fragments, piece), None);
            }
            prop_assert_eq!(taken(&mut fragments, last), Some(payload));
            prop_assert!(fragments.partial.is_empty());
        }

        /// A peer without manners: nothing grows, and nothing comes out that is longer than a packet.
        #[test]
        fn any_pieces_are_survived_within_the_bounds(
            pieces in prop::collection::vec((any::<u8>(), 0_u8..32, prop::option::of(0_usize..0x4000), 0_usize..70_000, 0_u64..3), 1..200),
        ) {
            let (mut fragments, mut now) = (Fragments::default(), start());
            for (packet, number, units, len, seconds) in pieces {
                now += Duration::from_secs(seconds);
                let piece = piece(packet, number, units.map(|units| units * UNIT));
                let whole = fragments.take(now, piece, &vec![1; len]);
                prop_assert!(whole.is_none_or(|whole| whole.len() <= MAX_WHOLE));
                prop_assert!(fragments.partial.len() <= MAX_PARTIAL && fragments.bytes() <= MAX_PARTIAL_BYTES);
            }
        }
    }

    #[test]
    fn pieces_that_do_not_fit_together_are_no_packet() {
        let now = start();
        for (first, second) in [
            ((piece(1, 0, None), 8), (piece(1, 1, Some(12)), 4)),
            ((piece(1, 0, None), 8), (piece(1, 0, None), 8)),
            ((piece(1, 1, Some(8)), 4), (piece(1, 1, None), 8)),
            ((piece(1, 1, Some(8)), 4), (piece(1, 2, None), 8)),
            ((piece(1, 2, None), 8), (piece(1, 1, Some(8)), 4)),
            ((piece(1, 0, None), 8), (piece(1, 1, Some(8)), 9)),
        ] {
            let mut fragments = Fragments::default();
            for (piece, len) in [first, second] {
                assert_eq!(fragments.take(now, piece, &vec![1; len]), None, "{first:?} {second:?}");
            }
        }
        for alone in [piece(1, 1, Some(0)), piece(1, 0, Some(0))] {
            let mut fragments = Fragments::default();
            assert_eq!(fragments.take(now, alone, &[1; 8]), None, "a size of nothing: {alone:?}");
            assert!(fragments.partial.is_empty());
        }
    }

    #[test]
    fn pieces_of_another_life_or_of_another_round_of_numbers_are_not_mixed() {
        let mut fragments = Fragments::default();
        let now = start();
        assert_eq!(fragments.take(now, piece(1, 0, None), &[1; 8]), None);
        assert_eq!(fragments.take(now + FRAGMENT_LIFE, piece(1, 1, Some(8)), &[1; 4]), None, "too late");
        let mut fragments = Fragments::default();
        assert_eq!(fragments.take(now, piece(1, 0, None), &[1; 8]), None);
        for packet in 2..=255 {
            assert_eq!(fragments.take(now, piece(packet, 0, None), &[1; 8]), None);
        }
        assert_eq!(fragments.take(now, piece(1, 1, Some(8)), &[1; 4]), None, "256 packets later");
        assert_eq!(fragments.partial.len(), MAX_PARTIAL - 1, "no piece of packet 0 has arrived");
    }
}

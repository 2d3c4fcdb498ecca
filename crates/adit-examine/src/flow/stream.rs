//! One direction of a TCP connection put back in order: segments in, bytes out, each byte once.
//!
//! Not here: what the bytes mean (`tls`), which connection a segment belongs to (`table`).

use std::collections::BTreeMap;

/// Bytes that one direction keeps while a segment before them is missing.
pub const MAX_PARKED: usize = 256 << 10;
/// Segments that one direction keeps while one before them is missing.
pub const MAX_PARKED_SEGMENTS: usize = 512;
/// Bytes that all directions of a capture keep together.
pub const MAX_PARKED_TOTAL: usize = 32 << 20;

/// What may still be parked in a whole capture.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(MAX_PARKED_TOTAL)
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Where the next byte in order has its number, once the beginning is known.
    next: Option<u32>,
    /// Segments from beyond a hole, by their distance from the first byte of the stream.
    parked: BTreeMap<u64, Vec<u8>>,
    parked_bytes: usize,
    /// Bytes given out.
    delivered: u64,
    /// A hole that will not be filled, or bytes that the capture cut off: nothing more comes out.
    torn: bool,
}

/// What a segment was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It has bytes that were not there before.
    New,
    /// All of its bytes were seen before.
    Repeated,
}

impl Reassembly {
    /// The connection's first packet in this direction.
    pub(crate) fn begin(&mut self, initial_sequence: u32) {
        if self.next.is_none() {
            self.next = Some(initial_sequence.wrapping_add(1));
        }
    }

    /// Whether bytes were lost, so that what came out is not all.
    pub(crate) const fn is_torn(&self) -> bool {
        self.torn
    }

    /// Takes a segment, `length` bytes on the wire, and gives `each` what is now in order.
    pub(crate) fn take(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        length: usize,
        room: &mut Room,
        mut each: impl FnMut(&[u8]),
    ) -> Arrival {
        let next = *self.next.get_or_insert(sequence);
        if length == 0 {
            return Arrival::New;
        }
        // Signed: how far the segment begins before (repeated) or behind (a hole) what is expected.
        let ahead = sequence.wrapping_sub(next).cast_signed();
        let until = i64::from(ahead) + i64::try_from(length).unwrap_or(i64::MAX);
        if until <= 0 {
            return Arrival::Repeated;
        }
        if self.torn {
            // Only the count goes on, so that repeated segments are still told from new ones.
            self.next = Some(next.wrapping_add(u32::try_from(until).unwrap_or(0)));
            return Arrival::New;
        }
        if let Ok(hole @ 1..) = u64::try_from(ahead) {
            return self.park(hole, bytes, length, room);
        }
        let skip = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
        self.deliver(bytes.get(skip..).unwrap_or_default(), &mut each);
        if bytes.len() < length {
            self.tear(room);
            self.next = Some(next.wrapping_add(u32::try_from(until).unwrap_or(0)));
            return Arrival::New;
        }
        self.unpark(room, &mut each);
        Arrival::New
    }

    fn deliver(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        each(bytes);
        self.delivered += bytes.len() as u64;
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0)));
    }

    fn park(&mut self, hole: u64, bytes: &[u8], length: usize, room: &mut Room) -> Arrival {
        let place = self.delivered + hole;
        let known = self.parked.get(&place).map_or(0, Vec::len);
        if known >= bytes.len() {
            return if known > 0 { Arrival::Repeated } else { Arrival::New };
        }
        let full = self.parked.len() == MAX_PARKED_SEGMENTS || self.parked_bytes + bytes.len() > MAX_PARKED;
        if full || bytes.len() < length || bytes.len() > room.0 {
            self.tear(room);
            return Arrival::New;
        }
        if let Some(old) = self.parked.insert(place, bytes.to_vec()) {
            self.parked_bytes -= old.len();
            room.0 += old.len();
        }
        self.parked_bytes += bytes.len();
        room.0 -= bytes.len();
        Arrival::New
    }

    fn unpark(&mut self, room: &mut Room, each: &mut impl FnMut(&[u8])) {
        while let Some(first) = self.parked.first_entry() {
            let place = *first.key();
            if place > self.delivered {
                return;
            }
            let bytes = first.remove();
            self.parked_bytes -= bytes.len();
            room.0 += bytes.len();
            let skip = usize::try_from(self.delivered - place).unwrap_or(usize::MAX);
            if let Some(rest) = bytes.get(skip..).filter(|rest| !rest.is_empty()) {
                self.deliver(rest, each);
            }
        }
    }

    fn tear(&mut self, room: &mut Room) {
        self.torn = true;
        room.0 += self.parked_bytes;
        self.parked_bytes = 0;
        self.parked.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(segments: &[(u32, &[u8])]) -> (Vec<u8>, Reassembly) {
        let (mut stream, mut room) = (Reassembly::default(), Room::default());
        let mut out: Vec<u8> = Vec::new();
        stream.begin(99);
        for (sequence, bytes) in segments {
            stream.take(*sequence, bytes, bytes.len(), &mut room, |bytes| out.extend(bytes));
        }
        (out, stream)
    }

    #[test]
    fn segments_out_of_order_repeated_and_overlapping_give_each_byte_once() {
        let (out, stream) = run(&[(104, b"efg"), (102, b"cde"), (100, b"ab"), (100, b"abc"), (103, b"defgh")]);
        assert_eq!((&out[..], stream.is_torn()), (&b"abcdefgh"[..], false));
    }

    #[test]
    fn numbers_wrap_around() {
        let (mut stream, mut room) = (Reassembly::default(), Room::default());
        let mut out: Vec<u8> = Vec::new();
        stream.begin(u32::MAX - 2);
        for (sequence, bytes) in [(u32::MAX - 1, &b"ab"[..]), (2, b"ef"), (0, b"cd")] {
            stream.take(sequence, bytes, bytes.len(), &mut room, |bytes| out.extend(bytes));
        }
        assert_eq!(out, b"abcdef");
    }

    #[test]
    fn what_is_parked_is_bounded_and_its_room_comes_back() {
        let (mut stream, mut room) = (Reassembly::default(), Room::default());
        stream.begin(0);
        let segment = [0; 1000];
        for n in 0..2 * MAX_PARKED / 1000 {
            stream.take(10 + 1000 * u32::try_from(n).unwrap(), &segment, 1000, &mut room, |_| panic!("out of order"));
            assert!(stream.parked_bytes <= MAX_PARKED);
        }
        assert!(stream.is_torn());
        assert_eq!((stream.parked.len(), room.0), (0, MAX_PARKED_TOTAL));
    }

    #[test]
    fn many_tiny_segments_are_bounded_too() {
        let (mut stream, mut room) = (Reassembly::default(), Room::default());
        stream.begin(0);
        for n in 0..2 * MAX_PARKED_SEGMENTS {
            stream.take(10 + 2 * u32::try_from(n).unwrap(), &[1], 1, &mut room, |_| panic!("out of order"));
            assert!(stream.parked.len() <= MAX_PARKED_SEGMENTS);
        }
        assert!(stream.is_torn());
    }

    #[test]
    fn bytes_that_the_capture_cut_off_end_the_stream() {
        let (mut stream, mut room) = (Reassembly::default(), Room::default());
        let mut out: Vec<u8> = Vec::new();
        stream.begin(0);
        stream.take(1, b"abc", 1000, &mut room, |bytes| out.extend(bytes));
        stream.take(1001, b"def", 3, &mut room, |bytes| out.extend(bytes));
        assert_eq!((&out[..], stream.is_torn()), (&b"abc"[..], true));
        assert_eq!(stream.take(1, b"abc", 1000, &mut room, |_| ()), Arrival::Repeated);
    }

    proptest! {
        /// Whatever pieces of a stream come in whatever order, what comes out is a beginning of it; all, once all came.
        #[test]
        fn what_comes_out_is_the_stream(
            pieces in prop::collection::vec((0_usize..200, 1_usize..60), 0..60),
            start in any::<u32>(),
        ) {
            let whole: Vec<u8> = (0..=255).collect();
            let (mut stream, mut room) = (Reassembly::default(), Room::default());
            let mut out: Vec<u8> = Vec::new();
            stream.begin(start);
            let in_order = (0..256).step_by(16).map(|at| (at, 16));
            for (at, length) in pieces.into_iter().chain(in_order) {
                let bytes = &whole[at..(at + length).min(256)];
                let sequence = start.wrapping_add(1).wrapping_add(u32::try_from(at).unwrap());
                stream.take(sequence, bytes, bytes.len(), &mut room, |bytes| out.extend(bytes));
                prop_assert!(whole.starts_with(&out));
            }
            prop_assert_eq!(out, whole);
            prop_assert_eq!(room.0, MAX_PARKED_TOTAL);
        }
    }
}

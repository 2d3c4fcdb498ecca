//! Capsules (RFC 9297) and the datagrams in them (RFC 9298), with the variable-length integers of RFC 9000; pure bytes.
//!
//! Not here: the streams that carry them (`client`, `server`), when padding is sent (`shape`).

use bytes::{BufMut, Bytes, BytesMut};

/// The capsule type of a datagram, RFC 9297 §3.5.
pub const DATAGRAM: u64 = 0;
/// RFC 9298 §5: the largest UDP payload; a stream with a longer one is aborted.
pub const MAX_PAYLOAD: usize = 65_527;
/// The most bytes of a datagram capsule's value: a payload behind the longest context id.
pub const MAX_VALUE: usize = MAX_PAYLOAD + MAX_VARINT;
/// The most bytes that a datagram takes besides its payload when we write it: type, length, context id.
pub const MAX_OVERHEAD: usize = 1 + 4 + 1;
/// The most bytes of padding in one capsule, header and all.
pub const MAX_PADDING: usize = 16_384;
/// The fewest bytes of padding: a header with nothing behind it.
pub const MIN_PADDING: usize = 2;
/// The largest variable-length integer.
pub const MAX_VARINT_VALUE: u64 = (1 << 62) - 1;

/// The most bytes of a variable-length integer.
const MAX_VARINT: usize = 8;
/// Type and length of a capsule.
const MAX_HEADER: usize = 2 * MAX_VARINT;
/// The type of our padding: 0x29 * N + 0x17 with N = 0, reserved for being ignored by RFC 9297 §5.4.
const PADDING: u64 = 0x17;

/// The stream breaks RFC 9297 or RFC 9298 and must be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A datagram is longer than UDP allows.
    #[error("a datagram of more than {MAX_PAYLOAD} bytes")]
    TooLong,
    /// A datagram ends before its context id does.
    #[error("a datagram without a whole context id")]
    NoContext,
}

/// The bytes that a variable-length integer takes.
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Writes a variable-length integer, RFC 9000 §16. Values above [`MAX_VARINT_VALUE`] cannot be written and become it.
pub fn put_varint(out: &mut impl BufMut, value: u64) {
    match varint_len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value.min(MAX_VARINT_VALUE) | 0xc000_0000_0000_0000),
    }
}

/// Reads a variable-length integer: its value, and the bytes it took. `None` if it is not all there.
pub fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let rest = bytes.get(1..len)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, len))
}

/// The bytes that a datagram takes in the stream.
pub const fn datagram_len(payload: usize) -> usize {
    let value = payload + 1;
    1 + varint_len(value as u64) + value
}

/// Writes a datagram of context 0: a UDP payload, RFC 9298 §5.
pub fn put_datagram(out: &mut impl BufMut, payload: &[u8]) {
    put_varint(out, DATAGRAM);
    put_varint(out, payload.len() as u64 + 1);
    out.put_u8(0);
    out.put_slice(payload);
}

/// Writes padding of this many bytes, header and all; what is less than [`MIN_PADDING`] or more than [`MAX_PADDING`] is
/// written as that.
pub fn put_padding(out: &mut impl BufMut, len: usize) {
    let len = len.clamp(MIN_PADDING, MAX_PADDING);
    put_varint(out, PADDING);
    // Any length can be met, because an integer may be written longer than it needs to be.
    let body = if len - 2 <= 0x3f {
        out.put_u8((len - 2) as u8);
        len - 2
    } else {
        out.put_u16((len - 3) as u16 | 0x4000);
        len - 3
    };
    out.put_bytes(0, body);
}

/// The datagrams in a piece of a stream, where they lay in it.
#[derive(Debug, Default)]
pub struct Datagrams {
    /// The first one, if it began in an earlier piece.
    joined: Option<Bytes>,
    body: Bytes,
    spans: Vec<Span>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Datagrams {
    /// The first one that was not taken.
    pub fn front(&self) -> Option<&[u8]> {
        if let Some(joined) = &self.joined {
            return Some(joined);
        }
        let span = self.spans.get(self.next)?;
        self.body.get(span.start as usize..span.start as usize + span.len as usize)
    }

    /// Takes the first one.
    pub fn pop_front(&mut self) {
        if self.joined.take().is_none() {
            self.next += 1;
        }
    }

    /// Whether there is none, or all were taken.
    pub fn is_empty(&self) -> bool {
        self.joined.is_none() && self.next >= self.spans.len()
    }

    /// How many were not taken.
    pub fn len(&self) -> usize {
        usize::from(self.joined.is_some()) + self.spans.len().saturating_sub(self.next)
    }
}

/// Finds the datagrams in a stream of capsules that comes in pieces of any size.
///
/// Keeps at most one unfinished datagram ([`MAX_VALUE`] bytes); capsules of other types are passed over without being kept,
/// whatever length they claim.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    ignored: u64,
    skipped: u64,
}

#[derive(Debug)]
enum State {
    /// Before or inside type and length.
    Header { bytes: [u8; MAX_HEADER], len: usize },
    /// Inside a datagram that goes on in the next piece.
    Datagram { value: BytesMut, missing: usize },
    /// Inside a capsule that nobody wants.
    Skip { left: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], len: 0 }
    }
}

impl Decoder {
    /// Takes the next piece of the stream.
    ///
    /// # Errors
    /// The stream breaks the rules; it must be ended, and the decoder not be used again.
    pub fn decode(&mut self, piece: Bytes) -> Result<Datagrams, Malformed> {
        let mut found = Datagrams { body: piece.clone(), ..Datagrams::default() };
        let mut at = 0;
        while at < piece.len() {
            at += self.step(&piece[at..], at, &mut found)?;
        }
        Ok(found)
    }

    /// Capsules that were passed over, of all that ended or were begun: unknown types and contexts.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Bytes of such capsules, their headers included, that have arrived: padding, for the most part.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the stream may end here: not inside a capsule.
    pub fn is_between_capsules(&self) -> bool {
        matches!(self.state, State::Header { len: 0, .. })
    }

    /// Takes some bytes off the front, which lie at `at` in the piece, and says how many.
    fn step(&mut self, bytes: &[u8], at: usize, found: &mut Datagrams) -> Result<usize, Malformed> {
        match &mut self.state {
            State::Skip { left } => {
                let n = (*left).min(bytes.len() as u64);
                *left -= n;
                self.skipped += n;
                if *left == 0 {
                    self.state = State::default();
                }
                Ok(n as usize)
            }
            State::Datagram { value, missing } => {
                let n = bytes.len().min(*missing);
                value.extend_from_slice(&bytes[..n]);
                *missing -= n;
                if *missing == 0 {
                    let value = std::mem::take(value).freeze();
                    self.state = State::default();
                    if let Some(context) = self.context(&value)? {
                        found.joined = Some(value.slice(context..));
                    }
                }
                Ok(n)
            }
            State::Header { bytes: head, len: had } => {
                let begun = *had;
                let n = bytes.len().min(MAX_HEADER - begun);
                head[begun..begun + n].copy_from_slice(&bytes[..n]);
                let Some((kind, length, header)) = read_header(&head[..begun + n]) else {
                    *had += n;
                    return Ok(n);
                };
                if kind != DATAGRAM {
                    self.skipped += header as u64;
                }
                // What was there before was not a whole header, so the header ends in these bytes.
                let header = header - begun;
                let value = &bytes[header..];
                let taken = self.value(kind, length, value, at + header, found)?;
                Ok(header + taken)
            }
        }
    }

    /// Takes what is there of a capsule's value, and says how much.
    fn value(
        &mut self,
        kind: u64,
        length: u64,
        bytes: &[u8],
        at: usize,
        found: &mut Datagrams,
    ) -> Result<usize, Malformed> {
        if kind != DATAGRAM {
            self.ignored += 1;
            self.state = if length == 0 { State::default() } else { State::Skip { left: length } };
            return Ok(0);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_VALUE).ok_or(Malformed::TooLong)?;
        if let Some(value) = bytes.get(..length) {
            self.state = State::default();
            if let Some(context) = self.context(value)? {
                found.spans.push(Span { start: (at + context) as u32, len: (length - context) as u32 });
            }
            return Ok(length);
        }
        let mut value = BytesMut::with_capacity(length);
        value.extend_from_slice(bytes);
        self.state = State::Datagram { missing: length - bytes.len(), value };
        Ok(bytes.len())
    }

    /// The bytes of the context id before the payload, if it is a UDP payload with something in it.
    fn context(&mut self, value: &[u8]) -> Result<Option<usize>, Malformed> {
        let (context, len) = read_varint(value).ok_or(Malformed::NoContext)?;
        if context != 0 {
            self.ignored += 1;
            return Ok(None);
        }
        match value.len() - len {
            0 => Ok(None),
            1..=MAX_PAYLOAD => Ok(Some(len)),
            _ => Err(Malformed::TooLong),
        }
    }
}

/// Type, length, and the bytes both took.
fn read_header(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, first) = read_varint(bytes)?;
    let (length, second) = read_varint(&bytes[first..])?;
    Some((kind, length, first + second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn the_integers_of_the_rfc() {
        let samples: [(&[u8], u64); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in samples {
            assert_eq!(read_varint(bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(read_varint(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn a_datagram_is_type_length_context_and_payload() {
        let mut out = Vec::new();
        put_datagram(&mut out, &[9; 3]);
        assert_eq!(out, [0, 4, 0, 9, 9, 9]);
        for len in [0, 1, 62, 63, 64, 1452, 16_382, 16_383, 16_384, MAX_PAYLOAD] {
            out.clear();
            put_datagram(&mut out, &vec![1; len]);
            assert_eq!(out.len(), datagram_len(len));
            assert!(out.len() <= len + MAX_OVERHEAD);
        }
    }

    #[test]
    fn padding_has_exactly_the_length_asked_for_and_is_of_a_reserved_type() {
        for len in MIN_PADDING..=MAX_PADDING {
            let mut out = Vec::new();
            put_padding(&mut out, len);
            let (kind, length, header) = read_header(&out).unwrap();
            assert_eq!((out.len(), header + length as usize), (len, len));
            assert_eq!((kind - 0x17) % 0x29, 0);
        }
        for (asked, given) in [(0, MIN_PADDING), (1, MIN_PADDING), (MAX_PADDING + 1, MAX_PADDING)] {
            let mut out = Vec::new();
            put_padding(&mut out, asked);
            assert_eq!(out.len(), given);
        }
    }

    #[test]
    fn a_datagram_longer_than_udp_allows_ends_the_stream_before_it_is_kept() {
        let mut stream = Vec::new();
        put_varint(&mut stream, DATAGRAM);
        put_varint(&mut stream, MAX_VALUE as u64 + 1);
        assert_eq!(decode_all(&stream, 1).unwrap_err(), Malformed::TooLong);

        // A length that the longest context id would allow, with a shorter one.
        let mut stream = Vec::new();
        put_varint(&mut stream, DATAGRAM);
        put_varint(&mut stream, MAX_PAYLOAD as u64 + 2);
        stream.resize(stream.len() + MAX_PAYLOAD + 2, 0);
        for step in [1000, stream.len()] {
            assert_eq!(decode_all(&stream, step).unwrap_err(), Malformed::TooLong);
        }
    }

    #[test]
    fn a_datagram_without_a_context_ends_the_stream() {
        for stream in [&[0, 0][..], &[0, 1, 0x40], &[0, 3, 0x80, 0, 0]] {
            for step in [1, stream.len()] {
                assert_eq!(decode_all(stream, step).unwrap_err(), Malformed::NoContext);
            }
        }
    }

    /// RFC 9297 §3.2: unknown types are skipped. One that claims 2^62 bytes costs no memory.
    #[test]
    fn an_endless_unknown_capsule_is_passed_over_and_never_kept() {
        let mut decoder = Decoder::default();
        let mut head = BytesMut::new();
        put_varint(&mut head, 0x1234);
        put_varint(&mut head, MAX_VARINT_VALUE);
        assert!(decoder.decode(head.freeze()).unwrap().is_empty());
        for _ in 0..100 {
            assert!(decoder.decode(Bytes::from_static(&[0; 16_384])).unwrap().is_empty());
        }
        assert!(matches!(decoder.state, State::Skip { .. }));
        assert_eq!(decoder.ignored(), 1);
        assert!(!decoder.is_between_capsules());
    }

    #[test]
    fn other_contexts_padding_and_empty_datagrams_give_nothing() {
        let mut stream = Vec::new();
        stream.extend([0, 4, 2, 7, 7, 7]);
        put_padding(&mut stream, 300);
        put_datagram(&mut stream, &[]);
        put_datagram(&mut stream, &[5]);
        for step in 1..stream.len() {
            assert_eq!(decode_all(&stream, step).unwrap(), [vec![5]], "in pieces of {step}");
        }
    }

    #[test]
    fn a_cut_stream_is_seen_to_be_inside_a_capsule() {
        let mut stream = BytesMut::new();
        put_datagram(&mut stream, &[1; 20]);
        let whole = stream.freeze();
        for cut in 1..whole.len() {
            let mut decoder = Decoder::default();
            assert!(decoder.decode(whole.slice(..cut)).unwrap().is_empty());
            assert!(!decoder.is_between_capsules());
            assert_eq!(decoder.decode(whole.slice(cut..)).unwrap().len(), 1);
            assert!(decoder.is_between_capsules());
        }
    }

    proptest! {
        #[test]
        fn integers_are_read_as_they_are_written(value in 0..=MAX_VARINT_VALUE, shift in 0..62) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(read_varint(&out), Some((value, out.len())));
        }

        /// Whatever the pieces, the same datagrams come out in the same order.
        #[test]
        fn datagrams_survive_any_cutting(
            items in prop::collection::vec((any::<bool>(), 1_usize..3000), 0..30),
            cuts in prop::collection::vec(1_usize..5000, 1..30),
        ) {
            let (mut stream, mut sent) = (BytesMut::new(), Vec::new());
            for (n, (is_padding, len)) in items.into_iter().enumerate() {
                if is_padding {
                    put_padding(&mut stream, len);
                } else {
                    let payload = vec![n as u8; len];
                    put_datagram(&mut stream, &payload);
                    sent.push(payload);
                }
            }
            let (mut decoder, mut got, mut stream) = (Decoder::default(), Vec::new(), stream.freeze());
            for cut in cuts.into_iter().cycle() {
                if stream.is_empty() { break; }
                let piece = stream.split_to(cut.min(stream.len()));
                take_all(decoder.decode(piece).unwrap(), &mut got);
            }
            prop_assert_eq!(got, sent);
            prop_assert!(decoder.is_between_capsules());
        }

        /// Nothing that comes from the wire makes it panic, or keep more than one datagram.
        #[test]
        fn noise_is_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                let Ok(found) = decoder.decode(piece.into()) else { break };
                take_all(found, &mut Vec::new());
                if let State::Datagram { value, missing } = &decoder.state {
                    prop_assert!(value.len() + missing <= MAX_VALUE);
                }
            }
        }
    }

    fn decode_all(stream: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        for piece in stream.chunks(step) {
            take_all(decoder.decode(Bytes::copy_from_slice(piece))?, &mut all);
        }
        Ok(all)
    }

    fn take_all(mut found: Datagrams, into: &mut Vec<Vec<u8>>) {
        while let Some(datagram) = found.front() {
            into.push(datagram.to_vec());
            found.pop_front();
        }
    }
}

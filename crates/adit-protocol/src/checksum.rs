//! The internet checksum (RFC 1071): over bytes, and changed in place (RFC 1624).

/// A running one's-complement sum.
///
/// Pieces must be of even length, but for the last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum(
    /// Sum of 16-bit words in the machine's byte order: a one's-complement sum comes out right in either (RFC 1071
    /// §2 B), so the bytes are swapped once at the end and not in the loop.
    u64,
);

impl Checksum {
    /// A sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        // 32-bit words into 64-bit lanes: no carry can be lost below 2^32 words, and the compiler makes vectors of it.
        let mut lanes = [0_u64; LANES];
        let (rows, rest) = bytes.as_chunks::<{ 4 * LANES }>();
        for row in rows {
            for (lane, word) in lanes.iter_mut().zip(row.as_chunks::<4>().0) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let lanes = lanes.into_iter().fold(0, add);
        Self(add(add(self.0, lanes), u64::from(u32::from_ne_bytes(last))))
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub const fn with_word(self, word: u16) -> Self {
        Self(add(self.0, word.to_be() as u64))
    }

    /// The sum folded to 16 bits, not complemented: what a partial checksum field holds.
    pub const fn partial(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum: the folded sum, complemented. Over data that holds a right checksum this is 0.
    pub const fn finish(self) -> u16 {
        !self.partial()
    }

    /// The checksum of data in which one aligned 16-bit word has changed, from the checksum it had (RFC 1624, equation
    /// 3). For one changed byte, give the whole word that holds it.
    #[must_use]
    pub const fn update(checksum: u16, old_word: u16, new_word: u16) -> u16 {
        Self::new().with_word(!checksum).with_word(!old_word).with_word(new_word).finish()
    }
}

/// 64-byte rows: four vectors of the baseline, or one of the widest.
const LANES: usize = 16;

/// One's-complement addition: the carry comes back in at the bottom.
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let sum = Checksum::new().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!((sum.partial(), sum.finish()), (0xddf2, !0xddf2));
    }

    #[test]
    fn a_real_header_sums_to_zero() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
            0x00, 0xc7,
        ];
        assert_eq!(Checksum::new().with(&header).finish(), 0);
    }

    /// RFC 1624 §4: the older equation gives 0xffff here.
    #[test]
    fn the_update_of_the_rfc_stays_clear_of_the_second_zero() {
        assert_eq!(Checksum::update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn the_greatest_packet_loses_no_carry() {
        let bytes = vec![0xff; 65_536];
        assert_eq!(Checksum::new().with(&bytes).partial(), 0xffff);
        assert_eq!(Checksum::new().with(&bytes).with(&bytes).with_word(1).partial(), 1);
    }

    proptest! {
        #[test]
        fn it_sums_as_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..150_usize) {
            prop_assert_eq!(Checksum::new().with(&bytes).partial(), naive(&bytes));
            let (front, back) = bytes.split_at((at * 2).min(bytes.len() & !1));
            prop_assert_eq!(Checksum::new().with(front).with(back).partial(), naive(&bytes));
        }

        #[test]
        fn words_sum_as_their_bytes(words in prop::collection::vec(any::<u16>(), 0..40)) {
            let by_word = words.iter().fold(Checksum::new(), |sum, w| sum.with_word(*w));
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            prop_assert_eq!(by_word.finish(), Checksum::new().with(&bytes).finish());
        }

        #[test]
        fn an_update_is_a_sum_anew(mut bytes in prop::collection::vec(any::<u8>(), 20..=20), at in 1..10_usize, new: u16) {
            bytes[0] |= 1; // a header is never all zero: there the two zeros of one's complement would differ
            let before = Checksum::new().with(&bytes).finish();
            let old = u16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]);
            bytes[2 * at..2 * at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(Checksum::update(before, old, new), Checksum::new().with(&bytes).finish());
        }
    }

    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

//! The internet checksum (RFC 1071): over bytes, and changed in place (RFC 1624).

/// A running one's-complement sum.
///
/// Pieces must be of even length, but for the last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// A sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let mut sum = u128::from(self.0);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_be_bytes(*word));
        }
        let mut last = [0; 8];
        if let Some(front) = last.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        sum += u128::from(u64::from_be_bytes(last));
        while sum >> 64 != 0 {
            sum = (sum & u128::from(u64::MAX)) + (sum >> 64);
        }
        Self(sum as u64)
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub fn with_word(self, word: u16) -> Self {
        self.with(&word.to_be_bytes())
    }

    /// The sum folded to 16 bits, not complemented: what a partial checksum field holds.
    pub fn partial(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum: the folded sum, complemented. Over data that holds a right checksum this is 0.
    pub fn finish(self) -> u16 {
        !self.partial()
    }
}

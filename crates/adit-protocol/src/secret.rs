//! Bytes that wipe themselves and never print.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: wiped when dropped, compared in constant time, never printed, not `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over. The caller wipes its own copy.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the few places that compute with them.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, for writing them in place.
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// Whether all bytes are zero, in constant time.
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; N]).into()
    }

    /// A second copy, said out loud where one is needed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_prints() {
        assert_eq!(format!("{:?}", Secret::new([0x42; 32])), "Secret(…)");
        assert_eq!(format!("{:#?}", Some(Secret::new([0x42; 2]))), "Some(\n    Secret(…),\n)");
    }

    #[test]
    fn every_byte_counts_in_a_comparison() {
        let one = Secret::new([7; 32]);
        assert_eq!(one, one.duplicate());
        for at in 0..32 {
            let mut other = one.duplicate();
            other.expose_mut()[at] ^= 0x80;
            assert_ne!(one, other);
        }
    }

    #[test]
    fn zero_is_zero_only_if_all_of_it_is() {
        assert!(Secret::new([0; 32]).is_zero());
        for at in 0..32 {
            let mut bytes = [0; 32];
            bytes[at] = 1;
            assert!(!Secret::new(bytes).is_zero());
        }
    }

    #[test]
    fn wiping_leaves_zeros() {
        const fn wipes_itself<T: ZeroizeOnDrop>(_: &T) {}
        let mut secret = Secret::new([9; 16]);
        wipes_itself(&secret);
        secret.zeroize();
        assert!(secret.is_zero());
    }
}

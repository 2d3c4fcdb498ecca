//! The unsafe part of the AVX-512 code: is it there, vectors from and to memory, and the way in.
//!
//! Not here: any arithmetic; it is safe code in `chacha`, `poly1305` and their parent.
#![expect(
    unsafe_code,
    reason = "vector loads and stores, and calls of functions compiled for features found at run time"
)]

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_storeu_si512,
};

use super::super::{OpenItem, SealItem};
#[cfg(test)]
use super::poly1305::Message;

/// Proof that this machine has the instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the processor and the operating system; the answer is kept by the standard library.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma"))
        .then_some(Self(()))
    }

    /// Seals the items.
    pub(crate) fn seal(self, items: &mut [SealItem<'_>]) {
        // SAFETY: only `detect` makes a `Self`, and it has found every feature the function is compiled for.
        unsafe { super::seal(items) }
    }

    /// Opens the items.
    pub(crate) fn open(self, items: &mut [OpenItem<'_>]) {
        // SAFETY: as in `seal`.
        unsafe { super::open(items) }
    }

    /// The tags of eight messages, for the tests of `poly1305`.
    #[cfg(test)]
    pub(super) fn tags(self, messages: &[Message<'_>; 8]) -> [[u8; 16]; 8] {
        // SAFETY: as in `seal`.
        unsafe { super::poly1305::tags(messages) }
    }
}

/// 64 bytes as a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(from: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the instruction wants no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// 16 words as a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_words(from: &[u32; 16]) -> __m512i {
    // SAFETY: as in `load`; 16 words are 64 bytes.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// 8 long words as a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_longs(from: &[u64; 8]) -> __m512i {
    // SAFETY: as in `load`; 8 long words are 64 bytes.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// A vector as 8 long words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_longs(to: &mut [u64; 8], vector: __m512i) {
    // SAFETY: the reference is to 64 writable bytes, and the instruction wants no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
}

/// A vector as 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(to: &mut [u8; 64], vector: __m512i) {
    // SAFETY: as in `store_longs`.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
}

/// The first 64 bytes of a slice, zeros where it is shorter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_front(from: &[u8]) -> __m512i {
    // SAFETY: the mask names no byte beyond the slice, and the instruction reads (and faults on) none it does not name.
    unsafe { _mm512_maskz_loadu_epi8(front(from.len()), from.as_ptr().cast()) }
}

/// Stores the front of a vector into as much as there is of a slice's first 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store_front(to: &mut [u8], vector: __m512i) {
    // SAFETY: the mask names no byte beyond the slice, and the instruction writes none it does not name.
    unsafe { _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), front(to.len()), vector) }
}

/// A bit for each of the first `len` bytes of 64.
#[inline]
const fn front(len: usize) -> u64 {
    if len >= 64 { u64::MAX } else { (1 << len) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_has_a_bit_for_each_byte() {
        assert_eq!((front(0), front(1), front(63), front(64), front(65)), (0, 1, u64::MAX >> 1, u64::MAX, u64::MAX));
    }
}

//! Poly1305 (RFC 8439 §2.5) over eight messages at once, with 52-bit multiply-add (IFMA).
//!
//! A vector holds one number for each of eight messages ("lanes"). Field elements are three limbs of 44, 44 and 42 bits.
//!
//! A message of the AEAD is associated data, ciphertext, lengths, each in blocks of 16 bytes. Messages are aligned at
//! their *end* and worked on in rows of four blocks: a shorter message has empty blocks in front, which leave its sum at
//! zero, so that all lanes end together and none needs a mask. Only the first row and the last of a message are put
//! together; those between are read as they lie.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpeq_epu64_mask, _mm512_cmplt_epu64_mask,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_add_epi64, _mm512_mask_mov_epi64,
    _mm512_maskz_expand_epi64, _mm512_maskz_set1_epi64, _mm512_or_si512, _mm512_set_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use super::chacha::transpose_quarters;
use super::sys::{load, load_front, load_longs, store_longs};

/// How many messages are worked on at once.
pub(super) const LANES: usize = 8;

/// What is authenticated in one lane.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// The one-time key.
    pub(super) key: &'a [u8; 32],
    /// Associated data, at most one block.
    pub(super) aad: &'a [u8],
    /// Ciphertext.
    pub(super) text: &'a [u8],
}

impl Message<'_> {
    /// Blocks in front of the ciphertext.
    const fn aad_blocks(&self) -> usize {
        !self.aad.is_empty() as usize
    }

    /// Rows, when filled up in front.
    pub(super) const fn rows(&self) -> usize {
        (self.aad_blocks() + self.text.len().div_ceil(16) + 1).div_ceil(4)
    }

    /// Empty blocks in front, for the whole number of rows.
    const fn lead(&self) -> usize {
        self.rows() * 4 - (self.aad_blocks() + self.text.len().div_ceil(16) + 1)
    }

    /// Row number `row`, put together: the first and the last hold more than ciphertext.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn row(&self, row: usize) -> __m512i {
        let before = self.lead() + self.aad_blocks();
        let (skip, from) = (before.saturating_sub(4 * row), (4 * row).saturating_sub(before) * 16);
        let text = load_front(self.text.get(from..).unwrap_or_default());
        let mut out = _mm512_maskz_expand_epi64(blocks_from(skip), text);
        if row == 0 && !self.aad.is_empty() {
            let aad = load_front(self.aad);
            out = _mm512_or_si512(out, _mm512_maskz_expand_epi64(blocks_from(self.lead()), aad));
        }
        if row + 1 == self.rows() {
            let (aad, text) = (self.aad.len() as i64, self.text.len() as i64);
            out = _mm512_or_si512(out, _mm512_set_epi64(text, aad, 0, 0, 0, 0, 0, 0));
        }
        out
    }

    /// The ciphertext from the second row on, 64 bytes a row.
    fn middle(&self) -> &[[u8; 64]] {
        let first = (4 - self.lead().min(4)).saturating_sub(self.aad_blocks()) * 16;
        self.text.get(first..).unwrap_or_default().as_chunks().0
    }
}

/// The long words of a row from block `first` on.
const fn blocks_from(first: usize) -> __mmask8 {
    (0xff_u32 << (2 * first)) as __mmask8
}

/// The tags of eight messages.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
pub(super) fn tags(messages: &[Message<'_>; LANES]) -> [[u8; 16]; LANES] {
    let (keys_low, keys_high) = columns(&messages.map(|m| *half(m.key, 0)));
    let (pads_low, pads_high) = columns(&messages.map(|m| *half(m.key, 1)));
    let clamp = |word, mask: i64| _mm512_and_si512(word, _mm512_set1_epi64(mask));
    let r = limbs(clamp(keys_low, 0x0fff_fffc_0fff_ffff), clamp(keys_high, 0x0fff_fffc_0fff_fffc));
    let sum = sum(messages, r);
    let (low, high) = freeze(sum);
    let low = _mm512_add_epi64(low, pads_low);
    let carry = _mm512_cmplt_epu64_mask(low, pads_low);
    let high = _mm512_add_epi64(high, pads_high);
    let high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));
    let (mut lows, mut highs) = ([0; LANES], [0; LANES]);
    store_longs(&mut lows, low);
    store_longs(&mut highs, high);
    let mut tags = [[0; 16]; LANES];
    for (tag, (low, high)) in tags.iter_mut().zip(lows.into_iter().zip(highs)) {
        tag[..8].copy_from_slice(&low.to_le_bytes());
        tag[8..].copy_from_slice(&high.to_le_bytes());
    }
    tags
}

/// The polynomials, before the pads are added.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn sum(messages: &[Message<'_>; LANES], r: Element) -> Element {
    let powers = powers(r);
    let rows = messages.iter().map(Message::rows).max().unwrap_or(0);
    let starts = messages.map(|m| rows - m.rows());
    let middles = messages.each_ref().map(Message::middle);
    let mut sum = [_mm512_setzero_si512(); 3];
    let mut row = 0;
    while row < rows {
        // Where all lanes are between their first row and their last, nothing needs to be looked at.
        let first = starts.iter().copied().max().unwrap_or(0) + 1;
        if row == first {
            while row + 1 < rows {
                let mut vectors = [_mm512_setzero_si512(); LANES];
                for lane in 0..LANES {
                    vectors[lane] = load(&middles[lane][row - 1 - starts[lane]]);
                }
                sum = step(sum, vectors, ALL_PRESENT, &powers);
                row += 1;
            }
        }
        let mut vectors = [_mm512_setzero_si512(); LANES];
        let mut present = [0; 4];
        for lane in 0..LANES {
            let Some(own) = row.checked_sub(starts[lane]) else { continue };
            let lead = if own == 0 { messages[lane].lead() } else { 0 };
            for mask in &mut present[lead..] {
                *mask |= 1 << lane;
            }
            let between = own > 0 && row + 1 < rows;
            vectors[lane] = if between { load(&middles[lane][own - 1]) } else { messages[lane].row(own) };
        }
        sum = step(sum, vectors, present, &powers);
        row += 1;
    }
    sum
}

/// In every block of a row, every lane.
const ALL_PRESENT: [__mmask8; 4] = [0xff; 4];

/// A number modulo 2^130 - 5 in each lane; limbs may be a little longer than 44, 44 and 42 bits.
type Element = [__m512i; 3];

/// A factor, with what its upper limbs are worth when they wrap around: 2^132 is 20.
#[derive(Clone, Copy)]
struct Factor {
    limbs: Element,
    wrapped: [__m512i; 2],
}

/// A sum of products: low and high halves of each limb, not yet carried.
struct Products {
    low: Element,
    high: Element,
}

/// One row: four blocks in each lane. `present` says of each of the four which lanes have begun.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn step(sum: Element, rows: [__m512i; LANES], present: [__mmask8; 4], powers: &[Factor; 4]) -> Element {
    let [a, b, c, d, e, f, g, h] = rows;
    let low = |a, b| _mm512_unpacklo_epi64(a, b);
    let high = |a, b| _mm512_unpackhi_epi64(a, b);
    let lows = transpose_quarters([low(a, b), low(c, d), low(e, f), low(g, h)]);
    let highs = transpose_quarters([high(a, b), high(c, d), high(e, f), high(g, h)]);
    let mut products = Products { low: [_mm512_setzero_si512(); 3], high: [_mm512_setzero_si512(); 3] };
    // The last block first: the sum so far, which is waited for, is in the first.
    for i in [3, 2, 1, 0] {
        let mut block = limbs(lows[i], highs[i]);
        block[2] = _mm512_or_si512(block[2], _mm512_maskz_set1_epi64(present[i], 1 << 40));
        if i == 0 {
            for j in 0..3 {
                block[j] = _mm512_add_epi64(block[j], sum[j]);
            }
        }
        add_product(&mut products, block, &powers[3 - i]);
    }
    carried(products)
}

/// `r`, `r²`, `r³`, `r⁴`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn powers(r: Element) -> [Factor; 4] {
    let one = factor(r);
    let two = product(r, &one);
    let three = product(two, &one);
    let four = product(two, &factor(two));
    [one, factor(two), factor(three), factor(four)]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn factor(limbs: Element) -> Factor {
    let twenty = |x| _mm512_add_epi64(_mm512_slli_epi64::<4>(x), _mm512_slli_epi64::<2>(x));
    Factor { limbs, wrapped: [twenty(limbs[1]), twenty(limbs[2])] }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn product(a: Element, b: &Factor) -> Element {
    let mut products = Products { low: [_mm512_setzero_si512(); 3], high: [_mm512_setzero_si512(); 3] };
    add_product(&mut products, a, b);
    carried(products)
}

/// Multiply-add with 52-bit halves: limbs of `a` must be below 2^52, which they are by a wide margin; so must those of `b`
/// times 20. Four products in one sum stay below 2^57.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn add_product(to: &mut Products, a: Element, b: &Factor) {
    let [r0, r1, r2] = b.limbs;
    let [w1, w2] = b.wrapped;
    for (j, factors) in [[r0, w2, w1], [r1, r0, w2], [r2, r1, r0]].into_iter().enumerate() {
        for i in [1, 2, 0] {
            to.low[j] = _mm512_madd52lo_epu64(to.low[j], a[i], factors[i]);
            to.high[j] = _mm512_madd52hi_epu64(to.high[j], a[i], factors[i]);
        }
    }
}

/// Carries once around: limbs below 2^44 + a little, 2^44, 2^42.
#[inline]
#[target_feature(enable = "avx512f")]
fn carried(Products { low, high }: Products) -> Element {
    let m44 = _mm512_set1_epi64((1 << 44) - 1);
    let m42 = _mm512_set1_epi64((1 << 42) - 1);
    // A high half is worth 2^52 = 2^8 of the next limb; beyond the last, 20 * 2^8 = 2^12 + 2^10 of the first.
    let around = _mm512_add_epi64(_mm512_slli_epi64::<12>(high[2]), _mm512_slli_epi64::<10>(high[2]));
    let d0 = _mm512_add_epi64(low[0], around);
    let d1 = _mm512_add_epi64(low[1], _mm512_slli_epi64::<8>(high[0]));
    let d2 = _mm512_add_epi64(low[2], _mm512_slli_epi64::<8>(high[1]));
    let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
    let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
    let top = _mm512_srli_epi64::<42>(d2);
    let five = _mm512_add_epi64(top, _mm512_slli_epi64::<2>(top));
    [_mm512_add_epi64(_mm512_and_si512(d0, m44), five), _mm512_and_si512(d1, m44), _mm512_and_si512(d2, m42)]
}

/// The one representation below 2^130 - 5, modulo 2^128, as two long words.
#[inline]
#[target_feature(enable = "avx512f")]
fn freeze(sum: Element) -> (__m512i, __m512i) {
    let m44 = _mm512_set1_epi64((1 << 44) - 1);
    let m42 = _mm512_set1_epi64((1 << 42) - 1);
    let nothing = [_mm512_setzero_si512(); 3];
    let around = |sum| carried(Products { low: sum, high: nothing });
    // Twice around settles all but a last carry out of the first limb, and that limb was then as good as zero.
    let [h0, h1, h2] = around(around(around(sum)));
    // Plus 5: if that reaches 2^130, it, less 2^130, is the number less the modulus.
    let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(g0));
    let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(g1));
    let beyond = !_mm512_cmpeq_epu64_mask(_mm512_srli_epi64::<42>(g2), _mm512_setzero_si512());
    let h0 = _mm512_mask_mov_epi64(h0, beyond, _mm512_and_si512(g0, m44));
    let h1 = _mm512_mask_mov_epi64(h1, beyond, _mm512_and_si512(g1, m44));
    let h2 = _mm512_mask_mov_epi64(h2, beyond, _mm512_and_si512(g2, m42));
    let low = _mm512_or_si512(h0, _mm512_slli_epi64::<44>(h1));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2));
    (low, high)
}

/// 128 bits as limbs.
#[inline]
#[target_feature(enable = "avx512f")]
fn limbs(low: __m512i, high: __m512i) -> Element {
    let m44 = _mm512_set1_epi64((1 << 44) - 1);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [_mm512_and_si512(low, m44), _mm512_and_si512(middle, m44), _mm512_srli_epi64::<24>(high)]
}

/// Eight blocks as a vector of low and one of high words.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(blocks: &[[u8; 16]; LANES]) -> (__m512i, __m512i) {
    let word = |block: &[u8; 16], at: usize| block.as_chunks().0.get(at).map_or(0, |w| u64::from_le_bytes(*w));
    (load_longs(&blocks.each_ref().map(|b| word(b, 0))), load_longs(&blocks.each_ref().map(|b| word(b, 1))))
}

/// One half of a one-time key: `r` or `s`.
fn half(key: &[u8; 32], at: usize) -> &[u8; 16] {
    &key.as_chunks().0[at]
}

#[cfg(test)]
mod tests {
    use super::super::sys::Avx512;
    use super::*;

    /// The numbers that a one-time key never gives by chance: sums at the modulus, all bits set, factors of 0 and 1.
    #[test]
    fn chosen_numbers_come_out_as_by_hand() {
        const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let lengths = 32_u128 << 64;
        // With r = 1: three blocks sum up to 2^130 - 10 + k.
        let at_modulus = (0..16).map(|k| (1, vec![(u128::MAX - 9).wrapping_add(k).wrapping_sub(lengths), 0]));
        let full = (0..40).map(|n| (CLAMP, vec![u128::MAX; n]));
        let powers = (0..128).map(|n| (CLAMP & (1 << n), vec![u128::MAX << (n / 2), 1 << n, u128::MAX]));
        let cases: Vec<(u128, Vec<u128>)> = at_modulus.chain(full).chain(powers).collect();
        for pad in [0, 1, u128::MAX, 1 << 64, u128::from(u64::MAX)] {
            for eight in cases.chunks(LANES) {
                let keys: Vec<[u8; 32]> = eight
                    .iter()
                    .map(|(r, _)| [r.to_le_bytes(), pad.to_le_bytes()].concat().try_into().unwrap())
                    .collect();
                let texts: Vec<Vec<u8>> =
                    eight.iter().map(|(_, blocks)| blocks.iter().flat_map(|b| b.to_le_bytes()).collect()).collect();
                let message =
                    |i: usize| Message { key: &keys[i % keys.len()], aad: &[], text: &texts[i % texts.len()] };
                let Some(found) = Avx512::detect() else { return };
                let tags = found.tags(&std::array::from_fn(message));
                for (i, (r, blocks)) in eight.iter().enumerate() {
                    let last = (blocks.len() as u128 * 16) << 64;
                    let expected = by_hand(*r, blocks.iter().copied().chain([last])).wrapping_add(pad);
                    assert_eq!(u128::from_le_bytes(tags[i]), expected, "r = {r:#x}, pad = {pad:#x}, {blocks:x?}");
                }
            }
        }
    }

    /// The polynomial modulo 2^128, by doubling and adding. A number is its low 128 bits and what is above.
    fn by_hand(r: u128, blocks: impl Iterator<Item = u128>) -> u128 {
        let mut sum = (0, 0);
        for block in blocks {
            sum = add(sum, (block, 1));
            let mut product = (0, 0);
            for bit in (0..128).rev() {
                product = add(product, product);
                if r >> bit & 1 == 1 {
                    product = add(product, sum);
                }
            }
            sum = product;
        }
        sum.0
    }

    fn add(a: (u128, u128), b: (u128, u128)) -> (u128, u128) {
        let (low, carry) = a.0.overflowing_add(b.0);
        let mut sum = (low, a.1 + b.1 + u128::from(carry));
        // Less the modulus, which is plus 5 less 2^130, as often as it fits.
        loop {
            let (low, carry) = sum.0.overflowing_add(5);
            let Some(high) = (sum.1 + u128::from(carry)).checked_sub(4) else { return sum };
            sum = (low, high);
        }
    }
}

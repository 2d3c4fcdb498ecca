//! ChaCha20 (RFC 8439 §2.3) over sixteen blocks at once, of as many packets and keys as there are blocks.
//!
//! A vector holds one word of the state for each of sixteen blocks. Not here: which blocks those are (the parent).

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_permutexvar_epi32, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_shuffle_i32x4,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use zeroize::Zeroize;

use super::sys::{load, load_front, load_words, store, store_front};

/// How many blocks, and so also how many packets, are worked on at once.
pub(super) const LANES: usize = 16;

/// Keys and nonces of up to sixteen packets; word by word, so that one permutation brings a word to its lanes.
pub(super) struct Streams {
    /// Whether all packets have the first one's key.
    one_key: bool,
    key: [[u32; LANES]; 8],
    nonce: [[u32; LANES]; 3],
}

/// Up to sixteen blocks to be changed in place. Lanes without a block have an empty slice.
pub(super) struct Step<'a> {
    /// Number of the packet in the [`Streams`].
    pub(super) packet: [u32; LANES],
    /// Block counter.
    pub(super) counter: [u32; LANES],
    /// At most 64 bytes.
    pub(super) text: [&'a mut [u8]; LANES],
}

impl Streams {
    pub(super) const fn new() -> Self {
        Self { one_key: true, key: [[0; LANES]; 8], nonce: [[0; LANES]; 3] }
    }

    /// Sets the key and nonce of packet number `at`. Packet 0 comes first.
    pub(super) fn set(&mut self, at: usize, key: &[u8; 32], nonce: &[u8; 12]) {
        let mut other = 0;
        for (words, bytes) in self.key.iter_mut().zip(key.as_chunks().0) {
            let word = u32::from_le_bytes(*bytes);
            words[at] = word;
            other |= word ^ words[0];
        }
        self.one_key &= other == 0;
        for (words, bytes) in self.nonce.iter_mut().zip(nonce.as_chunks().0) {
            words[at] = u32::from_le_bytes(*bytes);
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Two rounds of one state or of several: columns, then diagonals.
macro_rules! double_round {
    ($($x:ident),*) => {
        quarters!([$($x),*], [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]);
        quarters!([$($x),*], [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]);
    };
}

/// Four quarter rounds on different words, step by step side by side. Macros, because only constant indices keep the
/// state in registers.
macro_rules! quarters {
    ([$($x:ident),*], $at:tt) => {
        $(quarter_steps!($x, 0, 16, $at);)*
        $(quarter_steps!($x, 1, 12, $at);)*
        $(quarter_steps!($x, 0, 8, $at);)*
        $(quarter_steps!($x, 1, 7, $at);)*
    };
}

/// The same step of several quarter rounds: add, xor, rotate.
macro_rules! quarter_steps {
    ($x:ident, 0, $by:literal, [$(($a:literal, $b:literal, $c:literal, $d:literal)),*]) => {
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<$by>(_mm512_xor_si512($x[$d], $x[$a]));)*
    };
    ($x:ident, 1, $by:literal, [$(($a:literal, $b:literal, $c:literal, $d:literal)),*]) => {
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<$by>(_mm512_xor_si512($x[$b], $x[$c]));)*
    };
}

impl Step<'_> {
    pub(super) fn new() -> Self {
        Self { packet: [0; LANES], counter: [0; LANES], text: std::array::from_fn(|_| Default::default()) }
    }

    /// Adds the keystream to every block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn run(&mut self, streams: &Streams) {
        let start = self.start(streams);
        let mut state = start;
        for _ in 0..10 {
            double_round!(state);
        }
        self.finish(&start, state);
    }

    /// The same for two steps at once: one alone waits for its own results much of the time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn run_two(&mut self, other: &mut Self, streams: &Streams) {
        let (start, other_start) = (self.start(streams), other.start(streams));
        let (mut state, mut other_state) = (start, other_start);
        for _ in 0..10 {
            double_round!(state, other_state);
        }
        self.finish(&start, state);
        other.finish(&other_start, other_state);
    }

    /// The state before the rounds.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn start(&self, streams: &Streams) -> [__m512i; 16] {
        let (packet, counter) = (load_words(&self.packet), load_words(&self.counter));
        let mut start = [counter; 16];
        start[0] = _mm512_set1_epi32(0x6170_7865); // "expand 32-byte k"
        start[1] = _mm512_set1_epi32(0x3320_646e);
        start[2] = _mm512_set1_epi32(0x7962_2d32);
        start[3] = _mm512_set1_epi32(0x6b20_6574);
        for i in 0..8 {
            start[4 + i] = if streams.one_key {
                _mm512_set1_epi32(streams.key[i][0].cast_signed())
            } else {
                _mm512_permutexvar_epi32(packet, load_words(&streams.key[i]))
            };
        }
        for i in 0..3 {
            start[13 + i] = _mm512_permutexvar_epi32(packet, load_words(&streams.nonce[i]));
        }
        start
    }

    /// After the rounds: makes keystream of the state, and adds it to every block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn finish(&mut self, start: &[__m512i; 16], mut state: [__m512i; 16]) {
        for i in 0..16 {
            state[i] = _mm512_add_epi32(state[i], start[i]);
        }
        for (text, stream) in self.text.iter_mut().zip(transpose(&state)) {
            if let Ok(whole) = <&mut [u8; 64]>::try_from(&mut **text) {
                store(whole, _mm512_xor_si512(load(whole), stream));
            } else if !text.is_empty() {
                store_front(text, _mm512_xor_si512(load_front(text), stream));
            }
        }
    }
}

/// From a vector a word to a vector a block.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: &[__m512i; 16]) -> [__m512i; 16] {
    // Within the 128-bit quarters first: four words of block 4 * quarter + j.
    let mut fours = [[x[0]; 4]; 4];
    for g in 0..4 {
        let (a, b, c, d) = (x[4 * g], x[4 * g + 1], x[4 * g + 2], x[4 * g + 3]);
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        fours[g][0] = _mm512_unpacklo_epi64(ab, cd);
        fours[g][1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        fours[g][2] = _mm512_unpacklo_epi64(ab, cd);
        fours[g][3] = _mm512_unpackhi_epi64(ab, cd);
    }
    let mut blocks = *x;
    for j in 0..4 {
        let quarters = transpose_quarters([fours[0][j], fours[1][j], fours[2][j], fours[3][j]]);
        for i in 0..4 {
            blocks[4 * i + j] = quarters[i];
        }
    }
    blocks
}

/// Transposes a square of 4 × 4 pieces of 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}

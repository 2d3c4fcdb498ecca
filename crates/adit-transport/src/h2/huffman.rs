//! The Huffman code of HPACK, RFC 7541 §5.2 and appendix B. Pure.

/// Symbols: all bytes, and the one that ends a string and must never be written.
const SYMBOLS: usize = 257;
/// Bits of the longest code.
const LONGEST: usize = 30;

/// Appendix B: how many bits each symbol takes. The codes follow from them, because the code is canonical.
const BITS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The symbol that ends a string.
const END: u16 = 256;

static CODE: Code = Code::new();

/// The code, for both directions.
struct Code {
    /// By symbol.
    codes: [u32; SYMBOLS],
    /// Symbols by length of code, then by value.
    sorted: [u16; SYMBOLS],
    /// By length: the first code, and where its symbol stands in `sorted`.
    first: [(u32, u16); LONGEST + 2],
}

impl Code {
    const fn new() -> Self {
        let mut code = Self { codes: [0; SYMBOLS], sorted: [0; SYMBOLS], first: [(0, 0); LONGEST + 2] };
        let (mut next, mut place, mut bits) = (0_u32, 0_usize, 1_usize);
        while bits <= LONGEST {
            next <<= 1;
            code.first[bits] = (next, place as u16);
            let mut symbol = 0;
            while symbol < SYMBOLS {
                if BITS[symbol] as usize == bits {
                    code.codes[symbol] = next;
                    code.sorted[place] = symbol as u16;
                    next += 1;
                    place += 1;
                }
                symbol += 1;
            }
            bits += 1;
        }
        code.first[LONGEST + 1] = (0, place as u16);
        code
    }
}

/// The bytes that a string takes when encoded.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(BITS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Encodes a string.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut held, mut bits) = (0_u64, 0_u32);
    for byte in text {
        let symbol = usize::from(*byte);
        held = held << BITS[symbol] | u64::from(CODE.codes[symbol]);
        bits += u32::from(BITS[symbol]);
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    if bits > 0 {
        // Filled up with the beginning of the end, which is all ones.
        out.push((held << (8 - bits)) as u8 | (0xff >> bits));
    }
}

/// Decodes a string of at most `max` bytes. `None` if it is none: too long, the end inside it, or wrongly filled up.
pub(super) fn decode(bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len().min(max));
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let (first, place) = *CODE.first.get(bits)?;
            let count = CODE.first.get(bits + 1).map_or(0, |(_, next)| next - place);
            if bits <= LONGEST && code.wrapping_sub(first) < u32::from(count) {
                let symbol = CODE.sorted[usize::from(place) + (code - first) as usize];
                if symbol == END || text.len() == max {
                    return None;
                }
                text.push(symbol as u8);
                (code, bits) = (0, 0);
            }
        }
    }
    let is_filled_up = bits < 8 && code == (1 << bits) - 1;
    is_filled_up.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7541 appendix C.4.1 and C.6.1.
    #[test]
    fn the_strings_of_the_rfc() {
        let samples: [(&[u8], &[u8]); 3] = [
            (b"www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (b"302", &[0x64, 0x02]),
        ];
        for (text, bytes) in samples {
            let mut out = Vec::new();
            encode(text, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(encoded_len(text), bytes.len());
            assert_eq!(decode(bytes, 100).unwrap(), text);
        }
    }

    /// RFC 7541 §5.2: the end inside a string, more than seven bits of filling, filling that is not ones.
    #[test]
    fn what_is_no_string_is_refused() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff], 100), None);
        assert_eq!(decode(&[0x64, 0x02, 0xff], 100), None);
        assert_eq!(decode(&[0x18], 100), None);
        assert_eq!(decode(&[0xf1, 0xe3], 1), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            encode(&text, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&text));
            prop_assert_eq!(decode(&out, text.len()), Some(text));
        }

        #[test]
        fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = decode(&bytes, 1000);
            prop_assert!(text.is_none_or(|text| encoded_len(&text) <= bytes.len()));
        }
    }
}

//! BLAKE2s in the three ways WireGuard uses it: hash, keyed MAC of 16 bytes, and HKDF over HMAC (§5.4).

use adit_protocol::Secret;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use zeroize::Zeroize as _;

const BLOCK: usize = 64;

/// HASH of the pieces, one after the other.
pub(crate) fn hash(pieces: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for piece in pieces {
        blake2::digest::Update::update(&mut state, piece);
    }
    state.finalize_fixed().into()
}

/// MAC: keyed BLAKE2s with 16 bytes of output. The key has at most 32 bytes.
pub(crate) fn mac(key: &[u8], pieces: &[&[u8]]) -> [u8; 16] {
    #[expect(clippy::expect_used, reason = "all keys here have 16 or 32 bytes, and 32 are allowed")]
    let mut state = Blake2sMac::<U16>::new_from_slice(key).expect("a key of at most 32 bytes");
    for piece in pieces {
        state.update(piece);
    }
    state.finalize_fixed().into()
}

/// KDF_n: the first `N` outputs of HKDF with `chain` as salt and `input` as secret.
pub(crate) fn kdf<const N: usize>(chain: &Secret<32>, input: &[u8]) -> [Secret<32>; N] {
    let key = Hmac::new(chain).finish(&[input]);
    let hmac = Hmac::new(&key);
    let mut previous: Option<Secret<32>> = None;
    std::array::from_fn(|i| {
        let counter = [i as u8 + 1];
        let output = match &previous {
            None => hmac.finish(&[&counter]),
            Some(previous) => hmac.finish(&[previous.expose(), &counter]),
        };
        previous = Some(output.duplicate());
        output
    })
}

/// HMAC-BLAKE2s with its key's two blocks already taken in.
struct Hmac {
    inner: Blake2s256,
    outer: Blake2s256,
}

impl Hmac {
    fn new(key: &Secret<32>) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key.expose()) {
                *byte ^= key;
            }
            let state = Blake2s256::new_with_prefix(block);
            block.zeroize();
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    fn finish(&self, pieces: &[&[u8]]) -> Secret<32> {
        let mut inner = self.inner.clone();
        for piece in pieces {
            blake2::digest::Update::update(&mut inner, piece);
        }
        let mut digest: [u8; 32] = inner.finalize_fixed().into();
        let mut outer = self.outer.clone();
        blake2::digest::Update::update(&mut outer, &digest);
        digest.zeroize();
        Secret::new(outer.finalize_fixed().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// RFC 7693, appendix B.
    #[test]
    fn the_hash_is_blake2s() {
        assert_eq!(hex(&hash(&[b"a", b"bc"])), "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    }

    /// The outputs of HKDF chain: each is an HMAC of the one before and its number.
    #[test]
    fn fewer_outputs_are_a_prefix_of_more() {
        let chain = Secret::new([1; 32]);
        let [a] = kdf(&chain, b"input");
        let [b, c] = kdf(&chain, b"input");
        let [d, e, f] = kdf(&chain, b"input");
        assert!(a == b && b == d && c == e && e != f);
    }
}

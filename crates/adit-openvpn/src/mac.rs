//! HMAC over pieces, with keys that are made once.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use crate::Digest;

/// An HMAC key.
pub(crate) struct Mac(hmac::Key);

impl Mac {
    /// The key is the first bytes of `slot`, as many as the digest has.
    pub(crate) fn new(digest: Digest, slot: &[u8; 64]) -> Self {
        Self(hmac::Key::new(algorithm(digest), slot.get(..digest.output_len()).unwrap_or(slot)))
    }

    /// The MAC of the pieces one after the other.
    pub(crate) fn sign(&self, pieces: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        pieces.iter().for_each(|piece| context.update(piece));
        context.sign()
    }

    /// Whether that is `tag`, compared in constant time.
    pub(crate) fn verify(&self, pieces: &[&[u8]], tag: &[u8]) -> bool {
        self.sign(pieces).as_ref().ct_eq(tag).into()
    }
}

fn algorithm(digest: Digest) -> hmac::Algorithm {
    match digest {
        Digest::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Digest::Sha224 => hmac::HMAC_SHA224,
        Digest::Sha256 => hmac::HMAC_SHA256,
        Digest::Sha384 => hmac::HMAC_SHA384,
        Digest::Sha512 => hmac::HMAC_SHA512,
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac(…)")
    }
}

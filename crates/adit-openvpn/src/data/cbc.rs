//! Packets under AES-CBC with an HMAC, for old peers: MAC, initialization vector, ciphertext with the number inside.
//!
//! The MAC is over vector and ciphertext; opcode and peer id are not authenticated, so nothing may follow from them.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use crate::mac::Mac;
use crate::{Cipher, Digest};

/// Bytes of a block of AES, and of the vector.
pub(super) const BLOCK: usize = 16;
/// Bytes of the packet's number.
pub(super) const NUMBER: usize = 4;

pub(super) struct CbcSealer {
    key: EncryptingKey,
    mac: Mac,
    tag_len: usize,
}

pub(super) struct CbcOpener {
    key: DecryptingKey,
    mac: Mac,
    tag_len: usize,
}

fn unbound(cipher: Cipher, key: &[u8; 64]) -> UnboundCipherKey {
    let algorithm = match cipher.key_len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    #[expect(clippy::expect_used, reason = "the length is the algorithm's own")]
    UnboundCipherKey::new(algorithm, key.get(..cipher.key_len()).unwrap_or_default()).expect("a key")
}

impl CbcSealer {
    pub(super) fn new(cipher: Cipher, digest: Digest, key: &[u8; 64], mac: &[u8; 64]) -> Self {
        #[expect(clippy::expect_used, reason = "AES has this mode")]
        let key = EncryptingKey::cbc(unbound(cipher, key)).expect("a mode");
        Self { key, mac: Mac::new(digest, mac), tag_len: digest.output_len() }
    }

    /// Bytes that a plain text of `len` bytes becomes.
    pub(super) const fn wire_len(&self, len: usize) -> usize {
        self.tag_len + BLOCK + (NUMBER + len + 1).next_multiple_of(BLOCK)
    }

    /// Where the number begins; the plain text follows it.
    pub(super) const fn number_at(&self) -> usize {
        self.tag_len + BLOCK
    }

    /// Seals in place what was laid out: room for the tag, the vector, the padded text.
    pub(super) fn seal(&self, text: &mut [u8]) {
        let Some((tag, rest)) = text.split_at_mut_checked(self.tag_len) else { return };
        let Some((iv, plain)) = rest.split_first_chunk_mut::<BLOCK>() else { return };
        if self.key.less_safe_encrypt(plain, EncryptionContext::Iv128(FixedLength::from(*iv))).is_err() {
            // Cannot be; but what is not encrypted must not leave.
            plain.fill(0);
        }
        tag.copy_from_slice(self.mac.sign(&[rest]).as_ref());
    }
}

impl CbcOpener {
    pub(super) fn new(cipher: Cipher, digest: Digest, key: &[u8; 64], mac: &[u8; 64]) -> Self {
        #[expect(clippy::expect_used, reason = "AES has this mode")]
        let key = DecryptingKey::cbc(unbound(cipher, key)).expect("a mode");
        Self { key, mac: Mac::new(digest, mac), tag_len: digest.output_len() }
    }

    /// Opens in place: the number, and the length of the plain text after it.
    pub(super) fn open(&self, text: &mut [u8]) -> Option<(u32, usize)> {
        let (tag, rest) = text.split_at_mut_checked(self.tag_len)?;
        if !self.mac.verify(&[rest], tag) {
            return None;
        }
        let (iv, sealed) = rest.split_first_chunk_mut::<BLOCK>()?;
        let plain = self.key.decrypt(sealed, DecryptionContext::Iv128(FixedLength::from(*iv))).ok()?;
        // Authentic already, so what the padding says betrays nothing.
        let padding = *plain.last()?;
        let (text, pad) = plain.split_at_checked(plain.len().checked_sub(usize::from(padding))?)?;
        if !(1..=BLOCK).contains(&pad.len()) || pad.iter().any(|byte| *byte != padding) {
            return None;
        }
        let (number, text) = text.split_first_chunk::<NUMBER>()?;
        Some((u32::from_be_bytes(*number), text.len()))
    }

    /// Where the number begins; the plain text follows it.
    pub(super) const fn number_at(&self) -> usize {
        self.tag_len + BLOCK
    }
}

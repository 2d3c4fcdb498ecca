//! Packets under a cipher that authenticates: number, tag, ciphertext.

use adit_protocol::Secret;
use adit_protocol::aead::{self, TAG_LEN};
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::Cipher;

/// Bytes of the packet's number.
pub(super) const NUMBER: usize = 4;
/// Bytes that a packet grows by, its header not counted.
pub(super) const ADDED: usize = NUMBER + TAG_LEN;

/// A key for one direction, and the part of the nonce that is not sent.
pub(super) struct AeadKey {
    pub(super) with: With,
    implicit_iv: [u8; 8],
}

pub(super) enum With {
    Gcm(LessSafeKey),
    ChaCha(aead::Key),
}

impl With {
    /// The key is the first bytes of `key`, as many as the cipher has.
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Self {
        let gcm = |algorithm| {
            #[expect(clippy::expect_used, reason = "the length is the algorithm's own")]
            let unbound = UnboundKey::new(algorithm, key.get(..cipher.key_len()).unwrap_or_default()).expect("a key");
            Self::Gcm(LessSafeKey::new(unbound))
        };
        match cipher {
            Cipher::Aes128Gcm => gcm(&AES_128_GCM),
            Cipher::Aes192Gcm => gcm(&AES_192_GCM),
            Cipher::Aes256Gcm => gcm(&AES_256_GCM),
            Cipher::ChaCha20Poly1305 | Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => {
                let mut bytes = Secret::new([0; 32]);
                bytes.expose_mut().iter_mut().zip(key).for_each(|(to, from)| *to = *from);
                Self::ChaCha(aead::Key::new(&bytes))
            }
        }
    }
}

impl AeadKey {
    pub(super) fn new(cipher: Cipher, key: &[u8; 64], iv: &[u8; 64]) -> Self {
        let mut implicit_iv = [0; 8];
        implicit_iv.iter_mut().zip(iv).for_each(|(to, from)| *to = *from);
        Self { with: With::new(cipher, key), implicit_iv }
    }

    /// Where the plain packet lies before sealing, and after opening: at the end for one library, before the tag for the
    /// other. (On the wire the tag is always before the ciphertext.)
    pub(super) const fn plain_at(&self) -> usize {
        match self.with {
            With::Gcm(_) => ADDED,
            With::ChaCha(_) => NUMBER,
        }
    }

    pub(super) fn nonce(&self, number: u32) -> [u8; 12] {
        let mut nonce = [0; 12];
        let (first, last) = nonce.split_at_mut(NUMBER);
        first.copy_from_slice(&number.to_be_bytes());
        last.copy_from_slice(&self.implicit_iv);
        nonce
    }
}

/// The associated data: header and number if the header is long, else the number alone.
pub(super) fn associated(header_len: usize, datagram: &[u8]) -> &[u8] {
    let from = if header_len == 4 { 0 } else { header_len };
    datagram.get(from..header_len + NUMBER).unwrap_or_default()
}

/// Seals `tag plain` in place.
pub(super) fn seal_gcm(key: &LessSafeKey, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) {
    let Some((tag, plain)) = text.split_first_chunk_mut::<TAG_LEN>() else { return };
    match key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), plain) {
        Ok(made) => tag.copy_from_slice(made.as_ref()),
        // Too long for the algorithm: must not leave as it is.
        Err(_) => plain.fill(0),
    }
}

/// Opens `tag ciphertext` in place.
pub(super) fn open_gcm(key: &LessSafeKey, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) -> bool {
    let Some((tag, sealed)) = text.split_first_chunk_mut::<TAG_LEN>() else { return false };
    key.open_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), tag.as_slice(), sealed)
        .is_ok()
}

/// `tag text` becomes `text tag`.
pub(super) fn tag_last(text: &mut [u8]) {
    let Some(tag) = text.first_chunk::<TAG_LEN>().copied() else { return };
    text.copy_within(TAG_LEN.., 0);
    if let Some(last) = text.last_chunk_mut::<TAG_LEN>() {
        *last = tag;
    }
}

/// `text tag` becomes `tag text`.
pub(super) fn tag_first(text: &mut [u8]) {
    let Some(tag) = text.last_chunk::<TAG_LEN>().copied() else { return };
    text.copy_within(..text.len() - TAG_LEN, TAG_LEN);
    if let Some(first) = text.first_chunk_mut::<TAG_LEN>() {
        *first = tag;
    }
}

/// Seals `plain`, the tag after it, in place.
pub(super) fn seal_gcm_tag_last(key: &LessSafeKey, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) {
    let Some((plain, tag)) = text.split_last_chunk_mut::<TAG_LEN>() else { return };
    match key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), plain) {
        Ok(made) => tag.copy_from_slice(made.as_ref()),
        // Too long for the algorithm: must not leave as it is.
        Err(_) => plain.fill(0),
    }
}

/// Opens `ciphertext tag` in place.
pub(super) fn open_gcm_tag_last(key: &LessSafeKey, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) -> bool {
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), text).is_ok()
}

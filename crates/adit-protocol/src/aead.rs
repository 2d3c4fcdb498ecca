//! The one place that names the bulk-crypto library: ChaCha20-Poly1305 in place, one packet or many.

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::Secret;

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// A ChaCha20-Poly1305 key (RFC 8439), wiped when dropped.
pub struct Key {
    library: LessSafeKey,
}

/// One entry of [`seal_batch`].
#[derive(Debug)]
pub struct SealItem<'a> {
    /// With this key,
    pub key: &'a Key,
    /// this nonce (4 zero bytes, then the little-endian counter, for WireGuard),
    pub nonce: [u8; 12],
    /// and this associated data,
    pub aad: &'a [u8],
    /// encrypt all but the last [`TAG_LEN`] bytes in place, and write the tag there.
    pub buffer: &'a mut [u8],
}

/// One entry of [`open_batch`].
#[derive(Debug)]
pub struct OpenItem<'a> {
    /// With this key,
    pub key: &'a Key,
    /// this nonce,
    pub nonce: [u8; 12],
    /// and this associated data,
    pub aad: &'a [u8],
    /// authenticate, and decrypt all but the last [`TAG_LEN`] bytes in place.
    pub buffer: &'a mut [u8],
    /// Set to whether the buffer was authentic.
    pub authentic: bool,
}

impl Key {
    /// Takes a key into use.
    pub fn new(bytes: &Secret<32>) -> Self {
        #[expect(clippy::expect_used, reason = "the length is the algorithm's own")]
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, bytes.expose()).expect("32 bytes are a key");
        Self { library: LessSafeKey::new(unbound) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Seals every item in place. An item shorter than a tag is left as it is.
pub fn seal_batch(items: &mut [SealItem<'_>]) {
    for item in items {
        let Some(split) = item.buffer.len().checked_sub(TAG_LEN) else { continue };
        let (plain, tag) = item.buffer.split_at_mut(split);
        let nonce = Nonce::assume_unique_for_key(item.nonce);
        if let Ok(t) = item.key.library.seal_in_place_separate_tag(nonce, Aad::from(item.aad), plain) {
            tag.copy_from_slice(t.as_ref());
        }
    }
}

/// Opens every item in place and says of each whether it was authentic.
pub fn open_batch(items: &mut [OpenItem<'_>]) {
    for item in items {
        let nonce = Nonce::assume_unique_for_key(item.nonce);
        item.authentic = item.key.library.open_in_place(nonce, Aad::from(item.aad), item.buffer).is_ok();
    }
}

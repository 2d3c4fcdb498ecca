//! ChaCha20-Poly1305 in place, one packet or many: the one place that names the bulk-crypto library.
//!
//! Packets come in batches. Where the machine has AVX-512, `avx512` works on many of them at once; everywhere else, and
//! for what does not fit there, the library takes them one by one. Both give the same bytes.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::Secret;

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// A ChaCha20-Poly1305 key (RFC 8439), wiped when dropped.
pub struct Key {
    one_by_one: LessSafeKey,
    /// The same bytes, for our own code.
    #[cfg(target_arch = "x86_64")]
    raw: Secret<32>,
}

/// One entry of [`seal_batch`].
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
pub struct OpenItem<'a> {
    /// With this key,
    pub key: &'a Key,
    /// this nonce,
    pub nonce: [u8; 12],
    /// and this associated data,
    pub aad: &'a [u8],
    /// authenticate, and decrypt all but the last [`TAG_LEN`] bytes in place. Of no meaning if not authentic.
    pub buffer: &'a mut [u8],
    /// Set to whether the buffer was authentic.
    pub authentic: bool,
}

/// Without the bytes.
impl fmt::Debug for SealItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealItem({} bytes)", self.buffer.len())
    }
}

/// Without the bytes.
impl fmt::Debug for OpenItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenItem({} bytes, authentic: {})", self.buffer.len(), self.authentic)
    }
}

impl Key {
    /// Takes a key into use.
    pub fn new(bytes: &Secret<32>) -> Self {
        #[expect(clippy::expect_used, reason = "the length is the algorithm's own")]
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, bytes.expose()).expect("32 bytes are a key");
        Self {
            one_by_one: LessSafeKey::new(unbound),
            #[cfg(target_arch = "x86_64")]
            raw: bytes.duplicate(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Seals every item in place. An item shorter than a tag is left as it is.
pub fn seal_batch(items: &mut [SealItem<'_>]) {
    Engine::best_for(items.iter().map(|i| i.buffer.len())).seal(items);
}

/// Opens every item in place and says of each whether it was authentic.
pub fn open_batch(items: &mut [OpenItem<'_>]) {
    Engine::best_for(items.iter().map(|i| i.buffer.len())).open(items);
}

/// Who does the work.
#[derive(Debug, Clone, Copy)]
enum Engine {
    Library,
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Engine {
    /// The fastest this machine has for buffers of such lengths.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is no choice"))]
    fn best_for(lengths: impl ExactSizeIterator<Item = usize>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if (lengths.len() >= avx512::MANY || lengths.len() > 1 && lengths.sum::<usize>() >= avx512::MUCH)
            && let Some(found) = avx512::Avx512::detect()
        {
            return Self::Avx512(found);
        }
        Self::Library
    }

    fn seal(self, items: &mut [SealItem<'_>]) {
        match self {
            Self::Library => items.iter_mut().for_each(seal_one),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(found) => {
                for run in items.chunk_by_mut(|a, b| fits(a.buffer, a.aad) == fits(b.buffer, b.aad)) {
                    match run {
                        [first, ..] if fits(first.buffer, first.aad) => found.seal(run),
                        _ => Self::Library.seal(run),
                    }
                }
            }
        }
    }

    fn open(self, items: &mut [OpenItem<'_>]) {
        match self {
            Self::Library => items.iter_mut().for_each(open_one),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(found) => {
                for run in items.chunk_by_mut(|a, b| fits(a.buffer, a.aad) == fits(b.buffer, b.aad)) {
                    match run {
                        [first, ..] if fits(first.buffer, first.aad) => found.open(run),
                        _ => Self::Library.open(run),
                    }
                }
            }
        }
    }
}

/// Whether our own code takes such an item.
#[cfg(target_arch = "x86_64")]
const fn fits(buffer: &[u8], aad: &[u8]) -> bool {
    buffer.len() >= TAG_LEN && aad.len() <= avx512::MAX_AAD
}

fn seal_one(item: &mut SealItem<'_>) {
    let Some((plain, tag)) = item.buffer.split_last_chunk_mut::<TAG_LEN>() else { return };
    let nonce = Nonce::assume_unique_for_key(item.nonce);
    match item.key.one_by_one.seal_in_place_separate_tag(nonce, Aad::from(item.aad), plain) {
        Ok(t) => tag.copy_from_slice(t.as_ref()),
        // Too long for the algorithm: must not leave as it is.
        Err(_) => plain.fill(0),
    }
}

fn open_one(item: &mut OpenItem<'_>) {
    let nonce = Nonce::assume_unique_for_key(item.nonce);
    item.authentic = item.key.one_by_one.open_in_place(nonce, Aad::from(item.aad), item.buffer).is_ok();
}

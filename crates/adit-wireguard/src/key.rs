//! Keys as types: Curve25519 private and public keys, pre-shared keys, and their texts (base64 for people, hex for UAPI).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use adit_protocol::Secret;
use aws_lc_rs::agreement;
use base64ct::{Base64, Encoding as _};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 44 characters of base64 that stand for 32 bytes.
    #[error("not a key: a key is 44 characters of base64, ending in `=`")]
    Base64,
    /// Not 64 hexadecimal digits.
    #[error("not a key: expected 64 hexadecimal digits")]
    Hex,
}

/// A Curve25519 private key, clamped. All zero bytes stand for "none" and stay zero.
#[derive(PartialEq, Eq)]
pub struct PrivateKey(Secret<32>);

/// A Curve25519 public key. Not secret; compared in constant time all the same, for it tells who talks to whom.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A symmetric key mixed into the handshake. All zero bytes stand for "none".
#[derive(PartialEq, Eq)]
pub struct PresharedKey(Secret<32>);

impl PrivateKey {
    /// Takes 32 bytes, and clamps them (RFC 7748 §5) unless they are all zero (reference W-10, W-11).
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut secret = Secret::new(bytes);
        if !secret.is_zero() {
            let b = secret.expose_mut();
            b[0] &= 248;
            b[31] = (b[31] & 127) | 64;
        }
        Self(secret)
    }

    /// Whether this stands for "no key".
    pub fn is_none(&self) -> bool {
        self.0.is_zero()
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        let public = agreement::PrivateKey::from_private_key(&agreement::X25519, self.0.expose())
            .ok()
            .and_then(|key| key.compute_public_key().ok());
        let mut bytes = [0; 32];
        if let Some(public) = public
            && public.as_ref().len() == 32
        {
            bytes.copy_from_slice(public.as_ref());
        }
        PublicKey(bytes)
    }

    /// The secret that this key and a public key of somebody else's have together (RFC 7748 §6.1). `None` if that key is of
    /// low order, which no honest one is.
    pub fn agree(&self, with: &PublicKey) -> Option<Secret<32>> {
        let own = agreement::PrivateKey::from_private_key(&agreement::X25519, self.0.expose()).ok()?;
        crate::noise::agree(&own, with.as_bytes())
    }

    /// The bytes, for the handshake.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// A second copy, said out loud where one is needed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    /// From base64, as in `PrivateKey =`.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode_base64(text).map(Self::new)
    }

    /// From lower or upper case hex, as in UAPI.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        decode_hex(text).map(Self::new)
    }

    /// As base64: only for showing the key to the person who owns it.
    pub fn to_base64(&self) -> String {
        Base64::encode_string(self.0.expose())
    }

    /// As lower case hex: only for the control socket.
    pub fn to_hex(&self) -> String {
        encode_hex(self.0.expose())
    }
}

impl PublicKey {
    /// Takes 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode_base64(text).map(Self)
    }

    /// From lower or upper case hex, as in UAPI.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        decode_hex(text).map(Self)
    }

    /// As lower case hex.
    pub fn to_hex(&self) -> String {
        encode_hex(&self.0)
    }
}

impl PresharedKey {
    /// Takes 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Whether this stands for "no key".
    pub fn is_none(&self) -> bool {
        self.0.is_zero()
    }

    /// The secret that this key and a public key of somebody else's have together (RFC 7748 §6.1). `None` if that key is of
    /// low order, which no honest one is.
    pub fn agree(&self, with: &PublicKey) -> Option<Secret<32>> {
        let own = agreement::PrivateKey::from_private_key(&agreement::X25519, self.0.expose()).ok()?;
        crate::noise::agree(&own, with.as_bytes())
    }

    /// The bytes, for the handshake.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// A second copy, said out loud where one is needed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    /// From base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode_base64(text).map(Self::new)
    }

    /// From lower or upper case hex, as in UAPI.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        decode_hex(text).map(Self::new)
    }

    /// As base64: only for showing the key to the person who owns it.
    pub fn to_base64(&self) -> String {
        Base64::encode_string(self.0.expose())
    }

    /// As lower case hex: only for the control socket.
    pub fn to_hex(&self) -> String {
        encode_hex(self.0.expose())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(…)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_base64(text)
    }
}

fn decode_base64(text: &str) -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    let ok = text.len() == 44 && Base64::decode(text, &mut bytes).is_ok_and(|b| b.len() == 32);
    if ok {
        Ok(bytes)
    } else {
        bytes.zeroize();
        Err(KeyError::Base64)
    }
}

fn decode_hex(text: &str) -> Result<[u8; 32], KeyError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return Err(KeyError::Hex);
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |c: u8| (c as char).to_digit(16).ok_or(KeyError::Hex);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Ok(bytes)
}

fn encode_hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_clamped_when_set_and_read_back_clamped() {
        let key = PrivateKey::new([0xff; 32]);
        assert_eq!(key.expose()[0], 0xf8);
        assert_eq!(key.expose()[31], 0x7f);
    }

    #[test]
    fn the_zero_key_stays_zero_and_is_none() {
        assert!(PrivateKey::new([0; 32]).is_none());
    }

    /// A pair made by `wg genkey` and `wg pubkey`.
    #[test]
    fn a_private_key_has_the_public_key_that_wg_gives_it() {
        let private = PrivateKey::from_base64("mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=").unwrap();
        assert_eq!(private.public_key().to_string(), "ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=");
    }

    #[test]
    fn text_and_bytes_are_the_same_key() {
        let key = PublicKey::new([7; 32]);
        assert_eq!(PublicKey::from_base64(&key.to_string()), Ok(key));
        assert_eq!(PublicKey::from_hex(&key.to_hex()), Ok(key));
        assert_eq!(PublicKey::from_base64("short"), Err(KeyError::Base64));
        assert_eq!(PublicKey::from_hex("zz"), Err(KeyError::Hex));
    }

    #[test]
    fn two_keys_agree_on_one_secret() {
        let [a, b] = [1, 2].map(|n| PrivateKey::new([n; 32]));
        assert_eq!(a.agree(&b.public_key()), b.agree(&a.public_key()));
        assert_ne!(a.agree(&b.public_key()), a.agree(&a.public_key()));
        assert_eq!(a.agree(&PublicKey::new([0; 32])), None);
    }

    #[test]
    fn no_secret_is_printed() {
        let shown = format!("{:?} {:?}", PrivateKey::new([1; 32]), PresharedKey::new([2; 32]));
        assert_eq!(shown, "PrivateKey(…) PresharedKey(…)");
    }
}

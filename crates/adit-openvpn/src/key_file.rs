//! Key files: static keys (`tls-auth`, `tls-crypt`), and the two kinds of `tls-crypt-v2`, as text and as values.
//!
//! Not here: reading files; what the keys do (`wrap`).

use std::fmt;

use adit_protocol::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding as _};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::constants::{MAX_WRAPPED_KEY, MIN_WRAPPED_KEY};

const STATIC_LABEL: &str = "OpenVPN Static key V1";
const SERVER_LABEL: &str = "OpenVPN tls-crypt-v2 server key";
const CLIENT_LABEL: &str = "OpenVPN tls-crypt-v2 client key";

/// 256 secret bytes: two keys, each with 64 bytes for a cipher and 64 for a MAC.
#[derive(Debug)]
pub struct StaticKey(Secret<256>);

/// The key that a server wraps its clients' keys with (`tls-crypt-v2`).
#[derive(Debug)]
pub struct ServerKey(Secret<128>);

/// The key of one client (`tls-crypt-v2`), and the same key wrapped for the server.
pub struct ClientKey {
    /// The key.
    pub key: StaticKey,
    /// What the client shows to the server, which alone can open it.
    pub wrapped: Vec<u8>,
}

impl ClientKey {
    /// SHA-256 of the wrapped key: names the key of a client without showing it.
    pub fn name(&self) -> [u8; 32] {
        wrapped_name(&self.wrapped)
    }
}

/// The name of a wrapped key.
pub(crate) fn wrapped_name(wrapped: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, wrapped).as_ref());
    name
}

/// A key file that is not one.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KeyFileError {
    /// The block is not in the text.
    #[error("there is no block `-----BEGIN {label}-----`\n  hint: is it the right file? `openvpn --genkey` makes one")]
    NoBlock {
        /// What was looked for.
        label: &'static str,
    },
    /// What is in the block is not hexadecimal or base64, or not as long as it must be.
    #[error("the block `{label}` is damaged: {why}\n  hint: copy the file again, whole")]
    Damaged {
        /// Which block.
        label: &'static str,
        /// In what way.
        why: &'static str,
    },
}

impl StaticKey {
    /// Takes the bytes over.
    pub const fn new(bytes: Secret<256>) -> Self {
        Self(bytes)
    }

    /// Reads `OpenVPN Static key V1`: hexadecimal digits in lines of any length. Text around the block is of no matter.
    ///
    /// # Errors
    ///
    /// No such block, or not 512 digits in it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let damaged = |why| KeyFileError::Damaged { label: STATIC_LABEL, why };
        let mut bytes = Secret::new([0; 256]);
        let mut digits = 0;
        for c in block(text, STATIC_LABEL)?.chars().filter(|c| !c.is_whitespace()) {
            let digit = c.to_digit(16).ok_or_else(|| damaged("a character is not a hexadecimal digit"))? as u8;
            let byte = bytes.expose_mut().get_mut(digits / 2).ok_or_else(|| damaged("it has more than 512 digits"))?;
            *byte = *byte << 4 | digit;
            digits += 1;
        }
        if digits != 512 {
            return Err(damaged("it has fewer than 512 digits"));
        }
        Ok(Self(bytes))
    }

    /// The file.
    pub fn emit(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(700));
        text.push_str(&format!("-----BEGIN {STATIC_LABEL}-----\n"));
        for line in self.0.expose().chunks(16) {
            for byte in line {
                let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                text.push(digit(byte >> 4));
                text.push(digit(byte & 15));
            }
            text.push('\n');
        }
        text.push_str(&format!("-----END {STATIC_LABEL}-----\n"));
        text
    }

    /// A second copy, said out loud where one is needed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    pub(crate) const fn bytes(&self) -> &[u8; 256] {
        self.0.expose()
    }

    /// The cipher half of key 0 or 1.
    pub(crate) fn cipher(&self, which: usize) -> &[u8; 64] {
        self.slot(2 * which)
    }

    /// The MAC half of key 0 or 1.
    pub(crate) fn hmac(&self, which: usize) -> &[u8; 64] {
        self.slot(2 * which + 1)
    }

    fn slot(&self, which: usize) -> &[u8; 64] {
        let (slots, _) = self.0.expose().as_chunks::<64>();
        #[expect(clippy::indexing_slicing, reason = "taken modulo the number of slots")]
        &slots[which % 4]
    }
}

impl ServerKey {
    /// Takes the bytes over.
    pub const fn new(bytes: Secret<128>) -> Self {
        Self(bytes)
    }

    /// Reads `OpenVPN tls-crypt-v2 server key`.
    ///
    /// # Errors
    ///
    /// No such block, or not 128 bytes of base64 in it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = base64(text, SERVER_LABEL)?;
        let bytes = <[u8; 128]>::try_from(bytes.as_slice())
            .map_err(|_| KeyFileError::Damaged { label: SERVER_LABEL, why: "it does not have 128 bytes" })?;
        Ok(Self(Secret::new(bytes)))
    }

    /// The file.
    pub fn emit(&self) -> Zeroizing<String> {
        pem(SERVER_LABEL, self.0.expose())
    }

    /// A second copy, said out loud where one is needed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    pub(crate) fn halves(&self) -> (&[u8; 64], &[u8; 64]) {
        let (halves, _) = self.0.expose().as_chunks::<64>();
        #[expect(clippy::indexing_slicing, reason = "128 bytes are two halves")]
        (&halves[0], &halves[1])
    }
}

impl ClientKey {
    /// Reads `OpenVPN tls-crypt-v2 client key`.
    ///
    /// # Errors
    ///
    /// No such block, or what is in it cannot be a key and a wrapped key.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let damaged = |why| KeyFileError::Damaged { label: CLIENT_LABEL, why };
        let bytes = base64(text, CLIENT_LABEL)?;
        let (key, wrapped) = bytes.split_first_chunk::<256>().ok_or_else(|| damaged("it is too short"))?;
        let says = wrapped.last_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)));
        if !(MIN_WRAPPED_KEY..=MAX_WRAPPED_KEY).contains(&wrapped.len()) || says != Some(wrapped.len()) {
            return Err(damaged("the wrapped key in it does not have the length it says"));
        }
        Ok(Self { key: StaticKey(Secret::new(*key)), wrapped: wrapped.to_vec() })
    }

    /// The file.
    pub fn emit(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.key.bytes().as_slice(), &self.wrapped].concat());
        pem(CLIENT_LABEL, &bytes)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(…)")
    }
}

/// What stands between the two lines of `label`.
fn block<'a>(text: &'a str, label: &'static str) -> Result<&'a str, KeyFileError> {
    let none = || KeyFileError::NoBlock { label };
    let (_, after) = text.split_once(&format!("-----BEGIN {label}-----")).ok_or_else(none)?;
    let (inside, _) = after.split_once(&format!("-----END {label}-----")).ok_or_else(none)?;
    Ok(inside)
}

fn base64(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut plain = Zeroizing::new(block(text, label)?.to_owned());
    plain.retain(|c| !c.is_whitespace());
    let bytes = Base64::decode_vec(&plain).map_err(|_| KeyFileError::Damaged { label, why: "it is not base64" })?;
    Ok(Zeroizing::new(bytes))
}

fn pem(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let mut encoded = Base64::encode_string(bytes);
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len() + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    encoded.zeroize();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn static_key() -> StaticKey {
        StaticKey::new(Secret::new(std::array::from_fn(|i| i as u8)))
    }

    #[test]
    fn a_static_key_is_read_whatever_stands_around_it_and_however_its_lines_are_cut() {
        let text = static_key().emit();
        assert_eq!(text.lines().count(), 18);
        assert_eq!(StaticKey::parse(&text).unwrap().bytes(), static_key().bytes());
        let dressed = format!("#\n# 2048 bit OpenVPN static key\n#\n{}\ntrailing\n", text.replace('\n', "\r\n"));
        assert_eq!(StaticKey::parse(&dressed).unwrap().bytes(), static_key().bytes());
        let (begin, end) = ("-----BEGIN OpenVPN Static key V1-----", "-----END OpenVPN Static key V1-----");
        let digits: String = text.replace(begin, "").replace(end, "").replace('\n', "");
        let one_line = format!("{begin}{digits}{end}");
        assert_eq!(StaticKey::parse(&one_line).unwrap().bytes(), static_key().bytes());
    }

    #[test]
    fn what_is_not_a_static_key_says_why() {
        let text = static_key().emit();
        let why = |text: &str| match StaticKey::parse(text) {
            Err(KeyFileError::Damaged { why, .. }) => why,
            Err(KeyFileError::NoBlock { .. }) => "no block",
            Ok(_) => "a key",
        };
        assert_eq!(why("hello"), "no block");
        assert_eq!(why(&text.replace("000102", "00010g")), "a character is not a hexadecimal digit");
        assert_eq!(why(&text.replace("000102", "0001")), "it has fewer than 512 digits");
        assert_eq!(why(&text.replace("000102", "00010203")), "it has more than 512 digits");
    }

    #[test]
    fn slots_are_cipher_and_mac_of_key_0_then_of_key_1() {
        let key = static_key();
        let firsts = [key.cipher(0)[0], key.hmac(0)[0], key.cipher(1)[0], key.hmac(1)[0]];
        assert_eq!(firsts, [0, 64, 128, 192]);
    }

    #[test]
    fn keys_of_tls_crypt_v2_survive_their_files() {
        let server = ServerKey::new(Secret::new([7; 128]));
        assert_eq!(ServerKey::parse(&server.emit()).unwrap().0, server.0);
        let mut wrapped = vec![9; 290];
        wrapped[288..].copy_from_slice(&290_u16.to_be_bytes());
        let client = ClientKey { key: static_key(), wrapped };
        let again = ClientKey::parse(&client.emit()).unwrap();
        assert_eq!((again.key.bytes(), again.wrapped), (client.key.bytes(), client.wrapped.clone()));
        let lying = ClientKey { key: static_key(), wrapped: vec![9; 290] };
        assert!(matches!(ClientKey::parse(&lying.emit()), Err(KeyFileError::Damaged { .. })));
        assert_eq!(format!("{client:?}"), "ClientKey(…)");
    }
}

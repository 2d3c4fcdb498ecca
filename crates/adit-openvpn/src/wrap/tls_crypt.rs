//! `tls-crypt`: a MAC over everything, which is also the nonce under which the body is encrypted.
//!
//! Also the same with keys that the session made itself, for its later key exchanges (`dyn-tls-crypt`).

use adit_protocol::Secret;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::Unwrapped;
use super::replay::ReplayId;
use crate::key_file::StaticKey;
use crate::mac::Mac;
use crate::packet::{First, SessionId};
use crate::{Digest, Role};

/// Bytes of the tag.
const TAG: usize = 32;

#[derive(Debug)]
pub(crate) struct TlsCrypt {
    sending: Pair,
    receiving: Pair,
}

/// A cipher key and a MAC key that belong together; also what wraps the keys of clients.
#[derive(Debug)]
pub(crate) struct Pair {
    cipher: EncryptingKey,
    mac: Mac,
}

impl TlsCrypt {
    /// A server sends with key 0, a client with key 1.
    pub(super) fn new(key: &StaticKey, role: Role) -> Self {
        let (sending, receiving) = match role {
            Role::Server => (0, 1),
            Role::Client => (1, 0),
        };
        let pair = |which| Pair::new(key.cipher(which), key.hmac(which));
        Self { sending: pair(sending), receiving: pair(receiving) }
    }

    /// `op sid id time tag ciphertext`.
    pub(super) fn wrap(&self, first: First, session: SessionId, replay: ReplayId, body: &[u8]) -> Vec<u8> {
        let header = clear(first, session, replay);
        let mut wire = Vec::with_capacity(header.len() + TAG + body.len());
        wire.extend_from_slice(&header);
        wire.extend_from_slice(&self.sending.seal(&header, body));
        wire
    }

    pub(super) fn unwrap(&self, first: First, session: SessionId, rest: &[u8]) -> Option<Unwrapped> {
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (time, sealed) = rest.split_first_chunk::<4>()?;
        let replay = ReplayId { id: u32::from_be_bytes(*id), time: u32::from_be_bytes(*time) };
        let body = self.receiving.open(&clear(first, session, replay), sealed)?;
        Some(Unwrapped { first, session, replay: Some(replay), body })
    }
}

fn clear(first: First, session: SessionId, replay: ReplayId) -> [u8; 17] {
    let mut header = [0; 17];
    let bytes =
        std::iter::once(first.byte()).chain(session.0).chain(replay.id.to_be_bytes()).chain(replay.time.to_be_bytes());
    header.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    header
}

impl Pair {
    pub(crate) fn new(cipher: &[u8; 64], mac: &[u8; 64]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, cipher.get(..32).unwrap_or_default());
        #[expect(clippy::expect_used, reason = "the length is the algorithm's own")]
        let cipher = key.and_then(EncryptingKey::ctr).expect("32 bytes are a key");
        Self { cipher, mac: Mac::new(Digest::Sha256, mac) }
    }

    /// `tag ciphertext` of `plain`; the tag is over `before` too.
    pub(crate) fn seal(&self, before: &[u8], plain: &[u8]) -> Vec<u8> {
        let tag = self.mac.sign(&[before, plain]);
        let mut sealed = [tag.as_ref(), plain].concat();
        if let Some((tag, text)) = sealed.split_first_chunk_mut::<TAG>() {
            self.counter_mode(tag, text);
        }
        sealed
    }

    /// The plain text, if the tag is right.
    pub(crate) fn open(&self, before: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (tag, text) = sealed.split_first_chunk::<TAG>()?;
        let mut plain = text.to_vec();
        self.counter_mode(tag, &mut plain);
        self.mac.verify(&[before, &plain], tag).then_some(plain)
    }

    /// AES-256-CTR from the first half of the tag on; the same both ways.
    fn counter_mode(&self, tag: &[u8; TAG], text: &mut [u8]) {
        let mut iv = [0; 16];
        iv.iter_mut().zip(tag).for_each(|(to, from)| *to = *from);
        if self.cipher.less_safe_encrypt(text, EncryptionContext::Iv128(FixedLength::from(iv))).is_err() {
            // Cannot be; but what is not encrypted must not leave.
            text.fill(0);
        }
    }
}

/// The key of `dyn-tls-crypt`: what TLS exported, mixed with the key that was used so far, if there was one.
pub(crate) fn dynamic_key(exported: &Secret<256>, before: Option<&StaticKey>) -> StaticKey {
    let mut bytes = exported.duplicate();
    if let Some(before) = before {
        bytes.expose_mut().iter_mut().zip(before.bytes()).for_each(|(byte, old)| *byte ^= old);
    }
    StaticKey::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Opcode;
    use crate::testing::hex;

    /// OpenVPN's own vector has neither opcode nor session before it, so the pair of keys is tested by itself.
    #[test]
    fn the_dynamic_key_is_openvpns() {
        let key = dynamic_key(&Secret::new([0xba; 256]), None);
        let wire =
            hex("0000000100000000e319277f1c8d6e6a7796a855337b9cfb56e1f13a870e6647dfa195c92c17a015ba4967a11d55ea1a06a7");
        let client = TlsCrypt::new(&key, Role::Client);
        let sealed = client.sending.seal(&wire[..8], b"1234567890");
        assert_eq!(sealed, wire[8..]);
        assert_eq!(TlsCrypt::new(&key, Role::Server).receiving.open(&wire[..8], &sealed).unwrap(), b"1234567890");
    }

    #[test]
    fn the_dynamic_key_depends_on_the_one_before() {
        let before = StaticKey::new(Secret::new([1; 256]));
        let mixed = dynamic_key(&Secret::new([3; 256]), Some(&before));
        assert_eq!(mixed.bytes(), &[2; 256]);
    }

    #[test]
    fn the_header_is_opcode_session_and_number() {
        let first = First { opcode: Opcode::Control, key_id: 1 };
        let header = clear(first, SessionId([2; 8]), ReplayId { id: 3, time: 4 });
        assert_eq!(header.to_vec(), hex("21 0202020202020202 00000003 00000004"));
    }
}

//! MAC1, MAC2 and cookie replies (§5.3, §5.4.4, §5.4.7): the sender's side.
//!
//! Not here: the receiver's side, which decides whether a cookie is wanted (`gate`).

use std::time::Instant;

use adit_protocol::Secret;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};

use crate::PublicKey;
use crate::constants::{COOKIE_LATENCY, COOKIE_LIFETIME};
use crate::hash::{hash, mac};
use crate::message::CookieReply;

/// The two keys that follow from a receiver's public key.
#[derive(Debug, Clone)]
pub(crate) struct MacKeys {
    /// HASH("mac1----", public key).
    pub(crate) mac1: [u8; 32],
    /// HASH("cookie--", public key).
    pub(crate) cookie: [u8; 32],
}

impl MacKeys {
    pub(crate) fn new(receiver: &PublicKey) -> Self {
        Self { mac1: hash(&[b"mac1----", receiver.as_bytes()]), cookie: hash(&[b"cookie--", receiver.as_bytes()]) }
    }
}

/// What we know for the MACs of messages to one peer.
#[derive(Debug)]
pub(crate) struct CookieJar {
    keys: MacKeys,
    /// Of the last message sent; used up by the first cookie reply that fits.
    last_mac1: Option<[u8; 16]>,
    cookie: Option<(Secret<16>, Instant)>,
}

impl CookieJar {
    pub(crate) fn new(peer: &PublicKey) -> Self {
        Self { keys: MacKeys::new(peer), last_mac1: None, cookie: None }
    }

    /// Appends MAC1 and MAC2 to a handshake message.
    pub(crate) fn stamp(&mut self, now: Instant, datagram: &mut Vec<u8>) {
        let mac1 = mac(&self.keys.mac1, &[datagram]);
        datagram.extend_from_slice(&mac1);
        self.last_mac1 = Some(mac1);
        let usable = COOKIE_LIFETIME - COOKIE_LATENCY;
        let cookie = self.cookie.as_ref().filter(|(_, born)| now.saturating_duration_since(*born) < usable);
        let mac2 = cookie.map_or([0; 16], |(cookie, _)| mac(cookie.expose(), &[datagram]));
        datagram.extend_from_slice(&mac2);
    }

    /// Takes the cookie out of a reply to the last message we sent; it is used from the next message on
    /// (reference W-26).
    pub(crate) fn take(&mut self, now: Instant, reply: &CookieReply<'_>) -> bool {
        let Some(mac1) = self.last_mac1 else { return false };
        let Some(cookie) = open_cookie(&self.keys.cookie, reply.nonce, &mac1, reply.sealed_cookie) else {
            return false;
        };
        self.last_mac1 = None;
        self.cookie = Some((cookie, now));
        true
    }
}

/// A cookie, sealed for the sender of the message with this MAC1: 16 bytes and a tag.
pub(crate) fn seal_cookie(key: &[u8; 32], nonce: &[u8; 24], mac1: &[u8; 16], cookie: &[u8; 16]) -> [u8; 32] {
    let mut sealed = [0; 32];
    let (text, tag) = sealed.split_at_mut(16);
    text.copy_from_slice(cookie);
    let cipher = XChaCha20Poly1305::new(key.into());
    if let Ok(t) = cipher.encrypt_inout_detached(nonce.into(), mac1, text.into()) {
        tag.copy_from_slice(&t);
    }
    sealed
}

fn open_cookie(key: &[u8; 32], nonce: &[u8; 24], mac1: &[u8; 16], sealed: &[u8; 32]) -> Option<Secret<16>> {
    let (text, tag) = sealed.split_first_chunk::<16>()?;
    let tag: &[u8; 16] = tag.try_into().ok()?;
    let mut cookie = Secret::new(*text);
    let cipher = XChaCha20Poly1305::new(key.into());
    let text = cookie.expose_mut().as_mut_slice();
    cipher.decrypt_inout_detached(nonce.into(), mac1, text.into(), tag.into()).ok()?;
    Some(cookie)
}

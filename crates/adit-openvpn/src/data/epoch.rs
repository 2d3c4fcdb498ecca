//! Epoch keys: each direction goes on to its next key by itself, long before one is worn, without a key exchange.
//!
//! A packet's number says its epoch (16 bits) and its place in it (48 bits). Not here: the jobs (`job`), when a direction
//! goes on (`exchange`).

use adit_protocol::Secret;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};

use super::aead::With;
use crate::Cipher;

/// Bytes of a packet's number.
pub(super) const NUMBER: usize = 8;

/// The keys of one direction, from the present epoch on.
#[derive(Debug)]
pub(crate) struct Chain {
    cipher: Cipher,
    secret: Secret<32>,
    epoch: u16,
}

/// The key of one direction in one epoch.
pub(super) struct EpochKey {
    pub(super) with: With,
    iv: [u8; 12],
    pub(super) epoch: u16,
}

impl Chain {
    /// Epoch 1. Its secret is what other ciphers would take as their key.
    pub(crate) fn new(cipher: Cipher, slot: &[u8; 64]) -> Self {
        let mut secret = Secret::new([0; 32]);
        secret.expose_mut().iter_mut().zip(slot).for_each(|(to, from)| *to = *from);
        Self { cipher, secret, epoch: 1 }
    }

    /// The present epoch.
    pub(crate) const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Goes on to the next epoch. The last is never left: keys are exchanged anew long before.
    pub(crate) fn go_on(&mut self) {
        if let Some(next) = self.epoch.checked_add(1) {
            let mut secret = Secret::new([0; 32]);
            expand(&self.secret, "datakey upd", secret.expose_mut());
            (self.secret, self.epoch) = (secret, next);
        }
    }

    pub(super) fn key(&self) -> EpochKey {
        let mut key = Secret::new([0; 32]);
        let (used, _) = key.expose_mut().split_at_mut(self.cipher.key_len());
        expand(&self.secret, "data_key", used);
        let mut iv = [0; 12];
        expand(&self.secret, "data_iv", &mut iv);
        EpochKey { with: With::new(self.cipher, key.expose()), iv, epoch: self.epoch }
    }
}

impl EpochKey {
    /// The number and four zero bytes, XORed to the key's own vector.
    pub(super) fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, with)| *byte ^= with);
        nonce
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446 §7.1), with `ovpn ` for `tls13 ` and without a context.
fn expand(secret: &Secret<32>, label: &str, out: &mut [u8]) {
    let prk = Prk::new_less_safe(HKDF_SHA256, secret.expose());
    let (length, name) = ((out.len() as u16).to_be_bytes(), ["ovpn ", label].concat());
    let info = [length.as_slice(), &[name.len() as u8], name.as_bytes(), &[0]];
    let filled = prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
    // 32 bytes and less are always given.
    debug_assert!(filled.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    fn secret(text: &str) -> Secret<32> {
        Secret::new(hex(text).try_into().unwrap())
    }

    #[test]
    fn labels_are_expanded_as_in_openvpns_own_test() {
        let secret = secret("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        for expected in ["185eaa1c7f228ab8eb29773214d92046", "875a8eec18556380b8d933ed323c2df8e8eccf4972e683f06a83ac"] {
            let mut out = vec![0; expected.len() / 2];
            expand(&secret, "unit test", &mut out);
            assert_eq!(out, hex(expected));
        }
    }

    #[test]
    fn keys_and_vectors_are_those_of_openvpns_own_test() {
        let mut first = [0; 32];
        first[..2].copy_from_slice(&[0x13, 0x0c]);
        let (mut key, mut iv) = ([0; 24], [0; 12]);
        expand(&Secret::new(first), "data_key", &mut key);
        expand(&Secret::new(first), "data_iv", &mut iv);
        assert_eq!(key.to_vec(), hex("ed8533db1c28ace418e9006ab29c17417d60ebe6cd90bf0a"));
        assert_eq!(iv.to_vec(), hex("86890aabf032cb59f4cfa34e"));
    }

    #[test]
    fn the_fourth_epoch_of_openvpns_own_test_is_reached() {
        let text = b"abcdefgh01234567ABCDEFGHjkuchenl";
        let mut chain = Chain::new(Cipher::Aes256Gcm, &std::array::from_fn(|i| text[i % 32] ^ i as u8));
        (1..4).for_each(|_| chain.go_on());
        assert_eq!(chain.secret, secret("10f7f2bf8543e6492f6915fa82457fae6144709679d5dfbd219c495f75e717b5"));
        assert_eq!((chain.epoch(), chain.key().iv.to_vec()), (4, hex("b2e7dce36da8d32f22b97da8")));
        assert_eq!(chain.key().nonce(0x0004_0000_0000_0001), *hex("b2e3dce36da8d32e22b97da8"));
    }

    #[test]
    fn the_last_epoch_is_not_left() {
        let mut chain = Chain { cipher: Cipher::Aes256Gcm, secret: Secret::new([1; 32]), epoch: u16::MAX };
        chain.go_on();
        assert_eq!(chain.epoch(), u16::MAX);
    }
}

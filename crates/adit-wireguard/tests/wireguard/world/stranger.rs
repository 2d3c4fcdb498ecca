//! The other end of a handshake, made of other people's parts: Noise by `snow`, the framing by hand from the whitepaper.
//!
//! It shares no code with the device, so that both cannot be wrong in the same way; and it does what no honest device
//! does: any timestamp, any inner bytes, any counter.

use std::time::Duration;

use adit_wireguard::{PrivateKey, PublicKey};
use blake2::digest::{KeyInit as _, Mac as _, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, Payload};
use snow::{Builder, HandshakeState, StatelessTransportState};

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Somebody with a key of their own who speaks WireGuard to one device.
pub(crate) struct Stranger {
    private: PrivateKey,
    /// The device's public key.
    remote: PublicKey,
    psk: [u8; 32],
    ephemeral: Option<[u8; 32]>,
    /// The next index it takes for itself.
    next_index: u32,
}

/// An initiation that was sent and waits for its response.
pub(crate) struct Pending {
    noise: HandshakeState,
    index: u32,
    /// What was sent.
    pub(crate) bytes: Vec<u8>,
}

/// A session from the stranger's side.
pub(crate) struct Session {
    noise: StatelessTransportState,
    /// Ours: the device writes it into what it sends.
    pub(crate) local: u32,
    /// The device's.
    pub(crate) remote: u32,
    /// The next counter.
    pub(crate) counter: u64,
}

impl Stranger {
    pub(crate) fn new(private: PrivateKey, remote: PublicKey) -> Self {
        Self { private, remote, psk: [0; 32], ephemeral: None, next_index: 0x1000 }
    }

    pub(crate) fn with_psk(self, psk: [u8; 32]) -> Self {
        Self { psk, ..self }
    }

    /// Every handshake from now on uses this ephemeral key.
    pub(crate) fn with_ephemeral(self, key: [u8; 32]) -> Self {
        Self { ephemeral: Some(key), ..self }
    }

    fn builder(&self) -> Builder<'_> {
        let builder = Builder::new(PATTERN.parse().unwrap())
            .prologue(IDENTIFIER)
            .unwrap()
            .local_private_key(self.private.expose())
            .unwrap()
            .psk(2, &self.psk)
            .unwrap();
        match &self.ephemeral {
            Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
            None => builder,
        }
    }

    /// An initiation that says it is that late.
    pub(crate) fn initiate(&mut self, unix: Duration) -> Pending {
        self.initiate_with(&tai64n(unix))
    }

    /// An initiation with these twelve bytes as its timestamp.
    pub(crate) fn initiate_with(&mut self, timestamp: &[u8; 12]) -> Pending {
        self.next_index += 1;
        let index = self.next_index;
        let remote = *self.remote.as_bytes();
        let mut noise = self.builder().remote_public_key(&remote).unwrap().build_initiator().unwrap();
        let mut body = [0; 108];
        assert_eq!(noise.write_message(timestamp, &mut body).unwrap(), 108);
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(index.to_le_bytes());
        bytes.extend(body);
        add_macs(&mut bytes, &self.remote, None);
        Pending { noise, index, bytes }
    }

    /// Reads a device's initiation; gives the timestamp in it, its sender index, and a way to answer.
    pub(crate) fn read_initiation(&self, bytes: &[u8]) -> Option<([u8; 12], u32, HandshakeState)> {
        assert_eq!((bytes.len(), &bytes[..4]), (148, &[1, 0, 0, 0][..]));
        assert_eq!(bytes[116..132], mac1(&self.private.public_key(), &bytes[..116]), "MAC1 of an initiation");
        let mut noise = self.builder().build_responder().unwrap();
        let mut timestamp = [0; 12];
        (noise.read_message(&bytes[8..116], &mut timestamp).ok()? == 12).then_some(())?;
        if noise.get_remote_static() != Some(self.remote.as_bytes()) {
            return None;
        }
        Some((timestamp, index_at(bytes, 4), noise))
    }

    /// Answers a device's initiation: the response to send, and the session that comes of it.
    pub(crate) fn respond(&mut self, initiation: &[u8]) -> Option<(Vec<u8>, Session)> {
        let (_, remote, mut noise) = self.read_initiation(initiation)?;
        self.next_index += 1;
        let mut body = [0; 48];
        assert_eq!(noise.write_message(&[], &mut body).unwrap(), 48);
        let mut bytes = vec![2, 0, 0, 0];
        bytes.extend(self.next_index.to_le_bytes());
        bytes.extend(remote.to_le_bytes());
        bytes.extend(body);
        add_macs(&mut bytes, &self.remote, None);
        let noise = noise.into_stateless_transport_mode().unwrap();
        Some((bytes, Session { noise, local: self.next_index, remote, counter: 0 }))
    }

    /// Adds a valid MAC2 to a message that has its MAC1.
    pub(crate) fn add_cookie(bytes: &mut [u8], cookie: &[u8; 16]) {
        let at = bytes.len() - 16;
        let mac = mac16(cookie, &bytes[..at]);
        bytes[at..].copy_from_slice(&mac);
    }

    /// What is in a cookie reply to `answered`, if it is authentic.
    pub(crate) fn open_cookie(&self, reply: &[u8], answered: &[u8]) -> Option<[u8; 16]> {
        let key = hash(&[b"cookie--", self.remote.as_bytes()]);
        let mac1 = &answered[answered.len() - 32..answered.len() - 16];
        let nonce: [u8; 24] = reply[8..32].try_into().unwrap();
        let payload = Payload { msg: &reply[32..], aad: mac1 };
        XChaCha20Poly1305::new(&key.into()).decrypt(&nonce.into(), payload).ok()?.try_into().ok()
    }

    /// A cookie reply to a message of a device, as if this stranger were under load.
    pub(crate) fn cookie_reply(&self, answered: &[u8], cookie: &[u8; 16]) -> Vec<u8> {
        let key = hash(&[b"cookie--", self.private.public_key().as_bytes()]);
        let nonce = [9; 24];
        let aad = &answered[answered.len() - 32..answered.len() - 16];
        let sealed = XChaCha20Poly1305::new(&key.into()).encrypt(&nonce.into(), Payload { msg: cookie, aad }).unwrap();
        let mut bytes = vec![3, 0, 0, 0];
        bytes.extend(&answered[4..8]);
        bytes.extend(nonce);
        bytes.extend(sealed);
        bytes
    }
}

impl Pending {
    /// Reads the device's response to this initiation.
    pub(crate) fn finish(mut self, response: &[u8], own: &PublicKey) -> Option<Session> {
        assert_eq!((response.len(), &response[..4]), (92, &[2, 0, 0, 0][..]));
        assert_eq!(response[60..76], mac1(own, &response[..60]), "MAC1 of a response");
        assert_eq!(index_at(response, 8), self.index, "receiver of a response");
        let mut empty = [0; 16];
        self.noise.read_message(&response[12..60], &mut empty).ok()?;
        let noise = self.noise.into_stateless_transport_mode().unwrap();
        Some(Session { noise, local: self.index, remote: index_at(response, 4), counter: 0 })
    }
}

impl Session {
    /// A data message with the next counter, and exactly these bytes inside.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.counter += 1;
        self.seal_at(self.counter - 1, plain)
    }

    /// A data message with this counter.
    pub(crate) fn seal_at(&self, counter: u64, plain: &[u8]) -> Vec<u8> {
        let mut bytes = vec![4, 0, 0, 0];
        bytes.extend(self.remote.to_le_bytes());
        bytes.extend(counter.to_le_bytes());
        let mut sealed = vec![0; plain.len() + 16];
        let len = self.noise.write_message(counter, plain, &mut sealed).unwrap();
        bytes.extend(&sealed[..len]);
        bytes
    }

    /// The counter and the padded plain text of a data message of the device.
    pub(crate) fn open(&self, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        if bytes.get(..4) != Some(&[4, 0, 0, 0]) || index_at(bytes, 4) != self.local {
            return None;
        }
        let counter = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        let mut plain = vec![0; bytes.len()];
        let len = self.noise.read_message(counter, &bytes[16..], &mut plain).ok()?;
        plain.truncate(len);
        Some((counter, plain))
    }
}

/// A TAI64N timestamp, not whitened.
pub(crate) fn tai64n(unix: Duration) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&((1 << 62) + 10 + unix.as_secs()).to_be_bytes());
    bytes[8..].copy_from_slice(&unix.subsec_nanos().to_be_bytes());
    bytes
}

/// The little-endian index at `at`.
pub(crate) fn index_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Appends MAC1, and MAC2 or zeros.
pub(crate) fn add_macs(bytes: &mut Vec<u8>, receiver: &PublicKey, cookie: Option<&[u8; 16]>) {
    let mac1 = mac1(receiver, bytes);
    bytes.extend(mac1);
    let mac2 = cookie.map_or([0; 16], |cookie| mac16(cookie, bytes));
    bytes.extend(mac2);
}

/// MAC1 of the bytes before it.
pub(crate) fn mac1(receiver: &PublicKey, bytes: &[u8]) -> [u8; 16] {
    mac16(&hash(&[b"mac1----", receiver.as_bytes()]), bytes)
}

/// Keyed BLAKE2s of sixteen bytes.
pub(crate) fn mac16(key: &[u8], bytes: &[u8]) -> [u8; 16] {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        blake2::Digest::update(&mut hash, part);
    }
    hash.finalize().into()
}

//! The handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, as states that a step consumes (§5.4.1 to §5.4.5).
//!
//! Not here: MACs and cookies (`cookie`), when to start (`peer`), whether a timestamp is new (`peer`).

use std::fmt;

use adit_protocol::Secret;
use adit_protocol::aead::{self, Key, OpenItem, SealItem, TAG_LEN};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};

use crate::constants::{INITIATION_LEN, RESPONSE_LEN};
use crate::hash::{hash, kdf};
use crate::message::{self, Index, Initiation, Response};
use crate::tai64n::Timestamp;
use crate::{PresharedKey, PrivateKey, PublicKey};

/// HASH("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").
const FIRST_CHAIN: [u8; 32] = [
    0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0, 0x25, 0xd2, 0xd0, 0x16, 0xeb, 0x42,
    0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38, 0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36,
];
/// HASH(FIRST_CHAIN, "WireGuard v1 zx2c4 Jason@zx2c4.com").
const FIRST_HASH: [u8; 32] = [
    0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32, 0x2d, 0x9c, 0x6c,
    0x66, 0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3,
];

/// Who we are.
pub(crate) struct Identity {
    pub(crate) private: PrivateKey,
    pub(crate) public: PublicKey,
    agreeing: agreement::PrivateKey,
}

/// What a handshake needs to know of the peer, and what can be computed before.
pub(crate) struct Remote {
    pub(crate) public: PublicKey,
    pub(crate) preshared: PresharedKey,
    /// The static-static secret with the current identity, once it was needed; inside, `None` if it is refused.
    shared: Option<Option<Secret<32>>>,
}

/// The initiator has sent the first message and waits for the second.
pub(crate) struct Initiated {
    pub(crate) local: Index,
    mixer: Mixer,
    ephemeral: agreement::PrivateKey,
}

/// The responder has read who the initiator says it is; nothing is proved yet.
pub(crate) struct Claimed {
    pub(crate) public: PublicKey,
    mixer: Mixer,
    sender: Index,
    ephemeral: [u8; 32],
    sealed_timestamp: [u8; 28],
}

/// The responder knows that the initiator is who it says it is, at this time of its clock.
pub(crate) struct Proved {
    pub(crate) timestamp: Timestamp,
    mixer: Mixer,
    sender: Index,
    ephemeral: [u8; 32],
    initiator: PublicKey,
}

/// What a handshake ends in.
pub(crate) struct Derived {
    pub(crate) local: Index,
    pub(crate) remote: Index,
    pub(crate) sending: Secret<32>,
    pub(crate) receiving: Secret<32>,
}

impl Identity {
    /// `None` if the key stands for "no key".
    pub(crate) fn new(private: PrivateKey) -> Option<Self> {
        if private.is_none() {
            return None;
        }
        let (agreeing, public) = agreeing_key(private.expose())?;
        Some(Self { private, public: PublicKey::new(public), agreeing })
    }
}

impl Remote {
    pub(crate) const fn new(public: PublicKey) -> Self {
        Self { public, preshared: PresharedKey::new([0; 32]), shared: None }
    }

    /// Our identity has changed.
    pub(crate) fn forget_shared(&mut self) {
        self.shared = None;
    }

    /// Whether a handshake with the peer is possible at all, which is worked out once.
    pub(crate) fn can_agree(&mut self, identity: &Identity) -> bool {
        self.shared(identity).is_some()
    }

    /// The static-static secret, computed once; `None` if the peer's key is of low order (reference W-12).
    fn shared(&mut self, identity: &Identity) -> Option<&Secret<32>> {
        self.shared.get_or_insert_with(|| agree(&identity.agreeing, self.public.as_bytes())).as_ref()
    }
}

impl Initiated {
    /// Writes the first message, without its MACs: -> e, es, s, ss (§5.4.2). `None` if a key is of low order.
    pub(crate) fn start(
        identity: &Identity,
        remote: &mut Remote,
        local: Index,
        ephemeral: &Secret<32>,
        timestamp: Timestamp,
    ) -> Option<(Self, Vec<u8>)> {
        let (ephemeral, ephemeral_public) = agreeing_key(ephemeral.expose())?;
        let mut mixer = Mixer::new(&remote.public);
        mixer.mix_ephemeral(&ephemeral_public);
        let key = mixer.mix_key(&agree(&ephemeral, remote.public.as_bytes())?);
        let mut sealed_static = [0; 48];
        mixer.seal(&key, identity.public.as_bytes(), &mut sealed_static);
        let key = mixer.mix_key(remote.shared(identity)?);
        let mut sealed_timestamp = [0; 28];
        mixer.seal(&key, &timestamp.0, &mut sealed_timestamp);

        let mut datagram = Vec::with_capacity(INITIATION_LEN);
        datagram.extend_from_slice(&message::INITIATION);
        datagram.extend_from_slice(&local.0.to_le_bytes());
        datagram.extend_from_slice(&ephemeral_public);
        datagram.extend_from_slice(&sealed_static);
        datagram.extend_from_slice(&sealed_timestamp);
        Some((Self { local, mixer, ephemeral }, datagram))
    }

    /// Reads the second message: <- e, ee, se, psk (§5.4.3). A bad one gives the state back, so that a forger cannot
    /// end our attempt.
    pub(crate) fn finish(
        self,
        identity: &Identity,
        remote: &Remote,
        response: &Response<'_>,
    ) -> Result<Derived, Box<Self>> {
        match self.mix(identity, remote, response) {
            Some(mixer) => {
                let (sending, receiving) = mixer.split();
                Ok(Derived { local: self.local, remote: response.sender, sending, receiving })
            }
            None => Err(Box::new(self)),
        }
    }

    fn mix(&self, identity: &Identity, remote: &Remote, response: &Response<'_>) -> Option<Mixer> {
        let mut mixer = self.mixer.duplicate();
        mixer.mix_ephemeral(response.ephemeral);
        mixer.mix_chain(agree(&self.ephemeral, response.ephemeral)?.expose());
        mixer.mix_chain(agree(&identity.agreeing, response.ephemeral)?.expose());
        let key = mixer.mix_preshared(&remote.preshared);
        mixer.open::<16, 0>(&key, response.sealed_nothing)?;
        Some(mixer)
    }
}

impl Claimed {
    /// Reads the first message as far as the initiator's name: e, es, s (§5.4.2).
    pub(crate) fn read(identity: &Identity, initiation: &Initiation<'_>) -> Option<Self> {
        let mut mixer = Mixer::new(&identity.public);
        mixer.mix_ephemeral(initiation.ephemeral);
        let key = mixer.mix_key(&agree(&identity.agreeing, initiation.ephemeral)?);
        let public = mixer.open::<48, 32>(&key, initiation.sealed_static)?;
        Some(Self {
            public: PublicKey::new(public),
            mixer,
            sender: initiation.sender,
            ephemeral: *initiation.ephemeral,
            sealed_timestamp: *initiation.sealed_timestamp,
        })
    }

    /// Reads the rest, which only the owner of the name can have written: ss (§5.4.2).
    pub(crate) fn prove(mut self, identity: &Identity, remote: &mut Remote) -> Option<Proved> {
        let key = self.mixer.mix_key(remote.shared(identity)?);
        let timestamp = Timestamp(self.mixer.open::<28, 12>(&key, &self.sealed_timestamp)?);
        let Self { public, mixer, sender, ephemeral, .. } = self;
        Some(Proved { timestamp, mixer, sender, ephemeral, initiator: public })
    }
}

impl Proved {
    /// Writes the second message, without its MACs: <- e, ee, se, psk (§5.4.3). `None` if a key is of low order.
    pub(crate) fn respond(
        mut self,
        remote: &Remote,
        local: Index,
        ephemeral: &Secret<32>,
    ) -> Option<(Derived, Vec<u8>)> {
        let (ephemeral, ephemeral_public) = agreeing_key(ephemeral.expose())?;
        self.mixer.mix_ephemeral(&ephemeral_public);
        self.mixer.mix_chain(agree(&ephemeral, &self.ephemeral)?.expose());
        self.mixer.mix_chain(agree(&ephemeral, self.initiator.as_bytes())?.expose());
        let key = self.mixer.mix_preshared(&remote.preshared);
        let mut sealed_nothing = [0; TAG_LEN];
        self.mixer.seal(&key, &[], &mut sealed_nothing);

        let mut datagram = Vec::with_capacity(RESPONSE_LEN);
        datagram.extend_from_slice(&message::RESPONSE);
        datagram.extend_from_slice(&local.0.to_le_bytes());
        datagram.extend_from_slice(&self.sender.0.to_le_bytes());
        datagram.extend_from_slice(&ephemeral_public);
        datagram.extend_from_slice(&sealed_nothing);
        let (receiving, sending) = self.mixer.split();
        Some((Derived { local, remote: self.sender, sending, receiving }, datagram))
    }
}

/// The running chaining key and transcript hash (§5.4).
struct Mixer {
    chain: Secret<32>,
    hash: [u8; 32],
}

impl Mixer {
    fn new(responder: &PublicKey) -> Self {
        Self { chain: Secret::new(FIRST_CHAIN), hash: hash(&[&FIRST_HASH, responder.as_bytes()]) }
    }

    fn duplicate(&self) -> Self {
        Self { chain: self.chain.duplicate(), hash: self.hash }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix_chain(&mut self, input: &[u8]) {
        let [chain] = kdf(&self.chain, input);
        self.chain = chain;
    }

    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        self.mix_chain(public);
    }

    fn mix_key(&mut self, input: &Secret<32>) -> Secret<32> {
        let [chain, key] = kdf(&self.chain, input.expose());
        self.chain = chain;
        key
    }

    fn mix_preshared(&mut self, preshared: &PresharedKey) -> Secret<32> {
        let [chain, temporary, key] = kdf(&self.chain, preshared.expose());
        self.chain = chain;
        self.mix_hash(temporary.expose());
        key
    }

    /// Seals with counter 0 and the transcript as associated data, then takes the ciphertext into the transcript.
    fn seal(&mut self, key: &Secret<32>, plain: &[u8], sealed: &mut [u8]) {
        for (to, from) in sealed.iter_mut().zip(plain) {
            *to = *from;
        }
        let key = Key::new(key);
        aead::seal_batch(&mut [SealItem { key: &key, nonce: [0; 12], aad: &self.hash, buffer: sealed }]);
        self.mix_hash(sealed);
    }

    fn open<const SEALED: usize, const PLAIN: usize>(
        &mut self,
        key: &Secret<32>,
        sealed: &[u8; SEALED],
    ) -> Option<[u8; PLAIN]> {
        let mut buffer = *sealed;
        let key = Key::new(key);
        let mut item = [OpenItem { key: &key, nonce: [0; 12], aad: &self.hash, buffer: &mut buffer, authentic: false }];
        aead::open_batch(&mut item);
        let [item] = item;
        if !item.authentic {
            return None;
        }
        self.mix_hash(sealed);
        buffer.first_chunk().copied()
    }

    /// The first and the second data key (§5.4.5).
    fn split(self) -> (Secret<32>, Secret<32>) {
        let [first, second] = kdf(&self.chain, &[]);
        (first, second)
    }
}

/// A private key in the library's form, and its public key.
fn agreeing_key(private: &[u8; 32]) -> Option<(agreement::PrivateKey, [u8; 32])> {
    let key = agreement::PrivateKey::from_private_key(&X25519, private).ok()?;
    let public = key.compute_public_key().ok()?;
    let public = public.as_ref().try_into().ok()?;
    Some((key, public))
}

/// X25519; `None` if the result is zero, that is, if the public key is of low order.
pub(crate) fn agree(private: &agreement::PrivateKey, public: &[u8; 32]) -> Option<Secret<32>> {
    agreement::agree(private, UnparsedPublicKey::new(&X25519, public), (), |shared| {
        shared.try_into().map(Secret::new).map_err(drop)
    })
    .ok()
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

opaque!(Identity, Remote, Initiated, Claimed, Proved, Derived);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn the_first_chain_and_hash_are_those_of_the_construction_and_the_identifier() {
        assert_eq!(hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]), FIRST_CHAIN);
        assert_eq!(hash(&[&FIRST_CHAIN, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]), FIRST_HASH);
    }

    fn pair() -> (Identity, Identity) {
        let identity = |n| Identity::new(PrivateKey::new([n; 32])).unwrap();
        (identity(1), identity(2))
    }

    fn with_macs(mut datagram: Vec<u8>) -> Vec<u8> {
        datagram.extend_from_slice(&[0; 32]);
        datagram
    }

    #[test]
    fn both_ends_derive_the_same_keys_crosswise() {
        let (alice, bob) = pair();
        let (mut to_bob, mut to_alice) = (Remote::new(bob.public), Remote::new(alice.public));
        to_bob.preshared = PresharedKey::new([9; 32]);
        to_alice.preshared = PresharedKey::new([9; 32]);
        let stamp = Timestamp([7; 12]);
        let (state, first) = Initiated::start(&alice, &mut to_bob, Index(5), &Secret::new([3; 32]), stamp).unwrap();
        let first = with_macs(first);
        let Some(Message::Initiation(first)) = Message::parse(&first) else { panic!("not an initiation") };
        let claimed = Claimed::read(&bob, &first).unwrap();
        assert_eq!(claimed.public, alice.public);
        let proved = claimed.prove(&bob, &mut to_alice).unwrap();
        assert_eq!(proved.timestamp, stamp);
        let (theirs, second) = proved.respond(&to_alice, Index(6), &Secret::new([4; 32])).unwrap();
        let mut second = with_macs(second);
        second[50] ^= 1;
        let Some(Message::Response(forged)) = Message::parse(&second) else { panic!("not a response") };
        let state = state.finish(&alice, &to_bob, &forged).expect_err("forged");
        second[50] ^= 1;
        let Some(Message::Response(second)) = Message::parse(&second) else { panic!("not a response") };
        let ours = state.finish(&alice, &to_bob, &second).expect("a forger cannot end our attempt");
        assert_eq!((ours.local, ours.remote, theirs.local, theirs.remote), (Index(5), Index(6), Index(6), Index(5)));
        assert_eq!(ours.sending, theirs.receiving);
        assert_eq!(ours.receiving, theirs.sending);
        assert_ne!(ours.sending, ours.receiving);
    }

    #[test]
    fn a_public_key_of_low_order_begins_nothing() {
        let (alice, _) = pair();
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let mut remote = Remote::new(PublicKey::new(low));
            let started = Initiated::start(&alice, &mut remote, Index(1), &Secret::new([3; 32]), Timestamp([0; 12]));
            assert!(started.is_none());
        }
    }
}

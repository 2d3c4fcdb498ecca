//! Envelopes of control packets: what proves, and hides, that a packet comes from somebody who has the key.
//!
//! Not here: what a packet says (`packet`), key files (`key_file`), the order of packets (`reliable`).

pub(crate) mod replay;
mod tls_auth;
pub(crate) mod tls_crypt;
pub(crate) mod tls_crypt_v2;

use std::fmt;

use self::replay::ReplayId;
use self::tls_auth::TlsAuth;
use self::tls_crypt::TlsCrypt;
use crate::key_file::StaticKey;
use crate::packet::{First, SessionId};
use crate::{Digest, Role};

/// Which half of a `tls-auth` key is for sending (`key-direction`). The other end has the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `0`: sends with the first key.
    Normal,
    /// `1`: sends with the second key.
    Inverse,
}

/// How control packets are wrapped, and with which keys.
pub(crate) enum Envelope {
    Plain,
    TlsAuth(Box<TlsAuth>),
    TlsCrypt(Box<TlsCrypt>),
}

/// A packet out of its envelope: authentic, unless there is none. Whether it is new is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwrapped {
    pub(crate) first: First,
    pub(crate) session: SessionId,
    /// Its number among all packets under this key; plain packets have none.
    pub(crate) replay: Option<ReplayId>,
    /// What `Body::parse` reads.
    pub(crate) body: Vec<u8>,
}

impl Envelope {
    /// Authenticated, in the clear. Without a direction both ends use the first key.
    pub(crate) fn tls_auth(key: &StaticKey, digest: Digest, direction: Option<Direction>) -> Self {
        Self::TlsAuth(Box::new(TlsAuth::new(key, digest, direction)))
    }

    /// Authenticated and encrypted.
    pub(crate) fn tls_crypt(key: &StaticKey, role: Role) -> Self {
        Self::TlsCrypt(Box::new(TlsCrypt::new(key, role)))
    }

    /// The datagram for a body.
    pub(crate) fn wrap(&self, first: First, session: SessionId, replay: ReplayId, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => [&[first.byte()], session.0.as_slice(), body].concat(),
            Self::TlsAuth(envelope) => envelope.wrap(first, session, replay, body),
            Self::TlsCrypt(envelope) => envelope.wrap(first, session, replay, body),
        }
    }

    /// Opens a datagram (without a wrapped key at its end). `None` if it is too short or not authentic.
    pub(crate) fn unwrap(&self, datagram: &[u8]) -> Option<Unwrapped> {
        let (first, session, rest) = header(datagram)?;
        match self {
            Self::Plain => Some(Unwrapped { first, session, replay: None, body: rest.to_vec() }),
            Self::TlsAuth(envelope) => envelope.unwrap(first, session, rest),
            Self::TlsCrypt(envelope) => envelope.unwrap(first, session, rest),
        }
    }
}

/// What every envelope leaves in the clear.
pub(crate) fn header(datagram: &[u8]) -> Option<(First, SessionId, &[u8])> {
    let (&byte, rest) = datagram.split_first()?;
    let (session, rest) = rest.split_first_chunk::<8>()?;
    Some((First::parse(byte)?, SessionId(*session), rest))
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::TlsAuth(_) => "tls-auth",
            Self::TlsCrypt(_) => "tls-crypt",
        })
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;

    use super::*;
    use crate::packet::Opcode;
    use crate::testing::hex;

    /// The key of OpenVPN's own tests of packets.
    fn key() -> StaticKey {
        StaticKey::new(Secret::new(hex(include_str!("../../tests/vectors/static_key.hex")).try_into().unwrap()))
    }

    fn reset() -> First {
        First { opcode: Opcode::HardResetClientV2, key_id: 0 }
    }

    #[test]
    fn a_reset_under_tls_auth_is_openvpns() {
        let wire = hex("38de694c5c7bfba27493537c1ded4e781529ae7cfe4b8c6d6b2b51f05a0000000161d3bf6c0000000000");
        let server = Envelope::tls_auth(&key(), Digest::Sha1, Some(Direction::Normal));
        let unwrapped = server.unwrap(&wire).unwrap();
        assert_eq!(unwrapped.first, reset());
        assert_eq!(unwrapped.replay, Some(ReplayId { id: 1, time: 0x61d3_bf6c }));
        assert_eq!(unwrapped.body, hex("0000000000"));
        let client = Envelope::tls_auth(&key(), Digest::Sha1, Some(Direction::Inverse));
        assert_eq!(client.wrap(reset(), unwrapped.session, unwrapped.replay.unwrap(), &unwrapped.body), wire);
    }

    #[test]
    fn a_reset_under_tls_crypt_is_openvpns() {
        let wire = hex(
            "38f419cb12d1f9e48f0000000161d3f8e1330206f56802be44fbed905064e3db43416bec5e526719462b7eb90c96defc9b05c44879f7",
        );
        let unwrapped = Envelope::tls_crypt(&key(), Role::Server).unwrap(&wire).unwrap();
        assert_eq!((unwrapped.first, unwrapped.body.as_slice()), (reset(), hex("0000000000").as_slice()));
        let client = Envelope::tls_crypt(&key(), Role::Client);
        assert_eq!(client.wrap(reset(), unwrapped.session, unwrapped.replay.unwrap(), &unwrapped.body), wire);
    }

    #[test]
    fn a_plain_reset_is_openvpns() {
        let wire = hex("386891923fa31034370000000000");
        let unwrapped = Envelope::Plain.unwrap(&wire).unwrap();
        assert_eq!((unwrapped.first, unwrapped.replay), (reset(), None));
        let zero = ReplayId { id: 0, time: 0 };
        assert_eq!(Envelope::Plain.wrap(reset(), unwrapped.session, zero, &unwrapped.body), wire);
    }

    /// What every kind with keys has in common: the other end opens it, and no other bytes.
    #[test]
    fn only_the_other_end_opens_what_was_wrapped_and_no_bit_may_change() {
        let pairs = Digest::ALL
            .into_iter()
            .flat_map(|digest| {
                [(None, None), (Some(Direction::Normal), Some(Direction::Inverse))].map(|(client, server)| {
                    (Envelope::tls_auth(&key(), digest, client), Envelope::tls_auth(&key(), digest, server))
                })
            })
            .chain([(Envelope::tls_crypt(&key(), Role::Client), Envelope::tls_crypt(&key(), Role::Server))]);
        for (client, server) in pairs {
            let (session, replay, body) = (SessionId([5; 8]), ReplayId { id: 3, time: 4 }, b"the body of it");
            let wire = client.wrap(reset(), session, replay, body);
            let open = Unwrapped { first: reset(), session, replay: Some(replay), body: body.to_vec() };
            assert_eq!(server.unwrap(&wire), Some(open), "{client:?}");
            for bit in 0..wire.len() * 8 {
                let mut forged = wire.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(server.unwrap(&forged), None, "{client:?}, bit {bit}");
            }
            for len in 0..wire.len() {
                assert_eq!(server.unwrap(&wire[..len]), None, "{client:?}, {len} bytes");
            }
        }
    }

    #[test]
    fn with_a_direction_nobody_opens_what_they_wrapped_themselves() {
        for envelope in [
            Envelope::tls_auth(&key(), Digest::Sha1, Some(Direction::Normal)),
            Envelope::tls_crypt(&key(), Role::Client),
            Envelope::tls_crypt(&key(), Role::Server),
        ] {
            let wire = envelope.wrap(reset(), SessionId([5; 8]), ReplayId { id: 1, time: 1 }, &[0; 5]);
            assert_eq!(envelope.unwrap(&wire), None);
        }
    }
}

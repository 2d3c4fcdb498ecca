//! `tls-crypt-v2`: the keys of clients, wrapped under the server's key so that the server need not store them.

use adit_protocol::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use super::tls_crypt::Pair;
use crate::constants::{MAX_WRAPPED_KEY, MIN_WRAPPED_KEY};
use crate::key_file::{ClientKey, ServerKey, StaticKey};

/// What a server wrote into a client's key when it made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    /// Bytes of the administrator's own.
    User(Vec<u8>),
    /// When the key was made, in seconds since the Unix epoch.
    Timestamp(i64),
    /// A type that we do not know.
    Other(u8, Vec<u8>),
}

/// Metadata does not fit into a wrapped key.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the metadata has {length} bytes, and a client key holds at most {MAX_METADATA}\n  hint: use shorter metadata")]
pub struct MetadataTooLong {
    /// Bytes that were given.
    pub length: usize,
}

/// Bytes of metadata after its type.
const MAX_METADATA: usize = MAX_WRAPPED_KEY - MIN_WRAPPED_KEY - 1;

/// A server's key, ready to open what it wrapped.
#[derive(Debug)]
pub(crate) struct Unwrapper(Pair);

impl Metadata {
    fn emit(&self) -> Vec<u8> {
        match self {
            Self::User(bytes) => [&[0], bytes.as_slice()].concat(),
            Self::Timestamp(at) => [[1].as_slice(), &at.to_be_bytes()].concat(),
            Self::Other(kind, bytes) => [&[*kind], bytes.as_slice()].concat(),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        Some(match (kind, <[u8; 8]>::try_from(rest)) {
            (0, _) => Self::User(rest.to_vec()),
            (1, Ok(at)) => Self::Timestamp(i64::from_be_bytes(at)),
            _ => Self::Other(kind, rest.to_vec()),
        })
    }
}

impl ServerKey {
    /// Makes a client's key of 256 random bytes.
    ///
    /// # Errors
    ///
    /// The metadata is too long.
    pub fn wrap(&self, key: StaticKey, metadata: &Metadata) -> Result<ClientKey, MetadataTooLong> {
        let metadata = metadata.emit();
        let length = metadata.len() - 1;
        if length > MAX_METADATA {
            return Err(MetadataTooLong { length });
        }
        let total = ((MIN_WRAPPED_KEY + metadata.len()) as u16).to_be_bytes();
        let plain = Zeroizing::new([key.bytes().as_slice(), &metadata].concat());
        let mut wrapped = Unwrapper::new(self).0.seal(&total, &plain);
        wrapped.extend_from_slice(&total);
        Ok(ClientKey { key, wrapped })
    }
}

impl Unwrapper {
    pub(crate) fn new(key: &ServerKey) -> Self {
        let (cipher, mac) = key.halves();
        Self(Pair::new(cipher, mac))
    }

    /// Opens a wrapped key.
    pub(crate) fn open(&self, wrapped: &[u8]) -> Option<(StaticKey, Metadata)> {
        let (sealed, total) = wrapped.split_last_chunk::<2>()?;
        let plain = Zeroizing::new(self.0.open(total, sealed)?);
        let (key, metadata) = plain.split_first_chunk::<256>()?;
        Some((StaticKey::new(Secret::new(*key)), Metadata::parse(metadata)?))
    }
}

/// Takes the wrapped key off the end of a packet (whose first byte, the opcode, can be no part of it): the packet
/// without it, and the wrapped key.
pub(crate) fn split_wrapped(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let total = usize::from(u16::from_be_bytes(*datagram.last_chunk::<2>()?));
    if !(MIN_WRAPPED_KEY..=MAX_WRAPPED_KEY).contains(&total) || total >= datagram.len() {
        return None;
    }
    datagram.split_at_checked(datagram.len().checked_sub(total)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::packet::{Body, Opcode};
    use crate::testing::hex;
    use crate::wrap::Envelope;

    fn server() -> ServerKey {
        ServerKey::new(Secret::new(std::array::from_fn(|i| i as u8)))
    }

    fn client() -> StaticKey {
        StaticKey::new(Secret::new(std::array::from_fn(|i| i as u8)))
    }

    #[test]
    fn a_wrapped_key_with_a_timestamp_is_openvpns() {
        let made = server().wrap(client(), &Metadata::Timestamp(0)).unwrap();
        assert_eq!(made.wrapped.len(), 299);
        assert_eq!(made.wrapped[..32], hex("177da5c074a94619b16be4acb71f1a6ccf24f33c6bbaf498459d5f06c369d495"));
        let (key, metadata) = Unwrapper::new(&server()).open(&made.wrapped).unwrap();
        assert_eq!((key.bytes(), metadata), (client().bytes(), Metadata::Timestamp(0)));
    }

    #[test]
    fn metadata_of_every_kind_comes_back_and_too_much_is_refused() {
        for metadata in
            [Metadata::User(hex("0000410820c3")), Metadata::User(vec![7; MAX_METADATA]), Metadata::Other(1, vec![2; 9])]
        {
            let made = server().wrap(client(), &metadata).unwrap();
            assert_eq!(Unwrapper::new(&server()).open(&made.wrapped).unwrap().1, metadata);
        }
        assert_eq!(
            server().wrap(client(), &Metadata::User(vec![7; 734])).unwrap_err(),
            MetadataTooLong { length: 734 }
        );
    }

    #[test]
    fn no_bit_of_a_wrapped_key_may_change() {
        let made = server().wrap(client(), &Metadata::User(b"x".to_vec())).unwrap();
        for bit in 0..made.wrapped.len() * 8 {
            let mut forged = made.wrapped.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(Unwrapper::new(&server()).open(&forged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_length_that_reaches_into_the_opcode_or_lies_is_refused() {
        let mut wrapped = vec![0; 290];
        wrapped[288..].copy_from_slice(&290_u16.to_be_bytes());
        assert_eq!(split_wrapped(&wrapped), None, "no room for an opcode");
        let packet = [[0x50].as_slice(), &wrapped].concat();
        assert_eq!(split_wrapped(&packet).map(|(packet, key)| (packet.len(), key.len())), Some((1, 290)));
        for lie in [0_u16, 289, 292, 1025, 0xffff] {
            let mut packet = packet.clone();
            packet[289..].copy_from_slice(&lie.to_be_bytes());
            assert_eq!(split_wrapped(&packet), None, "{lie}");
        }
        assert_eq!(split_wrapped(&[1]), None);
    }

    /// The first two packets between a real client and a real server.
    #[test]
    fn the_opening_of_real_peers_is_read() {
        let vectors = include_str!("../../tests/vectors/tls_crypt_v2_opening.hex");
        let [server_key, first, answer] = vectors.lines().map(hex).collect::<Vec<_>>().try_into().unwrap();
        let server = ServerKey::new(Secret::new(server_key.try_into().unwrap()));
        let (packet, wrapped) = split_wrapped(&first).unwrap();
        let (key, metadata) = Unwrapper::new(&server).open(wrapped).unwrap();
        assert_eq!(metadata, Metadata::Timestamp(0x6b01_44c3));

        let opened = Envelope::tls_crypt(&key, Role::Server).unwrap(packet).unwrap();
        assert_eq!(opened.first.opcode, Opcode::HardResetClientV3);
        assert_eq!(opened.replay.unwrap().id, 0x0f00_0001);
        assert_eq!(Body::parse(opened.first.opcode, &opened.body).unwrap().id, Some(0));

        let opened = Envelope::tls_crypt(&key, Role::Client).unwrap(&answer).unwrap();
        assert_eq!(opened.body, hex("01 00000000 8565b267fafb04b8 00000000 0001 0002 0001"));
    }
}

//! The messages of the wire as views, and the fixed parts of building them (§5.4.2 to §5.4.7).
//!
//! Not here: what they mean (`noise`, `cookie`, `session`).

use adit_protocol::aead::TAG_LEN;

use crate::constants::{COOKIE_REPLY_LEN, DATA_HEADER, INITIATION_LEN, RESPONSE_LEN};

/// The number by which a receiver finds the session or handshake that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Index(pub(crate) u32);

/// First four bytes: the type, and three reserved zeros.
pub(crate) const INITIATION: [u8; 4] = [1, 0, 0, 0];
pub(crate) const RESPONSE: [u8; 4] = [2, 0, 0, 0];
pub(crate) const COOKIE_REPLY: [u8; 4] = [3, 0, 0, 0];
pub(crate) const DATA: [u8; 4] = [4, 0, 0, 0];

/// Any message, taken apart.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    Initiation(Initiation<'a>),
    Response(Response<'a>),
    CookieReply(CookieReply<'a>),
    Data(Data),
}

/// First message of a handshake (§5.4.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Initiation<'a> {
    pub(crate) sender: Index,
    pub(crate) ephemeral: &'a [u8; 32],
    pub(crate) sealed_static: &'a [u8; 48],
    pub(crate) sealed_timestamp: &'a [u8; 28],
    pub(crate) macs: Macs<'a>,
}

/// Second message of a handshake (§5.4.3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) sender: Index,
    pub(crate) receiver: Index,
    pub(crate) ephemeral: &'a [u8; 32],
    pub(crate) sealed_nothing: &'a [u8; 16],
    pub(crate) macs: Macs<'a>,
}

/// The two codes at the end of both, and what they cover (§5.4.4).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Macs<'a> {
    pub(crate) before_mac1: &'a [u8],
    pub(crate) mac1: &'a [u8; 16],
    pub(crate) before_mac2: &'a [u8],
    pub(crate) mac2: &'a [u8; 16],
}

/// Asks the sender of a handshake message to prove its address (§5.4.7).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CookieReply<'a> {
    pub(crate) receiver: Index,
    pub(crate) nonce: &'a [u8; 24],
    pub(crate) sealed_cookie: &'a [u8; 32],
}

/// The header of a data message (§5.4.6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    pub(crate) receiver: Index,
    pub(crate) counter: u64,
}

impl<'a> Message<'a> {
    /// The only way in: type, reserved zeros and length are checked here and nowhere else (reference W-01).
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let kind: [u8; 4] = *bytes.first_chunk()?;
        match kind {
            DATA => Data::parse(bytes).map(Self::Data),
            INITIATION => Initiation::parse(bytes).map(Self::Initiation),
            RESPONSE => Response::parse(bytes).map(Self::Response),
            COOKIE_REPLY => CookieReply::parse(bytes).map(Self::CookieReply),
            _ => None,
        }
    }
}

impl Data {
    #[inline]
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, sealed) = bytes.split_first_chunk::<DATA_HEADER>()?;
        let header = u128::from_le_bytes(*header);
        let receiver = Index((header >> 32) as u32);
        (sealed.len() >= TAG_LEN).then_some(Self { receiver, counter: (header >> 64) as u64 })
    }
}

impl<'a> Initiation<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; INITIATION_LEN] = bytes.try_into().ok()?;
        let mut rest = bytes.as_slice();
        let _kind: &[u8; 4] = take(&mut rest)?;
        let sender = take_index(&mut rest)?;
        let ephemeral = take(&mut rest)?;
        let sealed_static = take(&mut rest)?;
        let sealed_timestamp = take(&mut rest)?;
        Some(Self { sender, ephemeral, sealed_static, sealed_timestamp, macs: Macs::parse(bytes)? })
    }
}

impl<'a> Response<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; RESPONSE_LEN] = bytes.try_into().ok()?;
        let mut rest = bytes.as_slice();
        let _kind: &[u8; 4] = take(&mut rest)?;
        let sender = take_index(&mut rest)?;
        let receiver = take_index(&mut rest)?;
        let ephemeral = take(&mut rest)?;
        let sealed_nothing = take(&mut rest)?;
        Some(Self { sender, receiver, ephemeral, sealed_nothing, macs: Macs::parse(bytes)? })
    }
}

impl<'a> CookieReply<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; COOKIE_REPLY_LEN] = bytes.try_into().ok()?;
        let mut rest = bytes.as_slice();
        let _kind: &[u8; 4] = take(&mut rest)?;
        let receiver = take_index(&mut rest)?;
        Some(Self { receiver, nonce: take(&mut rest)?, sealed_cookie: take(&mut rest)? })
    }
}

impl<'a> Macs<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (before_mac2, mac2) = bytes.split_last_chunk()?;
        let (before_mac1, mac1) = before_mac2.split_last_chunk()?;
        Some(Self { before_mac1, mac1, before_mac2, mac2 })
    }
}

/// The sixteen bytes in front of a data message's ciphertext (§5.4.6).
#[inline]
pub(crate) fn data_header(receiver: Index, counter: u64) -> [u8; DATA_HEADER] {
    let kind = u128::from(u32::from_le_bytes(DATA));
    (kind | u128::from(receiver.0) << 32 | u128::from(counter) << 64).to_le_bytes()
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn take_index(rest: &mut &[u8]) -> Option<Index> {
    take(rest).map(|bytes| Index(u32::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    }

    #[test]
    fn an_initiation_is_taken_apart() {
        let bytes = message(1, 148);
        let Some(Message::Initiation(m)) = Message::parse(&bytes) else { panic!("not an initiation") };
        assert_eq!(m.sender, Index(0x0706_0504));
        assert_eq!(m.ephemeral[0], 8);
        assert_eq!(m.sealed_static[0], 40);
        assert_eq!(m.sealed_timestamp[0], 88);
        assert_eq!((m.macs.before_mac1.len(), m.macs.mac1[0]), (116, 116));
        assert_eq!((m.macs.before_mac2.len(), m.macs.mac2[0]), (132, 132));
    }

    #[test]
    fn a_response_is_taken_apart() {
        let bytes = message(2, 92);
        let Some(Message::Response(m)) = Message::parse(&bytes) else { panic!("not a response") };
        assert_eq!((m.sender, m.receiver), (Index(0x0706_0504), Index(0x0b0a_0908)));
        assert_eq!((m.ephemeral[0], m.sealed_nothing[0], m.macs.mac1[0], m.macs.mac2[0]), (12, 44, 60, 76));
    }

    #[test]
    fn a_cookie_reply_is_taken_apart() {
        let bytes = message(3, 64);
        let Some(Message::CookieReply(m)) = Message::parse(&bytes) else { panic!("not a cookie reply") };
        assert_eq!((m.receiver, m.nonce[0], m.sealed_cookie[0]), (Index(0x0706_0504), 8, 32));
    }

    #[test]
    fn a_data_header_is_read_as_it_was_written() {
        let mut bytes = vec![0; 32];
        bytes[..16].copy_from_slice(&data_header(Index(0xdead_beef), 0x0102_0304_0506_0708));
        assert_eq!(bytes[..8], [4, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde]);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        let Some(Message::Data(m)) = Message::parse(&bytes) else { panic!("not data") };
        assert_eq!((m.receiver, m.counter), (Index(0xdead_beef), 0x0102_0304_0506_0708));
    }

    #[test]
    fn every_other_length_or_type_is_no_message() {
        for (kind, right) in [(1, 148), (2, 92), (3, 64)] {
            for len in 4..200 {
                assert_eq!(Message::parse(&message(kind, len)).is_some(), len == right, "type {kind}, {len} bytes");
            }
        }
        for len in 4..200 {
            assert_eq!(Message::parse(&message(4, len)).is_some(), len >= 32);
            assert!(Message::parse(&message(0, len)).is_none());
            assert!(Message::parse(&message(5, len)).is_none());
        }
        assert!(Message::parse(&[]).is_none());
    }

    #[test]
    fn nonzero_reserved_bytes_are_no_message() {
        for (kind, len) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            for at in 1..4 {
                let mut bytes = message(kind, len);
                bytes[at] = 1;
                assert!(Message::parse(&bytes).is_none());
            }
        }
    }
}

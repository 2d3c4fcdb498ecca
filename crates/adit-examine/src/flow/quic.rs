//! QUIC Initial packets (RFC 9000 §17.2.2, RFC 9001 §5): anyone on the path can open them, and so does this.
//!
//! Not here: what comes after; its keys are nobody's but the ends'.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::tls::{ClientHello, ServerHello};

/// Bytes of a handshake that are put together from Initial packets, each way.
pub const MAX_CRYPTO: usize = 32 << 10;
/// Pieces of it that are kept.
pub const MAX_PIECES: usize = 256;
/// Datagrams of one flow that are looked into.
pub const MAX_LOOKED_INTO: u32 = 64;

/// What the Initial packets of a flow have shown.
#[derive(Debug, Default)]
pub struct Quic {
    /// The version of the first Initial that could be opened.
    pub version: Option<u32>,
    /// What the client offered.
    pub client_hello: Option<ClientHello>,
    /// What the server chose.
    pub server_hello: Option<ServerHello>,
    /// When the client's hello was complete.
    pub hello_at: Option<Duration>,
    /// Datagrams of the client until its hello was complete.
    pub hello_datagrams: u32,
    /// The name could be read from the first datagram alone.
    pub name_in_first: bool,
    /// The length of the client's first datagram.
    pub first_length: usize,
    /// Lengths of the identifiers that the client chose: destination, source.
    pub id_lengths: Option<(usize, usize)>,
    keys: Option<[Keys; 2]>,
    halves: [Crypto; 2],
    looked_into: u32,
    up_datagrams: u32,
}

/// The pieces of one direction's handshake.
#[derive(Debug, Default)]
struct Crypto {
    pieces: BTreeMap<usize, Vec<u8>>,
    kept: usize,
}

struct Keys {
    packet: LessSafeKey,
    iv: [u8; 12],
    header: HeaderProtectionKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// An Initial packet's outside.
struct Initial<'a> {
    version: u32,
    destination: &'a [u8],
    source: &'a [u8],
    /// From the first byte to the end of the packet.
    whole: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
}

impl Quic {
    /// Whether this is QUIC: an Initial of the client could be opened.
    pub const fn is_quic(&self) -> bool {
        self.version.is_some()
    }

    pub(super) fn feed(&mut self, up: bool, at: Duration, datagram: &[u8], length: usize) {
        if self.looked_into == MAX_LOOKED_INTO || self.is_complete() {
            return;
        }
        self.looked_into += 1;
        self.up_datagrams += u32::from(up);
        let mut rest = datagram;
        while let Some((initial, after)) = Initial::parse(rest) {
            rest = after;
            let Some(initial) = initial else { continue };
            let Some(plain) = self.open(up, &initial) else { continue };
            if self.version.is_none() {
                self.version = Some(initial.version);
                self.first_length = length;
                self.id_lengths = Some((initial.destination.len(), initial.source.len()));
            }
            let half = &mut self.halves[usize::from(!up)];
            let _malformed = half.read_frames(&plain);
        }
        self.read_hellos(at);
    }

    /// Opens with the keys at hand, else with those that the client's identifier gives: at first, and after a retry.
    fn open(&mut self, up: bool, initial: &Initial<'_>) -> Option<Vec<u8>> {
        let opened = self.keys.as_ref().and_then(|keys| initial.open(&keys[usize::from(!up)]));
        if opened.is_some() || !up {
            return opened;
        }
        let keys = derive(initial.version, initial.destination)?;
        let opened = initial.open(&keys[0])?;
        self.keys = Some(keys);
        Some(opened)
    }

    const fn is_complete(&self) -> bool {
        self.client_hello.is_some() && self.server_hello.is_some()
    }

    fn read_hellos(&mut self, at: Duration) {
        if self.client_hello.is_none()
            && let Some(body) = self.halves[0].message(CLIENT_HELLO)
        {
            self.client_hello = ClientHello::parse(&body);
            self.hello_at = Some(at);
            self.hello_datagrams = self.up_datagrams;
            self.name_in_first = self.up_datagrams == 1;
        }
        if self.server_hello.is_none()
            && let Some(body) = self.halves[1].message(SERVER_HELLO)
        {
            self.server_hello = ServerHello::parse(&body);
        }
    }
}

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

impl Crypto {
    /// RFC 9000 §12.4: what an Initial packet may hold.
    fn read_frames(&mut self, plain: &[u8]) -> Option<()> {
        let mut at = plain;
        while let Some((&kind, rest)) = at.split_first() {
            at = rest;
            match kind {
                PADDING | PING => {}
                ACK | ACK_ECN => {
                    let [_largest, _delay, ranges, _first] =
                        [varint(&mut at)?, varint(&mut at)?, varint(&mut at)?, varint(&mut at)?];
                    for _ in 0..ranges {
                        varint(&mut at)?;
                        varint(&mut at)?;
                    }
                    for _ in 0..if kind == ACK_ECN { 3 } else { 0 } {
                        varint(&mut at)?;
                    }
                }
                CRYPTO => {
                    let offset = usize::try_from(varint(&mut at)?).ok()?;
                    let length = usize::try_from(varint(&mut at)?).ok()?;
                    let (piece, after) = at.split_at_checked(length)?;
                    at = after;
                    self.keep(offset, piece);
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn keep(&mut self, offset: usize, piece: &[u8]) {
        let inside = offset.checked_add(piece.len()).is_some_and(|end| end <= MAX_CRYPTO);
        if !inside || self.pieces.len() == MAX_PIECES || self.kept + piece.len() > MAX_CRYPTO {
            return;
        }
        let longer = self.pieces.get(&offset).is_none_or(|known| known.len() < piece.len());
        if longer {
            let old = self.pieces.insert(offset, piece.to_vec());
            self.kept += piece.len() - old.map_or(0, |old| old.len());
        }
    }

    /// The first message, if it is of this kind and all of it is there.
    fn message(&self, kind: u8) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for (offset, piece) in &self.pieces {
            let skip = bytes.len().checked_sub(*offset)?;
            bytes.extend_from_slice(piece.get(skip..).unwrap_or_default());
        }
        let header = bytes.first_chunk::<4>()?;
        let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
        (header[0] == kind).then(|| bytes.get(4..4 + length).map(<[u8]>::to_vec))?
    }
}

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const CRYPTO: u8 = 0x06;

impl<'a> Initial<'a> {
    /// The first packet of a datagram, if it is an Initial, and what follows it.
    fn parse(datagram: &'a [u8]) -> Option<(Option<Self>, &'a [u8])> {
        let mut at = datagram;
        let first = take(&mut at, 1)?[0];
        // A long header, with the fixed bit.
        if first & 0xc0 != 0xc0 {
            return None;
        }
        let version = u32::from_be_bytes(take(&mut at, 4)?.try_into().ok()?);
        let n = usize::from(take(&mut at, 1)?[0]);
        let destination = take(&mut at, n).filter(|id| id.len() <= MAX_ID)?;
        let n = usize::from(take(&mut at, 1)?[0]);
        let source = take(&mut at, n).filter(|id| id.len() <= MAX_ID)?;
        let is_initial = match version {
            V1 => first >> 4 & 3 == 0,
            V2 => first >> 4 & 3 == 1,
            _ => return None,
        };
        if is_initial {
            let token = usize::try_from(varint(&mut at)?).ok()?;
            take(&mut at, token)?;
        }
        let length = usize::try_from(varint(&mut at)?).ok()?;
        let number_at = datagram.len() - at.len();
        take(&mut at, length)?;
        let whole = &datagram[..number_at + length];
        Some((is_initial.then_some(Self { version, destination, source, whole, number_at }), at))
    }

    /// Takes the protection off.
    fn open(&self, keys: &Keys) -> Option<Vec<u8>> {
        let mut packet = self.whole.to_vec();
        let sample = self.whole.get(self.number_at + 4..self.number_at + 20)?;
        let mask = keys.header.new_mask(sample).ok()?;
        packet[0] ^= mask[0] & 0x0f;
        let number_length = usize::from(packet[0] & 3) + 1;
        let mut number = 0_u64;
        for (n, mask) in mask[1..=number_length].iter().enumerate() {
            let byte = packet.get_mut(self.number_at + n)?;
            *byte ^= mask;
            number = number << 8 | u64::from(*byte);
        }
        let mut nonce = keys.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        let body_at = self.number_at + number_length;
        let header = packet[..body_at].to_vec();
        let body = &mut packet[body_at..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = keys.packet.open_in_place(nonce, Aad::from(header), body).ok()?;
        Some(plain.to_vec())
    }
}

/// RFC 9000 §17.2: the longest connection identifier.
const MAX_ID: usize = 20;
const V1: u32 = 1;
/// RFC 9369.
const V2: u32 = 0x6b33_43cf;

/// RFC 9001 §5.2, RFC 9369 §3.3.1.
const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e,
    0xd9,
];

/// The keys of both directions, the client's first.
fn derive(version: u32, destination: &[u8]) -> Option<[Keys; 2]> {
    let (salt, [key, iv, hp]) = match version {
        V1 => (SALT_V1, ["quic key", "quic iv", "quic hp"]),
        V2 => (SALT_V2, ["quicv2 key", "quicv2 iv", "quicv2 hp"]),
        _ => return None,
    };
    let initial = Salt::new(HKDF_SHA256, &salt).extract(destination);
    let side = |label: &str| {
        let secret = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, label)?);
        let packet = UnboundKey::new(&AES_128_GCM, &expand::<16>(&secret, key)?).ok()?;
        let header = HeaderProtectionKey::new(&AES_128, &expand::<16>(&secret, hp)?).ok()?;
        Some(Keys { packet: LessSafeKey::new(packet), iv: expand::<12>(&secret, iv)?, header })
    };
    Some([side("client in")?, side("server in")?])
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446 §7.1) with an empty context.
fn expand<const N: usize>(secret: &Prk, label: &str) -> Option<[u8; N]> {
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let label_length = [u8::try_from(label.len() + 6).ok()?];
    let info = [&length[..], &label_length, b"tls13 ", label.as_bytes(), &[0]];
    let mut out = [0; N];
    secret.expand(&info, Length(N)).and_then(|okm| okm.fill(&mut out)).ok()?;
    Some(out)
}

fn take<'a>(at: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = at.split_at_checked(n)?;
    *at = rest;
    Some(taken)
}

/// RFC 9000 §16.
fn varint(at: &mut &[u8]) -> Option<u64> {
    let first = take(at, 1)?[0];
    let mut value = u64::from(first & 0x3f);
    for byte in take(at, (1 << (first >> 6)) - 1)? {
        value = value << 8 | u64::from(*byte);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001 appendix A.1.
    #[test]
    fn the_keys_are_those_of_the_appendix() {
        let id = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let initial = Salt::new(HKDF_SHA256, &SALT_V1).extract(&id);
        let client = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, "client in").unwrap());
        let key = expand::<16>(&client, "quic key").unwrap();
        assert_eq!(key[..4], [0x1f, 0x36, 0x96, 0x13]);
        let keys = derive(V1, &id).unwrap();
        assert_eq!(keys[0].iv[..4], [0xfa, 0x04, 0x4b, 0x2f]);
        assert_eq!(keys[1].iv[..4], [0x0a, 0xc1, 0x49, 0x3c]);
    }

    /// RFC 9001 appendix A.3: the server's Initial, which acknowledges and carries a ServerHello.
    #[test]
    fn the_servers_initial_of_the_appendix_opens() {
        let id = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let text = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3\
            8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd\
            93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee";
        let digits: Vec<u8> = text.bytes().map(|d| char::from(d).to_digit(16).unwrap() as u8).collect();
        let datagram: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
        let (initial, rest) = Initial::parse(&datagram).unwrap();
        let plain = initial.unwrap().open(&derive(V1, &id).unwrap()[1]).unwrap();
        assert!(rest.is_empty());
        let mut crypto = Crypto::default();
        crypto.read_frames(&plain).unwrap();
        let hello = ServerHello::parse(&crypto.message(SERVER_HELLO).unwrap()).unwrap();
        assert_eq!((hello.version, hello.cipher, hello.group), (0x0304, 0x1301, Some(29)));
    }

    #[test]
    fn pieces_out_of_order_make_one_message() {
        let mut crypto = Crypto::default();
        for (offset, piece) in [(4, &b"cd"[..]), (0, &[1, 0, 0, 6]), (2, &[0, 6, b'c']), (6, b"efgh")] {
            crypto.keep(offset, piece);
        }
        assert_eq!(crypto.message(1).unwrap(), b"cdefgh");
        assert_eq!(crypto.message(2), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut crypto = Crypto::default();
        for n in 0..2 * MAX_PIECES {
            crypto.keep(n, &[0]);
        }
        assert_eq!(crypto.pieces.len(), MAX_PIECES);
        let mut crypto = Crypto::default();
        for n in 0..10 {
            crypto.keep(n, &vec![0; MAX_CRYPTO / 3]);
        }
        crypto.keep(MAX_CRYPTO, &[0]);
        crypto.keep(usize::MAX, &[0]);
        assert!(crypto.kept <= MAX_CRYPTO);
    }

    #[test]
    fn numbers_have_one_to_eight_bytes() {
        // RFC 9000 appendix A.1.
        for (bytes, value) in [
            (&[0x25][..], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        ] {
            assert_eq!(varint(&mut &bytes[..]), Some(value));
            assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), None);
        }
    }
}

//! Packets as views: the first byte, the session, and what a control packet holds once its envelope is off.
//!
//! Not here: envelopes (`wrap`), the order of control packets (`reliable`), the data channel after its header (`data`).

use arrayvec::ArrayVec;

use crate::constants::MAX_ACKS;

/// What a packet is: the upper five bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// New keys for a session that stays.
    SoftReset,
    /// Bytes of TLS.
    Control,
    /// Acknowledgements alone.
    Ack,
    /// An inner packet.
    DataV1,
    /// A client begins.
    HardResetClientV2,
    /// A server answers it.
    HardResetServerV2,
    /// An inner packet, with the number of the peer.
    DataV2,
    /// A client begins, and appends its wrapped key.
    HardResetClientV3,
    /// Bytes of TLS, with the wrapped key appended.
    ControlWkc,
}

impl Opcode {
    const ALL: [(Self, u8); 9] = [
        (Self::SoftReset, 3),
        (Self::Control, 4),
        (Self::Ack, 5),
        (Self::DataV1, 6),
        (Self::HardResetClientV2, 7),
        (Self::HardResetServerV2, 8),
        (Self::DataV2, 9),
        (Self::HardResetClientV3, 10),
        (Self::ControlWkc, 11),
    ];

    /// Whether a wrapped key follows the packet.
    pub(crate) const fn has_wrapped_key(self) -> bool {
        matches!(self, Self::HardResetClientV3 | Self::ControlWkc)
    }

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, number)| *number)
    }
}

/// The first byte of every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// What the packet is.
    pub opcode: Opcode,
    /// Which keys of the session it belongs to: 0 to 7.
    pub key_id: u8,
}

impl First {
    /// Takes the byte apart; `None` for an opcode that is not spoken (any more, or yet).
    pub fn parse(byte: u8) -> Option<Self> {
        let (opcode, _) = Opcode::ALL.into_iter().find(|(_, number)| *number == byte >> 3)?;
        Some(Self { opcode, key_id: byte & 7 })
    }

    /// The byte.
    pub fn byte(self) -> u8 {
        self.opcode.number() << 3 | self.key_id & 7
    }
}

/// The random name that each end gives a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 8]);

/// What a control packet holds after opcode and session, its envelope taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body<'a> {
    /// Numbers of our packets that arrived at the peer.
    pub acks: ArrayVec<u32, MAX_ACKS>,
    /// The session that they were sent in, as we named it: there if `acks` are.
    pub acked_session: Option<SessionId>,
    /// The number of this packet; an `Ack` has none.
    pub id: Option<u32>,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// Takes it apart; `None` if it is too short for what it says it holds, or has more acknowledgements than allowed.
    pub fn parse(opcode: Opcode, bytes: &'a [u8]) -> Option<Self> {
        let (&count, mut rest) = bytes.split_first()?;
        if usize::from(count) > MAX_ACKS {
            return None;
        }
        let mut acks = ArrayVec::new();
        for _ in 0..count {
            acks.push(take_u32(&mut rest)?);
        }
        let mut acked_session = None;
        if count > 0 {
            let (session, after) = rest.split_first_chunk::<8>()?;
            (acked_session, rest) = (Some(SessionId(*session)), after);
        }
        let id = if opcode == Opcode::Ack { None } else { Some(take_u32(&mut rest)?) };
        Some(Self { acks, acked_session, id, payload: rest })
    }

    /// Appends the bytes.
    pub fn emit(&self, into: &mut Vec<u8>) {
        // The session is what makes acknowledgements of worth: without it there are none.
        let acks = if self.acked_session.is_some() { self.acks.as_slice() } else { &[] };
        into.push(acks.len() as u8);
        into.extend(acks.iter().flat_map(|ack| ack.to_be_bytes()));
        if let (Some(session), false) = (self.acked_session, acks.is_empty()) {
            into.extend_from_slice(&session.0);
        }
        if let Some(id) = self.id {
            into.extend_from_slice(&id.to_be_bytes());
        }
        into.extend_from_slice(self.payload);
    }
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (value, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    #[test]
    fn the_first_byte_is_opcode_and_key() {
        for (byte, opcode, key_id) in [
            (0x18, Opcode::SoftReset, 0),
            (0x20, Opcode::Control, 0),
            (0x28, Opcode::Ack, 0),
            (0x31, Opcode::DataV1, 1),
            (0x38, Opcode::HardResetClientV2, 0),
            (0x40, Opcode::HardResetServerV2, 0),
            (0x4f, Opcode::DataV2, 7),
            (0x50, Opcode::HardResetClientV3, 0),
            (0x58, Opcode::ControlWkc, 0),
        ] {
            let first = First { opcode, key_id };
            assert_eq!(First::parse(byte), Some(first));
            assert_eq!(first.byte(), byte);
        }
        for refused in [0, 1 << 3, 2 << 3, 12 << 3, 13 << 3, 31 << 3] {
            assert_eq!(First::parse(refused), None, "{refused:#x}");
        }
    }

    /// Packets of a real client and server, envelope and session taken off.
    #[test]
    fn packets_of_real_peers_are_read() {
        let reset = hex("0000000000");
        let body = Body::parse(Opcode::HardResetClientV2, &reset).unwrap();
        assert_eq!((body.acks.len(), body.id, body.payload.len()), (0, Some(0), 0));

        let ack = hex("0100000000dd85db535623b02e");
        let body = Body::parse(Opcode::Ack, &ack).unwrap();
        assert_eq!((body.acks.as_slice(), body.id), ([0].as_slice(), None));
        assert_eq!(body.acked_session, Some(SessionId(hex("dd85db535623b02e").try_into().unwrap())));

        let control = hex("0100000000eafebfa4418ae31b00000001160301");
        let body = Body::parse(Opcode::Control, &control).unwrap();
        assert_eq!((body.acks.as_slice(), body.id, body.payload), ([0].as_slice(), Some(1), hex("160301").as_slice()));
        let mut again = vec![];
        body.emit(&mut again);
        assert_eq!(again, control);
    }

    #[test]
    fn what_is_cut_short_or_says_too_much_is_no_packet() {
        let whole = hex("0200000000000000010123456789abcdef00000001");
        assert!(Body::parse(Opcode::Control, &whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Body::parse(Opcode::Control, &whole[..len]), None, "{len} bytes");
        }
        let mut many = vec![9];
        many.extend([0; 9 * 4 + 8 + 4]);
        assert_eq!(Body::parse(Opcode::Control, &many), None);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            acks in prop::collection::vec(any::<u32>(), 0..=MAX_ACKS),
            id in any::<u32>(),
            payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let session = (!acks.is_empty()).then_some(SessionId([7; 8]));
            let body = Body { acks: acks.into_iter().collect(), acked_session: session, id: Some(id), payload: &payload };
            let mut bytes = vec![];
            body.emit(&mut bytes);
            prop_assert_eq!(Body::parse(Opcode::Control, &bytes), Some(body));
        }
    }
}

//! The byte that peers configured for compression put before (or into) a packet. Nothing is ever compressed here.

use crate::options;

/// How a packet says that it is not compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Packets are as they are.
    #[default]
    None,
    /// `comp-lzo`: 0xfa before each packet.
    Lzo,
    /// `compress`, `compress stub`, `compress lz4`: 0xfb takes the place of the first byte, which moves to the end.
    Swap,
    /// `compress stub-v2`, `compress lz4-v2`: nothing, unless a packet begins with 0x50 (which none of IP does).
    StubV2,
}

impl From<options::Framing> for Framing {
    fn from(framing: options::Framing) -> Self {
        match framing {
            options::Framing::None => Self::None,
            options::Framing::Lzo => Self::Lzo,
            options::Framing::Stub => Self::Swap,
            options::Framing::StubV2 => Self::StubV2,
        }
    }
}

const LZO_NOT: u8 = 0xfa;
const SWAP_NOT: u8 = 0xfb;
const V2: u8 = 0x50;

impl Framing {
    /// Bytes that a packet grows by.
    pub(super) const fn max_added(self) -> usize {
        match self {
            Self::None | Self::StubV2 => 0,
            Self::Lzo | Self::Swap => 1,
        }
    }

    /// Lays `len` plain bytes, which `write` writes, into `room`, which has just the right size.
    pub(super) fn lay_out(self, room: &mut [u8], write: impl FnOnce(&mut [u8])) {
        match (self, room) {
            (Self::None | Self::StubV2, room) => write(room),
            (Self::Lzo, [mark, plain @ ..]) => {
                *mark = LZO_NOT;
                write(plain);
            }
            (Self::Swap, [room @ .., last]) => {
                write(room);
                if let [first, ..] = room {
                    (*last, *first) = (*first, SWAP_NOT);
                }
            }
            (Self::Lzo | Self::Swap, []) => {}
        }
    }

    /// Takes the framing off in place: where in `plain` the packet then lies. `None` if it is compressed, or none.
    pub(super) fn take_off(self, plain: &mut [u8]) -> Option<std::ops::Range<usize>> {
        let len = plain.len();
        match (self, plain) {
            (Self::None, _) => Some(0..len),
            (Self::Lzo, [LZO_NOT, ..]) => Some(1..len),
            (Self::Swap, [first @ SWAP_NOT, .., last]) => {
                *first = *last;
                Some(0..len - 1)
            }
            // OpenVPN 2.x writes 0x0a where it means 0.
            (Self::StubV2, [V2, 0 | 0x0a, ..]) => Some(2..len),
            (Self::StubV2, [first, ..]) if *first != V2 => Some(0..len),
            (Self::Lzo | Self::Swap | Self::StubV2, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_laid_out_as_peers_expect_and_taken_off_again() {
        let packet = b"abc";
        for (framing, wire) in [
            (Framing::None, b"abc".as_slice()),
            (Framing::Lzo, b"\xfaabc"),
            (Framing::Swap, b"\xfbbca"),
            (Framing::StubV2, b"abc"),
        ] {
            let mut room = vec![0; packet.len() + framing.max_added()];
            framing.lay_out(&mut room, |to| to.copy_from_slice(packet));
            assert_eq!(room, wire, "{framing:?}");
            let range = framing.take_off(&mut room).unwrap();
            assert_eq!(&room[range], packet, "{framing:?}");
        }
    }

    #[test]
    fn what_is_compressed_or_cut_short_is_no_packet() {
        for (framing, wire) in [
            (Framing::Lzo, b"\x66abc".as_slice()),
            (Framing::Lzo, b""),
            (Framing::Swap, b"\x69bca"),
            (Framing::Swap, b"\xfb"),
            (Framing::StubV2, b"\x50\x01abc"),
            (Framing::StubV2, b"\x50"),
        ] {
            assert_eq!(framing.take_off(&mut wire.to_vec()), None, "{framing:?} {wire:?}");
        }
        assert_eq!(Framing::StubV2.take_off(&mut b"\x50\x0aabc".to_vec()), Some(2..5));
    }
}

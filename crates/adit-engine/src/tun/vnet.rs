//! The virtual network header before each frame: what is still to be done to it, and how large its pieces are.

/// Bytes of the header.
pub(crate) const VNET_LEN: usize = 10;

/// The checksum at `csum_offset` from `csum_start` is still to be completed.
pub(crate) const NEEDS_CSUM: u8 = 1;

pub(crate) const GSO_NONE: u8 = 0;
pub(crate) const GSO_TCPV4: u8 = 1;
pub(crate) const GSO_TCPV6: u8 = 4;
pub(crate) const GSO_UDP: u8 = 5;
/// Added to the TCP kinds: only the first segment carries CWR.
pub(crate) const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr`, in the order of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Vnet {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    pub(crate) header_len: u16,
    pub(crate) gso_size: u16,
    pub(crate) csum_start: u16,
    pub(crate) csum_offset: u16,
}

impl Vnet {
    pub(crate) fn parse(bytes: &[u8; VNET_LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        let word = |x, y| u16::from_ne_bytes([x, y]);
        Self {
            flags,
            gso_type,
            header_len: word(a, b),
            gso_size: word(c, d),
            csum_start: word(e, f),
            csum_offset: word(g, h),
        }
    }

    pub(crate) fn emit(self) -> [u8; VNET_LEN] {
        let [a, b] = self.header_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}

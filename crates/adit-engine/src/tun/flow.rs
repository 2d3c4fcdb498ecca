//! What of a packet decides whether it may be glued to another: its flow, its place in it, its headers.
//!
//! The rules are those of the kernel's own receive offload, so that what it would not glue is not glued here.

use adit_protocol::Checksum;

/// A packet that could begin or continue a larger frame, or at least has a flow whose order must be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) kind: Kind,
    /// Where the transport header starts, and where the payload does.
    pub(super) transport: usize,
    pub(super) payload: usize,
    /// Nothing can be glued to it nor it to anything: it ends what its flow has open.
    pub(super) alone: bool,
    /// Nothing may follow it in a frame.
    pub(super) pushes: bool,
    pub(super) sequence: u32,
}

/// The transport, and the IP version below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
}

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const ECE: u8 = 0x40;

impl Kind {
    pub(super) fn is_v4(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Udp4)
    }

    pub(super) fn is_udp(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6)
    }
}

impl Candidate {
    /// `None` for what has no flow: not TCP or UDP, a fragment, options or extension headers of IP.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (transport, protocol) = match packet.first()? {
            0x45 if packet.len() >= 20 && u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff == 0 => (20, packet[9]),
            first if first >> 4 == 6 && packet.len() >= 40 => (40, packet[6]),
            _ => return None,
        };
        let segment = &packet[transport..];
        match protocol {
            6 if segment.len() >= 20 => {
                let headers = usize::from(segment[12] >> 4) * 4;
                let flags = segment[13];
                let alone =
                    headers < 20 || segment.len() <= headers || flags & ACK == 0 || flags & !(ACK | PSH | ECE) != 0;
                Some(Self {
                    kind: if transport == 20 { Kind::Tcp4 } else { Kind::Tcp6 },
                    transport,
                    payload: transport + headers.max(20),
                    alone,
                    pushes: flags & PSH != 0,
                    sequence: u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]),
                })
            }
            17 if segment.len() >= 8 => {
                let declared = usize::from(u16::from_be_bytes([segment[4], segment[5]]));
                Some(Self {
                    kind: if transport == 20 { Kind::Udp4 } else { Kind::Udp6 },
                    transport,
                    payload: transport + 8,
                    // Without a checksum it cannot be verified, and a frame of several would have one.
                    alone: declared != segment.len() || declared == 8 || segment[6..8] == [0, 0],
                    pushes: false,
                    sequence: 0,
                })
            }
            _ => None,
        }
    }

    /// Whether two packets are of one flow.
    pub(super) fn same_flow(&self, packet: &[u8], other: &Self, others: &[u8]) -> bool {
        let addresses = if self.kind.is_v4() { 12..20 } else { 8..40 };
        let ports = self.transport..self.transport + 4;
        self.kind == other.kind
            && packet[ports.clone()] == others[ports]
            && packet[addresses.clone()] == others[addresses]
    }

    /// Whether all headers that a frame has only once are the same in both, and `packet` may be number `number` of the
    /// frame that `first` begins. The flow is known to be the same.
    pub(super) fn same_headers(&self, packet: &[u8], first: &[u8], number: usize) -> bool {
        let ip = if self.kind.is_v4() {
            // All but length and checksum; the identification counts up, or means nothing (RFC 6864).
            let id = |p: &[u8]| u16::from_be_bytes([p[4], p[5]]);
            let counts = id(packet) == id(first).wrapping_add(number as u16);
            let atomic = packet[6] & 0x40 != 0 && id(packet) == id(first);
            packet[..2] == first[..2] && (counts || atomic) && packet[6..10] == first[6..10]
        } else {
            packet[..4] == first[..4] && packet[6..8] == first[6..8]
        };
        let t = self.transport;
        let transport = self.kind.is_udp() || {
            let flags = |p: &[u8]| p[t + 13] & !PSH;
            // Acknowledgement and offset, flags but for the push, window; then urgent pointer and options.
            packet[t + 8..t + 13] == first[t + 8..t + 13]
                && flags(packet) == flags(first)
                && packet[t + 14..t + 16] == first[t + 14..t + 16]
                && packet[t + 18..self.payload] == first[t + 18..self.payload]
        };
        ip && transport
    }

    /// Whether the transport checksum is right, and for IPv4 that of the header.
    pub(super) fn intact(&self, packet: &[u8]) -> bool {
        let header = !self.kind.is_v4() || Checksum::new().with(&packet[..20]).finish() == 0;
        header && self.pseudo(packet, packet.len()).with(&packet[self.transport..]).finish() == 0
    }

    /// The sum of the pseudo-header for a packet of `total` bytes with these headers.
    pub(super) fn pseudo(&self, headers: &[u8], total: usize) -> Checksum {
        let addresses = if self.kind.is_v4() { 12..20 } else { 8..40 };
        let protocol = if self.kind.is_udp() { 17 } else { 6 };
        Checksum::new().with(&headers[addresses]).with_word(protocol).with_word((total - self.transport) as u16)
    }
}

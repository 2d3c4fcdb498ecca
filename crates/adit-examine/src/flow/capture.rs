//! Capture files, pcap and pcapng: from bytes of a file to frames with a time and a link type.
//!
//! Not here: what is in a frame (`packet`), captures of a live interface (`live`).

use std::io::Read;
use std::time::Duration;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader};
use thiserror::Error;

/// The largest frame or block of a file; a larger one ends the reading.
pub const MAX_BLOCK: usize = 1 << 20;
/// Interfaces that one section of a pcapng file may describe; packets of later ones are passed over.
pub const MAX_INTERFACES: usize = 256;

/// What kind of header a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with or without VLAN tags.
    Ethernet,
    /// Nothing: IPv4 or IPv6 at once, as TUN devices have.
    Raw,
    /// Linux cooked capture, as `-i any` gives it.
    Cooked,
    /// The second version of the same.
    Cooked2,
    /// BSD loopback: an address family of four bytes.
    Loopback,
}

impl Link {
    const fn of(number: Linktype) -> Option<Self> {
        Some(match number.0 {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            // LINKTYPE_RAW, LINKTYPE_IPV4 and _IPV6, and the number that OpenBSD's files have for raw IP.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }
}

/// One captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// What it begins with.
    pub link: Link,
    /// What was kept of it.
    pub bytes: &'a [u8],
}

/// Why a capture cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CaptureError {
    /// Not a capture.
    #[error("this is neither a pcap nor a pcapng file\n  hint: make one with `tcpdump -i eth0 -w FILE`")]
    Unknown,
    /// Reading failed.
    #[error("cannot read the capture: {0}")]
    Read(String),
    /// Only packets of a kind of link that is not known here.
    #[error(
        "the capture has link type {0}, which is not read here\n  hint: Ethernet, raw IP, Linux cooked and loopback are"
    )]
    Link(i32),
}

/// How the reading of a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At its end.
    Whole,
    /// In the middle of something: cut off, or damaged. What came before counts.
    Damaged,
}

/// Reads a capture and hands every frame to `each`.
pub fn read(source: impl Read + Send, mut each: impl FnMut(Frame<'_>)) -> Result<End, CaptureError> {
    let mut reader = match create_reader(64 << 10, Whole(source)) {
        Ok(reader) => reader,
        Err(PcapError::ReadError) => return Err(CaptureError::Read("the file cannot be read".to_owned())),
        Err(_) => return Err(CaptureError::Unknown),
    };
    let mut decoder = Decoder::default();
    let mut capacity = 64 << 10;
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                decoder.take(block, &mut each);
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return decoder.finish(End::Whole),
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() || reader.refill().is_err() {
                    return decoder.finish(End::Damaged);
                }
            }
            Err(PcapError::BufferTooSmall) if capacity < MAX_BLOCK => {
                capacity *= 2;
                if !reader.grow(capacity) || reader.refill().is_err() {
                    return decoder.finish(End::Damaged);
                }
            }
            Err(_) => return decoder.finish(End::Damaged),
        }
    }
}

/// Fills the whole buffer it is given, so that a short first read does not hide a header.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.0.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

/// An interface of a pcapng section: how its packets begin, and what its times count.
struct Interface {
    link: Option<Link>,
    ticks_per_second: u64,
    offset: i64,
}

#[derive(Default)]
struct Decoder {
    legacy: Option<PcapHeader>,
    interfaces: Vec<Interface>,
    frames: u64,
    foreign: Option<i32>,
    last: Duration,
}

impl Decoder {
    fn take(&mut self, block: PcapBlockOwned<'_>, each: &mut impl FnMut(Frame<'_>)) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                if Link::of(header.network).is_none() {
                    self.foreign = Some(header.network.0);
                }
                self.legacy = Some(header);
            }
            PcapBlockOwned::Legacy(record) => {
                let Some(header) = &self.legacy else { return };
                let Some(link) = Link::of(header.network) else { return };
                let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                let below = Duration::from_nanos(u64::from(record.ts_usec) * unit);
                let bytes = clip(record.data, record.caplen);
                self.give(Frame { at: Duration::from_secs(record.ts_sec.into()) + below, link, bytes }, each);
            }
            PcapBlockOwned::NG(block) => self.take_ng(&block, each),
        }
    }

    fn take_ng(&mut self, block: &Block<'_>, each: &mut impl FnMut(Frame<'_>)) {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(described) if self.interfaces.len() < MAX_INTERFACES => {
                let link = Link::of(described.linktype);
                if link.is_none() {
                    self.foreign = Some(described.linktype.0);
                }
                let ticks_per_second = described.ts_resolution().unwrap_or(1_000_000).max(1);
                self.interfaces.push(Interface { link, ticks_per_second, offset: described.if_tsoffset });
            }
            Block::EnhancedPacket(packet) => {
                let interface = usize::try_from(packet.if_id).ok().and_then(|n| self.interfaces.get(n));
                let Some(interface) = interface else { return };
                let Some(link) = interface.link else { return };
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at = interface.time(ticks);
                self.give(Frame { at, link, bytes: clip(packet.data, packet.caplen) }, each);
            }
            Block::SimplePacket(packet) => {
                let Some(link) = self.interfaces.first().and_then(|first| first.link) else { return };
                // It has no time of its own: the time of the packet before.
                self.give(Frame { at: self.last, link, bytes: clip(packet.data, packet.origlen) }, each);
            }
            Block::InterfaceDescription(_)
            | Block::NameResolution(_)
            | Block::InterfaceStatistics(_)
            | Block::SystemdJournalExport(_)
            | Block::DecryptionSecrets(_)
            | Block::ProcessInformation(_)
            | Block::Custom(_)
            | Block::Unknown(_) => {}
        }
    }

    fn give(&mut self, frame: Frame<'_>, each: &mut impl FnMut(Frame<'_>)) {
        self.frames += 1;
        self.last = frame.at;
        each(frame);
    }

    fn finish(self, end: End) -> Result<End, CaptureError> {
        match self.foreign {
            Some(number) if self.frames == 0 => Err(CaptureError::Link(number)),
            Some(_) | None => Ok(end),
        }
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> Duration {
        let seconds = ticks / self.ticks_per_second;
        let rest = u128::from(ticks % self.ticks_per_second) * 1_000_000_000 / u128::from(self.ticks_per_second);
        let seconds = seconds.saturating_add_signed(self.offset);
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
    }
}

/// The data of a block without its padding.
fn clip(data: &[u8], length: u32) -> &[u8] {
    usize::try_from(length).ok().and_then(|n| data.get(..n)).unwrap_or(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pcap file with one frame, little-endian, microseconds.
    fn pcap(link: u32, frame: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(word.to_le_bytes());
        }
        let length = u32::try_from(frame.len()).unwrap();
        for word in [7, 250_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
        file
    }

    /// A pcapng file with one interface and one frame.
    fn pcapng(link: u16, frame: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let block = |kind: u32, body: &[u8]| {
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes()[..], &length, body, &length].concat()
        };
        file.extend(block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat()));
        file.extend(block(1, &[&link.to_le_bytes()[..], &[0, 0, 0, 0, 4, 0]].concat()));
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let ticks = 7_250_000_u32.to_le_bytes();
        let mut body = [&[0; 8][..], &ticks, &length, &length, frame].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        file.extend(block(6, &body));
        file
    }

    /// When, on what kind of link, and the bytes.
    type Seen = (Duration, Link, Vec<u8>);

    fn frames(file: &[u8]) -> (Result<End, CaptureError>, Vec<Seen>) {
        let mut seen = Vec::new();
        let end = read(file, |frame| seen.push((frame.at, frame.link, frame.bytes.to_vec())));
        (end, seen)
    }

    #[test]
    fn both_formats_give_the_same_frame() {
        let expected = vec![(Duration::from_millis(7_250), Link::Raw, b"hello".to_vec())];
        assert_eq!(frames(&pcap(101, b"hello")), (Ok(End::Whole), expected.clone()));
        assert_eq!(frames(&pcapng(101, b"hello")), (Ok(End::Whole), expected));
    }

    #[test]
    fn a_file_cut_off_gives_what_it_has() {
        let mut file = pcap(1, b"hello");
        file.extend(&pcap(1, b"second")[24..][..18]);
        let (end, seen) = frames(&file);
        assert_eq!((end, seen.len()), (Ok(End::Damaged), 1));
    }

    #[test]
    fn what_is_no_capture_is_said_to_be_none() {
        assert_eq!(frames(b"").0, Err(CaptureError::Unknown));
        assert_eq!(frames(b"GET / HTTP/1.1\r\n\r\n, and more than a header has").0, Err(CaptureError::Unknown));
        assert_eq!(frames(&pcap(127, b"802.11")).0, Err(CaptureError::Link(127)));
    }

    #[test]
    fn interfaces_beyond_the_bound_have_no_packets() {
        let file = pcapng(101, b"hello");
        // The section's header, then the interface over and over, then a packet of the last one.
        let (header, interface, packet) = (&file[..28], &file[28..48], &file[48..]);
        for (n, seen) in [(MAX_INTERFACES, 1), (MAX_INTERFACES + 1, 0)] {
            let mut packet = packet.to_vec();
            packet[8..12].copy_from_slice(&u32::try_from(n - 1).unwrap().to_le_bytes());
            let file = [header, &interface.repeat(n), &packet].concat();
            assert_eq!(frames(&file).1.len(), seen, "{n}");
        }
    }

    #[test]
    fn a_block_larger_than_the_bound_ends_the_reading() {
        let file = pcap(1, &vec![0; 2 * MAX_BLOCK + 1]);
        assert_eq!(frames(&file), (Ok(End::Damaged), vec![]));
    }
}

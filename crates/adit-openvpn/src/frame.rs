//! OpenVPN over TCP: two bytes of length before each packet.

use thiserror::Error;

/// Finds packets in a stream of bytes.
#[derive(Debug, Default)]
pub struct Deframer {
    /// Bytes that are not yet a whole packet: never more than the longest packet and its length.
    partial: Vec<u8>,
}

/// The stream holds something that is not OpenVPN; the connection is to be closed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error(
    "the stream announces a packet of {length} bytes, which OpenVPN never sends\n  hint: is it an OpenVPN server that listens there?"
)]
pub struct NotAFrame {
    /// What was announced.
    pub length: usize,
}

/// The longest packet that we take: an inner packet of 64 KiB does not fit a frame anyway.
pub const MAX_FRAME: usize = 16 * 1024;

impl Deframer {
    /// Takes in what was read; calls `packet` with each that is whole. After an error the stream is of no use.
    ///
    /// # Errors
    ///
    /// A length of 0, or above [`MAX_FRAME`].
    pub fn push(&mut self, mut bytes: &[u8], mut packet: impl FnMut(&[u8])) -> Result<(), NotAFrame> {
        loop {
            // Whole packets are taken from where they were read; only the rest is kept.
            let source = if self.partial.is_empty() { bytes } else { &self.partial };
            let Some((length, rest)) = source.split_first_chunk::<2>() else {
                let Some((first, after)) = bytes.split_first() else { return Ok(()) };
                self.partial.push(*first);
                bytes = after;
                continue;
            };
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 || length > MAX_FRAME {
                return Err(NotAFrame { length });
            }
            if let Some(whole) = rest.get(..length) {
                packet(whole);
                if self.partial.is_empty() {
                    bytes = bytes.get(2 + length..).unwrap_or_default();
                } else {
                    self.partial.clear();
                }
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let missing = (2 + length).saturating_sub(self.partial.len()).min(bytes.len());
            let (take, after) = bytes.split_at(missing);
            self.partial.extend_from_slice(take);
            bytes = after;
        }
    }
}

/// The length to put before a packet; `None` if it is too long for one.
pub fn frame_length(packet: &[u8]) -> Option<[u8; 2]> {
    u16::try_from(packet.len())
        .ok()
        .filter(|length| (1..=MAX_FRAME).contains(&usize::from(*length)))
        .map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_come_out_whole_however_the_stream_is_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..12),
            cuts in prop::collection::vec(1_usize..400, 1..60),
        ) {
            let mut stream = vec![];
            for packet in &packets {
                stream.extend(frame_length(packet).unwrap());
                stream.extend(packet);
            }
            let (mut deframer, mut out, mut rest) = (Deframer::default(), vec![], stream.as_slice());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                deframer.push(now, |packet| out.push(packet.to_vec())).unwrap();
                rest = later;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(out, packets);
        }
    }

    #[test]
    fn lengths_that_no_packet_has_end_the_connection() {
        let push = |bytes: &[u8]| Deframer::default().push(bytes, |_| ());
        assert_eq!(push(&[0, 0]), Err(NotAFrame { length: 0 }));
        assert_eq!(push(b"GET / HTTP/1.1"), Err(NotAFrame { length: 0x4745 }));
        assert_eq!(push(&[0x40, 0]), Ok(()));
        assert_eq!(push(&[0x40, 1]), Err(NotAFrame { length: MAX_FRAME + 1 }));
    }

    #[test]
    fn what_is_kept_never_exceeds_one_frame() {
        let mut deframer = Deframer::default();
        for _ in 0..3 * MAX_FRAME {
            deframer.push(&[0x40, 0, 7, 7, 7], |_| ()).ok();
            assert!(deframer.partial.len() <= MAX_FRAME + 2);
        }
    }
}

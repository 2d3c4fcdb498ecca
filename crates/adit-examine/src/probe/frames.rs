//! HTTP/2 (RFC 9113) written by hand, so that it can be written wrongly; and its frames as they are read.
//!
//! Not here: what an answer means (`answer`).

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITISED: u8 = 0x20;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The ping that ends a probe.
pub(super) const LAST_PING: [u8; 8] = *b"\x00\x01\x02\x03\x04\x05\x06\x07";

const HEADER_LEN: usize = 9;

/// A frame as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

/// Frames being written.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames(pub(super) Vec<u8>);

impl Frames {
    /// The preface and Chromium's settings.
    pub(super) fn begin() -> Self {
        Self(PREFACE.to_vec()).settings(&[(1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)])
    }

    pub(super) fn frame(self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        self.claiming(payload.len(), kind, flags, stream, payload)
    }

    /// A frame that says it has `length` bytes, whatever it has.
    pub(super) fn claiming(mut self, length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    pub(super) fn settings(self, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::with_capacity(settings.len() * 6);
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.frame(SETTINGS, 0, 0, &payload)
    }

    /// A request's head. Without `END_STREAM` a body follows.
    pub(super) fn request<N: AsRef<str>, V: AsRef<[u8]>>(self, stream: u32, flags: u8, fields: &[(N, V)]) -> Self {
        let block = block(fields);
        self.frame(HEADERS, END_HEADERS | flags, stream, &block)
    }

    pub(super) fn data(self, stream: u32, flags: u8, bytes: &[u8]) -> Self {
        self.frame(DATA, flags, stream, bytes)
    }

    pub(super) fn window_update(self, stream: u32, by: u32) -> Self {
        self.frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    pub(super) fn reset(self, stream: u32, code: u32) -> Self {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// The ping that ends a probe.
    pub(super) fn ping(self) -> Vec<u8> {
        self.frame(PING, 0, 0, &LAST_PING).0
    }
}

/// A header list, every field a literal without Huffman coding and without index.
pub(super) fn block<N: AsRef<str>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name.as_ref().as_bytes(), value.as_ref()] {
            put_length(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn put_length(out: &mut Vec<u8>, length: usize) {
    if length < 127 {
        out.push(u8::try_from(length).unwrap_or_default());
        return;
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest & 127).unwrap_or_default() | 128);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

/// The whole frames in what was received, and what is left behind them.
pub(super) fn parse(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        frames.push(Frame { kind: header[3], flags: header[4], stream, payload });
        bytes = rest;
    }
    (frames, bytes)
}

/// Whether so many streams have ended and the last ping was answered.
pub(super) fn is_complete(received: &[u8], streams: usize) -> bool {
    let (frames, _) = parse(received);
    let ends = |frame: &&Frame<'_>| {
        frame.kind == RST_STREAM || matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0
    };
    let answered = |frame: &Frame<'_>| frame.kind == PING && frame.flags & ACK != 0 && frame.payload == LAST_PING;
    frames.iter().any(answered) && frames.iter().filter(ends).count() >= streams
}

/// Whether any ping is answered.
pub(super) fn answers_ping(received: &[u8]) -> bool {
    parse(received).0.iter().any(|frame| frame.kind == PING && frame.flags & ACK != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Frames::default().request(1, END_STREAM, &[(":method", "GET")]).data(3, 0, b"abc").0;
        let (frames, rest) = parse(&bytes);
        assert!(rest.is_empty());
        assert_eq!((frames[0].kind, frames[0].flags, frames[0].stream), (HEADERS, END_HEADERS | END_STREAM, 1));
        assert_eq!((frames[1].kind, frames[1].stream, frames[1].payload), (DATA, 3, &b"abc"[..]));
        assert_eq!(parse(&bytes[..bytes.len() - 1]).0.len(), 1);
    }

    #[test]
    fn long_values_have_their_length_in_several_bytes() {
        let mut block = block(&[("a", "x".repeat(5000))]);
        let mut fields = Vec::new();
        httlib_hpack::Decoder::default().decode(&mut block, &mut fields).unwrap();
        assert_eq!(fields[0].1.len(), 5000);
    }

    #[test]
    fn an_answer_is_complete_with_its_streams_and_the_ping() {
        let ack = |frames: Frames| frames.frame(PING, ACK, 0, &LAST_PING).0;
        assert!(!is_complete(&ack(Frames::default()), 1));
        assert!(is_complete(&ack(Frames::default().data(1, END_STREAM, b"")), 1));
        assert!(!is_complete(&Frames::default().data(1, END_STREAM, b"").0, 1));
    }
}

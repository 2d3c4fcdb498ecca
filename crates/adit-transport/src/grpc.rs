//! Length-prefixed messages of gRPC over HTTP/2, as far as a stream of bytes inside them needs.
//!
//! Pure, and for both ends. The messages are opaque here: bytes of capsules, cut anywhere. Not here: requests and answers.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes before each message: whether it is compressed, and its length.
pub const PREFIX_LEN: usize = 5;
/// The largest message that is taken. Nothing of one is kept, so the bound is only against nonsense.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The stream is not one of uncompressed messages of a sensible size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message that is compressed, or of more than {MAX_MESSAGE} bytes")]
pub struct Malformed;

/// Takes the prefixes out of a stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct Deframer {
    prefix: [u8; PREFIX_LEN],
    had: usize,
    /// Bytes of the message that are still to come.
    left: usize,
}

/// What stands before a message of this many bytes.
pub const fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// The trailers of a call that ended well.
pub fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

impl Deframer {
    /// Takes the next bytes of messages off the front of a piece; empty when the piece has been used up.
    ///
    /// # Errors
    /// The stream is of another kind; it must be ended.
    pub fn next(&mut self, piece: &mut Bytes) -> Result<Bytes, Malformed> {
        while self.left == 0 {
            let n = piece.len().min(PREFIX_LEN - self.had);
            piece.copy_to_slice(&mut self.prefix[self.had..self.had + n]);
            self.had += n;
            if self.had < PREFIX_LEN {
                return Ok(Bytes::new());
            }
            self.had = 0;
            let [compressed, a, b, c, d] = self.prefix;
            self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| Malformed)?;
            if compressed != 0 || self.left > MAX_MESSAGE {
                return Err(Malformed);
            }
        }
        let taken = piece.split_to(piece.len().min(self.left));
        self.left -= taken.len();
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_pieces_of_any_size_give_the_same_bytes() {
        let mut stream = Vec::new();
        for message in [&b"one"[..], b"", b"and another", &[7; 300]] {
            stream.extend_from_slice(&prefix(message.len()));
            stream.extend_from_slice(message);
        }
        let want = [&b"oneand another"[..], &[7; 300]].concat();
        for step in 1..=stream.len() {
            let mut deframer = Deframer::default();
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                let mut piece = Bytes::copy_from_slice(piece);
                loop {
                    let bytes = deframer.next(&mut piece).unwrap();
                    if bytes.is_empty() {
                        break;
                    }
                    got.extend_from_slice(&bytes);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(got, want, "in pieces of {step}");
        }
    }

    #[test]
    fn compressed_and_enormous_messages_end_the_stream() {
        for bad in [[1, 0, 0, 0, 1], [0, 0xff, 0xff, 0xff, 0xff], [0, 0, 0x10, 0, 1]] {
            assert_eq!(Deframer::default().next(&mut Bytes::copy_from_slice(&bad)), Err(Malformed));
        }
    }
}

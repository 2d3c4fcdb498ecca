//! The record layer (RFC 8446 §5.1): a stream cut into records, however it arrives.
//!
//! Not here: what handshake records hold (`hello`).

use std::time::Duration;

/// One record as an observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When its last byte was seen.
    pub at: Duration,
    /// From the client.
    pub up: bool,
    /// What it says it is.
    pub kind: Kind,
    /// Its length without the header of five bytes.
    pub length: u16,
}

/// Content types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 20.
    ChangeCipherSpec,
    /// 21.
    Alert,
    /// 22.
    Handshake,
    /// 23; in TLS 1.3 everything that is encrypted.
    Application,
    /// 24.
    Heartbeat,
}

impl Kind {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::Application,
            24 => Self::Heartbeat,
            _ => return None,
        })
    }
}

/// What a step over the stream found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Not enough for anything yet.
    More,
    /// A part of a record's body, and the record's length if this was its last part.
    Body { kind: Kind, part: &'a [u8], ended: Option<u16> },
    /// This is not TLS; all further bytes are passed over.
    Foreign,
}

/// Cuts one direction into records.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
}

#[derive(Debug)]
enum State {
    Header([u8; 5], usize),
    Body { kind: Kind, length: u16, left: u16 },
    Foreign,
}

impl Default for State {
    fn default() -> Self {
        Self::Header([0; 5], 0)
    }
}

impl Scanner {
    /// Whether something was seen that is no TLS record.
    pub(super) const fn is_foreign(&self) -> bool {
        matches!(self.state, State::Foreign)
    }

    /// Takes some of the bytes; call it again while there are some.
    pub(super) fn step<'a>(&mut self, bytes: &mut &'a [u8]) -> Step<'a> {
        match &mut self.state {
            State::Foreign => {
                *bytes = &[];
                Step::Foreign
            }
            State::Header(header, filled) => {
                let n = bytes.len().min(5 - *filled);
                let (head, rest) = bytes.split_at(n);
                header[*filled..*filled + n].copy_from_slice(head);
                *bytes = rest;
                *filled += n;
                if *filled < 5 {
                    return Step::More;
                }
                let length = u16::from_be_bytes([header[3], header[4]]);
                let Some(kind) = Kind::of(header[0]).filter(|_| header[1] == 3 && header[2] <= 4) else {
                    self.state = State::Foreign;
                    return Step::Foreign;
                };
                if length > MAX_CIPHERTEXT {
                    self.state = State::Foreign;
                    return Step::Foreign;
                }
                if length == 0 {
                    self.state = State::default();
                    return Step::Body { kind, part: &[], ended: Some(0) };
                }
                self.state = State::Body { kind, length, left: length };
                Step::More
            }
            State::Body { kind, left, length } => {
                let n = bytes.len().min(usize::from(*left));
                let (part, rest) = bytes.split_at(n);
                *bytes = rest;
                *left -= u16::try_from(n).unwrap_or(*left);
                let (kind, ended) = (*kind, (*left == 0).then_some(*length));
                if ended.is_some() {
                    self.state = State::default();
                }
                Step::Body { kind, part, ended }
            }
        }
    }
}

/// RFC 8446 §5.2 and RFC 5246 §6.2.3: the longest record.
const MAX_CIPHERTEXT: u16 = (1 << 14) + 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(stream: &[u8], piece: usize) -> Vec<(Kind, u16)> {
        let (mut scanner, mut found) = (Scanner::default(), Vec::new());
        for mut bytes in stream.chunks(piece) {
            while !bytes.is_empty() {
                if let Step::Body { kind, ended: Some(length), .. } = scanner.step(&mut bytes) {
                    found.push((kind, length));
                }
            }
        }
        found
    }

    #[test]
    fn records_are_found_however_the_stream_is_cut() {
        let stream =
            [&[22, 3, 1, 0, 3, 1, 2, 3][..], &[20, 3, 3, 0, 1, 1], &[23, 3, 3, 0, 0], &[23, 3, 3, 0, 1, 9]].concat();
        let expected =
            [(Kind::Handshake, 3), (Kind::ChangeCipherSpec, 1), (Kind::Application, 0), (Kind::Application, 1)];
        for piece in 1..stream.len() {
            assert_eq!(lengths(&stream, piece), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_not_tls_is_not_searched_for_records() {
        for stream in [&b"GET / HTTP/1.1"[..], &[22, 4, 1, 0, 1, 0], &[23, 3, 3, 0x48, 0x01, 0]] {
            let mut scanner = Scanner::default();
            let mut bytes = stream;
            while !bytes.is_empty() {
                scanner.step(&mut bytes);
            }
            assert!(scanner.is_foreign(), "{stream:?}");
        }
    }
}

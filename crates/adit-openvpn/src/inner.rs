//! What an opened datagram comes to, the same at both ends: a packet, a piece of one, a sign of life, a goodbye.
//!
//! Not here: whether it is new (`session`), whose packet it may be (`server`).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use adit_protocol::{DropReason, IpPacket};

use crate::constants::{MAX_ENTERING, OCC, OCC_EXIT, PING};
use crate::data::{Fragments, Opened};

/// What it comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    /// A packet: this range of the datagram.
    Packet(Range<usize>),
    /// A packet that was in pieces, of which this datagram had the last.
    Whole(Vec<u8>),
    /// Nothing for the inside: a sign of life, a piece.
    Nothing,
    /// The peer says goodbye.
    Exit,
    /// Nothing that is understood.
    Bad,
}

impl Inner {
    /// Looks at a datagram that is authentic and new.
    pub(crate) fn of(now: Instant, opened: &Opened, datagram: &[u8], fragments: &mut Fragments) -> Self {
        let Some(plain) = opened.plain.clone() else { return Self::Bad };
        let bytes = datagram.get(plain.clone()).unwrap_or_default();
        let Some(piece) = opened.piece else {
            return Self::classify(bytes, |len| Self::Packet(plain.start..plain.start + len));
        };
        let Some(mut whole) = fragments.take(now, piece, bytes) else { return Self::Nothing };
        let Some(place) = opened.keys.take_off_whole(&mut whole) else { return Self::Bad };
        let bytes = whole.get(place).unwrap_or_default();
        Self::classify(bytes, |len| Self::Whole(bytes.get(..len).unwrap_or_default().to_vec()))
    }

    /// `packet` is told how long it is, padding not counted.
    fn classify(bytes: &[u8], packet: impl FnOnce(usize) -> Self) -> Self {
        if bytes == PING {
            return Self::Nothing;
        }
        if let Some(message) = bytes.strip_prefix(&OCC) {
            return if message.first() == Some(&OCC_EXIT) { Self::Exit } else { Self::Nothing };
        }
        IpPacket::parse(bytes).map_or(Self::Bad, |parsed| packet(parsed.len()))
    }
}

/// Packets that were in pieces, on their way to the inside: at most `MAX_ENTERING`.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    waiting: VecDeque<Vec<u8>>,
    /// The one that was given last.
    given: Vec<u8>,
}

impl Entering {
    pub(crate) fn push(&mut self, packet: Vec<u8>) -> Result<(), DropReason> {
        if self.waiting.len() == MAX_ENTERING {
            return Err(DropReason::InsideFull);
        }
        self.waiting.push_back(packet);
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        self.given = self.waiting.pop_front()?;
        Some(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_inside_has_a_bound_and_an_order() {
        let mut entering = Entering::default();
        let pushed = (0..=255_u8).cycle().take(1000).filter(|n| entering.push(vec![*n]).is_ok()).count();
        assert_eq!(pushed, MAX_ENTERING);
        assert_eq!(entering.next(), Some([0].as_slice()));
        assert_eq!(entering.push(vec![7]), Ok(()));
        assert_eq!(entering.next(), Some([1].as_slice()));
    }
}

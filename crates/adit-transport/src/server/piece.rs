//! Bytes on their way to a client, with what is noted of them in the ledger until they have left.
//!
//! Not here: how much may be held (`ledger`).

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::ledger::Held;

/// What a stream of HTTP/2 is given to send.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// Shared by the pieces of one buffer, which stays until the last of them has left.
    _held: Option<Arc<Held>>,
}

impl Piece {
    /// A piece of a buffer that is noted.
    pub(super) fn of(bytes: Bytes, held: &Arc<Held>) -> Self {
        Self { bytes, _held: Some(Arc::clone(held)) }
    }
}

impl From<Bytes> for Piece {
    /// A piece that others bound.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _held: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
    }
}

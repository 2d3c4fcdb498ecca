//! The messages of the wire as views and builders (§5.4.2 to §5.4.7).
//!
//! Not here: what they mean (`noise`, `cookie`, `session`).

use crate::constants::DATA_HEADER;

/// The number by which a receiver finds the session or handshake that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Index(pub(crate) u32);

/// The sixteen bytes in front of a data message's ciphertext (§5.4.6).
#[inline]
pub(crate) fn data_header(receiver: Index, counter: u64) -> [u8; DATA_HEADER] {
    let low = 4 | u64::from(receiver.0) << 32;
    (u128::from(low) | u128::from(counter) << 64).to_le_bytes()
}

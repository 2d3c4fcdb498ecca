//! What goes through the seams: a slab of received packets, and an arena of packets to send.

/// Received packets or datagrams in one slab, as slots.
#[derive(Debug, Default)]
pub struct RecvBatch {}

/// Packets or datagrams to send, in runs that leave as one.
#[derive(Debug, Default)]
pub struct SendArena {}

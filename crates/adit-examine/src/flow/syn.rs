//! The first packet of a TCP connection: what it tells of the machine that sent it.

use super::packet::Packet;

/// What matters of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syn {
    /// The window.
    pub window: u16,
    /// Kinds of options, in order.
    pub options: Vec<u8>,
    /// The maximum segment size.
    pub max_segment: Option<u16>,
    /// The window scale.
    pub window_scale: Option<u8>,
    /// TTL or hop limit, as it arrived where the capture was made.
    pub hop_limit: u8,
}

impl Syn {
    /// From a packet that is one.
    pub(super) fn of(packet: &Packet<'_>) -> Option<Self> {
        let head = packet.tcp?;
        let mut syn = Self {
            window: head.window,
            options: Vec::new(),
            max_segment: None,
            window_scale: None,
            hop_limit: packet.hop_limit,
        };
        let mut options = head.options;
        while let Some((&kind, rest)) = options.split_first() {
            syn.options.push(kind);
            match kind {
                END => break,
                NO_OPERATION => options = rest,
                _ => {
                    // The length counts kind and length; a smaller one would never end.
                    let Some(length) = rest.first().map(|n| usize::from(*n)).filter(|n| *n >= 2) else { break };
                    let Some(content) = options.get(2..length) else { break };
                    match (kind, content) {
                        (MAX_SEGMENT, [high, low]) => syn.max_segment = Some(u16::from_be_bytes([*high, *low])),
                        (WINDOW_SCALE, [scale]) => syn.window_scale = Some(*scale),
                        _ => {}
                    }
                    options = &options[length..];
                }
            }
        }
        Some(syn)
    }
}

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAX_SEGMENT: u8 = 2;
const WINDOW_SCALE: u8 = 3;

//! What flows inside TLS, as bursts: how much one side says before the other answers. Used by R7, R8 and R9.
//!
//! Counted are the contents of encrypted records once the outer handshake is over, without the session tickets that a
//! server sends on its own.

use crate::flow::Flow;
use crate::flow::tls::{Kind, Record, TLS13};

/// What one side says before the other does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst {
    /// From the client.
    pub(super) up: bool,
    /// Contents of its records.
    pub(super) bytes: u32,
    /// How many records.
    pub(super) records: u32,
}

/// TLS 1.3 adds the true type and a tag; TLS 1.2 a nonce and a tag.
const OVERHEAD_13: u16 = 1 + 16;
const OVERHEAD_12: u16 = 8 + 16;
/// Tickets that a server sends at once.
const MAX_TICKETS: usize = 4;
/// The lengths that a ticket's record has.
const TICKET: std::ops::RangeInclusive<u16> = 80..=1400;

/// The records after the handshake, tickets set apart: what was said, and the tickets' lengths.
pub(super) fn after_handshake(flow: &Flow) -> Option<(Vec<Record>, Vec<u16>)> {
    let tls = &flow.tls;
    let is_13 = tls.server_hello.as_ref()?.version == TLS13;
    let records = &tls.records;
    let begin = if is_13 {
        // The client's first encrypted record is its Finished.
        1 + records.iter().position(|record| record.up && record.kind == Kind::Application)?
    } else {
        let own = |up: bool| records.iter().position(|record| record.up == up && record.kind == Kind::ChangeCipherSpec);
        1 + own(true)?.max(own(false)?)
    };
    let mut said: Vec<Record> = records[begin..].iter().copied().filter(|r| r.kind == Kind::Application).collect();
    if !is_13 {
        return Some((said, Vec::new()));
    }
    let first_down = said.iter().position(|record| !record.up);
    let Some(first_down) = first_down else { return Some((said, Vec::new())) };
    let length = said[first_down].length;
    let same = said[first_down..].iter().take_while(|r| !r.up && r.length == length).count().min(MAX_TICKETS);
    // One alone is a ticket if the client has not asked for anything yet; several of one size are tickets.
    let tickets = TICKET.contains(&length) && (same >= 2 || first_down == 0);
    if !tickets {
        return Some((said, Vec::new()));
    }
    let lengths = said.drain(first_down..first_down + same).map(|record| record.length).collect();
    Some((said, lengths))
}

/// The bursts, beginning with the client's first.
pub(super) fn bursts(flow: &Flow) -> Option<Vec<Burst>> {
    let (said, _) = after_handshake(flow)?;
    let is_13 = flow.tls.server_hello.as_ref()?.version == TLS13;
    let overhead = if is_13 { OVERHEAD_13 } else { OVERHEAD_12 };
    let mut bursts: Vec<Burst> = Vec::new();
    for record in said.iter().skip_while(|record| !record.up) {
        let bytes = u32::from(record.length.saturating_sub(overhead));
        match bursts.last_mut() {
            Some(last) if last.up == record.up => {
                last.bytes = last.bytes.saturating_add(bytes);
                last.records += 1;
            }
            _ => bursts.push(Burst { up: record.up, bytes, records: 1 }),
        }
    }
    Some(bursts)
}

/// The first so many exchanges: four bursts each, of which the client has the first.
pub(super) fn windows(bursts: &[Burst], exchanges: usize) -> impl Iterator<Item = [Burst; 4]> + '_ {
    bursts.windows(4).step_by(2).take(exchanges).filter_map(|window| <[Burst; 4]>::try_from(window).ok())
}

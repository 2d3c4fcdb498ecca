//! The order of control packets: which of ours are unacknowledged, and when to send them again; which of the peer's are
//! missing.
//!
//! Not here: envelopes (`wrap`), what the packets carry (`exchange`), the clock (every function takes `now`).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::constants::{ACKS_A_PACKET, MAX_ACKS, MAX_TLS_QUEUED, RECEIVE_WINDOW, RETRANSMIT_MAX, SEND_WINDOW};
use crate::packet::Opcode;

/// Both directions of one key exchange.
#[derive(Debug)]
pub(crate) struct Reliable {
    /// `tls-timeout`.
    first_retransmit: Duration,
    // What we send.
    next_id: u32,
    in_flight: ArrayVec<InFlight, SEND_WINDOW>,
    /// Not sent yet: at most `MAX_TLS_QUEUED` bytes.
    waiting: VecDeque<(Opcode, Vec<u8>)>,
    waiting_bytes: usize,
    // What the peer sends.
    expected: u32,
    /// Arrived before one that is missing: at most `RECEIVE_WINDOW`.
    early: BTreeMap<u32, (Opcode, Vec<u8>)>,
    /// To be acknowledged, at most `MAX_ACKS`; more are sent again by the peer.
    owed: ArrayVec<u32, MAX_ACKS>,
    /// Acknowledged lately, newest first: said again, for the acknowledgement may have been lost.
    lately: ArrayVec<u32, ACKS_A_PACKET>,
}

/// A packet that was sent and is not acknowledged.
#[derive(Debug)]
struct InFlight {
    id: u32,
    opcode: Opcode,
    payload: Vec<u8>,
    /// When it is sent (again).
    due: Instant,
    /// How long after that once more.
    pause: Duration,
    /// How many later ones were acknowledged: at three it is taken for lost.
    overtaken: u8,
}

/// A packet to send now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) id: u32,
    pub(crate) payload: &'a [u8],
}

/// More waits to be sent than the handshake of any peer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Reliable {
    pub(crate) fn new(first_retransmit: Duration) -> Self {
        Self {
            first_retransmit,
            next_id: 0,
            in_flight: ArrayVec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            expected: 0,
            early: BTreeMap::new(),
            owed: ArrayVec::new(),
            lately: ArrayVec::new(),
        }
    }

    /// Both directions after the first packet of each was exchanged without state: a server's view of a proven client.
    pub(crate) fn after_resets(first_retransmit: Duration) -> Self {
        Self { next_id: 1, expected: 1, ..Self::new(first_retransmit) }
    }

    /// Sends this, after all that waits.
    pub(crate) fn queue(&mut self, opcode: Opcode, payload: Vec<u8>) -> Result<(), QueueFull> {
        let bytes = self.waiting_bytes + payload.len();
        if bytes > MAX_TLS_QUEUED {
            return Err(QueueFull);
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back((opcode, payload));
        Ok(())
    }

    /// Whether all that was sent has arrived and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// The next packet to send now, new or once more.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Due<'_>> {
        while !self.in_flight.is_full()
            && let Some((opcode, payload)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= payload.len();
            let pause = self.first_retransmit;
            self.in_flight.push(InFlight { id: self.next_id, opcode, payload, due: now, pause, overtaken: 0 });
            self.next_id = self.next_id.wrapping_add(1);
        }
        let packet = self.in_flight.iter_mut().find(|packet| packet.due <= now)?;
        packet.due = now + packet.pause;
        packet.pause = (packet.pause * 2).min(RETRANSMIT_MAX);
        packet.overtaken = 0;
        Some(Due { opcode: packet.opcode, id: packet.id, payload: &packet.payload })
    }

    /// When [`poll`](Self::poll) has something next.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let fresh = (!self.in_flight.is_full() && !self.waiting.is_empty()).then_some(now);
        fresh.into_iter().chain(self.in_flight.iter().map(|packet| packet.due)).min()
    }

    /// What the peer says has arrived. Numbers that are not in flight mean nothing.
    pub(crate) fn handle_acks(&mut self, now: Instant, acks: &[u32]) {
        for ack in acks {
            let Some(at) = self.in_flight.iter().position(|packet| packet.id == *ack) else { continue };
            self.in_flight.remove(at);
            for earlier in self.in_flight.iter_mut().take(at) {
                earlier.overtaken = earlier.overtaken.saturating_add(1);
                if earlier.overtaken == 3 {
                    earlier.due = now;
                }
            }
        }
    }

    /// A packet of the peer. Duplicates are acknowledged again; what is too far ahead is not taken.
    pub(crate) fn handle(&mut self, id: u32, opcode: Opcode, payload: &[u8]) {
        let ahead = id.wrapping_sub(self.expected);
        let new = ahead < RECEIVE_WINDOW as u32;
        if !new && ahead < u32::MAX / 2 {
            return;
        }
        if !self.owed.contains(&id) && self.owed.try_push(id).is_err() {
            return; // The peer sends it again, and there will be room.
        }
        if new {
            self.early.entry(id).or_insert_with(|| (opcode, payload.to_vec()));
        }
    }

    /// The next packet of the peer, if it has arrived.
    pub(crate) fn next_in_order(&mut self) -> Option<(Opcode, Vec<u8>)> {
        let next = self.early.remove(&self.expected)?;
        self.expected = self.expected.wrapping_add(1);
        Some(next)
    }

    /// What the peer's reset carries, as long as it has not been read.
    pub(crate) fn peek_reset(&self) -> Option<&[u8]> {
        if self.expected == 0 { self.early.get(&0).map(|(_, payload)| payload.as_slice()) } else { None }
    }

    /// Whether the peer waits for an acknowledgement.
    pub(crate) fn owes_acks(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Acknowledgements for one packet: those owed, then, if there is room, some of those said lately.
    pub(crate) fn take_acks(&mut self) -> ArrayVec<u32, MAX_ACKS> {
        let now = self.owed.len().min(ACKS_A_PACKET);
        let mut acks: ArrayVec<u32, MAX_ACKS> = self.owed.drain(..now).collect();
        for again in &self.lately {
            if acks.len() < ACKS_A_PACKET && !acks.contains(again) {
                acks.push(*again);
            }
        }
        self.lately = acks.iter().copied().take(ACKS_A_PACKET).collect();
        acks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::start;

    const RETRANSMIT: Duration = Duration::from_secs(2);

    fn with(packets: u8) -> Reliable {
        let mut reliable = Reliable::new(RETRANSMIT);
        (0..packets).for_each(|n| reliable.queue(Opcode::Control, vec![n]).unwrap());
        reliable
    }

    fn sent(reliable: &mut Reliable, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| reliable.poll(now).map(|due| due.id)).collect()
    }

    fn received(reliable: &mut Reliable) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reliable.next_in_order().map(|(_, payload)| payload)).collect()
    }

    #[test]
    fn six_packets_are_under_way_and_an_acknowledgement_makes_room() {
        let (mut reliable, now) = (with(10), start());
        assert_eq!(sent(&mut reliable, now), [0, 1, 2, 3, 4, 5]);
        reliable.handle_acks(now, &[0, 1, 1, 77]);
        assert_eq!(sent(&mut reliable, now), [6, 7]);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_after_two_seconds_then_four() {
        let (mut reliable, began) = (with(1), start());
        let mut at = vec![];
        let mut now = began;
        for _ in 0..4 {
            assert_eq!(sent(&mut reliable, now), [0]);
            at.push((now - began).as_secs());
            now = reliable.deadline(now).unwrap();
        }
        assert_eq!(at, [0, 2, 6, 14]);
        reliable.handle_acks(now, &[0]);
        assert!(reliable.is_idle() && reliable.deadline(now).is_none());
    }

    #[test]
    fn three_later_acknowledgements_mean_lost() {
        let (mut reliable, now) = (with(5), start());
        sent(&mut reliable, now);
        reliable.handle_acks(now, &[1, 2]);
        assert_eq!(sent(&mut reliable, now), []);
        reliable.handle_acks(now, &[3]);
        assert_eq!(sent(&mut reliable, now), [0]);
    }

    #[test]
    fn packets_come_out_in_order_once_each() {
        let mut reliable = Reliable::new(RETRANSMIT);
        for id in [2, 1, 2, 0, 0, 1] {
            reliable.handle(id, Opcode::Control, &[id as u8]);
        }
        assert_eq!(received(&mut reliable), [[0], [1], [2]]);
        assert_eq!(reliable.take_acks().as_slice(), [2, 1, 0]);
        reliable.handle(1, Opcode::Control, &[1]);
        assert_eq!(received(&mut reliable), Vec::<Vec<u8>>::new());
        assert_eq!(
            reliable.take_acks().as_slice(),
            [1, 2, 0],
            "a duplicate is acknowledged again, with those said lately"
        );
    }

    /// What was acknowledged is never sent again by the peer: a duplicate that finds no room must not take it away.
    #[test]
    fn an_acknowledged_packet_stays_whatever_is_repeated() {
        let mut reliable = Reliable::new(RETRANSMIT);
        for id in 1..=MAX_ACKS as u32 {
            reliable.handle(id, Opcode::Control, &[id as u8]);
        }
        assert_eq!(reliable.take_acks().as_slice(), [1, 2, 3, 4]);
        for id in [9, 10, 11, 1, 2] {
            reliable.handle(id, Opcode::Control, &[id as u8]);
        }
        assert!(reliable.owed.is_full());
        while reliable.owes_acks() {
            reliable.take_acks();
        }
        reliable.handle(0, Opcode::Control, &[0]);
        assert_eq!(received(&mut reliable), (0..12).map(|id| vec![id]).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_too_far_ahead_is_neither_kept_nor_acknowledged() {
        let mut reliable = Reliable::new(RETRANSMIT);
        reliable.handle(RECEIVE_WINDOW as u32, Opcode::Control, &[1]);
        assert!(!reliable.owes_acks() && reliable.early.is_empty());
        for id in (0..10_000).rev() {
            reliable.handle(id, Opcode::Control, &[1]);
        }
        assert!(reliable.early.len() <= RECEIVE_WINDOW && reliable.owed.len() <= MAX_ACKS);
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut reliable = Reliable::new(RETRANSMIT);
        let (mut kept, piece) = (0, vec![0; 1000]);
        while reliable.queue(Opcode::Control, piece.clone()).is_ok() {
            kept += piece.len();
        }
        assert!(kept <= MAX_TLS_QUEUED && kept > MAX_TLS_QUEUED - 1000);
    }

    proptest! {
        /// Whatever a network loses, repeats and reorders, the peer reads all of it in order.
        #[test]
        fn everything_arrives_in_order_over_any_network_that_carries_something(
            faults in prop::collection::vec(0_u8..10, 16..400),
            packets in 1_u8..40,
        ) {
            let (mut ours, mut theirs, mut now) = (with(packets), Reliable::new(RETRANSMIT), start());
            let (mut out, mut faults) = (vec![], faults.into_iter().chain(std::iter::repeat(9)));
            let mut held: Vec<(u32, Vec<u8>)> = vec![];
            for _ in 0..3000 {
                while let Some(Due { id, payload, .. }) = ours.poll(now) {
                    let packet = (id, payload.to_vec());
                    match faults.next().unwrap() {
                        0..=2 => {}
                        3 => held.push(packet),
                        4 => held.extend([packet.clone(), packet]),
                        _ => theirs.handle(packet.0, Opcode::Control, &packet.1),
                    }
                }
                for (id, payload) in held.drain(..).rev() {
                    theirs.handle(id, Opcode::Control, &payload);
                }
                out.extend(received(&mut theirs));
                while theirs.owes_acks() {
                    let acks = theirs.take_acks();
                    if faults.next().unwrap() > 2 {
                        ours.handle_acks(now, &acks);
                    }
                }
                match ours.deadline(now) {
                    None => break,
                    Some(at) => now = now.max(at),
                }
            }
            prop_assert_eq!(out, (0..packets).map(|n| vec![n]).collect::<Vec<_>>());
            prop_assert!(ours.is_idle());
        }
    }
}

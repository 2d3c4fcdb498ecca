//! A shaper with the bytes that wait for it: capsules go in as the engine gives them, and come out as they are to be written.
//!
//! Not here: when and how much (the shaper), frames and records (whoever writes).

use std::{collections::VecDeque, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{MAX_PIECE, Output, Role, Settings, Shaper};
use crate::capsule;

/// One direction of one tunnel.
#[derive(Debug)]
pub(crate) struct Outgoing {
    shaper: Shaper,
    waiting: VecDeque<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(role: Role, settings: &Settings, now: Instant) -> Self {
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            tracing::debug!("no random numbers: padding is predictable on this connection");
        }
        Self { shaper: Shaper::new(role, settings.clone(), seed, now), waiting: VecDeque::new() }
    }

    /// Whole capsules from the engine. Only to be called while there is [room](Self::has_room), so that what waits has the
    /// bound of a piece and what the engine gives at a time.
    pub(crate) fn push(&mut self, now: Instant, capsules: Bytes) {
        self.shaper.handle_outgoing(now, capsules.len());
        if !capsules.is_empty() {
            self.waiting.push_back(capsules);
        }
    }

    /// Whether more may be pushed: what the shaper holds back waits for company, and for no more than fills a piece.
    pub(crate) fn has_room(&self) -> bool {
        self.shaper.waiting() < MAX_PIECE
    }

    /// So much arrived from the other end.
    pub(crate) fn heard(&mut self, now: Instant, real: usize, padding: usize) {
        self.shaper.handle_incoming(now, real, padding);
    }

    /// Moves what is to be written now to `out`. Answers when to ask again, if nothing else happens before.
    pub(crate) fn pull(&mut self, now: Instant, out: &mut VecDeque<Bytes>) -> Option<Instant> {
        loop {
            match self.shaper.poll_output(now) {
                Output::Timeout(wake, _) => return wake,
                Output::Write { real, padding } => {
                    self.take(real, out);
                    if padding > 0 {
                        let mut capsule = BytesMut::with_capacity(padding);
                        capsule::put_padding(&mut capsule, padding);
                        out.push_back(capsule.freeze());
                    }
                }
            }
        }
    }

    fn take(&mut self, mut bytes: usize, out: &mut VecDeque<Bytes>) {
        while bytes > 0 {
            let Some(first) = self.waiting.front_mut() else { return };
            let piece = first.split_to(bytes.min(first.len()));
            bytes -= piece.len();
            if first.is_empty() {
                self.waiting.pop_front();
            }
            out.push_back(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::capsule::{Decoder, put_datagram};

    proptest! {
        /// Whatever is padded, and wherever pieces are cut: the other end finds the same datagrams in the same order.
        #[test]
        fn padding_never_falls_into_a_datagram(
            trains in prop::collection::vec((prop::collection::vec(1_usize..9_000, 1..12), 0_usize..3_000, 0_u64..900), 1..40),
            role in prop_oneof![Just(Role::Client), Just(Role::Server)],
        ) {
            let mut now = Instant::now();
            let mut outgoing = Outgoing::new(role, &Settings::default(), now);
            let (mut decoder, mut out) = (Decoder::default(), VecDeque::new());
            let (mut sent, mut found) = (Vec::new(), Vec::new());
            for (train, heard, pause) in trains {
                let mut capsules = BytesMut::new();
                for len in train {
                    put_datagram(&mut capsules, &vec![len as u8; len]);
                    sent.push(vec![len as u8; len]);
                }
                outgoing.heard(now, heard / 2, heard - heard / 2);
                outgoing.push(now, capsules.freeze());
                prop_assert_eq!(outgoing.pull(now, &mut out), None);
                prop_assert!(outgoing.waiting.is_empty());
                for piece in out.drain(..) {
                    let mut datagrams = decoder.decode(piece).unwrap();
                    while let Some(datagram) = datagrams.front() {
                        found.push(datagram.to_vec());
                        datagrams.pop_front();
                    }
                }
                now += Duration::from_millis(pause);
            }
            prop_assert_eq!(found, sent);
            prop_assert!(decoder.is_between_capsules());
            prop_assert_eq!(decoder.skipped(), outgoing.shaper.cost().padding);
        }
    }

    /// What is held back finds company, and is bounded: the engine is asked for no more once a piece would be full.
    #[test]
    fn what_is_held_takes_company_until_a_piece_is_full() {
        let now = Instant::now();
        let settings = Settings { coalesce: Duration::from_millis(4), ..Settings::off() };
        let mut outgoing = Outgoing::new(Role::Client, &settings, now);
        let mut out = VecDeque::new();
        for _ in 0..3 {
            assert!(outgoing.has_room());
            outgoing.push(now, Bytes::from_static(&[0; 100]));
            assert_eq!(outgoing.pull(now, &mut out), Some(now + settings.coalesce));
        }
        assert_eq!(outgoing.pull(now + settings.coalesce, &mut out), None);
        assert_eq!(out.iter().map(Bytes::len).sum::<usize>(), 300);
        outgoing.push(now, Bytes::from_static(&[0; MAX_PIECE]));
        assert!(!outgoing.has_room());
        assert_eq!(outgoing.pull(now, &mut out), None);
        assert!(outgoing.has_room());
    }
}

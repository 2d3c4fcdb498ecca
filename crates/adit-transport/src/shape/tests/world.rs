//! A tunnel in virtual time: two shapers, a line between them, programs beyond both ends, and an observer at the client.
//!
//! Not here: what is claimed of it (`tests`).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::super::{Output, Role, Settings, Shaper};

/// From the client to the server of the tunnel.
pub(super) const LINE: Duration = Duration::from_millis(20);
/// From the server of the tunnel to whom the program talks, and back.
pub(super) const BEYOND: Duration = Duration::from_millis(12);

/// What one packet of TCP with so much in it becomes: IP and TCP headers, WireGuard's, the capsule's.
pub(super) const fn capsule_of(payload: usize) -> usize {
    (payload + 40).next_multiple_of(16) + 32 + 4
}

/// The capsules of a message of so many bytes over TCP.
pub(super) fn segments(bytes: usize) -> Vec<usize> {
    (0..bytes).step_by(1_300).map(|sent| capsule_of((bytes - sent).min(1_300))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// What the observer at the client sees: one piece on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) way: Way,
    pub(super) bytes: usize,
}

/// What a conversation looked like, and what it cost.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) seen: Vec<Seen>,
    pub(super) real: usize,
    pub(super) padding: usize,
    /// The longest that a byte waited in a shaper.
    pub(super) held: Duration,
    pub(super) took: Duration,
}

impl Outcome {
    /// The bursts that the observer sees, beginning with the client's first.
    pub(super) fn bursts(&self) -> Vec<usize> {
        let mut seen = self.seen.clone();
        seen.sort_by_key(|piece| piece.at);
        let mut bursts: Vec<(Way, usize)> = Vec::new();
        for piece in seen.iter().skip_while(|piece| piece.way == Way::Down) {
            match bursts.last_mut() {
                Some((way, bytes)) if *way == piece.way => *bytes += piece.bytes,
                _ => bursts.push((piece.way, piece.bytes)),
            }
        }
        bursts.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

struct End {
    shaper: Shaper,
    /// Real bytes that wait, and since when.
    queue: VecDeque<(Instant, usize)>,
    /// When the shaper wants to be asked again.
    wake: Option<Instant>,
}

/// A piece on the line.
#[derive(Debug, Clone, Copy)]
struct Piece {
    arrives: Instant,
    way: Way,
    real: usize,
    padding: usize,
}

pub(super) struct World {
    now: Instant,
    ends: [End; 2],
    line: Vec<Piece>,
    arrived: [usize; 2],
    outcome: Outcome,
}

impl World {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        let now = Instant::now();
        let end = |role, salt: u8| {
            let mut bytes = [salt; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let shaper = Shaper::new(role, settings.clone(), bytes, now);
            End { shaper, queue: VecDeque::new(), wake: None }
        };
        let ends = [end(Role::Client, 1), end(Role::Server, 2)];
        Self { now, ends, line: Vec::new(), arrived: [0; 2], outcome: Outcome::default() }
    }

    /// Nobody says anything for so long.
    pub(super) fn pause(&mut self, time: Duration) {
        self.run(self.now + time, |_| false);
    }

    /// Holds one conversation: each message is sent when the one before has arrived where it goes, and comes back from
    /// beyond. What was seen and what it cost is the answer.
    pub(super) fn converse(&mut self, messages: &[(Way, Vec<usize>)]) -> Outcome {
        self.outcome = Outcome::default();
        let began = self.now;
        for (way, capsules) in messages {
            let index = *way as usize;
            let expected = self.arrived[index] + capsules.iter().sum::<usize>();
            for &bytes in capsules {
                self.send(*way, bytes);
                // Packets of one message come in quick succession.
                self.run(self.now + Duration::from_micros(40), |_| false);
            }
            self.run(self.now + Duration::from_secs(60), |world| world.arrived[index] >= expected);
            assert_eq!(self.arrived[index], expected, "everything must arrive, and nothing twice");
            if *way == Way::Up {
                self.run(self.now + BEYOND, |_| false);
            }
        }
        self.outcome.took = self.now - began;
        std::mem::take(&mut self.outcome)
    }

    fn send(&mut self, way: Way, bytes: usize) {
        let end = &mut self.ends[way as usize];
        end.queue.push_back((self.now, bytes));
        end.shaper.handle_outgoing(self.now, bytes);
        self.outcome.real += bytes;
        self.pump(way);
    }

    fn pump(&mut self, way: Way) {
        let end = &mut self.ends[way as usize];
        loop {
            match end.shaper.poll_output(self.now) {
                Output::Timeout(wake, _) => {
                    assert!(wake.is_none_or(|wake| wake > self.now), "it wants to be asked again and again");
                    end.wake = wake;
                    return;
                }
                Output::Write { real, padding } => {
                    assert!(real + padding > 0 && padding != 1);
                    let held = take(&mut end.queue, real, self.now);
                    let piece = Piece { arrives: self.now + LINE, way, real, padding };
                    self.line.push(piece);
                    self.outcome.held = self.outcome.held.max(held);
                    self.outcome.padding += padding;
                    let at = if way == Way::Up { self.now } else { piece.arrives };
                    self.outcome.seen.push(Seen { at, way, bytes: real + padding });
                }
            }
        }
    }

    fn run(&mut self, end: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let wakes = self.ends.iter().filter_map(|end| end.wake);
            let next = self.line.iter().map(|piece| piece.arrives).chain(wakes).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            let here: Vec<_> = self.line.extract_if(.., |piece| piece.arrives <= next).collect();
            for piece in here {
                self.arrived[piece.way as usize] += piece.real;
                let other = if piece.way == Way::Up { Way::Down } else { Way::Up };
                self.ends[other as usize].shaper.handle_incoming(self.now, piece.real, piece.padding);
                self.pump(other);
            }
            for way in [Way::Up, Way::Down] {
                if self.ends[way as usize].wake.is_some_and(|wake| wake <= self.now) {
                    self.pump(way);
                }
            }
        }
    }
}

/// Takes so many bytes from a queue; answers how long the oldest waited.
fn take(queue: &mut VecDeque<(Instant, usize)>, mut bytes: usize, now: Instant) -> Duration {
    let held =
        if bytes == 0 { Duration::ZERO } else { queue.front().map_or(Duration::ZERO, |(since, _)| now - *since) };
    while bytes > 0 {
        let (_, waiting) = queue.front_mut().expect("no more is written than waits");
        let taken = bytes.min(*waiting);
        *waiting -= taken;
        bytes -= taken;
        if *waiting == 0 {
            queue.pop_front();
        }
    }
    held
}

//! What the stream looks like to somebody who sees only sizes and times: when to write, how much, and how much padding.
//!
//! Pure: no clock, no socket, no capsule is made here. Whoever pumps a connection tells what waits and what arrived, and
//! writes what [`Shaper::poll_output`] says. What each part costs, and what it is good for: `docs/shape.md`.
//!
//! Not here: how a padding capsule is built (`capsule`), frames of HTTP/2, records (one write is one record).

mod breaker;
mod budget;
mod machines;
mod outgoing;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use adit_protocol::Why;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

pub use self::machines::{BadMachine, MAX_MACHINES, MachineSettings, PaddingMachine};
pub(crate) use self::outgoing::Outgoing;
use self::{
    breaker::{Breaker, Wish},
    budget::Budget,
    machines::Machines,
};

/// The most that is written as one piece: with the nine bytes of a DATA frame's header it fills one record, as
/// Chromium's uploads and common servers' downloads do.
pub const MAX_PIECE: usize = 16_384 - 9;

/// A padding capsule is no smaller than this (RFC 9297: one byte of type, one of length), so neither is padding.
pub const MIN_PADDING: usize = 2;

/// Writes below this are blurred: the sizes of the datagrams in them are multiples of 16, which would show.
const BLUR_BELOW: usize = 1_024;

/// By how much a small write is blurred at most.
const BLUR_MAX: usize = 47;

/// What a connection may spend on padding before it has carried anything: a handful of handshakes.
const ALLOWANCE: u32 = 96 * 1024;

/// How long small writes wait for company at [`Level::Strong`].
const COMPANY: Duration = Duration::from_millis(4);

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It asked for the tunnel.
    Client,
    /// It was asked.
    Server,
}

/// What is done about shape. The default costs at most three bytes in a hundred, and no time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Hide the sizes of small datagrams in writes of blurred size.
    pub blur: bool,
    /// Move the bursts of handshakes inside the tunnel away from where detectors look for them.
    pub breaker: bool,
    /// How long something small may wait for company before it is written. Zero: not at all.
    pub coalesce: Duration,
    /// Padding may be at most so many thousandths of what is carried, both ways together, beyond an allowance.
    pub padding_per_mille: u32,
    /// The allowance, in bytes: what may be spent before anything is carried, and the most that is saved up.
    pub padding_allowance: u32,
    /// Padding machines, if any.
    pub machines: Option<MachineSettings>,
}

/// How much is done about shape, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Nothing: no padding, no waiting.
    Off,
    /// What costs no time, and at most three bytes in a hundred beyond the allowance.
    #[default]
    Normal,
    /// More padding for more handshakes, and small writes wait for company.
    Strong,
}

impl Level {
    /// All levels with their words.
    pub const ALL: [(Self, &'static str); 3] = [(Self::Off, "off"), (Self::Normal, "normal"), (Self::Strong, "strong")];

    /// What it means.
    #[must_use]
    pub const fn settings(self) -> Settings {
        let (coalesce, padding_per_mille, padding_allowance) = match self {
            Self::Off => return Settings::off(),
            Self::Normal => (Duration::ZERO, 30, ALLOWANCE),
            Self::Strong => (COMPANY, 150, 4 * ALLOWANCE),
        };
        Settings { blur: true, breaker: true, coalesce, padding_per_mille, padding_allowance, machines: None }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Level::Normal.settings()
    }
}

impl Settings {
    /// Nothing is done: what waits is written, and no padding is sent.
    #[must_use]
    pub const fn off() -> Self {
        Self {
            blur: false,
            breaker: false,
            coalesce: Duration::ZERO,
            padding_per_mille: 0,
            padding_allowance: 0,
            machines: None,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Write so many bytes of what waits, then padding capsules of so many bytes in all, as one piece of the stream.
    /// Either may be zero; padding is never one byte.
    Write {
        /// Bytes of what waits.
        real: usize,
        /// Bytes of padding capsules, their headers included.
        padding: usize,
    },
    /// Nothing to write before that moment, unless something else happens. Always last.
    Timeout(Option<Instant>, Why),
}

/// What shaping has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes that were carried out.
    pub real: u64,
    /// Bytes of padding that went with them.
    pub padding: u64,
    /// Bytes of padding that were wished for and not sent, for lack of budget.
    pub refused: u64,
}

/// Shapes one direction of one connection: that in which it writes.
///
/// After each `handle_*`, call [`Self::poll_output`] and do what it says until it says `Timeout`. If the stream takes no
/// more for now, poll later: nothing is lost, what waits only grows.
#[derive(Debug)]
pub struct Shaper {
    settings: Settings,
    breaker: Breaker,
    machines: Option<Machines>,
    budget: Budget,
    rng: ChaCha20Rng,
    waiting: usize,
    waiting_since: Option<Instant>,
    cost: Cost,
}

impl Shaper {
    /// A shaper for one end. `seed` decides what is drawn; give each connection its own.
    #[must_use]
    pub fn new(role: Role, settings: Settings, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let machines = settings.machines.as_ref().and_then(|machines| Machines::new(machines, &mut rng, now));
        Self {
            breaker: Breaker::new(role),
            machines,
            budget: Budget::new(settings.padding_per_mille, settings.padding_allowance),
            rng: ChaCha20Rng::from_seed(seed),
            waiting: 0,
            waiting_since: None,
            cost: Cost::default(),
            settings,
        }
    }

    /// So many bytes of capsules were added to what waits to be written.
    pub fn handle_outgoing(&mut self, now: Instant, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.waiting += bytes;
        self.waiting_since.get_or_insert(now);
        if let Some(machines) = &mut self.machines {
            machines.sent(now);
        }
    }

    /// So many bytes arrived from the other end: of datagrams, and of padding.
    pub fn handle_incoming(&mut self, now: Instant, real: usize, padding: usize) {
        self.budget.earn(real);
        if self.settings.breaker {
            self.breaker.handle_incoming(now, real, padding, &mut self.rng);
        }
        if let Some(machines) = &mut self.machines {
            machines.received(now, real > 0, padding > 0);
        }
    }

    /// What to do now.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        if let Some(machines) = &mut self.machines {
            machines.advance(now);
            if let Some(until) = machines.blocked_until(now) {
                // Padding that a machine may send through its own block is rare, small, and not worth a second path.
                return Output::Timeout(Some(until), Why("a padding machine holds the stream"));
            }
        }
        if let Some(until) = self.company_until(now) {
            return Output::Timeout(Some(until), Why("something small waits for company"));
        }
        let real = self.waiting.min(MAX_PIECE);
        // Where a piece is cut, a capsule goes on in the next: padding may follow only what ends with a whole one.
        let padding = if real == self.waiting { self.padding(now, real) } else { 0 };
        if real == 0 && padding == 0 {
            let machine = self.machines.as_ref().and_then(Machines::next);
            return Output::Timeout(machine, Why("a padding machine"));
        }
        self.wrote(now, real, padding);
        Output::Write { real, padding }
    }

    /// What shaping has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Bytes that wait to be written.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Until when what waits should wait for more, if it should.
    fn company_until(&self, now: Instant) -> Option<Instant> {
        let until = self.waiting_since? + self.settings.coalesce;
        (self.waiting < BLUR_BELOW && until > now).then_some(until)
    }

    /// How much padding goes with `real` bytes. Machines have a budget of their own; the rest has ours.
    fn padding(&mut self, now: Instant, real: usize) -> usize {
        let of_machines = self.machines.as_mut().map_or(0, |machines| machines.take_due(now));
        if let Some(machines) = self.machines.as_mut().filter(|_| real == 0 && of_machines > 0) {
            // What it brings about comes later: padding that goes alone must not call for more at once.
            machines.rest(now);
        }
        let wish = self.wish(now, real, of_machines);
        (of_machines + self.afford(wish)).min(MAX_PIECE)
    }

    /// How much padding should go with `real` bytes, besides that of machines.
    fn wish(&mut self, now: Instant, real: usize, of_machines: usize) -> usize {
        let mut wish = 0;
        if self.settings.breaker {
            wish = match self.breaker.poll_wish(now, real, &mut self.rng) {
                Wish::Nothing => 0,
                Wish::Padding(bytes) => bytes,
            };
        }
        let small = (1..BLUR_BELOW).contains(&real);
        if self.settings.blur && small && wish + of_machines < MIN_PADDING && self.budget.is_ample() {
            wish = draw(&mut self.rng, MIN_PADDING, BLUR_MAX);
        }
        wish.min(MAX_PIECE)
    }

    fn afford(&mut self, wish: usize) -> usize {
        if wish < MIN_PADDING {
            return 0;
        }
        if self.budget.spend(wish) {
            return wish;
        }
        self.cost.refused += wish as u64;
        0
    }

    fn wrote(&mut self, now: Instant, real: usize, padding: usize) {
        self.waiting -= real;
        self.waiting_since = (self.waiting > 0).then_some(now);
        self.budget.earn(real);
        self.cost.real += real as u64;
        self.cost.padding += padding as u64;
        if self.settings.breaker {
            self.breaker.wrote(now, real, padding);
        }
        if let Some(machines) = &mut self.machines {
            machines.wrote(now);
        }
    }
}

/// A number between two, both included.
fn draw(rng: &mut ChaCha20Rng, from: usize, to: usize) -> usize {
    let span = (to - from + 1) as u64;
    // A span of some thousands against 2^64: the bias is not observable.
    from + (rng.next_u64() % span) as usize
}

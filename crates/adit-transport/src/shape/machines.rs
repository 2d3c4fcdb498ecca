//! Padding machines of the `maybenot` framework, as a setting: when they pad, and when they hold the stream.
//!
//! Not here: where machines come from. They are text, as maybenot writes them.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use maybenot::{Framework, Machine, MachineId, Timer, TriggerAction, TriggerEvent};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use thiserror::Error;

/// The most machines that one connection runs.
pub const MAX_MACHINES: usize = 8;

/// The longest text of one machine.
const MAX_MACHINE_TEXT: usize = 16 * 1024;

/// Actions that one call may bring about; a machine that pads without pause is stopped here, and goes on at the next.
const MAX_STEPS: usize = 64;

/// Which machines, and what they may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineSettings {
    /// Machines, as maybenot writes them.
    pub machines: Vec<String>,
    /// The share of packets that may be padding, all machines together: 0 to 1.
    pub max_padding: f64,
    /// The share of time for which the stream may be held, all machines together: 0 to 1.
    pub max_blocking: f64,
    /// Bytes of one packet of padding.
    pub padding_bytes: u16,
}

/// Machines that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadMachine {
    /// There are too many.
    #[error("{0} padding machines are too many\n  hint: at most {MAX_MACHINES}")]
    TooMany(usize),
    /// One cannot be read.
    #[error(
        "padding machine {number} cannot be read: {reason}\n  hint: a machine is one line of text that begins with its version, such as 02"
    )]
    Unreadable {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// A share is not one.
    #[error("padding machines cannot run: {0}\n  hint: shares are between 0 and 1")]
    Limits(String),
}

/// The machines of one connection, and their timers.
pub(super) struct Machines {
    framework: Framework<Vec<Machine>, Bridge, Instant>,
    timers: Vec<Timers>,
    blocked_until: Option<Instant>,
    due: usize,
    padding_bytes: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Timers {
    action: Option<(Instant, Planned)>,
    internal: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Planned {
    Pad,
    Block { duration: Duration, replace: bool },
}

impl std::fmt::Debug for Machines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machines").field("timers", &self.timers).finish_non_exhaustive()
    }
}

impl Machines {
    pub(super) fn new(settings: &MachineSettings, rng: &mut ChaCha20Rng, now: Instant) -> Result<Self, BadMachine> {
        let count = settings.machines.len();
        if count > MAX_MACHINES {
            return Err(BadMachine::TooMany(count));
        }
        let read = |(index, text): (usize, &String)| {
            let bad = |reason: String| BadMachine::Unreadable { number: index + 1, reason };
            if text.len() > MAX_MACHINE_TEXT {
                return Err(bad(format!("it is longer than {MAX_MACHINE_TEXT} letters")));
            }
            Machine::from_str(text).map_err(|problem| bad(problem.to_string()))
        };
        let machines = settings.machines.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let framework = Framework::new(machines, settings.max_padding, settings.max_blocking, now, Bridge::new(rng))
            .map_err(|problem| BadMachine::Limits(problem.to_string()))?;
        Ok(Self {
            framework,
            timers: vec![Timers::default(); count],
            blocked_until: None,
            due: 0,
            padding_bytes: usize::from(settings.padding_bytes).max(super::MIN_PADDING),
        })
    }

    /// Something waits to be written.
    pub(super) fn sent(&mut self, now: Instant) {
        self.trigger(now, &[TriggerEvent::NormalSent]);
    }

    /// A piece was written.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.trigger(now, &[TriggerEvent::TunnelSent]);
    }

    /// Something arrived.
    pub(super) fn received(&mut self, now: Instant, real: bool, padding: bool) {
        let mut events = vec![TriggerEvent::TunnelRecv];
        events.extend(real.then_some(TriggerEvent::NormalRecv));
        events.extend(padding.then_some(TriggerEvent::PaddingRecv));
        self.trigger(now, &events);
    }

    /// Does what is due by `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        for _ in 0..MAX_STEPS {
            if self.blocked_until.is_some_and(|until| until <= now) {
                self.blocked_until = None;
                self.trigger(now, &[TriggerEvent::BlockingEnd]);
                continue;
            }
            let Some(index) = self.timers.iter().position(|timers| timers.is_due(now)) else { return };
            self.fire(index, now);
        }
    }

    /// Until when nothing may be written, if a machine holds the stream.
    pub(super) fn blocked_until(&self, now: Instant) -> Option<Instant> {
        self.blocked_until.filter(|&until| until > now)
    }

    /// Takes the padding that is due, in bytes.
    pub(super) fn take_due(&mut self, now: Instant) -> usize {
        self.advance(now);
        std::mem::take(&mut self.due)
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        let timers = self.timers.iter().flat_map(|timers| [timers.action.map(|(at, _)| at), timers.internal]);
        timers.flatten().chain(self.blocked_until).min()
    }

    fn fire(&mut self, index: usize, now: Instant) {
        let machine = MachineId::from_raw(index);
        let timers = &mut self.timers[index];
        if timers.internal.is_some_and(|at| at <= now) {
            timers.internal = None;
            self.trigger(now, &[TriggerEvent::TimerEnd { machine }]);
            return;
        }
        let Some((_, planned)) = timers.action.take_if(|(at, _)| *at <= now) else { return };
        match planned {
            Planned::Pad => {
                self.due = (self.due + self.padding_bytes).min(super::MAX_PIECE);
                self.trigger(now, &[TriggerEvent::PaddingSent { machine }]);
            }
            Planned::Block { duration, replace } => {
                let until = now + duration;
                self.blocked_until = match self.blocked_until {
                    Some(present) if !replace => Some(present.max(until)),
                    _ => Some(until),
                };
                self.trigger(now, &[TriggerEvent::BlockingBegin { machine }]);
            }
        }
    }

    fn trigger(&mut self, now: Instant, events: &[TriggerEvent]) {
        let timers = &mut self.timers;
        let mut begun = Vec::new();
        for action in self.framework.trigger_events(events, now) {
            match action {
                TriggerAction::Cancel { machine, timer } => {
                    let mine = &mut timers[machine.into_raw()];
                    if matches!(timer, Timer::Action | Timer::All) {
                        mine.action = None;
                    }
                    if matches!(timer, Timer::Internal | Timer::All) {
                        mine.internal = None;
                    }
                }
                TriggerAction::SendPadding { timeout, machine, .. } => {
                    timers[machine.into_raw()].action = Some((now + *timeout, Planned::Pad));
                }
                TriggerAction::BlockOutgoing { timeout, duration, replace, machine, .. } => {
                    let planned = Planned::Block { duration: *duration, replace: *replace };
                    timers[machine.into_raw()].action = Some((now + *timeout, planned));
                }
                TriggerAction::UpdateTimer { duration, replace, machine } => {
                    let mine = &mut timers[machine.into_raw()];
                    let until = now + *duration;
                    if *replace || mine.internal.is_none_or(|present| present < until) {
                        mine.internal = Some(until);
                        begun.push(TriggerEvent::TimerBegin { machine: *machine });
                    }
                }
            }
        }
        // What a timer's beginning brings about waits for the next event: one level is enough, and ends.
        if !begun.is_empty() && events != begun.as_slice() && !matches!(events, [TriggerEvent::TimerBegin { .. }, ..]) {
            self.trigger(now, &begun);
        }
    }
}

impl Timers {
    fn is_due(&self, now: Instant) -> bool {
        self.internal.is_some_and(|at| at <= now) || self.action.is_some_and(|(at, _)| at <= now)
    }
}

/// Our generator, for a framework that knows an older trait.
#[derive(Debug)]
struct Bridge(ChaCha20Rng);

impl Bridge {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self(rand_core::SeedableRng::from_seed(seed))
    }
}

impl rand_core_09::RngCore for Bridge {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

//! Padding machines of the `maybenot` framework, as a setting: when they pad, and when they hold the stream.
//!
//! Not here: where machines come from. They are text, as maybenot writes them.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use maybenot::{Framework, Machine, MachineId, Timer, TriggerAction, TriggerEvent};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most machines that one connection runs.
pub const MAX_MACHINES: usize = 8;

/// The longest text of one machine.
const MAX_MACHINE_TEXT: usize = 16 * 1024;

/// Actions that one call may bring about; a machine that acts without pause is stopped here, and goes on after [`REST`].
const MAX_STEPS: usize = 64;

/// How long machines rest when they have done as much as they may at once: after [`MAX_STEPS`], after padding that went
/// alone, and after a hold, so that what waited is written before the next. Whoever asks what to do now gets to an end.
pub(super) const REST: Duration = Duration::from_millis(1);

/// The longest that machines hold the stream at once, whatever they say: maybenot looks at their share of time only before
/// they begin, and lets them go on without looking.
pub(super) const MAX_HOLD: Duration = Duration::from_millis(100);

/// The share of packets that may be padding if nothing else is said, all machines together.
const USUAL_PADDING: f64 = 0.5;

/// The share of time for which the stream may be held if nothing else is said, all machines together.
const USUAL_BLOCKING: f64 = 0.1;

/// Bytes of one packet of padding if nothing else is said.
const USUAL_BYTES: u16 = 512;

/// One padding machine. Read from text as maybenot writes it, and written as it was read.
#[derive(Clone)]
pub struct PaddingMachine {
    text: String,
    machine: Machine,
}

impl FromStr for PaddingMachine {
    type Err = BadMachine;

    fn from_str(text: &str) -> Result<Self, BadMachine> {
        if text.len() > MAX_MACHINE_TEXT {
            return Err(BadMachine::TooLong(text.len()));
        }
        let mut machine = Machine::from_str(text).map_err(|problem| BadMachine::Unreadable(problem.to_string()))?;
        // As long as these last, maybenot looks at no share, not even at ours.
        (machine.allowed_padding_packets, machine.allowed_blocked_microsec) = (0, 0);
        Ok(Self { text: text.to_owned(), machine })
    }
}

impl fmt::Display for PaddingMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PaddingMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaddingMachine({self})")
    }
}

impl PartialEq for PaddingMachine {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PaddingMachine {}

/// Which machines, and what they may cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "MachinesText", into = "MachinesText")]
pub struct MachineSettings {
    machines: Arc<[Machine]>,
    max_padding: f64,
    max_blocking: f64,
    padding_bytes: u16,
}

/// Machines and their limits as they are written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinesText {
    machines: Vec<String>,
    max_padding: f64,
    max_blocking: f64,
    padding_bytes: u16,
}

impl From<MachineSettings> for MachinesText {
    fn from(settings: MachineSettings) -> Self {
        let MachineSettings { machines, max_padding, max_blocking, padding_bytes } = settings;
        Self { machines: machines.iter().map(Machine::serialize).collect(), max_padding, max_blocking, padding_bytes }
    }
}

impl TryFrom<MachinesText> for MachineSettings {
    type Error = BadMachine;

    fn try_from(text: MachinesText) -> Result<Self, BadMachine> {
        let machines = text.machines.iter().map(|machine| machine.parse()).collect::<Result<Vec<_>, _>>()?;
        Self::new(&machines, text.max_padding, text.max_blocking, text.padding_bytes)
    }
}

impl MachineSettings {
    /// Machines with the usual limits: half of the packets may be padding, of 512 bytes each, and the stream may be held a
    /// tenth of the time. A machine may have narrower limits of its own; what it allows itself beyond them counts for nothing.
    ///
    /// # Errors
    /// There are too many.
    pub fn usual(machines: &[PaddingMachine]) -> Result<Self, BadMachine> {
        Self::new(machines, USUAL_PADDING, USUAL_BLOCKING, USUAL_BYTES)
    }

    /// Machines that may make this share of packets padding, hold the stream for this share of time (each above 0, and below
    /// 1), and pad with so many bytes at a time.
    ///
    /// # Errors
    /// There are too many, or a share is none.
    pub fn new(
        machines: &[PaddingMachine],
        max_padding: f64,
        max_blocking: f64,
        padding_bytes: u16,
    ) -> Result<Self, BadMachine> {
        if machines.len() > MAX_MACHINES {
            return Err(BadMachine::TooMany(machines.len()));
        }
        // To maybenot, nought is no limit at all. Nor is one: with anything real, padding is always less than all.
        let is_share = |share: &f64| *share > 0.0 && *share < 1.0;
        if let Some(share) = [max_padding, max_blocking].into_iter().find(|share| !is_share(share)) {
            return Err(BadMachine::NoShare(share.to_string()));
        }
        let machines = machines.iter().map(|machine| machine.machine.clone()).collect();
        Ok(Self { machines, max_padding, max_blocking, padding_bytes })
    }
}

/// Machines that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadMachine {
    /// There are too many.
    #[error("{0} padding machines are too many\n  hint: at most {MAX_MACHINES}")]
    TooMany(usize),
    /// One is too long.
    #[error("a padding machine of {0} letters is too long\n  hint: at most {MAX_MACHINE_TEXT}")]
    TooLong(usize),
    /// One cannot be read.
    #[error("not a padding machine: {0}\n  hint: a machine is one line of text that begins with its version, 02")]
    Unreadable(String),
    /// A share is not one.
    #[error("padding machines cannot have a share of {0}\n  hint: shares are above 0, and below 1")]
    NoShare(String),
}

/// The machines of one connection, and their timers.
pub(super) struct Machines {
    framework: Framework<Arc<[Machine]>, Bridge, Instant>,
    timers: Vec<Timers>,
    blocked_until: Option<Instant>,
    /// When what holds the stream now began to.
    blocked_since: Option<Instant>,
    /// Until when no timer fires.
    rests_until: Option<Instant>,
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

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machines").field("timers", &self.timers).finish_non_exhaustive()
    }
}

impl Machines {
    /// Always there: what could be wrong was looked at when the settings were made.
    pub(super) fn new(settings: &MachineSettings, rng: &mut ChaCha20Rng, now: Instant) -> Option<Self> {
        let (machines, rng) = (Arc::clone(&settings.machines), Bridge::new(rng));
        let framework = Framework::new(machines, settings.max_padding, settings.max_blocking, now, rng).ok()?;
        Some(Self {
            framework,
            timers: vec![Timers::default(); settings.machines.len()],
            blocked_until: None,
            blocked_since: None,
            rests_until: None,
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
                self.release();
                self.rest(now);
                self.trigger(now, &[TriggerEvent::BlockingEnd]);
                continue;
            }
            if self.rests_until.is_some_and(|until| until > now) {
                return;
            }
            let Some(index) = self.timers.iter().position(|timers| timers.is_due(now)) else { return };
            self.fire(index, now);
        }
        self.rest(now);
    }

    /// No timer fires for a while.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
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
        let timer = timers.flatten().min().map(|at| self.rests_until.map_or(at, |rested| rested.max(at)));
        timer.into_iter().chain(self.blocked_until).min()
    }

    /// The hold is over, and with it whatever was to prolong it: what is planned during a hold is not weighed against a
    /// share, so the next one has to be planned anew.
    fn release(&mut self) {
        self.blocked_until = None;
        self.blocked_since = None;
        for timers in &mut self.timers {
            timers.action.take_if(|(_, planned)| matches!(planned, Planned::Block { .. }));
        }
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
                let latest = *self.blocked_since.get_or_insert(now) + MAX_HOLD;
                // As long as a machine likes may be longer than there is time.
                let until = now + duration.min(MAX_HOLD);
                let until = match self.blocked_until {
                    Some(present) if !replace => present.max(until),
                    _ => until,
                };
                self.blocked_until = Some(until.min(latest));
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

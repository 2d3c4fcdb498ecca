//! Which carrier now: from what was sent, what came, and how the HTTPS connection is, to which of the two is used, and why.
//!
//! Knows of the protocol only two things, told with each datagram: whether it is answered within seconds (*asks*), and
//! whether it is answered at once (a *call*, like the first message of a handshake). Time is an argument.
//! Not here: moving datagrams (`ladder_link`), connecting (`client`), files.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use adit_protocol::Why;
use serde::{Deserialize, Serialize};

/// A call is answered within a round trip. One that was not, on a network where nothing has been heard yet, is taken for a
/// carrier that does not get through.
pub const FIRST_ANSWER: Duration = Duration::from_millis(2_500);
/// The same over HTTPS, where the server may be busy with the request.
pub const FIRST_ANSWER_HTTPS: Duration = Duration::from_secs(6);
/// What asks is answered within ten seconds and a round trip, if only by an empty packet (WireGuard §6.5).
pub const SILENCE: Duration = Duration::from_secs(13);
/// How long HTTPS may take to come up, or to come back, before UDP is used in its place.
pub const HTTPS_PATIENCE: Duration = Duration::from_secs(12);
/// When the first choice is tried for the first time after it was left. Doubled with each failure.
pub const FIRST_PROBE: Duration = Duration::from_secs(15);
/// The same where the first choice is known not to work on this network.
pub const REMEMBERED_PROBE: Duration = Duration::from_secs(120);
/// The longest time between two tries.
pub const LAST_PROBE: Duration = Duration::from_secs(600);
/// How long a try waits for something that can be sent as one.
pub const PROBE_WAIT: Duration = Duration::from_secs(10);
/// How long a try waits for its answer.
pub const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// A first choice that held for so long after a try is trusted again: the next try after its fall comes soon.
pub const TRUSTED: Duration = Duration::from_secs(300);
/// How long the HTTPS connection stays after the tunnel has gone back to UDP.
pub const LINGER: Duration = Duration::from_secs(60);
/// Events that wait; the oldest go first.
const EVENTS: usize = 16;

/// A way over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Plain UDP.
    Udp,
    /// One HTTPS connection.
    Https,
}

/// Which carriers may be used, the first choice first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    first: Carrier,
    second: Option<Carrier>,
}

/// Whether a datagram will be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    /// Perhaps never.
    Nothing,
    /// Within seconds.
    Something,
    /// At once.
    AtOnce,
}

/// How the HTTPS connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Https {
    /// It is not connected, and may be before long.
    Down,
    /// It carries.
    Up,
    /// It will not be, and this is why: the server is not the one that was meant, say.
    Refused(String),
}

/// Why a carrier is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the only one.
    Only,
    /// It is the first choice.
    First,
    /// It is what worked on this network before.
    Remembered,
    /// This other one got no answer.
    NoAnswer(Carrier),
    /// This other one worked, and fell silent.
    FellSilent(Carrier),
    /// HTTPS does not come up.
    NotUp,
    /// HTTPS is refused.
    Refused(String),
    /// The first choice answers again.
    AnswersAgain,
}

/// Which carrier, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The carrier in use.
    pub carrier: Carrier,
    /// Since when.
    pub since: Instant,
    /// Why this one.
    pub reason: Reason,
}

/// What the owner of a ladder should do or know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The protocol should send a call: its answer shows whether a carrier gets through, and tells the peer of the new way.
    Call,
    /// Another carrier is in use from now on.
    Switched(Carrier),
    /// This carrier got an answer on the network we are in.
    Works(Carrier),
}

/// The state machine. Feed it, then take what [`poll_event`](Self::poll_event) gives, then wait until
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Ladder {
    order: Order,
    standing: Standing,
    https: Https,
    /// Since when HTTPS is needed and not up.
    missing: Option<Instant>,
    /// Something came over the carrier in use since it is in use, on this network.
    heard: bool,
    /// What was sent since something came: the first that asks, and the first that asks at once.
    asked: Option<Instant>,
    called: Option<Instant>,
    /// It was silent for too long, and there is nothing else to use yet.
    stuck: bool,
    probe: Probe,
    interval: Duration,
    linger: Option<Instant>,
    events: VecDeque<Event>,
}

/// Trying the first choice while the second is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// The first choice is in use, or is the only one.
    None,
    /// The next try is then.
    At(Instant),
    /// The next call goes over the first choice alone; given up then.
    Wanted(Instant),
    /// It went; given up then.
    Sent(Instant),
}

impl Order {
    /// One carrier and no other.
    pub const fn only(carrier: Carrier) -> Self {
        Self { first: carrier, second: None }
    }

    /// UDP where it gets through, HTTPS where it does not.
    pub const UDP_FIRST: Self = Self { first: Carrier::Udp, second: Some(Carrier::Https) };
    /// HTTPS as long as it can be had, UDP else.
    pub const HTTPS_FIRST: Self = Self { first: Carrier::Https, second: Some(Carrier::Udp) };

    /// Of a list as a person writes it: one or two, each once.
    pub fn of(list: &[Carrier]) -> Option<Self> {
        match *list {
            [only] => Some(Self::only(only)),
            [first, second] if first != second => Some(Self { first, second: Some(second) }),
            _ => None,
        }
    }

    /// The first choice.
    pub const fn first(self) -> Carrier {
        self.first
    }

    /// Whether this one may be used.
    pub fn has(self, carrier: Carrier) -> bool {
        self.first == carrier || self.second == Some(carrier)
    }
}

impl Ladder {
    /// At the start, on a network on which `remembered` worked before.
    pub fn new(order: Order, remembered: Option<Carrier>, now: Instant) -> Self {
        let standing = Standing { carrier: order.first, since: now, reason: Reason::First };
        let mut ladder = Self {
            order,
            standing,
            https: Https::Down,
            missing: None,
            heard: false,
            asked: None,
            called: None,
            stuck: false,
            probe: Probe::None,
            interval: FIRST_PROBE,
            linger: None,
            events: VecDeque::with_capacity(EVENTS),
        };
        ladder.begin(remembered, now);
        ladder
    }

    /// On a network of which nothing is known but this.
    fn begin(&mut self, remembered: Option<Carrier>, now: Instant) {
        let remembered = remembered.filter(|carrier| self.order.second == Some(*carrier));
        let (carrier, reason) = match (remembered, self.order.second) {
            (Some(carrier), _) => (carrier, Reason::Remembered),
            (None, Some(_)) => (self.order.first, Reason::First),
            (None, None) => (self.order.first, Reason::Only),
        };
        self.standing = Standing { carrier, since: now, reason };
        self.interval = if remembered.is_some() { REMEMBERED_PROBE } else { FIRST_PROBE };
        self.linger = None;
        self.forget();
        self.plan_probe(now);
        self.watch_https(now);
    }

    /// Which carriers may be used, in which order.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Which carrier datagrams go over.
    pub const fn carrier(&self) -> Carrier {
        self.standing.carrier
    }

    /// Which carrier, since when, and why.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether HTTPS should be connected.
    pub fn wants_https(&self) -> bool {
        self.order.has(Carrier::Https)
            && (self.carrier() == Carrier::Https
                || self.order.first == Carrier::Https
                || self.stuck
                || self.linger.is_some())
    }

    /// Whether the next call is to go over the first choice alone, and over which.
    pub fn probing(&self) -> Option<Carrier> {
        let is_there = self.order.first == Carrier::Udp || self.https == Https::Up;
        (is_there && matches!(self.probe, Probe::Wanted(_))).then_some(self.order.first)
    }

    /// Something went over the carrier in use.
    pub fn sent(&mut self, asks: Asks, now: Instant) {
        if asks >= Asks::Something {
            self.asked.get_or_insert(now);
        }
        if asks == Asks::AtOnce {
            self.called.get_or_insert(now);
        }
    }

    /// A call went over the first choice alone, as [`probing`](Self::probing) had it.
    pub fn probed(&mut self, now: Instant) {
        self.probe = Probe::Sent(now + PROBE_ANSWER);
    }

    /// Something came over this carrier.
    pub fn received(&mut self, over: Carrier, now: Instant) {
        if over == self.carrier() {
            self.asked = None;
            self.called = None;
            if self.stuck {
                // It was slow, not gone. What was brought up in its place may go again.
                self.stuck = false;
                self.linger = Some(now + LINGER);
            }
            if !self.heard {
                self.heard = true;
                self.tell(Event::Works(over));
            }
        } else if over == self.order.first && matches!(self.probe, Probe::Sent(_)) {
            self.switch(over, Reason::AnswersAgain, now);
            self.heard = true;
            self.tell(Event::Works(over));
        }
    }

    /// How the HTTPS connection is now.
    pub fn https(&mut self, https: Https, now: Instant) {
        if self.https == https {
            return;
        }
        self.https = https;
        self.watch_https(now);
        match (&self.https, self.carrier()) {
            (Https::Up, Carrier::Udp) if self.stuck => {
                let reason = self.silent_reason();
                self.switch(Carrier::Https, reason, now);
            }
            // It was left because it was not there, or never waited for.
            (Https::Up, Carrier::Udp) if self.order.first == Carrier::Https && self.left_for_want_of_it() => {
                self.switch(Carrier::Https, Reason::AnswersAgain, now);
            }
            // The peer learns of the new connection by what comes over it.
            (Https::Up, Carrier::Https) => self.tell(Event::Call),
            (Https::Refused(why), Carrier::Https) if self.order.has(Carrier::Udp) => {
                let reason = Reason::Refused(why.clone());
                self.switch(Carrier::Udp, reason, now);
            }
            (Https::Up | Https::Down | Https::Refused(_), _) => {}
        }
    }

    /// Other carriers may be used from now on, or in another order. The one in use stays if it may.
    pub fn set_order(&mut self, order: Order, now: Instant) {
        if order == self.order {
            return;
        }
        let before = self.carrier();
        self.order = order;
        let heard = self.heard;
        if order.has(before) && order.first != before && heard {
            // What works goes on; the new first choice is tried soon.
            self.interval = FIRST_PROBE;
            self.plan_probe(now);
            return;
        }
        self.begin(None, now);
        self.heard = heard && self.carrier() == before;
        if self.carrier() != before {
            self.tell(Event::Switched(self.carrier()));
            self.tell(Event::Call);
        }
    }

    /// We are on another network, on which `remembered` worked before.
    pub fn network_changed(&mut self, remembered: Option<Carrier>, now: Instant) {
        let before = self.carrier();
        self.begin(remembered, now);
        if self.carrier() != before {
            self.tell(Event::Switched(self.carrier()));
        }
        self.tell(Event::Call);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.linger) {
            self.linger = None;
        }
        match self.probe {
            Probe::At(at) if at <= now => {
                self.probe = Probe::Wanted(now + PROBE_WAIT);
                self.tell(Event::Call);
            }
            Probe::Wanted(at) | Probe::Sent(at) if at <= now => {
                self.interval = (self.interval * 2).min(LAST_PROBE);
                self.plan_probe(now);
            }
            Probe::None | Probe::At(_) | Probe::Wanted(_) | Probe::Sent(_) => {}
        }
        if due(self.https_deadline()) {
            self.missing = None;
            self.switch(Carrier::Udp, Reason::NotUp, now);
        }
        if due(self.silence_deadline()) {
            self.silent(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Why)> {
        let probe = match self.probe {
            Probe::None => None,
            Probe::At(at) | Probe::Wanted(at) | Probe::Sent(at) => Some(at),
        };
        [
            (self.silence_deadline(), Why("no answer over this carrier")),
            (self.https_deadline(), Why("HTTPS is not up")),
            (probe, Why("trying the first choice")),
            (self.linger, Why("the spare connection ends")),
        ]
        .into_iter()
        .filter_map(|(at, why)| Some((at?, why)))
        .min_by_key(|(at, _)| *at)
    }

    /// What there is to do or know; take until nothing is left.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The carrier in use gave no answer for too long.
    fn silent(&mut self, now: Instant) {
        let reason = self.silent_reason();
        match (self.carrier(), &self.https) {
            (Carrier::Udp, Https::Up) => self.switch(Carrier::Https, reason, now),
            (Carrier::Udp, Https::Down | Https::Refused(_)) => self.stuck = true,
            (Carrier::Https, _) => self.switch(Carrier::Udp, reason, now),
        }
    }

    const fn silent_reason(&self) -> Reason {
        let left = self.carrier();
        if self.heard { Reason::FellSilent(left) } else { Reason::NoAnswer(left) }
    }

    fn switch(&mut self, to: Carrier, reason: Reason, now: Instant) {
        if to == self.carrier() {
            return;
        }
        let held = now.saturating_duration_since(self.standing.since);
        if reason == Reason::AnswersAgain {
            // Kept for when it does not hold.
            self.linger = (to == Carrier::Udp).then_some(now + LINGER);
        } else if self.standing.reason == Reason::AnswersAgain && held < TRUSTED {
            self.interval = (self.interval * 2).min(LAST_PROBE);
        } else if held >= TRUSTED {
            self.interval = FIRST_PROBE;
        }
        self.standing = Standing { carrier: to, since: now, reason };
        self.forget();
        self.plan_probe(now);
        self.watch_https(now);
        self.tell(Event::Switched(to));
        self.tell(Event::Call);
    }

    /// Nothing has been sent or heard yet.
    fn forget(&mut self) {
        self.heard = false;
        self.asked = None;
        self.called = None;
        self.stuck = false;
    }

    fn plan_probe(&mut self, now: Instant) {
        let elsewhere = self.carrier() != self.order.first;
        self.probe = if elsewhere { Probe::At(now + self.interval) } else { Probe::None };
    }

    fn watch_https(&mut self, now: Instant) {
        let missing = self.carrier() == Carrier::Https && self.https != Https::Up;
        self.missing = missing.then(|| self.missing.unwrap_or(now));
    }

    const fn left_for_want_of_it(&self) -> bool {
        matches!(self.standing.reason, Reason::NotUp | Reason::Refused(_))
    }

    fn https_deadline(&self) -> Option<Instant> {
        let since = self.missing.filter(|_| self.order.has(Carrier::Udp))?;
        Some(since + HTTPS_PATIENCE)
    }

    fn silence_deadline(&self) -> Option<Instant> {
        self.order.second?;
        // Over a connection that is not there nothing can be answered: that has its own deadline.
        if self.stuck || self.missing.is_some() {
            return None;
        }
        let first = match self.carrier() {
            Carrier::Udp => FIRST_ANSWER,
            Carrier::Https => FIRST_ANSWER_HTTPS,
        };
        let call = self.called.filter(|_| !self.heard).map(|at| at + first);
        let any = self.asked.map(|at| at + SILENCE);
        call.into_iter().chain(any).min()
    }

    fn tell(&mut self, event: Event) {
        if self.events.contains(&event) {
            return;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Https => "HTTPS",
        })
    }
}

impl fmt::Display for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("not connected"),
            Self::Up => f.write_str("connected"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only transport of this profile"),
            Self::First => f.write_str("the first choice"),
            Self::Remembered => f.write_str("what worked on this network before"),
            Self::NoAnswer(other) => write!(f, "no answer came over {other}"),
            Self::FellSilent(other) => write!(f, "{other} fell silent"),
            Self::NotUp => f.write_str("the HTTPS connection does not come up"),
            Self::Refused(why) => write!(f, "HTTPS is refused: {why}"),
            Self::AnswersAgain => f.write_str("the first choice answers again"),
        }
    }
}

#[cfg(test)]
mod tests;

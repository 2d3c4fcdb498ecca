//! The handshake breaker: hides TLS handshakes inside the tunnel from whoever measures bursts outside.
//!
//! A handshake is four bursts, client, server, client, server, of which at least one has a size that few other exchanges
//! have. The outside sees only encrypted datagrams, and so does this code: it takes an up-burst of the size of a hello,
//! after a pause and while nothing large is going on, for the beginning of one. Most often it is one, or a request,
//! which looks the same and loses nothing by being padded.
//!
//! Client and server follow the same four steps without a message between them: the client's padding of the first burst
//! tells the server. Nothing is ever delayed.
//!
//! Not here: the price (`budget`).

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;

use super::{Role, draw};

/// A burst ends when the other side speaks, or after so long a silence.
const SILENCE: Duration = Duration::from_millis(500);

/// How long after its beginning a handshake is still expected to go on.
const WINDOW: Duration = Duration::from_secs(5);

/// An up-burst of so many bytes of datagrams may hold a ClientHello: from one of TLS 1.2 to one with post-quantum keys.
const HELLO: std::ops::RangeInclusive<usize> = 260..=2_700;

/// A burst larger than this is no part of a handshake: something large is going on …
const FLIGHT_MAX: usize = 16_000;
/// … and for so long after it, what goes up is taken for its acknowledgements.
const LARGE: Duration = Duration::from_secs(1);

/// The first up-burst is filled up to a size drawn from here.
const FIRST_UP: (usize, usize) = (3_400, 6_400);
/// The server answers an up-burst at once with so much, so that the answer does not wait for whoever is beyond it …
const ANSWER: (usize, usize) = (60, 280);
/// … and the client says so much to that, so that the server's two answers are not one burst.
const ECHO: (usize, usize) = (40, 160);
/// The server's flight gets so much more.
const FLIGHT: (usize, usize) = (1_500, 4_000);
/// The client's second burst gets so much more.
const SECOND_UP: (usize, usize) = (1_200, 3_000);
/// The server's second burst gets so much more.
const SECOND_DOWN: (usize, usize) = (600, 2_000);

/// An up-burst with this much padding begins a handshake, as the server sees it.
const TELLING_PADDING: usize = 600;

/// Only up-bursts of this size are answered: less is an acknowledgement.
const ANSWERED: usize = 200;

/// After the server wrote so recently there is nothing to hide in an answer.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);

/// How much padding should go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Padding(usize),
}

/// Where in a handshake this end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// None is going on.
    Idle,
    /// The hello goes up.
    Hello { since: Instant },
    /// The server's flight is awaited, or comes down.
    Flight { since: Instant, padded: bool },
    /// The client's second burst is awaited, or goes up.
    Finish { since: Instant, padded: bool },
    /// The server's second burst is awaited (at the server only).
    Reply { since: Instant },
}

impl Step {
    const fn since(self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Hello { since } | Self::Flight { since, .. } | Self::Finish { since, .. } | Self::Reply { since } => {
                Some(since)
            }
        }
    }
}

/// What flowed in one direction since the other side spoke last, or since a silence.
#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    real: usize,
    padding: usize,
    last: Option<Instant>,
}

impl Burst {
    fn add(&mut self, now: Instant, real: usize, padding: usize) {
        if self.is_over(now) {
            *self = Self::default();
        }
        self.real += real;
        self.padding += padding;
        self.last = Some(now);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= SILENCE)
    }

    fn is_quiet_for(&self, now: Instant, pause: Duration) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= pause)
    }
}

/// One end's view.
#[derive(Debug)]
pub(super) struct Breaker {
    role: Role,
    step: Step,
    /// What we wrote, and what came in, since the direction changed last.
    out: Burst,
    incoming: Burst,
    /// What to send for itself: an answer to a burst, or the echo of an answer.
    owed: usize,
    /// Whether the up-burst that comes in has been answered.
    answered: bool,
    /// Until when something large counts as going on.
    large_until: Option<Instant>,
}

impl Breaker {
    pub(super) const fn new(role: Role) -> Self {
        let nothing = Burst { real: 0, padding: 0, last: None };
        Self { role, step: Step::Idle, out: nothing, incoming: nothing, owed: 0, answered: false, large_until: None }
    }

    /// Something arrived from the other end.
    pub(super) fn handle_incoming(&mut self, now: Instant, real: usize, padding: usize, rng: &mut ChaCha20Rng) {
        self.expire(now);
        let begins = self.incoming.is_over(now) || self.incoming.real + self.incoming.padding == 0;
        if begins {
            self.answered = false;
        }
        self.incoming.add(now, real, padding);
        self.note_size(now, self.incoming.real);
        match self.role {
            Role::Client => self.down_at_client(real, padding, rng),
            Role::Server => self.up_at_server(now, rng),
        }
        if real > 0 || padding > 0 {
            self.out = Burst { last: self.out.last, ..Burst::default() };
        }
    }

    /// How much padding should go with `real` bytes that are about to be written.
    pub(super) fn poll_wish(&mut self, now: Instant, real: usize, rng: &mut ChaCha20Rng) -> Wish {
        self.expire(now);
        let owed = std::mem::take(&mut self.owed);
        let own = match self.role {
            Role::Client => self.up(now, real, rng),
            Role::Server => self.down(real, rng),
        };
        match owed + own {
            0 => Wish::Nothing,
            bytes => Wish::Padding(bytes),
        }
    }

    /// So much was written.
    pub(super) fn wrote(&mut self, now: Instant, real: usize, padding: usize) {
        self.out.add(now, real, padding);
        self.note_size(now, self.out.real);
        self.incoming = Burst { last: self.incoming.last, ..Burst::default() };
    }

    fn expire(&mut self, now: Instant) {
        let over = self.step.since().is_some_and(|since| now.saturating_duration_since(since) >= WINDOW);
        if over {
            self.step = Step::Idle;
        }
    }

    /// A burst has grown to so many bytes.
    fn note_size(&mut self, now: Instant, burst: usize) {
        if burst > FLIGHT_MAX {
            self.large_until = Some(now + LARGE);
            self.step = Step::Idle;
            self.owed = 0;
        }
    }

    fn is_large(&self, now: Instant) -> bool {
        self.large_until.is_some_and(|until| now < until)
    }

    /// The client writes.
    fn up(&mut self, now: Instant, real: usize, rng: &mut ChaCha20Rng) -> usize {
        if real == 0 {
            return 0;
        }
        let burst = if self.out.is_over(now) { real } else { self.out.real + real };
        match self.step {
            Step::Idle if HELLO.contains(&burst) && !self.is_large(now) => {
                self.step = Step::Hello { since: now };
                draw(rng, FIRST_UP.0, FIRST_UP.1).saturating_sub(burst)
            }
            Step::Finish { since, padded: false } if real >= 64 => {
                self.step = Step::Finish { since, padded: true };
                draw(rng, SECOND_UP.0, SECOND_UP.1)
            }
            Step::Idle | Step::Hello { .. } | Step::Flight { .. } | Step::Finish { .. } | Step::Reply { .. } => 0,
        }
    }

    /// The client hears the server.
    fn down_at_client(&mut self, real: usize, padding: usize, rng: &mut ChaCha20Rng) {
        match self.step {
            Step::Hello { since } => {
                if real == 0 && padding > 0 {
                    self.owed = draw(rng, ECHO.0, ECHO.1);
                }
                self.step = Step::Flight { since, padded: false };
            }
            // The flight itself has begun: what goes up next is the client's second burst.
            Step::Flight { since, .. } if self.incoming.real >= 500 => {
                self.step = Step::Finish { since, padded: false };
            }
            // A flight that follows the second burst ends the handshake.
            Step::Finish { padded: true, .. } if real > 0 => self.step = Step::Idle,
            Step::Idle | Step::Flight { .. } | Step::Finish { .. } | Step::Reply { .. } => {}
        }
    }

    /// The server hears the client.
    fn up_at_server(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let telling = self.incoming.padding >= TELLING_PADDING;
        if self.step == Step::Idle && telling && self.incoming.real > 0 {
            self.step = Step::Flight { since: now, padded: false };
        } else if let Step::Flight { since, padded: true } = self.step
            && telling
        {
            self.step = Step::Reply { since };
        }
        let worth = self.incoming.real + self.incoming.padding >= ANSWERED && !self.is_large(now);
        if worth && !self.answered && self.out.is_quiet_for(now, ANSWER_PAUSE) {
            self.answered = true;
            self.owed = draw(rng, ANSWER.0, ANSWER.1);
        }
    }

    /// The server writes.
    fn down(&mut self, real: usize, rng: &mut ChaCha20Rng) -> usize {
        if real < 64 {
            return 0;
        }
        match self.step {
            Step::Flight { since, padded: false } => {
                self.step = Step::Flight { since, padded: true };
                draw(rng, FLIGHT.0, FLIGHT.1)
            }
            Step::Reply { .. } => {
                self.step = Step::Idle;
                draw(rng, SECOND_DOWN.0, SECOND_DOWN.1)
            }
            Step::Idle | Step::Hello { .. } | Step::Flight { .. } | Step::Finish { .. } => 0,
        }
    }
}

//! The only clock in the plane: what time it is, and an alarm.
//!
//! Deadlines of a protocol go on while the machine is suspended (reference W-70), so both are on `CLOCK_BOOTTIME`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Want;
use crate::sys::{Drained, Evented};
use adit_protocol::Now;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

/// Where an engine takes the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's, with the time spent in suspend counted.
    #[default]
    Machine,
    /// Tokio's, which a test can pause and advance; the wall clock starts about a day after the epoch.
    Tokio,
}

impl Clock {
    /// The time now.
    pub fn now(self) -> Now {
        let base = base();
        match self {
            Self::Machine => {
                let awake = boot_time().saturating_sub(base.boot);
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Now { instant: base.instant + awake, unix }
            }
            Self::Tokio => {
                let instant = tokio::time::Instant::now().into_std();
                // A paused clock stands where its runtime was made, which may be before the base was read.
                let (ahead, behind) =
                    (instant.saturating_duration_since(base.instant), base.instant.saturating_duration_since(instant));
                Now { instant, unix: (FAR + ahead).saturating_sub(behind) }
            }
        }
    }
}

/// An `Instant` cannot be made from `CLOCK_BOOTTIME`, so one pair read together carries it over.
struct Base {
    instant: Instant,
    boot: Duration,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| Base { instant: Instant::now(), boot: boot_time() })
}

fn boot_time() -> Duration {
    let t = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// Wakes at a moment of a [`Clock`], or at once after a suspend that it fell into.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    /// When the timer will fire; never later than what is wanted.
    armed: Option<Instant>,
    timer: Timer,
}

#[derive(Debug)]
enum Timer {
    Boot(Evented),
    Tokio(std::pin::Pin<Box<tokio::time::Sleep>>),
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        let timer = match clock {
            Clock::Machine => boot_timer().map_or_else(
                |error| {
                    tracing::debug!(%error, "no timer that runs in suspend: deadlines may come late after one");
                    Timer::tokio()
                },
                |fd| Timer::Boot(Evented::Fresh(fd)),
            ),
            Clock::Tokio => Timer::tokio(),
        };
        Self { clock, armed: None, timer }
    }

    /// Wants to be woken at `at`. Costs a system call only when that is earlier than the timer is set to.
    pub(crate) fn set(&mut self, now: Now, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        let wait = at.saturating_duration_since(now.instant).clamp(Duration::from_nanos(1), FAR);
        match &mut self.timer {
            Timer::Boot(fd) => {
                let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                let spec = Itimerspec { it_interval: zero, it_value: value };
                let set = fd.fd().and_then(|fd| Ok(timerfd_settime(fd, TimerfdTimerFlags::empty(), &spec)?));
                if let Err(error) = set {
                    tracing::debug!(%error, "cannot set the timer");
                    self.timer = Timer::tokio();
                    self.armed = None;
                    return self.set(now, Some(at));
                }
            }
            Timer::Tokio(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + wait),
        }
        self.armed = Some(now.instant + wait);
    }

    /// Ready when the timer has fired, which may be earlier than what is wanted: look at the clock, and set it again.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.is_none() {
            return Poll::Pending;
        }
        match &mut self.timer {
            Timer::Boot(fd) => loop {
                let want = Want { read: true, write: false };
                if ready!(fd.poll_ready(want, cx)).is_err() {
                    break;
                }
                let read = fd.try_read(|fd| {
                    let mut count = [0; 8];
                    Ok((rustix::io::read(fd, &mut count)?, Drained::Yes))
                });
                if !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    break;
                }
            },
            Timer::Tokio(sleep) => ready!(sleep.as_mut().poll(cx)),
        }
        self.armed = None;
        Poll::Ready(())
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }
}

impl Timer {
    fn tokio() -> Self {
        Self::Tokio(Box::pin(tokio::time::sleep(FAR)))
    }
}

/// The longest that the timer is set to: it then fires for nothing, and is set again.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

fn boot_timer() -> rustix::io::Result<OwnedFd> {
    timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_machine_alarm_wakes_and_not_before_its_time() {
        let mut alarm = Alarm::new(Clock::Machine);
        let now = alarm.now();
        alarm.set(now, Some(now.instant + Duration::from_secs(3600)));
        let at = now.instant + Duration::from_millis(5);
        alarm.set(now, Some(at));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert!(alarm.now().instant >= at);
        assert_eq!(alarm.armed, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_test_alarm_follows_virtual_time() {
        let mut alarm = Alarm::new(Clock::Tokio);
        let now = alarm.now();
        alarm.set(now, Some(now.instant + Duration::from_secs(90)));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(alarm.now().unix - now.unix, Duration::from_secs(90));
    }
}

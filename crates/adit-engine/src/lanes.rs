//! Where crypto runs: here and now, or on threads of its own, with the results in the order of the submissions.
//!
//! Work travels with its buffers, a batch at a time, over bounded queues. It goes to the lanes in turn and is taken from
//! them in the same turn, so order needs no sorting. Not here: what the work is (`work`).

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use tokio::sync::Notify;

/// On how many threads an engine seals and opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lanes {
    /// In the engine's own loop on one or two CPUs, on threads where there are more.
    #[default]
    Auto,
    /// In the engine's own loop.
    Inline,
    /// On this many threads for each direction.
    Threads(NonZero<u8>),
}

/// CPUs up to which handing work over costs more than it gives.
const INLINE_CPUS: usize = 2;
/// The most threads for each direction that are started unasked.
const AUTO_THREADS: usize = 8;

impl Lanes {
    /// Threads for each direction; 0 is inline.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Inline => 0,
            Self::Threads(n) => usize::from(n.get()),
            Self::Auto => match thread::available_parallelism().map_or(1, NonZero::get) {
                cpus if cpus <= INLINE_CPUS => 0,
                // The engine's loop wants one CPU, and each lane serves one of two directions.
                cpus => (cpus - 1).div_ceil(2).min(AUTO_THREADS),
            },
        }
    }
}

/// Something to be done to a value on any thread.
pub(crate) trait Work: Send + 'static {
    /// Does it.
    fn run(&mut self);
}

/// Work on its way, in order. At most as many at a time as there are values to submit.
#[derive(Debug)]
pub(crate) enum Pipeline<W> {
    Inline(VecDeque<W>),
    Threads { lanes: Vec<Lane<W>>, submitted: usize, taken: usize },
}

#[derive(Debug)]
pub(crate) struct Lane<W> {
    to: SyncSender<W>,
    from: Receiver<W>,
}

/// A lane's thread has panicked.
#[derive(Debug)]
pub(crate) struct LaneLost;

impl<W: Work> Pipeline<W> {
    /// `done` is told whenever a thread has finished something.
    pub(crate) fn new(threads: usize, name: &str, done: &Arc<Notify>) -> io::Result<Self> {
        if threads == 0 {
            return Ok(Self::Inline(VecDeque::new()));
        }
        let lanes = (0..threads).map(|number| Lane::start(format!("{name}-{number}"), Arc::clone(done)));
        Ok(Self::Threads { lanes: lanes.collect::<io::Result<_>>()?, submitted: 0, taken: 0 })
    }

    /// Values that may be on their way at a time, with one to fill meanwhile.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Inline(_) => 1,
            Self::Threads { lanes, .. } => lanes.len() + 1,
        }
    }

    /// Sends a value on its way.
    pub(crate) fn submit(&mut self, mut work: W) -> Result<(), LaneLost> {
        match self {
            Self::Inline(done) => {
                work.run();
                done.push_back(work);
                Ok(())
            }
            Self::Threads { lanes, submitted, .. } => {
                let lane = *submitted % lanes.len();
                *submitted += 1;
                // The queue of a lane has room for every value there is.
                lanes[lane].to.try_send(work).map_err(|_| LaneLost)
            }
        }
    }

    /// The value that was submitted first, if it is done.
    pub(crate) fn take(&mut self) -> Result<Option<W>, LaneLost> {
        match self {
            Self::Inline(done) => Ok(done.pop_front()),
            Self::Threads { lanes, submitted, taken } => {
                if taken == submitted {
                    return Ok(None);
                }
                match lanes[*taken % lanes.len()].from.try_recv() {
                    Ok(work) => {
                        *taken += 1;
                        Ok(Some(work))
                    }
                    Err(TryRecvError::Empty) => Ok(None),
                    Err(TryRecvError::Disconnected) => Err(LaneLost),
                }
            }
        }
    }
}

impl<W: Work> Lane<W> {
    fn start(name: String, done: Arc<Notify>) -> io::Result<Self> {
        let (to, work) = sync_channel::<W>(QUEUE);
        let (back, from) = sync_channel(QUEUE);
        thread::Builder::new().name(name).spawn(move || {
            // Tells also when the thread unwinds, after the way back is closed, so that the loss is noticed.
            let _tell = Tell(Arc::clone(&done));
            let back = back;
            for mut item in work {
                item.run();
                if back.send(item).is_err() {
                    break;
                }
                done.notify_one();
            }
        })?;
        Ok(Self { to, from })
    }
}

/// Values in the queue of one lane: never reached, since a pipeline has one more value than lanes.
const QUEUE: usize = 4;

struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Square(u64, Duration);

    impl Work for Square {
        fn run(&mut self) {
            assert!(self.0 != 13, "unlucky");
            thread::sleep(self.1);
            self.0 *= self.0;
        }
    }

    #[tokio::test]
    async fn results_come_in_the_order_of_submission_however_long_each_takes() {
        for threads in [0, 1, 3] {
            let done = Arc::new(Notify::new());
            let mut pipeline = Pipeline::new(threads, "test", &done).unwrap();
            let mut seen = Vec::new();
            let mut next = 20;
            while seen.len() < 60 {
                while next < 80 && next - 20 - seen.len() < pipeline.depth() {
                    let slow = Duration::from_millis(if next % 3 == 0 { 3 } else { 0 });
                    pipeline.submit(Square(next as u64, slow)).unwrap();
                    next += 1;
                }
                match pipeline.take().unwrap() {
                    Some(work) => seen.push(work.0),
                    None => done.notified().await,
                }
            }
            assert_eq!(seen, (20..80).map(|n| n * n).collect::<Vec<u64>>(), "{threads} threads");
        }
    }

    #[tokio::test]
    async fn a_lane_that_panics_is_noticed() {
        let done = Arc::new(Notify::new());
        let mut pipeline = Pipeline::new(2, "test", &done).unwrap();
        pipeline.submit(Square(13, Duration::ZERO)).unwrap();
        let lost = loop {
            match pipeline.take() {
                Ok(_) => done.notified().await,
                Err(LaneLost) => break true,
            }
        };
        assert!(lost);
    }

    #[test]
    fn threads_are_asked_for_by_number() {
        assert_eq!(Lanes::Inline.threads(), 0);
        assert_eq!(Lanes::Threads(NonZero::new(3).unwrap()).threads(), 3);
    }
}

//! A batch of crypto with its buffers: what runs inline, or travels to a lane and back.
//!
//! Not here: who decides what is to be done (`conductor`), where it runs (`lanes`).

use std::mem;
use std::ops::Range;

use adit_protocol::{Open, Opening, Seal, Sealing};
use arrayvec::ArrayVec;

use crate::lanes::Work;
use crate::{RecvBatch, SendArena};

/// Jobs given to the AEAD at a time: enough for any that works on many packets at once, small enough for the stack.
const AT_ONCE: usize = 64;

/// Laid-out datagrams in an arena, and the jobs that seal them.
#[derive(Debug)]
pub(crate) struct SealWork<S> {
    pub(crate) arena: SendArena,
    /// In the order of their ranges.
    jobs: Vec<(S, Range<usize>)>,
}

/// Received datagrams, and the jobs that open them.
#[derive(Debug)]
pub(crate) struct OpenWork<O: Open> {
    pub(crate) batch: RecvBatch,
    /// In the order of their slots.
    pub(crate) jobs: Vec<(O, usize)>,
    /// What became of each job, by slot, in the same order.
    pub(crate) outcomes: Vec<(usize, Option<O::Opened>)>,
}

impl<S: Seal> SealWork<S> {
    pub(crate) fn new(arena: SendArena) -> Self {
        Self { arena, jobs: Vec::new() }
    }

    /// This range of the arena has been laid out, behind all before it.
    pub(crate) fn push(&mut self, job: S, range: Range<usize>) {
        self.jobs.push((job, range));
    }
}

impl<S: Seal> Work for SealWork<S> {
    /// Seals everything.
    fn run(&mut self) {
        let (mut rest, mut at) = (self.arena.slab_mut(), 0);
        let mut jobs = self.jobs.drain(..);
        while jobs.len() > 0 {
            let mut batch: ArrayVec<Sealing<'_, S>, AT_ONCE> = ArrayVec::new();
            for (job, range) in jobs.by_ref().take(AT_ONCE) {
                batch.push(Sealing { job, datagram: cut(&mut rest, &mut at, range) });
            }
            S::seal_batch(&mut batch);
        }
    }
}

impl<O: Open> OpenWork<O> {
    pub(crate) fn new(batch: RecvBatch) -> Self {
        Self { batch, jobs: Vec::new(), outcomes: Vec::new() }
    }
}

impl<O: Open> Work for OpenWork<O> {
    /// Opens everything.
    fn run(&mut self) {
        let (mut rest, mut at) = (&mut self.batch.slab[..], 0);
        let slots = &self.batch.slots;
        let mut jobs = self.jobs.drain(..);
        while jobs.len() > 0 {
            let mut batch: ArrayVec<Opening<'_, O>, AT_ONCE> = ArrayVec::new();
            let mut numbers: ArrayVec<usize, AT_ONCE> = ArrayVec::new();
            for (job, slot) in jobs.by_ref().take(AT_ONCE) {
                batch.push(Opening::new(job, cut(&mut rest, &mut at, slots[slot].body.range())));
                numbers.push(slot);
            }
            O::open_batch(&mut batch);
            self.outcomes.extend(numbers.into_iter().zip(batch.into_iter().map(|entry| entry.outcome)));
        }
    }
}

/// Cuts a range out of a slab whose bytes before `at` have already been given away. Ranges come in order, apart.
fn cut<'a>(rest: &mut &'a mut [u8], at: &mut usize, range: Range<usize>) -> &'a mut [u8] {
    let (_, behind) = mem::take(rest).split_at_mut(range.start - *at);
    let (wanted, behind) = behind.split_at_mut(range.len());
    *rest = behind;
    *at = range.end;
    wanted
}

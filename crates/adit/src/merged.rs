//! Two protocols on one inside: each packet is whose the address is that it goes to, each datagram whose the carrier is that it
//! came over. Why it is so: docs/adr/0005-two-protocols-one-tun.md.
//!
//! Batches stay batches: what belongs to either is gathered on the stack, and given to its cipher at once. Not here: which
//! protocols these are (`tunnel`), how their carriers are one outside (`adit_engine::Beside`).

use std::fmt;
use std::net::IpAddr;

use adit_protocol::{
    Admission, Delivery, Drops, Inbound, IpPacket, LinkId, Now, Open, Opening, Outbound, Output, Path, Protocol, Seal,
    Sealing,
};
use arrayvec::ArrayVec;

/// Jobs given to one protocol's cipher at a time: as many as the engine gives at most.
const AT_ONCE: usize = 64;

/// A protocol that knows which addresses inside are its own at the moment.
pub trait Owns: Protocol {
    /// Whether packets to this address are for it.
    fn owns(&self, address: IpAddr) -> bool;
}

/// The protocol `A`, and `B` with a carrier of its own. What is not `B`'s is `A`'s.
#[derive(Debug)]
pub struct Merged<A, B> {
    first: A,
    second: B,
    /// The carrier of `second`: none of the other's has this number.
    link: LinkId,
}

/// What is of one protocol or of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

/// A job of either, until it is given to its cipher.
pub struct EitherJob<A, B>(Option<Either<A, B>>);

impl<A, B> Merged<A, B> {
    /// Both; what comes over `link` is for `second`.
    pub const fn new(first: A, second: B, link: LinkId) -> Self {
        Self { first, second, link }
    }

    /// The one.
    pub const fn first(&self) -> &A {
        &self.first
    }

    /// The one.
    pub const fn first_mut(&mut self) -> &mut A {
        &mut self.first
    }

    /// The other.
    pub const fn second_mut(&mut self) -> &mut B {
        &mut self.second
    }
}

impl<A: Protocol, B: Owns> Protocol for Merged<A, B> {
    type Seal = EitherJob<A::Seal, B::Seal>;
    type Open = EitherJob<A::Open, B::Open>;
    type Change = Either<A::Change, B::Change>;
    type Event = Either<A::Event, B::Event>;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<Self::Seal> {
        if self.second.owns(packet.destination()) {
            outbound(self.second.plan_outbound(now, packet), EitherJob::second)
        } else {
            outbound(self.first.plan_outbound(now, packet), EitherJob::first)
        }
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<Self::Open> {
        if from.link == self.link {
            inbound(self.second.plan_inbound(now, from, datagram), EitherJob::second)
        } else {
            inbound(self.first.plan_inbound(now, from, datagram), EitherJob::first)
        }
    }

    fn commit_inbound(
        &mut self,
        now: Now,
        opened: Either<<A::Open as Open>::Opened, <B::Open as Open>::Opened>,
        datagram: &[u8],
    ) -> Delivery {
        match opened {
            Either::First(opened) => self.first.commit_inbound(now, opened, datagram),
            Either::Second(opened) => self.second.commit_inbound(now, opened, datagram),
        }
    }

    /// Both are asked: each lets pass what is not its own.
    fn admit_inbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Admission {
        match self.first.admit_inbound(now, packet) {
            Admission::Pass => self.second.admit_inbound(now, packet),
            other @ (Admission::Kept | Admission::Drop(_)) => other,
        }
    }

    fn poll_inside(&mut self, now: Now) -> Option<&[u8]> {
        match self.first.poll_inside(now) {
            Some(packet) => Some(packet),
            None => self.second.poll_inside(now),
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.first.handle_timeout(now);
        self.second.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        let (at, why) = match output(self.first.poll_output(now), EitherJob::first, Either::First) {
            Ok(output) => return output,
            Err(deadline) => deadline,
        };
        match output(self.second.poll_output(now), EitherJob::second, Either::Second) {
            Ok(output) => output,
            Err((Some(other), why)) if at.is_none_or(|at| other < at) => Output::Timeout(Some(other), why),
            Err(_) => Output::Timeout(at, why),
        }
    }

    fn apply(&mut self, now: Now, change: Self::Change) {
        match change {
            Either::First(change) => self.first.apply(now, change),
            Either::Second(change) => self.second.apply(now, change),
        }
    }

    fn drops(&self) -> Drops {
        let mut drops = self.first.drops();
        drops.merge(&self.second.drops());
        drops
    }

    fn overhead(&self) -> usize {
        self.first.overhead().max(self.second.overhead())
    }
}

fn outbound<J, E>(outbound: Outbound<J>, either: impl FnOnce(J) -> E) -> Outbound<E> {
    match outbound {
        Outbound::Seal { job, to } => Outbound::Seal { job: either(job), to },
        Outbound::Staged => Outbound::Staged,
        Outbound::Drop(reason) => Outbound::Drop(reason),
    }
}

fn inbound<J, E>(inbound: Inbound<J>, either: impl FnOnce(J) -> E) -> Inbound<E> {
    match inbound {
        Inbound::Open(job) => Inbound::Open(either(job)),
        Inbound::Handled => Inbound::Handled,
        Inbound::Drop(reason) => Inbound::Drop(reason),
    }
}

/// When there is no more to do, when there will be.
type Deadline = (Option<std::time::Instant>, adit_protocol::Why);

fn output<P: Protocol, M: Protocol>(
    output: Output<P>,
    job_of: impl FnOnce(P::Seal) -> M::Seal,
    event_of: impl FnOnce(P::Event) -> M::Event,
) -> Result<Output<M>, Deadline> {
    Ok(match output {
        Output::Transmit { to, datagram, tos } => Output::Transmit { to, datagram, tos },
        Output::Seal { job, to, packet } => Output::Seal { job: job_of(job), to, packet },
        Output::Event(event) => Output::Event(event_of(event)),
        Output::Timeout(at, why) => return Err((at, why)),
    })
}

impl<A, B> EitherJob<A, B> {
    const fn first(job: A) -> Self {
        Self(Some(Either::First(job)))
    }

    const fn second(job: B) -> Self {
        Self(Some(Either::Second(job)))
    }

    fn take_first(&mut self) -> Option<A> {
        match self.0.take()? {
            Either::First(job) => Some(job),
            second @ Either::Second(_) => {
                self.0 = Some(second);
                None
            }
        }
    }

    fn take_second(&mut self) -> Option<B> {
        match self.0.take()? {
            Either::Second(job) => Some(job),
            first @ Either::First(_) => {
                self.0 = Some(first);
                None
            }
        }
    }
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for EitherJob<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Seal, B: Seal> Seal for EitherJob<A, B> {
    #[inline]
    fn wire_len(&self, packet_len: usize) -> usize {
        match &self.0 {
            Some(Either::First(job)) => job.wire_len(packet_len),
            Some(Either::Second(job)) => job.wire_len(packet_len),
            None => 0,
        }
    }

    #[inline]
    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]) {
        match &self.0 {
            Some(Either::First(job)) => job.lay_out(packet, datagram),
            Some(Either::Second(job)) => job.lay_out(packet, datagram),
            None => {}
        }
    }

    /// Numbers are given already, so the order in which they are sealed is of no matter.
    fn seal_batch(batch: &mut [Sealing<'_, Self>]) {
        seal_those(batch, Self::take_first);
        seal_those(batch, Self::take_second);
    }
}

/// Seals the jobs that `take` takes, together.
fn seal_those<E, J: Seal>(batch: &mut [Sealing<'_, E>], take: impl Fn(&mut E) -> Option<J>) {
    for chunk in batch.chunks_mut(AT_ONCE) {
        let taken = chunk.iter_mut().filter_map(|entry| {
            let job = take(&mut entry.job)?;
            Some(Sealing { job, datagram: &mut *entry.datagram })
        });
        let mut own: ArrayVec<Sealing<'_, J>, AT_ONCE> = taken.collect();
        if !own.is_empty() {
            J::seal_batch(&mut own);
        }
    }
}

impl<A: Open, B: Open> Open for EitherJob<A, B> {
    type Opened = Either<A::Opened, B::Opened>;

    fn open_batch(batch: &mut [Opening<'_, Self>]) {
        open_those(batch, Self::take_first, Either::First);
        open_those(batch, Self::take_second, Either::Second);
        // Whose cipher it was, each job has been taken by it.
        batch.iter_mut().for_each(|entry| entry.job = None);
    }
}

/// Opens the jobs that `take` takes, together.
fn open_those<E: Open, J: Open>(
    batch: &mut [Opening<'_, E>],
    take: impl Fn(&mut E) -> Option<J>,
    either: impl Fn(J::Opened) -> E::Opened,
) {
    for chunk in batch.chunks_mut(AT_ONCE) {
        let mut own: ArrayVec<Opening<'_, J>, AT_ONCE> = ArrayVec::new();
        let mut outcomes: ArrayVec<&mut Option<E::Opened>, AT_ONCE> = ArrayVec::new();
        for entry in chunk {
            let Some(job) = entry.job.as_mut().and_then(&take) else { continue };
            own.push(Opening::new(job, &mut *entry.datagram));
            outcomes.push(&mut entry.outcome);
        }
        if own.is_empty() {
            continue;
        }
        J::open_batch(&mut own);
        for (outcome, entry) in outcomes.into_iter().zip(own) {
            *outcome = entry.outcome.map(&either);
        }
    }
}

#[cfg(test)]
mod tests;

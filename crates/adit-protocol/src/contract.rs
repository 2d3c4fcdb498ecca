//! The contract of a core: plan, run, commit, poll.
//!
//! A *core* is one protocol's state machine. It is driven by whoever owns sockets and a clock (the engine, a simulator,
//! a fuzzer), and does nothing by itself: bytes and [`Now`] go in; bytes, events and the next deadline come out.
//!
//! The costly part, the AEAD, is taken out of the core as a *job*: [`Protocol::plan_outbound`] and
//! [`Protocol::plan_inbound`] hand out jobs with their counters already given, so that any thread may run them
//! ([`Seal::seal_batch`], [`Open::open_batch`]); [`Protocol::commit_inbound`] takes the opened ones back, in order.
//!
//! Who counts drops: a core counts what it decides itself, also what it returns as `Drop(reason)`, and shows the sums in
//! [`Protocol::drops`]. The driver counts only what the core never hears of: forged datagrams and its own full queues.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::{DropReason, Drops, IpPacket, Path};

/// A moment, as the driver of a core read it: once a batch, from the only clock in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes back and runs while the machine is suspended. All deadlines are on it.
    pub instant: Instant,
    /// The wall clock, as time since the Unix epoch. May jump; used for timestamps a peer or a person sees.
    pub unix: Duration,
}

/// One protocol's state machine.
///
/// After any call but [`poll_output`](Self::poll_output) and the read-only ones, call `poll_output` until it answers
/// [`Output::Timeout`]; only then wait. Several `plan_*`/`commit_*` calls may go before one such drain.
pub trait Protocol: Sized + Send + 'static {
    /// Work that turns one plain packet into one datagram, without the core.
    type Seal: Seal;
    /// Work that turns one datagram into one plain packet, without the core.
    type Open: Open;
    /// Reconfiguration, and answers to questions asked by an event.
    type Change: Send + 'static;
    /// News for the owner.
    type Event: Send + 'static;

    /// A packet from the inside: whose is it, and with which key and number does it leave?
    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<Self::Seal>;

    /// A datagram from the outside: what is it, and with which key is it opened?
    ///
    /// `datagram` is mutable because a dialect takes its disguise off in place.
    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<Self::Open>;

    /// A datagram that proved authentic: is it new, who moved, and may it say what it says?
    ///
    /// `datagram` is the whole buffer the job was planned for, opened in place.
    fn commit_inbound(&mut self, now: Now, opened: <Self::Open as Open>::Opened, datagram: &[u8]) -> Delivery;

    /// A packet that was delivered, its congestion mark settled, is about to enter the inside: now, later, or never?
    ///
    /// A core that only protects lets all pass.
    fn admit_inbound(&mut self, _now: Now, _packet: &IpPacket<'_>) -> Admission {
        Admission::Pass
    }

    /// The next packet that the core kept at [`admit_inbound`](Self::admit_inbound), or that came in several datagrams, and
    /// that may enter the inside now. Asked for when the inside has room, before each drain of [`poll_output`](Self::poll_output).
    fn poll_inside(&mut self, _now: Now) -> Option<&[u8]> {
        None
    }

    /// The deadline given by the last [`Output::Timeout`] has come. Calling early or late is harmless.
    fn handle_timeout(&mut self, now: Now);

    /// What there is to do, one thing at a time, [`Output::Timeout`] always last.
    fn poll_output(&mut self, now: Now) -> Output<Self>;

    /// Changes the configuration, or answers a question.
    fn apply(&mut self, now: Now, change: Self::Change);

    /// What the core has dropped so far, by reason.
    fn drops(&self) -> Drops;

    /// The most bytes that the protocol adds to a plain packet of the inside MTU (headers, tag; not UDP or IP).
    fn overhead(&self) -> usize;
}

/// What [`Protocol::plan_outbound`] says of a packet.
#[derive(Debug)]
pub enum Outbound<J> {
    /// Lay it out and seal it, then send it along `to`.
    Seal {
        /// The work, its counter already given: datagrams must leave in the order of planning.
        job: J,
        /// Where the datagram goes.
        to: Path,
    },
    /// The core has kept a copy, until there is a key or because it sends it in several datagrams; nothing to do.
    Staged,
    /// Dropped and counted.
    Drop(DropReason),
}

/// What [`Protocol::plan_inbound`] says of a datagram.
#[derive(Debug)]
pub enum Inbound<J> {
    /// Open it, and commit it if it was authentic.
    Open(J),
    /// The core has dealt with it (a handshake); an answer, if any, is in [`Protocol::poll_output`].
    Handled,
    /// Dropped and counted.
    Drop(DropReason),
}

/// What [`Protocol::commit_inbound`] says of an opened datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// This range of the datagram is an inner packet for the inside.
    Packet(Range<usize>),
    /// Authentic, and nothing to deliver (a keepalive, a control message).
    Nothing,
    /// Dropped and counted.
    Drop(DropReason),
}

/// What [`Protocol::admit_inbound`] says of a plain packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It enters now.
    Pass,
    /// The core has kept a copy; it comes back from [`Protocol::poll_inside`].
    Kept,
    /// Dropped and counted.
    Drop(DropReason),
}

/// One thing that a core wants done.
pub enum Output<P: Protocol> {
    /// Send these bytes as they are.
    Transmit {
        /// Where to.
        to: Path,
        /// The whole datagram.
        datagram: Vec<u8>,
        /// Differentiated services and ECN byte of the outer header (0x88 for WireGuard's handshakes).
        tos: u8,
    },
    /// Seal this packet, which the core had kept, and send it, like one just planned.
    Seal {
        /// The work.
        job: P::Seal,
        /// Where the datagram goes.
        to: Path,
        /// The plain packet; empty for a keepalive.
        packet: Vec<u8>,
    },
    /// News.
    Event(P::Event),
    /// Nothing more to do until then (`None`: until somebody calls), and why.
    Timeout(Option<Instant>, Why),
}

/// Without what a packet or datagram holds: it may be somebody's plain text.
impl<P: Protocol> fmt::Debug for Output<P>
where
    P::Seal: fmt::Debug,
    P::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit { to, datagram, tos } => {
                f.debug_struct("Transmit").field("to", to).field("datagram", &datagram.len()).field("tos", tos).finish()
            }
            Self::Seal { job, to, packet } => {
                f.debug_struct("Seal").field("job", job).field("to", to).field("packet", &packet.len()).finish()
            }
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Timeout(at, why) => f.debug_tuple("Timeout").field(at).field(why).finish(),
        }
    }
}

/// Why a deadline was set, in the words of the protocol's specification. Shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Why(pub &'static str);

/// Sealing work: pure, holds its key and counter, runs on any thread.
pub trait Seal: Send + 'static {
    /// Length of the datagram that a plain packet of `packet_len` bytes becomes.
    fn wire_len(&self, packet_len: usize) -> usize;

    /// Writes header, packet and padding where they will be sealed. `datagram` has [`wire_len`](Self::wire_len) bytes
    /// and may hold anything before. `packet` is `None` for a message without one (a keepalive).
    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]);

    /// Encrypts laid-out datagrams in place, several at once where the machine can. Cannot fail.
    fn seal_batch(batch: &mut [Sealing<'_, Self>])
    where
        Self: Sized;
}

/// One entry of [`Seal::seal_batch`].
pub struct Sealing<'a, J> {
    /// The work.
    pub job: J,
    /// The laid-out datagram.
    pub datagram: &'a mut [u8],
}

/// Opening work: pure, holds its key and counter, runs on any thread.
pub trait Open: Send + 'static {
    /// Proof that a datagram was authentic; only [`Open::open_batch`] makes one.
    type Opened: Send + 'static;

    /// Authenticates and decrypts datagrams in place, several at once where the machine can. Each entry's job is taken,
    /// and its outcome set if it was authentic.
    fn open_batch(batch: &mut [Opening<'_, Self>])
    where
        Self: Sized;
}

/// One entry of [`Open::open_batch`].
pub struct Opening<'a, J: Open> {
    /// The work; taken by `open_batch`.
    pub job: Option<J>,
    /// The datagram, decrypted in place on success, of no meaning after a failure.
    pub datagram: &'a mut [u8],
    /// `Some` when the datagram was authentic.
    pub outcome: Option<J::Opened>,
}

impl<'a, J: Open> Opening<'a, J> {
    /// An entry that has not been run.
    pub fn new(job: J, datagram: &'a mut [u8]) -> Self {
        Self { job: Some(job), datagram, outcome: None }
    }
}

/// Without the bytes.
impl<J: fmt::Debug> fmt::Debug for Sealing<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("job", &self.job).field("datagram", &self.datagram.len()).finish()
    }
}

/// Without the bytes.
impl<J: Open + fmt::Debug> fmt::Debug for Opening<'_, J>
where
    J::Opened: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("job", &self.job)
            .field("datagram", &self.datagram.len())
            .field("outcome", &self.outcome)
            .finish()
    }
}

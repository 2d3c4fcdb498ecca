//! UDP and HTTPS as one outside with one path: each datagram goes over the carrier that the ladder says.
//!
//! Not here: which carrier that is, and why (`ladder`); several peers by several carriers (`adit_engine::Links`).

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use crate::ladder::{Asks, Carrier, Event, Https, Ladder, Order, Reason};
use crate::ladder_memory::Memory;

/// Requests that may wait.
const REQUESTS: usize = 8;
/// The longest call that is kept, to be sent again over another carrier.
const MAX_CALL: usize = 512;
/// A call that waited longer for its answer is not sent again: the protocol has made another.
const CALL_LIVES: std::time::Duration = std::time::Duration::from_secs(8);

/// The outside of a client that has both carriers.
#[derive(Debug)]
pub struct LadderLink<U, H> {
    udp: U,
    https: H,
    ladder: Ladder,
    asks: fn(&[u8]) -> Asks,
    /// How HTTPS is.
    state: watch::Receiver<Https>,
    /// Whether it should be connected.
    wanted: watch::Sender<bool>,
    requests: mpsc::Receiver<Request>,
    /// Kept so that the channel never closes.
    _control: mpsc::Sender<Request>,
    shown: watch::Sender<Shown>,
    calls: watch::Sender<u64>,
    /// Which network we are in, as the owner names it.
    network: Option<String>,
    memory: watch::Sender<Memory>,
    /// Where the peer is: what comes over UDP from elsewhere is no answer.
    peer: Option<SocketAddr>,
    /// The last call that was not answered: sent again when the carrier changes.
    call: Option<(Instant, adit_protocol::Path, u8, Vec<u8>)>,
    /// For single datagrams that go another way than the rest.
    aside: SendArena,
    https_first: bool,
}

/// The HTTPS side as the ladder sees it.
#[derive(Debug)]
pub struct HttpsSide {
    /// How it is.
    pub state: watch::Receiver<Https>,
    /// Told whether it should be connected.
    pub wanted: watch::Sender<bool>,
}

/// How a [`LadderLink`] is made.
#[derive(Debug)]
pub struct LadderOptions {
    /// Which carriers, in which order.
    pub order: Order,
    /// Whether a datagram will be answered; knows the protocol.
    pub asks: fn(&[u8]) -> Asks,
    /// The network we are in, if it can be told from others.
    pub network: Option<String>,
    /// What worked where.
    pub memory: Memory,
}

/// What a ladder shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The carrier in use.
    pub carrier: Carrier,
    /// Since when.
    pub since: Instant,
    /// Why this one.
    pub reason: Reason,
    /// How HTTPS is.
    pub https: Https,
    /// Which carriers there are, in which order.
    pub order: Order,
}

/// Reaches a [`LadderLink`] that an engine owns.
#[derive(Debug, Clone)]
pub struct LadderControl {
    requests: mpsc::Sender<Request>,
    shown: watch::Receiver<Shown>,
    calls: watch::Receiver<u64>,
    memory: watch::Receiver<Memory>,
}

#[derive(Debug)]
enum Request {
    Network(Option<String>),
    Order(Order, oneshot::Sender<()>),
}

impl<U: DatagramIo, H: DatagramIo> LadderLink<U, H> {
    /// Both as one.
    pub fn new(udp: U, https: H, side: HttpsSide, options: LadderOptions) -> (Self, LadderControl) {
        let LadderOptions { order, asks, network, memory } = options;
        let remembered = network.as_deref().and_then(|network| memory.of(network));
        let ladder = Ladder::new(order, remembered, now());
        let (control, requests) = mpsc::channel(REQUESTS);
        let (shown, shown_now) = watch::channel(Shown::of(&ladder, &side.state.borrow(), order));
        let (calls, calls_now) = watch::channel(0);
        let (memory, memory_now) = watch::channel(memory);
        let link = Self {
            udp,
            https,
            ladder,
            asks,
            state: side.state,
            wanted: side.wanted,
            requests,
            _control: control.clone(),
            shown,
            calls,
            network,
            memory,
            peer: None,
            call: None,
            aside: SendArena::with_capacity(4 * MAX_CALL),
            https_first: false,
        };
        (link, LadderControl { requests: control, shown: shown_now, calls: calls_now, memory: memory_now })
    }

    /// Does what the ladder wants done, and shows how it stands.
    fn settle(&mut self, now: Instant) {
        self.ladder.handle_timeout(now);
        while let Some(event) = self.ladder.poll_event() {
            match event {
                Event::Call => self.calls.send_modify(|calls| *calls += 1),
                Event::Switched(carrier) => {
                    tracing::debug!(%carrier, reason = %self.ladder.standing().reason, "another carrier");
                    self.call_again(carrier, now);
                }
                Event::Works(carrier) => self.remember(carrier),
            }
        }
        let wanted = self.ladder.wants_https();
        self.wanted.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        let shown = Shown::of(&self.ladder, &self.state.borrow(), self.ladder.order());
        self.shown.send_if_modified(|now| {
            let changes = *now != shown;
            if changes {
                *now = shown;
            }
            changes
        });
    }

    fn remember(&self, carrier: Carrier) {
        let Some(network) = &self.network else { return };
        self.memory.send_if_modified(|memory| memory.learn(network, carrier));
    }

    /// The call that nobody answered goes over the new carrier.
    fn call_again(&mut self, carrier: Carrier, now: Instant) {
        let young = self.call.take().filter(|(at, ..)| now.saturating_duration_since(*at) < CALL_LIVES);
        let Some((_, to, tos, datagram)) = young else { return };
        self.ladder.sent(Asks::AtOnce, now);
        self.send_aside(carrier, to, tos, &datagram);
    }

    /// Sends one datagram over this carrier, or loses it.
    fn send_aside(&mut self, carrier: Carrier, to: adit_protocol::Path, tos: u8, datagram: &[u8]) {
        // Empty between two calls of this, and larger than any call.
        let _fits = self.aside.push(to, tos, datagram);
        let sent = match carrier {
            Carrier::Udp => self.udp.try_send(&mut self.aside),
            Carrier::Https => self.https.try_send(&mut self.aside),
        };
        if let Err(error) = sent {
            tracing::trace!(%error, "a call was not sent");
        }
        while !self.aside.is_empty() {
            self.aside.refuse_front();
        }
    }

    /// Looks at what is to be sent: whether it asks. A call is kept.
    fn look_at(&mut self, out: &SendArena, now: Instant) {
        let mut most = Asks::Nothing;
        for run in out.waiting() {
            let first = first_of(&run);
            let asks = (self.asks)(first);
            if asks == Asks::AtOnce && first.len() <= MAX_CALL {
                self.call = Some((now, run.to, run.tos, first.to_vec()));
            }
            most = most.max(asks);
            self.peer = Some(run.to.remote);
        }
        self.ladder.sent(most, now);
    }

    /// If the first choice is to be tried: sends everything before the first call, then that call over the first choice.
    fn try_probe(&mut self, out: &mut SendArena, now: Instant) -> io::Result<()> {
        let Some(first_choice) = self.ladder.probing() else { return Ok(()) };
        let is_call = |datagram: &[u8]| (self.asks)(datagram) == Asks::AtOnce && datagram.len() <= MAX_CALL;
        let Some(before) = out.waiting().position(|run| is_call(first_of(&run))) else { return Ok(()) };
        if before > 0 {
            match self.ladder.carrier() {
                Carrier::Udp => out.first_runs(before, |out| self.udp.try_send(out)),
                Carrier::Https => out.first_runs(before, |out| self.https.try_send(out)),
            }?;
        }
        // What was not taken stays before the call, which then waits too.
        let Some(run) = out.front().filter(|run| is_call(first_of(run))) else { return Ok(()) };
        let (to, tos, datagram) = (run.to, run.tos, first_of(&run).to_vec());
        out.sent(datagram.len());
        self.send_aside(first_choice, to, tos, &datagram);
        self.ladder.probed(now);
        Ok(())
    }

    fn obey(&mut self, request: Request, now: Instant) {
        match request {
            // One that cannot be told from others may be the same.
            Request::Network(None) => {}
            Request::Network(Some(network)) => {
                let remembered = self.memory.borrow().of(&network);
                if self.network.replace(network.clone()).is_some_and(|before| before != network) {
                    self.ladder.network_changed(remembered, now);
                }
            }
            Request::Order(order, done) => {
                self.ladder.set_order(order, now);
                let _gone = done.send(());
            }
        }
    }
}

/// What brought [`LadderLink::ready`] back.
enum Wake {
    Ready(io::Result<Ready>),
    Request(Request),
    Look,
}

impl<U: DatagramIo, H: DatagramIo> DatagramIo for LadderLink<U, H> {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            let https = self.state.borrow_and_update().clone();
            self.ladder.https(https, now());
            self.settle(now());
            let on_udp = self.ladder.carrier() == Carrier::Udp;
            let (for_udp, for_https) =
                (Want { write: want.write && on_udp, ..want }, Want { write: want.write && !on_udp, ..want });
            let due = self.ladder.poll_timeout().map(|(at, _)| at);
            let wake = tokio::select! {
                ready = self.udp.ready(for_udp) => Wake::Ready(ready),
                ready = self.https.ready(for_https) => Wake::Ready(ready),
                Some(request) = self.requests.recv() => Wake::Request(request),
                // An end of HTTPS for good leaves its last state to see.
                Ok(()) = self.state.changed() => Wake::Look,
                () = wait_until(due) => Wake::Look,
            };
            match wake {
                Wake::Ready(ready) => return ready,
                Wake::Request(request) => self.obey(request, now()),
                Wake::Look => {}
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        self.https_first = !self.https_first;
        let mut any = false;
        for is_https in [self.https_first, !self.https_first] {
            if !into.has_room() {
                break;
            }
            let first = into.len();
            let received = if is_https { self.https.try_recv(into) } else { self.udp.try_recv(into) };
            match received {
                Ok(()) => any = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let answers = is_https || into.sources_since(first).any(|from| Some(from.remote) == self.peer);
            if answers {
                self.call = None;
                self.ladder.received(if is_https { Carrier::Https } else { Carrier::Udp }, now());
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        let now = now();
        self.try_probe(out, now)?;
        if out.is_empty() {
            return Ok(());
        }
        self.look_at(out, now);
        match self.ladder.carrier() {
            Carrier::Udp => self.udp.try_send(out),
            Carrier::Https => self.https.try_send(out),
        }
    }

    fn overhead(&self) -> usize {
        // One MTU that fits both, so that changing carriers changes nothing inside.
        self.udp.overhead().max(self.https.overhead())
    }

    fn offloads(&self) -> Offloads {
        self.udp.offloads().or(self.https.offloads())
    }
}

impl LadderControl {
    /// We are on this network now. One that is as before changes nothing; `None` is one that cannot be told from others.
    pub async fn network_changed(&self, network: Option<String>) {
        // If the engine has stopped, no network matters.
        drop(self.requests.send(Request::Network(network)).await);
    }

    /// These carriers from now on, in this order.
    pub async fn set_order(&self, order: Order) {
        let (done, is_done) = oneshot::channel();
        if self.requests.send(Request::Order(order, done)).await.is_ok() {
            drop(is_done.await);
        }
    }

    /// Which carrier, since when, and why.
    pub fn shown(&self) -> Shown {
        self.shown.borrow().clone()
    }

    /// The same, to wait for changes of it.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.shown.clone()
    }

    /// Counts up whenever the protocol should send a call: something that is answered at once.
    pub fn calls(&self) -> watch::Receiver<u64> {
        self.calls.clone()
    }

    /// What worked where, with what was learnt since the start.
    pub fn memory(&self) -> watch::Receiver<Memory> {
        self.memory.clone()
    }
}

impl Shown {
    fn of(ladder: &Ladder, https: &Https, order: Order) -> Self {
        let standing = ladder.standing().clone();
        Self { carrier: standing.carrier, since: standing.since, reason: standing.reason, https: https.clone(), order }
    }
}

/// A call is the first of its run, for it leaves with a class of its own.
fn first_of<'a>(run: &adit_engine::Run<'a>) -> &'a [u8] {
    &run.bytes[..run.segment.min(run.bytes.len())]
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;

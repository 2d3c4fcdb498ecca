//! A small world in virtual time: devices, addresses, a wire with a log, and things that go wrong on it.
//!
//! Nothing here waits: [`World::advance`] goes from deadline to deadline, and a datagram arrives when it was sent unless
//! [`World::fate`] says otherwise.

mod host;
pub(crate) mod packet;
pub(crate) mod stranger;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_protocol::{Now, Path};
use adit_wireguard::{DeviceChange, Event, PeerStatus, PrivateKey, PublicKey};

pub(crate) use host::{Host, Sent};

/// The first host of a [`World::pair`].
pub(crate) const ALICE: usize = 0;
/// The second host of a [`World::pair`].
pub(crate) const BOB: usize = 1;
/// A third one, where there is one.
pub(crate) const CAROL: usize = 2;

/// What a datagram looks like to somebody on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response,
    Cookie,
    Keepalive,
    /// Data, with the length of the whole datagram.
    Data(usize),
    /// Nothing that a WireGuard device sends.
    Other,
}

/// A datagram as it left.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Since the world began.
    pub(crate) at: Duration,
    pub(crate) host: usize,
    pub(crate) source: SocketAddr,
    pub(crate) to: Path,
    pub(crate) kind: Kind,
    pub(crate) tos: u8,
    pub(crate) bytes: Vec<u8>,
}

/// What happens to a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
    Duplicate,
    /// Arrives so much later; what is sent meanwhile overtakes it.
    Delay(Duration),
}

/// Two or more hosts and the wire between them.
pub(crate) struct World {
    pub(crate) now: Now,
    started: Instant,
    pub(crate) hosts: Vec<Host>,
    /// Everything that was ever sent.
    pub(crate) log: Vec<Seen>,
    /// How much of the log each host's reader has read.
    read: Vec<usize>,
    /// Asked once for every datagram that is sent.
    pub(crate) fate: Box<dyn FnMut(&Seen) -> Fate>,
    in_flight: Vec<InFlight>,
    /// How often anything was done; a world that never rests is a bug.
    steps: u64,
}

struct InFlight {
    at: Instant,
    source: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl World {
    /// A world without hosts, at a wall clock time in 2023.
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "where virtual time begins; only differences to it matter")]
        let started = Instant::now() + Duration::from_secs(1_000_000);
        let now = Now { instant: started, unix: Duration::new(1_700_000_000, 123_456_789) };
        Self {
            now,
            started,
            hosts: Vec::new(),
            log: Vec::new(),
            read: Vec::new(),
            fate: Box::new(|_| Fate::Deliver),
            in_flight: Vec::new(),
            steps: 0,
        }
    }

    /// Alice (10.0.0.1, knows where Bob is) and Bob (10.0.0.2, does not know where Alice is). Nothing is sent yet.
    pub(crate) fn pair() -> Self {
        let mut world = Self::new();
        world.add_host(1);
        world.add_host(2);
        world.introduce(ALICE, BOB, true);
        world.introduce(BOB, ALICE, false);
        world
    }

    /// A pair with a session that Alice began and both have used; the wire's log is read.
    pub(crate) fn connected() -> Self {
        let mut world = Self::pair();
        world.send(ALICE, BOB);
        assert_eq!(world.delivered(BOB).len(), 1, "{:?}", world.log);
        world.forget_log();
        world
    }

    /// Adds host number `n` (inner 10.0.0.n and fd00::n, outer 192.0.2.n:51820) and gives its place.
    pub(crate) fn add_host(&mut self, n: u8) -> usize {
        self.hosts.push(Host::new(n, self.now));
        self.read.push(0);
        let at = self.hosts.len() - 1;
        let key = self.hosts[at].private.duplicate();
        self.apply(at, DeviceChange { private_key: Some(key), ..DeviceChange::default() });
        at
    }

    /// Makes `other` a peer of `host`, with its inner addresses, and its outer one if `with_endpoint`.
    pub(crate) fn introduce(&mut self, host: usize, other: usize, with_endpoint: bool) {
        let other = &self.hosts[other];
        let change = other.as_peer(with_endpoint.then(|| other.address()));
        self.apply(host, DeviceChange { peers: vec![change], ..DeviceChange::default() });
    }

    pub(crate) fn key(&self, host: usize) -> PublicKey {
        self.hosts[host].private.public_key()
    }

    pub(crate) fn private(&self, host: usize) -> PrivateKey {
        self.hosts[host].private.duplicate()
    }

    /// How long the world exists.
    pub(crate) fn clock(&self) -> Duration {
        self.now.instant - self.started
    }

    /// Sends a small packet from one host to another, through the tunnel.
    pub(crate) fn send(&mut self, host: usize, to: usize) -> Sent {
        let bytes = packet::between(self.hosts[host].n, self.hosts[to].n, self.steps);
        self.send_packet(host, &bytes)
    }

    /// Hands this packet to the inside of `host`, and lets everything happen that happens at once.
    pub(crate) fn send_packet(&mut self, host: usize, bytes: &[u8]) -> Sent {
        let sent = self.send_only(host, bytes);
        self.settle();
        sent
    }

    /// Hands this packet to the inside of `host`, and lets nothing arrive.
    pub(crate) fn send_only(&mut self, host: usize, bytes: &[u8]) -> Sent {
        let sent = self.hosts[host].plan_outbound(self.now, bytes);
        self.collect(host);
        sent
    }

    /// A datagram from `source` arrives at `host`, and everything happens that happens at once.
    pub(crate) fn inject(&mut self, host: usize, source: SocketAddr, bytes: &[u8]) {
        self.inject_only(host, source, bytes);
        self.settle();
    }

    fn inject_only(&mut self, host: usize, source: SocketAddr, bytes: &[u8]) {
        let to = self.hosts[host].address();
        self.hosts[host].receive(self.now, source, to, bytes);
        self.collect(host);
    }

    pub(crate) fn apply(&mut self, host: usize, change: DeviceChange) {
        self.hosts[host].apply(self.now, change);
        self.collect(host);
        self.settle();
    }

    /// Takes an interface down or up.
    pub(crate) fn set_up(&mut self, host: usize, up: bool) {
        let now = self.now;
        self.hosts[host].set_up(now, up);
        self.collect(host);
        self.settle();
    }

    /// A host starts anew: same keys and peers' keys by `configure`, nothing else kept.
    pub(crate) fn restart(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].restart(now);
        let key = self.hosts[host].private.duplicate();
        self.apply(host, DeviceChange { private_key: Some(key), ..DeviceChange::default() });
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now.instant + by;
        loop {
            self.settle();
            let deadlines = self.hosts.iter().filter_map(|h| h.deadline).map(|(at, _)| at);
            let arrivals = self.in_flight.iter().map(|f| f.at);
            let Some(next) = deadlines.chain(arrivals).min().filter(|at| *at <= end) else { break };
            self.pass_until(next.max(self.now.instant));
            self.call_due();
        }
        self.pass_until(end);
    }

    /// The wall clock jumps; the other clock does not notice.
    pub(crate) fn set_wall_clock(&mut self, unix: Duration) {
        self.now.unix = unix;
    }

    fn pass_until(&mut self, instant: Instant) {
        self.now.unix += instant - self.now.instant;
        self.now.instant = instant;
    }

    fn call_due(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].deadline.is_some_and(|(at, _)| at <= self.now.instant) {
                self.step();
                self.hosts[host].handle_timeout(self.now);
                self.collect(host);
            }
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < 5_000_000, "this world does not rest");
    }

    /// Delivers what has to arrive by now, in the order of arrival, until nothing more comes of it.
    pub(crate) fn settle(&mut self) {
        loop {
            let due = self.in_flight.iter().enumerate().filter(|(_, f)| f.at <= self.now.instant);
            let Some((first, _)) = due.min_by_key(|(place, f)| (f.at, *place)) else { return };
            self.step();
            let flight = self.in_flight.remove(first);
            self.arrive(&flight);
        }
    }

    fn arrive(&mut self, flight: &InFlight) {
        let Some(host) = self.hosts.iter().position(|h| h.addresses.contains(&flight.to)) else { return };
        self.hosts[host].receive(self.now, flight.source, flight.to, &flight.bytes);
        self.collect(host);
    }

    /// Puts what a host wants sent on the wire.
    fn collect(&mut self, host: usize) {
        for (to, tos, bytes) in std::mem::take(&mut self.hosts[host].outbox) {
            let source = self.hosts[host].source_for(to);
            let seen = Seen { at: self.clock(), host, source, to, kind: Kind::of(&bytes), tos, bytes };
            let fate = (self.fate)(&seen);
            let flight =
                |delay| InFlight { at: self.now.instant + delay, source, to: to.remote, bytes: seen.bytes.clone() };
            match fate {
                Fate::Lose => {}
                Fate::Deliver => self.in_flight.push(flight(Duration::ZERO)),
                Fate::Duplicate => {
                    self.in_flight.push(flight(Duration::ZERO));
                    self.in_flight.push(flight(Duration::ZERO));
                }
                Fate::Delay(delay) => self.in_flight.push(flight(delay)),
            }
            self.log.push(seen);
        }
    }

    /// Everything arrives from now on.
    pub(crate) fn heal(&mut self) {
        self.fate = Box::new(|_| Fate::Deliver);
    }

    /// Nothing arrives from now on, and what is on the way is lost.
    pub(crate) fn cut(&mut self) {
        self.in_flight.clear();
        self.fate = Box::new(|_| Fate::Lose);
    }

    /// What `host` has sent since this was last asked.
    pub(crate) fn seen(&mut self, host: usize) -> Vec<Kind> {
        let from = std::mem::replace(&mut self.read[host], self.log.len());
        self.log[from..].iter().filter(|s| s.host == host).map(|s| s.kind).collect()
    }

    /// When `host` sent what kind, of all its life.
    pub(crate) fn times(&self, host: usize, kind: Kind) -> Vec<Duration> {
        self.log.iter().filter(|s| s.host == host && s.kind == kind).map(|s| s.at).collect()
    }

    /// The last datagram of this kind that `host` sent.
    pub(crate) fn last(&self, host: usize, kind: Kind) -> Seen {
        self.log.iter().rfind(|s| s.host == host && s.kind == kind).expect("was sent").clone()
    }

    /// What `host` has sent up to now is not asked about any more.
    pub(crate) fn forget_log(&mut self) {
        self.read.fill(self.log.len());
    }

    /// The packets that came out of the inside of `host` since this was last asked.
    pub(crate) fn delivered(&mut self, host: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.hosts[host].delivered)
    }

    /// The news of `host` since this was last asked.
    pub(crate) fn events(&mut self, host: usize) -> Vec<Event> {
        std::mem::take(&mut self.hosts[host].events)
    }

    /// How `host` sees `other`.
    pub(crate) fn peer(&self, host: usize, other: usize) -> PeerStatus {
        let status = self.hosts[host].device().peer_status(self.now, &self.key(other));
        status.expect("a peer")
    }

    pub(crate) fn drops(&self, host: usize, reason: adit_protocol::DropReason) -> u64 {
        use adit_protocol::Protocol as _;
        self.hosts[host].device().drops().of(reason) + self.hosts[host].forged_if(reason)
    }
}

impl Kind {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match (bytes.first_chunk::<4>(), bytes.len()) {
            (Some([1, 0, 0, 0]), 148) => Self::Initiation,
            (Some([2, 0, 0, 0]), 92) => Self::Response,
            (Some([3, 0, 0, 0]), 64) => Self::Cookie,
            (Some([4, 0, 0, 0]), 32) => Self::Keepalive,
            (Some([4, 0, 0, 0]), len @ 33..) => Self::Data(len),
            _ => Self::Other,
        }
    }
}

/// So many seconds.
pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many milliseconds.
pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

//! Limits in virtual time, around a core that only passes on.

use std::net::Ipv4Addr;

use adit_protocol::{Opening, Seal, Sealing};

use super::*;

/// Bytes of a packet here.
const LEN: usize = 1250;
/// Bits of it.
const BITS: u64 = 8 * LEN as u64;

#[test]
fn without_limits_everything_passes() {
    let mut world = World::new(vec![]);
    for _ in 0..10_000 {
        assert!(world.sends(Way::Down, LAPTOP, LEN) && world.sends(Way::Up, LAPTOP, LEN));
    }
    assert_eq!(world.metered.drops().total(), 0);
    assert!(matches!(world.metered.poll_output(world.now), Output::Timeout(None, _)));
}

/// Whoever sends ten times as much gets what the limit says, whichever way, however high, and if timers are late.
#[test]
fn over_ten_seconds_as_much_passes_as_the_limit_says() {
    for rate in [1_000_000, 20_000_000, 200_000_000] {
        for way in [Way::Down, Way::Up] {
            for tick in [Duration::from_millis(1), Duration::from_millis(25)] {
                let mut world = World::new(vec![both(LAPTOP, rate)]);
                let mut offered = 0;
                for turn in 0..10_000_000 / tick.as_micros() as u64 {
                    world.now.instant += tick;
                    while offered < 10 * rate * turn * tick.as_micros() as u64 / 1_000_000 {
                        world.sends(way, LAPTOP, LEN);
                        offered += BITS;
                    }
                    world.releases();
                }
                let passed = (world.passed(way, LAPTOP) * BITS) as f64 / (10 * rate) as f64;
                assert!((0.99..1.01).contains(&passed), "{passed} of {rate} {way:?}, looked at every {tick:?}");
            }
        }
    }
}

#[test]
fn who_sends_no_faster_than_he_may_is_neither_dropped_nor_delayed() {
    let mut world = World::new(vec![both(LAPTOP, 10_000_000)]);
    for _ in 0..10_000 {
        world.now.instant += Duration::from_millis(1);
        assert!(world.sends(Way::Down, LAPTOP, LEN) && world.sends(Way::Up, LAPTOP, LEN));
    }
}

#[test]
fn nobody_else_is_slower_and_neither_is_the_other_way() {
    let down = Limit { down: Some(8_000), up: None, ..both(LAPTOP, 0) };
    let mut world = World::new(vec![down]);
    for _ in 0..1000 {
        world.sends(Way::Down, LAPTOP, LEN);
        assert!(world.sends(Way::Up, LAPTOP, LEN));
        assert!(world.sends(Way::Down, PHONE, LEN) && world.sends(Way::Up, PHONE, LEN));
    }
    assert!(world.passed(Way::Down, LAPTOP) < 20);
}

#[test]
fn what_waits_passes_in_its_order_and_no_later_than_it_may() {
    let mut world = World::new(vec![both(LAPTOP, 8 * 1_000_000)]);
    for len in 100..300 {
        world.sends(Way::Up, LAPTOP, len);
    }
    let begin = world.now.instant;
    loop {
        world.releases();
        let Output::Timeout(at, why) = world.metered.poll_output(world.now) else { panic!("nothing goes out") };
        let Some(at) = at else { break };
        assert_eq!(why, Why("a rate limit"));
        assert!(at >= world.now.instant + TICK, "not so often");
        world.now.instant = at;
    }
    let lens: Vec<usize> = world.inside.iter().map(|(_, len)| *len).collect();
    assert_eq!(lens, (100..300).collect::<Vec<_>>());
    // 40 kB at a megabyte a second, of which 30 ms were saved.
    assert!(world.now.instant - begin < Duration::from_millis(12));
}

#[test]
fn a_queue_is_a_moment_long_and_all_together_have_a_bound() {
    let limits = (0..400).map(|n| both(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), 1_000_000_000));
    let mut world = World::new(limits.collect());
    for n in 0..400 {
        for _ in 0..20_000 {
            world.sends(Way::Down, IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), LEN);
        }
    }
    let meter = world.metered.meter.as_ref().unwrap();
    assert!((MAX_WAITING - LEN..=MAX_WAITING).contains(&meter.bytes), "{}", meter.bytes);
    let queued: usize = meter.lanes.iter().flat_map(|lane| lane.ways.iter().flatten()).map(Shaper::bytes).sum();
    assert_eq!(queued, meter.bytes);
    // 60 ms of a gigabit.
    assert!(meter.lanes.iter().all(|lane| lane.ways.iter().flatten().all(|shaper| shaper.bytes() <= 7_500_000)));
    for _ in 0..10 {
        world.now.instant += Duration::from_millis(10);
        world.releases();
    }
    assert_eq!(world.metered.meter.as_ref().unwrap().bytes, 0);
    let passed: u64 = (0..400).map(|n| world.passed(Way::Down, IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)))).sum();
    assert_eq!(passed + world.metered.drops().of(DropReason::OverLimit), 400 * 20_000);
}

#[test]
fn a_limit_changes_while_packets_wait() {
    let mut world = World::new(vec![both(LAPTOP, 80_000), both(PHONE, 80_000)]);
    for _ in 0..9 {
        world.sends(Way::Down, LAPTOP, LEN);
        world.sends(Way::Down, PHONE, LEN);
    }
    assert_eq!(world.passed(Way::Down, LAPTOP), 1);
    world.metered.set_limits(vec![both(LAPTOP, 800_000_000)]);
    let dropped = world.metered.drops().of(DropReason::OverLimit);
    assert_eq!(dropped, 8, "what waited for the phone");
    assert!(world.sends(Way::Down, PHONE, LEN));
    world.now.instant += Duration::from_millis(150);
    world.releases();
    assert_eq!(world.passed(Way::Down, LAPTOP), 9, "what waited for the laptop");
    assert!(world.sends(Way::Down, LAPTOP, LEN));
    world.metered.set_limits(vec![]);
    assert!(world.metered.meter.is_none());
    assert_eq!(world.metered.drops().of(DropReason::OverLimit), dropped, "counts stay");
}

#[test]
fn a_limit_of_nothing_lets_nothing_pass() {
    let mut world = World::new(vec![both(LAPTOP, 0)]);
    assert!(!world.sends(Way::Down, LAPTOP, LEN) && !world.sends(Way::Up, LAPTOP, LEN));
    assert_eq!(world.metered.drops().of(DropReason::OverLimit), 2);
    assert!(matches!(world.metered.poll_output(world.now), Output::Timeout(None, _)));
}

#[test]
fn the_most_specific_network_decides() {
    let network = Limit { addresses: vec!["10.0.0.0/8".parse().unwrap()], ..both(LAPTOP, 0) };
    let mut world = World::new(vec![network, both(LAPTOP, 1_000_000)]);
    assert!(world.sends(Way::Down, LAPTOP, LEN));
    assert!(!world.sends(Way::Down, PHONE, LEN));
}

const LAPTOP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const PHONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn both(address: IpAddr, rate: u64) -> Limit {
    Limit { addresses: vec![address.into()], down: Some(rate), up: Some(rate) }
}

struct World {
    metered: Metered<Passer>,
    now: Now,
    /// Who sent what went inside, and its length.
    inside: Vec<(IpAddr, usize)>,
}

impl World {
    fn new(limits: Vec<Limit>) -> Self {
        let now = Now { instant: Instant::now(), unix: Duration::ZERO };
        let mut metered = Metered::new(Passer::default(), now);
        metered.set_limits(limits);
        // After a second without packets everything that can be saved is.
        let now = Now { instant: now.instant + Duration::from_secs(1), ..now };
        Self { metered, now, inside: vec![] }
    }

    /// One packet to or from the device; whether it passed at once.
    fn sends(&mut self, way: Way, device: IpAddr, len: usize) -> bool {
        let bytes = packet(if way == Way::Down { (OUTSIDE, device) } else { (device, OUTSIDE) }, len);
        let view = IpPacket::parse(&bytes).unwrap();
        match way {
            Way::Down => matches!(self.metered.plan_outbound(self.now, &view), Outbound::Seal { .. }),
            Way::Up => {
                let passed = self.metered.admit_inbound(self.now, &view) == Admission::Pass;
                self.inside.extend(passed.then_some((device, len)));
                passed
            }
        }
    }

    fn releases(&mut self) {
        while let Some(bytes) = self.metered.poll_inside(self.now) {
            let view = IpPacket::parse(bytes).unwrap();
            self.inside.push((view.source(), view.len()));
        }
        while !matches!(self.metered.poll_output(self.now), Output::Timeout(..)) {}
    }

    fn passed(&self, way: Way, device: IpAddr) -> u64 {
        let seen = if way == Way::Down { &self.metered.core.sent } else { &self.inside };
        seen.iter().filter(|(address, _)| *address == device).count() as u64
    }
}

fn packet((from, to): (IpAddr, IpAddr), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    for (at, address) in [(12, from), (16, to)] {
        let IpAddr::V4(address) = address else { panic!("only IPv4 here") };
        bytes[at..at + 4].copy_from_slice(&address.octets());
    }
    bytes
}

/// A core that passes on what it is given, and notes to whom.
#[derive(Debug, Default)]
struct Passer {
    sent: Vec<(IpAddr, usize)>,
}

#[derive(Debug)]
struct NoJob;

impl Seal for NoJob {
    fn wire_len(&self, packet_len: usize) -> usize {
        packet_len
    }
    fn lay_out(&self, _: Option<&IpPacket<'_>>, _: &mut [u8]) {}
    fn seal_batch(_: &mut [Sealing<'_, Self>]) {}
}

impl Open for NoJob {
    type Opened = ();
    fn open_batch(_: &mut [Opening<'_, Self>]) {}
}

impl Protocol for Passer {
    type Seal = NoJob;
    type Open = NoJob;
    type Change = ();
    type Event = ();

    fn plan_outbound(&mut self, _: Now, packet: &IpPacket<'_>) -> Outbound<NoJob> {
        self.sent.push((packet.destination(), packet.len()));
        Outbound::Seal { job: NoJob, to: Path::to((Ipv4Addr::UNSPECIFIED, 1).into()) }
    }

    fn plan_inbound(&mut self, _: Now, _: Path, _: &mut [u8]) -> Inbound<NoJob> {
        Inbound::Handled
    }

    fn commit_inbound(&mut self, _: Now, (): (), _: &[u8]) -> Delivery {
        Delivery::Nothing
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self, _: Now) -> Output<Self> {
        Output::Timeout(None, Why("nothing"))
    }

    fn apply(&mut self, _: Now, (): ()) {}

    fn drops(&self) -> Drops {
        Drops::default()
    }

    fn overhead(&self) -> usize {
        0
    }
}

//! Two protocols that mark what they seal, as one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_protocol::{DropReason, Why};

use super::*;

/// Seals by putting a byte of its own in front, and knows whom it sent to.
#[derive(Debug)]
struct Marks<const MARK: u8> {
    own: Option<IpAddr>,
    due: Option<Instant>,
    says: Option<u8>,
    drops: Drops,
}

#[derive(Debug)]
struct Job<const MARK: u8>;

impl<const MARK: u8> Seal for Job<MARK> {
    fn wire_len(&self, packet_len: usize) -> usize {
        packet_len + usize::from(MARK)
    }

    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]) {
        if let Some(packet) = packet {
            packet.copy_to(&mut datagram[usize::from(MARK)..]);
        }
    }

    fn seal_batch(batch: &mut [Sealing<'_, Self>]) {
        let len = batch.len();
        batch.iter_mut().for_each(|entry| {
            entry.datagram[0] = MARK;
            entry.datagram[1] = len as u8;
        });
    }
}

impl<const MARK: u8> Open for Job<MARK> {
    type Opened = [u8; 2];

    fn open_batch(batch: &mut [Opening<'_, Self>]) {
        let len = batch.len() as u8;
        for entry in batch {
            entry.outcome = entry.job.take().filter(|_| entry.datagram[0] == MARK).map(|_| [MARK, len]);
        }
    }
}

impl<const MARK: u8> Protocol for Marks<MARK> {
    type Seal = Job<MARK>;
    type Open = Job<MARK>;
    type Change = IpAddr;
    type Event = u8;

    fn plan_outbound(&mut self, _now: Now, packet: &IpPacket<'_>) -> Outbound<Job<MARK>> {
        let to = Path::to((packet.destination(), u16::from(MARK)).into());
        Outbound::Seal { job: Job, to }
    }

    fn plan_inbound(&mut self, _now: Now, _from: Path, _datagram: &mut [u8]) -> Inbound<Job<MARK>> {
        Inbound::Open(Job)
    }

    fn commit_inbound(&mut self, _now: Now, opened: [u8; 2], datagram: &[u8]) -> Delivery {
        assert_eq!(opened[0], MARK, "each gets back what it opened itself");
        Delivery::Packet(1..datagram.len())
    }

    fn handle_timeout(&mut self, _now: Now) {
        self.due = None;
    }

    fn poll_output(&mut self, _now: Now) -> Output<Self> {
        match self.says.take() {
            Some(event) => Output::Event(event),
            None => Output::Timeout(self.due, Why(if MARK == 2 { "one" } else { "other" })),
        }
    }

    fn apply(&mut self, _now: Now, change: IpAddr) {
        self.own = Some(change);
    }

    fn drops(&self) -> Drops {
        self.drops.clone()
    }

    fn overhead(&self) -> usize {
        MARK.into()
    }
}

impl<const MARK: u8> Owns for Marks<MARK> {
    fn owns(&self, address: IpAddr) -> bool {
        self.own == Some(address)
    }
}

const LINK: LinkId = LinkId(2);

type Both = Merged<Marks<2>, Marks<3>>;

fn both() -> Both {
    let [one, other] = [(); 2].map(|()| Drops::default());
    let first = Marks { own: None, due: None, says: None, drops: one };
    let mut both = Merged::new(first, Marks { own: None, due: None, says: None, drops: other }, LINK);
    both.apply(now(), Either::Second(guest()));
    both
}

fn now() -> Now {
    Now { instant: Instant::now(), unix: Duration::ZERO }
}

fn guest() -> IpAddr {
    [10, 0, 0, 9].into()
}

fn packet(to: u8) -> [u8; 20] {
    [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, to]
}

fn over(link: u8) -> Path {
    Path { link: LinkId(link), ..Path::to(([192, 0, 2, 1], 7).into()) }
}

#[test]
fn a_packet_is_whose_the_address_is_that_it_goes_to() {
    let mut both = both();
    let port = |both: &mut Both, to| {
        let bytes = packet(to);
        let Outbound::Seal { to, .. } = both.plan_outbound(now(), &IpPacket::parse(&bytes).unwrap()) else {
            panic!("it goes out")
        };
        to.remote.port()
    };
    assert_eq!([port(&mut both, 9), port(&mut both, 8)], [3, 2]);
}

#[test]
fn datagrams_of_both_are_opened_in_one_batch_each_by_its_own() {
    let mut both = both();
    let mut datagrams: Vec<[u8; 3]> = (0..100).map(|n| if n % 3 == 0 { [3, 0, n] } else { [2, 0, n] }).collect();
    // A forgery, and one that came over the other's carrier.
    datagrams[1][0] = 9;
    let mut batch = Vec::new();
    for datagram in &mut datagrams {
        let from = over(if datagram[2] % 3 == 0 { 2 } else { datagram[2] % 2 });
        let Inbound::Open(job) = both.plan_inbound(now(), from, datagram) else { panic!("it is opened") };
        batch.push(Opening::new(job, datagram.as_mut_slice()));
    }
    let mut biggest = [0, 0];
    for chunk in batch.chunks_mut(64) {
        EitherJob::open_batch(chunk);
    }
    for (n, entry) in batch.into_iter().enumerate() {
        assert!(entry.job.is_none());
        let Some(opened) = entry.outcome else {
            assert_eq!(n, 1, "only the forgery is refused");
            continue;
        };
        let (Either::First([mark, len]) | Either::Second([mark, len])) = opened;
        assert_eq!(mark, if n % 3 == 0 { 3 } else { 2 });
        biggest[usize::from(mark == 3)] = biggest[usize::from(mark == 3)].max(len);
        assert_eq!(both.commit_inbound(now(), opened, entry.datagram), Delivery::Packet(1..3));
    }
    assert_eq!(biggest, [42, 22], "what belongs together is opened together");
}

#[test]
fn packets_to_both_are_sealed_in_one_batch_each_by_its_own() {
    let mut both = both();
    let packets: Vec<_> = (0..60_u8).map(|n| packet(if n % 2 == 0 { 9 } else { 8 })).collect();
    let mut laid_out = Vec::new();
    for bytes in &packets {
        let packet = IpPacket::parse(bytes).unwrap();
        let Outbound::Seal { job, .. } = both.plan_outbound(now(), &packet) else { panic!("it goes out") };
        let mut datagram = vec![0xff; job.wire_len(packet.len())];
        job.lay_out(Some(&packet), &mut datagram);
        laid_out.push((job, datagram));
    }
    let (jobs, mut datagrams): (Vec<_>, Vec<_>) = laid_out.into_iter().unzip();
    let sealing = |(job, datagram)| Sealing { job, datagram };
    let mut sealings: Vec<_> = jobs.into_iter().zip(datagrams.iter_mut().map(Vec::as_mut_slice)).map(sealing).collect();
    EitherJob::seal_batch(&mut sealings);
    drop(sealings);
    for (n, datagram) in datagrams.iter().enumerate() {
        let mark = if n % 2 == 0 { 3 } else { 2 };
        assert_eq!((datagram[0], datagram[1], datagram.len()), (mark, 30, 20 + usize::from(mark)));
        assert_eq!(&datagram[usize::from(mark)..], packets[n]);
    }
}

#[test]
fn the_earlier_deadline_counts_and_nobodys_news_are_lost() {
    let mut both = both();
    let at = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
    (both.first.due, both.second.due) = (at(5), at(3));
    (both.first.says, both.second.says) = (Some(1), Some(2));
    assert!(matches!(both.poll_output(now()), Output::Event(Either::First(1))));
    assert!(matches!(both.poll_output(now()), Output::Event(Either::Second(2))));
    assert!(matches!(both.poll_output(now()), Output::Timeout(when, Why("other")) if when == both.second.due));
    both.second.due = None;
    assert!(matches!(both.poll_output(now()), Output::Timeout(when, Why("one")) if when == both.first.due));
    both.first.due = None;
    assert!(matches!(both.poll_output(now()), Output::Timeout(None, _)));
    both.second.due = at(3);
    assert!(matches!(both.poll_output(now()), Output::Timeout(Some(_), Why("other"))));
    both.first.due = at(5);
    both.handle_timeout(now());
    assert_eq!((both.first.due, both.second.due), (None, None));
}

#[test]
fn drops_are_those_of_both_and_the_overhead_is_the_larger() {
    let mut both = both();
    both.first.drops.count(DropReason::NoRoute);
    both.second.drops.count(DropReason::NoRoute);
    assert_eq!((both.drops().of(DropReason::NoRoute), both.overhead()), (2, 3));
}

//! What a core may count on from its engine: deadlines, everything it wants sent in order, events, visits between turns.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_engine::{Clock, Datagram, Options, RecvBatch, SendArena, datagram_pair, packet_pair, start};
use adit_protocol::{
    Delivery, Drops, Ecn, Inbound, IpPacket, Now, Open, Opening, Outbound, Output, Path, Protocol, Seal, Sealing, Why,
};

/// Bursts larger than any buffer of the engine leave whole, in order, as fast as the other side takes them.
#[tokio::test(start_paused = true)]
async fn a_burst_larger_than_the_arena_leaves_whole_and_in_order() {
    let (here, there) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    let (outside, mut network) = datagram_pair(here, there, 4);
    let (_apps, inside) = packet_pair(1420, 4);
    let core = Clockwork { to: Some(Path::to(there)), ..Clockwork::default() };
    let options = Options { clock: Clock::Tokio, ..Options::default() };
    let (engine, _news) = start(core, inside, outside, options);
    engine.with(|core, _| core.to_send = 2000).await.unwrap();
    for n in 0..2000u32 {
        let datagram = network.recv().await.unwrap();
        assert_eq!((datagram.bytes.len(), &datagram.bytes[..4], datagram.tos), (1000, &n.to_be_bytes()[..], 0x88));
    }
    assert_eq!(engine.status().await.unwrap().drops.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_core_is_called_at_its_deadline_and_not_before() {
    let (_apps, inside) = packet_pair(1420, 4);
    let (outside, _network) = datagram_pair(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into(), 4);
    let options = Options { clock: Clock::Tokio, ..Options::default() };
    let (engine, mut news) = start(Clockwork::default(), inside, outside, options);
    let set = engine
        .with(|core, now| {
            core.deadline = Some(now.instant + Duration::from_secs(120));
            now.instant
        })
        .await
        .unwrap();
    let status = engine.status().await.unwrap();
    assert_eq!(status.deadline, Some((Duration::from_secs(120), Why("the clock"))));
    let called = news.recv().await.unwrap();
    assert!(called - set >= Duration::from_secs(120) && called - set < Duration::from_secs(121), "{:?}", called - set);
    // An earlier one replaces a later one.
    let set = engine
        .with(|core, now| {
            core.deadline = Some(now.instant + Duration::from_secs(900));
            now.instant
        })
        .await
        .unwrap();
    engine.with(move |core, _| core.deadline = Some(set + Duration::from_secs(5))).await.unwrap();
    assert!(news.recv().await.unwrap() - set < Duration::from_secs(6));
}

/// A deadline that comes while the outside takes nothing is told once, not over and over.
#[tokio::test(start_paused = true)]
async fn a_core_that_cannot_send_is_called_once_for_its_deadline() {
    let (here, there) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    let (outside, mut network) = datagram_pair(here, there, 4);
    let (_apps, inside) = packet_pair(1420, 4);
    let options = Options { clock: Clock::Tokio, ..Options::default() };
    let core = Clockwork { to: Some(Path::to(there)), ..Clockwork::default() };
    let (engine, mut news) = start(core, inside, outside, options);
    engine.with(|core, now| core.deadline = Some(now.instant + Duration::from_secs(1))).await.unwrap();
    engine.with(|core, _| core.to_send = 2000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2000 {
        network.recv().await.unwrap();
    }
    assert!(news.recv().await.is_some());
    assert!(engine.status().await.is_ok(), "a second call would have been before its time");
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_takes_are_lost_and_counted_and_hold_nothing_up() {
    let (_apps, inside) = packet_pair(1420, 4);
    let (outside, _network) = datagram_pair(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into(), 4);
    let options = Options { clock: Clock::Tokio, ..Options::default() };
    let (engine, mut news) = start(Clockwork::default(), inside, outside, options);
    engine.with(|core, now| core.events = vec![now.instant; 1000]).await.unwrap();
    let lost = engine.status().await.unwrap().events_lost;
    let mut kept = 0;
    while news.try_recv().is_ok() {
        kept += 1;
    }
    assert!(kept > 0 && lost > 0);
    assert_eq!(kept + lost, 1000);
}

#[tokio::test]
async fn an_mtu_is_told_to_the_core_before_anything_else() {
    let (_apps, inside) = packet_pair(1234, 4);
    let (outside, _network) = datagram_pair(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into(), 4);
    let mtu_changed = Some(Box::new(|core: &mut Clockwork, _: Now, mtu: usize| core.mtu = mtu) as _);
    let (engine, _news) = start(Clockwork::default(), inside, outside, Options { mtu_changed, ..Options::default() });
    assert_eq!(engine.with(|core, _| core.mtu).await.unwrap(), 1234);
}

/// Also after a suspend, which is as if the clock jumped: before the core answers anything.
#[tokio::test(start_paused = true)]
async fn a_core_is_renewed_every_ten_minutes_before_it_is_asked_anything() {
    let (_apps, inside) = packet_pair(1420, 4);
    let (outside, _network) = datagram_pair(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into(), 4);
    let renew = Some(Box::new(|core: &mut Clockwork, _: Now| core.renewed += 1) as _);
    let options = Options { renew, clock: Clock::Tokio, ..Options::default() };
    let (engine, _news) = start(Clockwork::default(), inside, outside, options);
    let renewed = async || engine.with(|core, _| core.renewed).await.unwrap();
    assert_eq!(renewed().await, 0);
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(renewed().await, 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(renewed().await, 1);
    tokio::time::advance(Duration::from_secs(36_000)).await;
    assert_eq!((renewed().await, renewed().await), (2, 2));
}

/// What a core has kept enters in its order, as fast as the inside takes it, and beside what it wants sent.
#[tokio::test(start_paused = true)]
async fn what_a_core_gives_to_the_inside_enters_whole_and_in_order() {
    let (here, there) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    let (outside, mut network) = datagram_pair(here, there, 4);
    let (mut apps, inside) = packet_pair(1420, 4);
    let core = Clockwork { to: Some(Path::to(there)), ..Clockwork::default() };
    let options = Options { clock: Clock::Tokio, ..Options::default() };
    let (engine, _news) = start(core, inside, outside, options);
    let given = |core: &mut Clockwork, _: Now| {
        core.to_enter = (0..2000_u16).map(|n| [&[0x45, 0][..], &n.to_be_bytes(), &[0; 996]].concat()).collect();
        core.to_send = 10;
    };
    engine.with(given).await.unwrap();
    for n in 0..2000_u16 {
        let packet = apps.recv().await.unwrap();
        assert_eq!((packet.len(), &packet[2..4]), (1000, &n.to_be_bytes()[..]));
        if n % 200 == 0 {
            network.recv().await.unwrap();
        }
    }
    let status = engine.status().await.unwrap();
    assert_eq!((status.traffic.inside_written.packets, status.drops.total()), (2000, 0));
}

/// What is printed of buffers ends up in logs.
#[test]
fn what_is_shown_of_packets_is_their_length() {
    let packet = [0xab; 40];
    let to = Path::to(([192, 0, 2, 1], 1).into());
    let mut batch = RecvBatch::with_capacity(0);
    batch.push(to, Ecn::NotEct, &packet).unwrap();
    let mut arena = SendArena::with_capacity(1000);
    arena.push(to, 0, &packet).unwrap();
    let shown = [
        format!("{batch:?} {arena:?} {:?}", arena.front()),
        format!("{:?}", Output::<Clockwork>::Seal { job: NoJob, to, packet: packet.to_vec() }),
        format!("{:?}", Output::<Clockwork>::Transmit { to, datagram: packet.to_vec(), tos: 0 }),
        format!("{:?}", Sealing { job: NoJob, datagram: &mut packet.clone() }),
        format!("{:?}", Opening::new(NoJob, &mut packet.clone())),
        format!("{:?}", Datagram { tos: 0, bytes: packet.to_vec() }),
    ];
    for shown in shown {
        assert!(shown.contains("40") && !shown.contains("171") && !shown.contains("ab"), "{shown}");
    }
}

/// A core that does what it is told: sends, tells, and wants to be called.
#[derive(Default)]
struct Clockwork {
    to: Option<Path>,
    to_send: u32,
    sent: u32,
    deadline: Option<Instant>,
    events: Vec<Instant>,
    mtu: usize,
    renewed: u32,
    drops: Drops,
    to_enter: VecDeque<Vec<u8>>,
    entered: Vec<u8>,
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

impl Protocol for Clockwork {
    type Seal = NoJob;
    type Open = NoJob;
    type Change = ();
    type Event = Instant;

    fn plan_outbound(&mut self, _: Now, _: &IpPacket<'_>) -> Outbound<NoJob> {
        Outbound::Staged
    }

    fn plan_inbound(&mut self, _: Now, _: Path, _: &mut [u8]) -> Inbound<NoJob> {
        Inbound::Handled
    }

    fn commit_inbound(&mut self, _: Now, (): (), _: &[u8]) -> Delivery {
        Delivery::Nothing
    }

    fn poll_inside(&mut self, _: Now) -> Option<&[u8]> {
        self.entered = self.to_enter.pop_front()?;
        Some(&self.entered)
    }

    fn handle_timeout(&mut self, now: Now) {
        assert!(self.deadline.take().is_some_and(|at| at <= now.instant), "called before its time");
        self.events.push(now.instant);
    }

    fn poll_output(&mut self, _: Now) -> Output<Self> {
        if let Some(event) = self.events.pop() {
            return Output::Event(event);
        }
        match self.to {
            Some(to) if self.sent < self.to_send => {
                let mut datagram = vec![0; 1000];
                datagram[..4].copy_from_slice(&self.sent.to_be_bytes());
                self.sent += 1;
                Output::Transmit { to, datagram, tos: 0x88 }
            }
            _ => Output::Timeout(self.deadline, Why("the clock")),
        }
    }

    fn apply(&mut self, _: Now, (): ()) {}

    fn drops(&self) -> Drops {
        self.drops.clone()
    }

    fn overhead(&self) -> usize {
        0
    }
}

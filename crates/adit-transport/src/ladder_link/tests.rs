//! Two carriers as one outside, with channels in place of sockets.

use std::net::SocketAddr;
use std::time::Duration;

use adit_engine::{Datagram, DatagramChannel, MAX_READ, datagram_pair};
use adit_protocol::Path;

use super::*;
use crate::ladder::{FIRST_ANSWER, FIRST_PROBE, SILENCE};

/// A link, the far ends of both its carriers, and what else it has to do with.
struct World {
    link: LadderLink<DatagramChannel, DatagramChannel>,
    control: LadderControl,
    far_udp: DatagramChannel,
    far_https: DatagramChannel,
    https: watch::Sender<Https>,
    wanted: watch::Receiver<bool>,
}

#[tokio::test(start_paused = true)]
async fn a_call_that_udp_does_not_answer_goes_over_https_as_soon_as_that_is_up() {
    let mut world = World::new(Order::UDP_FIRST, Memory::default());
    world.send(CALL);
    assert_eq!(world.far_udp.recv().await.unwrap().bytes, CALL);
    world.pass(FIRST_ANSWER).await;
    assert!(*world.wanted.borrow());
    world.https.send_replace(Https::Up);
    world.pass(Duration::ZERO).await;
    assert_eq!(world.far_https.recv().await.unwrap().bytes, CALL);
    assert_eq!(world.control.shown().carrier, Carrier::Https);
    world.answer(Carrier::Https).await;
    world.send(DATA);
    assert_eq!(world.far_https.recv().await.unwrap().bytes, DATA);
    assert_eq!(world.control.memory().borrow().of("here"), Some(Carrier::Https));
}

#[tokio::test(start_paused = true)]
async fn a_network_where_https_worked_sees_no_udp_at_first() {
    let mut memory = Memory::default();
    memory.learn("here", Carrier::Https);
    let mut world = World::new(Order::UDP_FIRST, memory);
    world.send(CALL);
    world.https.send_replace(Https::Up);
    world.pass(Duration::ZERO).await;
    assert_eq!(world.far_https.recv().await.unwrap().bytes, CALL);
    assert_eq!(world.control.shown().reason, Reason::Remembered);
    world.control.network_changed(Some("there".to_owned())).await;
    world.pass(Duration::ZERO).await;
    world.send(DATA);
    assert_eq!(world.far_udp.recv().await.unwrap().bytes, CALL, "what nobody answered yet");
    assert_eq!(world.far_udp.recv().await.unwrap().bytes, DATA);
}

#[tokio::test(start_paused = true)]
async fn the_first_choice_is_tried_with_one_call_and_taken_back_by_its_answer() {
    let mut world = World::fallen_back().await;
    let mut calls = world.control.calls();
    calls.mark_unchanged();
    world.pass(FIRST_PROBE).await;
    assert!(calls.has_changed().unwrap(), "a call is asked for");
    // Only the call goes over UDP, whatever is sent with it.
    let mut arena = SendArena::with_capacity(10_000);
    for datagram in [DATA, CALL, DATA] {
        arena.push(to(), 0, datagram).unwrap();
    }
    world.link.try_send(&mut arena).unwrap();
    assert!(arena.is_empty());
    assert_eq!(world.far_udp.recv().await.unwrap().bytes, CALL);
    for _ in 0..2 {
        assert_eq!(world.far_https.recv().await.unwrap().bytes, DATA);
    }
    assert_eq!(world.control.shown().carrier, Carrier::Https);
    world.answer(Carrier::Udp).await;
    assert_eq!((world.control.shown().carrier, world.control.shown().reason), (Carrier::Udp, Reason::AnswersAgain));
    world.send(DATA);
    assert_eq!(world.far_udp.recv().await.unwrap().bytes, DATA);
    assert_eq!(world.control.memory().borrow().of("here"), Some(Carrier::Udp));
}

#[tokio::test(start_paused = true)]
async fn datagrams_of_strangers_are_no_answers() {
    let mut world = World::new(Order::UDP_FIRST, Memory::default());
    let elsewhere = Path::to(([192, 0, 2, 9], 9).into());
    let mut arena = SendArena::with_capacity(10_000);
    arena.push(elsewhere, 0, CALL).unwrap();
    world.link.try_send(&mut arena).unwrap();
    world.answer(Carrier::Udp).await;
    world.pass(FIRST_ANSWER).await;
    assert!(*world.wanted.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_is_full_and_falls_silent_does_not_hold_up_the_other() {
    let mut world = World::new(Order::UDP_FIRST, Memory::default());
    world.send(CALL);
    world.answer(Carrier::Udp).await;
    world.https.send_replace(Https::Up);
    let mut arena = SendArena::with_capacity(100_000);
    for n in 0..=BOUND {
        arena.push(to(), n as u8, DATA).unwrap();
    }
    world.link.try_send(&mut arena).unwrap();
    assert!(!arena.is_empty(), "UDP takes no more");
    let write = Want { read: false, write: true };
    let ready = tokio::time::timeout(SILENCE + Duration::from_secs(1), world.link.ready(write)).await;
    assert!(ready.expect("HTTPS has room").unwrap().write);
    world.link.try_send(&mut arena).unwrap();
    assert!(arena.is_empty());
    assert_eq!(world.far_https.recv().await.unwrap().bytes, DATA);
}

#[tokio::test(start_paused = true)]
async fn one_mtu_fits_both() {
    let world = World::new(Order::UDP_FIRST, Memory::default());
    assert_eq!(world.link.overhead(), world.link.udp.overhead().max(world.link.https.overhead()));
}

const CALL: &[u8] = &[1; 148];
const DATA: &[u8] = &[4; 96];
/// Datagrams that a carrier of these worlds takes.
const BOUND: usize = 8;

fn asks(datagram: &[u8]) -> Asks {
    match (datagram.first(), datagram.len()) {
        (Some(1), _) => Asks::AtOnce,
        (_, 64..) => Asks::Something,
        (_, _) => Asks::Nothing,
    }
}

fn to() -> Path {
    Path::to(remote())
}

fn remote() -> SocketAddr {
    ([127, 0, 0, 1], 2).into()
}

impl World {
    fn new(order: Order, memory: Memory) -> Self {
        let here = ([127, 0, 0, 1], 1).into();
        let (udp, far_udp) = datagram_pair(here, remote(), BOUND);
        let (https_end, far_https) = datagram_pair(here, remote(), BOUND);
        let (https, state) = watch::channel(Https::Down);
        let (wants, wanted) = watch::channel(false);
        let side = HttpsSide { state, wanted: wants };
        let options = LadderOptions { order, asks, network: Some("here".to_owned()), memory };
        let (link, control) = LadderLink::new(udp, https_end, side, options);
        Self { link, control, far_udp, far_https, https, wanted }
    }

    async fn fallen_back() -> Self {
        let mut world = Self::new(Order::UDP_FIRST, Memory::default());
        world.send(CALL);
        world.far_udp.recv().await.unwrap();
        world.pass(FIRST_ANSWER).await;
        world.https.send_replace(Https::Up);
        world.pass(Duration::ZERO).await;
        world.far_https.recv().await.unwrap();
        world.answer(Carrier::Https).await;
        world
    }

    fn send(&mut self, datagram: &[u8]) {
        let mut arena = SendArena::with_capacity(10_000);
        arena.push(to(), 0, datagram).unwrap();
        self.link.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
    }

    /// Something comes from the peer over this carrier.
    async fn answer(&mut self, over: Carrier) {
        let datagram = Datagram { tos: 0, bytes: DATA.to_vec() };
        match over {
            Carrier::Udp => self.far_udp.send(datagram).await,
            Carrier::Https => self.far_https.send(datagram).await,
        }
        assert!(self.link.ready(Want { read: true, write: false }).await.unwrap().read);
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        self.link.try_recv(&mut batch).unwrap();
        assert_eq!(batch.front().unwrap(), DATA);
        self.pass(Duration::ZERO).await;
    }

    /// The engine waits for this long, and nothing comes.
    async fn pass(&mut self, time: Duration) {
        let time = time + Duration::from_millis(1);
        let nothing = tokio::time::timeout(time, self.link.ready(Want { read: true, write: false })).await;
        assert!(nothing.is_err(), "nothing was to come");
    }
}

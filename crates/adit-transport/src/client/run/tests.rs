//! The task of a link in virtual time, with connections that are only channels.

use std::sync::{Arc, Mutex};

use adit_engine::{DatagramIo, SendArena};
use tokio::sync::oneshot;

use super::super::governor::{FREEZE, LIFETIME, PER_PERIOD, PERIOD, SPACING};
use super::*;
use crate::hub::{Bounds, Hub};

/// Make before break: the next connection is up before the last is left, and no datagram is lost between them.
#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_its_life_is_over_and_nothing_is_lost() {
    let mut world = World::new();
    world.settle().await;
    let begun = Instant::now();
    let mut sent = 0_u32;
    while world.log().len() < 3 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        world.send(sent);
        sent += 1;
        assert!(begun.elapsed() < 3 * LIFETIME.1);
        assert_eq!(world.status.borrow().state, HttpsState::Up);
    }
    world.settle().await;
    let log = world.log();
    assert!(log.iter().all(|connection| !connection.was_told_to_end));
    for pair in log.windows(2) {
        let life = pair[1].begun - pair[0].begun;
        assert!((LIFETIME.0..=LIFETIME.1 + Duration::from_secs(1)).contains(&life), "{life:?}");
    }
    let carried: Vec<_> = log.iter().flat_map(|connection| connection.carried.clone()).collect();
    assert_eq!(carried, (0..sent).collect::<Vec<_>>());
    assert!(log[..3].iter().all(|connection| !connection.carried.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_is_greeted_again_within_seconds() {
    let world = World::new();
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let closed = Instant::now();
    world.end_newest(End::Closed("the server restarts".into()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let log = world.log();
    assert_eq!(log.len(), 2);
    assert!(log[1].begun - closed < 2 * SPACING);
    assert_eq!(world.status.borrow().failure.as_deref(), Some("the server restarts"));
    assert_eq!(world.status.borrow().state, HttpsState::Up);
}

/// A server that accepts and closes at once is not hammered.
#[tokio::test(start_paused = true)]
async fn handshakes_are_rare_whatever_the_server_does() {
    let world = World::new();
    for _ in 0..20_000 {
        world.end_newest(End::Closed("no".into()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = world.log();
    for four in log.windows(4) {
        assert!(four[3].begun - four[0].begun >= Duration::from_secs(60));
    }
    assert!((12..=50).contains(&log.len()), "{} in 1000 seconds", log.len());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stall_is_waited_out_and_a_new_network_is_not() {
    let world = World::new();
    world.settle().await;
    world.end_newest(End::Silent);
    tokio::time::sleep(FREEZE.0 - Duration::from_secs(1)).await;
    assert_eq!(world.log().len(), 1);
    assert_eq!(world.status.borrow().state, HttpsState::Waiting { stalled: true });
    tokio::time::sleep(FREEZE.1 - FREEZE.0 + Duration::from_secs(2)).await;
    assert_eq!(world.log().len(), 2);

    world.end_newest(End::Silent);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.log().len(), 2);
    world.commands.try_send(Command::NetworkChanged).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.log().len(), 3);
}

/// A server with two addresses: the other one is tried at once, and when that falls silent too, it is waited.
#[tokio::test(start_paused = true)]
async fn a_silent_address_is_left_for_another() {
    let world = World::new();
    world.server.0.lock().unwrap().other_ways = 1;
    world.settle().await;
    world.end_newest(End::Silent);
    world.settle().await;
    assert_eq!(world.log().len(), 2);
    assert_eq!(world.status.borrow().state, HttpsState::Up);
    world.end_newest(End::Silent);
    tokio::time::sleep(FREEZE.0 - Duration::from_secs(1)).await;
    assert_eq!(world.log().len(), 2);
    assert_eq!(world.status.borrow().state, HttpsState::Waiting { stalled: true });
}

/// A server with a wrong key: said so, and not greeted again until somebody says so.
#[tokio::test(start_paused = true)]
async fn a_wrong_server_is_not_greeted_again() {
    let world = World::new();
    world.settle().await;
    world.answer_wrong();
    world.end_newest(End::Closed("gone".into()));
    tokio::time::sleep(Duration::from_secs(30 * 24 * 3600)).await;
    assert_eq!(world.greeted(), 2);
    assert_eq!(world.status.borrow().state, HttpsState::Stopped);
    assert_eq!(world.status.borrow().failure.as_deref(), Some("not the pinned key"));
    world.commands.try_send(Command::Retry).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.greeted(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_renewed_on_request_and_the_task_ends_with_the_engine() {
    let mut world = World::new();
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.commands.try_send(Command::Renew).unwrap();
    world.settle().await;
    world.send(1);
    world.settle().await;
    assert_eq!(world.log()[1].carried, [1]);
    drop(world.hub);
    assert!(tokio::time::timeout(Duration::from_secs(30), world.task).await.is_ok());
}

/// A carrier that is dropped and made again, as one that is only wanted now and then, keeps to the same rules.
#[tokio::test(start_paused = true)]
async fn links_after_one_another_share_one_pace() {
    let (pace, server) = (Pace::new(5), Server::default());
    for _ in 0..500 {
        let world = World::with_pace(pace.clone(), server.clone());
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(world.hub);
        world.task.await.unwrap();
    }
    let inner = server.0.lock().unwrap();
    for four in inner.log.windows(PER_PERIOD + 1) {
        assert!(four[PER_PERIOD].begun - four[0].begun >= PERIOD);
    }
    assert!(inner.log.len() >= PER_PERIOD, "{}", inner.log.len());
}

struct World {
    hub: Hub,
    status: watch::Receiver<Known>,
    commands: mpsc::Sender<Command>,
    server: Server,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    other_ways: usize,
    greeted: usize,
    is_wrong: bool,
    log: Vec<Connection>,
}

struct Connection {
    begun: Instant,
    carried: Vec<u32>,
    was_told_to_end: bool,
    end: Option<oneshot::Sender<End>>,
}

/// What the log says of a connection.
struct Seen {
    begun: Instant,
    carried: Vec<u32>,
    was_told_to_end: bool,
}

struct FakeLive {
    server: Server,
    place: usize,
    end: oneshot::Receiver<End>,
}

impl Connect for Server {
    type Tcp = ();
    type Live = FakeLive;

    fn ways(&self) -> usize {
        self.0.lock().unwrap().other_ways + 1
    }

    async fn tcp(&mut self, _turn: usize) -> Result<(), Attempt> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    async fn greet(&mut self, (): ()) -> Result<FakeLive, Attempt> {
        tokio::time::sleep(Duration::from_millis(80)).await;
        let mut inner = self.0.lock().unwrap();
        inner.greeted += 1;
        if inner.is_wrong {
            return Err(Attempt::Wrong("not the pinned key".into()));
        }
        let (to_end, end) = oneshot::channel();
        let place = inner.log.len();
        let begun = Instant::now();
        inner.log.push(Connection { begun, carried: Vec::new(), was_told_to_end: false, end: Some(to_end) });
        drop(inner);
        Ok(FakeLive { server: self.clone(), place, end })
    }
}

impl Live for FakeLive {
    fn remote(&self) -> SocketAddr {
        ([192, 0, 2, 1], 443).into()
    }

    fn label(&self) -> &'static str {
        "a test"
    }

    async fn carry(mut self, mut seat: Seat) -> End {
        loop {
            tokio::select! {
                chunk = seat.next() => match chunk {
                    // Type, length, context, and four bytes.
                    Some(chunk) => {
                        let carried = chunk.chunks(7).map(|one| u32::from_be_bytes(one[3..].try_into().unwrap()));
                        self.server.0.lock().unwrap().log[self.place].carried.extend(carried);
                    }
                    None => return End::Replaced,
                },
                end = &mut self.end => return end.unwrap(),
            }
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with_pace(Pace::new(3), Server::default())
    }

    fn with_pace(pace: Pace, server: Server) -> Self {
        let (hub, joiner) = Hub::single(Bounds::default(), Path::to(([192, 0, 2, 1], 443).into()));
        let known = Known {
            state: HttpsState::Connecting,
            since: SystemTime::now(),
            server: None,
            label: "",
            failure: None,
            warning: None,
            connections: 0,
        };
        let (to_tell, status) = watch::channel(known);
        let (commands, to_obey) = mpsc::channel(4);
        let (network, _) = watch::channel(0);
        let run = Run::new(server.clone(), joiner, pace, to_tell, to_obey, network);
        let task = tokio::spawn(run.run());
        Self { hub, status, commands, server, task }
    }

    /// Lets everything happen that happens within a few seconds.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    fn send(&mut self, number: u32) {
        let mut arena = SendArena::with_capacity(100);
        arena.push(Path::to(([192, 0, 2, 1], 443).into()), 0, &number.to_be_bytes()).unwrap();
        self.hub.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
    }

    fn log(&self) -> Vec<Seen> {
        let inner = self.server.0.lock().unwrap();
        let seen = |one: &Connection| Seen {
            begun: one.begun,
            carried: one.carried.clone(),
            was_told_to_end: one.was_told_to_end,
        };
        inner.log.iter().map(seen).collect()
    }

    fn greeted(&self) -> usize {
        self.server.0.lock().unwrap().greeted
    }

    fn answer_wrong(&self) {
        self.server.0.lock().unwrap().is_wrong = true;
    }

    fn end_newest(&self, how: End) {
        let mut inner = self.server.0.lock().unwrap();
        if let Some(newest) = inner.log.last_mut()
            && let Some(end) = newest.end.take()
        {
            newest.was_told_to_end = true;
            drop(end.send(how));
        }
    }
}

//! Histories of three devices: what happens to them, and what must be true whatever happened.
//!
//! Not here: where the histories come from (`model`, and the fuzz target `device_pair`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use adit_wireguard::{DeviceChange, PeerChange, PresharedKey};

use crate::world::{ALICE, BOB, CAROL, Fate, World, packet, secs};

/// Something that happens. Alice knows both others; they know only her.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// So many packets along one of the four directions.
    Send {
        way: usize,
        packets: usize,
    },
    /// Bob and Alice have something to say in the same moment.
    BothSend,
    Pass(Duration),
    /// The wall clock of everybody is set.
    WallClock(u32),
    /// From now on the wire loses, repeats and delays, by these chances in 256.
    Weather {
        loss: u8,
        twice: u8,
        late: u8,
        delay: Duration,
    },
    /// Alice (or a NAT before her) gets another address.
    Roam(u16),
    /// One side of the pair gets another pre-shared key.
    Psk {
        host: usize,
        byte: u8,
    },
    /// Bob forgets Alice, and learns of her again.
    Forget,
    Restart(usize),
    Keepalive {
        host: usize,
        seconds: u16,
    },
    UnderLoad {
        host: usize,
        load: bool,
    },
    DownAndUp(usize),
}

/// Who sends to whom.
pub(crate) const WAYS: [(usize, usize); 4] = [(ALICE, BOB), (BOB, ALICE), (ALICE, CAROL), (CAROL, ALICE)];

/// Three devices and what has become of their packets.
pub(crate) struct Story {
    world: World,
    next_id: u64,
    /// Packets sent and not yet arrived, by their bytes, with the host they are for.
    expected: BTreeMap<Vec<u8>, usize>,
    arrived: BTreeSet<Vec<u8>>,
    latest_wall_clock: Duration,
    seed: u64,
    psk: [u8; 3],
    keepalive: [u16; 3],
}

impl Story {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = World::pair();
        world.add_host(3);
        let mut story = Self {
            latest_wall_clock: world.now.unix,
            world,
            next_id: 0,
            expected: BTreeMap::new(),
            arrived: BTreeSet::new(),
            seed,
            psk: [0; 3],
            keepalive: [0; 3],
        };
        story.introduce_all();
        story
    }

    fn introduce_all(&mut self) {
        self.world.introduce(ALICE, BOB, true);
        self.world.introduce(ALICE, CAROL, true);
        self.world.introduce(BOB, ALICE, false);
        self.world.introduce(CAROL, ALICE, false);
    }

    pub(crate) fn happen(&mut self, step: &Step) {
        let now = self.world.now;
        self.latest_wall_clock = self.latest_wall_clock.max(now.unix);
        match *step {
            Step::Send { way, packets } => {
                for _ in 0..packets {
                    let bytes = self.packet(WAYS[way]);
                    self.world.send_packet(WAYS[way].0, &bytes);
                }
            }
            Step::BothSend => {
                for way in [WAYS[0], WAYS[1]] {
                    let bytes = self.packet(way);
                    self.world.send_only(way.0, &bytes);
                }
                self.world.settle();
            }
            Step::Pass(time) => self.world.advance(time),
            Step::WallClock(unix) => self.world.set_wall_clock(secs(unix.into())),
            Step::Weather { loss, twice, late, delay } => self.weather(loss, twice, late, delay),
            Step::Roam(port) => self.world.hosts[ALICE].addresses = vec![SocketAddr::from(([203, 0, 113, 1], port))],
            Step::Psk { host, byte } => {
                self.psk[host] = byte;
                self.set_psk(host);
            }
            Step::Forget => {
                let mut gone = PeerChange::new(self.world.key(ALICE));
                gone.remove = true;
                self.world.apply(BOB, DeviceChange { peers: vec![gone], ..DeviceChange::default() });
                self.world.introduce(BOB, ALICE, false);
                self.set_psk(BOB);
                self.keepalive[BOB] = 0;
            }
            Step::Restart(host) => {
                self.world.restart(host);
                self.introduce_all();
                self.set_psk(host);
                self.keepalive[host] = 0;
            }
            Step::Keepalive { host, seconds } => self.set_keepalive(host, seconds),
            Step::UnderLoad { host, load } => {
                self.world.hosts[host].device_mut().set_under_load(load.then_some(true));
            }
            Step::DownAndUp(host) => {
                self.world.set_up(host, false);
                self.world.set_up(host, true);
            }
        }
    }

    /// A packet that has not been before.
    fn packet(&mut self, (from, to): (usize, usize)) -> Vec<u8> {
        self.next_id += 1;
        let bytes = packet::between(self.world.hosts[from].n, self.world.hosts[to].n, self.next_id);
        self.expected.insert(bytes.clone(), to);
        bytes
    }

    fn weather(&mut self, loss: u8, twice: u8, late: u8, delay: Duration) {
        let mut state = self.seed | 1;
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut chance = move |of: u8| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8 <= of && of > 0
        };
        self.world.fate = Box::new(move |_| match () {
            () if chance(loss) => Fate::Lose,
            () if chance(twice) => Fate::Duplicate,
            () if chance(late) => Fate::Delay(delay),
            () => Fate::Deliver,
        });
    }

    fn set_psk(&mut self, host: usize) {
        for (own, other) in WAYS.into_iter().filter(|(own, _)| *own == host) {
            // Carol takes no part in changes of keys.
            let byte = if own == CAROL || other == CAROL { 0 } else { self.psk[host] };
            let mut peer = PeerChange::new(self.world.key(other));
            peer.preshared_key = Some(PresharedKey::new([byte; 32]));
            self.world.apply(own, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
        }
    }

    fn set_keepalive(&mut self, host: usize, seconds: u16) {
        self.keepalive[host] = seconds;
        for (own, other) in WAYS.into_iter().filter(|(own, _)| *own == host) {
            let mut peer = PeerChange::new(self.world.key(other));
            peer.persistent_keepalive = Some(seconds);
            self.world.apply(own, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
        }
    }

    /// What must be true after every step.
    pub(crate) fn check(&mut self) {
        for host in [ALICE, BOB, CAROL] {
            for bytes in self.world.delivered(host) {
                assert!(!self.arrived.contains(&bytes), "delivered twice");
                assert_eq!(self.expected.remove(&bytes), Some(host), "altered, or at the wrong host");
                self.arrived.insert(bytes);
            }
            let status = self.world.hosts[host].device().status(self.world.now);
            assert!(status.peers.iter().all(|peer| peer.staged <= 128), "a queue without a bound");
        }
    }

    /// The network is well, the keys agree, and everybody talks: within thirty seconds everybody is heard.
    pub(crate) fn heal(&mut self) {
        self.world.heal();
        for host in [ALICE, BOB, CAROL] {
            self.world.hosts[host].device_mut().set_under_load(Some(false));
            self.set_keepalive(host, 0);
            self.psk[host] = 0;
            self.set_psk(host);
        }
        self.world.set_wall_clock(self.latest_wall_clock.max(self.world.now.unix) + secs(1));
        for _ in 0..30 {
            for way in 0..WAYS.len() {
                self.happen(&Step::Send { way, packets: 1 });
            }
            self.world.advance(secs(1));
            self.check();
        }
        for (own, other) in WAYS {
            assert!(self.world.peer(own, other).has_session, "{own} has no session with {other}");
            let bytes = self.packet((own, other));
            self.world.send_packet(own, &bytes);
            self.check();
            assert!(self.arrived.contains(&bytes), "{own} is not heard by {other}");
        }
    }

    /// Nobody talks any more: after the last timers, nothing is sent, and nobody wants to be woken.
    pub(crate) fn fall_silent(&mut self) {
        self.world.advance(secs(700));
        self.world.forget_log();
        self.world.advance(secs(10_000));
        for host in [ALICE, BOB, CAROL] {
            assert_eq!(self.world.seen(host), []);
            assert_eq!(self.world.hosts[host].deadline, None);
            let status = self.world.hosts[host].device().status(self.world.now);
            assert!(status.peers.iter().all(|peer| peer.staged == 0 && !peer.has_session));
        }
        self.check();
    }
}

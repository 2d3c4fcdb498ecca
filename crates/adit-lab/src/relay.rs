//! A UDP relay between Alice and Bob that reorders, duplicates, loses and delays, by seeded dice.
//!
//! Alice takes the relay for Bob, and Bob takes it for Alice. Not here: what nftables can do (`ns::Router`).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::ns::Namespace;

/// What a relay does to datagrams, each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mischief {
    /// Percent that are held back, so that later ones overtake them.
    pub reorder: u64,
    /// Percent that are sent twice.
    pub duplicate: u64,
    /// Percent that are lost.
    pub lose: u64,
    /// How long every datagram takes.
    pub delay: Duration,
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    reordered: AtomicU64,
    duplicated: AtomicU64,
    lost: AtomicU64,
    from_alice: Mutex<VecDeque<Vec<u8>>>,
}

impl Relay {
    /// Starts it in `namespace` at `address`, in front of `bob`.
    #[track_caller]
    pub fn start(namespace: &Namespace, address: IpAddr, bob: SocketAddr, mischief: Mischief, seed: u64) -> Self {
        let sockets = namespace.within(|| {
            let outer = UdpSocket::bind((address, 0))?;
            let any: IpAddr = if bob.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let inner = UdpSocket::bind((any, 0))?;
            for socket in [&outer, &inner] {
                socket.set_read_timeout(Some(Duration::from_millis(1)))?;
            }
            Ok::<_, io::Error>((outer, inner))
        });
        let (outer, inner) = sockets.unwrap_or_else(|error| panic!("cannot relay at {address}: {error}"));
        let address = outer.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let alice = Arc::new(Mutex::new(None));
        let (outer, inner) = (Arc::new(outer), Arc::new(inner));
        let to_bob = Way {
            receive: outer.clone(),
            send: inner.clone(),
            learn: Some(alice.clone()),
            to: Arc::new(Mutex::new(Some(bob))),
            mischief,
            dice: Dice::new(seed),
            shared: shared.clone(),
        };
        let to_alice = Way {
            receive: inner,
            send: outer,
            learn: None,
            to: alice,
            dice: Dice::new(seed ^ 1),
            mischief,
            shared: shared.clone(),
        };
        let threads = [to_bob, to_alice].map(|way| std::thread::spawn(move || way.carry()));
        Self { address, shared, threads: threads.into() }
    }

    /// What Alice takes for Bob's endpoint.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams it has reordered, duplicated and lost.
    pub fn done(&self) -> (u64, u64, u64) {
        let Shared { reordered, duplicated, lost, .. } = &*self.shared;
        (reordered.load(Ordering::Relaxed), duplicated.load(Ordering::Relaxed), lost.load(Ordering::Relaxed))
    }

    /// The last datagrams that Alice sent, as they were: material for someone who recorded them.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.from_alice).iter().cloned().collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// One direction.
struct Way {
    receive: Arc<UdpSocket>,
    send: Arc<UdpSocket>,
    learn: Option<Arc<Mutex<Option<SocketAddr>>>>,
    to: Arc<Mutex<Option<SocketAddr>>>,
    mischief: Mischief,
    dice: Dice,
    shared: Arc<Shared>,
}

impl Way {
    fn carry(mut self) {
        let mut waiting: Vec<(Instant, Vec<u8>)> = Vec::new();
        let mut datagram = vec![0; 65_536];
        while !self.shared.ended.load(Ordering::Relaxed) {
            // An ICMP error of an earlier datagram comes back as an error here: nothing was received, carry on.
            if let Ok((length, from)) = self.receive.recv_from(&mut datagram) {
                self.note(from, &datagram[..length]);
                self.schedule(&datagram[..length], &mut waiting);
            }
            let now = Instant::now();
            let due = waiting.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>();
            let to = *lock(&self.to);
            for (_, datagram) in due {
                if let Some(to) = to {
                    let _lost = self.send.send_to(&datagram, to);
                }
            }
        }
    }

    fn note(&self, from: SocketAddr, datagram: &[u8]) {
        let Some(learn) = &self.learn else { return };
        *lock(learn) = Some(from);
        let mut record = lock(&self.shared.from_alice);
        if record.len() == RECORD {
            record.pop_front();
        }
        record.push_back(datagram.to_vec());
    }

    fn schedule(&mut self, datagram: &[u8], waiting: &mut Vec<(Instant, Vec<u8>)>) {
        let Mischief { reorder, duplicate, lose, delay } = self.mischief;
        if self.dice.percent(lose) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut at = Instant::now() + delay;
        if self.dice.percent(reorder) {
            self.shared.reordered.fetch_add(1, Ordering::Relaxed);
            at += HELD_BACK;
        }
        if self.dice.percent(duplicate) {
            self.shared.duplicated.fetch_add(1, Ordering::Relaxed);
            waiting.push((at, datagram.to_vec()));
        }
        waiting.push((at, datagram.to_vec()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a datagram is held back so that others overtake it.
const HELD_BACK: Duration = Duration::from_millis(5);

/// How many of Alice's datagrams are remembered.
const RECORD: usize = 256;

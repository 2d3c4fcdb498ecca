//! Protocols that protect nothing, for measuring what the plane itself costs.
//!
//! [`Null`] moves packets as they are. [`NullAead`] seals each under one fixed key, without handshake or replay window: the
//! ceiling of any protocol that uses this AEAD. Not here: anything that may leave a laboratory.

use std::marker::PhantomData;

use adit_protocol::aead::{self, Key, OpenItem, SealItem, TAG_LEN};
use adit_protocol::{
    Delivery, DropReason, Drops, Inbound, IpPacket, Now, Open, Opening, Outbound, Output, Path, Protocol, Seal,
    Sealing, Secret, Why,
};
use std::sync::Arc;

/// Jobs that are sealed or opened at a time.
const AT_ONCE: usize = 64;
/// Bytes before the packet: four of zeros, four to keep the counter aligned, and the counter.
const HEADER_LEN: usize = 16;

/// A protocol without protection, with one peer: a fixed one, or whoever was heard last.
#[derive(Debug)]
pub struct NullProtocol<K> {
    to: Option<Path>,
    follows: bool,
    sent: u64,
    key: Option<Arc<Key>>,
    drops: Drops,
    kind: PhantomData<fn() -> K>,
}

/// Packets as they are.
pub type Null = NullProtocol<Plain>;
/// Packets sealed one and all under the same key.
pub type NullAead = NullProtocol<Sealed>;

/// Marks a protocol without an AEAD.
#[derive(Debug)]
pub struct Plain;
/// Marks a protocol with an AEAD.
#[derive(Debug)]
pub struct Sealed;

impl Null {
    /// Sends to `to`, or to whoever sent last.
    pub fn new(to: Option<Path>) -> Self {
        Self { to, follows: to.is_none(), sent: 0, key: None, drops: Drops::default(), kind: PhantomData }
    }
}

impl NullAead {
    /// Sends to `to`, or to whoever sent last. The other end needs the same key.
    pub fn new(to: Option<Path>, key: &Secret<32>) -> Self {
        let key = Some(Arc::new(Key::new(key)));
        Self { to, follows: to.is_none(), sent: 0, key, drops: Drops::default(), kind: PhantomData }
    }
}

/// How packets become datagrams.
pub trait Kind: Send + Sync + Sized + 'static {
    /// Bytes added to a packet.
    const OVERHEAD: usize;
    /// Bytes of those before the packet.
    const HEADER: usize;
    /// Seals laid-out datagrams.
    fn seal(batch: &mut [Sealing<'_, Job<Self>>]);
    /// Opens datagrams.
    fn open(batch: &mut [Opening<'_, Job<Self>>]);
}

/// Work of either kind, either way.
#[derive(Debug)]
pub struct Job<K> {
    counter: u64,
    key: Option<Arc<Key>>,
    from: Option<Path>,
    kind: PhantomData<fn() -> K>,
}

/// A datagram that was opened.
#[derive(Debug)]
pub struct Opened(Path);

impl Kind for Plain {
    const OVERHEAD: usize = 0;
    const HEADER: usize = 0;

    fn seal(_: &mut [Sealing<'_, Job<Self>>]) {}

    fn open(batch: &mut [Opening<'_, Job<Self>>]) {
        for entry in batch {
            entry.outcome = entry.job.take().and_then(|job| job.from).map(Opened);
        }
    }
}

impl Kind for Sealed {
    const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
    const HEADER: usize = HEADER_LEN;

    fn seal(batch: &mut [Sealing<'_, Job<Self>>]) {
        for batch in batch.chunks_mut(AT_ONCE) {
            let mut items: Vec<SealItem<'_>> = Vec::with_capacity(AT_ONCE);
            for entry in batch {
                let (Some(key), Some(buffer)) = (&entry.job.key, entry.datagram.get_mut(HEADER_LEN..)) else {
                    continue;
                };
                items.push(SealItem { key, nonce: nonce(entry.job.counter), aad: &[], buffer });
            }
            aead::seal_batch(&mut items);
        }
    }

    fn open(batch: &mut [Opening<'_, Job<Self>>]) {
        for batch in batch.chunks_mut(AT_ONCE) {
            let jobs: Vec<_> = batch.iter_mut().map(|entry| entry.job.take()).collect();
            let mut items: Vec<OpenItem<'_>> = Vec::with_capacity(AT_ONCE);
            for (entry, job) in batch.iter_mut().zip(&jobs) {
                let Some((key, counter)) = job.as_ref().and_then(|job| Some((job.key.as_ref()?, job.counter))) else {
                    continue;
                };
                let Some(buffer) = entry.datagram.get_mut(HEADER_LEN..) else { continue };
                items.push(OpenItem { key, nonce: nonce(counter), aad: &[], buffer, authentic: false });
            }
            aead::open_batch(&mut items);
            let authentic: Vec<bool> = items.iter().map(|item| item.authentic).collect();
            for ((entry, job), authentic) in batch.iter_mut().zip(jobs).zip(authentic) {
                entry.outcome = job.and_then(|job| job.from).filter(|_| authentic).map(Opened);
            }
        }
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl<K: Kind> Seal for Job<K> {
    fn wire_len(&self, packet_len: usize) -> usize {
        packet_len + K::OVERHEAD
    }

    fn lay_out(&self, packet: Option<&IpPacket<'_>>, datagram: &mut [u8]) {
        let (header, rest) = datagram.split_at_mut(K::HEADER);
        if let [zero @ .., _, _, _, _, _, _, _, _] = header {
            zero.fill(0);
            header[HEADER_LEN - 8..].copy_from_slice(&self.counter.to_le_bytes());
        }
        if let Some(packet) = packet {
            packet.copy_to(rest);
        }
    }

    fn seal_batch(batch: &mut [Sealing<'_, Self>]) {
        K::seal(batch);
    }
}

impl<K: Kind> Open for Job<K> {
    type Opened = Opened;

    fn open_batch(batch: &mut [Opening<'_, Self>]) {
        K::open(batch);
    }
}

impl<K: Kind> Protocol for NullProtocol<K> {
    type Seal = Job<K>;
    type Open = Job<K>;
    type Change = ();
    type Event = ();

    fn plan_outbound(&mut self, _: Now, _: &IpPacket<'_>) -> Outbound<Job<K>> {
        let Some(to) = self.to else {
            self.drops.count(DropReason::NoEndpoint);
            return Outbound::Drop(DropReason::NoEndpoint);
        };
        let job = Job { counter: self.sent, key: self.key.clone(), from: None, kind: PhantomData };
        self.sent += 1;
        Outbound::Seal { job, to }
    }

    fn plan_inbound(&mut self, _: Now, from: Path, datagram: &mut [u8]) -> Inbound<Job<K>> {
        let Some(counter) = counter::<K>(datagram) else {
            self.drops.count(DropReason::NotAMessage);
            return Inbound::Drop(DropReason::NotAMessage);
        };
        Inbound::Open(Job { counter, key: self.key.clone(), from: Some(from), kind: PhantomData })
    }

    fn commit_inbound(&mut self, _: Now, Opened(from): Opened, datagram: &[u8]) -> Delivery {
        if self.follows {
            self.to = Some(from);
        }
        let plain = K::HEADER..datagram.len() + K::HEADER - K::OVERHEAD;
        match IpPacket::parse_padded(&datagram[plain]) {
            Some(packet) => Delivery::Packet(K::HEADER..K::HEADER + packet.len()),
            None => {
                self.drops.count(DropReason::BadInner);
                Delivery::Drop(DropReason::BadInner)
            }
        }
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self, _: Now) -> Output<Self> {
        Output::Timeout(None, Why("nothing"))
    }

    fn apply(&mut self, _: Now, (): ()) {}

    fn drops(&self) -> Drops {
        self.drops.clone()
    }

    fn overhead(&self) -> usize {
        K::OVERHEAD
    }
}

/// The counter in a datagram that is long enough to be one.
fn counter<K: Kind>(datagram: &[u8]) -> Option<u64> {
    if datagram.len() < K::OVERHEAD {
        return None;
    }
    if K::HEADER == 0 {
        return Some(0);
    }
    datagram.get(HEADER_LEN - 8..HEADER_LEN)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use adit_engine::{Datagram, EngineHandle, Lanes, Options, PacketChannel, datagram_pair, packet_pair, start};

    use super::*;

    #[tokio::test]
    async fn packets_cross_two_engines_sealed_and_plain() {
        let key = Secret::new([7; 32]);
        cross(Null::new, 28).await;
        cross(|to| NullAead::new(to, &key), 28 + 32).await;
    }

    /// Nothing is dropped and nothing overtakes: whoever is slow makes the other side wait.
    #[tokio::test]
    async fn a_slow_receiver_holds_the_sender_back_and_loses_nothing() {
        for lanes in [Lanes::Inline, Lanes::Threads(NonZero::new(2).unwrap())] {
            let key = Secret::new([7; 32]);
            let mut world = World::new(|to| NullAead::new(to, &key), lanes);
            let patience = Duration::from_millis(300);
            let mut given = 0;
            while tokio::time::timeout(patience, world.alice.send(v4(1000 + given % 400))).await.is_ok() {
                given += 1;
                assert!(given < 10_000, "the sender is never held back");
            }
            for n in 0..given {
                assert_eq!(world.bob.recv().await.unwrap(), v4(1000 + n % 400), "packet {n} with {lanes:?}");
            }
            let status = world.right_engine.status().await.unwrap();
            assert_eq!((status.traffic.inside_written.packets, status.drops.total()), (given as u64, 0));
        }
    }

    /// A bug in one tunnel is that tunnel's end, with a reason, and nobody else's.
    #[tokio::test]
    async fn a_core_that_panics_ends_its_engine_with_a_reason() {
        let world = World::new(Null::new, Lanes::Inline);
        assert!(world.left_engine.with(|_, _| panic!("out of cheese")).await.is_err());
        let stopped = world.left_engine.stopped().await;
        assert_eq!(stopped.to_string(), "a fault in the tunnel's code: out of cheese");
        assert!(world.right_engine.with(|_, _| ()).await.is_ok());
    }

    /// What a datagram that was changed on its way does: nothing but a count.
    #[tokio::test]
    async fn a_forged_datagram_is_counted_and_not_delivered() {
        let key = Secret::new([7; 32]);
        let (left, right) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
        let (forger, outside) = datagram_pair(left, right, 16);
        let (mut bob, inside) = packet_pair(1420, 16);
        let (engine, _news) = start(NullAead::new(None, &key), inside, outside, Options::default());
        let key = Key::new(&key);
        for (counter, forged) in [(0, false), (1, true), (2, false)] {
            let mut bytes = vec![0; HEADER_LEN - 8];
            bytes.extend_from_slice(&u64::to_le_bytes(counter));
            bytes.extend_from_slice(&v4(100 + counter as usize));
            bytes.extend_from_slice(&[0; TAG_LEN]);
            let buffer = &mut bytes[HEADER_LEN..];
            aead::seal_batch(&mut [SealItem { key: &key, nonce: nonce(counter), aad: &[], buffer }]);
            bytes[40] ^= u8::from(forged);
            forger.send(Datagram { tos: 0, bytes }).await;
        }
        assert_eq!(bob.recv().await.unwrap(), v4(100));
        assert_eq!(bob.recv().await.unwrap(), v4(102));
        assert_eq!(engine.status().await.unwrap().drops.of(DropReason::Forged), 1);
    }

    async fn cross<K: Kind>(make: impl Fn(Option<Path>) -> NullProtocol<K>, overhead: usize) {
        for lanes in [Lanes::Inline, Lanes::Threads(NonZero::new(3).unwrap())] {
            let mut world = World::new(&make, lanes);
            for n in 0..200 {
                let packet = v4(20 + n * 7);
                world.alice.send(packet.clone()).await.unwrap();
                assert_eq!(world.bob.recv().await.unwrap(), packet);
                world.bob.send(packet.clone()).await.unwrap();
                assert_eq!(world.alice.recv().await.unwrap(), packet);
            }
            let status = world.left_engine.status().await.unwrap();
            assert_eq!((status.traffic.inside_read.packets, status.traffic.inside_written.packets), (200, 200));
            assert_eq!((status.overhead, status.mtu, status.drops.total()), (overhead, 1420, 0));
            drop(world.left_engine);
            tokio::time::timeout(Duration::from_secs(10), world.right_engine.stop()).await.unwrap();
            assert!(world.right_engine.status().await.is_err());
        }
    }

    /// Alice and Bob, each inside an engine of their own, with a channel for a network.
    struct World<K: Kind> {
        alice: PacketChannel,
        bob: PacketChannel,
        left_engine: EngineHandle<NullProtocol<K>>,
        right_engine: EngineHandle<NullProtocol<K>>,
    }

    impl<K: Kind> World<K> {
        fn new(make: impl Fn(Option<Path>) -> NullProtocol<K>, lanes: Lanes) -> Self {
            let (left, right) = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
            let (left_out, right_out) = datagram_pair(left, right, 16);
            let (alice, left_in) = packet_pair(1420, 16);
            let (bob, right_in) = packet_pair(1420, 16);
            let options = || Options { lanes, ..Options::default() };
            let (left_engine, _) = start(make(Some(Path::to(right))), left_in, left_out, options());
            let (right_engine, _) = start(make(None), right_in, right_out, options());
            Self { alice, bob, left_engine, right_engine }
        }
    }

    fn v4(len: usize) -> Vec<u8> {
        let mut packet = vec![0x5a; len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet
    }
}

//! The plane on real devices and sockets: two engines in network namespaces, with a protocol that only seals.
//!
//! Needs root; fails without it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use adit_engine::{
    EngineHandle, Lanes, Offload, Offloads, Options, RunOn, Status, Stopped, TunDevice, UdpLink, UdpOptions, start,
};
use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::null::NullAead;
use adit_lab::poll::{PATIENCE, until};
use adit_lab::traffic::{ping_once, tcp};
use adit_protocol::{Path, Secret};

/// Offloads on and off, packets smaller than the path and larger, both families outside: the bytes that go in come out.
#[test]
fn transfers_arrive_whole_with_every_offload_and_every_mtu() {
    let lanes = Lanes::Threads(NonZero::new(2).unwrap());
    let cases = [
        (Offload::AUTO, 1420, Family::V4, Lanes::Inline),
        (Offload::AUTO, 1420, Family::V6, lanes),
        (Offload::OFF, 1420, Family::V4, Lanes::Inline),
        ("no-gso,no-coalesce".parse().unwrap(), 1280, Family::V6, Lanes::Inline),
        ("no-gro,no-tso,no-uso".parse().unwrap(), 1280, Family::V4, lanes),
        (Offload::AUTO, 9000, Family::V4, Lanes::Inline),
        (Offload::AUTO, 65_000, Family::V4, Lanes::Inline),
    ];
    for (offload, mtu, family, lanes) in cases {
        let pair = Pair::new(World::direct(), offload, mtu, family, lanes);
        for inner in [Family::V4, Family::V6] {
            tcp(&pair.world.alice, (&pair.world.bob, inside(Side::Bob, inner)), 8 << 20).finish();
            tcp(&pair.world.bob, (&pair.world.alice, inside(Side::Alice, inner)), 8 << 20).finish();
        }
        // It is looked at now and then, and a status is a reason to.
        until("the MTU to be noticed", PATIENCE, || (pair.status(Side::Bob).mtu == mtu as usize).then_some(()));
        let status = pair.status(Side::Bob);
        if offload == Offload::OFF {
            assert_eq!(status.offloads, Offloads::default());
        }
    }
}

/// What is tried at the start has worked on any kernel these tests run on.
#[test]
fn every_offload_is_in_use_where_the_kernel_has_them() {
    let pair = Pair::new(World::direct(), Offload::AUTO, 1420, Family::V4, Lanes::Inline);
    let used = pair.status(Side::Alice).offloads;
    assert!(used.tso && used.coalesce && used.gso && used.gro, "{used}");
}

#[test]
fn removing_the_interface_ends_the_engine_with_a_reason() {
    let pair = Pair::new(World::direct(), Offload::AUTO, 1420, Family::V4, Lanes::Inline);
    pair.world.alice.run("ip link delete adt0");
    let stopped = pair.runtime.block_on(async { tokio::time::timeout(PATIENCE, pair.alice.stopped()).await.unwrap() });
    assert!(matches!(*stopped, Stopped::Inside(_)), "{stopped}");
}

#[test]
fn an_interface_that_was_down_carries_packets_when_it_is_up_again() {
    let pair = Pair::new(World::direct(), Offload::AUTO, 1420, Family::V4, Lanes::Inline);
    pair.wait_for_ping();
    pair.world.bob.run("ip link set adt0 down");
    assert!(!ping_once(&pair.world.alice, inside(Side::Bob, Family::V4)));
    pair.world.bob.run("ip link set adt0 up");
    pair.wait_for_ping();
}

#[test]
fn an_interface_that_moved_to_another_namespace_goes_on_and_its_mtu_is_followed() {
    let pair = Pair::new(World::direct(), Offload::AUTO, 1420, Family::V4, Lanes::Inline);
    let elsewhere = Namespace::new();
    pair.world.alice.run(&format!("ip link set adt0 netns {}", elsewhere.name()));
    elsewhere.run("ip link set adt0 name moved0 mtu 1300 up");
    elsewhere.add_address("moved0", inside(Side::Alice, Family::V4), 24);
    until("a ping from the other namespace", PATIENCE, || {
        ping_once(&elsewhere, inside(Side::Bob, Family::V4)).then_some(())
    });
    until("the new MTU", PATIENCE, || {
        ping_once(&elsewhere, inside(Side::Bob, Family::V4));
        (pair.status(Side::Alice).mtu == 1300).then_some(())
    });
}

/// Two engines on threads of their own, in a world.
struct Pair {
    world: World,
    runtime: tokio::runtime::Runtime,
    alice: EngineHandle<NullAead>,
    bob: EngineHandle<NullAead>,
}

const PORT: u16 = 7000;

impl Pair {
    fn new(world: World, offload: Offload, mtu: u32, family: Family, lanes: Lanes) -> Self {
        let engine = |side: Side, other: Side| {
            let to = Path::to(SocketAddr::new(world.address(other, family), PORT));
            let host = world.host(side);
            let (device, link) = host.within(|| {
                let options = UdpOptions { port: PORT, offload, ..UdpOptions::default() };
                (TunDevice::open("adt0", offload).unwrap(), UdpLink::bind(options).unwrap().0)
            });
            let run = RunOn::Thread(format!("{side:?}"));
            let core = NullAead::new(Some(to), &Secret::new([7; 32]));
            let (engine, _) = start(core, device, link, Options { run, lanes, ..Options::default() });
            host.run(&format!("ip link set adt0 mtu {mtu} up"));
            host.add_address("adt0", inside(side, Family::V4), 24);
            host.add_address("adt0", inside(side, Family::V6), 64);
            engine
        };
        let (alice, bob) = (engine(Side::Alice, Side::Bob), engine(Side::Bob, Side::Alice));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { world, runtime, alice, bob }
    }

    fn status(&self, side: Side) -> Status {
        let engine = if side == Side::Alice { &self.alice } else { &self.bob };
        self.runtime.block_on(engine.status()).unwrap()
    }

    #[track_caller]
    fn wait_for_ping(&self) {
        until("a ping", PATIENCE, || ping_once(&self.world.alice, inside(Side::Bob, Family::V4)).then_some(()));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let stop = |engine: EngineHandle<NullAead>| async move {
            let stopped: Result<Arc<Stopped>, _> = tokio::time::timeout(Duration::from_secs(30), engine.stop()).await;
            drop(stopped);
        };
        self.runtime.block_on(stop(self.alice.clone()));
        self.runtime.block_on(stop(self.bob.clone()));
    }
}

fn inside(side: Side, family: Family) -> IpAddr {
    let host = if side == Side::Alice { 1 } else { 2 };
    match family {
        Family::V4 => Ipv4Addr::new(10, 99, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

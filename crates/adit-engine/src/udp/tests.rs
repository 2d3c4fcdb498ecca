//! UDP on loopback, which needs no root, and what refusals of the kernel lead to.

use std::net::SocketAddr;
use std::time::Duration;

use adit_protocol::{DropReason, Ecn, Path};

use super::*;
use crate::MAX_DATAGRAM;

#[tokio::test]
async fn a_run_arrives_as_the_datagrams_it_was_made_of() {
    for offload in [Offload::AUTO, Offload::OFF] {
        for address in addresses() {
            let (mut left, right_at, mut right) = pair(offload, address);
            let mut arena = SendArena::with_capacity(100_000);
            for n in 0..40 {
                arena.push(Path::to(right_at), Ecn::Ect0 as u8, &[n; 1200]).unwrap();
            }
            arena.push(Path::to(right_at), Ecn::Ect0 as u8, &[40; 7]).unwrap();
            left.try_send(&mut arena).unwrap();
            assert!(arena.is_empty());
            let got = receive(&mut right, 41).await;
            assert_eq!(got.iter().map(|d| d.bytes[0]).collect::<Vec<_>>(), (0..=40).collect::<Vec<_>>());
            assert_eq!((got[3].bytes.len(), got[40].bytes.len()), (1200, 7));
            assert!(got.iter().all(|d| d.ecn == Ecn::Ect0 && d.from.local == Some(address)), "{got:?}");
        }
    }
}

#[tokio::test]
async fn the_longest_datagram_passes() {
    let (mut left, right_at, mut right) = pair(Offload::AUTO, addresses()[0]);
    let mut arena = SendArena::with_capacity(100_000);
    arena.push(Path::to(right_at), 0x88, &[9; MAX_DATAGRAM]).unwrap();
    left.try_send(&mut arena).unwrap();
    let got = receive(&mut right, 1).await;
    assert_eq!((got[0].bytes.len(), got[0].ecn), (MAX_DATAGRAM, Ecn::NotEct));
}

#[tokio::test]
async fn an_answer_leaves_from_the_address_it_was_asked_at_and_from_any_when_that_is_gone() {
    let (mut left, right_at, mut right) = pair(Offload::AUTO, addresses()[0]);
    let mut arena = SendArena::with_capacity(10_000);
    let pinned = Path { local: Some("127.0.0.9".parse().unwrap()), ..Path::to(right_at) };
    arena.push(pinned, 0, &[1; 10]).unwrap();
    // Not an address of this machine: documentation (RFC 5737).
    let vanished = Path { local: Some("192.0.2.77".parse().unwrap()), ..Path::to(right_at) };
    arena.push(vanished, 0, &[2; 10]).unwrap();
    left.try_send(&mut arena).unwrap();
    let got = receive(&mut right, 2).await;
    assert_eq!(got[0].from.remote.ip(), pinned.local.unwrap());
    assert_eq!(got[1].from.remote.ip(), right_at.ip());
    assert_eq!(left.lost_source, vanished.local);
    assert_eq!(arena.take_drops().total(), 0);
}

#[tokio::test]
async fn what_nobody_hears_ends_nothing() {
    let (mut left, right_at, right) = pair(Offload::AUTO, addresses()[0]);
    drop(right);
    let mut arena = SendArena::with_capacity(10_000);
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    for _ in 0..5 {
        arena.push(Path::to(right_at), 0, &[1; 10]).unwrap();
        arena.push(Path::to("0.0.0.1:0".parse().unwrap()), 0, &[1; 10]).unwrap();
        left.try_send(&mut arena).unwrap();
        let nothing = left.try_recv(&mut batch).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
    assert!(arena.take_drops().of(DropReason::OutsideFull) >= 5);
}

#[tokio::test]
async fn a_flood_at_one_family_does_not_silence_the_other() {
    let (mut link, control) = UdpLink::bind(UdpOptions::default()).unwrap();
    for address in addresses() {
        let sender = std::net::UdpSocket::bind((address, 0)).unwrap();
        for _ in 0..64 {
            sender.send_to(&[1; 100], (address, control.port())).unwrap();
        }
    }
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
        link.try_recv(&mut batch).unwrap();
        heard.extend(batch.slots.iter().map(|slot| slot.from.remote.ip()));
    }
    for address in addresses() {
        assert!(heard.contains(&address), "{address} is not among {heard:?}");
    }
}

#[tokio::test]
async fn both_families_share_a_port_which_can_be_changed() {
    let (mut link, control) = UdpLink::bind(UdpOptions::default()).unwrap();
    let first = control.port();
    assert_ne!(first, 0);
    let (_other, taken) = UdpLink::bind(UdpOptions::default()).unwrap();
    let asking = tokio::spawn(async move {
        assert_eq!(control.rebind(taken.port()).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(control.port(), first, "the old one stays");
        let second = control.rebind(0).await.unwrap();
        assert_ne!(second, first);
        assert_eq!(control.port(), second);
        second
    });
    let want = Want { read: true, write: false };
    let waiting = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            _ = link.ready(want) => panic!("nobody sends"),
            port = asking => port.unwrap(),
        }
    });
    let port = waiting.await.unwrap();
    assert!(UdpLink::bind(UdpOptions { port, ..UdpOptions::default() }).is_err());
}

#[tokio::test]
async fn the_path_that_is_used_most_gets_a_shortcut_and_nobody_notices() {
    for address in addresses() {
        let (mut left, right_at, mut right) = pair(Offload::AUTO, address);
        let path = Path { local: Some(address), ..Path::to(right_at) };
        let left_at = SocketAddr::new(address, *left.port.borrow());
        for n in 0..20 {
            send(&mut left, path, n);
            let got = receive(&mut right, 1).await;
            assert_eq!((got[0].bytes[0], got[0].from.remote), (n, left_at));
        }
        assert!(left.shortcut.is_some());
        // Both are heard: who is at the other end of it, and a stranger.
        send(&mut right, Path::to(left_at), 77);
        assert_eq!(receive(&mut left, 1).await[0].from, Path { local: Some(address), ..Path::to(right_at) });
        let stranger = std::net::UdpSocket::bind((address, 0)).unwrap();
        stranger.send_to(&[88], left_at).unwrap();
        assert_eq!(receive(&mut left, 1).await[0].from.remote, stranger.local_addr().unwrap());
        // The port is no less taken than before.
        let again = UdpLink::bind(UdpOptions { port: left_at.port(), ..UdpOptions::default() });
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}

#[tokio::test]
async fn a_peer_that_went_away_and_came_back_is_reached_again() {
    let address = addresses()[0];
    let (mut left, right_at, mut right) = pair(Offload::AUTO, address);
    let path = Path { local: Some(address), ..Path::to(right_at) };
    (0..10).for_each(|n| send(&mut left, path, n));
    receive(&mut right, 10).await;
    assert!(left.shortcut.is_some());
    drop(right);
    (0..30).for_each(|n| send(&mut left, path, n));
    let (mut back, _) = UdpLink::bind(UdpOptions { port: right_at.port(), ..UdpOptions::default() }).unwrap();
    (0..30).for_each(|n| send(&mut left, path, n));
    assert!(receive(&mut back, 29).await.len() >= 29, "at most one may pay for an error that waited");
}

#[tokio::test]
async fn another_path_takes_the_shortcut_only_after_long_use() {
    let address = addresses()[0];
    let (mut left, right_at, _right) = pair(Offload::AUTO, address);
    let (_, other_at, _other) = pair(Offload::AUTO, address);
    let paths = [right_at, other_at].map(|to| Path { local: Some(address), ..Path::to(to) });
    (0..50).for_each(|_| paths.iter().for_each(|path| send(&mut left, *path, 1)));
    assert!(left.shortcut.is_none(), "two in turn are not worth it");
    (0..8).for_each(|_| send(&mut left, paths[0], 1));
    let to = |left: &UdpLink| {
        left.shortcut
            .as_ref()
            .and_then(|s| socket2::SockRef::from(&s.socket.io.fd().unwrap()).peer_addr().unwrap().as_socket())
    };
    assert_eq!(to(&left), Some(right_at));
    (0..4000).for_each(|_| send(&mut left, paths[1], 1));
    assert_eq!(to(&left), Some(right_at));
    (0..100).for_each(|_| send(&mut left, paths[1], 1));
    assert_eq!(to(&left), Some(other_at));
}

const NARROW: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
const WIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 1);

/// The device cannot, or a guest kernel promises what it does not keep.
#[test]
fn a_kernel_that_refuses_to_cut_is_not_asked_again() {
    let mut cutting = Cutting::default();
    assert!(cutting.allows(WIDE, 1400));
    assert!(cutting.refused(libc::EIO, WIDE, 1400));
    assert!(!cutting.allows(WIDE, 100) && !cutting.allows(NARROW, 100));
    let mut cutting = Cutting::default();
    assert!(cutting.refused(libc::EINVAL, NARROW, 500));
    assert!(!cutting.allows(WIDE, 100));
}

/// A peer behind a smaller MTU must not cost the others their offload, nor itself for ever.
#[tokio::test(start_paused = true)]
async fn a_size_that_does_not_fit_the_way_is_not_cut_again_for_a_while_on_that_way() {
    let mut cutting = Cutting::default();
    assert!(cutting.refused(libc::EMSGSIZE, NARROW, 8952));
    assert!(cutting.refused(libc::EINVAL, NARROW, 1452));
    assert!(cutting.allows(NARROW, 1451) && !cutting.allows(NARROW, 1452));
    assert!(cutting.allows(WIDE, 8952), "another way");
    assert!(!cutting.refused(libc::EPERM, NARROW, 100), "a firewall is another matter");
    tokio::time::advance(NARROW_FOR - Duration::from_secs(1)).await;
    assert!(!cutting.allows(NARROW, 1452));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(cutting.allows(NARROW, 1452), "routes change");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_narrow_ways_has_a_bound() {
    let mut cutting = Cutting::default();
    for port in 1..=5000 {
        assert!(cutting.refused(libc::EMSGSIZE, SocketAddr::new(NARROW.ip(), port), 1452));
        assert!(!cutting.allows(SocketAddr::new(NARROW.ip(), port), 1452));
        assert!(cutting.narrow.len() <= NARROW_WAYS);
    }
}

#[derive(Debug)]
struct Arrived {
    from: Path,
    ecn: Ecn,
    bytes: Vec<u8>,
}

/// IPv6 where the machine has it.
fn addresses() -> Vec<IpAddr> {
    let v6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let all: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    all.into_iter().filter(|address| address.is_ipv4() || v6).collect()
}

fn pair(offload: Offload, address: IpAddr) -> (UdpLink, SocketAddr, UdpLink) {
    let options = UdpOptions { offload, ..UdpOptions::default() };
    let (left, _) = UdpLink::bind(options).unwrap();
    let (right, control) = UdpLink::bind(options).unwrap();
    (left, SocketAddr::new(address, control.port()), right)
}

fn send(link: &mut UdpLink, path: Path, byte: u8) {
    let mut arena = SendArena::with_capacity(100);
    arena.push(path, 0, &[byte; 10]).unwrap();
    link.try_send(&mut arena).unwrap();
}

async fn receive(link: &mut UdpLink, count: usize) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
        let ready = link.ready(Want { read: true, write: false });
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("they should have arrived").unwrap();
        drop(link.try_recv(&mut batch));
        arrived.extend(batch.slots.iter().map(|slot| {
            let bytes = batch.slab[slot.body.range()].to_vec();
            Arrived { from: slot.from, ecn: slot.ecn, bytes }
        }));
    }
    arrived
}

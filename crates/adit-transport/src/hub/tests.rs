//! The hub with streams that are only their seats.

use super::*;
use crate::capsule::Decoder;

/// A run of datagrams becomes capsules in one chunk, and comes out of another hub as the same datagrams.
#[tokio::test]
async fn datagrams_travel_from_one_hub_to_another() {
    let (mut client, to_client) = Hub::single(Bounds::default(), server_path());
    let (mut server, to_server) = hub(Bounds::default());
    let mut near = to_client.join(server_path()).await.unwrap();
    let far = to_server.join(client_path(1)).await.unwrap();

    let sent: Vec<_> = (0..100_u8).map(|n| vec![n; 1000 + usize::from(n % 3)]).collect();
    send(&mut client, server_path(), &sent);
    let mut decoder = Decoder::default();
    while let Some(chunk) = near.from_engine.try_next() {
        assert!(chunk.len() <= MAX_CHUNK);
        far.deliver(decoder.decode(chunk).unwrap()).await.unwrap();
    }
    let got = receive(&mut server);
    assert_eq!(got.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), sent);
    assert!(got.iter().all(|(from, _)| from.remote == client_path(1).remote && from.link == client_path(1).link));

    // The answer takes the same stream back.
    let back = got[0].0;
    let mut far = far;
    send(&mut server, back, &[vec![7; 20]]);
    near.deliver(decoder.decode(far.next().await.unwrap()).unwrap()).await.unwrap();
    assert_eq!(receive(&mut client), [(server_path(), vec![7; 20])]);
}

#[tokio::test]
async fn two_streams_of_one_address_are_two_paths() {
    let (mut server, joiner) = hub(Bounds::default());
    let mut seats = [joiner.join(client_path(1)).await.unwrap(), joiner.join(client_path(1)).await.unwrap()];
    for (n, seat) in seats.iter().enumerate() {
        seat.deliver(datagrams(&[&[n as u8]])).await.unwrap();
    }
    let got = receive(&mut server);
    assert_ne!(got[0].0, got[1].0);
    for (n, seat) in seats.iter_mut().enumerate() {
        send(&mut server, got[n].0, &[vec![n as u8; 9]]);
        assert_eq!(open(seat.next().await.unwrap()), [vec![n as u8; 9]]);
        assert!(seat.from_engine.try_next().is_none());
    }
    // Without the mark it is one of them.
    send(&mut server, got[0].0.without_source(), &[vec![3; 3]]);
    let found = seats.iter_mut().filter_map(|seat| seat.from_engine.try_next()).count();
    assert_eq!(found, 1);
}

/// As over UDP: what a slow reader cannot take is dropped and counted, and others do not notice.
#[tokio::test]
async fn a_server_drops_for_a_stream_that_does_not_keep_up() {
    let (mut server, joiner) = hub(Bounds { to_stream: 2 * MAX_CHUNK, ..Bounds::default() });
    let mut slow = joiner.join(client_path(1)).await.unwrap();
    let mut quick = joiner.join(client_path(2)).await.unwrap();
    slow.deliver(datagrams(&[&[1]])).await.unwrap();
    quick.deliver(datagrams(&[&[2]])).await.unwrap();
    let paths: Vec<_> = receive(&mut server).into_iter().map(|(from, _)| from).collect();

    let mut refused = 0;
    for _ in 0..400 {
        let mut arena = SendArena::with_capacity(100_000);
        arena.push(paths[0], 0, &[0; 1400]).unwrap();
        arena.push(paths[1], 0, &[0; 1400]).unwrap();
        server.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
        refused += arena.take_drops().total();
        assert!(quick.from_engine.try_next().is_some());
    }
    let mut waiting = 0;
    while let Some(chunk) = slow.from_engine.try_next() {
        waiting += chunk.len();
    }
    assert!(waiting <= 2 * MAX_CHUNK && waiting > 0, "{waiting}");
    assert!(refused > 200, "{refused}");
}

/// However many streams are not read, there is a bound for all of them, and one that is read goes on.
#[tokio::test]
async fn slow_streams_together_have_a_bound_and_leave_something_for_the_quick() {
    const ALL: usize = 4 << 20;
    let (mut server, joiner) = hub(Bounds { to_streams: ALL, ..Bounds::default() });
    let mut seats = Vec::new();
    for n in 0..60 {
        seats.push(joiner.join(client_path(n)).await.unwrap());
        server.seat_waiting();
        seats[usize::from(n)].deliver(datagrams(&[&[1]])).await.unwrap();
    }
    let paths: Vec<_> = receive(&mut server).into_iter().map(|(from, _)| from).collect();
    let mut quick = seats.pop().unwrap();
    for _ in 0..400 {
        let mut arena = SendArena::with_capacity(60 * 1400);
        paths.iter().for_each(|path| arena.push(*path, 0, &[0; 1400]).unwrap());
        server.try_send(&mut arena).unwrap();
        assert!(quick.from_engine.try_next().is_some());
    }
    let waiting = joiner.shared.waiting.load(Ordering::Relaxed);
    assert!(waiting <= ALL && waiting > ALL / 2, "{waiting}");
    // Nothing is counted of streams that are gone, nor of what was written.
    let mut read = seats.pop().unwrap();
    drop(seats);
    while read.from_engine.try_next().is_some() {}
    assert_eq!(joiner.shared.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_waits_for_its_stream_and_goes_on_when_it_has_room() {
    let (mut client, joiner) = Hub::single(Bounds { to_stream: 2 * MAX_CHUNK, ..Bounds::default() }, server_path());
    let mut seat = joiner.join(server_path()).await.unwrap();
    let mut arena = full_arena();
    client.try_send(&mut arena).unwrap();
    assert!(!arena.is_empty());
    let write = Want { read: false, write: true };
    tokio::select! {
        biased;
        _ = client.ready(write) => panic!("it has no room"),
        () = tokio::task::yield_now() => {}
    }
    let mut bytes = 0;
    while !arena.is_empty() {
        bytes += seat.next().await.unwrap().len();
        assert_eq!(client.ready(write).await.unwrap(), Ready { read: false, write: true });
        client.try_send(&mut arena).unwrap();
    }
    while let Some(chunk) = seat.from_engine.try_next() {
        bytes += chunk.len();
    }
    assert_eq!(bytes, 400 * datagram_len(1400));
    assert_eq!(arena.take_drops().total(), 0);
}

/// Make before break: what the old stream still brings is taken, what is sent goes to the new one, the core sees one path.
#[tokio::test]
async fn a_newer_stream_takes_over_and_the_old_one_drains() {
    let (mut client, joiner) = Hub::single(Bounds::default(), server_path());
    let mut old = joiner.join(server_path()).await.unwrap();
    send(&mut client, server_path(), &[vec![1]]);
    let mut new = joiner.join(server_path()).await.unwrap();
    send(&mut client, server_path(), &[vec![2]]);

    assert_eq!(open(old.next().await.unwrap()), [vec![1]]);
    assert_eq!(old.next().await, None);
    assert_eq!(open(new.next().await.unwrap()), [vec![2]]);
    old.deliver(datagrams(&[&[3]])).await.unwrap();
    new.deliver(datagrams(&[&[4]])).await.unwrap();
    assert_eq!(receive(&mut client), [(server_path(), vec![3]), (server_path(), vec![4])]);
}

#[tokio::test]
async fn what_arrives_has_the_path_that_was_last_sent_to() {
    let (mut client, joiner) = Hub::single(Bounds::default(), server_path());
    let seat = joiner.join(client_path(9)).await.unwrap();
    let other = Path::to(([203, 0, 113, 9], 51820).into());
    send(&mut client, other, &[vec![1]]);
    seat.deliver(datagrams(&[&[2]])).await.unwrap();
    assert_eq!(receive(&mut client), [(other, vec![2])]);
}

/// While it connects a client keeps what is young, and no more than so much.
#[tokio::test(start_paused = true)]
async fn without_a_stream_only_young_datagrams_are_kept() {
    let (mut client, joiner) = Hub::single(Bounds::default(), server_path());
    send(&mut client, server_path(), &[vec![1]]);
    tokio::time::advance(Duration::from_secs(3)).await;
    send(&mut client, server_path(), &[vec![2]]);
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut seat = joiner.join(server_path()).await.unwrap();
    send(&mut client, server_path(), &[vec![3]]);
    assert_eq!(open(seat.next().await.unwrap()), [vec![2]]);
    assert_eq!(open(seat.next().await.unwrap()), [vec![3]]);
    assert_eq!(joiner.lost(), 1);

    drop(seat);
    for n in 0..1000_u16 {
        send(&mut client, server_path(), &[n.to_be_bytes().to_vec()]);
    }
    let Kind::Single { held, .. } = &client.kind else { unreachable!() };
    assert!(held.bytes <= MAX_HELD && held.chunks.len() <= MAX_HELD / MIN_CHARGE);
    assert_eq!(joiner.lost(), 1 + 1000 - (MAX_HELD / MIN_CHARGE) as u64);
    let mut seat = joiner.join(server_path()).await.unwrap();
    send(&mut client, server_path(), &[]);
    assert_eq!(open(seat.next().await.unwrap()), [1000 - (MAX_HELD / MIN_CHARGE) as u16].map(|n| n.to_be_bytes()));
}

#[tokio::test]
async fn streams_are_bounded_and_those_that_ended_make_room() {
    let (mut server, joiner) = hub(Bounds { streams: 2, ..Bounds::default() });
    let (one, mut two) = (joiner.join(client_path(1)).await.unwrap(), joiner.join(client_path(2)).await.unwrap());
    let mut three = joiner.join(client_path(3)).await.unwrap();
    server.seat_waiting();
    assert_eq!(three.next().await, None, "the third is refused");
    drop(one);
    let four = joiner.join(client_path(4)).await.unwrap();
    server.seat_waiting();
    four.deliver(datagrams(&[&[4]])).await.unwrap();
    two.deliver(datagrams(&[&[2]])).await.unwrap();
    for (path, _) in receive(&mut server) {
        send(&mut server, path, &[vec![1]]);
    }
    assert!(two.from_engine.try_next().is_some());
    let Kind::Many(streams) = &server.kind else { unreachable!() };
    assert_eq!(streams.len(), 2);
}

#[tokio::test]
async fn an_engine_that_does_not_read_makes_connections_wait() {
    let (mut server, joiner) = hub(Bounds { to_engine: 3, ..Bounds::default() });
    let seat = joiner.join(client_path(1)).await.unwrap();
    for _ in 0..3 {
        seat.deliver(datagrams(&[&[1]])).await.unwrap();
    }
    tokio::select! {
        biased;
        _ = seat.deliver(datagrams(&[&[2]])) => panic!("there is no room"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(receive(&mut server).len(), 3);
    seat.deliver(datagrams(&[&[2]])).await.unwrap();
    drop(server);
    assert_eq!(seat.deliver(datagrams(&[&[2]])).await, Err(Gone));
    assert_eq!(joiner.join(client_path(2)).await.unwrap_err(), Gone);
    joiner.gone().await;
}

/// A batch that is full in the middle of a piece goes on there the next time.
#[tokio::test]
async fn a_piece_with_more_datagrams_than_a_batch_takes_is_not_cut() {
    let (mut server, joiner) = hub(Bounds::default());
    let seat = joiner.join(client_path(1)).await.unwrap();
    let many: Vec<_> = (0..600_u16).map(u16::to_be_bytes).collect();
    let all: Vec<_> = many.iter().map(<[u8; 2]>::as_slice).collect();
    seat.deliver(datagrams(&all)).await.unwrap();
    let mut got = Vec::new();
    for _ in 0..3 {
        assert!(server.ready(Want { read: true, write: false }).await.unwrap().read);
        got.extend(receive(&mut server));
    }
    assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), many);
    let mut batch = RecvBatch::with_capacity(0);
    assert_eq!(server.try_recv(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

fn server_path() -> Path {
    Path::to(([192, 0, 2, 1], 443).into())
}

fn client_path(n: u8) -> Path {
    Path { link: adit_protocol::LinkId(1), ..Path::to(([198, 51, 100, n], 50_000).into()) }
}

fn full_arena() -> SendArena {
    let mut arena = SendArena::with_capacity(400 * 1400);
    while arena.push(server_path(), 0, &[5; 1400]).is_ok() {}
    arena
}

/// Sends all of it, which must fit.
fn send(hub: &mut Hub, to: Path, datagrams: &[Vec<u8>]) {
    let mut arena = SendArena::with_capacity(1 << 20);
    for datagram in datagrams {
        arena.push(to, 0, datagram).unwrap();
    }
    hub.try_send(&mut arena).unwrap();
    assert!(arena.is_empty());
    assert_eq!(arena.take_drops().total(), 0);
}

/// One batch of what arrived.
fn receive(hub: &mut Hub) -> Vec<(Path, Vec<u8>)> {
    let mut batch = RecvBatch::with_capacity(1 << 20);
    hub.try_recv(&mut batch).unwrap();
    let mut all = Vec::new();
    while let Some(path) = batch.front_path() {
        all.push((path, batch.front().unwrap().to_vec()));
        batch.pop_front();
    }
    all
}

fn datagrams(payloads: &[&[u8]]) -> Datagrams {
    let mut bytes = BytesMut::new();
    payloads.iter().for_each(|payload| put_datagram(&mut bytes, payload));
    Decoder::default().decode(bytes.freeze()).unwrap()
}

fn open(chunk: Bytes) -> Vec<Vec<u8>> {
    let mut found = Decoder::default().decode(chunk).unwrap();
    std::iter::from_fn(|| {
        let one = found.front().map(<[u8]>::to_vec);
        found.pop_front();
        one
    })
    .collect()
}

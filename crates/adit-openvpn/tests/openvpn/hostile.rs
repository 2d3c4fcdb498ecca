//! What strangers get: silence where there are keys, one small answer where there are none; and they leave nothing behind.

use std::net::SocketAddr;
use std::time::Duration;

use adit_openvpn::{
    ClientChange, ClientConfig, ClientEvent, ClientKey, ControlWrap, Digest, Direction, Metadata, ServerConfig,
    ServerKey, ServerWrap, SharedWrap, StaticKey,
};
use adit_protocol::{DropReason, Protocol as _, Secret};
use aws_lc_rs::hmac;
use proptest::prelude::*;

use crate::papers::Papers;
use crate::world::{World, client_config, packet, server_at, server_config};

fn stranger(n: u16) -> SocketAddr {
    ([203, 0, (n >> 8) as u8, n as u8], 9999).into()
}

/// A reset without an envelope.
fn reset(session: u64) -> Vec<u8> {
    [&[0x38], session.to_be_bytes().as_slice(), &[0; 5]].concat()
}

fn open_server() -> World {
    World::new(server_config(&Papers::new()), vec![])
}

/// One whose four parts differ.
fn key(n: u8) -> StaticKey {
    StaticKey::new(Secret::new(std::array::from_fn(|i| n + (i / 64 * 16) as u8)))
}

/// A key of a client's own, wrapped by the key of some server.
fn own_key(server: u8, client: u8) -> ClientKey {
    ServerKey::new(Secret::new([server; 128])).wrap(key(client), &Metadata::Timestamp(0)).unwrap()
}

/// Every envelope that has a key: a server's, its client's, and such with wrong keys.
fn envelopes() -> Vec<(ServerWrap, ControlWrap, Vec<ControlWrap>)> {
    let shared = |wrap| ServerWrap::Keyed { shared: Some(Box::new(wrap)), clients: None };
    let tls_auth = [Digest::Sha1, Digest::Sha256, Digest::Sha512].into_iter().flat_map(|digest| {
        [None, Some((Direction::Normal, Direction::Inverse))].map(|directions| {
            let (ours, theirs) = (directions.map(|both| both.0), directions.map(|both| both.1));
            let wrap = |n, direction| ControlWrap::TlsAuth { key: key(n), digest, direction };
            let wrong = if directions.is_some() { vec![wrap(2, theirs), wrap(1, ours)] } else { vec![wrap(2, theirs)] };
            (shared(SharedWrap::TlsAuth { key: key(1), digest, direction: ours }), wrap(1, theirs), wrong)
        })
    });
    let tls_crypt =
        (shared(SharedWrap::TlsCrypt(key(1))), ControlWrap::TlsCrypt(key(1)), vec![ControlWrap::TlsCrypt(key(2))]);
    let own = ServerWrap::Keyed { shared: None, clients: Some(Box::new(ServerKey::new(Secret::new([3; 128])))) };
    // Another server's, and a wrapping of somebody else's that was heard.
    let heard = ClientKey { key: key(5), wrapped: own_key(3, 1).wrapped };
    let wrong = [own_key(4, 1), heard].map(ControlWrap::TlsCryptV2).into();
    let own = (own, ControlWrap::TlsCryptV2(own_key(3, 1)), wrong);
    tls_auth.chain([tls_crypt, own]).collect()
}

#[test]
fn a_wrong_key_gets_silence() {
    let papers = Papers::new();
    for (wrap, _, wrong) in envelopes() {
        let said = format!("{wrap:?}");
        let server = ServerConfig { wrap, ..server_config(&papers) };
        let client = |wrap| ClientConfig { wraps: vec![wrap], ..client_config(&papers) };
        let clients = wrong.into_iter().chain([ControlWrap::Plain]).map(client).collect();
        let mut world = World::new(server, clients);
        world.pass(Duration::from_secs(300));
        assert_eq!((world.sent_by_server, world.server.sessions()), (0, 0), "{said}");
        assert!(world.server.drops().of(DropReason::BadMac) > 20, "{said}");
    }
}

/// Where there are keys, only resets that were heard can be repeated, and they do not use up the answers to others.
#[test]
fn a_flood_of_a_reset_that_was_heard_keeps_nobody_out() {
    let papers = Papers::new();
    for (wrap, of_client, _) in envelopes() {
        let said = format!("{wrap:?}");
        let server = ServerConfig { wrap, ..server_config(&papers) };
        let client = ClientConfig { wraps: vec![of_client], ..client_config(&papers) };
        let mut world = World::new(server, vec![client]);
        let mut heard = None;
        world.until("a reset", |world| {
            heard = world.overheard().into_iter().find(|(to, ..)| *to == server_at()).map(|(.., datagram)| datagram);
            heard.is_some()
        });
        let heard = heard.unwrap();
        // Its session begins anew, with another name.
        world.clients[0].core.apply(world.now, ClientChange::Reconnect);
        let (began, mut sent) = (world.now.instant, 0_u16);
        world.until("connected", |world| {
            while f64::from(sent) < 1000.0 * (world.now.instant - began).as_secs_f64() {
                world.arrive(server_at(), stranger(sent), heard.clone());
                sent += 1;
            }
            world.clients[0].core.is_up()
        });
        assert!(world.now.instant < began + Duration::from_secs(20), "{said}");
        let answers = world.server.drops().of(DropReason::RateLimited);
        assert!(answers + 16 >= sent.into(), "{said}: {answers} of {sent} were not answered");
    }
}

#[test]
fn a_flood_of_resets_leaves_no_session_and_few_answers() {
    let mut world = open_server();
    for n in 0..50_000_u64 {
        world.arrive(server_at(), stranger(n as u16), reset(n));
    }
    world.drain();
    assert_eq!((world.server.sessions(), world.sent_by_server), (0, 100));
    assert_eq!(world.server.drops().of(DropReason::RateLimited), 49_900);
    let longest = world.overheard().iter().map(|(.., datagram)| datagram.len()).max();
    assert!(longest <= Some(2 * reset(0).len()), "{longest:?}");
}

#[test]
fn a_session_begins_only_with_the_cookie_and_with_numbers_that_fit() {
    let mut world = open_server();
    let (from, session) = (stranger(1), 0x0102_0304_0506_0708_u64);
    world.arrive(server_at(), from, reset(session));
    world.drain();
    let answer = world.overheard().pop().unwrap().2;
    let cookie = &answer[1..9];
    let shown = |acks: &[u32], cookie: &[u8], from| {
        let mut ack = vec![0x28];
        ack.extend(session.to_be_bytes());
        ack.push(acks.len() as u8);
        ack.extend(acks.iter().flat_map(|ack| ack.to_be_bytes()));
        ack.extend(cookie);
        (from, ack)
    };
    let mut refused = vec![shown(&[0, 1, 2], cookie, from), shown(&[0], cookie, stranger(2))];
    for bit in 0..64 {
        let mut forged = cookie.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        refused.push(shown(&[0], &forged, from));
    }
    for (from, datagram) in refused {
        world.arrive(server_at(), from, datagram);
        assert_eq!(world.server.sessions(), 0);
    }
    let (from, datagram) = shown(&[0], cookie, from);
    world.arrive(server_at(), from, datagram.clone());
    assert_eq!(world.server.sessions(), 1);
    world.arrive(server_at(), from, datagram);
    assert_eq!(world.server.sessions(), 1, "shown twice, it is the same session");
    world.pass(Duration::from_secs(61));
    assert_eq!(world.server.sessions(), 0, "nothing came of it");
}

/// Each would cost a handshake and several datagrams, beside every limit on resets.
#[test]
fn a_cookie_is_good_for_one_handshake_however_often_it_comes() {
    let mut world = open_server();
    let (from, session) = (stranger(1), [7; 8]);
    world.arrive(server_at(), from, [&[0x38], session.as_slice(), &[0; 5]].concat());
    world.drain();
    let answer = world.overheard().pop().unwrap().2;
    // The first of TLS, acknowledging our answer: a record that no handshake begins with.
    let record = [0x17, 3, 3, 0, 1, 0];
    let begin = [&[0x20], session.as_slice(), &[1, 0, 0, 0, 0], &answer[1..9], &[0, 0, 0, 1], &record].concat();
    world.arrive(server_at(), from, begin.clone());
    world.drain();
    let after_one = world.sent_by_server;
    assert_eq!(world.server.sessions(), 0, "it fails at once");
    assert!(after_one > 1, "and says why");
    for _ in 0..1000 {
        world.arrive(server_at(), from, begin.clone());
        world.drain();
    }
    assert_eq!(world.sent_by_server, after_one);
}

/// The key of `tls-auth`, used both ways, that others have too.
const SHARED: [u8; 256] = [7; 256];

/// A server and a client under the shared key.
fn world_under_a_shared_key() -> World {
    let papers = Papers::new();
    let key = || StaticKey::new(Secret::new(SHARED));
    let shared = SharedWrap::TlsAuth { key: key(), digest: Digest::Sha1, direction: None };
    let mut server = server_config(&papers);
    server.wrap = ServerWrap::Keyed { shared: Some(Box::new(shared)), clients: None };
    let wrap = ControlWrap::TlsAuth { key: key(), digest: Digest::Sha1, direction: None };
    World::new(server, vec![ClientConfig { wraps: vec![wrap], ..client_config(&papers) }])
}

/// A control packet as anybody can make it who has the shared key.
fn under_the_shared_key(op: u8, session: &[u8], (id, time): (u32, u32), body: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &SHARED[64..84]);
    let replay = [id.to_be_bytes(), time.to_be_bytes()].concat();
    let tag = hmac::sign(&key, &[&replay, &[op][..], session, body].concat());
    [&[op], session, tag.as_ref(), &replay, body].concat()
}

#[test]
fn a_session_that_begins_with_a_number_that_is_none_leaves_nothing() {
    let mut world = world_under_a_shared_key();
    world.clients.clear();
    let (from, session) = (stranger(1), [9; 8]);
    world.arrive(server_at(), from, under_the_shared_key(0x38, &session, (1, 1), &[0; 5]));
    world.drain();
    let answer = world.overheard().pop().unwrap().2;
    let proof = [[1, 0, 0, 0, 0].as_slice(), &answer[1..9]].concat();
    world.arrive(server_at(), from, under_the_shared_key(0x28, &session, (0, 1), &proof));
    assert_eq!(world.server.drops().of(DropReason::ReplayedHandshake), 1);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.server.sessions(), 0);
    world.arrive(server_at(), from, under_the_shared_key(0x38, &session, (1, 1), &[0; 5]));
    world.drain();
    let answer = world.overheard().pop().unwrap().2;
    let proof = [[1, 0, 0, 0, 0].as_slice(), &answer[1..9]].concat();
    world.arrive(server_at(), from, under_the_shared_key(0x28, &session, (2, 1), &proof));
    assert_eq!(world.server.sessions(), 1, "with one that is, it begins");
}

#[test]
fn whoever_has_the_shared_key_cannot_shut_the_server_out() {
    let mut world = world_under_a_shared_key();
    let (client, far) = (world.clients[0].at, (u32::MAX, u32::MAX));
    world.until("connected", |world| {
        // They know neither session. One names the client's own, as its packets that come back do.
        let seen = world.overheard();
        for (op, body) in [(0x40, [[1, 0, 0, 0, 0].as_slice(), &[3; 8], &[0; 4]].concat()), (0x28, vec![0])] {
            world.arrive(client, server_at(), under_the_shared_key(op, &[8; 8], far, &body));
        }
        for (to, _, datagram) in seen {
            if to == server_at() {
                world.arrive(client, server_at(), datagram);
            }
        }
        world.clients[0].core.is_up()
    });
    world.arrive(client, server_at(), under_the_shared_key(0x20, &[8; 8], far, &[0, 0, 0, 0, 9]));
    world.pass(Duration::from_secs(7200));
    assert!(world.clients[0].core.is_up());
    assert_eq!(world.clients[0].core.drops().of(DropReason::ReplayedHandshake), 0);
}

#[test]
fn control_packets_longer_than_openvpns_are_not_taken() {
    let mut world = world_under_a_shared_key();
    let mut session = None;
    world.until("connected", |world| {
        let of_client = world.overheard().into_iter().find(|(to, ..)| *to == server_at());
        session = session.take().or(of_client.map(|(.., datagram)| datagram[1..9].to_vec()));
        world.clients[0].core.is_up()
    });
    let (session, client) = (session.unwrap(), world.clients[0].at);
    for (payload, refused) in [(2048, 0), (2049, 1), (60_000, 2)] {
        let body = [[0; 4].as_slice(), &[9], &vec![0; payload]].concat();
        world.arrive(server_at(), client, under_the_shared_key(0x20, &session, (payload as u32, u32::MAX), &body));
        assert_eq!(world.server.drops().of(DropReason::TooLong), refused, "{payload} bytes");
    }
}

#[test]
fn a_client_listens_to_its_server_alone() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    let mut answer = None;
    world.until("an answer", |world| {
        answer = world.overheard().into_iter().find(|(_, from, _)| *from == server_at());
        answer.is_some()
    });
    let (client, _, answer) = answer.unwrap();
    world.arrive(client, stranger(1), answer);
    assert_eq!(world.clients[0].core.drops().of(DropReason::UnknownSession), 1);
    world.until("connected", |world| world.clients[0].core.is_up());
}

/// Somebody who answers from where they say they are, and says no more.
fn begin(world: &mut World, from: SocketAddr, session: u64) {
    world.arrive(server_at(), from, reset(session));
    world.drain();
    let answer = world.overheard().pop().unwrap().2;
    let proof = [&[0x28], session.to_be_bytes().as_slice(), &[1, 0, 0, 0, 0], &answer[1..9]].concat();
    world.arrive(server_at(), from, proof);
}

#[test]
fn one_host_has_few_half_open_sessions_and_keeps_nobody_out() {
    let papers = Papers::new();
    let mut world = World::new(ServerConfig { max_clients: 1, ..server_config(&papers) }, vec![client_config(&papers)]);
    let neighbour = SocketAddr::new(world.clients[0].at.ip(), 9999);
    // Its first packet waits in the network meanwhile.
    world.weather.loss = 100;
    for session in 0..500_u64 {
        world.pass(Duration::from_millis(100));
        world.weather.loss = 0;
        begin(&mut world, neighbour, session);
        assert!(world.server.sessions() <= 64);
        world.weather.loss = 100;
    }
    assert_eq!(world.server.sessions(), 64);
    world.weather.loss = 0;
    world.until("connected", |world| world.clients[0].core.is_up());
    assert_eq!((world.server.clients(), world.server.sessions() <= 65), (1, true));
}

#[test]
fn all_who_are_not_in_have_a_bound_and_the_young_ones_of_a_host_are_not_turned_out() {
    let mut world = open_server();
    // Each in a network of its own.
    for n in 0..700_u16 {
        world.pass(Duration::from_millis(100));
        begin(&mut world, ([198, (n >> 8) as u8, n as u8, 1], 9999).into(), n.into());
        assert!(world.server.sessions() <= 512);
    }
    assert_eq!(world.server.sessions(), 512);
    let mut world = open_server();
    world.pass(Duration::from_secs(10));
    (0..100).for_each(|session| begin(&mut world, stranger(1), session));
    assert_eq!((world.server.sessions(), world.server.drops().of(DropReason::RateLimited)), (64, 36));
}

#[test]
fn only_those_who_are_in_count_as_clients_and_one_too_many_is_told_to_come_again() {
    let papers = Papers::new();
    let server = ServerConfig { max_clients: 1, ..server_config(&papers) };
    let mut world = World::new(server, vec![client_config(&papers), client_config(&papers)]);
    world.until("one is in", |world| world.clients.iter().any(|client| client.core.is_up()));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.server.clients(), 1);
    let (inside, other) = if world.clients[0].core.is_up() { (0, 1) } else { (1, 0) };
    assert!(!world.clients[other].core.is_up() && world.server.sessions() <= 2);
    world.clients[inside].core.apply(world.now, ClientChange::Disconnect);
    world.until("the other is in", |world| world.clients[other].core.is_up());
}

#[test]
fn repeated_and_reordered_control_packets_do_no_harm() {
    let papers = Papers::new();
    let open = (ServerWrap::Plain, ControlWrap::Plain);
    for (wrap, of_client) in envelopes().into_iter().map(|(server, client, _)| (server, client)).chain([open]) {
        let said = format!("{wrap:?}");
        let server = ServerConfig { wrap, ..server_config(&papers) };
        let mut world = World::new(server, vec![ClientConfig { wraps: vec![of_client], ..client_config(&papers) }]);
        let heard = overheard_session(&mut world);
        for (to, from, datagram) in heard.iter().rev().chain(&heard).cloned() {
            world.arrive(to, from, datagram);
            world.drain();
        }
        // The same from elsewhere: one small answer for each reset, and nothing else.
        let (before, mut resets) = (world.sent_by_server, 0);
        for (_, _, datagram) in heard.iter().filter(|(to, ..)| *to == server_at()).cloned() {
            resets += usize::from([7, 10].contains(&(datagram[0] >> 3)));
            world.arrive(server_at(), stranger(1), datagram);
            world.drain();
        }
        assert!(resets > 0 && world.sent_by_server - before <= resets, "{said}");
        world.up(0, &packet(World::inner(0), [10, 8, 0, 1], 1));
        world.pass(Duration::from_secs(1));
        assert_eq!((world.arrived.len(), world.server.clients(), world.server.sessions()), (1, 1, 1), "{said}");
        assert!(world.clients[0].core.is_up(), "{said}");
    }
}

/// What both ends of a session sent while it came about and lived, and the session.
fn overheard_session(world: &mut World) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let mut heard = vec![];
    world.until("connected", |world| {
        heard.extend(world.overheard());
        world.clients[0].core.is_up()
    });
    world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
    world.until("renewed", |world| {
        heard.extend(world.overheard());
        world.clients[0].events.contains(&ClientEvent::Renewed)
    });
    heard
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever bytes arrive, from strangers and from the address of a client, the connection lives.
    #[test]
    fn any_bytes_are_survived(
        junk in prop::collection::vec((0_u8..16, any::<u8>(), prop::collection::vec(any::<u8>(), 0..120)), 1..60),
        fragment in prop::option::of(Just(50)),
    ) {
        let mut world = World::connected_with(fragment);
        let client = world.clients[0].at;
        for (opcode, key, bytes) in junk {
            let datagram = [&[opcode << 3 | key & 7], bytes.as_slice()].concat();
            world.arrive(server_at(), client, datagram.clone());
            world.arrive(server_at(), stranger(3), datagram.clone());
            world.arrive(client, server_at(), datagram);
            world.drain();
        }
        world.up(0, &packet(World::inner(0), [10, 8, 0, 1], 7));
        world.pass(Duration::from_millis(50));
        prop_assert_eq!(&world.arrived, &[packet(World::inner(0), [10, 8, 0, 1], 7)]);
        prop_assert!(world.server.sessions() <= 2);
    }

    /// Packets of the session itself, changed a little, reach what junk does not; without an envelope nothing stops them
    /// before TLS does. What one end does with such a packet may end the session, but a new one comes about.
    #[test]
    fn packets_of_the_session_that_were_changed_are_survived(
        keyed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..40),
    ) {
        let papers = Papers::new();
        let mut world =
            if keyed { world_under_a_shared_key() } else { World::new(server_config(&papers), vec![client_config(&papers)]) };
        let heard = overheard_session(&mut world);
        for (which, at, value, cut) in changes {
            let (to, from, mut datagram) = which.get(&heard).clone();
            let at = at.index(datagram.len());
            datagram[at] = value;
            if cut {
                datagram.truncate(at + 1);
            }
            if keyed && datagram[0] >> 3 != 9 && datagram.len() > 37 {
                // As somebody who has the shared key would: the MAC fits again.
                let (op, session, replay) = (datagram[0], datagram[1..9].to_vec(), 1_000 + at as u32);
                datagram = under_the_shared_key(op, &session, (replay, u32::MAX), &datagram[37..]);
            }
            world.arrive(to, from, datagram);
            world.drain();
            prop_assert!(world.server.sessions() <= 2);
        }
        world.until("connected still, or again", |world| world.clients[0].core.is_up());
        world.pass(Duration::from_secs(400));
        world.until("connected still, or again", |world| world.clients[0].core.is_up());
        world.arrived.clear();
        world.up(0, &packet(World::inner(0), [10, 8, 0, 1], 7));
        world.pass(Duration::from_millis(50));
        prop_assert_eq!(&world.arrived, &[packet(World::inner(0), [10, 8, 0, 1], 7)]);
    }
}

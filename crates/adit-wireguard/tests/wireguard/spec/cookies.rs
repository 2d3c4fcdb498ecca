//! MAC1, MAC2 and cookies: what a device under load asks for, and what it does with a cookie itself.

use std::net::SocketAddr;

use adit_protocol::DropReason;
use adit_wireguard::PrivateKey;

use super::{alice_and_answering_stranger, bob_and_stranger};
use crate::world::stranger::{Stranger, index_at, mac16};
use crate::world::{ALICE, BOB, Kind, World, ms, secs};

const COOKIE: [u8; 16] = [0xc0; 16];

/// W-20.
#[test]
fn a_wrong_first_mac_is_met_with_silence_under_load_or_not() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let good = stranger.initiate(world.now.unix).bytes;
    let mut wrong = good;
    wrong[116] ^= 1;
    for load in [false, true] {
        under_load(&mut world, BOB, load);
        world.inject(BOB, from, &wrong);
        assert_eq!(world.seen(BOB), []);
    }
    assert_eq!(world.drops(BOB, DropReason::BadMac), 2);
}

/// W-21.
#[test]
fn without_load_the_second_mac_is_not_looked_at() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut initiation = stranger.initiate(world.now.unix).bytes;
    initiation[132..].fill(0x55);
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-21. One loud address puts itself behind cookies, and nobody else.
#[test]
fn a_flood_from_one_address_is_load_for_that_address_only() {
    let (mut world, _, from) = bob_and_stranger();
    assert!(flood(&mut world, 5_000, |_| from) > 4_000);
    assert!(!world.hosts[BOB].device().status(world.now).under_load);
    let initiation = Stranger::new(world.private(ALICE), world.key(BOB)).initiate(world.now.unix).bytes;
    world.forget_log();
    world.inject(BOB, SocketAddr::from(([198, 51, 100, 8], 4500)), &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-21.
#[test]
fn a_flood_from_many_addresses_is_load_and_a_second_after_it_there_is_none() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    assert!(flood(&mut world, 3_000, |n| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 7))) > 1_000);
    assert!(world.hosts[BOB].device().status(world.now).under_load);
    cookie_for(&mut world, &mut stranger, from);
    world.advance(ms(2_500));
    assert!(!world.hosts[BOB].device().status(world.now).under_load);
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-22, W-25.
#[test]
fn under_load_an_initiation_without_proof_of_address_is_answered_with_a_cookie() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Cookie]);
    let reply = world.last(BOB, Kind::Cookie);
    assert_eq!(reply.to.remote, from);
    assert_eq!(index_at(&reply.bytes, 4), index_at(&initiation, 4));
    assert!(stranger.open_cookie(&reply.bytes, &initiation).is_some());
    assert_eq!(world.drops(BOB, DropReason::UnderLoad), 1);
    let other = stranger.initiate(world.now.unix).bytes;
    assert!(stranger.open_cookie(&reply.bytes, &other).is_none(), "bound to the MAC1 that it answers");
}

/// W-22.
#[test]
fn under_load_a_response_without_proof_of_address_is_answered_with_a_cookie() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    under_load(&mut world, ALICE, true);
    let (response, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    world.forget_log();
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &response);
    assert_eq!(world.seen(ALICE), [Kind::Cookie]);
    let reply = world.last(ALICE, Kind::Cookie).bytes;
    assert_eq!(index_at(&reply, 4), index_at(&response, 4));
    let cookie = stranger.open_cookie(&reply, &response).unwrap();
    assert!(!world.peer(ALICE, BOB).has_session);
    let mut response = response;
    Stranger::add_cookie(&mut response, &cookie);
    world.inject(ALICE, from, &response);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
}

/// W-22.
#[test]
fn under_load_a_wrong_second_mac_is_answered_with_a_cookie_too() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let mut initiation = stranger.initiate(world.now.unix).bytes;
    Stranger::add_cookie(&mut initiation, &[1; 16]);
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Cookie]);
}

/// W-23, W-24.
#[test]
fn under_load_an_initiation_with_its_cookie_is_answered_from_that_address_and_port_only() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let cookie = cookie_for(&mut world, &mut stranger, from);
    let mut initiation = stranger.initiate(world.now.unix).bytes;
    Stranger::add_cookie(&mut initiation, &cookie);
    let other_port = SocketAddr::new(from.ip(), from.port() + 1);
    let other_address = SocketAddr::from(([198, 51, 100, 8], from.port()));
    for elsewhere in [other_port, other_address] {
        world.inject(BOB, elsewhere, &initiation);
        assert_eq!(world.seen(BOB), [Kind::Cookie]);
    }
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-23.
#[test]
fn under_load_a_source_has_five_handshakes_at_once_and_then_twenty_a_second() {
    let (mut world, _, from) = bob_and_stranger();
    let mut unknown = Stranger::new(PrivateKey::new([99; 32]), world.key(BOB));
    under_load(&mut world, BOB, true);
    let cookie = cookie_for(&mut world, &mut unknown, from);
    let mut taken = |world: &mut World, n: usize| {
        let before = world.drops(BOB, DropReason::BadHandshake);
        for _ in 0..n {
            let mut initiation = unknown.initiate(world.now.unix).bytes;
            Stranger::add_cookie(&mut initiation, &cookie);
            world.inject(BOB, from, &initiation);
        }
        assert_eq!(world.seen(BOB), [], "neither a response nor a cookie");
        world.drops(BOB, DropReason::BadHandshake) - before
    };
    assert_eq!(taken(&mut world, 9), 5);
    assert_eq!(world.drops(BOB, DropReason::RateLimited), 4);
    world.advance(ms(49));
    assert_eq!(taken(&mut world, 1), 0);
    world.advance(ms(2));
    assert_eq!(taken(&mut world, 2), 1);
    world.advance(ms(501));
    assert_eq!(taken(&mut world, 20), 5, "the bucket holds five");
}

/// W-24.
#[test]
fn the_secret_behind_cookies_is_replaced_after_120_seconds() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let first = cookie_for(&mut world, &mut stranger, from);
    world.advance(secs(119));
    assert_eq!(cookie_for(&mut world, &mut stranger, from), first);
    world.advance(secs(2));
    assert_ne!(cookie_for(&mut world, &mut stranger, from), first);
}

/// W-25.
#[test]
fn no_two_cookie_replies_have_the_same_nonce() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let mut nonces = Vec::new();
    for _ in 0..10 {
        cookie_for(&mut world, &mut stranger, from);
        nonces.push(world.last(BOB, Kind::Cookie).bytes[8..32].to_vec());
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 10);
}

/// W-26, W-27.
#[test]
fn a_cookie_is_used_with_the_next_scheduled_initiation_and_brings_none_forward() {
    let (mut world, stranger) = alice_and_answering_stranger();
    give_alice_a_cookie(&mut world, &stranger);
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(4_999));
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(335));
    assert_eq!(world.seen(ALICE), [Kind::Initiation]);
    assert_eq!(second_mac(&world), Mac2::OfTheCookie);
}

/// W-26.
#[test]
fn a_cookie_moves_no_endpoint_and_completes_no_handshake() {
    let (mut world, stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let reply = stranger.cookie_reply(&world.last(ALICE, Kind::Initiation).bytes, &COOKIE);
    let before = world.peer(ALICE, BOB);
    world.inject(ALICE, SocketAddr::from(([203, 0, 113, 1], 1)), &reply);
    let after = world.peer(ALICE, BOB);
    assert_eq!((after.endpoint, after.has_session), (before.endpoint, false));
}

/// W-28.
#[test]
fn cookies_are_not_counted_in_the_bytes_of_a_peer() {
    let (mut world, stranger) = alice_and_answering_stranger();
    give_alice_a_cookie(&mut world, &stranger);
    assert_eq!((world.peer(ALICE, BOB).rx_bytes, world.peer(ALICE, BOB).tx_bytes), (0, 148));

    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    cookie_for(&mut world, &mut stranger, from);
    assert_eq!((world.peer(BOB, ALICE).rx_bytes, world.peer(BOB, ALICE).tx_bytes), (0, 0));
}

/// W-26.
#[test]
fn a_cookie_for_another_message_or_index_or_key_is_dropped() {
    let (mut world, stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let initiation = world.last(ALICE, Kind::Initiation).bytes;
    let good = stranger.cookie_reply(&initiation, &COOKIE);
    let mut other_mac1 = initiation.clone();
    other_mac1[120] ^= 1;
    let mut other_index = good.clone();
    other_index[4] ^= 1;
    let mut other_text = good.clone();
    other_text[40] ^= 1;
    let other_key = Stranger::new(PrivateKey::new([9; 32]), world.key(ALICE)).cookie_reply(&initiation, &COOKIE);
    let from = world.hosts[BOB].address();
    for bytes in [stranger.cookie_reply(&other_mac1, &COOKIE), other_index, other_text, other_key, good[..63].to_vec()]
    {
        world.inject(ALICE, from, &bytes);
    }
    world.advance(ms(5_334));
    assert_eq!(second_mac(&world), Mac2::Zero);
}

/// W-26.
#[test]
fn a_cookie_is_taken_once_for_each_message_sent() {
    let (mut world, stranger) = alice_and_answering_stranger();
    give_alice_a_cookie(&mut world, &stranger);
    let initiation = world.last(ALICE, Kind::Initiation).bytes;
    let second = stranger.cookie_reply(&initiation, &[0xdd; 16]);
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &second);
    world.advance(ms(5_334));
    assert_eq!(second_mac(&world), Mac2::OfTheCookie, "the first one");
}

/// W-27. The kernel stops five seconds before the responder would; so both sides of that are left open.
#[test]
fn a_cookie_is_used_for_115_seconds_and_not_for_more_than_120() {
    for (age, expected) in [(114, Mac2::OfTheCookie), (121, Mac2::Zero)] {
        let (mut world, stranger) = alice_and_answering_stranger();
        give_alice_a_cookie(&mut world, &stranger);
        world.advance(secs(age));
        world.send(ALICE, BOB);
        let initiation = world.last(ALICE, Kind::Initiation);
        assert_eq!(initiation.at, world.clock());
        assert_eq!(second_mac(&world), expected, "after {age} s");
    }
}

/// W-27.
#[test]
fn a_response_carries_a_cookie_as_well() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    let response = world.last(BOB, Kind::Response).bytes;
    assert_eq!(response[76..], [0; 16]);
    let reply = stranger.cookie_reply(&response, &COOKIE);
    world.inject(BOB, from, &reply);
    world.advance(ms(20));
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    let response = world.last(BOB, Kind::Response).bytes;
    assert_eq!(response[76..], mac16(&COOKIE, &response[..76]));
}

/// W-22 to W-27, both ends ours.
#[test]
fn with_a_responder_under_load_the_second_initiation_makes_the_session() {
    let mut world = World::pair();
    under_load(&mut world, BOB, true);
    world.send(ALICE, BOB);
    assert_eq!(world.seen(BOB), [Kind::Cookie]);
    world.advance(ms(5_334));
    assert_eq!(world.seen(BOB), [Kind::Response]);
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-23, W-24. What the answer to load costs does not grow with the number of sources.
#[test]
fn handshakes_from_very_many_sources_under_load_are_all_answered_with_cookies() {
    let (mut world, mut stranger, _) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let initiation = stranger.initiate(world.now.unix).bytes;
    for n in 0..20_000_u32 {
        world.inject(BOB, SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 7)), &initiation);
    }
    assert_eq!(world.drops(BOB, DropReason::UnderLoad), 20_000);
    assert_eq!(world.peer(BOB, ALICE).rx_bytes, 0);
}

/// W-23. The first packet of a source that proves its address always passes, however many do not prove theirs.
#[test]
fn a_flood_of_forged_sources_does_not_keep_out_one_that_shows_its_cookie() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    under_load(&mut world, BOB, true);
    let forged = stranger.initiate(world.now.unix).bytes;
    for n in 0..10_000_u32 {
        world.inject(BOB, SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 7)), &forged);
    }
    let cookie = cookie_for(&mut world, &mut stranger, from);
    let mut initiation = stranger.initiate(world.now.unix).bytes;
    Stranger::add_cookie(&mut initiation, &cookie);
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

#[derive(Debug, PartialEq)]
enum Mac2 {
    Zero,
    OfTheCookie,
    Else,
}

/// What MAC2 of Alice's last initiation is.
fn second_mac(world: &World) -> Mac2 {
    let bytes = world.last(ALICE, Kind::Initiation).bytes;
    if bytes[132..] == [0; 16] {
        Mac2::Zero
    } else if bytes[132..] == mac16(&COOKIE, &bytes[..132]) {
        Mac2::OfTheCookie
    } else {
        Mac2::Else
    }
}

/// Alice starts a handshake and is answered with `COOKIE`.
fn give_alice_a_cookie(world: &mut World, stranger: &Stranger) {
    world.send(ALICE, BOB);
    let reply = stranger.cookie_reply(&world.last(ALICE, Kind::Initiation).bytes, &COOKIE);
    world.forget_log();
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &reply);
}

/// Asks Bob, who is under load, for a cookie.
fn cookie_for(world: &mut World, stranger: &mut Stranger, from: SocketAddr) -> [u8; 16] {
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.forget_log();
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Cookie]);
    stranger.open_cookie(&world.last(BOB, Kind::Cookie).bytes, &initiation).expect("a good cookie")
}

/// So many initiations of a stranger in one moment; says how many were answered with cookies.
fn flood(world: &mut World, count: u32, from: impl Fn(u32) -> SocketAddr) -> usize {
    let mut unknown = Stranger::new(PrivateKey::new([99; 32]), world.key(BOB));
    let initiation = unknown.initiate(world.now.unix).bytes;
    for n in 0..count {
        world.inject(BOB, from(n), &initiation);
    }
    world.seen(BOB).iter().filter(|kind| **kind == Kind::Cookie).count()
}

fn under_load(world: &mut World, host: usize, load: bool) {
    world.hosts[host].device_mut().set_under_load(Some(load));
}

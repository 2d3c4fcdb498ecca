//! Messages: their sizes, their fields, their padding.

use adit_protocol::DropReason;

use super::{alice_and_answering_stranger, answer, bob_and_stranger, confirmed};
use crate::world::stranger::index_at;
use crate::world::{ALICE, BOB, Fate, Kind, Sent, World, packet, secs};

/// W-01.
#[test]
fn a_handshake_is_148_bytes_and_92_bytes_and_data_follows_at_once() {
    let mut world = World::pair();
    assert_eq!(world.send(ALICE, BOB), Sent::Staged);
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Data(96)]);
    assert_eq!(world.seen(BOB), [Kind::Response]);
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-01.
#[test]
fn a_handshake_with_a_wrong_length_or_reserved_byte_is_not_looked_at() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let good = stranger.initiate(world.now.unix);
    let mut wrong = vec![good.bytes[..147].to_vec(), [&good.bytes[..], &[0]].concat(), good.bytes[1..].to_vec()];
    for (at, value) in [(0, 0), (0, 2), (0, 5), (0, 255), (1, 1), (2, 1), (3, 1), (3, 0x80)] {
        let mut bytes = good.bytes.clone();
        bytes[at] = value;
        wrong.push(bytes);
    }
    for bytes in wrong {
        world.inject(BOB, from, &bytes);
        assert_eq!(world.seen(BOB), [], "{:?}", &bytes[..4]);
    }
    assert_eq!(world.peer(BOB, ALICE).rx_bytes, 0);
    world.inject(BOB, from, &good.bytes);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-01.
#[test]
fn a_response_with_a_wrong_length_or_reserved_byte_is_not_looked_at() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (good, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    world.forget_log();
    let from = world.hosts[BOB].address();
    for at in 1..4 {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        world.inject(ALICE, from, &bytes);
    }
    world.inject(ALICE, from, &good[..91]);
    world.inject(ALICE, from, &[&good[..], &[0]].concat());
    assert_eq!(world.seen(ALICE), []);
    world.inject(ALICE, from, &good);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
}

/// W-01.
#[test]
fn data_shorter_than_32_bytes_or_with_a_reserved_byte_is_no_message() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    world.forget_log();
    let good = session.seal(&packet::v4(1, 2, 40));
    for at in 1..4 {
        let mut bytes = good.clone();
        bytes[at] = 1;
        world.inject(BOB, from, &bytes);
    }
    for len in 0..32 {
        world.inject(BOB, from, &good[..len]);
    }
    assert_eq!(world.drops(BOB, DropReason::NotAMessage), 3 + 32);
    assert!(world.delivered(BOB).is_empty());
    world.inject(BOB, from, &good);
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-02.
#[test]
fn each_message_carries_the_index_that_its_receiver_chose() {
    let mut world = World::connected();
    world.send(BOB, ALICE);
    let initiation = world.last(ALICE, Kind::Initiation).bytes;
    let response = world.last(BOB, Kind::Response).bytes;
    assert_eq!(index_at(&response, 8), index_at(&initiation, 4));
    assert_eq!(index_at(&world.last(ALICE, Kind::Data(96)).bytes, 4), index_at(&response, 4));
    assert_eq!(index_at(&world.last(BOB, Kind::Data(96)).bytes, 4), index_at(&initiation, 4));
}

/// W-02, W-27.
#[test]
fn without_a_cookie_the_second_mac_is_sixteen_zero_bytes() {
    let world = World::connected();
    assert_eq!(world.last(ALICE, Kind::Initiation).bytes[132..], [0; 16]);
    assert_eq!(world.last(BOB, Kind::Response).bytes[76..], [0; 16]);
}

/// W-05.
#[test]
fn data_counts_from_zero_in_steps_of_one_in_each_direction() {
    let mut world = World::connected();
    for _ in 0..3 {
        world.send(ALICE, BOB);
        world.send(BOB, ALICE);
    }
    let counters = |host| -> Vec<u64> {
        let data = world.log.iter().filter(|s| s.host == host && s.kind == Kind::Data(96));
        data.map(|s| u64::from_le_bytes(s.bytes[8..16].try_into().unwrap())).collect()
    };
    assert_eq!(counters(ALICE), [0, 1, 2, 3]);
    assert_eq!(counters(BOB), [0, 1, 2]);
}

/// W-06, W-17.
#[test]
fn every_initiation_has_a_new_index_and_a_new_ephemeral_key() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    world.advance(secs(100));
    let sent: Vec<_> = world.log.iter().filter(|s| s.kind == Kind::Initiation).collect();
    assert!(sent.len() > 15);
    for (n, one) in sent.iter().enumerate() {
        for other in &sent[..n] {
            assert_ne!(index_at(&one.bytes, 4), index_at(&other.bytes, 4));
            assert_ne!(index_at(&one.bytes, 4).abs_diff(index_at(&other.bytes, 4)), 1, "indices do not count up");
            assert_ne!(one.bytes[8..40], other.bytes[8..40]);
        }
    }
}

/// W-06, W-35.
#[test]
fn a_response_to_an_initiation_that_was_repeated_since_comes_too_late() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (late, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    world.advance(secs(6));
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Initiation]);
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &late);
    assert_eq!(world.seen(ALICE), []);
    answer(&mut world, &mut stranger);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
}

/// W-07.
#[test]
fn plain_text_is_padded_to_sixteen_bytes_and_not_beyond_the_mtu() {
    let mut world = World::connected();
    let overhead = 32;
    for (len, padded) in [(20, 32), (32, 32), (33, 48), (84, 96), (1408, 1408), (1409, 1420), (1420, 1420)] {
        world.forget_log();
        world.send_packet(ALICE, &packet::v4(1, 2, len));
        assert_eq!(world.seen(ALICE), [Kind::Data(padded + overhead)], "{len}");
    }
    // Longer than the MTU: the last part counts.
    for (len, padded) in [(1421, 1436), (1436, 1436), (1437, 1452), (2839, 2840), (2841, 2856)] {
        world.forget_log();
        world.send_packet(ALICE, &packet::v4(1, 2, len));
        assert_eq!(world.seen(ALICE), [Kind::Data(padded + overhead)], "{len}");
    }
    world.hosts[ALICE].device_mut().set_mtu(1280);
    world.forget_log();
    world.send_packet(ALICE, &packet::v4(1, 2, 1279));
    assert_eq!(world.seen(ALICE), [Kind::Data(1280 + overhead)]);
}

/// W-07.
#[test]
fn padding_is_zeros() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let session = confirmed(&mut world, &mut stranger, from);
    world.send_packet(BOB, &packet::v4(2, 1, 33));
    let (_, plain) = session.open(&world.last(BOB, Kind::Data(80)).bytes).unwrap();
    assert_eq!(plain[..33], packet::v4(2, 1, 33));
    assert_eq!(plain[33..], [0; 15]);
}

/// W-08.
#[test]
fn no_padding_and_too_much_padding_are_both_trimmed() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let plain = packet::v4(1, 2, 41);
    for padding in [0, 7, 16, 300] {
        let datagram = session.seal(&[&plain[..], &vec![0; padding]].concat());
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB), std::slice::from_ref(&plain));
    }
}

/// W-09.
#[test]
fn the_longest_datagram_there_is_is_taken() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    for plain in [packet::v4(1, 2, 65_475), packet::v6(1, 2, 65_475), packet::v4(1, 2, 34_736)] {
        let datagram = session.seal(&plain);
        assert!(datagram.len() <= 65_507);
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB), [plain]);
    }
}

/// W-53.
#[test]
fn reordered_and_duplicated_packets_arrive_once_each() {
    let mut world = World::connected();
    let mut n = 0_u64;
    world.fate = Box::new(move |_| {
        n += 1;
        if n.is_multiple_of(2) { Fate::Duplicate } else { Fate::Delay(secs(1)) }
    });
    let packets: Vec<_> = (0..40).map(|id| packet::between(1, 2, id)).collect();
    for bytes in &packets {
        assert_eq!(world.send_packet(ALICE, bytes), Sent::AtOnce);
    }
    world.advance(secs(2));
    let mut arrived = world.delivered(BOB);
    assert_ne!(arrived, packets);
    arrived.sort();
    let mut expected = packets;
    expected.sort();
    assert_eq!(arrived, expected);
}

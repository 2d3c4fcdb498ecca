//! How long and how often a key is used, and which counters are taken.

use adit_protocol::DropReason;

use super::{bob_and_stranger, confirmed};
use crate::world::stranger::Session;
use crate::world::{ALICE, BOB, Kind, Sent, World, ms, packet};

/// 2^64 - 2^13 - 1.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// How far behind the newest a counter may be.
const BEHIND: u64 = 8_128;

/// W-50, W-51.
#[test]
fn a_counter_at_the_end_of_the_numbers_is_refused_and_the_last_before_it_taken() {
    let mut window = Window::new();
    assert!(!window.accepts(REJECT_AFTER_MESSAGES));
    assert!(!window.accepts(u64::MAX - 1));
    assert!(window.accepts(1), "what was refused did not move the window");
    assert!(window.accepts(REJECT_AFTER_MESSAGES - 1));
    assert!(!window.accepts(REJECT_AFTER_MESSAGES - 1));
    assert!(!window.accepts(2));
}

/// W-51.
#[test]
fn nothing_is_sent_with_a_key_180_seconds_old_and_a_handshake_starts_instead() {
    let mut world = World::connected();
    // Bob is the responder: no rule about age makes him start before.
    world.advance(ms(179_999));
    world.forget_log();
    assert_eq!(world.send(BOB, ALICE), Sent::AtOnce);
    assert_eq!(world.seen(BOB)[0], Kind::Data(96));
    let mut world = World::connected();
    world.advance(ms(180_000));
    world.forget_log();
    assert_eq!(world.send(BOB, ALICE), Sent::Staged);
    assert_eq!(world.seen(BOB), [Kind::Initiation, Kind::Data(96)]);
    assert_eq!(world.delivered(ALICE).len(), 1);
}

/// W-52.
#[test]
fn the_window_is_8128_wide_and_takes_each_counter_once() {
    let lim = BEHIND + 1;
    let mut window = Window::new();
    let steps = [
        (1, true),
        (1, false),
        (9, true),
        (8, true),
        (7, true),
        (7, false),
        (lim, true),
        (lim - 1, true),
        (lim - 1, false),
        (lim - 2, true),
        (2, true),
        (2, false),
        (lim + 16, true),
        (3, false),
        (lim + 16, false),
        (lim * 4, true),
        (lim * 4 - (lim - 1), true),
        (10, false),
        (lim * 4 - lim, false),
        (lim * 4 - (lim + 1), false),
        (lim * 4 - (lim - 2), true),
        (lim * 4 + 1 - lim, false),
        (0, false),
        (1 << 32, true),
        ((1 << 32) - BEHIND, true),
        ((1 << 32) - BEHIND - 1, false),
        ((1 << 32) - 1, true),
        (1 << 32, false),
    ];
    for (n, (counter, expected)) in steps.into_iter().enumerate() {
        assert_eq!(window.accepts(counter), expected, "step {n}: {counter}");
    }
}

/// W-52.
#[test]
fn a_whole_window_backwards_is_taken_and_one_more_is_not() {
    let mut window = Window::new();
    for counter in (1..=BEHIND + 1).rev() {
        assert!(window.accepts(counter), "{counter}");
    }
    assert!(!window.accepts(0));
    let mut window = Window::new();
    for counter in (2..=BEHIND + 2).rev() {
        assert!(window.accepts(counter));
    }
    assert!(!window.accepts(1), "too far behind");
    for counter in 2..=BEHIND + 2 {
        assert!(!window.accepts(counter), "seen");
    }
}

/// W-52.
#[test]
fn jumps_of_every_size_around_the_words_of_the_window_lose_and_repeat_nothing() {
    let mut window = Window::new();
    let mut newest = 100;
    assert!(window.accepts(newest));
    for jump in [1, 2, 63, 64, 65, 127, 128, BEHIND - 1, BEHIND, BEHIND + 1, 8_191, 8_192, 8_193, 20_000] {
        let before = newest;
        newest += jump;
        assert!(window.accepts(newest), "{jump}");
        assert!(!window.accepts(newest));
        assert!(!window.accepts(before), "seen, or too far behind: {jump}");
        if jump > 1 {
            assert!(window.accepts(newest - 1), "{jump}");
        }
        assert!(!window.accepts(newest - 1));
    }
}

/// W-52.
#[test]
fn a_forged_high_counter_does_not_move_the_window() {
    let mut window = Window::new();
    assert!(window.accepts(5));
    let mut forged = window.session.seal_at(6, &packet::v4(1, 2, 40));
    forged[8..16].copy_from_slice(&1_000_000_u64.to_le_bytes());
    window.world.inject(BOB, window.from, &forged);
    assert_eq!(window.world.drops(BOB, DropReason::Forged), 1);
    assert!(window.accepts(4) && window.accepts(6));
}

/// W-52, W-53.
#[test]
fn copies_planned_before_the_first_is_committed_are_still_delivered_once() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let datagram = session.seal(&packet::v4(1, 2, 40));
    let other = session.seal(&packet::v4(1, 2, 44));
    let now = world.now;
    world.hosts[BOB].receive_batch(now, from, &[other.clone(), datagram.clone(), datagram, other]);
    assert_eq!(world.delivered(BOB), [packet::v4(1, 2, 44), packet::v4(1, 2, 40)]);
    assert_eq!(world.drops(BOB, DropReason::Replayed), 2);
}

/// Bob's replay window, seen through data messages with chosen counters.
struct Window {
    world: World,
    session: Session,
    from: std::net::SocketAddr,
}

impl Window {
    /// Nothing seen but counter 0, of the keepalive that confirms the key.
    fn new() -> Self {
        let (mut world, mut stranger, from) = bob_and_stranger();
        let session = confirmed(&mut world, &mut stranger, from);
        Self { world, session, from }
    }

    fn accepts(&mut self, counter: u64) -> bool {
        let datagram = self.session.seal_at(counter, &packet::v4(1, 2, 20));
        self.world.inject(BOB, self.from, &datagram);
        self.world.delivered(BOB).len() == 1
    }
}

//! The ladder in virtual time: silence, answers, networks that change and are known again.

use super::*;

/// A ladder in virtual time, with what it told.
struct World {
    ladder: Ladder,
    now: Instant,
    told: Vec<Event>,
}

#[test]
fn udp_that_answers_is_used_and_https_is_never_dialled() {
    let mut world = World::new(Order::UDP_FIRST);
    world.ladder.sent(Asks::AtOnce, world.now);
    world.after(ms(80)).received(Carrier::Udp);
    assert_eq!(world.told, [Event::Works(Carrier::Udp)]);
    world.idle(secs(3600));
    assert_eq!((world.ladder.carrier(), world.ladder.wants_https()), (Carrier::Udp, false));
    assert_eq!(world.ladder.standing().reason, Reason::First);
}

#[test]
fn without_an_answer_https_is_brought_up_while_udp_goes_on_and_then_used() {
    let mut world = World::new(Order::UDP_FIRST);
    world.ladder.sent(Asks::AtOnce, world.now);
    world.idle(FIRST_ANSWER - ms(1));
    assert!(!world.ladder.wants_https());
    world.idle(ms(1));
    assert_eq!((world.ladder.carrier(), world.ladder.wants_https()), (Carrier::Udp, true));
    world.after(ms(900)).https(Https::Up);
    assert_eq!(world.ladder.carrier(), Carrier::Https);
    assert_eq!(world.ladder.standing().reason, Reason::NoAnswer(Carrier::Udp));
    assert_eq!(world.told, [Event::Switched(Carrier::Https), Event::Call]);
    world.after(ms(50)).received(Carrier::Https);
    assert_eq!(world.told.last(), Some(&Event::Works(Carrier::Https)));
}

#[test]
fn an_answer_that_comes_while_https_is_brought_up_keeps_udp() {
    let mut world = World::new(Order::UDP_FIRST);
    world.ladder.sent(Asks::AtOnce, world.now);
    world.idle(FIRST_ANSWER);
    world.after(ms(200)).received(Carrier::Udp);
    world.https(Https::Up);
    assert_eq!(world.ladder.carrier(), Carrier::Udp);
    assert!(world.ladder.wants_https(), "what was dialled is not cut off at once");
    world.idle(LINGER);
    assert!(!world.ladder.wants_https());
}

#[test]
fn a_transfer_that_stops_being_answered_moves_to_https() {
    let mut world = World::connected();
    world.ladder.sent(Asks::Something, world.now);
    world.idle(SILENCE - ms(1));
    assert!(!world.ladder.wants_https());
    world.idle(ms(1));
    world.after(secs(2)).https(Https::Up);
    assert_eq!(world.ladder.carrier(), Carrier::Https);
    assert_eq!(world.ladder.standing().reason, Reason::FellSilent(Carrier::Udp));
}

/// Keepalives are answered by nobody, and a tunnel without traffic is not a broken one.
#[test]
fn an_idle_tunnel_with_keepalives_is_not_taken_for_a_stall() {
    let mut world = World::connected();
    for _ in 0..200 {
        world.idle(secs(25));
        world.ladder.sent(Asks::Nothing, world.now);
    }
    assert_eq!((world.ladder.carrier(), world.ladder.wants_https()), (Carrier::Udp, false));
}

/// WireGuard §6.5: data that flows one way is answered by an empty packet every ten seconds.
#[test]
fn one_way_traffic_is_not_taken_for_a_stall() {
    let mut world = World::connected();
    for tenth in 0..3000_u32 {
        world.idle(ms(100));
        world.ladder.sent(Asks::Something, world.now);
        if tenth % 104 == 103 {
            world.received(Carrier::Udp);
        }
    }
    assert_eq!((world.ladder.carrier(), world.ladder.wants_https()), (Carrier::Udp, false));
}

#[test]
fn udp_is_tried_at_growing_intervals_and_taken_back_when_it_answers() {
    let mut world = World::fallen_back();
    let (start, mut tries) = (world.now, Vec::new());
    while world.now < start + secs(3600) {
        world.idle(ms(500));
        if world.ladder.probing() == Some(Carrier::Udp) {
            tries.push((world.now - start).as_secs());
            world.ladder.probed(world.now);
        }
    }
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && tries[0] <= 16 && gaps.contains(&603), "{tries:?}");
    assert_eq!(world.ladder.carrier(), Carrier::Https);
    while world.ladder.probing().is_none() {
        world.idle(ms(500));
    }
    world.ladder.probed(world.now);
    world.told.clear();
    world.after(ms(40)).received(Carrier::Udp);
    assert_eq!(world.ladder.standing().reason, Reason::AnswersAgain);
    assert_eq!(world.told, [Event::Switched(Carrier::Udp), Event::Call, Event::Works(Carrier::Udp)]);
    assert!(world.ladder.wants_https(), "kept for when UDP does not hold");
}

#[test]
fn what_comes_over_udp_without_being_asked_changes_nothing() {
    let mut world = World::fallen_back();
    world.received(Carrier::Udp);
    world.after(secs(1)).received(Carrier::Udp);
    assert_eq!(world.ladder.carrier(), Carrier::Https);
}

#[test]
fn udp_that_answers_and_does_not_hold_is_tried_less_often() {
    let mut world = World::fallen_back();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let since = world.now;
        while world.ladder.probing().is_none() {
            world.idle(ms(500));
        }
        waits.push((world.now - since).as_secs());
        world.ladder.probed(world.now);
        world.after(ms(10)).received(Carrier::Udp);
        assert_eq!(world.ladder.carrier(), Carrier::Udp);
        world.ladder.sent(Asks::Something, world.now);
        world.idle(SILENCE);
        assert_eq!(world.ladder.carrier(), Carrier::Https, "the spare connection is still there");
    }
    assert_eq!(waits, [15, 30, 60]);
}

#[test]
fn a_network_on_which_only_https_worked_begins_with_it() {
    let mut world = World::connected();
    world.ladder.network_changed(Some(Carrier::Https), world.now);
    world.idle(ms(0));
    assert_eq!(world.ladder.standing().reason, Reason::Remembered);
    assert!(world.ladder.wants_https());
    assert_eq!(world.told, [Event::Switched(Carrier::Https), Event::Call]);
    world.https(Https::Up);
    world.received(Carrier::Https);
    world.idle(REMEMBERED_PROBE - secs(1));
    assert_eq!(world.ladder.probing(), None, "such a network is not made suspicious of us early");
    world.idle(secs(2));
    assert_eq!(world.ladder.probing(), Some(Carrier::Udp));
}

#[test]
fn a_new_network_begins_with_the_first_choice() {
    let mut world = World::fallen_back();
    world.ladder.network_changed(None, world.now);
    world.idle(ms(0));
    assert_eq!((world.ladder.carrier(), &world.ladder.standing().reason), (Carrier::Udp, &Reason::First));
    assert!(world.told.ends_with(&[Event::Switched(Carrier::Udp), Event::Call]));
}

#[test]
fn https_that_breaks_is_given_time_to_come_back_before_udp_is_tried() {
    let mut world = World::fallen_back();
    world.https(Https::Down);
    world.idle(HTTPS_PATIENCE - secs(1));
    assert_eq!(world.ladder.carrier(), Carrier::Https);
    world.told.clear();
    world.https(Https::Up);
    assert_eq!(world.told, [Event::Call], "the peer learns of the new connection by what comes over it");
    world.https(Https::Down);
    world.idle(HTTPS_PATIENCE);
    assert_eq!((world.ladder.carrier(), &world.ladder.standing().reason), (Carrier::Udp, &Reason::NotUp));
    // UDP is as dead as before: HTTPS is used again as soon as it is there.
    world.ladder.sent(Asks::AtOnce, world.now);
    world.idle(FIRST_ANSWER);
    assert!(world.ladder.wants_https());
    world.https(Https::Up);
    assert_eq!(world.ladder.carrier(), Carrier::Https);
}

#[test]
fn a_server_that_is_not_the_one_meant_ends_https_at_once() {
    let mut world = World::new(Order::HTTPS_FIRST);
    assert!(world.ladder.wants_https());
    world.https(Https::Refused("its key is not the pinned one".to_owned()));
    assert_eq!(world.ladder.carrier(), Carrier::Udp);
    assert_eq!(world.ladder.standing().reason.to_string(), "HTTPS is refused: its key is not the pinned one");
}

#[test]
fn https_as_first_choice_is_taken_back_when_it_comes_up() {
    let mut world = World::new(Order::HTTPS_FIRST);
    world.idle(HTTPS_PATIENCE);
    assert_eq!(world.ladder.carrier(), Carrier::Udp);
    assert!(world.ladder.wants_https());
    world.after(secs(40)).https(Https::Up);
    assert_eq!((world.ladder.carrier(), &world.ladder.standing().reason), (Carrier::Https, &Reason::AnswersAgain));
}

#[test]
fn an_only_carrier_is_never_left() {
    for carrier in [Carrier::Udp, Carrier::Https] {
        let mut world = World::new(Order::only(carrier));
        world.ladder.sent(Asks::AtOnce, world.now);
        world.idle(secs(3600));
        assert_eq!((world.ladder.carrier(), &world.ladder.standing().reason), (carrier, &Reason::Only));
        assert_eq!(world.ladder.wants_https(), carrier == Carrier::Https);
        assert_eq!(world.told, []);
    }
}

#[test]
fn a_network_without_anything_is_tried_both_ways_in_turn() {
    let mut world = World::fallen_back();
    let mut used = Vec::new();
    for _ in 0..240 {
        world.ladder.sent(Asks::AtOnce, world.now);
        world.idle(ms(500));
        if used.last() != Some(&world.ladder.carrier()) {
            used.push(world.ladder.carrier());
        }
    }
    assert!(used.len() > 4, "{used:?}");
}

#[test]
fn another_order_keeps_what_works_and_tries_the_new_first_choice() {
    let mut world = World::connected();
    world.https(Https::Up);
    world.ladder.set_order(Order::HTTPS_FIRST, world.now);
    assert_eq!(world.ladder.carrier(), Carrier::Udp);
    world.idle(FIRST_PROBE);
    assert_eq!(world.ladder.probing(), Some(Carrier::Https));
    world.ladder.set_order(Order::only(Carrier::Https), world.now);
    world.idle(ms(0));
    assert_eq!(world.ladder.carrier(), Carrier::Https);
    assert!(world.told.contains(&Event::Switched(Carrier::Https)));
}

#[test]
fn an_order_names_each_carrier_once() {
    use Carrier::{Https, Udp};
    assert_eq!(Order::of(&[Udp, Https]), Some(Order::UDP_FIRST));
    assert_eq!(Order::of(&[Https]), Some(Order::only(Https)));
    for wrong in [&[][..], &[Udp, Udp], &[Udp, Https, Udp]] {
        assert_eq!(Order::of(wrong), None);
    }
}

impl World {
    fn new(order: Order) -> Self {
        let now = Instant::now();
        Self { ladder: Ladder::new(order, None, now), now, told: Vec::new() }
    }

    /// UDP has answered.
    fn connected() -> Self {
        let mut world = Self::new(Order::UDP_FIRST);
        world.ladder.sent(Asks::AtOnce, world.now);
        world.received(Carrier::Udp);
        world.told.clear();
        world
    }

    /// UDP has not, and HTTPS has.
    fn fallen_back() -> Self {
        let mut world = Self::new(Order::UDP_FIRST);
        world.ladder.sent(Asks::AtOnce, world.now);
        world.idle(FIRST_ANSWER);
        world.https(Https::Up);
        world.received(Carrier::Https);
        world.told.clear();
        world
    }

    fn received(&mut self, over: Carrier) {
        self.ladder.received(over, self.now);
        self.listen();
    }

    fn https(&mut self, https: Https) {
        self.ladder.https(https, self.now);
        self.listen();
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.idle(time);
        self
    }

    /// Time passes, and the ladder is called when it wants to be.
    fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        for calls in 0.. {
            self.listen();
            let Some((at, _)) = self.ladder.poll_timeout().filter(|(at, _)| *at <= end) else { break };
            assert!(calls < 1000, "it wants to be called again and again: {:?}", self.ladder);
            self.now = self.now.max(at);
            self.ladder.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn listen(&mut self) {
        self.told.extend(std::iter::from_fn(|| self.ladder.poll_event()));
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

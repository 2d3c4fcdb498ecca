//! What shaping does to conversations inside the tunnel, and what it costs.

mod distance;
mod world;

use std::{collections::HashMap, fmt::Write as _};

use self::world::{Outcome, Way, World, capsule_of, segments};
use super::*;

/// Conversations in each experiment.
const MANY: u64 = 1_000;

/// The page in `docs/` that states the cost of everything.
const PAGE: &str = include_str!("../../../../docs/shape.md");

/// The handshakes of programs inside are where detectors look for them, and with the breaker they are not.
#[test]
fn the_breaker_moves_handshakes_out_of_the_detectors_reach() {
    let bare = experiment(&Settings::off(), Kind::Handshake);
    assert!(bare.caught >= 0.7, "without it the rule must fire as often as published, or it proves nothing: {bare:?}");
    let broken = experiment(&Settings::default(), Kind::Handshake);
    assert!(broken.near <= 0.01, "{broken:?}");
    assert_eq!(broken.caught, 0.0, "{broken:?}");
    assert_eq!(broken.held, Duration::ZERO, "nothing may wait: {broken:?}");
    assert_eq!(broken.took, bare.took, "nothing may take longer");
}

/// The page in `docs/` is what the experiments give.
#[test]
fn the_cost_in_the_documentation_is_the_measured_one() {
    let table = table();
    assert!(PAGE.contains(&table), "docs/shape.md should say:\n{table}");
}

#[test]
fn padding_stays_within_its_share() {
    let mut world = World::new(&Settings::default(), 7);
    let (mut real, mut padding) = (0, 0);
    for round in 0..300 {
        let outcome = world.converse(&handshake(&mut ChaCha20Rng::seed_from_u64(round)));
        real += outcome.real;
        padding += outcome.padding;
        world.pause(Duration::from_secs(20));
    }
    // Each end has an allowance and a share of what it sees.
    let bound = 2 * (ALLOWANCE as usize + real * 30 / 1_000);
    assert!(padding <= bound, "{padding} > {bound}");
    assert!(padding > bound / 2, "the budget should have been used: {padding} of {bound}");
}

#[test]
fn without_settings_what_waits_is_written_and_nothing_else() {
    let mut world = World::new(&Settings::off(), 1);
    let outcome = world.converse(&[(Way::Up, vec![100, 200]), (Way::Down, vec![40_000])]);
    let up: Vec<_> = outcome.seen.iter().filter(|seen| seen.way == Way::Up).map(|seen| seen.bytes).collect();
    let down: Vec<_> = outcome.seen.iter().filter(|seen| seen.way == Way::Down).map(|seen| seen.bytes).collect();
    assert_eq!(up, [100, 200]);
    assert_eq!(down, [MAX_PIECE, MAX_PIECE, 40_000 - 2 * MAX_PIECE]);
    assert_eq!(outcome.padding, 0);
}

/// A tunnel that carries nothing but small talk for days still has padding for the handshake that comes then.
#[test]
fn small_talk_leaves_enough_for_a_handshake() {
    let mut now = Instant::now();
    let mut shaper = Shaper::new(Role::Client, Settings::default(), [9; 32], now);
    for _ in 0..20_000 {
        shaper.handle_outgoing(now, capsule_of(44));
        assert!(matches!(shaper.poll_output(now), Output::Write { real: 132, padding: 0..=BLUR_MAX }));
        now += Duration::from_secs(10);
    }
    shaper.handle_outgoing(now, capsule_of(520));
    let Output::Write { padding, .. } = shaper.poll_output(now) else { panic!("what waits is written") };
    assert!(padding > 2_000, "{padding}");
}

/// A train of datagrams is cut where a record is full, not where a datagram ends.
#[test]
fn large_transfers_travel_in_full_records() {
    let now = Instant::now();
    let mut shaper = Shaper::new(Role::Server, Settings::default(), [3; 32], now);
    shaper.handle_outgoing(now, 44 * capsule_of(1_300));
    let mut sizes = Vec::new();
    while let Output::Write { real, .. } = shaper.poll_output(now) {
        sizes.push(real);
    }
    assert_eq!(sizes[..3], [MAX_PIECE; 3]);
    assert_eq!(sizes.iter().sum::<usize>(), 44 * capsule_of(1_300));
}

/// The size of a small datagram cannot be told from the size of its record.
#[test]
fn small_writes_are_blurred() {
    let mut seen: HashMap<usize, Vec<usize>> = HashMap::new();
    for datagram in [100, 116] {
        let settings = Settings { padding_per_mille: 1_000, ..Settings::default() };
        for seed in 0..200 {
            let outcome = World::new(&settings, seed).converse(&[(Way::Up, vec![datagram])]);
            seen.entry(datagram).or_default().push(outcome.seen[0].bytes);
        }
    }
    let shared = seen[&100].iter().filter(|size| seen[&116].contains(size)).count();
    assert!(shared > 100, "only {shared} of 200 sizes could be either");
}

#[test]
fn something_small_waits_for_company_no_longer_than_it_was_told() {
    let settings = Settings { coalesce: Duration::from_millis(4), ..Settings::off() };
    let now = Instant::now();
    let mut shaper = Shaper::new(Role::Client, settings, [0; 32], now);
    shaper.handle_outgoing(now, 100);
    let due = now + Duration::from_millis(4);
    assert!(matches!(shaper.poll_output(now), Output::Timeout(Some(at), _) if at == due));
    shaper.handle_outgoing(now + Duration::from_millis(3), 100);
    assert!(matches!(shaper.poll_output(now + Duration::from_millis(3)), Output::Timeout(Some(at), _) if at == due));
    assert_eq!(shaper.poll_output(due), Output::Write { real: 200, padding: 0 });
    // Something large does not wait.
    shaper.handle_outgoing(due, 5_000);
    assert_eq!(shaper.poll_output(due), Output::Write { real: 5_000, padding: 0 });
}

/// The server answers an up-burst before whoever is beyond it can: the time to the first byte is the line's own.
#[test]
fn an_up_burst_is_answered_within_one_round_trip() {
    let mut world = World::new(&Settings::default(), 5);
    let outcome = world.converse(&[(Way::Up, segments(900)), (Way::Down, segments(3_000))]);
    let first_up = outcome.seen.iter().find(|seen| seen.way == Way::Up).unwrap().at;
    let first_down = outcome.seen.iter().filter(|seen| seen.way == Way::Down).map(|seen| seen.at).min().unwrap();
    assert!(first_down - first_up <= 2 * world::LINE + Duration::from_millis(1), "{:?}", first_down - first_up);
}

#[test]
fn a_download_is_not_padded() {
    let mut world = World::new(&Settings::default(), 5);
    let mut messages = vec![(Way::Up, segments(400)), (Way::Down, segments(40_000))];
    messages.extend((0..40).flat_map(|_| [(Way::Down, segments(40_000)), (Way::Up, vec![capsule_of(0); 4])]));
    let outcome = world.converse(&messages);
    let share = outcome.padding as f64 / outcome.real as f64;
    assert!(share < 0.015, "{share}");
}

/// A machine that pads every so many microseconds, and would allow itself so much beyond all limits, as text. Built here, for
/// the crate's own tools are its only other source.
fn busy_machine(every: f64, allowed: u64) -> String {
    use maybenot::{
        Machine,
        action::Action,
        dist::{Dist, DistType},
        event::Event,
        state::{State, Trans},
    };
    let fixed = |micros| Dist { dist: DistType::Uniform { low: micros, high: micros }, start: 0.0, max: 0.0 };
    let mut idle = State::new(enum_map::enum_map! {
        Event::NormalSent => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    idle.action = None;
    let mut pad = State::new(enum_map::enum_map! {
        Event::PaddingSent => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    pad.action = Some(Action::SendPadding { bypass: false, replace: false, timeout: fixed(every), limit: None });
    Machine::new(allowed, 0.0, allowed, 0.0, vec![idle, pad]).unwrap().serialize()
}

/// Half of all packets, also if the machine allows itself more.
#[test]
fn a_machine_pads_until_its_budget_is_spent() {
    for allowed in [0, 1_000, u64::MAX] {
        let machines = MachineSettings::new(&[busy_machine(1_000.0, allowed).parse().unwrap()], 0.5, 0.1, 512).unwrap();
        let settings = Settings { machines: Some(machines), ..Settings::off() };
        let mut now = Instant::now();
        let mut shaper = Shaper::new(Role::Client, settings, [0; 32], now);
        let (mut real, mut padding) = (0, 0);
        for _ in 0..2_000 {
            if real < 20 {
                shaper.handle_outgoing(now, 100);
            }
            while let Output::Write { real: some, padding: more } = shaper.poll_output(now) {
                real += some / 100;
                padding += more / 512;
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(real, 20);
        assert!((15..=21).contains(&padding), "half of all packets may be padding: {padding} of {}", real + padding);
    }
}

/// Machines that pad, hold or set timers without a pause: whoever asks what to do now gets to an end, soon and with a moment
/// to come, and what waits is written.
#[test]
fn machines_that_never_rest_keep_nobody_from_going_on() {
    /// Answers to one question, about: what waits, and padding alone.
    const ENOUGH: usize = 4;
    for machine in [busy_machine(0.0, u64::MAX), holding_machine(u64::MAX), winding_machine()] {
        let machines = MachineSettings::new(&[machine.parse().unwrap()], 0.999_999, 0.999_999, 512).unwrap();
        let settings = Settings { machines: Some(machines), ..Settings::off() };
        let mut now = Instant::now();
        let mut shaper = Shaper::new(Role::Client, settings, [0; 32], now);
        let (mut given, mut written, mut asked) = (0, 0, 0);
        let end = now + Duration::from_secs(2);
        while now < end {
            shaper.handle_outgoing(now, 100);
            given += 100;
            let next = (0..ENOUGH).find_map(|_| match shaper.poll_output(now) {
                Output::Write { real, .. } => {
                    written += real;
                    None
                }
                Output::Timeout(next, _) => Some(next),
            });
            let next = next.unwrap_or_else(|| panic!("{machine} goes on and on"));
            let next = next.unwrap_or(now + Duration::from_millis(5));
            assert!(next >= now + machines::REST, "{machine} wants to be asked again after {:?}", next - now);
            assert!(given - written <= 102 * 100, "{machine} lets nothing through");
            now = next;
            asked += 1;
        }
        assert!(asked > 10, "{machine} {asked}");
    }
}

/// A machine that sets a timer of no length again whenever it ends, as text.
fn winding_machine() -> String {
    use maybenot::{
        Machine,
        action::Action,
        dist::{Dist, DistType},
        event::Event,
        state::{State, Trans},
    };
    let nothing = Dist { dist: DistType::Uniform { low: 0.0, high: 0.0 }, start: 0.0, max: 0.0 };
    let mut idle = State::new(enum_map::enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    idle.action = None;
    let mut wind = State::new(enum_map::enum_map! { Event::TimerEnd => vec![Trans(1, 1.0)], _ => vec![] });
    wind.action = Some(Action::UpdateTimer { replace: true, duration: nothing, limit: None });
    Machine::new(0, 0.0, 0, 0.0, vec![idle, wind]).unwrap().serialize()
}

#[test]
fn machines_that_cannot_run_are_refused_in_words() {
    let machine: PaddingMachine = busy_machine(1_000.0, 7).parse().unwrap();
    assert_eq!(machine.to_string(), busy_machine(1_000.0, 7));
    for (text, reason) in [
        (String::new(), "too short"),
        ("nonsense".to_owned(), "version"),
        (busy_machine(1_000.0, 7)[..40].to_owned(), "not a padding machine"),
        ("02".repeat(20_000), "too long"),
    ] {
        let said = text.parse::<PaddingMachine>().unwrap_err().to_string();
        assert!(said.contains(reason) && said.contains("\n  hint: "), "{said}");
    }
    let many = vec![machine.clone(); MAX_MACHINES + 1];
    assert_eq!(MachineSettings::usual(&many).unwrap_err(), BadMachine::TooMany(MAX_MACHINES + 1));
    assert!(MachineSettings::usual(&many[1..]).is_ok());
    for (padding, blocking) in [(7.0, 0.1), (0.1, -1.0), (0.0, 0.1), (f64::NAN, 0.1), (1.0, 0.1), (0.1, 1.0)] {
        let settings = MachineSettings::new(std::slice::from_ref(&machine), padding, blocking, 512);
        assert!(matches!(settings, Err(BadMachine::NoShare(_))));
    }
}

/// A machine that would hold the stream for an hour at a time, and again, holds it for moments, and for its share.
#[test]
fn a_machine_holds_the_stream_for_moments_and_loses_nothing() {
    [0, 1_000, u64::MAX].into_iter().for_each(hold_for_moments);
}

fn hold_for_moments(allowed: u64) {
    const STEP: Duration = Duration::from_millis(1);
    const STEPS: u32 = 20_000;
    let machines = MachineSettings::usual(&[holding_machine(allowed).parse().unwrap()]).unwrap();
    let settings = Settings { machines: Some(machines), ..Settings::off() };
    let mut now = Instant::now();
    let mut shaper = Shaper::new(Role::Client, settings, [0; 32], now);
    // A share that was saved up is not spent at once.
    now += Duration::from_secs(10);
    let (mut given, mut written) = (0, 0);
    let (mut since, mut longest, mut held) = (now, Duration::ZERO, Duration::ZERO);
    for _ in 0..STEPS {
        shaper.handle_outgoing(now, 100);
        given += 100;
        while let Output::Write { real, .. } = shaper.poll_output(now) {
            written += real;
        }
        if written == given {
            since = now + STEP;
        } else {
            held += STEP;
            longest = longest.max(now - since);
        }
        now += STEP;
    }
    assert!(longest > Duration::ZERO && longest <= machines::MAX_HOLD, "{longest:?}");
    let all = STEP * STEPS + Duration::from_secs(10);
    assert!(held <= all / 10 + machines::MAX_HOLD, "{held:?} of {all:?}");
    now += machines::MAX_HOLD;
    while let Output::Write { real, .. } = shaper.poll_output(now) {
        written += real;
    }
    assert_eq!(written, given);
}

/// A machine that holds the stream whenever something is to be written, as text.
fn holding_machine(allowed: u64) -> String {
    use maybenot::{
        Machine,
        action::Action,
        dist::{Dist, DistType},
        event::Event,
        state::{State, Trans},
    };
    let fixed = |micros| Dist { dist: DistType::Uniform { low: micros, high: micros }, start: 0.0, max: 0.0 };
    let (timeout, duration) = (fixed(0.0), fixed(3_600_000_000.0));
    let mut idle = State::new(enum_map::enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    idle.action = None;
    let mut hold = State::new(enum_map::enum_map! {
        Event::NormalSent | Event::BlockingEnd => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    hold.action = Some(Action::BlockOutgoing { bypass: false, replace: true, timeout, duration, limit: None });
    Machine::new(allowed, 0.0, allowed, 0.0, vec![idle, hold]).unwrap().serialize()
}

/// Machines spend their own budget, and not that of the rest; nor does the rest spend without a budget because of them.
#[test]
fn machines_do_not_open_the_budget_of_the_rest() {
    let machines = MachineSettings::new(&[busy_machine(1_000.0, 0).parse().unwrap()], 0.01, 0.1, 2).unwrap();
    let settings =
        Settings { machines: Some(machines), padding_per_mille: 0, padding_allowance: 0, ..Settings::default() };
    let outcome = World::new(&settings, 1).converse(&handshake(&mut ChaCha20Rng::seed_from_u64(1)));
    assert!(outcome.padding < 1_000, "{}", outcome.padding);
}

/// What the level `strong` is for: many handshakes in a row, without a page between them.
#[test]
fn strong_shaping_pads_more_handshakes_in_a_row() {
    let in_a_row = |level: Level| {
        let mut world = World::new(&level.settings(), 3);
        let padded = |round| {
            let outcome = world.converse(&handshake(&mut ChaCha20Rng::seed_from_u64(round)));
            world.pause(Duration::from_secs(20));
            outcome.padding > 4_000
        };
        (0..200).map(padded).take_while(|padded| *padded).count()
    };
    let rows = [Level::Off, Level::Normal, Level::Strong].map(in_a_row);
    let [off, normal, strong] = rows;
    assert_eq!(off, 0);
    let said = format!("{normal} handshakes in a row at `normal`, {strong} at `strong`");
    assert!(PAGE.contains(&said), "docs/shape.md should say: {said}");
}

/// The machine that `docs/shape.md` shows does what is said of it there.
#[test]
fn the_machine_of_the_documentation_is_the_one_it_describes() {
    use maybenot::{
        Machine,
        action::Action,
        dist::{Dist, DistType},
        event::Event,
        state::{State, Trans},
    };
    let between = Dist { dist: DistType::Uniform { low: 1_000.0, high: 10_000.0 }, start: 0.0, max: 0.0 };
    let mut idle = State::new(enum_map::enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    idle.action = None;
    let mut pad = State::new(enum_map::enum_map! { Event::PaddingSent => vec![Trans(0, 1.0)], _ => vec![] });
    pad.action = Some(Action::SendPadding { bypass: false, replace: false, timeout: between, limit: None });
    let text = Machine::new(0, 0.0, 0, 0.0, vec![idle, pad]).unwrap().serialize();
    assert!(PAGE.contains(&format!("\nHttpsMachine = {text}\n")), "docs/shape.md should say: HttpsMachine = {text}");
}

/// It can be run as it stands there.
fn shown_machine() -> MachineSettings {
    let line = PAGE.lines().find(|line| line.starts_with("HttpsMachine = ")).unwrap();
    MachineSettings::usual(&[line["HttpsMachine = ".len()..].parse().unwrap()]).unwrap()
}

/// What happens inside the tunnel in an experiment.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A TLS handshake, a request and its answer, over a new connection.
    Handshake,
    /// The same, and then a page of 400 kB.
    Page,
    /// A single packet and its answer, as an echo.
    Echo,
}

/// What came of many conversations.
#[derive(Debug, PartialEq)]
struct Measured {
    /// The share that a detector takes for a handshake.
    caught: f64,
    /// The share that lies within one and a half times its threshold.
    near: f64,
    /// Bytes of padding for each conversation.
    padding: usize,
    /// The same, as a share of the real ones.
    share: f64,
    held: Duration,
    took: Duration,
}

fn experiment(settings: &Settings, kind: Kind) -> Measured {
    let (mut caught, mut near, mut padding, mut real) = (0, 0, 0, 0);
    let (mut held, mut took) = (Duration::ZERO, Duration::ZERO);
    for seed in 0..MANY {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let Outcome { padding: more, .. } = {
            let outcome = World::new(settings, seed).converse(&conversation(kind, &mut rng));
            let distance = distance::nearest(&outcome.bursts());
            caught += u64::from(distance < 1.0);
            near += u64::from(distance < 1.5);
            real += outcome.real;
            held = held.max(outcome.held);
            took += outcome.took;
            outcome
        };
        padding += more;
    }
    Measured {
        caught: caught as f64 / MANY as f64,
        near: near as f64 / MANY as f64,
        padding: padding / MANY as usize,
        share: padding as f64 / real as f64,
        held,
        took: took / MANY as u32,
    }
}

fn conversation(kind: Kind, rng: &mut ChaCha20Rng) -> Vec<(Way, Vec<usize>)> {
    match kind {
        Kind::Handshake => handshake(rng),
        Kind::Page => {
            let mut messages = handshake(rng);
            for _ in 0..10 {
                messages.push((Way::Down, segments(40_000)));
                messages.push((Way::Up, vec![capsule_of(0); 6]));
            }
            messages
        }
        Kind::Echo => vec![(Way::Up, vec![capsule_of(44)]), (Way::Down, vec![capsule_of(44)])],
    }
}

/// A TLS handshake inside, as programs make them: TCP's own, then one of three kinds, then a request and an answer.
fn handshake(rng: &mut ChaCha20Rng) -> Vec<(Way, Vec<usize>)> {
    let (hello, flight, finish, reply) = match draw(rng, 0, 2) {
        0 => (draw(rng, 1_750, 1_990), draw(rng, 3_300, 6_000), draw(rng, 400, 1_100), draw(rng, 500, 1_600)),
        1 => (draw(rng, 517, 720), draw(rng, 3_200, 5_600), draw(rng, 280, 650), draw(rng, 600, 1_500)),
        _ => (draw(rng, 180, 240), draw(rng, 3_300, 5_600), draw(rng, 80, 140), draw(rng, 220, 400)),
    };
    let mut first = vec![capsule_of(0)];
    first.extend(segments(hello));
    vec![
        (Way::Up, vec![capsule_of(20)]),
        (Way::Down, vec![capsule_of(20)]),
        (Way::Up, first),
        (Way::Down, segments(flight)),
        (Way::Up, segments(finish)),
        (Way::Down, segments(reply)),
    ]
}

/// The table in `docs/shape.md`.
fn table() -> String {
    let only = |blur, breaker| Settings { blur, breaker, ..Settings::default() };
    let waiting = Settings { coalesce: Duration::from_millis(4), ..Settings::off() };
    let rows = [
        ("nothing (`off`)", Settings::off()),
        ("blur", only(true, false)),
        ("breaker", only(false, true)),
        ("both (`normal`, the default)", Settings::default()),
        ("coalesce 4 ms, nothing else", waiting),
        ("`strong`", Level::Strong.settings()),
        ("the machine above, nothing else", Settings { machines: Some(shown_machine()), ..Settings::off() }),
    ];
    let mut table = String::from(
        "| what is on | handshakes caught | within 1.5 × | padding a handshake | a page of 400 kB | an echo | longest wait |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, settings) in rows {
        let handshake = experiment(&settings, Kind::Handshake);
        let page = experiment(&settings, Kind::Page);
        let echo = experiment(&settings, Kind::Echo);
        writeln!(
            table,
            "| {name} | {:.1} % | {:.1} % | {} B | +{:.1} % | {} B | {} ms |",
            handshake.caught * 100.0,
            handshake.near * 100.0,
            handshake.padding,
            page.share * 100.0,
            echo.padding,
            handshake.held.max(echo.held).as_millis(),
        )
        .unwrap();
    }
    table
}

//! Crashes, failures and reloads against a machine in memory: it must always be as it was in the end.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::backend::fake::{After, Fake, Machine};
use crate::gateway::Gateway;
use crate::journal::tests::TempDir;
use crate::plan::{Hooks, SRC_VALID_MARK, Table};

/// A host and its machine.
struct World {
    dir: TempDir,
    host: Host,
    fake: Fake,
}

impl World {
    fn with(machine: Machine, link: &str, journal: Option<&[u8]>) -> Self {
        let dir = TempDir::new();
        let path = dir.path().join(format!("{link}.journal"));
        if let Some(bytes) = journal {
            fs::write(&path, bytes).unwrap();
        }
        Self { host: Host::at(dir.path()), fake: Fake::new(machine, path), dir }
    }

    fn new() -> Self {
        Self::with(Machine::new(), "wg0", None)
    }

    fn apply(&mut self, plan: &HostPlan) -> Result<(Journal, u32), HostError> {
        self.fake.journal = self.dir.path().join(format!("{}.journal", plan.name));
        let journal = now(prepare(&self.host, &mut self.fake, plan))?;
        now(apply(&self.host, &mut self.fake, journal, plan))
    }

    fn update(&mut self, journal: &mut Journal, plan: &HostPlan, mark: u32) -> Vec<Change> {
        now(update(&self.host, &mut self.fake, journal, plan, mark)).unwrap()
    }

    fn undo(&mut self, journal: Journal, link: &str) -> Result<Vec<Change>, HostError> {
        self.fake.journal = self.dir.path().join(format!("{link}.journal"));
        now(undo(&self.host, &mut self.fake, journal, link, ready(())))
    }

    fn recover(&mut self, link: &str) -> Vec<Change> {
        match Journal::open_existing(self.dir.path(), link).unwrap() {
            Some(journal) => self.undo(journal, link).unwrap(),
            None => Vec::new(),
        }
    }
}

/// Runs to its end, which is at once: the machine is in memory. Only the lock may make it wait: a child that another test
/// is about to start has inherited it for a moment.
fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn plan_of(full: bool, dns: bool, hooks: bool) -> HostPlan {
    let words = |word: &str| if hooks { vec![format!("{word} 1"), format!("{word} 2")] } else { Vec::new() };
    HostPlan {
        name: "wg0".into(),
        addresses: vec!["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()],
        routes: if full {
            vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]
        } else {
            vec!["172.16.0.0/12".parse().unwrap()]
        },
        dns: if dns { vec!["10.0.0.1".parse().unwrap()] } else { Vec::new() },
        hooks: Hooks { pre_up: words("a"), post_up: words("b"), pre_down: words("c"), post_down: words("d") },
        ..HostPlan::default()
    }
}

prop_compose! {
    fn any_plan()(
        full in any::<[bool; 2]>(),
        numbers in proptest::collection::vec(0_u8..6, 0..4),
        hosts in proptest::collection::vec(1_u8..5, 0..3),
        dns in any::<bool>(),
        hooks in any::<bool>(),
        mtu in proptest::option::of(1280_u32..1283),
        gateway in proptest::option::of((any::<bool>(), 0_u8..3)),
        table in prop_oneof![4 => Just(Table::Auto), 1 => Just(Table::Off), 1 => Just(Table::Number(77))],
    ) -> HostPlan {
        let mut plan = plan_of(false, dns, hooks);
        plan.addresses = hosts.iter().map(|host| format!("10.{host}.0.{host}/24").parse().unwrap()).collect();
        plan.routes = numbers.iter().map(|number| format!("10.{number}.0.0/16").parse().unwrap()).collect();
        plan.routes.extend(numbers.iter().map(|number| format!("10.{number}.0.0/24").parse::<ipnet::IpNet>().unwrap()));
        let default = ["0.0.0.0/0", "::/0"];
        plan.routes.extend(default.iter().zip(full).filter(|(_, on)| *on).map(|(to, _)| to.parse::<ipnet::IpNet>().unwrap()));
        plan.mtu = mtu;
        plan.table = table;
        plan.gateway = gateway.map(|(nat, number)| Gateway {
            ranges: [format!("10.{number}.0.0/16"), "fd00::/64".into()].map(|net| net.parse().unwrap()).to_vec(),
            nat,
            ..Gateway::default()
        });
        plan
    }
}

fn any_failure() -> impl Strategy<Value = After> {
    prop_oneof![Just(After::Nothing), Just(After::FirstCall), Just(After::All)]
}

/// The most changes that a plan is made of.
fn plan_lines(plan: &HostPlan) -> usize {
    let mut world = World::new();
    let (mut journal, _) = world.apply(plan).unwrap();
    journal.open_changes().unwrap().len()
}

/// The journal as it was, and as it would be if the process had died while writing the next line.
fn torn(bytes: &[u8]) -> [Vec<u8>; 2] {
    [bytes.to_vec(), [bytes, br#"{"change":{"route":{"to":"10."#.as_slice()].concat()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_moment_of_a_run_is_undone_by_recover(plan in any_plan(), tun_goes in any::<bool>()) {
        let initial = Machine::new();
        let mut world = World::new();
        let (journal, _) = world.apply(&plan).unwrap();
        world.undo(journal, "wg0").unwrap();
        prop_assert_eq!(&world.fake.machine, &initial);
        for (bytes, machine) in world.fake.moments.drain(..) {
            for bytes in torn(&bytes) {
                let (mut machine, mut expected) = (machine.clone(), initial.clone());
                if tun_goes {
                    machine.lose("wg0");
                    expected.lose("wg0");
                }
                let mut after = World::with(machine, "wg0", Some(&bytes));
                after.recover("wg0");
                prop_assert_eq!(&after.fake.machine, &expected);
                prop_assert_eq!(Journal::links(after.dir.path()).unwrap(), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_crash_at_any_moment_of_recover_is_undone_by_the_next(plan in any_plan()) {
        let initial = Machine::new();
        let mut world = World::new();
        drop(world.apply(&plan).unwrap());
        world.fake.moments.clear();
        world.recover("wg0");
        for (bytes, machine) in world.fake.moments.drain(..) {
            let mut after = World::with(machine, "wg0", Some(&bytes));
            after.recover("wg0");
            prop_assert_eq!(&after.fake.machine, &initial);
            let count = |word: &str| after.fake.machine.log.iter().filter(|line| *line == word).count();
            // A command that was under way when the process died is not run again; one that was not, is run once.
            prop_assert!(count("PreDown c 1") <= 1 && count("PostDown d 2") <= 1, "{:?}", after.fake.machine.log);
        }
    }

    #[test]
    fn a_change_that_fails_undoes_all_before_it(plan in any_plan(), at in 0_usize..24) {
        let initial = Machine::new();
        let mut world = World::new();
        world.fake.fails = at..at + 1;
        match world.apply(&plan) {
            Ok((journal, _)) => { world.undo(journal, "wg0").ok(); world.fake.fails = 0..0; world.recover("wg0"); }
            Err(error) => prop_assert!(error.is_denied(), "{error}"),
        }
        prop_assert_eq!(&world.fake.machine, &initial);
        prop_assert_eq!(Journal::links(world.dir.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_reload_ends_where_a_fresh_start_would(first in any_plan(), second in any_plan()) {
        let mut fresh = World::new();
        let (_kept, _) = fresh.apply(&second).unwrap();
        let mut world = World::new();
        let (mut journal, mark) = world.apply(&first).unwrap();
        world.update(&mut journal, &second, mark);
        prop_assert_eq!(&world.fake.machine, &fresh.fake.machine);
        prop_assert_eq!(world.update(&mut journal, &second, mark), []);
        let moments: Vec<_> = world.fake.moments.drain(..).collect();
        world.undo(journal, "wg0").unwrap();
        prop_assert_eq!(&world.fake.machine, &Machine::new());
        for (bytes, machine) in moments {
            let mut after = World::with(machine, "wg0", Some(&bytes));
            after.recover("wg0");
            prop_assert_eq!(&after.fake.machine, &Machine::new());
        }
    }

    /// What fails on the way to the second is neither taken for made nor left half made, whether the second is wanted again
    /// or the first: the machine ends where a fresh start would.
    #[test]
    fn after_an_update_that_failed_the_next_ends_where_a_fresh_start_would(
        first in any_plan(), second in any_plan(), at in 0_usize..16, fails in 1_usize..4, after in any_failure(),
        back in any::<bool>(), resolved in any::<bool>(),
    ) {
        let machine = if resolved { Machine::with_resolved() } else { Machine::new() };
        let wanted = if back { &first } else { &second };
        let mut fresh = World::with(machine.clone(), "wg0", None);
        let (_kept, _) = fresh.apply(wanted).unwrap();
        let mut world = World::with(machine.clone(), "wg0", None);
        let (mut journal, mark) = world.apply(&first).unwrap();
        world.fake.fails = world.fake.actions + at..world.fake.actions + at + fails;
        world.fake.fails_after = after;
        let _may_fail = now(update(&world.host, &mut world.fake, &mut journal, &second, mark));
        world.fake.fails = 0..0;
        world.update(&mut journal, wanted, mark);
        prop_assert_eq!(&world.fake.machine, &fresh.fake.machine);
        prop_assert_eq!(world.update(&mut journal, wanted, mark), []);
        let moments: Vec<_> = world.fake.moments.drain(..).collect();
        world.undo(journal, "wg0").unwrap();
        prop_assert_eq!(&world.fake.machine, &machine);
        for (bytes, machine_then) in moments {
            let mut after = World::with(machine_then, "wg0", Some(&bytes));
            after.recover("wg0");
            prop_assert_eq!(&after.fake.machine, &machine);
        }
    }

    /// A network whose rules change again and again: its journal stays short, and a crash at any moment is undone.
    #[test]
    fn a_network_that_changes_for_ever_has_a_journal_with_an_end(one in any_plan(), other in any_plan()) {
        let mut world = World::new();
        let (mut journal, mark) = world.apply(&one).unwrap();
        let mut longest = 0;
        for round in 0..30 {
            world.fake.moments.clear();
            world.update(&mut journal, if round % 2 == 0 { &other } else { &one }, mark);
            let text = fs::read_to_string(&world.fake.journal).unwrap();
            longest = longest.max(text.lines().count());
        }
        // What is open before and after, twice; what may be settled; and what one change writes.
        let changes = plan_lines(&one) + plan_lines(&other);
        prop_assert!(longest <= 4 * changes + 64, "{longest} lines for {changes} changes");
        let moments: Vec<_> = world.fake.moments.drain(..).collect();
        world.undo(journal, "wg0").unwrap();
        prop_assert_eq!(&world.fake.machine, &Machine::new());
        for (bytes, machine) in moments {
            let mut after = World::with(machine, "wg0", Some(&bytes));
            after.recover("wg0");
            prop_assert_eq!(&after.fake.machine, &Machine::new());
        }
    }

    #[test]
    fn two_tunnels_end_in_any_order(first in any_plan(), second in any_plan(), swap in any::<bool>()) {
        let second = HostPlan { name: "wg1".into(), ..second };
        let mut world = World::new();
        let (one, _) = world.apply(&first).unwrap();
        let (two, _) = world.apply(&second).unwrap();
        let order = if swap { [(two, "wg1"), (one, "wg0")] } else { [(one, "wg0"), (two, "wg1")] };
        for (journal, link) in order {
            world.undo(journal, link).unwrap();
        }
        prop_assert_eq!(&world.fake.machine, &Machine::new());
    }
}

#[test]
fn while_one_of_two_full_tunnels_goes_down_the_other_keeps_what_it_needs() {
    let mut world = World::new();
    let (one, _) = world.apply(&plan_of(true, true, false)).unwrap();
    let second = HostPlan { name: "wg1".into(), ..plan_of(true, true, false) };
    let (two, mark) = world.apply(&second).unwrap();
    assert_eq!(mark, 51_821);
    let dns = world.fake.machine.resolv_conf.clone();
    world.undo(one, "wg0").unwrap();
    assert_eq!(world.fake.machine.sysctls[SRC_VALID_MARK], "1");
    assert_eq!(world.fake.machine.resolv_conf, dns);
    world.undo(two, "wg1").unwrap();
    assert_eq!(world.fake.machine, Machine::new());
}

/// A plan with what one place holds: rules of a gateway, the largest packet, name servers.
fn plan_with(range: &str, mtu: u32, dns: &str) -> HostPlan {
    let gateway = Gateway { ranges: vec![range.parse().unwrap()], nat: true, ..Gateway::default() };
    HostPlan { mtu: Some(mtu), dns: vec![dns.parse().unwrap()], gateway: Some(gateway), ..plan_of(false, false, false) }
}

#[test]
fn who_goes_back_after_an_update_that_failed_has_what_was_there_before() {
    let first = plan_with("10.1.0.0/16", 1400, "10.0.0.1");
    let second = plan_with("10.2.0.0/16", 1300, "10.0.0.3");
    for at in 0..12 {
        let mut world = World::with(Machine::with_resolved(), "wg0", None);
        let (mut journal, mark) = world.apply(&first).unwrap();
        let before = world.fake.machine.clone();
        world.fake.fails = world.fake.actions + at..world.fake.actions + at + 1;
        let _may_fail = now(update(&world.host, &mut world.fake, &mut journal, &second, mark));
        world.fake.fails = 0..0;
        world.update(&mut journal, &first, mark);
        assert_eq!(world.fake.machine, before, "after action {at} failed");
    }
}

#[test]
fn name_servers_that_could_not_be_told_leave_the_old_ones() {
    let first = plan_with("10.1.0.0/16", 1400, "10.0.0.1");
    let second = HostPlan { dns: vec!["10.0.0.3".parse().unwrap()], ..first.clone() };
    let mut world = World::with(Machine::with_resolved(), "wg0", None);
    let (mut journal, mark) = world.apply(&first).unwrap();
    let before = world.fake.machine.clone();
    // The way through another program's filter is looked at first, by every update.
    world.fake.fails = world.fake.actions + 1..world.fake.actions + 2;
    world.fake.fails_after = After::FirstCall;
    now(update(&world.host, &mut world.fake, &mut journal, &second, mark)).unwrap_err();
    assert_eq!(world.fake.machine, before, "the old servers, and no others");
}

#[test]
fn what_could_not_even_be_taken_back_is_made_by_the_next_update() {
    let (first, second) = (plan_of(false, false, false), plan_of(true, true, false));
    let mut fresh = World::new();
    let (_kept, _) = fresh.apply(&second).unwrap();
    for at in 0..12 {
        let mut world = World::new();
        let (mut journal, mark) = world.apply(&first).unwrap();
        world.fake.fails = world.fake.actions + at..usize::MAX;
        now(update(&world.host, &mut world.fake, &mut journal, &second, mark)).ok();
        world.fake.fails = 0..0;
        world.update(&mut journal, &second, mark);
        assert_eq!(world.fake.machine, fresh.fake.machine, "everything failed from action {at} on");
    }
}

#[test]
fn commands_run_in_the_order_of_the_profile() {
    let mut world = World::new();
    let (journal, _) = world.apply(&plan_of(true, true, true)).unwrap();
    world.undo(journal, "wg0").unwrap();
    let log = [
        "PreUp a 1",
        "PreUp a 2",
        "PostUp b 1",
        "PostUp b 2",
        "PreDown c 1",
        "PreDown c 2",
        "PostDown d 1",
        "PostDown d 2",
    ];
    assert_eq!(world.fake.machine.log, log);
}

#[test]
fn commands_for_the_end_do_not_run_if_none_for_the_start_did() {
    let mut plan = plan_of(false, false, true);
    plan.hooks.pre_up.clear();
    let mut world = World::new();
    world.fake.fails = 0..1;
    world.apply(&plan).unwrap_err();
    assert_eq!(world.fake.machine.log, Vec::<String>::new());
}

#[test]
fn what_a_killed_run_left_is_undone_by_the_next_up() {
    let mut world = World::new();
    drop(world.apply(&plan_of(true, true, true)).unwrap());
    let (journal, _) = world.apply(&plan_of(false, false, false)).unwrap();
    assert_eq!(world.fake.machine.sysctls[SRC_VALID_MARK], "0");
    assert!(world.fake.machine.log.contains(&"PostDown d 1".to_owned()));
    world.undo(journal, "wg0").unwrap();
    assert_eq!(world.fake.machine, Machine::new());
}

#[test]
fn what_cannot_be_undone_is_named_and_tried_again() {
    let mut world = World::new();
    let (journal, _) = world.apply(&plan_of(false, false, false)).unwrap();
    world.fake.fails = world.fake.actions..world.fake.actions + 1;
    let error = world.undo(journal, "wg0").unwrap_err();
    assert!(matches!(&error, HostError::Left { left, .. } if left.len() == 1), "{error}");
    world.recover("wg0");
    assert_eq!(world.fake.machine, Machine::new());
}

#[test]
fn an_interface_that_is_not_there_is_said_so_and_nothing_is_left() {
    let mut world = World::new();
    world.fake.machine.lose("wg0");
    let error = world.apply(&plan_of(true, true, false)).unwrap_err();
    assert!(matches!(error, HostError::NoLink { .. }), "{error}");
    assert_eq!(Journal::links(world.dir.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_name_that_could_be_a_path_or_a_rule_is_refused() {
    for name in ["", "..", "a/b", "wg0\"", "abcdefghijklmnop", "wg 0"] {
        assert!(matches!(check_name(name), Err(HostError::BadName { .. })), "{name}");
    }
    check_name("a_=+.-9").unwrap();
}

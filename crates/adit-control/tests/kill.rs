//! A server that is killed at random moments while it changes things: the database opens, and has whole changes only.
//!
//! This program is both: without the variable below it kills, with it it is the one that is killed.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "state/world.rs"]
mod world;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use adit_control::{Change, Command, Model, PeerId, Store, decide};

use world::{NOW, act, add, invite, name, network, redeem};

/// Where the one that is killed keeps its state.
const STATE: &str = "ADIT_TEST_STATE";
const KILLS: u64 = 50;

fn main() {
    // A runner's filter that is about others.
    if std::env::args()
        .skip(1)
        .any(|arg| !arg.starts_with('-') && arg.parse::<u32>().is_err() && !"kill".contains(&arg))
    {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match std::env::var_os(STATE) {
        Some(state) => runtime.block_on(change_for_ever(&PathBuf::from(state))),
        None => runtime.block_on(kill()),
    }
}

/// Kills, opens, compares: what is there must be what the same history makes in memory, up to some revision.
async fn kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Model::default();
    for round in 0..KILLS {
        let promised = run_and_kill(dir.path(), Duration::from_micros(random(round) % 20_000));
        let store = Store::sqlite(dir.path()).unwrap();
        let found = store.load().await.unwrap();
        assert!(found.revision >= promised, "revision {promised} was answered, and {} is there", found.revision);
        while expected.revision < found.revision {
            step(&mut expected);
        }
        assert_eq!(found, expected, "after kill {round}");
        assert_eq!(found.contradictions(), Vec::<String>::new());
        let mut logged = 0;
        let mut before = None;
        loop {
            let page = store.audit(before, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            (logged, before) = (logged + page.len() as u64, Some(last.id));
        }
        assert_eq!(logged, found.revision, "one row of the log for each change");
        store.close().await;
    }
    assert!(expected.revision > KILLS, "the killed one did change things: {}", expected.revision);
}

/// Runs the other until it has changed something, and then for so long. Gives the last revision that it was promised.
fn run_and_kill(state: &Path, after: Duration) -> u64 {
    let mut child =
        Process::new(std::env::current_exe().unwrap()).env(STATE, state).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut promised = lines.next().expect("it changes something").unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok).filter(|line| line.ends_with('.')) {
        promised = line;
    }
    promised.trim_end_matches('.').parse().unwrap()
}

async fn change_for_ever(state: &Path) {
    let store = Store::sqlite(state).unwrap();
    let mut model = store.load().await.unwrap();
    loop {
        let mut next = model.clone();
        let command = step(&mut next);
        act(&store, &mut model, command, NOW).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}.", model.revision).unwrap();
        out.flush().unwrap();
    }
}

/// The next command of a history that depends on nothing but the model before it, made to that model.
fn step(model: &mut Model) -> Command {
    for attempt in 0.. {
        let draw = random(model.revision << 16 | attempt);
        // One that is there, if there is one: so that the history never comes to an end, however fast the machine is.
        let there = model.peers.keys().copied().nth((draw >> 8) as usize % model.peers.len().max(1));
        let peer = there.unwrap_or(PeerId(0));
        let number = draw >> 16 & 0xff;
        let command = match draw % 7 {
            _ if model.network.is_none() => Command::CreateNetwork(network()),
            0 => add(&format!("app{number}"), 1_000 + number),
            1 => invite(number, 2),
            2..=4 => redeem(number, 2_000 + (draw >> 24 & 0xff)),
            5 => Command::Rename(peer, name(&format!("other{number}"))),
            _ => Command::Remove(peer),
        };
        let Ok(decision) = decide(model, command.clone(), NOW) else { continue };
        if !decision.changes.is_empty() {
            decision.changes.iter().for_each(|change: &Change| model.apply(change));
            model.revision += 1;
            return command;
        }
    }
    unreachable!("numbers do not end")
}

/// SplitMix64: a number that looks random for each number.
const fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

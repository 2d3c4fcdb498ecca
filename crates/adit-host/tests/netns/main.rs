//! The machine for real: each story in a network namespace of its own, with one end of a veth pair in place of the TUN.
//!
//! `cargo test -p adit-host --features lab --test netns [NAME]`, as root. Needs iproute2, nftables, socat, python3 and dbus. Without
//! them, or without root, it fails. Not here: tunnels and packets.

#![expect(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "this is a test and its runner")]

mod gateway;
mod lan;
mod resolved;
mod stories;
mod world;

use std::pin::Pin;
use std::process::ExitCode;

use world::World;

/// A story: what happens in a namespace.
pub(crate) type Story = fn(World) -> Pin<Box<dyn Future<Output = ()>>>;

/// A list of stories with their names.
macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), |world| Box::pin($name(world)))),*] };
}
pub(crate) use named;

/// What the process inside a namespace is asked to do.
const STORY: &str = "ADIT_HOST_STORY";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(STORY) {
        return inside(&name);
    }
    let wanted = wanted();
    let chosen: Vec<_> = stories::ALL
        .iter()
        .chain(gateway::ALL)
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())))
        .collect();
    let mut failed = Vec::new();
    for (name, _) in &chosen {
        let ended = world::in_namespace(name);
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        if let Err(why) = ended {
            println!("{why}");
            failed.push(name);
        }
    }
    println!("\ntest result: {} passed; {} failed", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Parts of names, as the other test runners take them. The stories run one at a time whatever is asked.
fn wanted() -> Vec<String> {
    let mut words = std::env::args().skip(1);
    let mut wanted = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--test-threads" => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => wanted.push(word),
        }
    }
    wanted
}

fn everything() -> impl Iterator<Item = &'static (&'static str, Story)> {
    [stories::ALL, stories::CHILDREN, gateway::ALL, gateway::CHILDREN].into_iter().flatten()
}

fn inside(name: &str) -> ExitCode {
    let Some((_, story)) = everything().find(|(other, _)| *other == name) else {
        eprintln!("there is no story {name}");
        return ExitCode::FAILURE;
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        eprintln!("no runtime");
        return ExitCode::FAILURE;
    };
    runtime.block_on(story(World::here()));
    ExitCode::SUCCESS
}

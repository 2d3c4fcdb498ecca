//! The test command of the README: every layer in turn, cheapest first, each with a line in the summary.
//!
//! A layer that fails does not keep the next from running; nothing is skipped, and one failure fails the whole.

use std::time::Instant;

use crate::step::{Outcome, cargo_line, root, show};
use crate::{lab, setup, tidy};

/// A layer: what it is called, and what it does.
type Layer = (&'static str, fn() -> Outcome);

const LAYERS: [Layer; 9] = [
    ("setup", setup::run),
    ("format", || show(&mut cargo_line("fmt --all --check"))),
    ("tidy", tidy::run),
    ("build", || show(&mut cargo_line("build --locked --workspace --all-targets"))),
    ("lints", lints),
    ("docs", docs),
    ("unit and property tests", || show(&mut cargo_line("test --locked --workspace --no-fail-fast"))),
    ("fuzz replay", fuzz_replay),
    ("real peers", || lab::run(&lab::Options::default())),
];

/// Runs all layers.
pub(crate) fn run() -> Outcome {
    let mut summary = Vec::new();
    for (name, layer) in LAYERS {
        println!("\n── {name} ──");
        let start = Instant::now();
        let outcome = layer();
        if let Err(problem) = &outcome {
            println!("{problem}");
        }
        summary.push((name, outcome, start.elapsed()));
    }
    println!("\n── summary ──");
    for (name, outcome, took) in &summary {
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<24} {verdict:<7} {:>4} s", took.as_secs());
    }
    let failed: Vec<_> = summary.iter().filter(|(_, outcome, _)| outcome.is_err()).map(|(name, ..)| *name).collect();
    if failed.is_empty() {
        println!("\nall {} layers passed", summary.len());
        return Ok(());
    }
    Err(format!("\nfailed: {}", failed.join(", ")))
}

fn lints() -> Outcome {
    show(cargo_line("clippy --locked --workspace --all-targets --all-features --").args(["-D", "warnings"]))
}

fn docs() -> Outcome {
    show(cargo_line("doc --locked --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

/// The fuzz targets are a workspace of their own; its tests run every input of the corpus through them.
fn fuzz_replay() -> Outcome {
    let target = root().join("target");
    show(cargo_line("test --locked --manifest-path fuzz/Cargo.toml --target-dir").arg(target))
}

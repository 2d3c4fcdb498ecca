//! The benchmark's program: `cargo xtask bench` builds and runs it. Needs root.

#![expect(clippy::print_stdout, reason = "progress and the table, for whoever waits")]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use adit_lab::bench::{Contestant, Entry, Machine, Report, Settings, round};
use clap::Parser;

/// Measures adit beside its peers.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Where `benchmarks.md`, `benchmarks.json` and `benchmarks.svg` go.
    #[arg(long, default_value = "docs")]
    out: String,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let (mut contestants, missing) = Contestant::all();
    if !options.subjects.is_empty() {
        contestants.retain(|one| options.subjects.iter().any(|name| one.name().contains(name.as_str())));
    }
    let entries = contestants.iter().map(|one| Entry::new(one.name(), one.version())).collect();
    let (seconds, repeats) = (options.seconds, options.repeats);
    let mut report = Report { machine: Machine::here(), seconds, repeats, missing, entries };
    for number in 1..=repeats {
        for contestant in &contestants {
            println!("round {number} of {repeats}: {}", contestant.name());
            let figures = round(contestant, Settings { time: Duration::from_secs(seconds) });
            println!("  {figures:.2?}");
            report.add(contestant.name(), &figures);
        }
    }
    println!("\n{}", report.markdown());
    write(Path::new(&options.out), &report)
}

fn write(directory: &Path, report: &Report) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("benchmarks.json"), report.json())?;
    fs::write(directory.join("benchmarks.svg"), report.svg())?;
    let page = directory.join("benchmarks.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|_| format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
    let (before, rest) = text.split_once(BEGIN).unwrap_or((&text, ""));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    fs::write(page, format!("{before}{BEGIN}\n\n{}\n{END}{after}", report.markdown()))
}

/// Between these two the page is written by this program.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

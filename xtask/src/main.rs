//! The chores of the adit repository: `cargo xtask test` is the one that decides whether a change is good.
//!
//! Not here: anything that a user of adit runs. Depends on none of our crates, so it works when they do not build.

#![expect(clippy::print_stdout, reason = "a command line for developers; printing is what it does")]
#![expect(clippy::print_stderr, reason = "a command line for developers; printing is what it does")]

mod adit;
mod bench;
mod dist;
mod fingerprint;
mod lab;
mod metadata;
mod setup;
mod step;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the adit repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Build adit and run it: `./x adit server up`. As root, or by sudo.
    Adit {
        /// Passed on to `adit`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the Debian package, in target/dist.
    Dist,
    /// Compare our client with this machine's Chromium, on loopback; or write the browser's profile anew. Needs root.
    Fingerprint(fingerprint::Options),
    /// Install what the tests need and this machine lacks (Debian packages, by apt-get).
    Setup,
    /// Run every check there is: format, tidiness, lints, docs, tests, fuzz replay, real peers. Needs root for the last.
    Test,
    /// Check what compilers do not: first lines, lengths, arrows between crates, names in ARCHITECTURE.md, unsafe code.
    Tidy,
    /// Run the stories on real peers in network namespaces. Needs root.
    Lab(lab::Options),
    /// Measure adit beside its peers, and write docs/benchmarks.md. Needs root.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Adit { arguments } => adit::run(&arguments),
        Chore::Dist => dist::run(),
        Chore::Fingerprint(options) => fingerprint::run(&options),
        Chore::Setup => setup::run(),
        Chore::Test => test::run(),
        Chore::Tidy => tidy::run(),
        Chore::Lab(options) => lab::run(&options),
        Chore::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

//! The stories on real peers, of every crate that has some.

use clap::Args;

use crate::metadata::Workspace;
use crate::step::{Outcome, cargo, is_root, show};

/// Which stories, and how many at once.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only those with this in their name.
    filter: Option<String>,
    /// How many at once.
    #[arg(long, default_value_t = 4)]
    threads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: None, threads: 4 }
    }
}

/// Builds the programs under test, then runs every test target that requires the feature `lab`.
pub(crate) fn run(options: &Options) -> Outcome {
    if !is_root() {
        return Err(
            "the lab makes network namespaces, which needs root\n  hint: run `sudo -E env PATH=\"$PATH\" cargo xtask lab`"
                .to_owned(),
        );
    }
    // The whole workspace is selected, always: features then unify alike, and nothing is built twice.
    show(cargo().args(["build", "--locked", "--workspace", "--all-targets"]))?;
    let workspace = Workspace::read()?;
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    for package in workspace.packages().iter().filter(|package| package.features.iter().any(|own| own == "lab")) {
        if package.lab_tests.is_empty() {
            return Err(format!("{} has the feature `lab`, but no test that requires it", package.name));
        }
        command.args(["--features", &format!("{}/lab", package.name)]);
        for test in &package.lab_tests {
            command.args(["--test", test]);
        }
    }
    command.args(["--", "--test-threads", &options.threads.to_string()]).args(&options.filter);
    show(&mut command)
}

//! The benchmark: builds what is measured as it is released, and runs the harness of `adit-lab`.

use std::process::Command;

use clap::Args;

use crate::step::{Outcome, cargo, is_root, root, show};

/// How long to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Two seconds and one repeat: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<u32>,
    /// How often each subject is measured, in turn with the others.
    #[arg(long)]
    repeats: Option<u32>,
    /// Only these subjects, by name.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
}

/// Builds and measures.
pub(crate) fn run(options: &Options) -> Outcome {
    if !is_root() {
        return Err(
            "the benchmark makes network namespaces, which needs root\n  hint: run `sudo -E env PATH=\"$PATH\" \
                    cargo xtask bench`"
                .to_owned(),
        );
    }
    show(cargo().args(["build", "--locked", "--release", "-p", "adit-cli", "--bins"]))?;
    show(cargo().args(["build", "--locked", "--release", "-p", "adit-lab", "--bin", "lab-bench", "--examples"]))?;
    let mut command = Command::new(root().join("target/release/lab-bench"));
    command.current_dir(root());
    if options.quick {
        command.args(["--seconds", "2", "--repeats", "1"]);
    }
    for (name, value) in [("--seconds", options.seconds), ("--repeats", options.repeats)] {
        if let Some(value) = value {
            command.args([name, &value.to_string()]);
        }
    }
    if !options.subjects.is_empty() {
        command.args(["--subjects", &options.subjects.join(",")]);
    }
    show(&mut command)
}

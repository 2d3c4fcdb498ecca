//! The README's first command: build adit, and run it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::setup;
use crate::step::{Outcome, cargo_line, is_root, root, show};

/// Builds the released binaries and becomes `adit …`, by sudo where this is not root. Returns only if it cannot be run.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    setup::install(&["ip", "c++", "clang", "cmake"])?;
    show(&mut cargo_line("build --release --locked -p adit-cli"))?;
    let adit = root().join("target/release/adit");
    let mut command = if is_root() { Command::new(&adit) } else { Command::new("sudo") };
    if !is_root() {
        command.arg(&adit);
    }
    let error = command.args(arguments).exec();
    Err(format!("cannot run {}: {error}", adit.display()))
}

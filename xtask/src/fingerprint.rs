//! Does our client still look like the browser: one story of the lab, with the profile written anew if so wished.
//!
//! Not here: the visits and the comparison (`crates/adit-lab/tests/fingerprint`).

use clap::Args;

use crate::setup;
use crate::step::{Outcome, cargo_line, is_root, show};

/// What to do with what is seen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write what this machine's Chromium looks like into the profile, in place of comparing.
    #[arg(long)]
    update: bool,
}

/// Lets Chromium and our client visit the same site, and fails on any difference, field by field.
pub(crate) fn run(options: &Options) -> Outcome {
    if !is_root() {
        return Err(
            "the visits happen in a network namespace, which needs root\n  hint: run it with sudo -E".to_owned()
        );
    }
    setup::install(&["chromium", "ip", "c++", "clang", "cmake"])?;
    // The whole workspace is selected, as the lab does: features then unify alike, and nothing is built twice.
    let mut visits = cargo_line("test --locked --workspace --features adit-lab/lab --test fingerprint");
    if options.update {
        visits.env("ADIT_FINGERPRINT_UPDATE", "1");
    }
    show(&mut visits)?;
    if options.update {
        println!("written: crates/adit-transport/profiles/chromium.toml and chromium.hex; build and test again");
    } else {
        println!("our client looks like this machine's Chromium");
    }
    Ok(())
}

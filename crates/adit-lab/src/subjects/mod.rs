//! The implementations under test, each a program that makes one interface: the same verbs for every one of them.
//!
//! Not here: how two of them are configured for each other (`tunnel`).

mod adit;
mod boringtun;
mod daemon;
mod find;
mod gotatun;
mod usage;
mod wireguard_go;

use std::ffi::OsString;
use std::path::PathBuf;

pub use daemon::Daemon;
pub use find::{beside_this_program, peer};
pub use usage::Usage;
pub(crate) use usage::children;

/// A userspace WireGuard: the program, and how to make it stay in front with an interface.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it is called in tables and test names.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Arguments before the interface's name.
    pub arguments: Vec<OsString>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Subject {
    /// Our own `adit-wireguard`. `ADIT_LAB_SUBJECT=wireguard-go` puts another in its place, to see whether a story that
    /// fails is wrong itself.
    #[track_caller]
    pub fn adit() -> Self {
        match std::env::var("ADIT_LAB_SUBJECT").as_deref() {
            Err(_) | Ok("adit") => adit::subject(),
            Ok(name) => Self::named(name).unwrap_or_else(|| panic!("ADIT_LAB_SUBJECT={name} is not installed")),
        }
    }

    /// Debian's wireguard-go.
    #[track_caller]
    pub fn wireguard_go() -> Self {
        wireguard_go::subject().expect("wireguard-go is not installed\n  hint: run `cargo xtask setup`")
    }

    /// An implementation by its name, if it is on this machine.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "adit" => Some(adit::subject()),
            "wireguard-go" => wireguard_go::subject(),
            "boringtun" => boringtun::subject(),
            "gotatun" => gotatun::subject(),
            _ => None,
        }
    }

    /// The names that [`Subject::named`] knows.
    pub const NAMES: [&'static str; 4] = ["adit", "wireguard-go", "boringtun", "gotatun"];

    /// Whether this is ours.
    pub fn is_adit(&self) -> bool {
        self.name == "adit"
    }
}

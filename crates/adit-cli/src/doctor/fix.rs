//! What `adit doctor --fix` does: only what is safe, and undone by itself or in one step.
//!
//! Not here: when it is proposed (`check`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::Fixed;
use crate::client::Client;
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::rpc::{Done, Method};
use crate::tunnel;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Fix {
    /// Undo what killed runs left.
    Recover,
    /// Let nobody but its owner read a file with a private key.
    Protect {
        /// The file.
        file: PathBuf,
    },
    /// Have the daemon make again what it made for a tunnel and somebody took away since.
    Mend {
        /// The tunnel.
        tunnel: String,
    },
}

impl Fix {
    /// What it does, in words.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Recover => "undo what killed runs left on this machine".to_owned(),
            Self::Protect { file } => format!("let nobody but its owner read {}", file.display()),
            Self::Mend { tunnel } => {
                format!(
                    "make again what {tunnel} had changed on this machine; `adit down {tunnel}` undoes it as before"
                )
            }
        }
    }

    /// Does it, or only says so.
    pub(crate) fn make(self, places: &Places, dry_run: bool) -> Fixed {
        if dry_run {
            return Fixed { changes: vec![self.what()], fix: self, done: false, failure: None };
        }
        let made = match &self {
            Self::Recover => recover(places),
            Self::Protect { file } => protect(file),
            Self::Mend { tunnel } => mend(places, tunnel),
        };
        match made {
            Ok(changes) => Fixed { fix: self, done: true, changes, failure: None },
            Err(failure) => Fixed { fix: self, done: false, changes: Vec::new(), failure: Some(failure.to_string()) },
        }
    }
}

/// A daemon that runs has done so when it started.
fn recover(places: &Places) -> Result<Vec<String>> {
    let Some(_lock) = places.try_lock()? else {
        return Err(Failure::failed("a daemon is just starting or ending").hint("try again in a moment"));
    };
    crate::cmd::block_on(tunnel::recover(places, None))?
}

fn protect(file: &Path) -> Result<Vec<String>> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .map_err(|e| Failure::io(format!("cannot change who may read {}", file.display()), &e))?;
    Ok(vec![format!("chmod 600 {}", file.display())])
}

fn mend(places: &Places, tunnel: &str) -> Result<Vec<String>> {
    let mut client = Client::connect(places)?.ok_or_else(|| Failure::not_connected("no daemon runs"))?;
    Ok(client.call::<Done>(Method::Mend { name: tunnel.to_owned() })?.notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_protected_and_a_dry_run_does_not() {
        let file = std::env::temp_dir().join(format!("adit-doctor-fix-{}", std::process::id()));
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let places = Places { directory: "/nowhere".into(), socket: "/nowhere/adit.sock".into() };
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let fix = Fix::Protect { file: file.clone() };
        let dry = fix.clone().make(&places, true);
        assert_eq!((dry.done, mode()), (false, 0o644));
        let made = fix.make(&places, false);
        assert_eq!((made.done, made.failure, mode()), (true, None, 0o600));
        fs::remove_file(&file).unwrap();
        let gone = Fix::Protect { file }.make(&places, false);
        assert!(!gone.done && gone.failure.is_some());
    }
}

//! resolvconf, the program: Debian's and openresolv take the same two calls.
//!
//! Not here: when to use it (`dns`).

use std::path::{Path, PathBuf};

use super::{DnsChange, lines};
use crate::error::HostError;
use crate::hooks::run_program;
use crate::plan::HostPlan;

/// `tun.` puts the record where resolvconf's own ordering expects tunnels.
pub(super) fn plan(desired: &HostPlan, program: &Path) -> DnsChange {
    DnsChange::Resolvconf {
        program: PathBuf::from(program),
        record: format!("tun.{}", desired.name),
        text: lines(&desired.dns, &desired.search),
    }
}

/// `-m 0`: the highest priority; `-x`: and no other servers beside these.
pub(super) async fn add(program: &Path, record: &str, text: &str) -> Result<(), HostError> {
    let what = format!("give resolvconf {record}");
    run_program(program, &["-a", record, "-m", "0", "-x"], text, what, "install the package openresolv").await
}

pub(super) async fn remove(program: &Path, record: &str) -> Result<(), HostError> {
    let what = format!("take {record} from resolvconf");
    let done = run_program(program, &["-d", record], "", what, "").await;
    match done {
        // Removed from the machine since: what it wrote is no longer its.
        Err(HostError::NoProgram { .. }) => Ok(()),
        other => other,
    }
}

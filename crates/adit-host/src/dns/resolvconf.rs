//! resolvconf, the program: Debian's and openresolv take the same two calls.
//!
//! Not here: when to use it (`dns`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{DnsChange, RESOLV_CONF, lines};
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

/// `-m 0`: the highest priority; `-x`: and no other servers beside these. Debian's resolvconf ignores both.
pub(super) async fn add(program: &Path, record: &str, text: &str) -> Result<(), HostError> {
    let what = format!("give resolvconf {record}");
    run_program(program, &["-a", record, "-m", "0", "-x"], text, what, "install the package openresolv").await
}

/// Reads back what programs will read.
pub(super) fn verify(record: &str, text: &str) -> Result<(), HostError> {
    let file = |source| HostError::File { what: "read back", path: RESOLV_CONF.into(), source };
    let found = std::fs::read_to_string(RESOLV_CONF).map_err(file)?;
    match judge(text, &found) {
        Verdict::Ours => Ok(()),
        Verdict::Others(others) => {
            tracing::warn!("names may also be asked of {others:?}: resolvconf kept them beside those of {record}");
            Ok(())
        }
        Verdict::NotOurs => Err(HostError::DnsNotSet { link: record.to_owned(), found }),
    }
}

/// What a file says about a record.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Its servers alone, or a resolver on this machine, which resolvconf told.
    Ours,
    /// Its servers, and these.
    Others(Vec<IpAddr>),
    /// Not its servers.
    NotOurs,
}

fn judge(record: &str, file: &str) -> Verdict {
    let (wanted, found) = (servers(record), servers(file));
    let others: Vec<IpAddr> = found.iter().filter(|server| !wanted.contains(server)).copied().collect();
    if wanted.is_empty() || !found.is_empty() && found.iter().all(IpAddr::is_loopback) {
        return Verdict::Ours;
    }
    match (found.iter().any(|server| wanted.contains(server)), others.is_empty()) {
        (true, true) => Verdict::Ours,
        (true, false) => Verdict::Others(others),
        (false, _) => Verdict::NotOurs,
    }
}

fn servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(server).collect()
}

/// openresolv fails for a record that is not there, unless told to ignore that, which Debian's cannot be told.
pub(super) async fn remove(program: &Path, record: &str) -> Result<(), HostError> {
    let what = || format!("take {record} from resolvconf");
    match run_program(program, &["-d", record], "", what(), "").await {
        // Removed from the machine since: what it wrote is no longer its.
        Err(HostError::NoProgram { .. }) => Ok(()),
        Err(_) => run_program(program, &["-f", "-d", record], "", what(), "").await,
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_judged_by_its_servers() {
        let record = "nameserver 10.0.0.1\nnameserver fd00::1\nsearch corp.example\n";
        assert_eq!(judge(record, "# by resolvconf\nsearch corp.example\nnameserver 10.0.0.1\n"), Verdict::Ours);
        assert_eq!(judge(record, "nameserver 127.0.0.1\n"), Verdict::Ours);
        let other: IpAddr = "192.0.2.53".parse().unwrap();
        assert_eq!(judge(record, "nameserver 10.0.0.1\nnameserver 192.0.2.53\n"), Verdict::Others(vec![other]));
        assert_eq!(judge(record, "nameserver 192.0.2.53\n"), Verdict::NotOurs);
        assert_eq!(judge(record, ""), Verdict::NotOurs);
        assert_eq!(judge("search corp.example\n", "nameserver 192.0.2.53\n"), Verdict::Ours);
    }
}

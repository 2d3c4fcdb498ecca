//! The checks, a file each: pure functions from what was seen to what is to be said of it.
//!
//! Each says something of everything it is about, and claims something wrong only with evidence for it.

mod certificate;
mod clock;
mod dns;
mod filter;
mod fingerprint;
mod firewall;
mod forwarding;
mod leftovers;
mod mtu;
mod openvpn;
mod port;
mod profile;
#[cfg(test)]
mod scene;
mod tunnel;

use std::time::{Duration, SystemTime};

use super::report::Checked;
use super::seen::Seen;

/// All of them.
pub(super) fn all(seen: &Seen) -> Vec<Checked> {
    let checks: [fn(&Seen) -> Vec<Checked>; 13] = [
        leftovers::check,
        profile::check,
        tunnel::check,
        port::check,
        openvpn::check,
        clock::check,
        forwarding::check,
        filter::check,
        firewall::check,
        mtu::check,
        dns::check,
        certificate::check,
        fingerprint::check,
    ];
    checks.iter().flat_map(|check| check(seen)).collect()
}

/// A time as a person reads it: how far from now.
fn days_between(from: SystemTime, to: SystemTime) -> u64 {
    to.duration_since(from).unwrap_or(Duration::ZERO).as_secs() / (24 * 3600)
}

/// `1 day`, `3 days`.
fn days(n: u64) -> String {
    if n == 1 { "1 day".to_owned() } else { format!("{n} days") }
}

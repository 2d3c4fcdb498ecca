//! Which crate may depend on which: the table of ARCHITECTURE.md, compared with what cargo says.

use crate::metadata::{Package, Workspace};

/// Each crate, those of ours it may use, and what it must never use whatever the reason.
const ARROWS: [(&str, &[&str], &[&str]); 12] = [
    ("adit-protocol", &[], &["tokio", "socket2", "rustix", "libc"]),
    ("adit-wireguard", &["adit-protocol"], &["tokio", "socket2", "rustix", "libc"]),
    ("adit-openvpn", &["adit-protocol"], &["tokio", "socket2", "rustix", "libc"]),
    ("adit-engine", &["adit-protocol"], &["clap", "zbus", "rtnetlink"]),
    ("adit-transport", &["adit-protocol", "adit-engine"], &["clap", "zbus", "rtnetlink"]),
    ("adit-examine", &[], &["clap", "zbus", "rtnetlink"]),
    ("adit-control", &["adit-wireguard"], &["clap", "socket2", "rtnetlink", "openssl"]),
    ("adit-host", &["adit-protocol"], &["clap", "quinn-udp"]),
    (
        "adit",
        &["adit-protocol", "adit-wireguard", "adit-openvpn", "adit-engine", "adit-transport", "adit-host"],
        &["clap"],
    ),
    (
        "adit-cli",
        &[
            "adit",
            "adit-protocol",
            "adit-wireguard",
            "adit-openvpn",
            "adit-engine",
            "adit-transport",
            "adit-examine",
            "adit-host",
            "adit-control",
        ],
        &[],
    ),
    (
        "adit-lab",
        &[
            "adit",
            "adit-protocol",
            "adit-wireguard",
            "adit-openvpn",
            "adit-engine",
            "adit-transport",
            "adit-examine",
            "adit-host",
        ],
        &[],
    ),
    ("xtask", &[], &[]),
];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.packages().iter().flat_map(of).collect()
}

fn of(package: &Package) -> Vec<String> {
    let name = &package.name;
    let Some((_, ours, never)) = ARROWS.iter().find(|(known, ..)| known == name) else {
        return vec![format!("{name}: is not in the table of xtask/src/tidy/arrows.rs")];
    };
    let is_ours = |other: &str| ARROWS.iter().any(|(known, ..)| *known == other) || other.starts_with("adit");
    let mut findings = Vec::new();
    for other in package.depends_on.iter().map(String::as_str) {
        if is_ours(other) && !ours.contains(&other) {
            findings.push(format!("{name}: must not depend on {other} (ARCHITECTURE.md, arrows)"));
        }
        if never.contains(&other) {
            findings.push(format!("{name}: must never depend on {other} (ARCHITECTURE.md, rings)"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, depends_on: &[&str]) -> Package {
        let depends_on = depends_on.iter().map(ToString::to_string).collect();
        Package { name: name.into(), depends_on, features: vec![], programs: vec![], lab_tests: vec![] }
    }

    #[test]
    fn an_arrow_upwards_is_found() {
        assert!(of(&package("adit-engine", &["adit-protocol", "tokio"])).is_empty());
        assert_eq!(of(&package("adit-engine", &["adit-wireguard"])).len(), 1);
        assert_eq!(of(&package("adit-wireguard", &["tokio"])).len(), 1);
        assert_eq!(of(&package("adit-new", &[])).len(), 1);
    }
}

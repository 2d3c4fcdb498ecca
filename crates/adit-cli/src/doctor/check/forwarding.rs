//! Whether the machine of a network passes packets on.

use super::super::fix::Fix;
use super::super::report::{Check, Checked};
use super::super::seen::{Role, Seen, Tunnel};

/// Each network that is served here.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let networks = seen.tunnels.iter().filter(|tunnel| matches!(tunnel.role, Role::Network { .. }));
    networks.map(|tunnel| judge(seen, tunnel).about(tunnel.name())).collect()
}

fn judge(seen: &Seen, tunnel: &Tunnel) -> Checked {
    let machine = seen.machine.as_ref();
    let forwards = machine.map(|machine| (machine.forwards_v4, machine.forwards_v6));
    let Some((Some(v4), v6)) = forwards else {
        return Checked::unknown(Check::Forwarding, "whether this machine forwards cannot be read");
    };
    let mut off = Vec::new();
    if !v4 {
        off.push("net.ipv4.ip_forward");
    }
    if v6 == Some(false) {
        off.push("net.ipv6.conf.all.forwarding");
    }
    if off.is_empty() {
        return Checked::sound(Check::Forwarding, "this machine passes on what devices send");
    }
    let commands = off.iter().map(|key| format!("`sysctl -w {key}=1`"));
    Checked::wrong(Check::Forwarding, "this machine does not pass on what devices send to others")
        .known_by(format!("{} is 0", off.join(" and ")))
        .advise(format!("{}; look in /etc/sysctl.d who turned it off", commands.collect::<Vec<_>>().join(" and ")))
        .fixed_by(Fix::Mend { tunnel: tunnel.name().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn forwarding_that_is_off_is_named_by_its_setting() {
        let mut seen = scene::server();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.machine.as_mut().unwrap().forwards_v6 = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound, "a kernel without IPv6");
        seen.machine.as_mut().unwrap().forwards_v4 = Some(false);
        let found = &check(&seen)[0];
        assert_eq!(found.known_by.as_deref(), Some("net.ipv4.ip_forward is 0"));
        assert_eq!(found.fix, Some(Fix::Mend { tunnel: "home".into() }));
        seen.machine = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        assert!(check(&scene::device()).is_empty(), "a device forwards nothing");
    }
}

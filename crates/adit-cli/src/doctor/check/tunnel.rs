//! Whether tunnels run that should.

use super::super::report::{Check, Checked};
use super::super::seen::{Role, Seen, Tunnel};
use crate::report::State;

/// Each tunnel; or that there is none.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let is_served = seen.tunnels.iter().any(|tunnel| matches!(tunnel.role, Role::Network { .. }));
    if seen.has_network && !is_served {
        let nobody = Checked::wrong(Check::Tunnel, "a network is kept on this machine, and nobody serves it")
            .known_by("its state is there, and none of the tunnels that are up is a network's")
            .advise("`adit server up`, or `systemctl start adit-server`");
        return std::iter::once(nobody).chain(seen.tunnels.iter().map(judge)).collect();
    }
    if seen.tunnels.is_empty() {
        let none = match (seen.daemon, seen.kept.is_empty()) {
            (true, _) => "no tunnel is up",
            (false, true) => "no tunnel is up, and no profile is kept",
            (false, false) => "no tunnel is up: no daemon runs",
        };
        return vec![
            Checked::note(Check::Tunnel, none)
                .advise("`adit up NAME` brings one up; what needs a tunnel was not checked"),
        ];
    }
    seen.tunnels.iter().map(judge).collect()
}

fn judge(tunnel: &Tunnel) -> Checked {
    let name = tunnel.name();
    let checked = match (tunnel.report.state, tunnel.role) {
        (State::Failed, _) => Checked::wrong(Check::Tunnel, format!("{name} ended by itself"))
            .known_by(why(tunnel))
            .advise(format!("`adit down {name}`, then `adit up {name}`; the daemon's log says more")),
        (_, Role::Network { decided: false }) => {
            Checked::wrong(Check::Tunnel, format!("{name} runs, and nobody decides about it: no device can join"))
                .known_by("`adit server up` does not answer on its socket")
                .advise("`adit server up`, or `systemctl restart adit-server`")
        }
        _ => Checked::sound(Check::Tunnel, format!("{name} runs")),
    };
    checked.about(name)
}

/// Why it ended.
fn why(tunnel: &Tunnel) -> String {
    let trouble = || tunnel.report.openvpn.as_ref()?.trouble.clone();
    tunnel.report.notes.first().cloned().or_else(trouble).unwrap_or_else(|| "the daemon says so".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn a_tunnel_that_ended_and_a_network_without_its_server_are_named() {
        let mut seen = scene::device();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.tunnels[0].report.state = State::Failed;
        seen.tunnels[0].report.notes = vec!["ended by itself: its interface was removed".into()];
        let found = &check(&seen)[0];
        assert_eq!(found.verdict, Verdict::Wrong);
        assert!(found.known_by.as_ref().unwrap().contains("interface was removed"));
        let mut seen = scene::server();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.tunnels[0].role = Role::Network { decided: false };
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong);
        seen.tunnels.clear();
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong, "a network that nobody serves");
        seen.has_network = false;
        assert_eq!(check(&seen)[0].verdict, Verdict::Note);
    }
}

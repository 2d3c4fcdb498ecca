//! Whether an OpenVPN client is connected, and whether this machine is as its server wants it.
//!
//! Not here: its file (`profile`), a client that ended (`tunnel`).

use super::super::report::{Check, Checked};
use super::super::seen::{Role, Seen, Tunnel};
use crate::report::{OpenVpnReport, State};

/// Each client that has not ended.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let clients = seen.tunnels.iter().filter(|t| t.role == Role::OpenVpn && t.report.state != State::Failed);
    let mut checks = Vec::new();
    for tunnel in clients {
        let both = [Some(judge(tunnel)), noted(tunnel)].into_iter().flatten();
        checks.extend(both.map(|one| one.about(tunnel.name())));
    }
    checks
}

fn judge(tunnel: &Tunnel) -> Checked {
    let client = tunnel.report.openvpn.as_ref();
    let server = client.and_then(|client| client.server.as_deref()).unwrap_or("the server");
    let trouble = client.and_then(|client| client.trouble.as_deref());
    match (tunnel.report.state, trouble) {
        (State::Connected, _) => Checked::sound(Check::Port, format!("{server} answers: the client is connected")),
        (_, Some(trouble)) => Checked::wrong(Check::Port, format!("{} has no connection to {server}", tunnel.name()))
            .known_by(trouble.lines().next().unwrap_or_default())
            .advise("it is tried again by itself; try another network: if it works there, this one blocks it")
            .advise(again(tunnel)),
        (_, None) => Checked::unknown(Check::Port, format!("{server} has not answered yet"))
            .advise("look again in a minute: `adit status` shows what comes of it"),
    }
}

/// The next step where neither the server nor the way there changes.
fn again(tunnel: &Tunnel) -> String {
    let name = tunnel.name();
    let was_connected =
        tunnel.report.openvpn.as_ref().is_some_and(|OpenVpnReport { connections, .. }| *connections > 0);
    if was_connected {
        format!("it was connected before: ask the server's owner, or `adit down {name}` and `adit up {name}`")
    } else {
        format!("it was never connected: `adit check {name}` explains its file, and the server's owner knows the login")
    }
}

/// What the daemon has to say of it: what a server wanted of this machine, and did not get.
fn noted(tunnel: &Tunnel) -> Option<Checked> {
    let first = tunnel.report.notes.first()?;
    Some(
        Checked::note(Check::Tunnel, format!("there is something to know of {}", tunnel.name()))
            .known_by(first.lines().next().unwrap_or_default())
            .advise(format!("`adit status {}` shows all of it", tunnel.name())),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::{all, scene};
    use super::*;

    fn said(seen: &Seen) -> Vec<(Verdict, String)> {
        check(seen)
            .into_iter()
            .map(|one| (one.verdict, format!("{} {}", one.what, one.known_by.unwrap_or_default())))
            .collect()
    }

    #[test]
    fn a_client_that_is_connected_is_sound_in_every_check() {
        let seen = scene::openvpn();
        let wrong: Vec<_> = all(&seen).into_iter().filter(|one| one.verdict == Verdict::Wrong).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(said(&seen), [(Verdict::Sound, "203.0.113.9:1194 answers: the client is connected ".into())]);
        assert!(check(&scene::device()).is_empty() && check(&scene::server()).is_empty());
    }

    #[test]
    fn one_that_is_not_connected_says_why_and_one_that_has_just_begun_does_not_know() {
        let mut seen = scene::openvpn();
        seen.tunnels[0].report.state = State::Waiting;
        assert_eq!(said(&seen)[0].0, Verdict::Unknown);
        seen.tunnels[0].report.openvpn.as_mut().unwrap().trouble = Some("the server refused the login".into());
        let (verdict, words) = said(&seen).remove(0);
        assert_eq!(verdict, Verdict::Wrong);
        assert!(words.contains("203.0.113.9") && words.contains("refused the login"), "{words}");
        seen.tunnels[0].report.state = State::Failed;
        assert!(check(&seen).is_empty(), "that it ended is said elsewhere");
        let ended = all(&seen).into_iter().find(|one| one.verdict == Verdict::Wrong).unwrap();
        assert!(ended.known_by.unwrap().contains("refused the login"));
    }

    #[test]
    fn what_the_machine_did_not_give_its_server_is_noted() {
        let mut seen = scene::openvpn();
        seen.tunnels[0].report.notes = vec!["the machine does not fit".into()];
        assert_eq!(said(&seen)[1].0, Verdict::Note);
    }
}

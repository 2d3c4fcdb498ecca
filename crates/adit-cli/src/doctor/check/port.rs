//! Whether a device's server answers, and over what it should be reached by.

use adit::transport::client::{Looked, Trouble};
use adit::transport::ladder::{Carrier, Reason};

use super::super::report::{Check, Checked};
use super::super::seen::{NotMeasured, Role, Seen, Tunnel};
use crate::report::State;

/// Each device's tunnel.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let devices = seen.tunnels.iter().filter(|t| t.role == Role::Device && t.report.state != State::Failed);
    let mut checks = Vec::new();
    for tunnel in devices {
        let both = [Some(judge(tunnel)), fallback(tunnel)].into_iter().flatten();
        checks.extend(both.map(|one| one.about(tunnel.name())));
    }
    checks
}

/// What would be used where UDP does not get through, while it does.
fn fallback(tunnel: &Tunnel) -> Option<Checked> {
    let carrier = tunnel.report.carrier.as_ref()?;
    let Some(Looked { trouble: Some(trouble), .. }) = &tunnel.site else { return None };
    let (Trouble::Unreachable(why) | Trouble::Untrusted(why) | Trouble::Broken(why)) = trouble;
    let is_second = tunnel.answers() && carrier.carrier == "udp" && carrier.order.first().is_some_and(|c| c == "udp");
    let note = || {
        Checked::note(Check::Port, "where UDP is blocked there would be no other way: HTTPS does not work")
            .known_by(first_line(why))
            .advise("look after the server's web site: its TCP port, its certificate, its name")
    };
    is_second.then(note)
}

fn judge(tunnel: &Tunnel) -> Checked {
    let carrier = tunnel.report.carrier.as_ref();
    let first = carrier.and_then(|c| c.order.first()).map_or("udp", String::as_str);
    let now = carrier.map_or("udp", |c| c.carrier.as_str());
    let where_to = server(tunnel);
    if tunnel.answers() {
        return match (first, now) {
            ("udp", "https") => udp_is_blocked(tunnel, &where_to),
            ("https", "udp") => https_is_blocked(tunnel, &where_to),
            _ => Checked::sound(Check::Port, format!("{where_to} answers over {}", shown(now))),
        };
    }
    match &tunnel.site {
        // Who answers a visit in place of the server was seen, whoever was asked through the tunnel.
        site if !tunnel.was_asked() && !matches!(site, Some(Looked { trouble: Some(Trouble::Untrusted(_)), .. })) => {
            nobody_was_asked(tunnel, &where_to)
        }
        Some(Looked { trouble: None, .. }) if now == "udp" => udp_is_blocked(tunnel, &where_to),
        Some(Looked { trouble: None, .. }) => {
            Checked::wrong(Check::Port, format!("{where_to} shows its web site, and nothing comes through the tunnel"))
                .known_by("a visit like a browser's; packets through the tunnel were not answered")
                .advise("ask the server's owner whether this device is still admitted (`adit peers` there)")
        }
        Some(Looked { trouble: Some(Trouble::Untrusted(why)), .. }) => {
            Checked::wrong(Check::Port, format!("who answers at {where_to} is not shown to be the server"))
                .known_by(first_line(why))
                .advise("a network that makes one log in first does this: log in, then look again")
                .advise("else somebody may be in between: use another network, or ask the server's owner")
        }
        Some(Looked { trouble: Some(Trouble::Unreachable(why) | Trouble::Broken(why)), .. }) => {
            Checked::wrong(Check::Port, format!("{where_to} answers neither over UDP nor over HTTPS"))
                .known_by(format!("no answer to handshakes, and: {}", first_line(why)))
                .advise("try another network: if it answers there, this one blocks both")
                .advise("if not, the server is down: its owner runs `adit doctor` there")
        }
        None => Checked::wrong(Check::Port, format!("{where_to} does not answer over UDP"))
            .known_by("no answer to handshakes, and the profile names no other way")
            .advise(
                "try another network: if it answers there, this one blocks UDP, and a server that is a web site helps",
            )
            .advise("if not, look at the server: is it running, is its port open, does it know this device's key"),
    }
}

fn nobody_was_asked(tunnel: &Tunnel, server: &str) -> Checked {
    let nobody = "no address beyond the tunnel is known of which an answer could be expected";
    let why = match &tunnel.path {
        Ok(_) | Err(NotMeasured::NotAsked) => nobody.to_owned(),
        Err(NotMeasured::Denied) => {
            "this user may not send packets through the tunnel: `sudo adit doctor` may".to_owned()
        }
        Err(NotMeasured::Failed(why)) => format!("no packets could be sent through the tunnel: {why}"),
    };
    let checked =
        Checked::unknown(Check::Port, format!("nobody was asked whether {server} answers through the tunnel"));
    match &tunnel.site {
        Some(Looked { trouble: Some(Trouble::Unreachable(site) | Trouble::Broken(site)), .. }) => {
            checked.known_by(format!("{why}; over HTTPS it does not answer: {}", first_line(site)))
        }
        Some(_) | None => checked.known_by(why),
    }
    .advise("use the tunnel, and look again: `adit status` shows then whether there was a handshake")
}

fn udp_is_blocked(tunnel: &Tunnel, server: &str) -> Checked {
    let carrier = tunnel.report.carrier.as_ref();
    let why = carrier.map(|c| c.why.as_str()).filter(|why| says_of_udp(why));
    let checked = match (why, &tunnel.site) {
        (Some(why), _) => {
            Checked::wrong(Check::Port, format!("UDP to {server} is blocked on the way; HTTPS is used instead"))
                .known_by(format!("{why}, and the same server answers over HTTPS"))
        }
        (None, Some(Looked { trouble: None, .. })) => {
            Checked::wrong(Check::Port, format!("UDP to {server} is blocked on the way"))
                .known_by("handshakes get no answer, and the same server answers over HTTPS")
        }
        (None, _) => {
            Checked::wrong(Check::Port, format!("UDP to {server} does not get through; HTTPS is used instead"))
                .known_by(carrier.map_or("the tunnel says so", |c| c.why.as_str()))
        }
    };
    checked
        .advise("if it is so from other networks too: open the port for UDP at the server's router or provider")
        .advise("if only here, this network blocks it: nothing needs to be done, the tunnel goes back to UDP by itself")
}

fn https_is_blocked(tunnel: &Tunnel, server: &str) -> Checked {
    let carrier = tunnel.report.carrier.as_ref();
    Checked::wrong(Check::Port, format!("HTTPS to {server} does not come up; UDP is used instead"))
        .known_by(carrier.map_or_else(String::new, |c| format!("{}; HTTPS: {}", c.why, c.https)))
        .advise("open the TCP port of the web site at the server, its router and its provider")
}

/// Whether the reason of the carrier in use is that UDP did not answer.
fn says_of_udp(why: &str) -> bool {
    [Reason::NoAnswer(Carrier::Udp), Reason::FellSilent(Carrier::Udp)].iter().any(|reason| reason.to_string() == why)
}

/// The server in the words of the profile.
fn server(tunnel: &Tunnel) -> String {
    let named = tunnel.server().and_then(|server| server.endpoint.clone());
    let by_https = || tunnel.report.carrier.as_ref()?.server.map(|server| server.to_string());
    named.or_else(by_https).unwrap_or_else(|| "the server".to_owned())
}

fn shown(carrier: &str) -> &str {
    if carrier == "https" { "HTTPS" } else { "UDP" }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::super::seen::Path;
    use super::super::scene;
    use super::*;

    fn said(seen: &Seen) -> (Verdict, String) {
        let found = check(seen).remove(0);
        (found.verdict, found.what)
    }

    #[test]
    fn a_server_that_answers_over_its_first_choice_is_sound() {
        assert_eq!(said(&scene::device()).0, Verdict::Sound);
        assert!(check(&scene::server()).is_empty(), "it waits for others");
    }

    #[test]
    fn a_tunnel_that_fell_to_https_says_that_udp_is_blocked() {
        let mut seen = scene::device();
        let carrier = seen.tunnels[0].report.carrier.as_mut().unwrap();
        carrier.carrier = "https".into();
        carrier.why = Reason::NoAnswer(Carrier::Udp).to_string();
        let (verdict, what) = said(&seen);
        assert_eq!(verdict, Verdict::Wrong);
        assert!(what.contains("UDP") && what.contains("blocked"), "{what}");
        let carrier = seen.tunnels[0].report.carrier.as_mut().unwrap();
        carrier.order = vec!["https".into(), "udp".into()];
        assert_eq!(said(&seen).0, Verdict::Sound, "that is its first choice");
    }

    #[test]
    fn https_that_would_be_needed_elsewhere_is_noted() {
        let mut seen = scene::device();
        seen.tunnels[0].site.as_mut().unwrap().trouble = Some(Trouble::Unreachable("it does not answer".into()));
        let verdicts: Vec<_> = check(&seen).iter().map(|checked| checked.verdict).collect();
        assert_eq!(verdicts, [Verdict::Sound, Verdict::Note]);
    }

    #[test]
    fn a_silent_tunnel_is_told_from_a_silent_server_by_the_web_site() {
        let mut seen = scene::device();
        seen.tunnels[0].path.as_mut().unwrap().small = false;
        assert!(said(&seen).1.contains("UDP"), "the site is there");
        let trouble = |seen: &mut Seen, trouble| seen.tunnels[0].site.as_mut().unwrap().trouble = Some(trouble);
        trouble(&mut seen, Trouble::Unreachable("it does not answer".into()));
        assert!(said(&seen).1.contains("neither"));
        trouble(&mut seen, Trouble::Untrusted("another key".into()));
        assert!(said(&seen).1.contains("not shown to be the server"));
        seen.tunnels[0].site = None;
        assert_eq!(said(&seen), (Verdict::Wrong, "203.0.113.2:51820 does not answer over UDP".into()));
    }

    #[test]
    fn silence_says_nothing_where_nobody_was_asked() {
        let mut seen = scene::device();
        let tunnel = &mut seen.tunnels[0];
        tunnel.heard = false;
        tunnel.report.peers[0].has_session = false;
        let reason = |seen: &Seen| check(seen).remove(0).known_by.unwrap();
        for (path, words) in [
            (NotMeasured::Denied, "sudo adit doctor"),
            (NotMeasured::Failed("the interface is gone".into()), "the interface is gone"),
        ] {
            seen.tunnels[0].path = Err(path);
            assert_eq!(said(&seen).0, Verdict::Unknown);
            assert!(reason(&seen).contains(words), "{}", reason(&seen));
            assert_eq!(reason(&seen).contains("sudo"), words.contains("sudo"));
        }
        seen.tunnels[0].path = Ok(Path { to: None, small: false, longest: None, mtu: 1420 });
        seen.tunnels[0].site = None;
        assert_eq!(said(&seen).0, Verdict::Unknown);
        seen.tunnels[0].report.up_seconds = 3600;
        assert_eq!(said(&seen).0, Verdict::Wrong, "it keeps itself alive: it has asked long enough");
        seen.tunnels[0].report.peers[0].persistent_keepalive = 0;
        assert_eq!(said(&seen).0, Verdict::Unknown);
        let mut other = seen.tunnels[0].report.peers[0].clone();
        (other.endpoint, other.persistent_keepalive) = (None, 25);
        seen.tunnels[0].report.peers.push(other);
        assert_eq!(said(&seen).0, Verdict::Unknown, "another peer was asked, not the server");
    }

    #[test]
    fn https_that_does_not_come_up_is_said_where_it_is_the_first_choice() {
        let mut seen = scene::device();
        let carrier = seen.tunnels[0].report.carrier.as_mut().unwrap();
        carrier.order = vec!["https".into(), "udp".into()];
        assert!(said(&seen).1.contains("HTTPS to"));
    }
}

//! Whether names are asked outside of a tunnel that everything goes through.

use std::net::IpAddr;

use adit_host::LinkServers;

use super::super::report::{Check, Checked};
use super::super::seen::{Profile, Role, Seen, Tunnel};
use crate::report::State;

/// Each device's tunnel that everything goes through.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let is_up = |tunnel: &&Tunnel| tunnel.role == Role::Device && tunnel.report.state != State::Failed;
    let full = |tunnel| Some((tunnel, tunnel_profile(tunnel)?)).filter(|(_, profile)| profile.is_full);
    let full = seen.tunnels.iter().filter(is_up).filter_map(full);
    full.map(|(tunnel, profile)| judge(seen, tunnel, profile).about(tunnel.name())).collect()
}

const fn tunnel_profile(tunnel: &Tunnel) -> Option<&Profile> {
    tunnel.profile.as_ref()
}

fn judge(seen: &Seen, tunnel: &Tunnel, profile: &Profile) -> Checked {
    let Some(machine) = &seen.machine else {
        return Checked::unknown(Check::Dns, "whom this machine asks for names cannot be seen");
    };
    let asked = &machine.names.file;
    if asked.is_empty() {
        return Checked::unknown(Check::Dns, "/etc/resolv.conf names nobody to ask");
    }
    let outside = if asked.iter().all(IpAddr::is_loopback) {
        let Some(links) = &machine.names.resolved else {
            return Checked::unknown(
                Check::Dns,
                "a program on this machine answers for names, and whom it asks cannot be seen",
            )
            .known_by(format!("/etc/resolv.conf names {}", list(asked)));
        };
        outside_of_links(links, tunnel.name())
    } else {
        let outside = asked.iter().filter(|server| {
            // Where it is not known by which way it is asked, a server of the tunnel's own is taken for one beyond it.
            let is_inside = match seen.ways.get(server).and_then(Option::as_deref) {
                Some(way) => way == tunnel.name(),
                None => profile.dns.contains(server),
            };
            !is_inside && !server.is_loopback()
        });
        outside.map(|server| (*server, seen.ways.get(server).cloned().flatten().unwrap_or_default())).collect()
    };
    if outside.is_empty() {
        return Checked::sound(Check::Dns, format!("names are asked through {}", tunnel.name()));
    }
    let who: Vec<String> = outside
        .iter()
        .map(|(server, link)| if link.is_empty() { server.to_string() } else { format!("{server} by {link}") })
        .collect();
    let who = who.join(", ");
    if profile.dns.is_empty() {
        return Checked::note(
            Check::Dns,
            format!("{} brings no name servers along: names are asked of {who}", tunnel.name()),
        )
        .known_by("the profile has no DNS, and /etc/resolv.conf names others")
        .advise(
            "where that should not be seen: `DNS = ADDRESS` in the profile, or `adit server up --dns ADDRESS` for all",
        );
    }
    Checked::wrong(Check::Dns, format!("names are asked outside of {}: of {who}", tunnel.name()))
        .known_by(format!(
            "everything else goes through it, and it has name servers of its own: {}",
            list(&profile.dns)
        ))
        .advise("another program has changed whom this machine asks since: NetworkManager, a DHCP client, a person")
        .advise(format!("`adit down {0}` and `adit up {0}` set them again", tunnel.name()))
}

/// Servers that systemd-resolved asks for any name by another interface than the tunnel's.
fn outside_of_links(links: &[LinkServers], tunnel: &str) -> Vec<(IpAddr, String)> {
    let own_answers_all = links.iter().any(|link| link.link == tunnel && link.everything && !link.servers.is_empty());
    let others = links.iter().filter(|link| link.link != tunnel);
    // One that is said to be for all names keeps them from those of which nothing is said.
    let asked = others.filter(|link| link.everything || !own_answers_all);
    asked.flat_map(|link| link.servers.iter().map(|server| (*server, link.link.clone()))).collect()
}

fn list(servers: &[IpAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    fn asking(servers: &[&str]) -> Seen {
        let mut seen = scene::device();
        seen.machine.as_mut().unwrap().names.file = servers.iter().map(|text| text.parse().unwrap()).collect();
        seen
    }

    #[test]
    fn a_name_server_outside_of_the_tunnel_is_named_with_its_way() {
        assert_eq!(check(&scene::device())[0].verdict, Verdict::Sound);
        let mut seen = asking(&["192.168.8.1"]);
        seen.ways.insert("192.168.8.1".parse().unwrap(), Some("eth0".into()));
        let found = &check(&seen)[0];
        assert_eq!(found.verdict, Verdict::Wrong);
        assert_eq!(found.what, "names are asked outside of home: of 192.168.8.1 by eth0");
        seen.ways.insert("192.168.8.1".parse().unwrap(), Some("home".into()));
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound, "another server, but nobody sees it");
        let mut seen = scene::device();
        seen.ways.insert("10.77.0.1".parse().unwrap(), Some("eth0".into()));
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong, "the tunnel's own server, and not asked through it");
        seen.ways.clear();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
    }

    #[test]
    fn a_tunnel_that_brings_no_name_servers_only_says_so() {
        let mut seen = asking(&["192.168.8.1"]);
        seen.tunnels[0].profile.as_mut().unwrap().dns.clear();
        assert_eq!(check(&seen)[0].verdict, Verdict::Note);
        seen.tunnels[0].profile.as_mut().unwrap().is_full = false;
        assert!(check(&seen).is_empty(), "what is not in the tunnel cannot leak out of it");
    }

    #[test]
    fn what_systemd_resolved_asks_is_judged_by_interface() {
        let link = |link: &str, server: &str, everything| LinkServers {
            link: link.into(),
            servers: vec![server.parse().unwrap()],
            everything,
        };
        let mut seen = asking(&["127.0.0.53"]);
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        let set = |seen: &mut Seen, links| seen.machine.as_mut().unwrap().names.resolved = Some(links);
        let (own, other) = (link("home", "10.77.0.1", true), link("eth0", "192.168.8.1", false));
        set(&mut seen, vec![own.clone(), other.clone()]);
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        set(&mut seen, vec![other]);
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong, "the tunnel's servers are gone");
        set(&mut seen, vec![own, link("eth0", "192.168.8.1", true)]);
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong, "both are for all names");
    }
}

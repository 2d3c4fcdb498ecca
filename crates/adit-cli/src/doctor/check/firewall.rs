//! Whether another program's packet filter is in the way of what has to pass this machine.

use std::net::{IpAddr, SocketAddr};

use adit_host::{Dropped, Hook, Looked as Machine, Passage, Transport, dropped_by};

use super::super::fix::Fix;
use super::super::report::{Check, Checked};
use super::super::seen::{Role, Seen, Tunnel};
use crate::report::State;

/// What has to pass, in words.
struct Traffic {
    what: String,
    /// The ways that it may take; one that is open is enough, for whoever closed the others may have meant to.
    ways: Vec<Passage>,
}

/// Each tunnel: what it needs to pass, against the rules of others.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let up = seen.tunnels.iter().filter(|tunnel| tunnel.report.state != State::Failed);
    up.flat_map(|tunnel| judge(seen, tunnel).into_iter().map(|checked| checked.about(tunnel.name()))).collect()
}

fn judge(seen: &Seen, tunnel: &Tunnel) -> Vec<Checked> {
    let Some((machine, ruleset)) = seen.machine.as_ref().and_then(|m| Some((m, m.ruleset.as_ref()?))) else {
        return vec![
            Checked::unknown(Check::Firewall, "the rules of nftables cannot be read")
                .advise("run it as root; install the package nftables"),
        ];
    };
    let traffic = match tunnel.role {
        Role::Device => device(tunnel),
        Role::Network { .. } => network(machine, tunnel),
        Role::Peer => listener(machine, tunnel),
        // Where its other end is, and over what it goes there, its configuration says in more ways than one.
        Role::OpenVpn | Role::OpenVpnServer => return Vec::new(),
    };
    let mut found: Vec<Checked> = Vec::new();
    for Traffic { what, ways } in traffic {
        let closed: Vec<_> = ways.iter().map(|passage| (passage, dropped_by(ruleset, passage))).collect();
        if closed.iter().any(|(_, dropped)| dropped.is_empty()) {
            continue;
        }
        for (passage, dropped) in closed.iter().take(1) {
            found.extend(dropped.iter().map(|dropped| blocked(tunnel, &what, passage, dropped, ruleset)));
        }
    }
    if let (Role::Network { .. }, true) = (tunnel.role, legacy_drops(&machine.legacy, tunnel.name())) {
        found.push(
            Checked::wrong(Check::Firewall, "iptables-legacy drops what devices send to others")
                .known_by("its chain FORWARD drops what no rule accepts, and none accepts this interface")
                .advise(format!("`iptables-legacy -I FORWARD -i {0} -j ACCEPT` and the same with -o", tunnel.name())),
        );
    }
    if found.is_empty() {
        found.push(Checked::sound(Check::Firewall, "no other program's packet filter is seen to be in the way"));
    }
    found
}

/// What a device sends to its server.
fn device(tunnel: &Tunnel) -> Vec<Traffic> {
    let out = |to: SocketAddr, transport: Transport, what: String| Traffic {
        what,
        ways: vec![Passage {
            hook: Hook::Output,
            v6: to.is_ipv6(),
            from: None,
            to: None,
            destination: Some(to.ip()),
            port: Some((transport, to.port())),
        }],
    };
    let carrier = tunnel.report.carrier.as_ref();
    let uses = |name: &str| carrier.is_none_or(|c| c.order.iter().any(|of| of == name));
    let endpoints = tunnel.report.peers.iter().filter_map(|peer| peer.endpoint.as_deref());
    // `192.0.2.1:51820 (name:51820)`
    let addresses = endpoints.filter_map(|text| text.split(' ').next()?.parse().ok()).filter(|_| uses("udp"));
    let udp = addresses.map(|to: SocketAddr| out(to, Transport::Udp, format!("UDP to {to}")));
    let https = carrier.and_then(|c| c.server).map(|to| out(to, Transport::Tcp, format!("HTTPS to {to}")));
    udp.chain(https).collect()
}

/// What comes to the ports of a tunnel.
fn listener(machine: &Machine, tunnel: &Tunnel) -> Vec<Traffic> {
    let own = [tunnel.report.listen_port, tunnel.report.openvpn_port];
    let udp = own.into_iter().flatten().map(|port| (Transport::Udp, port));
    let listening = tunnel.report.web_site.iter().flat_map(|site| &site.listening);
    let mut web: Vec<u16> = listening.filter(|at| !at.ip().is_loopback()).map(SocketAddr::port).collect();
    web.sort_unstable();
    web.dedup();
    let ports: Vec<_> = udp.chain(web.into_iter().map(|port| (Transport::Tcp, port))).collect();
    let coming = |(transport, port): (Transport, u16)| {
        let name = if transport == Transport::Udp { "UDP" } else { "TCP" };
        let by = |link: &String| Passage {
            hook: Hook::Input,
            v6: false,
            from: Some(link.clone()),
            to: None,
            destination: None,
            port: Some((transport, port)),
        };
        Traffic {
            what: format!("what comes from outside to {name} port {port}"),
            ways: machine.uplinks.iter().map(by).collect(),
        }
    };
    ports.into_iter().map(coming).collect()
}

/// What devices of a network send: to its ports, to others, and to be admitted.
fn network(machine: &Machine, tunnel: &Tunnel) -> Vec<Traffic> {
    let mut traffic = listener(machine, tunnel);
    let forwarded = |links: &[String], v6: bool| {
        let to = |link: &String| Passage {
            hook: Hook::Forward,
            v6,
            from: Some(tunnel.name().to_owned()),
            to: Some(link.clone()),
            destination: None,
            port: None,
        };
        let over = if v6 { " over IPv6" } else { "" };
        Traffic { what: format!("what devices send to others{over}"), ways: links.iter().map(to).collect() }
    };
    traffic.extend([forwarded(&machine.uplinks, false), forwarded(&machine.uplinks_v6, true)]);
    traffic.push(Traffic {
        what: "what new devices send to be admitted".to_owned(),
        ways: vec![Passage {
            hook: Hook::Input,
            v6: true,
            from: Some(tunnel.name().to_owned()),
            to: None,
            destination: own_v6(tunnel),
            port: Some((Transport::Udp, adit::enrol::PORT)),
        }],
    });
    traffic
}

fn own_v6(tunnel: &Tunnel) -> Option<IpAddr> {
    let addresses = tunnel.report.addresses.iter().filter_map(|text| text.split('/').next()?.parse().ok());
    addresses.into_iter().find(IpAddr::is_ipv6)
}

fn blocked(tunnel: &Tunnel, what: &str, passage: &Passage, dropped: &Dropped, ruleset: &str) -> Checked {
    let Dropped { family, table, chain, .. } = dropped;
    let name = tunnel.name();
    let checked = Checked::wrong(Check::Firewall, format!("{what} is dropped by another program's packet filter"))
        .known_by(format!("{dropped}, and no rule before accepts it"));
    let is_ufw = chain.starts_with("ufw")
        || ruleset.contains("\"ufw-before-input\"") && ["INPUT", "FORWARD"].contains(&chain.as_str());
    let port = passage.port.map(|(transport, port)| (if transport == Transport::Udp { "udp" } else { "tcp" }, port));
    match (passage.hook, port) {
        // What the daemon puts there by itself when it brings a network up, and takes away again.
        (Hook::Forward, _) if dropped.takes_passes() => checked
            .advise(format!("have the daemon put its two rules into {family} {table} {chain} again"))
            .fixed_by(Fix::Mend { tunnel: name.to_owned() }),
        (Hook::Forward, _) if table == "firewalld" => {
            checked.advise(format!("`firewall-cmd --zone=trusted --add-interface={name}`, and again with --permanent"))
        }
        (Hook::Forward, _) => checked.advise(format!("`nft list chain {family} {table} {chain}` shows the rule")),
        (Hook::Input, Some((transport, port))) if table == "firewalld" => {
            checked.advise(format!("`firewall-cmd --add-port={port}/{transport}`, and again with --permanent"))
        }
        (Hook::Input, Some((transport, port))) if is_ufw => checked.advise(format!("`ufw allow {port}/{transport}`")),
        (Hook::Input, Some((transport, port))) => checked
            .advise(format!("`nft insert rule {family} {table} {chain} {transport} dport {port} accept`"))
            .advise("and where that program keeps its rules, or the next start takes it away"),
        (Hook::Input | Hook::Output, _) => {
            checked.advise(format!("`nft list chain {family} {table} {chain}` shows the rules: let it pass there"))
        }
    }
}

/// Whether iptables means this interface: with a `+` at its end, whatever begins so.
fn is_named(pattern: &str, link: &str) -> bool {
    pattern.strip_suffix('+').map_or(pattern == link, |begin| link.starts_with(begin))
}

/// Whether what comes by this interface is certainly dropped: the policy drops, and no rule may accept it.
fn legacy_drops(rules: &str, link: &str) -> bool {
    let accepts = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |flag: &str| words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
        let is_turned = |flag: &str| words.windows(2).any(|pair| pair[0] == "!" && pair[1] == flag);
        let elsewhere = after("-i").is_some_and(|of| is_named(of, link) == is_turned("-i"));
        let is_state_turned = is_turned("--ctstate") || is_turned("--state");
        let later = line.contains("ESTABLISHED") && !line.contains("NEW") && !is_state_turned;
        let silent = matches!(after("-j"), None | Some("DROP" | "REJECT" | "LOG"));
        line.starts_with("-A FORWARD ") && !elsewhere && !later && !silent
    };
    rules.lines().any(|line| line == "-P FORWARD DROP") && !rules.lines().any(accepts)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    fn chain(hook: &str, rules: &str) -> String {
        format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"other","name":"c","type":"filter","hook":"{hook}","prio":0,"policy":"drop"}}}}{rules}]}}"#
        )
    }

    fn found(mut seen: Seen, ruleset: String) -> Vec<Checked> {
        seen.machine.as_mut().unwrap().ruleset = Some(ruleset);
        check(&seen)
    }

    #[test]
    fn without_other_rules_nothing_is_in_the_way() {
        for seen in [scene::device(), scene::server()] {
            assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        }
        let mut seen = scene::server();
        seen.machine.as_mut().unwrap().ruleset = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
    }

    #[test]
    fn a_forward_chain_that_drops_is_named_and_mended_by_our_rules_in_it() {
        let found = found(scene::server(), chain("forward", ""));
        assert_eq!(found[0].what, "what devices send to others is dropped by another program's packet filter");
        assert!(found[0].known_by.as_ref().unwrap().starts_with("nftables inet other c, by its policy"));
        assert_eq!(found[0].fix, Some(Fix::Mend { tunnel: "home".into() }));
    }

    #[test]
    fn a_port_that_is_closed_by_another_program_is_named_with_how_to_open_it() {
        let found = found(scene::server(), chain("input", ""));
        let said: Vec<_> = found.iter().map(|checked| checked.what.as_str()).collect();
        assert!(said[0].contains("UDP port 51820") && said[1].contains("TCP port 443"), "{said:?}");
        assert!(said[2].contains("new devices"), "{said:?}");
        assert!(found[0].advice[0].contains("udp dport 51820 accept"), "{:?}", found[0].advice);
        assert!(found.iter().all(|checked| checked.fix.is_none()), "whose rules these are, is to decide");
    }

    #[test]
    fn the_port_for_openvpn_clients_is_looked_at_too() {
        let mut seen = scene::server();
        seen.tunnels[0].report.openvpn_port = Some(1194);
        let found = found(seen, chain("input", ""));
        assert!(found.iter().any(|checked| checked.what.contains("UDP port 1194")), "{found:#?}");
    }

    #[test]
    fn a_port_that_is_open_on_one_way_is_open() {
        let only = r#",{"rule":{"family":"inet","table":"other","chain":"c","expr":[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth0"}},{"accept":null}]}}"#;
        let mut seen = scene::server();
        seen.machine.as_mut().unwrap().uplinks.push("wlan0".into());
        let found = found(seen, chain("input", only));
        assert!(found.iter().all(|checked| !checked.what.contains("from outside")), "{found:#?}");
    }

    #[test]
    fn programs_with_commands_of_their_own_are_told_by_them() {
        let firewalld = chain("input", "").replace("\"other\"", "\"firewalld\"");
        assert!(found(scene::server(), firewalld)[0].advice[0].starts_with("`firewall-cmd"));
        let ufw = chain("input", r#",{"chain":{"family":"inet","table":"other","name":"ufw-before-input"}}"#);
        let ufw = ufw.replace("\"c\"", "\"INPUT\"");
        assert_eq!(found(scene::server(), ufw)[0].advice[0], "`ufw allow 51820/udp`");
    }

    #[test]
    fn a_device_s_own_machine_may_drop_what_goes_to_the_server() {
        let dropped = found(scene::device(), chain("output", ""));
        assert!(dropped[0].what.starts_with("UDP to 203.0.113.2:51820"), "{}", dropped[0].what);
        let rule = r#",{"rule":{"family":"inet","table":"other","chain":"c","expr":[{"accept":null}]}}"#;
        assert_eq!(found(scene::device(), chain("output", rule))[0].verdict, Verdict::Sound);
    }

    #[test]
    fn rules_of_iptables_legacy_are_read_too() {
        assert!(legacy_drops("-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT", "home"));
        assert!(!legacy_drops("-P FORWARD DROP\n-A FORWARD -i home -j ACCEPT", "home"));
        assert!(!legacy_drops("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER", "home"), "that may accept it");
        assert!(legacy_drops(
            "-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "home"
        ));
        assert!(!legacy_drops("-P FORWARD DROP\n-A FORWARD -i ho+ -j ACCEPT", "home"), "whatever begins so");
        assert!(!legacy_drops("-P FORWARD DROP\n-A FORWARD -i + -j ACCEPT", "home"));
        assert!(legacy_drops("-P FORWARD DROP\n-A FORWARD -i wg+ -j ACCEPT", "home"));
        assert!(!legacy_drops("-P FORWARD ACCEPT", "home"));
        assert!(!legacy_drops("-P FORWARD DROP\n-A FORWARD ! -i eth0 -j ACCEPT", "home"), "from all others");
        assert!(legacy_drops("-P FORWARD DROP\n-A FORWARD ! -i home -j ACCEPT", "home"), "from all others");
        assert!(!legacy_drops(
            "-P FORWARD DROP\n-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "home"
        ));
    }
}

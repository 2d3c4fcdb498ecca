//! What an OpenVPN server's settings ask of the machine: addresses, routes, name servers.
//!
//! Not here: what the machine has, and the changes between the two (`adit-host`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use adit::openvpn::Settings;
use adit_host::{HostPlan, Table};
use adit_openvpn::options::{ClientConfig, Destination, DnsTransport, Inside, Route, Topology, Transport, Via};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Bytes that OpenVPN adds to a packet at most: number and operation, a tag or a MAC, what a cipher in blocks fills up.
const OVERHEAD_AEAD: u32 = 4 + 8 + 16 + 1;
const OVERHEAD_CBC: u32 = 4 + 64 + 16 + 16 + 4 + 1;
/// The header of a packet that may be in pieces.
const FRAGMENT: u32 = 4;
/// Headers outside.
const UDP_V4: u32 = 20 + 8;
const UDP_V6: u32 = 40 + 8;
/// What clients and servers agree on unless they are told otherwise (`tun-mtu`).
pub(super) const MTU: u32 = 1500;
/// What every interface with IPv6 must carry (RFC 8200 §5).
const LEAST_V6: u32 = 1280;

/// The plan for an interface of this name, and what of the settings is not in it, a sentence each.
pub(super) fn of_settings(name: &str, config: &ClientConfig, settings: &Settings) -> (HostPlan, Vec<String>) {
    let server = settings.server;
    let mut notes = Vec::new();
    let hands_off = config.common.hands_off;
    let file = &config.common.inside;
    let pushed = &settings.machine.inside;
    let (addresses, other) = addresses(file, settings);
    let mut routes: Vec<IpNet> = other.map(|other| IpNet::from(IpAddr::V4(other))).into_iter().collect();
    for route in file.routes.iter().chain(&pushed.routes) {
        match destination(route) {
            Ok(to) => routes.push(to),
            Err(why) => notes.push(why),
        }
    }
    for redirect in [file.redirect, pushed.redirect].into_iter().flatten() {
        routes.extend(redirect.v4.then(|| IpNet::from(Ipv4Net::default())));
        routes.extend(redirect.v6.then(|| IpNet::from(Ipv6Net::default())));
        if redirect.block_local {
            notes
                .push("`redirect-gateway block-local`: the local network stays reachable beside the tunnel".to_owned());
        }
    }
    if file.block_ipv6 || pushed.block_ipv6 {
        // Into the tunnel, where nobody takes it: nothing of it leaves beside.
        routes.push(Ipv6Net::default().into());
    }
    let (dns, search) = name_servers(config, settings, &mut notes);
    for name_server in &dns {
        // They are asked inside the tunnel, wherever they are.
        if !routes.iter().chain(&addresses).any(|net| net.contains(name_server)) {
            routes.push(IpNet::from(*name_server));
        }
    }
    // What goes to a server behind a proxy goes to the proxy.
    let literal = config
        .remotes
        .iter()
        .filter_map(|remote| remote.proxy.as_ref().map_or(&remote.host, |proxy| &proxy.host).parse().ok());
    let servers: BTreeSet<IpAddr> = literal.chain(settings.servers.iter().copied()).collect();
    let addresses = apart_from(addresses, &mut routes, &servers);
    let mut seen = BTreeSet::new();
    routes.retain(|route| seen.insert(*route));
    let routes = beside_servers(whole(routes), &servers);
    let is_default = |v6: bool| routes.iter().any(|to| to.prefix_len() == 0 && to.addr().is_ipv6() == v6);
    if is_default(false) && !is_default(true) {
        notes.push(
            "the server takes IPv4 only: what this machine sends over IPv6 does not go through the tunnel".to_owned(),
        );
    }
    let at_most = largest(config, settings);
    if at_most < LEAST_V6 && addresses.iter().chain(&routes).any(|net| net.addr().is_ipv6()) {
        notes.push(format!(
            "the server takes packets of up to {at_most} bytes, and IPv6 needs {LEAST_V6}: longer ones get lost"
        ));
    }
    let plan = HostPlan {
        name: name.to_owned(),
        addresses: if hands_off.addresses { Vec::new() } else { addresses },
        mtu: None,
        overhead: Some(overhead(config, settings, server)),
        mtu_at_most: Some(at_most),
        table: if hands_off.routes { Table::Off } else { Table::Auto },
        routes,
        fwmark: config.common.socket.mark,
        dns,
        search,
        endpoints: server.into_iter().collect(),
        ..HostPlan::default()
    };
    (plan, notes)
}

/// Routes to everything as such, however they are written: in halves, as many do by hand, or to all of IPv6 that is given out.
fn whole(mut routes: Vec<IpNet>) -> Vec<IpNet> {
    for (halves, all) in [
        (&["0.0.0.0/1", "128.0.0.0/1"][..], IpNet::from(Ipv4Net::default())),
        (&["::/1", "8000::/1"], Ipv6Net::default().into()),
        (&["2000::/3"], Ipv6Net::default().into()),
    ] {
        let halves: Vec<IpNet> = halves.iter().filter_map(|half| half.parse().ok()).collect();
        if halves.iter().all(|half| routes.contains(half)) {
            routes.retain(|route| !halves.contains(route));
            routes.push(all);
        }
    }
    routes
}

/// The routes without the servers themselves: what goes to a server must not go into the tunnel to it. Routes to everything
/// stay as they are, for the tunnel's own packets are marked and look past those.
fn beside_servers(routes: Vec<IpNet>, servers: &BTreeSet<IpAddr>) -> Vec<IpNet> {
    let mut all = routes;
    for server in servers {
        let covers = |route: &IpNet| route.prefix_len() > 0 && route.contains(server);
        let (covering, mut others): (Vec<IpNet>, Vec<IpNet>) = all.into_iter().partition(covers);
        others.extend(covering.into_iter().flat_map(|route| without(route, *server)));
        all = others;
    }
    all
}

/// Our addresses, none with a network that a server is in: the kernel makes a route of each. Such a network becomes a route like
/// any other.
fn apart_from(addresses: Vec<IpNet>, routes: &mut Vec<IpNet>, servers: &BTreeSet<IpAddr>) -> Vec<IpNet> {
    let apart = |address: IpNet| {
        if !servers.iter().any(|server| address.contains(server)) {
            return address;
        }
        routes.push(address.trunc());
        IpNet::from(address.addr())
    };
    addresses.into_iter().map(apart).collect()
}

/// A network without one of its hosts, as the networks that are left.
fn without(net: IpNet, host: IpAddr) -> Vec<IpNet> {
    let (mut left, mut rest) = (Vec::new(), net.trunc());
    while let Ok(halves) = rest.subnets(rest.prefix_len() + 1) {
        let (with, other): (Vec<_>, Vec<_>) = halves.partition(|half| half.contains(&host));
        left.extend(other);
        match with.first() {
            Some(half) if half.prefix_len() < half.max_prefix_len() => rest = *half,
            Some(_) | None => break,
        }
    }
    left
}

/// Leaves IPv6 aside, for a machine that does not have it.
pub(super) fn without_ipv6(plan: &mut HostPlan, notes: &mut Vec<String>) {
    let before = plan.addresses.len() + plan.routes.len();
    plan.addresses.retain(|net| net.addr().is_ipv4());
    plan.routes.retain(|net| net.addr().is_ipv4());
    if plan.addresses.len() + plan.routes.len() < before {
        notes.push("this machine has no IPv6: addresses and routes of that are left aside".to_owned());
    }
}

/// Our addresses, and the other end's where it is one host.
fn addresses(file: &Inside, settings: &Settings) -> (Vec<IpNet>, Option<Ipv4Addr>) {
    let pushed = &settings.machine.inside;
    let topology = pushed.topology.or(file.topology).unwrap_or_default();
    let of_file = || file.ifconfig.map(|ifconfig| (ifconfig.local, ifconfig.other));
    let mut other_end = None;
    let v4 = settings.connection.address4.or_else(of_file).map(|(local, other)| match topology {
        Topology::Subnet => Ipv4Net::with_netmask(local, other).unwrap_or_else(|_| Ipv4Net::from(local)),
        Topology::Net30 | Topology::PointToPoint => {
            other_end = Some(other);
            Ipv4Net::from(local)
        }
    });
    let of_file = || file.ifconfig6.map(|ifconfig| ifconfig.local);
    let v6 = settings.connection.address6.and_then(|(local, bits)| Ipv6Net::new(local, bits).ok()).or_else(of_file);
    (v4.map(IpNet::from).into_iter().chain(v6.map(IpNet::from)).collect(), other_end)
}

/// Where a route into the tunnel leads.
fn destination(route: &Route) -> Result<IpNet, String> {
    let to = match &route.to {
        Destination::V4(net) => IpNet::from(*net),
        Destination::V6(net) => IpNet::from(*net),
        // The way to the server is marked, and needs no route.
        Destination::RemoteHost => return Err("a route to the server itself is not needed, and not made".to_owned()),
        Destination::Name(name) => {
            return Err(format!("the route to {name} is not made: write its address, for a name may lead elsewhere"));
        }
    };
    match route.via {
        Via::Tunnel | Via::Address(_) => Ok(to),
        Via::Before => Err(format!("the route to {to} beside the tunnel (`net_gateway`) is not made")),
    }
}

fn name_servers(config: &ClientConfig, settings: &Settings, notes: &mut Vec<String>) -> (Vec<IpAddr>, Vec<String>) {
    let (file, pushed) = (&config.common.dns, &settings.machine.dns);
    let mut search = [file.search.clone(), pushed.search.clone()].concat();
    search.dedup();
    let ranked = pushed.ranked.values().chain(file.ranked.values()).find(|server| {
        let is_plain = server.transport == DnsTransport::Plain;
        if !is_plain {
            notes.push(
                "a name server over TLS or HTTPS is left aside: adit sets those that are asked inside the tunnel"
                    .to_owned(),
            );
        }
        is_plain
    });
    let servers = match ranked {
        Some(server) => server.addresses.iter().map(std::net::SocketAddr::ip).collect(),
        None => [file.servers.clone(), pushed.servers.clone()].concat(),
    };
    let only =
        ranked.map_or_else(|| [file.only.clone(), pushed.only.clone()].concat(), |server| server.domains.clone());
    if !only.is_empty() {
        notes.push(format!("the name servers are asked about every name, not only about {}", only.join(", ")));
    }
    (servers, search)
}

fn overhead(config: &ClientConfig, settings: &Settings, server: Option<IpAddr>) -> u32 {
    let aead = settings.connection.cipher.or(config.common.data.fallback).is_none_or(|cipher| cipher.is_aead());
    let outside = if server.is_some_and(|server| server.is_ipv4()) { UDP_V4 } else { UDP_V6 };
    // A stream is cut by the kernel, whatever the sizes of packets.
    let is_stream = config.remotes.iter().all(|remote| remote.transport == Transport::Tcp);
    let own = if aead { OVERHEAD_AEAD } else { OVERHEAD_CBC };
    let piece = if config.remotes.iter().any(|remote| remote.sizes.fragment.is_some()) { FRAGMENT } else { 0 };
    let relay = config.remotes.iter().map(|remote| u32::from(remote.relay_header())).max().unwrap_or(0);
    if is_stream { 0 } else { outside + own + piece + relay }
}

fn largest(config: &ClientConfig, settings: &Settings) -> u32 {
    let file = config.remotes.first().and_then(|remote| remote.sizes.tun_mtu);
    settings.connection.mtu.or(file).map_or(MTU, u32::from)
}

#[cfg(test)]
mod tests {
    use adit_openvpn::Pushed;
    use adit_openvpn::options::{self, Config, Pulling};

    use super::*;

    fn config(lines: &str) -> ClientConfig {
        let text = format!("client\nremote 192.0.2.1\nauth-user-pass\n<ca>\nx\n</ca>\n{lines}");
        match options::parse(&text) {
            options::Parsed { config: Some(Config::Client(config)), .. } => *config,
            parsed => panic!("{:?}", parsed.findings),
        }
    }

    fn plan(lines: &str, pushed: &[&str]) -> (HostPlan, Vec<String>) {
        let mut connection = Pushed::default();
        pushed.iter().for_each(|option| connection.add(option));
        let pulling = Pulling { pull: true, ..Pulling::default() };
        let settings = Settings::read(connection, &pulling, Some([192, 0, 2, 1].into()), Vec::new()).unwrap();
        of_settings("office", &config(lines), &settings)
    }

    fn text<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }

    #[test]
    fn a_subnet_with_routes_and_name_servers() {
        let (plan, notes) = plan(
            "route 10.9.0.0 255.255.0.0\n",
            &[
                "topology subnet",
                "ifconfig 10.8.0.2 255.255.255.0",
                "ifconfig-ipv6 fd00::2/64 fd00::1",
                "route 10.1.0.0 255.255.0.0",
                "route-ipv6 fd01::/48",
                "dhcp-option DNS 10.8.0.1",
                "dhcp-option DNS 192.0.2.53",
                "dhcp-option DOMAIN corp.example",
                "tun-mtu 1400",
                "cipher AES-256-GCM",
            ],
        );
        assert_eq!(text(&plan.addresses), ["10.8.0.2/24", "fd00::2/64"]);
        assert_eq!(text(&plan.routes), ["10.9.0.0/16", "10.1.0.0/16", "fd01::/48", "192.0.2.53/32"]);
        assert_eq!(
            (text(&plan.dns), text(&plan.search)),
            (vec!["10.8.0.1".into(), "192.0.2.53".into()], vec!["corp.example".into()])
        );
        assert_eq!((plan.mtu_at_most, plan.overhead), (Some(1400), Some(28 + 29)));
        assert!(notes.is_empty() && !plan.is_full_tunnel(), "{notes:?}");
    }

    #[test]
    fn everything_through_the_tunnel() {
        let (plan, notes) = plan("", &["ifconfig 10.8.0.6 10.8.0.5", "redirect-gateway def1", "cipher AES-128-CBC"]);
        assert_eq!(text(&plan.addresses), ["10.8.0.6/32"]);
        assert_eq!(text(&plan.routes), ["10.8.0.5/32", "0.0.0.0/0"]);
        assert!(plan.is_full_tunnel() && notes[0].contains("IPv6"), "{notes:?}");
        assert_eq!(plan.overhead, Some(28 + 105));
        assert_eq!(self::plan("fragment 1200\n", &["ifconfig 10.8.0.6 10.8.0.5"]).0.overhead, Some(28 + 29 + 4));
    }

    #[test]
    fn halves_are_a_whole_and_the_way_to_the_server_is_no_route_into_the_tunnel() {
        let (plan, _) = plan("route 0.0.0.0 128.0.0.0\nroute 128.0.0.0 128.0.0.0\n", &["ifconfig 10.8.0.6 10.8.0.5"]);
        assert!(plan.is_full_tunnel(), "{:?}", plan.routes);
        let (plan, _) = self::plan("route 192.0.2.0 255.255.255.252\n", &["ifconfig 10.8.0.6 10.8.0.5"]);
        let routes = text(&plan.routes);
        assert_eq!(routes, ["10.8.0.5/32", "192.0.2.2/31", "192.0.2.0/32"]);
        let (plan, _) =
            self::plan("", &["topology subnet", "ifconfig 192.0.2.3 255.255.255.252", "dhcp-option DNS 192.0.2.1"]);
        assert_eq!(text(&plan.addresses), ["192.0.2.3/32"], "the kernel would make a route of the network");
        assert_eq!(text(&plan.routes), ["192.0.2.2/31", "192.0.2.0/32"]);
        let (mut plan, mut notes) = self::plan("", &["ifconfig-ipv6 fd00::2/64 fd00::1", "ifconfig 10.8.0.6 10.8.0.5"]);
        without_ipv6(&mut plan, &mut notes);
        assert_eq!((text(&plan.addresses), notes.len()), (vec!["10.8.0.6/32".to_owned()], 1));
    }

    /// Nothing leads to the proxy through the tunnel; the server itself may be reached there.
    #[test]
    fn the_way_to_a_proxy_is_no_route_into_the_tunnel() {
        let (plan, _) = plan(
            "socks-proxy 198.51.100.9\nroute 198.51.100.8 255.255.255.252\nroute 192.0.2.0 255.255.255.252\n",
            &["ifconfig 10.8.0.6 10.8.0.5"],
        );
        assert_eq!(text(&plan.routes), ["10.8.0.5/32", "192.0.2.0/30", "198.51.100.10/31", "198.51.100.8/32"]);
        assert_eq!(plan.overhead, Some(28 + 29 + 10), "with what stands before each datagram to the proxy");
    }

    #[test]
    fn a_server_that_takes_less_than_ipv6_needs_is_told_of() {
        let small = ["ifconfig 10.8.0.6 10.8.0.5", "tun-mtu 1200"];
        let (plan, notes) = plan("", &small);
        assert!(plan.mtu_at_most == Some(1200) && notes.is_empty(), "{notes:?}");
        let (_, notes) = self::plan("", &[&small[..], &["ifconfig-ipv6 fd00::2/64 fd00::1"]].concat());
        assert!(notes[0].contains("up to 1200 bytes"), "{notes:?}");
    }

    #[test]
    fn ipv6_that_is_blocked_goes_nowhere_else() {
        let (plan, notes) = plan("redirect-gateway def1\nblock-ipv6\n", &["ifconfig 10.8.0.6 10.8.0.5"]);
        assert!(text(&plan.routes).contains(&"::/0".to_owned()) && notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn what_is_left_to_others_and_what_is_left_aside() {
        let (plan, notes) = plan(
            "route-noexec\nifconfig-noexec\n",
            &[
                "ifconfig 10.8.0.6 10.8.0.5",
                "route 192.168.7.0 255.255.255.0 net_gateway",
                "dhcp-option DOMAIN-ROUTE a.example",
            ],
        );
        assert_eq!((plan.table, plan.addresses.len()), (Table::Off, 0));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("192.168.7.0/24") && notes[1].contains("a.example"));
    }
}

//! The inside of the tunnel: addresses, routes, what is blocked, and which pushes are taken. What a file says and what a
//! server pushes read the same.
//!
//! Not here: name servers (`dns`), making routes (the host), whose packets may pass (the server).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::catalogue::{BOTH, CLIENT, Entry, PUSHED, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, doubt, ignore, refuse};
use super::lexer::Directive;
use super::value::{self, add, choice, host, prefix6, seconds, small, text, v4};

/// How addresses are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// Four addresses for each client: OpenVPN's default until 2.6.
    #[default]
    Net30,
    /// Two addresses, one for each end.
    PointToPoint,
    /// One network for all.
    Subnet,
}

/// Our IPv4 address, and what stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ifconfig {
    /// Our address.
    pub local: Ipv4Addr,
    /// The other end's address, or with [`Topology::Subnet`] the mask.
    pub other: Ipv4Addr,
}

/// Our IPv6 address, and the other end's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ifconfig6 {
    /// Our address with the length of its network.
    pub local: Ipv6Net,
    /// The other end's address.
    pub other: Ipv6Addr,
}

/// Where a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A network of IPv4.
    V4(Ipv4Net),
    /// A network of IPv6.
    V6(Ipv6Net),
    /// The server's address on the outside (`remote_host`).
    RemoteHost,
    /// A host's name.
    Name(String),
}

/// Over what a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// The tunnel (`vpn_gateway`, or nothing).
    #[default]
    Tunnel,
    /// The network that was there before (`net_gateway`).
    Before,
    /// A neighbour of this address.
    Address(IpAddr),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// To where.
    pub to: Destination,
    /// Over what.
    pub via: Via,
    /// How it is ranked; `None`: by `route-metric`.
    pub metric: Option<u32>,
}

/// That everything goes through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redirect {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
    /// The local network too, which is otherwise reachable beside the tunnel.
    pub block_local: bool,
}

/// What a server may push and a file may say about the inside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inside {
    /// How addresses are laid out; `None`: not said.
    pub topology: Option<Topology>,
    /// Our IPv4 address.
    pub ifconfig: Option<Ifconfig>,
    /// Our IPv6 address.
    pub ifconfig6: Option<Ifconfig6>,
    /// Where [`Via::Tunnel`] leads over; `None`: the other end.
    pub gateway: Option<IpAddr>,
    /// The same for IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// How routes are ranked that do not say it themselves.
    pub metric: Option<u32>,
    /// Networks that the tunnel leads to.
    pub routes: Vec<Route>,
    /// Everything goes through the tunnel.
    pub redirect: Option<Redirect>,
    /// IPv6 is answered with "unreachable", not let out beside the tunnel.
    pub block_ipv6: bool,
    /// No name server beside the tunnel's is reachable.
    pub block_outside_dns: bool,
}

/// What is done with a pushed option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterAction {
    /// It is taken.
    Accept,
    /// It is left aside.
    Ignore,
    /// The connection is given up.
    Reject,
}

/// What is done with pushed options whose words, with one space between them, begin like this: the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFilter {
    /// What is done.
    pub action: FilterAction,
    /// The beginning of the option's text.
    pub beginning: String,
}

/// Which pushes a client takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulling {
    /// Any at all (`client`, `pull`).
    pub pull: bool,
    /// Routes and name servers are left aside (`route-nopull`).
    pub no_routes: bool,
    /// Rules for single options.
    pub filters: Vec<PullFilter>,
}

impl Pulling {
    /// What is done with an option of this text: its words with one space between them.
    pub fn decide(&self, option: &str) -> FilterAction {
        let fits = |filter: &&PullFilter| option.starts_with(&filter.beginning);
        self.filters.iter().find(fits).map_or(FilterAction::Accept, |filter| filter.action)
    }
}

const HERE: u8 = BOTH | PUSHED;

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    ignored(
        "allow-pull-fqdn",
        CLIENT,
        0,
        0,
        "names in pushed routes are not resolved: whoever answers for the name would choose the route",
    ),
    ignored("allow-recursive-routing", BOTH, 0, 0, "the tunnel's own packets are marked, so they never enter it"),
    read("block-ipv6", HERE, 0, 0, |draft, _| {
        draft.inside.block_ipv6 = true;
        Ok(Said::Accepted)
    }),
    read("block-outside-dns", HERE, 0, 0, |draft, _| {
        draft.inside.block_outside_dns = true;
        Ok(Said::Accepted)
    }),
    refused(
        "client-nat",
        CLIENT | PUSHED,
        "addresses of the inside are not translated",
        "remove the line, and give the networks addresses that do not overlap",
    ),
    read("ifconfig", HERE, 2, 2, |draft, d| {
        draft.inside.ifconfig = Some(Ifconfig { local: v4(d, 1)?, other: v4(d, 2)? });
        Ok(Said::Accepted)
    }),
    read("ifconfig-ipv6", HERE, 2, 2, ifconfig_ipv6),
    read("ifconfig-noexec", BOTH, 0, 0, |draft, _| {
        draft.hands_off.addresses = true;
        Ok(Said::Accepted)
    }),
    ignored("ifconfig-nowarn", BOTH, 0, 0, "addresses that overlap are reported in any case"),
    ignored("max-routes", BOTH, 1, 1, "OpenVPN has removed this option; routes have a bound in any case"),
    read("pull-filter", CLIENT, 2, 2, pull_filter).many(),
    read("redirect-gateway", HERE, 0, 9, |draft, d| redirect(draft, d, true)).many(),
    read("redirect-private", HERE, 0, 9, |draft, d| redirect(draft, d, false)).many(),
    read("route", HERE, 1, 4, route).many(),
    read("route-delay", HERE, 0, 2, |_, d| {
        (1..=d.arguments()).try_for_each(|n| seconds(d, n).map(drop))?;
        ignore("routes are made when the interface is there, which is known without waiting")
    }),
    read("route-gateway", HERE, 1, 1, |draft, d| {
        if d.word(1) == Some("dhcp") {
            return refuse(1, "only Ethernet tunnels ask DHCP", "write the address of the gateway");
        }
        draft.inside.gateway = Some(value::address(d, 1)?);
        Ok(Said::Accepted)
    }),
    read("route-ipv6", HERE, 1, 3, route_ipv6).many(),
    read("route-ipv6-gateway", HERE, 1, 1, |draft, d| {
        let gateway = text(d, 1)?.parse();
        draft.inside.gateway6 =
            Some(gateway.or_else(|_| refuse(1, "this is not an IPv6 address", "write it as in fd00::1"))?);
        Ok(Said::Accepted)
    }),
    read("route-metric", HERE, 1, 1, |draft, d| {
        draft.inside.metric = Some(small(d, 1, 0..=u32::MAX)?);
        Ok(Said::Accepted)
    }),
    read("route-noexec", BOTH, 0, 0, |draft, _| {
        draft.hands_off.routes = true;
        Ok(Said::Accepted)
    }),
    read("route-nopull", CLIENT, 0, 0, |draft, _| {
        draft.pulling.no_routes = true;
        Ok(Said::Accepted)
    }),
    read("topology", HERE, 1, 1, |draft, d| {
        let kinds = [("net30", Topology::Net30), ("p2p", Topology::PointToPoint), ("subnet", Topology::Subnet)];
        draft.inside.topology = Some(choice(d, 1, &kinds)?);
        Ok(Said::Accepted)
    }),
];

fn ifconfig_ipv6(draft: &mut Draft, d: &Directive) -> Outcome {
    let other = text(d, 2)?.split('/').next().and_then(|address| address.parse().ok());
    let Some(other) = other else {
        return refuse(2, "this is not an IPv6 address", "write the other end's address, as in fd00::1");
    };
    draft.inside.ifconfig6 = Some(Ifconfig6 { local: prefix6(d, 1)?, other });
    Ok(Said::Accepted)
}

fn pull_filter(draft: &mut Draft, d: &Directive) -> Outcome {
    let kinds = [("accept", FilterAction::Accept), ("ignore", FilterAction::Ignore), ("reject", FilterAction::Reject)];
    // As options are compared: one space where several stand, for one of them means a word that ends there.
    let beginning = text(d, 2)?.trim_start().split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let end = if text(d, 2)?.ends_with(|c: char| c.is_ascii_whitespace()) { " " } else { "" };
    let filter = PullFilter { action: choice(d, 1, &kinds)?, beginning: format!("{beginning}{end}") };
    add(&mut draft.pulling.filters, filter)?;
    Ok(Said::Accepted)
}

fn redirect(draft: &mut Draft, d: &Directive, everything: bool) -> Outcome {
    let before = draft.inside.redirect;
    let mut redirect = before.unwrap_or_default();
    redirect.v4 |= everything;
    for n in 1..=d.arguments() {
        match text(d, n)? {
            // How the default route is taken over, and what stays outside: the host's own rules do both.
            "def1" | "local" | "autolocal" | "bypass-dhcp" | "bypass-dns" => {}
            "block-local" => redirect.block_local = true,
            "ipv6" => redirect.v6 |= everything,
            "!ipv4" => redirect.v4 = false,
            _ => {
                return refuse(
                    n,
                    "there is no such flag",
                    "write redirect-gateway def1, with `ipv6` if that is to go through too",
                );
            }
        }
    }
    draft.inside.redirect = Some(redirect);
    match before {
        Some(before) if before != redirect && !draft.is_pushed() => {
            doubt("what this line and those before it ask for holds together", "write one line with all of it")
        }
        Some(_) | None => Ok(Said::Accepted),
    }
}

fn via(d: &Directive, n: usize) -> Result<Via, Refusal> {
    match d.word(n) {
        None | Some("default" | "vpn_gateway") => Ok(Via::Tunnel),
        Some("net_gateway" | "net_gateway_ipv6") => Ok(Via::Before),
        Some(_) => value::address(d, n).map(Via::Address),
    }
}

fn metric(d: &Directive, n: usize) -> Result<Option<u32>, Refusal> {
    match d.word(n) {
        None | Some("default") => Ok(None),
        Some(_) => small(d, n, 0..=u32::MAX).map(Some),
    }
}

fn route(draft: &mut Draft, d: &Directive) -> Outcome {
    let (via, metric) = (via(d, 3)?, metric(d, 4)?);
    let found = text(d, 1)?;
    let mut said = Said::Accepted;
    let to = match found {
        "remote_host" => Destination::RemoteHost,
        "vpn_gateway" | "net_gateway" => {
            return ignore("the gateway is reached without a route of its own");
        }
        _ if found.contains('/') || found.parse::<Ipv4Addr>().is_ok() => {
            let network = value::network4_loosely(d, 1)?;
            if network.network() != network.addr() {
                let fixed = network.trunc();
                let instead = format!("write route {} {}", fixed.addr(), fixed.netmask());
                said = Said::Doubtful(
                    format!("the address has bits that the mask does not cover; taken as {fixed}"),
                    Some(instead),
                );
            }
            Destination::V4(network.trunc())
        }
        _ if draft.is_pushed() => return refuse(1, "names in pushed routes are not resolved", "push the address"),
        _ => Destination::Name(host(d, 1)?),
    };
    add(&mut draft.inside.routes, Route { to, via, metric })?;
    Ok(said)
}

fn route_ipv6(draft: &mut Draft, d: &Directive) -> Outcome {
    let (via, metric) = (via(d, 2)?, metric(d, 3)?);
    let network = prefix6(d, 1)?;
    let fixed = network.trunc();
    add(&mut draft.inside.routes, Route { to: Destination::V6(fixed), via, metric })?;
    if fixed == network {
        return Ok(Said::Accepted);
    }
    doubt(format!("the address has bits behind the length; taken as {fixed}"), format!("write route-ipv6 {fixed}"))
}

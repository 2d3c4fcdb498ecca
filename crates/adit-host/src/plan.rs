//! What one interface should have, what the machine has, and the changes between the two. Pure.
//!
//! Not here: looking at the machine (`netlink`, `dns`), making changes (`backend`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::change::{Change, Route, Rule, Stage, TABLE_MAIN};
use crate::dns::{self, Machine};
use crate::firewall::Ruleset;
use crate::gateway::{self, Gateway, GatewayTable, OtherFirewall, SeenChain};

/// What a packet of WireGuard adds: 40 bytes of IPv6, 8 of UDP, 32 of its own.
const OVERHEAD: u32 = 80;
/// Outer path when nothing is known of it: Ethernet.
const MTU_ETHERNET: u32 = 1500;
/// The largest packet there is; a loopback's path is larger.
const MTU_LARGEST: u32 = 65_535;
/// What every interface with IPv6 must carry (RFC 8200 §5), and with IPv4 (RFC 791 §3.2).
const MTU_LEAST_V6: u32 = 1280;
const MTU_LEAST_V4: u32 = 576;
/// What every part of the way must pass on whole with IPv4 (RFC 791 §3.2), and the least that the kernel sets.
const MTU_SMALLEST_V4: u32 = 68;
/// The mark and table of the first full tunnel, as people know it; the next ones count upward.
const FIRST_MARK: u32 = 51_820;
/// The rule of the main table; ours go before it.
const PRIORITY_MAIN: u32 = 32_766;
/// Lets reverse path filtering look up answers with the mark of what was sent.
pub(crate) const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
/// Lets packets pass from one interface to another.
pub(crate) const FORWARD_V4: &str = "net/ipv4/ip_forward";
pub(crate) const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";

/// What one interface should have: the part of a profile that concerns the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPlan {
    /// The interface. It must exist when the plan is applied.
    pub name: String,
    /// Its addresses, each with the length of its network.
    pub addresses: Vec<IpNet>,
    /// The largest packet in bytes; worked out from the path to the endpoints if absent.
    pub mtu: Option<u32>,
    /// What the tunnel adds to each packet, in bytes, with the headers of IP outside; absent, what WireGuard adds.
    pub overhead: Option<u32>,
    /// No more than this where the largest packet is worked out; but with IPv6 in it never less than that must carry, 1280.
    pub mtu_at_most: Option<u32>,
    /// Where routes go.
    pub table: Table,
    /// What is reached through the tunnel: all allowed IPs of all peers.
    pub routes: Vec<IpNet>,
    /// The mark that the tunnel's own datagrams carry. A full tunnel needs one: see [`crate::Host::choose_fwmark`].
    pub fwmark: Option<u32>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains that names are looked up in.
    pub search: Vec<String>,
    /// Commands of the profile.
    pub hooks: Hooks,
    /// Where the peers are, outside: the path there decides the MTU.
    pub endpoints: Vec<IpAddr>,
    /// What the machine forwards for the peers, if it is their gateway.
    pub gateway: Option<Gateway>,
}

/// Where routes go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Table {
    /// The main table, and for default routes a table of their own, chosen by mark.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// This table.
    Number(u32),
}

/// Commands of the profile, in order, with `%i` already replaced by the name of the interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the interface is set up.
    pub pre_up: Vec<String>,
    /// After everything is set up.
    pub post_up: Vec<String>,
    /// Before anything is undone.
    pub pre_down: Vec<String>,
    /// After everything is undone.
    pub post_down: Vec<String>,
}

/// What the machine has, as far as a plan asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// MTU and whether it is up, if the interface exists.
    pub(crate) link: Option<Link>,
    /// Addresses of the interface.
    pub(crate) addresses: Vec<IpNet>,
    /// Routes of all tables but `local`.
    pub(crate) routes: Vec<Route>,
    pub(crate) rules: Vec<Rule>,
    /// The smallest MTU on the way to the endpoints, or of the default route.
    pub(crate) outer_mtu: Option<u32>,
    /// What files under `/proc/sys` hold; without those that this kernel does not have.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// All chains of nftables, if the plan has a gateway.
    pub(crate) chains: Vec<SeenChain>,
    /// Other programs' packet filters, if the plan has a gateway.
    pub(crate) firewalls: Vec<OtherFirewall>,
    pub(crate) dns: Machine,
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

impl HostPlan {
    /// Whether everything of one family at least goes through the tunnel, and adit arranges it.
    #[must_use]
    pub fn is_full_tunnel(&self) -> bool {
        self.table == Table::Auto && self.routes.iter().any(|to| to.prefix_len() == 0)
    }

    /// The commands to run before the network is touched.
    pub(crate) fn changes_before(&self) -> Vec<Change> {
        if self.hooks.pre_up.is_empty() {
            return Vec::new();
        }
        let mut changes = self.at_end(Stage::PostDown, &self.hooks.post_down);
        changes.extend(self.run(Stage::PreUp, &self.hooks.pre_up));
        changes
    }

    /// The commands to run when the network is as it should be. What must be run at the end is noted first.
    pub(crate) fn changes_after(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.hooks.pre_up.is_empty() {
            changes.extend(self.at_end(Stage::PostDown, &self.hooks.post_down));
        }
        changes.extend(self.at_end(Stage::PreDown, &self.hooks.pre_down));
        changes.extend(self.run(Stage::PostUp, &self.hooks.post_up));
        changes
    }

    fn run(&self, stage: Stage, commands: &[String]) -> Vec<Change> {
        let change = |command: &String| Change::Run { stage, command: command.clone(), link: self.name.clone() };
        commands.iter().map(change).collect()
    }

    /// Noted backwards, because what is noted last is undone first.
    fn at_end(&self, stage: Stage, commands: &[String]) -> Vec<Change> {
        let change = |command: &String| Change::AtEnd { stage, command: command.clone(), link: self.name.clone() };
        commands.iter().rev().map(change).collect()
    }
}

impl Observed {
    /// What the machine would have without these changes of ours, so that a plan can be made anew.
    pub(crate) fn without(mut self, ours: &[Change]) -> Self {
        for change in ours.iter().rev() {
            match change {
                Change::Address { link, address } => {
                    self.addresses.retain(|seen| seen != address);
                    let connected = Route { to: address.trunc(), link: link.clone(), table: TABLE_MAIN };
                    self.routes.retain(|seen| *seen != connected);
                }
                Change::Route(route) => self.routes.retain(|seen| seen != route),
                Change::Rule(rule) => self.rules.retain(|seen| seen != rule),
                Change::Sysctl { key, was, .. } => {
                    self.sysctls.insert(key.clone(), was.clone());
                }
                Change::Mtu { was, .. } => {
                    if let (Some(link), Some(was)) = (&mut self.link, was) {
                        link.mtu = *was;
                    }
                }
                Change::Up { .. } => {
                    if let Some(link) = &mut self.link {
                        link.up = false;
                    }
                }
                Change::Dns(dns) => self.dns = dns.before(self.dns),
                // Our table is none of those that are asked about, and ours in others' chains are not asked for.
                Change::Run { .. } | Change::AtEnd { .. } => {}
                Change::Firewall(_) | Change::Gateway(_) | Change::Pass(_) => {}
            }
        }
        self
    }

    /// Whether another program may have taken away this change of ours: one that reloads its packet filter often begins by
    /// removing all there is. Asked only of what may be made twice.
    pub(crate) fn may_have_lost(&self, change: &Change) -> bool {
        match change {
            Change::Gateway(ours) => !self.chains.iter().any(|seen| seen.family == "inet" && seen.table == ours.table),
            Change::Pass(_) => true,
            Change::Run { .. } | Change::AtEnd { .. } | Change::Up { .. } | Change::Mtu { .. } => false,
            Change::Sysctl { .. } | Change::Address { .. } | Change::Route(_) | Change::Rule(_) => false,
            Change::Firewall(_) | Change::Dns(_) => false,
        }
    }

    /// The interfaces with a default route of either version.
    pub(crate) fn uplinks(&self) -> impl Iterator<Item = &str> {
        let default = self.routes.iter().filter(|route| route.to.prefix_len() == 0 && route.table == TABLE_MAIN);
        default.map(|route| route.link.as_str()).filter(|link| !link.is_empty()).collect::<BTreeSet<_>>().into_iter()
    }

    /// A mark that no rule and no table uses: the first from the well-known number upward.
    pub(crate) fn free_mark(&self, taken: &BTreeSet<u32>) -> u32 {
        let rules = self.rules.iter().flat_map(|rule| [Some(rule.table), rule.unless_mark]).flatten();
        let used: BTreeSet<u32> = rules.chain(self.routes.iter().map(|route| route.table)).collect();
        (FIRST_MARK..).find(|mark| !used.contains(mark) && !taken.contains(mark)).unwrap_or(FIRST_MARK)
    }

    /// Two places in a row for rules that are asked before all others but `local`, the second for the less specific.
    fn free_priorities(&self, v6: bool) -> (u32, u32) {
        let used: BTreeSet<u32> = self.rules.iter().filter(|rule| rule.v6 == v6).map(|rule| rule.priority).collect();
        let lowest = used.iter().copied().find(|priority| *priority > 0).unwrap_or(PRIORITY_MAIN).min(PRIORITY_MAIN);
        if lowest > 2 {
            return (lowest - 2, lowest - 1);
        }
        let free = |at: &u32| !used.contains(at) && !used.contains(&(at - 1));
        let second = (2..PRIORITY_MAIN).rev().find(free).unwrap_or(PRIORITY_MAIN - 1);
        (second - 1, second)
    }
}

/// The changes between hooks that give the interface what it should have, in the order to make them.
///
/// `mark` is for a full tunnel: what its own datagrams carry, and the number of its routing table.
pub(crate) fn diff(desired: &HostPlan, observed: &Observed, mark: u32) -> Vec<Change> {
    let link = &desired.name;
    let mut changes = desired.gateway.as_ref().map_or_else(Vec::new, |gateway| filter(desired, gateway, observed));
    let mtu = desired.mtu.unwrap_or_else(|| mtu_for(observed.outer_mtu, desired));
    if observed.link.is_none_or(|seen| seen.mtu != mtu) {
        changes.push(Change::Mtu { link: link.clone(), mtu, was: observed.link.map(|seen| seen.mtu) });
    }
    let mut addresses = BTreeSet::new();
    for address in &desired.addresses {
        if !observed.addresses.contains(address) && addresses.insert(*address) {
            changes.push(Change::Address { link: link.clone(), address: *address });
        }
    }
    if observed.link.is_none_or(|seen| !seen.up) {
        changes.push(Change::Up { link: link.clone() });
    }
    match desired.table {
        Table::Off => {}
        Table::Number(table) => changes.extend(routes(desired, observed, table, &desired.routes)),
        Table::Auto => {
            let (default, rest): (Vec<_>, Vec<_>) = desired.routes.iter().partition(|to| to.prefix_len() == 0);
            changes.extend(routes(desired, observed, TABLE_MAIN, &rest));
            changes.extend(full_tunnel(desired, observed, mark, &default));
        }
    }
    if !desired.dns.is_empty() || !desired.search.is_empty() {
        changes.extend(dns::plan(desired, &observed.dns).map(Change::Dns));
    }
    if let Some(gateway) = &desired.gateway {
        changes.extend(forwarding(gateway, observed));
    }
    changes
}

/// A gateway's rules. They come first, before anything is forwarded, and go last.
fn filter(desired: &HostPlan, gateway: &Gateway, observed: &Observed) -> Vec<Change> {
    let link = &desired.name;
    let own: Vec<IpAddr> = desired.addresses.iter().map(IpNet::addr).collect();
    let mut changes = vec![Change::Gateway(GatewayTable::new(link, &own, gateway))];
    changes.extend(
        gateway::passes(&observed.chains, link, gateway.has(false), gateway.has(true)).into_iter().map(Change::Pass),
    );
    changes
}

/// Packets pass from one interface to another.
fn forwarding(gateway: &Gateway, observed: &Observed) -> Vec<Change> {
    let set = |key: String, value: &str| {
        let was = observed.sysctls.get(&key)?.clone();
        // Noted even when it is set already: another tunnel's end must not take it from this one.
        Some(Change::Sysctl { key, value: value.to_owned(), was })
    };
    let mut changes = Vec::new();
    if gateway.has(false) {
        changes.extend(set(FORWARD_V4.to_owned(), "1"));
    }
    if gateway.has(true) {
        let forwards = observed.sysctls.get(FORWARD_V6).is_some_and(|was| was != "0");
        for key in observed.uplinks().map(accept_ra) {
            // A machine that forwards takes no routes from routers unless it is told to: the kernel would drop its own
            // default route at once.
            let told = observed.sysctls.get(&key).is_some_and(|was| was == "2" || was == "1" && !forwards);
            changes.extend(told.then(|| set(key, "2")).flatten());
        }
        changes.extend(set(FORWARD_V6.to_owned(), "1"));
    }
    changes
}

/// Whether an interface takes routes from routers (router advertisements): 0 no, 1 unless it forwards, 2 yes.
pub(crate) fn accept_ra(link: &str) -> String {
    format!("net/ipv6/conf/{link}/accept_ra")
}

/// What is left of an outer path for the packets inside. IPv6 is not done with less than its least: on such a path the
/// tunnel's datagrams are sent in fragments.
fn mtu_for(outer: Option<u32>, desired: &HostPlan) -> u32 {
    let left = outer.unwrap_or(MTU_ETHERNET).min(MTU_LARGEST).saturating_sub(desired.overhead.unwrap_or(OVERHEAD));
    let v6 = desired.addresses.iter().chain(&desired.routes).any(|net| net.addr().is_ipv6());
    let (least, least_at_most) = if v6 { (MTU_LEAST_V6, MTU_LEAST_V6) } else { (MTU_LEAST_V4, MTU_SMALLEST_V4) };
    let at_most = desired.mtu_at_most.map_or(MTU_LARGEST, |at_most| at_most.max(least_at_most));
    left.max(least).min(at_most)
}

/// Routes into one table: broad ones first. In the main table none for what an own network or a broader route covers
/// already; a default route covers nothing, because rules may look past it.
fn routes(desired: &HostPlan, observed: &Observed, table: u32, wanted: &[IpNet]) -> Vec<Change> {
    let link = &desired.name;
    let mut wanted: Vec<IpNet> = wanted.iter().map(IpNet::trunc).collect();
    wanted.sort_by_key(|to| (to.addr().is_ipv6(), to.prefix_len(), *to));
    wanted.dedup();
    let mut ours: Vec<IpNet> = Vec::new();
    if table == TABLE_MAIN {
        // The kernel makes these routes itself, with the addresses.
        ours.extend(desired.addresses.iter().map(IpNet::trunc));
    }
    let here = |route: &&Route| route.table == table;
    ours.extend(observed.routes.iter().filter(here).filter(|route| route.link == *link).map(|route| route.to));
    let foreign: Vec<IpNet> =
        observed.routes.iter().filter(here).filter(|route| route.link != *link).map(|route| route.to).collect();
    let mut changes = Vec::new();
    for to in wanted {
        let covered = ours.iter().any(|own| {
            let covers = *own == to || table == TABLE_MAIN && own.prefix_len() > 0 && own.contains(&to);
            covers && !foreign.iter().any(|other| other != own && own.contains(other) && other.contains(&to))
        });
        if !covered {
            ours.push(to);
            changes.push(Change::Route(Route { to, link: link.clone(), table }));
        }
    }
    changes
}

/// Default routes in a table of their own, for everything but the tunnel's own datagrams and what the main table knows
/// more precisely than by a default route.
fn full_tunnel(desired: &HostPlan, observed: &Observed, mark: u32, default: &[IpNet]) -> Vec<Change> {
    let mut changes = Vec::new();
    if default.is_empty() {
        return changes;
    }
    let families: BTreeSet<bool> = default.iter().map(|to| to.addr().is_ipv6()).collect();
    if families.contains(&false)
        && let Some(was) = observed.sysctls.get(SRC_VALID_MARK)
    {
        // Noted even when it is set already: another tunnel's end must not take it from this one.
        let value = "1".to_owned();
        changes.push(Change::Sysctl { key: SRC_VALID_MARK.to_owned(), value, was: was.clone() });
    }
    changes.extend(routes(desired, observed, mark, default));
    let guarded: Vec<IpAddr> =
        desired.addresses.iter().map(IpNet::addr).filter(|address| families.contains(&address.is_ipv6())).collect();
    changes.push(Change::Firewall(Ruleset::full_tunnel(&desired.name, &guarded, mark)));
    for v6 in families {
        let (first, second) = observed.free_priorities(v6);
        let main = Rule { v6, priority: first, unless_mark: None, table: TABLE_MAIN, suppress: Some(0) };
        let tunnel = Rule { v6, priority: second, unless_mark: Some(mark), table: mark, suppress: None };
        changes.extend([Change::Rule(main), Change::Rule(tunnel)]);
    }
    changes
}

#[cfg(test)]
mod tests;

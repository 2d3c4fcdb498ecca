//! A machine in memory that notes what a crash before and after each of its actions would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;

use super::Backend;
use crate::change::{Change, Route, Rule, TABLE_MAIN};
use crate::dns::{self, DnsChange, Saved};
use crate::error::HostError;
use crate::gateway::{Pass, SeenChain};
use crate::plan::{FORWARD_V4, FORWARD_V6, HostPlan, Link, Observed, SRC_VALID_MARK, accept_ra};

/// The machine. Equality is about what a user would find, so not about the log.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) addresses: BTreeSet<(String, IpNet)>,
    pub(crate) routes: BTreeSet<Route>,
    pub(crate) rules: BTreeSet<Rule>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) tables: BTreeMap<String, String>,
    /// Rules in another program's chain.
    pub(crate) passes: BTreeSet<Pass>,
    pub(crate) resolv_conf: Saved,
    /// Name servers and domains of each interface, if systemd-resolved runs.
    pub(crate) resolved: Option<BTreeMap<String, Told>>,
    /// Commands of the profile that ran.
    pub(crate) log: Vec<String>,
}

/// What systemd-resolved was told about an interface, by a call each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    servers: Vec<IpAddr>,
    domains: Vec<(String, bool)>,
    default_route: bool,
}

impl PartialEq for Machine {
    fn eq(&self, other: &Self) -> bool {
        let Self { links, addresses, routes, rules, sysctls, tables, passes, resolv_conf, resolved, log: _ } = self;
        (links, addresses, routes) == (&other.links, &other.addresses, &other.routes)
            && (rules, sysctls, tables) == (&other.rules, &other.sysctls, &other.tables)
            && (passes, resolv_conf, resolved) == (&other.passes, &other.resolv_conf, &other.resolved)
    }
}

/// The machine, and what it was at each moment with the journal of that moment.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) machine: Machine,
    pub(crate) journal: PathBuf,
    pub(crate) moments: Vec<(Vec<u8>, Machine)>,
    /// The actions that fail, counted from zero.
    pub(crate) fails: Range<usize>,
    /// How much of an action is done that fails.
    pub(crate) fails_after: After,
    pub(crate) actions: usize,
}

/// How much of an action is done when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// Of what takes several calls, the first; else nothing.
    FirstCall,
    /// All of it; its end is not heard.
    All,
}

impl Machine {
    /// Two interfaces that are down, a default route by Ethernet, a resolver.
    pub(crate) fn new() -> Self {
        let route = |to: &str| Route { to: to.parse().unwrap(), link: "eth0".into(), table: TABLE_MAIN };
        let down = Link { mtu: 1500, up: false };
        Self {
            links: BTreeMap::from([("wg0".into(), down), ("wg1".into(), down)]),
            addresses: BTreeSet::new(),
            routes: BTreeSet::from([route("0.0.0.0/0"), route("192.168.1.0/24")]),
            rules: BTreeSet::from([Rule {
                v6: false,
                priority: 32_766,
                unless_mark: None,
                table: TABLE_MAIN,
                suppress: None,
            }]),
            sysctls: [(SRC_VALID_MARK, "0"), (FORWARD_V4, "0"), (FORWARD_V6, "0"), (&accept_ra("eth0"), "1")]
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
            tables: BTreeMap::new(),
            passes: BTreeSet::new(),
            resolv_conf: Saved::File { text: "nameserver 192.0.2.1\n".into(), mode: 0o644 },
            resolved: None,
            log: Vec::new(),
        }
    }

    /// The same with systemd-resolved, which programs ask.
    pub(crate) fn with_resolved() -> Self {
        let target = "/run/systemd/resolve/stub-resolv.conf".into();
        Self { resolv_conf: Saved::Link { target }, resolved: Some(BTreeMap::new()), ..Self::new() }
    }

    /// What goes when the process that owns the TUN dies.
    pub(crate) fn lose(&mut self, link: &str) {
        self.links.remove(link);
        self.addresses.retain(|(at, _)| at != link);
        self.routes.retain(|route| route.link != link);
        self.forget_servers(link);
    }

    fn forget_servers(&mut self, link: &str) {
        if let Some(resolved) = &mut self.resolved {
            resolved.remove(link);
        }
    }

    /// The kernel's: without an address of its version an interface has no routes of it.
    fn flush(&mut self, link: &str, v6: bool) {
        if !self.addresses.iter().any(|(at, net)| at == link && net.addr().is_ipv6() == v6) {
            self.routes.retain(|route| route.link != link || route.to.addr().is_ipv6() != v6);
        }
    }

    fn link(&mut self, link: &str) -> Result<&mut Link, HostError> {
        self.links.get_mut(link).ok_or_else(|| HostError::NoLink { link: link.into() })
    }

    /// The routes that the kernel makes itself, with the addresses.
    fn connected(&self) -> impl Iterator<Item = Route> + '_ {
        let route = |(link, net): &(String, IpNet)| Route { to: net.trunc(), link: link.clone(), table: TABLE_MAIN };
        self.addresses.iter().map(route)
    }

    fn apply(&mut self, change: &Change) -> Result<(), HostError> {
        match change {
            Change::Run { stage, command, .. } => self.log.push(format!("{stage} {command}")),
            Change::AtEnd { .. } => {}
            Change::Sysctl { key, value, .. } => {
                self.sysctls.insert(key.clone(), value.clone());
            }
            Change::Mtu { link, mtu, .. } => self.link(link)?.mtu = *mtu,
            Change::Address { link, address } => {
                self.link(link)?;
                self.addresses.insert((link.clone(), *address));
            }
            Change::Up { link } => self.link(link)?.up = true,
            Change::Route(route) => {
                self.link(&route.link)?;
                self.routes.insert(route.clone());
            }
            Change::Firewall(ruleset) => {
                self.tables.insert(ruleset.table.clone(), ruleset.text.clone());
            }
            Change::Gateway(table) => {
                self.tables.insert(table.table.clone(), table.text.clone());
            }
            Change::Pass(pass) => {
                self.passes.insert(pass.clone());
            }
            Change::Rule(rule) => {
                self.rules.insert(rule.clone());
            }
            Change::Dns(DnsChange::File { text, .. }) => {
                self.resolv_conf = Saved::File { text: text.clone(), mode: 0o644 };
            }
            Change::Dns(dns) => self.tell(dns, true),
        }
        Ok(())
    }

    /// The first of the calls that a change takes.
    fn begin(&mut self, change: &Change) {
        if let Change::Dns(dns @ DnsChange::Resolved { .. }) = change {
            self.tell(dns, false);
        }
    }

    fn tell(&mut self, dns: &DnsChange, whole: bool) {
        let (Some(resolved), DnsChange::Resolved { link, servers, domains, default_route }) = (&mut self.resolved, dns)
        else {
            panic!("this machine has no such thing: {dns}")
        };
        let told = resolved.entry(link.clone()).or_default();
        told.servers.clone_from(servers);
        if whole {
            told.domains.clone_from(domains);
            told.default_route = *default_route;
        }
    }

    fn undo(&mut self, change: &Change) {
        match change {
            Change::Run { .. } => {}
            Change::AtEnd { stage, command, .. } => self.log.push(format!("{stage} {command}")),
            Change::Sysctl { key, value, was } => {
                if self.sysctls.get(key) == Some(value) {
                    self.sysctls.insert(key.clone(), was.clone());
                }
            }
            Change::Mtu { link, was, .. } => {
                if let (Ok(link), Some(was)) = (self.link(link), was) {
                    link.mtu = *was;
                }
            }
            Change::Address { link, address } => {
                if self.addresses.remove(&(link.clone(), *address)) {
                    self.flush(link, address.addr().is_ipv6());
                }
            }
            Change::Up { link } => {
                if let Ok(link) = self.link(link) {
                    link.up = false;
                }
                self.routes.retain(|route| route.link != *link);
            }
            Change::Route(route) => {
                self.routes.remove(route);
            }
            Change::Firewall(ruleset) => {
                self.tables.remove(&ruleset.table);
            }
            Change::Gateway(table) => {
                self.tables.remove(&table.table);
            }
            Change::Pass(pass) => {
                self.passes.remove(pass);
            }
            Change::Rule(rule) => {
                self.rules.remove(rule);
            }
            Change::Dns(DnsChange::File { text, was, .. }) => {
                if matches!(&self.resolv_conf, Saved::File { text: now, .. } if now == text) {
                    self.resolv_conf.clone_from(was);
                }
            }
            Change::Dns(DnsChange::Resolved { link, .. }) => self.forget_servers(link),
            Change::Dns(other) => panic!("this machine has no such thing: {other}"),
        }
    }
}

impl Fake {
    pub(crate) fn new(machine: Machine, journal: PathBuf) -> Self {
        Self { machine, journal, moments: Vec::new(), fails: 0..0, fails_after: After::Nothing, actions: 0 }
    }

    fn note_moment(&mut self) {
        self.moments.push((fs::read(&self.journal).unwrap(), self.machine.clone()));
    }

    fn act(&mut self) -> Result<(), HostError> {
        let number = self.actions;
        self.actions += 1;
        if self.fails.contains(&number) {
            return Err(HostError::Denied { what: format!("do action {number}") });
        }
        Ok(())
    }
}

impl Backend for Fake {
    async fn observe(&mut self, plan: &HostPlan) -> Result<Observed, HostError> {
        let machine = &self.machine;
        let text = match &machine.resolv_conf {
            Saved::File { text, .. } => text.clone(),
            Saved::Link { .. } | Saved::Missing => String::new(),
        };
        Ok(Observed {
            link: machine.links.get(&plan.name).copied(),
            addresses: machine.addresses.iter().filter(|(at, _)| *at == plan.name).map(|(_, net)| *net).collect(),
            routes: machine.routes.iter().cloned().chain(machine.connected()).collect(),
            rules: machine.rules.iter().cloned().collect(),
            outer_mtu: Some(1500),
            sysctls: machine.sysctls.clone(),
            chains: [SeenChain::forward("ip", "filter", "FORWARD", true)]
                .into_iter()
                .chain(machine.tables.keys().map(|table| SeenChain::forward("inet", table, "forward", false)))
                .collect(),
            firewalls: Vec::new(),
            dns: dns::Machine {
                conf: machine.resolv_conf.clone(),
                text,
                resolved: machine.resolved.is_some(),
                ..dns::Machine::default()
            },
        })
    }

    async fn apply(&mut self, change: &Change) -> Result<(), HostError> {
        self.note_moment();
        let acted = self.act();
        if acted.is_ok() || self.fails_after == After::All {
            self.machine.apply(change)?;
        } else if self.fails_after == After::FirstCall {
            self.machine.begin(change);
        }
        self.note_moment();
        acted
    }

    async fn undo(&mut self, change: &Change) -> Result<(), HostError> {
        self.note_moment();
        let acted = self.act();
        if acted.is_ok() || self.fails_after == After::All {
            self.machine.undo(change);
        }
        self.note_moment();
        acted
    }
}

//! The nftables text of a gateway, a pure function of what it should do.
//!
//! Its size grows with the addresses it names, not with pairs of them: permissions between single hosts are elements of
//! sets, and the others are one rule each after those that share an end were joined. Not here: loading it (`nft`).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Gateway, Ports, Reach, To, Transport};
use crate::firewall::spell;

/// Addresses that are not the internet: private, shared, and local to a link or machine (RFC 6890 and its registries,
/// without those for documentation).
const NOT_INTERNET: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
    "::/8",
    "100::/64",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];
/// Where the ports of devices go that may not keep theirs: the first of these that no listener is in.
const OTHER_PORTS: [(u16, u16); 3] = [(1024, 32_767), (32_768, 49_151), (49_152, 65_535)];
/// Elements on a line of text.
const ON_A_LINE: usize = 16;

/// The table of one gateway, complete. Two are equal if they have the same name and digest: the journal does not keep the
/// text, which may be long, because undoing needs only the name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GatewayTable {
    /// Its name, in the `inet` family.
    pub table: String,
    /// Of the text.
    digest: u64,
    /// What `nft -f` is given to make it; empty when it was read from a journal.
    #[serde(skip)]
    pub text: String,
}

impl PartialEq for GatewayTable {
    fn eq(&self, other: &Self) -> bool {
        (&self.table, self.digest) == (&other.table, other.digest)
    }
}

impl Eq for GatewayTable {}

/// The name of the table of a gateway whose devices are behind `link`. No name that `firewall::table_name` gives begins
/// like this.
pub(crate) fn table_of(link: &str) -> String {
    format!("aditgw-{}", spell(link))
}

impl GatewayTable {
    /// The rules of a gateway whose devices are behind `link`, where the machine has the addresses `own`.
    #[must_use]
    pub fn new(link: &str, own: &[IpAddr], gateway: &Gateway) -> Self {
        let table = table_of(link);
        let text = Writer { link, gateway, text: String::new() }.table(&table, own);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { table, digest: hasher.finish(), text }
    }

    /// What `nft -f` is given to have exactly this table, whatever was there, in one transaction.
    pub(crate) fn load_text(&self) -> String {
        format!("{}{}", self.unload_text(), self.text)
    }

    /// What `nft -f` is given to have no such table, whether it is there or not.
    pub(crate) fn unload_text(&self) -> String {
        format!("table inet {0} {{}}\ndelete table inet {0}\n", self.table)
    }
}

/// One of the two versions of IP, in the words of nftables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Family {
    v6: bool,
    /// What its header is called.
    ip: &'static str,
    /// The type of its addresses.
    address: &'static str,
    /// What names of its sets end in.
    number: char,
}

const FAMILIES: [Family; 2] = [
    Family { v6: false, ip: "ip", address: "ipv4_addr", number: '4' },
    Family { v6: true, ip: "ip6", address: "ipv6_addr", number: '6' },
];

impl Family {
    /// Those of the networks that are of this family, joined where they touch or overlap.
    fn of(self, nets: &[IpNet]) -> Vec<IpNet> {
        let mine: Vec<IpNet> = nets.iter().filter(|net| net.addr().is_ipv6() == self.v6).map(IpNet::trunc).collect();
        IpNet::aggregate(&mine)
    }
}

struct Writer<'a> {
    link: &'a str,
    gateway: &'a Gateway,
    text: String,
}

impl Writer<'_> {
    fn table(mut self, table: &str, own: &[IpAddr]) -> String {
        let reach = Reaches::of(&self.gateway.reach);
        let mut internet: Vec<IpNet> = NOT_INTERNET.iter().filter_map(|net| net.parse().ok()).collect();
        internet.extend(&self.gateway.ranges);
        self.line(0, &format!("table inet {table} {{"));
        for family in self.families() {
            self.set(family, "range", &family.of(&self.gateway.ranges));
            self.set(family, "confined", &family.of(&self.gateway.confined));
            if reach.internet() {
                self.set(family, "special", &family.of(&internet));
            }
            reach.sets(&mut self, family);
        }
        self.guard(own);
        self.reach(&reach);
        self.server();
        self.devices();
        self.clamp();
        self.outward();
        self.line(0, "}");
        self.text
    }

    /// The families that the network has.
    fn families(&self) -> Vec<Family> {
        FAMILIES.into_iter().filter(|family| self.gateway.has(family.v6)).collect()
    }

    fn line(&mut self, depth: usize, line: &str) {
        self.text.extend(std::iter::repeat_n('\t', depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A chain with these rules.
    fn chain(&mut self, name: &str, hook: Option<&str>, rules: &[String]) {
        self.line(1, &format!("chain {name} {{"));
        if let Some(hook) = hook {
            self.line(2, &format!("type {hook}; policy accept;"));
        }
        for rule in rules {
            self.line(2, rule);
        }
        self.line(1, "}");
    }

    fn set(&mut self, family: Family, name: &str, nets: &[IpNet]) {
        let elements: Vec<String> = nets.iter().map(IpNet::to_string).collect();
        self.elements(
            &format!("{name}{}", family.number),
            &format!("type {}; flags interval;", family.address),
            &elements,
        );
    }

    /// A named set; none if it would be empty.
    fn elements(&mut self, name: &str, kind: &str, elements: &[String]) {
        if elements.is_empty() {
            return;
        }
        self.line(1, &format!("set {name} {{"));
        self.line(2, kind);
        self.line(2, "elements = {");
        let mut lines = elements.chunks(ON_A_LINE).peekable();
        while let Some(line) = lines.next() {
            let comma = if lines.peek().is_some() { "," } else { "" };
            self.line(3, &format!("{}{comma}", line.join(", ")));
        }
        self.line(2, "}");
        self.line(1, "}");
    }

    /// Nobody on another interface says that he is a device, or gets at the machine's own addresses in the network.
    fn guard(&mut self, own: &[IpAddr]) {
        let elsewhere = format!("iifname != {{ \"lo\", \"{}\" }}", self.link);
        let mut rules = Vec::new();
        for Family { ip, number, v6, .. } in self.families() {
            rules.push(format!("{elsewhere} {ip} saddr @range{number} drop"));
            let own: BTreeSet<&IpAddr> = own.iter().filter(|address| address.is_ipv6() == v6).collect();
            if !own.is_empty() {
                rules.push(format!("{elsewhere} {ip} daddr {} drop", braces(own)));
            }
        }
        self.chain("guard", Some("filter hook prerouting priority raw"), &rules);
    }

    /// Accepts what the permissions allow; comes back for the rest.
    fn reach(&mut self, reach: &Reaches) {
        let mut rules = Vec::new();
        for family in self.families() {
            reach.rules(family, &mut rules);
        }
        self.chain("reach", None, &rules);
    }

    /// What devices send to the machine itself.
    fn server(&mut self) {
        let mut rules = Vec::new();
        if let Some(enrol) = self.gateway.enrol {
            let (server, port) = (enrol.server, enrol.port);
            self.chain("enrol", None, &[format!("ip6 daddr {server} udp dport {port} accept"), "drop".into()]);
            rules.push(format!("ip6 saddr {} jump enrol", enrol.sources.trunc()));
        }
        let confined = self.drop_confined();
        if !confined.is_empty() {
            rules.extend(answers());
            rules.push("icmp type echo-request accept".into());
            rules.push("icmpv6 type echo-request accept".into());
            rules.push("jump reach".into());
            rules.extend(confined);
        }
        self.chain("to_server", None, &rules);
        let enter = format!("iifname \"{}\" jump to_server", self.link);
        self.chain("input", Some("filter hook input priority filter"), &[enter]);
    }

    /// What passes through the machine from or to devices.
    fn devices(&mut self) {
        let link = self.link;
        let mut from = Vec::new();
        if let Some(enrol) = self.gateway.enrol {
            from.push(format!("ip6 saddr {} drop", enrol.sources.trunc()));
        }
        from.extend(answers());
        // It would go out under the device's own address.
        from.push("ct state invalid drop".into());
        from.push("jump reach".into());
        from.extend(self.drop_confined());
        if self.gateway.isolate {
            from.push(format!("oifname \"{link}\" drop"));
        }
        from.push("accept".into());
        self.chain("from_devices", None, &from);
        let mut to = answers().to_vec();
        to.extend(["jump reach".into(), "drop".into()]);
        self.chain("to_devices", None, &to);
        let rules = [format!("iifname \"{link}\" jump from_devices"), format!("oifname \"{link}\" jump to_devices")];
        self.chain("forward", Some("filter hook forward priority filter"), &rules);
    }

    fn drop_confined(&self) -> Vec<String> {
        let some = |family: &Family| !family.of(&self.gateway.confined).is_empty();
        let drop = |Family { ip, number, .. }| format!("{ip} saddr @confined{number} drop");
        self.families().into_iter().filter(some).map(drop).collect()
    }

    /// TCP learns the tunnel's size from the start, also where messages about too large packets get lost.
    fn clamp(&mut self) {
        let clamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";
        let rules = ["iifname", "oifname"].map(|side| format!("{side} \"{}\" {clamp}", self.link));
        self.chain("clamp", Some("filter hook forward priority mangle"), &rules);
    }

    /// Under whose address devices go out.
    fn outward(&mut self) {
        if !self.gateway.nat {
            return;
        }
        let mut rules = Vec::new();
        for Family { ip, number, .. } in self.families() {
            let out = format!("oifname != {{ \"lo\", \"{}\" }} {ip} saddr @range{number}", self.link);
            for transport in [Transport::Tcp, Transport::Udp] {
                rules.extend(self.other_ports(transport).map(|rest| format!("{out} {rest}")));
            }
            rules.push(format!("{out} masquerade"));
        }
        self.chain("outward", Some("nat hook postrouting priority srcnat"), &rules);
    }

    /// A device that sends from a port where the server listens would, once translated, own what others send there from
    /// the address it sends to ("port shadow").
    fn other_ports(&self, transport: Transport) -> Option<String> {
        let mine = || self.gateway.listens.iter().filter(|ports| ports.transport == transport);
        let guarded: BTreeSet<String> = mine().map(|ports| range(*ports)).collect();
        if guarded.is_empty() {
            return None;
        }
        let free = |(first, last): &&(u16, u16)| mine().all(|ports| ports.last < *first || ports.first > *last);
        let then = match OTHER_PORTS.iter().find(free) {
            Some((first, last)) => format!("masquerade to :{first}-{last}"),
            None => "drop".into(),
        };
        Some(format!("{} sport {} {then}", name(transport), braces(guarded)))
    }
}

/// What belongs to a connection that was allowed when it began. Its own direction is asked about for each packet, so that
/// a permission that is taken away ends what it allowed.
fn answers() -> [String; 2] {
    ["ct state related accept".into(), "ct state established ct direction reply accept".into()]
}

/// Permissions, sorted by how they are written.
#[derive(Debug, Default)]
struct Reaches {
    /// From one host to one host by one port.
    ports: BTreeSet<(IpAddr, IpAddr, Transport, u16)>,
    /// From one host to one host.
    hosts: BTreeSet<(IpAddr, IpAddr)>,
    /// All others.
    rules: Vec<Reach>,
}

/// Permissions with more pairs of hosts than this are a rule with two sets.
const MAX_PAIRS: usize = 16;

impl Reaches {
    fn of(reach: &[Reach]) -> Self {
        let mut all = Self::default();
        let mut rules = Vec::new();
        for one in reach {
            if !all.pairs(one) {
                rules.push(one.clone());
            }
        }
        all.rules = joined(rules);
        all
    }

    /// Takes a permission between few single hosts.
    fn pairs(&mut self, reach: &Reach) -> bool {
        let To::Nets(to) = &reach.to else { return false };
        let hosts = |nets: &[IpNet]| nets.iter().all(|net| net.prefix_len() == net.max_prefix_len());
        let port = match reach.ports {
            Some(ports) if ports.first == ports.last => Some((ports.transport, ports.first)),
            Some(_) => return false,
            None => None,
        };
        if !hosts(&reach.from) || !hosts(to) || reach.from.len() * to.len() > MAX_PAIRS {
            return false;
        }
        for (from, to) in reach.from.iter().flat_map(|from| to.iter().map(move |to| (from.addr(), to.addr()))) {
            match port {
                Some((transport, port)) => self.ports.insert((from, to, transport, port)),
                None => self.hosts.insert((from, to)),
            };
        }
        true
    }

    fn internet(&self) -> bool {
        self.rules.iter().any(|rule| rule.to == To::Internet)
    }

    fn sets(&self, to: &mut Writer<'_>, family: Family) {
        let Family { address, number, .. } = family;
        let ports: Vec<String> = of_family(family, self.ports.iter().map(|pair| (pair.0, pair.1, pair)))
            .map(|(from, to, (_, _, transport, port))| format!("{from} . {to} . {} . {port}", name(*transport)))
            .collect();
        to.elements(
            &format!("ports{number}"),
            &format!("type {address} . {address} . inet_proto . inet_service;"),
            &ports,
        );
        let hosts: Vec<String> = of_family(family, self.hosts.iter().map(|pair| (pair.0, pair.1, ())))
            .map(|(from, to, ())| format!("{from} . {to}"))
            .collect();
        to.elements(&format!("hosts{number}"), &format!("type {address} . {address};"), &hosts);
    }

    fn rules(&self, family: Family, rules: &mut Vec<String>) {
        let Family { ip, number, .. } = family;
        if of_family(family, self.ports.iter().map(|pair| (pair.0, pair.1, ()))).next().is_some() {
            rules.push(format!("{ip} saddr . {ip} daddr . meta l4proto . th dport @ports{number} accept"));
        }
        if of_family(family, self.hosts.iter().map(|pair| (pair.0, pair.1, ()))).next().is_some() {
            rules.push(format!("{ip} saddr . {ip} daddr @hosts{number} accept"));
        }
        for rule in &self.rules {
            rules.extend(one_rule(family, rule));
        }
    }
}

/// The pairs of this family; a permission from one family to the other allows nothing.
fn of_family<T>(
    family: Family,
    pairs: impl Iterator<Item = (IpAddr, IpAddr, T)>,
) -> impl Iterator<Item = (IpAddr, IpAddr, T)> {
    pairs.filter(move |(from, to, _)| from.is_ipv6() == family.v6 && to.is_ipv6() == family.v6)
}

/// Rules that share two of their three parts become one.
fn joined(rules: Vec<Reach>) -> Vec<Reach> {
    type Nets = Vec<IpNet>;
    // No networks are the internet.
    let mut by_target: BTreeMap<(Option<Nets>, Option<Ports>), Nets> = BTreeMap::new();
    for Reach { from, to, ports } in rules {
        let to = match to {
            To::Nets(nets) => Some(IpNet::aggregate(&nets)),
            To::Internet => None,
        };
        by_target.entry((to, ports)).or_default().extend(from);
    }
    let mut by_source: BTreeMap<(Nets, bool, Option<Ports>), Nets> = BTreeMap::new();
    for ((to, ports), from) in by_target {
        let key = (IpNet::aggregate(&from), to.is_none(), ports);
        by_source.entry(key).or_default().extend(to.unwrap_or_default());
    }
    let rule =
        |((from, internet, ports), to)| Reach { from, to: if internet { To::Internet } else { To::Nets(to) }, ports };
    by_source.into_iter().map(rule).collect()
}

fn one_rule(family: Family, rule: &Reach) -> Option<String> {
    let Family { ip, number, .. } = family;
    let mut text = matches(family, "saddr", &rule.from)?;
    match &rule.to {
        To::Nets(nets) => text.push_str(&matches(family, "daddr", nets)?),
        To::Internet => {
            let _infallible = write!(text, "{ip} daddr != @special{number} ");
        }
    }
    if let Some(ports) = rule.ports {
        let _infallible = write!(text, "{} dport {} ", name(ports.transport), range(ports));
    }
    text.push_str("accept");
    Some(text)
}

/// The part of a rule that asks for an address; `None` if there is none of this family.
fn matches(family: Family, field: &str, nets: &[IpNet]) -> Option<String> {
    let nets = family.of(nets);
    if nets.is_empty() {
        return None;
    }
    if nets.iter().any(|net| net.prefix_len() == 0) {
        return Some(format!("meta nfproto ipv{} ", family.number));
    }
    Some(format!("{} {field} {} ", family.ip, braces(&nets)))
}

fn braces<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if let [one] = items.as_slice() { one.clone() } else { format!("{{ {} }}", items.join(", ")) }
}

fn range(ports: Ports) -> String {
    if ports.first == ports.last { ports.first.to_string() } else { format!("{}-{}", ports.first, ports.last) }
}

const fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

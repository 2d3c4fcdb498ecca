//! Whether a packet would pass the nftables rules of other programs: read as text of `nft -j list ruleset`, walked as the
//! kernel walks them. Pure.
//!
//! What cannot be told from the rules alone (marks, limits, matches of iptables) is left open: a packet is said to be dropped
//! only where no rule before could have let it pass. Not here: asking for the rules (`nft`), changing them (`gateway`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use crate::gateway::{self, Transport};

/// Jumps into jumps that are followed; the kernel has sixteen.
const MAX_DEPTH: usize = 16;
/// Rules that are looked at for one packet.
const MAX_RULES: usize = 50_000;
/// Our own tables begin so: what they drop is meant to be dropped.
const OWN: &str = "adit";
/// Extensions of iptables that do something to a packet and let it go on.
const NO_VERDICT: [&str; 8] = ["LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CHECKSUM", "CT", "ECN"];

/// Words of a rule that fit or not by what passed before.
const COUNTED: [&str; 6] = ["limit", "quota", "ct count", "set", "map", "meter"];

/// The first packet of a conversation, on its way through this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Where rules see it.
    pub hook: Hook,
    /// Whether it is of IPv6, else of IPv4.
    pub v6: bool,
    /// The interface it comes by, if that is known.
    pub from: Option<String>,
    /// The interface it goes by, if that is known.
    pub to: Option<String>,
    /// Where it goes, if that is known.
    pub destination: Option<IpAddr>,
    /// Its transport and the port it goes to, if it is about one.
    pub port: Option<(Transport, u16)>,
}

/// Where rules see a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// On its way to a program here.
    Input,
    /// On its way from one interface to another.
    Forward,
    /// On its way from a program here.
    Output,
}

/// A chain that certainly drops a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that the packet enters the table by.
    pub chain: String,
    /// Whether it is by what the chain does when no rule decides, else by a rule.
    pub by_policy: bool,
}

/// What is certain of a packet in one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    /// It goes on after the chain.
    GoesOn,
    /// Any of these.
    Open,
}

/// What is certain of one rule's matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fits {
    Yes,
    No,
    Maybe,
}

/// The rules of a machine.
#[derive(Debug, Default)]
struct Rules {
    /// Chains by family, table and name.
    chains: BTreeMap<[String; 3], Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    hook: Option<String>,
    drops: bool,
    filters: bool,
    rules: Vec<Vec<Value>>,
}

/// The chains of other programs that certainly drop this packet.
#[must_use]
pub fn dropped_by(ruleset: &str, passage: &Passage) -> Vec<Dropped> {
    let rules = Rules::parse(ruleset);
    let mut left = MAX_RULES;
    let mut dropped = Vec::new();
    for ([family, table, name], chain) in &rules.chains {
        let sees = match family.as_str() {
            "inet" => true,
            "ip" => !passage.v6,
            "ip6" => passage.v6,
            _ => false,
        };
        let hooked = chain.hook.as_deref() == Some(passage.hook.name()) && chain.filters;
        if !sees || !hooked || table.starts_with(OWN) {
            continue;
        }
        let fate = rules.walk([family, table, name], passage, 0, &mut left);
        let by_policy = fate == Fate::GoesOn && chain.drops;
        if by_policy || fate == Fate::Dropped {
            dropped.push(Dropped { family: family.clone(), table: table.clone(), chain: name.clone(), by_policy });
        }
    }
    dropped
}

/// Whether there is a table of this name in the family `inet`.
#[must_use]
pub fn has_table(ruleset: &str, table: &str) -> bool {
    let Ok(json) = serde_json::from_str::<Value>(ruleset) else { return false };
    let entries = json.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_it =
        |seen: &Value| word(seen, "family").as_deref() == Some("inet") && word(seen, "name").as_deref() == Some(table);
    entries.iter().filter_map(|entry| entry.get("table")).any(is_it)
}

impl Rules {
    fn parse(ruleset: &str) -> Self {
        let mut rules = Self::default();
        let Ok(json) = serde_json::from_str::<Value>(ruleset) else { return rules };
        let entries = json.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for entry in entries {
            if let Some(chain) = entry.get("chain")
                && let Some(key) = key_of(chain, "name")
            {
                let there = rules.chains.entry(key).or_default();
                there.hook = word(chain, "hook");
                there.drops = word(chain, "policy").as_deref() == Some("drop");
                there.filters = word(chain, "type").as_deref() == Some("filter");
            } else if let Some(rule) = entry.get("rule")
                && let Some(key) = key_of(rule, "chain")
            {
                let words = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
                rules.chains.entry(key).or_default().rules.push(words);
            }
        }
        rules
    }

    /// What becomes of the packet in this chain, and in those it jumps to.
    fn walk(&self, key: [&String; 3], passage: &Passage, depth: usize, left: &mut usize) -> Fate {
        let Some(chain) = self.chains.get(&key.map(Clone::clone)) else { return Fate::Open };
        // Whether it may have left the chain already.
        let mut gone = false;
        for rule in &chain.rules {
            if depth > MAX_DEPTH || *left == 0 {
                return Fate::Open;
            }
            *left -= 1;
            let fits = fits_all(rule, passage);
            if fits == Fits::No {
                continue;
            }
            let Some(verdict) = rule.iter().find_map(|word| self.verdict(word, key, passage, depth, left)) else {
                continue;
            };
            match (verdict, fits) {
                (Verdict::Calls(Fate::GoesOn), _) => {}
                (Verdict::Ends(Fate::GoesOn), Fits::Yes) => return Fate::GoesOn,
                (Verdict::Ends(Fate::GoesOn), _) => gone = true,
                (Verdict::Ends(fate) | Verdict::Calls(fate), Fits::Yes) if !gone => return fate,
                // It may be dropped here, and so it may be by what follows.
                (Verdict::Ends(Fate::Dropped) | Verdict::Calls(Fate::Dropped), _) => {}
                (Verdict::Ends(_) | Verdict::Calls(_), _) => return Fate::Open,
            }
        }
        // What may have left the chain goes on after it, as what reaches its end does.
        Fate::GoesOn
    }

    /// What a word of a rule decides, if it decides anything.
    fn verdict(
        &self,
        word: &Value,
        key: [&String; 3],
        passage: &Passage,
        depth: usize,
        left: &mut usize,
    ) -> Option<Verdict> {
        let (name, value) = word.as_object()?.iter().next()?;
        let [family, table, _] = key;
        let mut into = |value: &Value| {
            let target = value.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.walk([family, table, &target], passage, depth + 1, left)
        };
        Some(match name.as_str() {
            "accept" => Verdict::Ends(Fate::Accepted),
            "drop" | "reject" => Verdict::Ends(Fate::Dropped),
            "return" => Verdict::Ends(Fate::GoesOn),
            "jump" => Verdict::Calls(into(value)),
            "goto" => Verdict::Ends(into(value)),
            "queue" | "vmap" => Verdict::Ends(Fate::Open),
            "xt" => match target(value)? {
                "REJECT" => Verdict::Ends(Fate::Dropped),
                no_verdict if NO_VERDICT.contains(&no_verdict) => return None,
                _ => Verdict::Ends(Fate::Open),
            },
            _ => return None,
        })
    }
}

/// What a rule decides.
enum Verdict {
    /// The walk through this chain ends so.
    Ends(Fate),
    /// Another chain was walked, and this came of it.
    Calls(Fate),
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

impl Dropped {
    /// Whether a gateway gets through by two rules of its own in that chain.
    #[must_use]
    pub fn takes_passes(&self) -> bool {
        self.by_policy && gateway::takes_passes(&self.table, &self.chain)
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, by_policy } = self;
        let how = if *by_policy { "its policy" } else { "a rule" };
        write!(f, "nftables {family} {table} {chain}, by {how}")
    }
}

/// The name of an extension of iptables that does something, which nftables shows without saying more.
fn target(extension: &Value) -> Option<&str> {
    let is_target = extension.get("type").and_then(Value::as_str) == Some("target");
    extension.get("name").and_then(Value::as_str).filter(|_| is_target)
}

/// Whether all matches of a rule fit.
fn fits_all(rule: &[Value], passage: &Passage) -> Fits {
    let mut all = Fits::Yes;
    for word in rule {
        let fits = match word.as_object().and_then(|object| object.iter().next()) {
            Some((name, value)) if name == "match" => fits(value, passage),
            Some((name, value)) if name == "xt" && target(value).is_none() => Fits::Maybe,
            Some((name, _)) if COUNTED.contains(&name.as_str()) => Fits::Maybe,
            _ => Fits::Yes,
        };
        all = match (all, fits) {
            (_, Fits::No) => return Fits::No,
            (Fits::Maybe, _) | (_, Fits::Maybe) => Fits::Maybe,
            (Fits::Yes | Fits::No, Fits::Yes) => all,
        };
    }
    all
}

/// Whether one match fits.
fn fits(found: &Value, passage: &Passage) -> Fits {
    let (Some(left), Some(right)) = (found.get("left"), found.get("right")) else { return Fits::Maybe };
    let negated = match found.get("op").and_then(Value::as_str) {
        Some("==" | "in") => false,
        Some("!=") => true,
        _ => return Fits::Maybe,
    };
    let known = if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        meta(key, right, passage)
    } else if let Some(field) = left.pointer("/payload/field").and_then(Value::as_str) {
        let of = left.pointer("/payload/protocol").and_then(Value::as_str).unwrap_or_default();
        payload(of, field, right, passage)
    } else if left.pointer("/ct/key").and_then(Value::as_str) == Some("state") {
        // A conversation begins with it.
        holds(right, |value| value.as_str().map(|state| state == "new"))
    } else {
        Fits::Maybe
    };
    match (known, negated) {
        (Fits::Yes, true) => Fits::No,
        (Fits::No, true) if !is_elsewhere(left, passage) => Fits::Yes,
        (fits, _) => fits,
    }
}

fn meta(key: &str, right: &Value, passage: &Passage) -> Fits {
    let link = |name: &Option<String>| match name {
        Some(name) => holds(right, |value| value.as_str().map(|pattern| is_like(pattern, name))),
        None => Fits::Maybe,
    };
    match key {
        "iifname" | "iif" => link(&passage.from),
        "oifname" | "oif" => link(&passage.to),
        "l4proto" => match passage.port {
            Some((transport, _)) => holds(right, |value| Some(is_transport(value, transport))),
            None => Fits::Maybe,
        },
        "nfproto" | "protocol" => holds(right, |value| match value.as_str()? {
            "ipv4" | "ip" => Some(!passage.v6),
            "ipv6" | "ip6" => Some(passage.v6),
            _ => None,
        }),
        _ => Fits::Maybe,
    }
}

fn payload(of: &str, field: &str, right: &Value, passage: &Passage) -> Fits {
    let wanted = match of {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        _ => None,
    };
    match (of, field, passage.port) {
        ("udp" | "tcp" | "th", _, None) => Fits::Maybe,
        ("udp" | "tcp", _, Some((transport, _))) if wanted != Some(transport) => Fits::No,
        ("udp" | "tcp" | "th", "dport", Some((_, port))) => holds(right, |value| is_port(value, port)),
        ("ip", "protocol", Some((transport, _))) | ("ip6", "nexthdr", Some((transport, _))) => {
            holds(right, |value| Some(is_transport(value, transport)))
        }
        ("ip", _, _) if passage.v6 => Fits::No,
        ("ip6", _, _) if !passage.v6 => Fits::No,
        ("ip" | "ip6", "daddr", _) => match passage.destination {
            Some(address) => holds(right, |value| is_in(value, address)),
            None => Fits::Maybe,
        },
        ("icmp" | "icmpv6", _, Some(_)) => Fits::No,
        _ => Fits::Maybe,
    }
}

/// A match on a header that this packet does not have fits neither way.
fn is_elsewhere(left: &Value, passage: &Passage) -> bool {
    match left.pointer("/payload/protocol").and_then(Value::as_str) {
        Some("ip") => passage.v6,
        Some("ip6") => !passage.v6,
        Some("tcp") => passage.port.is_some_and(|(transport, _)| transport != Transport::Tcp),
        Some("udp") => passage.port.is_some_and(|(transport, _)| transport != Transport::Udp),
        Some("icmp" | "icmpv6") => true,
        _ => false,
    }
}

/// Whether the value, or one of a set, is it; `None` of one value says that it cannot be told.
fn holds(right: &Value, is: impl Fn(&Value) -> Option<bool>) -> Fits {
    let one = std::slice::from_ref(right);
    let list = right.get("set").or(Some(right)).and_then(Value::as_array).map_or(one, Vec::as_slice);
    let mut open = false;
    for value in list {
        // An element of a set may carry a counter or a timeout.
        let value = value.pointer("/elem/val").unwrap_or(value);
        // What is in a set that is named is not looked up.
        let is_named_set = value.as_str().is_some_and(|text| text.starts_with('@'));
        match if is_named_set { None } else { is(value) } {
            Some(true) => return Fits::Yes,
            Some(false) => {}
            None => open = true,
        }
    }
    if open { Fits::Maybe } else { Fits::No }
}

fn is_like(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |begin| name.starts_with(begin))
}

fn is_transport(value: &Value, transport: Transport) -> bool {
    let (name, number) = match transport {
        Transport::Tcp => ("tcp", 6),
        Transport::Udp => ("udp", 17),
    };
    value.as_str() == Some(name) || value.as_u64() == Some(number)
}

fn is_port(value: &Value, port: u16) -> Option<bool> {
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let [first, last] = range.as_slice() else { return None };
        return Some((first.as_u64()?..=last.as_u64()?).contains(&u64::from(port)));
    }
    value.as_u64().map(|found| found == u64::from(port))
}

fn is_in(value: &Value, address: IpAddr) -> Option<bool> {
    if let Some(prefix) = value.get("prefix") {
        let net: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
        let len = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return Some(ipnet::IpNet::new(net, len).ok()?.contains(&address));
    }
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let [first, last] = range.as_slice() else { return None };
        let [first, last] = [first, last].map(|end| end.as_str().and_then(|text| text.parse::<IpAddr>().ok()));
        return Some((first?..=last?).contains(&address));
    }
    value.as_str()?.parse::<IpAddr>().ok().map(|found| found == address)
}

fn word(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn key_of(value: &Value, name: &str) -> Option<[String; 3]> {
    Some([word(value, "family")?, word(value, "table")?, word(value, name)?])
}

#[cfg(test)]
mod tests;

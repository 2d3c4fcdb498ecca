//! Firewalls of other programs on the same machine: which would stop a gateway's packets, and where those can be let pass.
//!
//! To accept in a table of one's own does not help where another table drops. Docker makes such a drop, and has a chain
//! for exceptions, `DOCKER-USER`. Not here: changing rules (`nft`), the gateway's own table (`ruleset`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Docker's chain for what comes before its own rules.
const DOCKER_USER: &str = "DOCKER-USER";
/// Tables of programs that rebuild them whenever they like; what is put in there does not stay.
const REBUILT: [&str; 2] = ["firewalld", "libvirt_network"];

/// Two rules at the top of another program's chain, by which packets from and to an interface pass it. What they may then
/// do is decided in the gateway's own table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pass {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// The other program's table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The interface.
    pub link: String,
}

/// A program that keeps rules of its own and has to be told by its own means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OtherFirewall {
    /// firewalld.
    Firewalld,
    /// ufw.
    Ufw,
    /// Rules by iptables-legacy, which nftables does not see.
    IptablesLegacy,
}

/// A chain that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenChain {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) chain: String,
    /// Where packets enter it, if anywhere.
    pub(crate) hook: Option<String>,
    /// Whether it drops what no rule of it decides.
    pub(crate) drops: bool,
}

#[cfg(test)]
impl SeenChain {
    /// A chain that sees what is forwarded.
    pub(crate) fn forward(family: &str, table: &str, chain: &str, drops: bool) -> Self {
        let hook = Some("forward".to_owned());
        Self { family: family.into(), table: table.into(), chain: chain.into(), hook, drops }
    }
}

impl Pass {
    /// What our rules there are known by.
    pub(crate) fn comment(&self) -> String {
        format!("adit {}", self.link)
    }

    /// What `nft -f` is given to have the rules, once.
    pub(crate) fn insert_text(&self) -> String {
        let Self { family, table, chain, link } = self;
        // Only words that iptables-nft can read too: it refuses to touch a table with others in it.
        let rule = |side: &str| {
            let comment = self.comment();
            format!("insert rule {family} {table} {chain} {side} \"{link}\" counter accept comment \"{comment}\"\n")
        };
        rule("oifname") + &rule("iifname")
    }

    /// What `nft -f` is given to remove the rules with these handles.
    pub(crate) fn delete_text(&self, handles: &[u64]) -> String {
        let Self { family, table, chain, .. } = self;
        handles.iter().map(|handle| format!("delete rule {family} {table} {chain} handle {handle}\n")).collect()
    }

    /// The handles of our rules in what `nft -j list chain` prints.
    pub(crate) fn handles(&self, json: &str) -> Vec<u64> {
        let comment = self.comment();
        let ours = |rule: &&Value| rule.get("comment").and_then(Value::as_str) == Some(comment.as_str());
        let rules = entries(json, "rule");
        rules.iter().filter(ours).filter_map(|rule| rule.get("handle")?.as_u64()).collect()
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, link } = self;
        write!(f, "insert into nftables {family} {table} {chain}: accept from and to {link}")
    }
}

impl fmt::Display for OtherFirewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firewalld => {
                "firewalld is active and may reject what devices send\n  \
                 hint: `firewall-cmd --zone=trusted --add-interface=INTERFACE`, and open the server's ports in the \
                 public zone; add --permanent to keep it"
            }
            Self::Ufw => {
                "ufw is active and may drop what comes from outside to the server's ports, and what devices send to this \
                 machine\n  hint: `ufw allow PORT/udp` for the server's port, `ufw allow in on INTERFACE`"
            }
            Self::IptablesLegacy => {
                "there are rules by iptables-legacy, which nothing here can look into; they may drop what devices send\n  \
                 hint: `iptables-legacy -I FORWARD -i INTERFACE -j ACCEPT` and the same with -o, or change to iptables-nft"
            }
        })
    }
}

/// The chains in what `nft -j list chains` prints.
pub(crate) fn seen_chains(json: &str) -> Vec<SeenChain> {
    let chains = entries(json, "chain");
    let seen = |chain: &Value| {
        let word = |key: &str| chain.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(SeenChain {
            family: word("family")?,
            table: word("table")?,
            chain: word("name")?,
            hook: word("hook"),
            drops: word("policy").as_deref() == Some("drop"),
        })
    };
    chains.iter().filter_map(seen).collect()
}

/// Where packets from and to `link` have to be let pass: Docker's chain for that, else each chain that drops what is
/// forwarded.
pub(crate) fn passes(chains: &[SeenChain], link: &str, v4: bool, v6: bool) -> Vec<Pass> {
    let has_docker_user = |seen: &SeenChain| {
        chains.iter().any(|other| (&other.family, &other.table) == (&seen.family, &seen.table) && is_docker_user(other))
    };
    let in_the_way = |seen: &&SeenChain| {
        let family = match seen.family.as_str() {
            "ip" => v4,
            "ip6" => v6,
            "inet" => v4 || v6,
            _ => false,
        };
        let drops = seen.drops && seen.hook.as_deref() == Some("forward") && !has_docker_user(seen);
        family && takes_passes(&seen.table, &seen.chain) && (drops || is_docker_user(seen))
    };
    let pass = |seen: &SeenChain| Pass {
        family: seen.family.clone(),
        table: seen.table.clone(),
        chain: seen.chain.clone(),
        link: link.to_owned(),
    };
    chains.iter().filter(in_the_way).map(pass).collect()
}

/// Whether rules of ours may be put into this chain, and stay there.
pub(crate) fn takes_passes(table: &str, chain: &str) -> bool {
    [table, chain].into_iter().all(is_plain) && !REBUILT.contains(&table)
}

/// Other programs' firewalls that a pass does not help with, or not for everything.
pub(crate) fn other_firewalls(chains: &[SeenChain], legacy_tables: &str) -> Vec<OtherFirewall> {
    let mut found = Vec::new();
    if chains.iter().any(|seen| seen.table == "firewalld") {
        found.push(OtherFirewall::Firewalld);
    }
    if chains.iter().any(|seen| seen.chain.starts_with("ufw-") || seen.chain.starts_with("ufw6-")) {
        found.push(OtherFirewall::Ufw);
    }
    if legacy_tables.lines().any(|table| table == "filter") {
        found.push(OtherFirewall::IptablesLegacy);
    }
    found
}

fn is_docker_user(seen: &SeenChain) -> bool {
    seen.table == "filter" && seen.chain == DOCKER_USER
}

/// A name that can be written in nftables text as it is.
fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The entries of this kind in what `nft -j` prints.
fn entries(json: &str, kind: &str) -> Vec<Value> {
    let Ok(mut json) = serde_json::from_str::<Value>(json) else { return Vec::new() };
    let Some(Value::Array(list)) = json.get_mut("nftables").map(Value::take) else { return Vec::new() };
    list.into_iter().filter_map(|mut entry| entry.get_mut(kind).map(Value::take)).collect()
}

//! Looking at the machine for whoever searches what is wrong with it: settings, other programs' packet filters, name servers,
//! what killed runs left. Changes nothing.
//!
//! Not here: what follows from what was seen, looking on behalf of a plan (`backend`).

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::apply::Host;
use crate::backend::read_sysctl;
use crate::dns::{self, RESOLV_CONF};
use crate::error::HostError;
use crate::hooks::ask_program;
use crate::journal::Journal;
use crate::netlink::Netlink;
use crate::plan::{FORWARD_V4, FORWARD_V6};
use crate::{gateway, nft};

pub use crate::dns::LinkServers;

/// What the machine is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Whether it forwards IPv4; `None` if that cannot be known.
    pub forwards_v4: Option<bool>,
    /// Whether it forwards IPv6; `None` where there is no IPv6.
    pub forwards_v6: Option<bool>,
    /// All of nftables as `nft -j list ruleset` prints it, if it can be had.
    pub ruleset: Option<String>,
    /// Chains of iptables-legacy that drop what no rule of theirs decides, with the rules; empty without iptables-legacy.
    pub legacy: String,
    /// Interfaces with a default route of IPv4, but for tunnels that keep theirs in a table of their own.
    pub uplinks: Vec<String>,
    /// The same of IPv6.
    pub uplinks_v6: Vec<String>,
    /// Whom programs ask for names.
    pub names: Names,
    /// Interfaces whose killed run left changes on this machine.
    pub leftovers: Vec<String>,
}

/// Whom programs ask for names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The servers in the resolver's file.
    pub file: Vec<IpAddr>,
    /// What systemd-resolved has for each interface, if it runs.
    pub resolved: Option<Vec<LinkServers>>,
}

impl Host {
    /// Looks at the machine. What cannot be seen is left out: an ordinary user sees less than root.
    ///
    /// # Errors
    /// The kernel does not answer over netlink.
    pub async fn look(&self) -> Result<Looked, HostError> {
        let net = Netlink::open()?;
        let routes = net.routes().await?;
        let uplinks = |v6: bool| {
            let default = routes.iter().map(|seen| &seen.route).filter(|route| {
                route.to.prefix_len() == 0
                    && route.to.addr().is_ipv6() == v6
                    && route.table == crate::change::TABLE_MAIN
            });
            let mut links: Vec<String> = default.map(|route| route.link.clone()).filter(|l| !l.is_empty()).collect();
            links.sort();
            links.dedup();
            links
        };
        let forwards = |key: &str| read_sysctl(key).map(|value| value != "0");
        Ok(Looked {
            forwards_v4: forwards(FORWARD_V4),
            forwards_v6: forwards(FORWARD_V6),
            ruleset: nft::ruleset().await.inspect_err(|error| tracing::debug!("{error}")).ok(),
            legacy: legacy().await,
            uplinks: uplinks(false),
            uplinks_v6: uplinks(true),
            names: Names { file: servers(), resolved: dns::asked_by_resolved().await },
            leftovers: self.leftovers(),
        })
    }

    /// The interface by which this machine reaches an address now; `None` if it does not, or the address is its own.
    ///
    /// # Errors
    /// The kernel does not answer over netlink.
    pub async fn way_to(&self, address: IpAddr, mark: u32) -> Result<Option<String>, HostError> {
        Netlink::open()?.way_to(address, mark).await
    }

    /// The largest packet that an interface takes now, in bytes; `None` if there is no such interface.
    ///
    /// # Errors
    /// The kernel does not answer over netlink.
    pub async fn mtu_of(&self, link: &str) -> Result<Option<u32>, HostError> {
        Ok(Netlink::open()?.link(link).await?.map(|link| link.mtu))
    }

    /// The table that a gateway of this interface has in nftables.
    #[must_use]
    pub fn gateway_table(link: &str) -> String {
        gateway::table_of(link)
    }

    /// Journals that nobody holds, with something in them. One that cannot be read is none: whoever brings that interface up
    /// is told.
    fn leftovers(&self) -> Vec<String> {
        let links = Journal::links(self.dir()).unwrap_or_default();
        let is_left = |link: &String| {
            let journal = Journal::open_existing(self.dir(), link).ok().flatten();
            journal.is_some_and(|mut journal| journal.open_changes().is_ok_and(|open| !open.is_empty()))
        };
        links.into_iter().filter(is_left).collect()
    }
}

fn servers() -> Vec<IpAddr> {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let server = |line: &str| line.strip_prefix("nameserver")?.trim().split('%').next()?.parse().ok();
    text.lines().filter_map(server).collect()
}

/// Rules that nftables does not show; none where the kernel has none, or the program is missing.
async fn legacy() -> String {
    let tables = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if !tables.lines().any(|table| table == "filter") {
        return String::new();
    }
    let asked = ask_program(Path::new("iptables-legacy"), &["-S"], "", "list iptables-legacy".into(), "").await;
    asked.inspect_err(|error| tracing::debug!("{error}")).unwrap_or_default()
}

//! The seam to the machine: looking at it, making one change, undoing one. The kernel here; a fake in tests.
//!
//! Not here: which changes (`plan`), in what order and with what record (`apply`).

#[cfg(test)]
pub(crate) mod fake;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::change::{Change, Stage};
use crate::error::HostError;
use crate::gateway::{self, OtherFirewall, SeenChain};
use crate::plan::{FORWARD_V4, FORWARD_V6, HostPlan, Link, Observed, SRC_VALID_MARK, accept_ra};
use crate::{dns, hooks, netlink, nft};

/// A machine. Making a change that is made, and undoing one that is not, must do nothing and succeed.
pub(crate) trait Backend: Send {
    /// What the machine has, as far as this plan asks.
    fn observe(&mut self, plan: &HostPlan) -> impl Future<Output = Result<Observed, HostError>> + Send;
    /// Makes a change.
    fn apply(&mut self, change: &Change) -> impl Future<Output = Result<(), HostError>> + Send;
    /// Undoes a change.
    fn undo(&mut self, change: &Change) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// This machine, in the network namespace of the calling thread.
#[derive(Debug)]
pub(crate) struct Linux;

impl Backend for Linux {
    async fn observe(&mut self, plan: &HostPlan) -> Result<Observed, HostError> {
        let net = netlink::Netlink::open()?;
        let link = net.link(&plan.name).await?;
        let routes = net.routes().await?;
        let mut outer_mtu = None;
        if plan.mtu.is_none() {
            outer_mtu = net.outer_mtu(&plan.endpoints, plan.fwmark, &plan.name, &routes).await?;
        }
        let mut observed = Observed {
            addresses: match &link {
                Some(link) => net.addresses(link.index).await?,
                None => Vec::new(),
            },
            link: link.map(|link| Link { mtu: link.mtu, up: link.up }),
            routes: routes.into_iter().map(|seen| seen.route).collect(),
            rules: net.rules().await?,
            outer_mtu,
            sysctls: BTreeMap::new(),
            chains: Vec::new(),
            firewalls: Vec::new(),
            dns: dns::observe().await?,
        };
        let mut keys = vec![SRC_VALID_MARK.to_owned()];
        if plan.gateway.is_some() {
            keys.extend([FORWARD_V4.to_owned(), FORWARD_V6.to_owned()]);
            keys.extend(observed.uplinks().map(accept_ra));
            observed.chains = nft::chains().await?;
            observed.firewalls = other_firewalls(&observed.chains);
        }
        let read = |key: String| read_sysctl(&key).map(|value| (key, value));
        observed.sysctls = keys.into_iter().filter_map(read).collect();
        Ok(observed)
    }

    async fn apply(&mut self, change: &Change) -> Result<(), HostError> {
        let net = netlink::Netlink::open()?;
        match change {
            Change::Run { stage, command, link } => hooks::run(*stage, command, link).await,
            Change::AtEnd { .. } => Ok(()),
            Change::Sysctl { key, value, .. } => write_sysctl(key, value),
            Change::Mtu { link, mtu, .. } => net.set_mtu(link, *mtu).await,
            Change::Address { link, address } => net.add_address(link, *address).await,
            Change::Up { link } => net.set_up(link, true).await,
            Change::Route(route) => net.add_route(route).await,
            Change::Firewall(ruleset) => nft::load(ruleset).await,
            Change::Gateway(table) => nft::load_gateway(table).await,
            Change::Pass(pass) => nft::insert(pass).await,
            Change::Rule(rule) => net.add_rule(rule).await,
            Change::Dns(dns) => dns.apply().await,
        }
    }

    async fn undo(&mut self, change: &Change) -> Result<(), HostError> {
        let net = netlink::Netlink::open()?;
        let undone = match change {
            Change::Run { .. } => Ok(()),
            Change::AtEnd { stage: stage @ (Stage::PreDown | Stage::PostDown), command, link } => {
                hooks::run(*stage, command, link).await
            }
            Change::AtEnd { stage: Stage::PreUp | Stage::PostUp, .. } => Ok(()),
            Change::Sysctl { key, value, was } => match read_sysctl(key) {
                Some(now) if now == *value => write_sysctl(key, was),
                _ => Ok(()),
            },
            Change::Mtu { was: None, .. } => Ok(()),
            Change::Mtu { link, was: Some(was), .. } => net.set_mtu(link, *was).await,
            Change::Address { link, address } => net.remove_address(link, *address).await,
            Change::Up { link } => net.set_up(link, false).await,
            Change::Route(route) => net.remove_route(route).await,
            Change::Firewall(ruleset) => nft::unload(ruleset).await,
            Change::Gateway(table) => nft::unload_gateway(table).await,
            Change::Pass(pass) => nft::remove(pass).await,
            Change::Rule(rule) => net.remove_rule(rule).await,
            Change::Dns(dns) => dns.undo().await,
        };
        match undone {
            // What was on an interface went with it.
            Err(HostError::NoLink { .. }) => Ok(()),
            other => other,
        }
    }
}

/// The file is there while iptables-legacy has rules, in this network namespace.
pub(crate) fn other_firewalls(chains: &[SeenChain]) -> Vec<OtherFirewall> {
    gateway::other_firewalls(chains, &fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default())
}

/// `None` where the kernel has no such setting.
pub(crate) fn read_sysctl(key: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|text| text.trim().to_owned())
}

/// Writes only what differs: containers often have the right value and no right to write it.
fn write_sysctl(key: &str, value: &str) -> Result<(), HostError> {
    if read_sysctl(key).as_deref() == Some(value) {
        return Ok(());
    }
    let what = || format!("set {} = {value}", key.replace('/', "."));
    fs::write(Path::new("/proc/sys").join(key), value).map_err(|source| HostError::kernel(what(), source))
}

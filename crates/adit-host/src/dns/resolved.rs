//! systemd-resolved over D-Bus: servers and domains for one interface.
//!
//! Not here: when to use it (`dns`).

use std::net::IpAddr;

use serde::Serialize;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

use super::DnsChange;
use crate::error::HostError;
use crate::netlink;
use crate::plan::HostPlan;

const AF_INET: i32 = libc::AF_INET;
const AF_INET6: i32 = libc::AF_INET6;

const SERVICE: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const LINK: &str = "org.freedesktop.resolve1.Link";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A full tunnel answers for every name. A split one answers for its search domains, or for every name if it has none.
pub(super) fn plan(desired: &HostPlan) -> DnsChange {
    let everything = desired.is_full_tunnel() || desired.search.is_empty();
    let mut domains: Vec<(String, bool)> = desired.search.iter().map(|name| (name.clone(), false)).collect();
    if everything {
        domains.push((".".to_owned(), true));
    }
    DnsChange::Resolved { link: desired.name.clone(), servers: desired.dns.clone(), domains, default_route: everything }
}

/// Whether it answers on the system bus.
pub(super) async fn answers() -> bool {
    let Ok(bus) = Connection::system().await else { return false };
    let asked = bus.call_method(
        Some("org.freedesktop.DBus"),
        "/org/freedesktop/DBus",
        Some("org.freedesktop.DBus"),
        "NameHasOwner",
        &SERVICE,
    );
    asked.await.is_ok_and(|answer| answer.body().deserialize::<bool>().unwrap_or(false))
}

/// Whom systemd-resolved asks by one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkServers {
    /// The interface; empty for what holds for all of them.
    pub link: String,
    /// Its servers.
    pub servers: Vec<IpAddr>,
    /// Whether every name may be asked here: it is said to be for all names, not only for those of some domains.
    pub everything: bool,
}

/// Whom it asks by which interface; `None` if it does not run or does not say.
pub(crate) async fn asked() -> Option<Vec<LinkServers>> {
    if !answers().await {
        return None;
    }
    let bus = Connection::system().await.ok()?;
    let servers: Vec<(i32, i32, Vec<u8>)> = of_manager(&bus, "DNS").await.ok()?;
    let domains: Vec<(i32, String, bool)> = of_manager(&bus, "Domains").await.ok()?;
    let net = netlink::Netlink::open().ok()?;
    let names: Vec<(i32, String)> = net.names().await.ok()?;
    let mut links: Vec<(i32, LinkServers)> = Vec::new();
    for (index, _, address) in servers {
        let Some(server) = address_of(&address) else { continue };
        let name = names.iter().find(|(of, _)| *of == index).map(|(_, name)| name.clone()).unwrap_or_default();
        match links.iter_mut().find(|(of, _)| *of == index) {
            Some((_, there)) => there.servers.push(server),
            None => links.push((index, LinkServers { link: name, servers: vec![server], everything: false })),
        }
    }
    for (index, domain, _) in domains {
        let root = domain.is_empty() || domain == ".";
        if let Some((_, there)) = links.iter_mut().find(|(of, _)| root && *of == index) {
            there.everything = true;
        }
    }
    Some(links.into_iter().map(|(_, link)| link).collect())
}

async fn of_manager<T>(bus: &Connection, property: &str) -> zbus::Result<T>
where
    T: TryFrom<OwnedVariant, Error = zbus::Error>,
{
    let answer = bus.call_method(Some(SERVICE), PATH, Some(PROPERTIES), "Get", &(MANAGER, property)).await?;
    let value: OwnedVariant = answer.body().deserialize()?;
    T::try_from(value)
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

pub(super) async fn set(
    link: &str,
    servers: &[IpAddr],
    domains: &[(String, bool)],
    default_route: bool,
) -> Result<(), HostError> {
    let failed = |error| said(format!("set the name servers of {link}"), &error);
    let index = index(link).await?;
    let bus = Connection::system().await.map_err(failed)?;
    let addresses: Vec<(i32, Vec<u8>)> = servers.iter().map(wire).collect();
    let domains: Vec<(&str, bool)> = domains.iter().map(|(name, route)| (name.as_str(), *route)).collect();
    call(&bus, "SetLinkDNS", &(index, addresses)).await.map_err(failed)?;
    call(&bus, "SetLinkDomains", &(index, domains)).await.map_err(failed)?;
    call(&bus, "SetLinkDefaultRoute", &(index, default_route)).await.map_err(failed)?;
    // Answers of the old servers may be wrong under the new ones; one that cannot flush is no reason to stop.
    if let Err(error) = call(&bus, "FlushCaches", &()).await {
        tracing::debug!(%error, "systemd-resolved did not flush its caches");
    }
    Ok(())
}

/// Reads back whether the servers are there.
pub(super) async fn verify(link: &str, servers: &[IpAddr]) -> Result<(), HostError> {
    let failed = |error| said(format!("read back the name servers of {link}"), &error);
    let index = index(link).await?;
    let bus = Connection::system().await.map_err(failed)?;
    let found = dns_of(&bus, index).await.map_err(failed)?;
    if found == servers.iter().map(wire).collect::<Vec<_>>() {
        return Ok(());
    }
    Err(HostError::DnsNotSet { link: link.to_owned(), found: format!("{found:?}") })
}

async fn dns_of(bus: &Connection, index: i32) -> zbus::Result<Vec<(i32, Vec<u8>)>> {
    let answer = call(bus, "GetLink", &index).await?;
    let object: OwnedObjectPath = answer.body().deserialize()?;
    let answer = bus.call_method(Some(SERVICE), &object, Some(PROPERTIES), "Get", &(LINK, "DNS")).await?;
    let value: OwnedVariant = answer.body().deserialize()?;
    value.try_into()
}

/// Nothing to do when the interface is gone, or resolved is: both forget with it.
pub(super) async fn revert(link: &str) -> Result<(), HostError> {
    let index = match index(link).await {
        Err(HostError::NoLink { .. }) => return Ok(()),
        other => other?,
    };
    if !answers().await {
        return Ok(());
    }
    let failed = |error| said(format!("take back the name servers of {link}"), &error);
    let bus = Connection::system().await.map_err(failed)?;
    match call(&bus, "RevertLink", &index).await {
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == "org.freedesktop.resolve1.NoSuchLink" => Ok(()),
        other => other.map(drop).map_err(failed),
    }
}

async fn call<B>(bus: &Connection, method: &str, body: &B) -> zbus::Result<Message>
where
    B: Serialize + DynamicType + Sync,
{
    bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, body).await
}

async fn index(link: &str) -> Result<i32, HostError> {
    let index = netlink::link_index(link).await?;
    i32::try_from(index).map_err(|_| HostError::NoLink { link: link.to_owned() })
}

fn wire(address: &IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

fn said(what: String, error: &zbus::Error) -> HostError {
    HostError::Resolved { what, said: error.to_string() }
}

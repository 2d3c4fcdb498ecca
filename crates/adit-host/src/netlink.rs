//! Links, addresses, routes and rules of this network namespace, asked and changed over netlink.
//!
//! Not here: what they should be (`plan`), news of what others change (`watch`).
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more about everything than is asked here")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{AddressMessageBuilder, Handle, IpVersion, LinkUnspec, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::change::{Route, Rule, TABLE_MAIN};
use crate::error::HostError;

/// The table of the kernel's own routes to this machine.
const TABLE_LOCAL: u32 = 255;

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// An interface.
#[derive(Debug, Clone)]
pub(crate) struct LinkSeen {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

/// A route, with its own MTU if it has one.
#[derive(Debug, Clone)]
pub(crate) struct RouteSeen {
    pub(crate) route: Route,
    pub(crate) mtu: Option<u32>,
}

/// The number of an interface.
pub(crate) async fn link_index(link: &str) -> Result<u32, HostError> {
    Netlink::open()?.index(link).await
}

impl Netlink {
    /// Connects, in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, HostError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| HostError::kernel("talk to the kernel over netlink", error))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// An interface, if it is there.
    pub(crate) async fn link(&self, name: &str) -> Result<Option<LinkSeen>, HostError> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await.map_err(io_error) {
            Ok(message) => Ok(message.map(|message| link_seen(&message))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(HostError::kernel(format!("look for {name}"), error)),
        }
    }

    async fn index(&self, name: &str) -> Result<u32, HostError> {
        let link = self.link(name).await?;
        link.map(|link| link.index).ok_or_else(|| HostError::NoLink { link: name.to_owned() })
    }

    async fn links(&self) -> Result<BTreeMap<u32, LinkSeen>, HostError> {
        let found = self.handle.link().get().execute().map_ok(|message| link_seen(&message));
        let found: Vec<LinkSeen> =
            found.try_collect().await.map_err(|error| HostError::kernel("list interfaces", io_error(error)))?;
        Ok(found.into_iter().map(|link| (link.index, link)).collect())
    }

    /// All interfaces by number.
    pub(crate) async fn names(&self) -> Result<Vec<(i32, String)>, HostError> {
        let links = self.links().await?;
        Ok(links.into_values().filter_map(|link| Some((i32::try_from(link.index).ok()?, link.name))).collect())
    }

    pub(crate) async fn set_mtu(&self, link: &str, mtu: u32) -> Result<(), HostError> {
        let message = LinkUnspec::new_with_index(self.index(link).await?).mtu(mtu).build();
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|error| HostError::kernel(format!("set mtu of {link} to {mtu}"), io_error(error)))
    }

    pub(crate) async fn set_up(&self, link: &str, up: bool) -> Result<(), HostError> {
        let message = LinkUnspec::new_with_index(self.index(link).await?);
        let message = if up { message.up() } else { message.down() };
        let done = self.handle.link().set(message.build()).execute().await;
        let way = if up { "up" } else { "down" };
        done.map_err(|error| HostError::kernel(format!("set {link} {way}"), io_error(error)))
    }

    /// The addresses of an interface that somebody gave it; not those the kernel makes itself.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, HostError> {
        let found = self.handle.address().get().set_link_index_filter(index).execute();
        let found: Vec<_> =
            found.try_collect().await.map_err(|error| HostError::kernel("list addresses", io_error(error)))?;
        let mut addresses = Vec::new();
        for message in found.iter().filter(|message| message.header.index == index) {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let any = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            let net = local.or(any).map(|address| IpNet::new(address, message.header.prefix_len));
            addresses.extend(net.and_then(Result::ok));
        }
        Ok(addresses)
    }

    pub(crate) async fn add_address(&self, link: &str, address: IpNet) -> Result<(), HostError> {
        let index = self.index(link).await?;
        let done = self.handle.address().add(index, address.addr(), address.prefix_len()).execute().await;
        match done.map_err(io_error) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(HostError::kernel(format!("add address {address} to {link}"), error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove_address(&self, link: &str, address: IpNet) -> Result<(), HostError> {
        let index = self.index(link).await?;
        let length = address.prefix_len();
        let message = match address.addr() {
            IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(v4, length).build(),
            IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(v6, length).build(),
        };
        let done = self.handle.address().del(message).execute().await;
        match done.map_err(io_error) {
            Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                Err(HostError::kernel(format!("remove address {address} from {link}"), error))
            }
            _ => Ok(()),
        }
    }

    /// All routes but those the kernel keeps to this machine itself.
    pub(crate) async fn routes(&self) -> Result<Vec<RouteSeen>, HostError> {
        let links = self.links().await?;
        let mut routes = Vec::new();
        for message in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let found = self.handle.route().get(message).execute();
            let found: Vec<RouteMessage> =
                found.try_collect().await.map_err(|error| HostError::kernel("list routes", io_error(error)))?;
            routes.extend(found.iter().filter_map(|message| route_seen(message, &links)));
        }
        Ok(routes)
    }

    pub(crate) async fn add_route(&self, route: &Route) -> Result<(), HostError> {
        let message = route_message(route, self.index(&route.link).await?);
        let Err(error) = self.handle.route().add(message).execute().await.map_err(io_error) else { return Ok(()) };
        if error.raw_os_error() == Some(libc::EEXIST) && self.routes().await?.iter().any(|seen| seen.route == *route) {
            return Ok(());
        }
        Err(HostError::kernel(format!("add {route}"), error))
    }

    pub(crate) async fn remove_route(&self, route: &Route) -> Result<(), HostError> {
        let message = route_message(route, self.index(&route.link).await?);
        match self.handle.route().del(message).execute().await.map_err(io_error) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(HostError::kernel(format!("remove {route}"), error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn rules(&self) -> Result<Vec<Rule>, HostError> {
        let mut rules = Vec::new();
        for (v6, version) in [(false, IpVersion::V4), (true, IpVersion::V6)] {
            let found = self.handle.rule().get(version).execute();
            let found: Vec<RuleMessage> = match found.try_collect().await.map_err(io_error) {
                // A kernel without IPv6 has no rules for it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => continue,
                other => other.map_err(|error| HostError::kernel("list routing rules", error))?,
            };
            rules.extend(found.iter().map(|message| rule_seen(message, v6)));
        }
        Ok(rules)
    }

    pub(crate) async fn add_rule(&self, rule: &Rule) -> Result<(), HostError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule_message(rule);
        let Err(error) = request.execute().await.map_err(io_error) else { return Ok(()) };
        if error.raw_os_error() == Some(libc::EEXIST) && self.rules().await?.contains(rule) {
            return Ok(());
        }
        Err(HostError::kernel(format!("add {rule}"), error))
    }

    pub(crate) async fn remove_rule(&self, rule: &Rule) -> Result<(), HostError> {
        match self.handle.rule().del(rule_message(rule)).execute().await.map_err(io_error) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(HostError::kernel(format!("remove {rule}"), error))
            }
            _ => Ok(()),
        }
    }

    /// The smallest MTU on the way to the endpoints, as the tunnel's own marked datagrams go; or if there is none that
    /// can be reached, of the default routes.
    pub(crate) async fn outer_mtu(
        &self,
        endpoints: &[IpAddr],
        mark: Option<u32>,
        tunnel: &str,
        routes: &[RouteSeen],
    ) -> Result<Option<u32>, HostError> {
        let links = self.links().await?;
        let mut smallest: Option<u32> = None;
        for endpoint in endpoints {
            let mtu = self.path_mtu(*endpoint, mark, tunnel, &links).await;
            smallest = smallest.into_iter().chain(mtu).min();
        }
        if smallest.is_some() {
            return Ok(smallest);
        }
        let default = routes.iter().filter(|seen| seen.route.to.prefix_len() == 0 && seen.route.table == TABLE_MAIN);
        let mtus = default.filter(|seen| seen.route.link != tunnel).filter_map(|seen| {
            seen.mtu.or_else(|| links.values().find(|link| link.name == seen.route.link).map(|link| link.mtu))
        });
        Ok(mtus.min())
    }

    /// The interface by which the machine reaches an address now.
    pub(crate) async fn way_to(&self, to: IpAddr, mark: u32) -> Result<Option<String>, HostError> {
        let links = self.links().await?;
        let Some(answer) = self.ask_route(to, (mark != 0).then_some(mark)).await else { return Ok(None) };
        let is_own = answer.header.kind == RouteType::Local;
        Ok(link_of(&answer, &links).map(|link| link.name.clone()).filter(|_| !is_own))
    }

    async fn path_mtu(
        &self,
        to: IpAddr,
        mark: Option<u32>,
        tunnel: &str,
        links: &BTreeMap<u32, LinkSeen>,
    ) -> Option<u32> {
        let answer = self.ask_route(to, mark).await?;
        let link = link_of(&answer, links)?;
        (link.name != tunnel).then(|| mtu_of(&answer).unwrap_or(link.mtu))
    }

    /// The route that a packet to this address takes.
    async fn ask_route(&self, to: IpAddr, mark: Option<u32>) -> Option<RouteMessage> {
        let mut question = match to {
            IpAddr::V4(to) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).build(),
            IpAddr::V6(to) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, 128).build(),
        };
        question.attributes.extend(mark.map(RouteAttribute::Mark));
        let mut answers = std::pin::pin!(self.handle.route().get(question).execute());
        match answers.try_next().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "no route to an address");
                None
            }
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn link_seen(message: &LinkMessage) -> LinkSeen {
    let mut seen = LinkSeen {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => seen.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
            _ => {}
        }
    }
    seen
}

fn route_seen(message: &RouteMessage, links: &BTreeMap<u32, LinkSeen>) -> Option<RouteSeen> {
    let own = matches!(
        message.header.kind,
        RouteType::Local | RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast
    );
    if own || message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut to = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut table = u32::from(message.header.table);
    let mut link = String::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = IpAddr::V4(*address),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = IpAddr::V6(*address),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => {
                link = links.get(index).map(|link| link.name.clone()).unwrap_or_default();
            }
            _ => {}
        }
    }
    let to = IpNet::new(to, message.header.destination_prefix_length).ok()?;
    (table != TABLE_LOCAL).then(|| RouteSeen { route: Route { to, link, table }, mtu: mtu_of(message) })
}

fn link_of<'a>(message: &RouteMessage, links: &'a BTreeMap<u32, LinkSeen>) -> Option<&'a LinkSeen> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => links.get(index),
        _ => None,
    })
}

fn mtu_of(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
        _ => None,
    })
}

fn route_message(route: &Route, index: u32) -> RouteMessage {
    let length = route.to.prefix_len();
    match route.to.addr() {
        // "link": there is no gateway, whoever is addressed is reached directly.
        IpAddr::V4(to) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, length)
            .output_interface(index)
            .table_id(route.table)
            .scope(RouteScope::Link)
            .build(),
        IpAddr::V6(to) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, length)
            .output_interface(index)
            .table_id(route.table)
            .build(),
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    // The header has room for a byte; the attribute says it all.
    message.header.table = u8::try_from(rule.table).unwrap_or_default();
    message.attributes.push(RuleAttribute::Table(rule.table));
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    if let Some(mark) = rule.unless_mark {
        message.header.flags = RuleFlags::Invert;
        message.attributes.push(RuleAttribute::FwMark(mark));
    }
    message.attributes.extend(rule.suppress.map(RuleAttribute::SuppressPrefixLen));
    message
}

fn rule_seen(message: &RuleMessage, v6: bool) -> Rule {
    let table = u32::from(message.header.table);
    let mut rule = Rule { v6, priority: 0, unless_mark: None, table, suppress: None };
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(mark) if inverted => rule.unless_mark = Some(*mark),
            // The kernel says "none" by all ones.
            RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => rule.suppress = Some(*length),
            _ => {}
        }
    }
    rule
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

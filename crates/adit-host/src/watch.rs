//! News of the machine's network: the default route, links and addresses that change.
//!
//! Not here: what follows from it; the tunnel forgets its source addresses and resolves its endpoints again.
#![expect(clippy::wildcard_enum_match_arm, reason = "most news of the kernel means nothing here")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::JoinHandle;

use crate::error::HostError;

/// Events that are waiting are given as one each; more kinds than this do not exist for one interface.
const BURST_MAX: usize = 1024;

/// Something about the machine's network changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HostEvent {
    /// A default route came, went or changed.
    DefaultRoute,
    /// An interface came, or went up or down. Of several in a burst, those that are down come first.
    Link {
        /// Its name.
        name: String,
        /// Whether it is set up.
        up: bool,
        /// Whether it can carry packets now.
        running: bool,
    },
    /// An interface is gone.
    LinkGone {
        /// Its name.
        name: String,
    },
    /// An interface got or lost an address.
    Address {
        /// Its number, as `ip link` prints it.
        index: u32,
    },
}

/// A stream of events.
pub struct HostEvents {
    messages: BoxStream<'static, RouteNetlinkMessage>,
    waiting: BTreeSet<HostEvent>,
    connection: JoinHandle<()>,
}

impl HostEvents {
    /// Starts to listen, in the network namespace of the calling thread.
    pub fn listen() -> Result<Self, HostError> {
        let (connection, messages) = connect().map_err(refused)?;
        Ok(Self { messages, waiting: BTreeSet::new(), connection: tokio::spawn(connection) })
    }

    /// Starts to listen in another network namespace.
    ///
    /// # Errors
    /// As [`Self::listen`]; above all, this process may not enter it.
    pub fn listen_in(namespace: OwnedFd) -> Result<Self, HostError> {
        let runtime = tokio::runtime::Handle::current();
        // A thread may be in a namespace of its own, and this one is gone right after.
        let made = std::thread::spawn(move || {
            let _on_the_runtime = runtime.enter();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            connect()
        });
        let gone = |_| io::Error::other("the thread that changes namespace failed");
        let (connection, messages) = made.join().map_err(gone).and_then(|made| made).map_err(refused)?;
        Ok(Self { messages, waiting: BTreeSet::new(), connection: tokio::spawn(connection) })
    }

    /// The next event; `None` if the kernel says no more. May be dropped at any time. What came in a burst is given
    /// once of each.
    pub async fn next(&mut self) -> Option<HostEvent> {
        while self.waiting.is_empty() {
            let message = self.messages.next().await?;
            self.waiting.extend(read(&message));
            for _ in 0..BURST_MAX {
                match futures_util::FutureExt::now_or_never(self.messages.next()) {
                    Some(Some(message)) => self.waiting.extend(read(&message)),
                    Some(None) | None => break,
                }
            }
        }
        self.waiting.pop_first()
    }
}

impl Drop for HostEvents {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl std::fmt::Debug for HostEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostEvents").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

fn refused(error: io::Error) -> HostError {
    HostError::kernel("listen for network changes", error)
}

/// A netlink socket in the namespace of the calling thread: what reads it, and what was read.
fn connect() -> io::Result<(impl Future<Output = ()> + Send + 'static, BoxStream<'static, RouteNetlinkMessage>)> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
    let messages = messages.filter_map(|(message, _)| async move {
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => Some(inner),
            _ => None,
        }
    });
    Ok((connection, messages.boxed()))
}

/// What a message of the kernel means to a tunnel; most mean nothing.
fn read(message: &RouteNetlinkMessage) -> Option<HostEvent> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(HostEvent::Link {
            name: name_of(link)?,
            up: link.header.flags.contains(LinkFlags::Up),
            running: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        }),
        RouteNetlinkMessage::DelLink(link) => Some(HostEvent::LinkGone { name: name_of(link)? }),
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            Some(HostEvent::Address { index: address.header.index })
        }
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            is_default(route).then_some(HostEvent::DefaultRoute)
        }
        _ => None,
    }
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn is_default(route: &RouteMessage) -> bool {
    let goes_somewhere = route.attributes.iter().any(|attribute| {
        matches!(attribute, RouteAttribute::Oif(_) | RouteAttribute::Gateway(_) | RouteAttribute::MultiPath(_))
    });
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast && goes_somewhere
}

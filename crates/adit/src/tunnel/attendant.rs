//! Who listens to a tunnel's core: asks for the names of endpoints, and has peers that are silent looked for elsewhere. Once a
//! month it has OpenVPN clients shown a new certificate.
//!
//! Not here: which endpoint comes next (`fallback`), asking for names (`resolve`).

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use adit_protocol::{Now, Protocol as _};
use adit_transport::ladder;
use adit_wireguard::{DeviceChange, Event, PeerChange, PublicKey};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::engine::{Engine, News};
use crate::fallback::Fallbacks;
use crate::openvpn::network::Members;
use crate::outside::Visitor;
use crate::profile::wg_quick::Endpoint;
use crate::resolve::{self, Names, Prefer};

/// How often OpenVPN clients are shown a new certificate: it is good for more than a year.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(30 * 86_400);
/// What the attendant is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// These are the peers' endpoints now, of each the first choice first.
    Endpoints(Vec<(PublicKey, Vec<Endpoint>)>),
}

/// Passes events on, and asks for names.
pub(super) struct Attendant {
    events: broadcast::Sender<Event>,
    names: Names,
    fallbacks: Fallbacks,
    /// What carries the datagrams, if there is a choice.
    visitor: Option<Visitor>,
    named: watch::Sender<BTreeMap<PublicKey, String>>,
    prefer: Prefer,
    /// Counts up whenever the peers should be called.
    calls: Option<watch::Receiver<u64>>,
}

/// A name that was asked for, and what came of it.
type Answer = (PublicKey, Endpoint, io::Result<Vec<std::net::SocketAddr>>);

fn renew_certificate(members: &mut Members, now: Now) {
    if let Err(error) = members.renew_certificate(now) {
        tracing::warn!(%error, "the certificate for OpenVPN clients is not renewed; the one before goes on");
    }
}

/// Waits until the carriers want the peers to be called.
async fn called(calls: &mut Option<watch::Receiver<u64>>) {
    let Some(news) = calls else { return std::future::pending().await };
    if news.changed().await.is_err() {
        // The outside is gone, and the engine with it or soon.
        *calls = None;
        std::future::pending().await
    }
}

impl Attendant {
    /// One that nobody has told of any endpoint yet.
    pub(super) fn new(
        events: broadcast::Sender<Event>,
        named: watch::Sender<BTreeMap<PublicKey, String>>,
        visitor: Option<Visitor>,
        prefer: Prefer,
    ) -> Self {
        let calls = visitor.as_ref().map(Visitor::calls);
        Self { events, names: Names::default(), fallbacks: Fallbacks::default(), visitor, named, prefer, calls }
    }

    /// Until the tunnel's last handle or its engine is gone.
    pub(super) async fn run(mut self, engine: Engine, mut news: News, mut orders: mpsc::Receiver<Order>) {
        let mut questions: JoinSet<Answer> = JoinSet::new();
        let mut certificate =
            tokio::time::interval_at(tokio::time::Instant::now() + CERTIFICATE_EVERY, CERTIFICATE_EVERY);
        loop {
            for (peer, endpoint) in self.names.take_due(Instant::now()) {
                let prefer = self.prefer;
                questions.spawn(async move {
                    let found = resolve::look_up(&endpoint, prefer).await;
                    (peer, endpoint, found)
                });
            }
            let due = self.names.due();
            let change = tokio::select! {
                event = news.recv() => match event {
                    Some(event) => {
                        let change = self.hear(&event);
                        self.pass_on(event);
                        change
                    }
                    None => return,
                },
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(answer) = questions.join_next() => answer.ok().and_then(|answer| self.learn(answer)),
                () = called(&mut self.calls) => {
                    if engine.device(|device, now| device.call_peers(now)).await.is_err() {
                        return;
                    }
                    None
                }
                _ = certificate.tick() => {
                    if engine.members(renew_certificate).await.is_err() {
                        return;
                    }
                    None
                }
                () = sleep_until(due) => None,
            };
            if let Some(change) = change
                && engine.device(move |device, now| device.apply(now, change)).await.is_err()
            {
                return;
            }
        }
    }

    /// Looks for a peer that does not answer at its next endpoint, if it has several.
    fn hear(&mut self, event: &Event) -> Option<DeviceChange> {
        let peer = match event {
            Event::HandshakeUnanswered(peer) => peer,
            Event::HandshakeCompleted(peer) => {
                self.fallbacks.answered(peer);
                return None;
            }
            Event::HandshakeGaveUp(_) | Event::EndpointMoved(..) => return None,
        };
        let udp_is_lost = self.visitor.as_ref().is_some_and(|visitor| {
            let shown = visitor.shown();
            shown.carrier == ladder::Carrier::Https && shown.order.first() == ladder::Carrier::Udp
        });
        let endpoint = self.fallbacks.unanswered(peer, udp_is_lost)?;
        tracing::debug!(%endpoint, "a peer that does not answer is looked for elsewhere");
        // One that is a name is asked for first.
        self.names.set(*peer, Some(endpoint), Instant::now());
        let name = self.names.name_of(peer);
        self.named.send_modify(|named| match name {
            Some(name) => drop(named.insert(*peer, name)),
            None => drop(named.remove(peer)),
        });
        Some(only(at(*peer, resolve::address(endpoint)?)))
    }

    fn pass_on(&mut self, event: Event) {
        if let Event::HandshakeGaveUp(peer) = event {
            self.names.gave_up(&peer, Instant::now());
        }
        // Nobody listening is no fault.
        drop(self.events.send(event));
    }

    /// Takes new endpoints. A peer that answers at one of several stays there, if it may; one that may not is to move.
    fn obey(&mut self, order: Order) -> Option<DeviceChange> {
        let Order::Endpoints(endpoints) = order;
        let now = Instant::now();
        let mut moved = DeviceChange::default();
        for (peer, endpoints) in &endpoints {
            let before = self.fallbacks.current(peer).cloned();
            let endpoint = self.fallbacks.set(*peer, endpoints.clone());
            self.names.set(*peer, endpoint.as_ref(), now);
            if before.is_some() && before != endpoint {
                // One that is a name is asked for first.
                moved.peers.extend(endpoint.as_ref().and_then(resolve::address).map(|to| at(*peer, to)));
            }
        }
        let endpoints: BTreeMap<_, _> = endpoints.into_iter().collect();
        self.names.retain(|peer| endpoints.contains_key(peer));
        self.fallbacks.retain(|peer| endpoints.contains_key(peer));
        let names = endpoints.keys().filter_map(|peer| Some((*peer, self.names.name_of(peer)?)));
        self.named.send_replace(names.collect());
        (!moved.peers.is_empty()).then_some(moved)
    }

    fn learn(&mut self, (peer, endpoint, found): Answer) -> Option<DeviceChange> {
        let found = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "the name of a peer's endpoint is not found; it is asked for again");
            tracing::debug!(%endpoint, "that name");
            Vec::new()
        });
        let address = self.names.answered(&peer, &endpoint, &found, Instant::now())?;
        Some(only(at(peer, address)))
    }
}

/// The peer, if it is there, is at this address.
fn at(peer: PublicKey, address: std::net::SocketAddr) -> PeerChange {
    PeerChange { update_only: true, endpoint: Some(address), ..PeerChange::new(peer) }
}

fn only(change: PeerChange) -> DeviceChange {
    DeviceChange { peers: vec![change], ..DeviceChange::default() }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::wg_quick::Host;

    const PEER: PublicKey = PublicKey::new([1; 32]);

    fn gateway(number: u8) -> Endpoint {
        Endpoint { host: Host::Name(format!("gateway{number}.example.org")), port: 51_820 }
    }

    fn address(last: u8) -> Endpoint {
        Endpoint { host: Host::Ip([192, 0, 2, last].into()), port: 51_820 }
    }

    fn attendant() -> Attendant {
        Attendant {
            events: broadcast::Sender::new(1),
            names: Names::default(),
            fallbacks: Fallbacks::default(),
            visitor: None,
            named: watch::Sender::default(),
            prefer: Prefer::default(),
            calls: None,
        }
    }

    fn moved(change: Option<DeviceChange>) -> Vec<Option<std::net::SocketAddr>> {
        change.into_iter().flat_map(|change| change.peers).map(|peer| peer.endpoint).collect()
    }

    #[test]
    fn a_reload_leaves_a_peer_at_the_endpoint_where_it_answers() {
        let mut me = attendant();
        let reload = |me: &mut Attendant, ways: &[Endpoint]| me.obey(Order::Endpoints(vec![(PEER, ways.to_vec())]));
        assert!(reload(&mut me, &[gateway(1), gateway(2), address(3)]).is_none());
        let unanswered = Event::HandshakeUnanswered(PEER);
        assert!(me.hear(&unanswered).is_none() && me.hear(&unanswered).is_none(), "its name is asked for first");
        me.hear(&Event::HandshakeCompleted(PEER));
        assert!(reload(&mut me, &[gateway(1), gateway(2), address(3)]).is_none());
        assert_eq!(me.names.name_of(&PEER).as_deref(), Some("gateway2.example.org:51820"));
        assert_eq!(me.named.borrow().get(&PEER).map(String::as_str), Some("gateway2.example.org:51820"));
        assert!(me.hear(&unanswered).is_none());
        assert_eq!(moved(me.hear(&unanswered)), [Some(([192, 0, 2, 3], 51_820).into())]);
        assert!(reload(&mut me, &[gateway(1), address(3)]).is_none());
        assert_eq!(me.names.name_of(&PEER), None, "it is at an address");
    }

    #[test]
    fn a_peer_whose_endpoint_is_none_any_more_moves_to_the_first() {
        let mut me = attendant();
        let reload = |me: &mut Attendant, ways: &[Endpoint]| me.obey(Order::Endpoints(vec![(PEER, ways.to_vec())]));
        assert!(reload(&mut me, &[address(1), address(2)]).is_none());
        let unanswered = Event::HandshakeUnanswered(PEER);
        assert!(me.hear(&unanswered).is_none() && me.hear(&unanswered).is_some());
        assert_eq!(moved(reload(&mut me, &[address(1)])), [Some(([192, 0, 2, 1], 51_820).into())]);
    }
}

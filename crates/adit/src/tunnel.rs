//! A running tunnel: a WireGuard device on an engine, between any inside and any outside.
//!
//! Not here: making the inside and the outside (`adit-engine`), the machine around it (`supervise`), profiles.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use adit_engine::{Clock, DatagramIo, EngineHandle, Gone, PacketIo, RunOn, Stopped};
use adit_protocol::{Now, Protocol as _};
use adit_transport::ladder;
use adit_wireguard::{Device, DeviceChange, DeviceStatus, Event, PeerChange, PrivateKey, PublicKey};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::fallback::Fallbacks;
use crate::meter::{Limit, Metered};
use crate::outside::{Outside, Visitor};
use crate::profile::wg_quick::{Endpoint, Profile};
use crate::resolve::{self, Names, Prefer};
use crate::status::{Carrier, TunnelStatus};

/// How a tunnel runs. The default suits an embedder: a task of the current runtime, an outside of the program's own.
#[derive(Debug, Default)]
pub struct Options {
    /// On which threads the engine runs.
    pub run: RunOn,
    /// What can be changed about the outside while it runs.
    pub outside: Outside,
    /// Which addresses of a name come first.
    pub prefer: Prefer,
}

/// A running tunnel. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Debug, Clone)]
pub struct Tunnel {
    engine: EngineHandle<Metered<Device>>,
    outside: Outside,
    /// Told by the attendant; holds none of the tunnel's handles, or it would never stop.
    events: broadcast::WeakSender<Event>,
    attendant: mpsc::Sender<Order>,
    names: watch::Receiver<BTreeMap<PublicKey, String>>,
}

/// Why a tunnel did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No randomness, so no keys.
    #[error("the operating system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}

/// What the attendant is asked for.
#[derive(Debug)]
enum Order {
    /// These are the peers' endpoints now, of each the first choice first.
    Endpoints(Vec<(PublicKey, Vec<Endpoint>)>),
}

impl Tunnel {
    /// Starts a tunnel with what `config` says. Must be called on a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`StartError::NoRandomness`], which a running system does not give.
    pub fn start<I: PacketIo, O: DatagramIo>(
        config: DeviceChange,
        inside: I,
        outside: O,
        options: Options,
    ) -> Result<Self, StartError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(StartError::NoRandomness)?;
        let clock = Clock::default();
        let now = clock.now();
        let mut device = Device::new(*seed, now);
        device.apply(now, config);
        let device = Metered::new(device, now);
        let engine_options = adit_engine::Options {
            clock,
            run: options.run,
            mtu_changed: Some(Box::new(|device: &mut Metered<Device>, _now, mtu| device.core_mut().set_mtu(mtu))),
            renew: Some(Box::new(|device: &mut Metered<Device>, _now| reseed(device.core_mut()))),
            ..adit_engine::Options::default()
        };
        let (engine, news) = adit_engine::start(device, inside, outside, engine_options);
        let (events, _) = broadcast::channel(EVENTS);
        let (attendant, orders) = mpsc::channel(ORDERS);
        let (named, names) = watch::channel(BTreeMap::new());
        let visitor = options.outside.visitor().cloned();
        let calls = visitor.as_ref().map(Visitor::calls);
        let tunnel = Self { engine, outside: options.outside, events: events.downgrade(), attendant, names };
        let engine = tunnel.engine.clone();
        tokio::spawn(attend(
            Attendant {
                events,
                names: Names::default(),
                fallbacks: Fallbacks::default(),
                visitor,
                named,
                prefer: options.prefer,
                calls,
            },
            engine,
            news,
            orders,
        ));
        Ok(tunnel)
    }

    /// Starts a tunnel as a profile says: keys, peers, endpoints by name too. What a profile says of the machine
    /// (addresses, routes, DNS, commands) is not done here.
    ///
    /// # Errors
    /// As [`Tunnel::start`].
    pub async fn start_profile<I: PacketIo, O: DatagramIo>(
        profile: &Profile,
        inside: I,
        outside: O,
        options: Options,
    ) -> Result<Self, StartError> {
        let change = crate::profile::device::change(profile, &resolve::address);
        let tunnel = Self::start(change, inside, outside, options)?;
        tunnel.follow_names(profile).await;
        Ok(tunnel)
    }

    /// Changes keys and peers; sessions of peers that stay are kept.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn configure(&self, change: DeviceChange) -> Result<(), Gone> {
        self.engine.with(move |device, now| device.apply(now, change)).await
    }

    /// Makes a tunnel that is as `old` says become as `new` says; sessions of peers that stay are kept. Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn reload(&self, old: &Profile, new: &Profile) -> Result<bool, Gone> {
        let change = crate::profile::device::diff(old, new, &resolve::address);
        let changes = !crate::profile::device::is_nothing(&change);
        if changes {
            self.configure(change).await?;
        }
        self.follow_names(new).await;
        Ok(changes | self.reload_outside(old, new).await)
    }

    /// What a profile says of users of the web site, and of carriers.
    async fn reload_outside(&self, old: &Profile, new: &Profile) -> bool {
        let mut changes = false;
        if let (Some(server), true) = (self.outside.web_server(), keys(old) != keys(new)) {
            server.set_users(crate::https::users(new));
            changes = true;
        }
        if let Some(visitor) = self.outside.visitor()
            && crate::carriers::order(old) != crate::carriers::order(new)
        {
            visitor.set_order(crate::carriers::order(new)).await;
            changes = true;
        }
        if let (Some(visitor), true) = (self.outside.visitor(), other_site(old, new)) {
            visitor.set_profile(new).await;
            changes = true;
        }
        changes
    }

    /// Keeps the addresses of endpoints that are names up to date, from now on by this profile.
    async fn follow_names(&self, profile: &Profile) {
        let endpoints = profile.peers.iter().map(|p| (p.public_key, p.ways())).collect();
        // If the attendant is gone, so is the tunnel.
        drop(self.attendant.send(Order::Endpoints(endpoints)).await);
    }

    /// How it is.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn status(&self) -> Result<TunnelStatus, Gone> {
        let engine = self.engine.status().await?;
        let (device, now) = self.with(|device, now| (device.status(now), now)).await?;
        let carrier = Carrier {
            transport: self.outside.transport(),
            listen_port: self.outside.listen_port(),
            fwmark: self.outside.fwmark(),
        };
        let mut status = TunnelStatus::of(&device, &engine, &carrier, now);
        status.web_site = match self.outside.web_server() {
            Some(server) => Some(server.status().await),
            None => None,
        };
        status.carrier = self.outside.visitor().map(Visitor::status);
        if status.carrier.is_some() {
            status.peers.iter_mut().for_each(|peer| peer.transport.clone_from(&status.transport));
        }
        let names = self.names.borrow();
        for (peer, core) in status.peers.iter_mut().zip(&device.peers) {
            peer.endpoint_name = names.get(&core.public_key).cloned();
        }
        Ok(status)
    }

    /// The device with its keys: for `wg show`, and for writing a profile back.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn device(&self) -> Result<DeviceStatus, Gone> {
        self.with(|device, now| device.status(now)).await
    }

    /// Takes the interface up, which sends persistent keepalives at once, or down, which ends all sessions.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn set_up(&self, up: bool) -> Result<(), Gone> {
        self.with(move |device, now| device.set_up(now, up)).await
    }

    /// The network around changed: forgets which of our addresses each peer is answered from.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn network_changed(&self) -> Result<(), Gone> {
        self.with(|device, _now| device.forget_sources()).await
    }

    /// Listens on another port, for all peers at once; 0 picks a free one. Sessions are kept.
    ///
    /// # Errors
    /// What the system says, `AddrInUse` above all; the old port stays in use then. `Unsupported` if this outside has no
    /// port.
    pub async fn set_listen_port(&self, port: u16) -> io::Result<()> {
        self.outside.set_listen_port(port).await?;
        self.network_changed().await.map_err(io::Error::other)
    }

    /// Marks datagrams that are sent from now on; 0 is no mark.
    ///
    /// # Errors
    /// What the system says. `Unsupported` if this outside has no mark.
    pub async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.outside.set_fwmark(mark).await?;
        self.network_changed().await.map_err(io::Error::other)
    }

    /// From now on limits the rates of these devices and of no others. Sessions are kept, and so are limits when peers
    /// change: they belong to addresses.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn set_limits(&self, limits: Vec<Limit>) -> Result<(), Gone> {
        self.engine.with(move |device, _now| device.set_limits(limits)).await
    }

    /// Runs this on the device, between two turns of the engine.
    async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Device, Now) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        self.engine.with(move |device, now| run(device.core_mut(), now)).await
    }

    /// The outside, for what can be asked of it.
    pub const fn outside(&self) -> &Outside {
        &self.outside
    }

    /// News from now on. A reader that falls behind by many loses the oldest, and is told so. `None` if it has stopped.
    pub fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.events.upgrade().map(|events| events.subscribe())
    }

    /// Stops it and waits until inside and outside are closed.
    pub async fn stop(&self) -> Arc<Stopped> {
        self.engine.stop().await
    }

    /// Waits until it has stopped, for whatever reason.
    pub async fn stopped(&self) -> Arc<Stopped> {
        self.engine.stopped().await
    }
}

/// Whether the HTTPS connection of a client has to be made anew.
fn other_site(old: &Profile, new: &Profile) -> bool {
    let of = |profile: &Profile| {
        let site = crate::https::reached_by_https(profile).map(|peer| (peer.public_key, peer.https.clone()));
        site.zip(Some(profile.interface.private_key.as_ref().map(PrivateKey::public_key)))
    };
    of(new).is_some() && of(old) != of(new)
}

/// What users of the web site of a profile follow from.
fn keys(profile: &Profile) -> (Option<PublicKey>, Vec<(PublicKey, Option<crate::https::HttpsKey>)>) {
    let own = profile.interface.private_key.as_ref().map(PrivateKey::public_key);
    (own, profile.peers.iter().map(|peer| (peer.public_key, peer.https_key)).collect())
}

/// Passes events on, and asks for names.
struct Attendant {
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

/// The life of the attendant: until the tunnel's last handle or its engine is gone.
async fn attend(
    mut me: Attendant,
    engine: EngineHandle<Metered<Device>>,
    mut news: mpsc::Receiver<Event>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut questions: JoinSet<Answer> = JoinSet::new();
    loop {
        for (peer, endpoint) in me.names.take_due(Instant::now()) {
            let prefer = me.prefer;
            questions.spawn(async move {
                let found = resolve::look_up(&endpoint, prefer).await;
                (peer, endpoint, found)
            });
        }
        let due = me.names.due();
        tokio::select! {
            event = news.recv() => match event {
                Some(event) => {
                    let change = me.hear(&event);
                    me.pass_on(event);
                    if let Some(change) = change && engine.with(move |device, now| device.apply(now, change)).await.is_err() {
                        return;
                    }
                }
                None => return,
            },
            order = orders.recv() => match order {
                Some(order) => {
                    let change = me.obey(order);
                    if let Some(change) = change && engine.with(move |device, now| device.apply(now, change)).await.is_err() {
                        return;
                    }
                }
                None => return,
            },
            Some(answer) = questions.join_next() => {
                let change = answer.ok().and_then(|answer| me.learn(answer));
                if let Some(change) = change && engine.with(move |device, now| device.apply(now, change)).await.is_err() {
                    return;
                }
            }
            () = called(&mut me.calls) => {
                if engine.with(|device, now| device.core_mut().call_peers(now)).await.is_err() {
                    return;
                }
            }
            () = sleep_until(due) => {}
        }
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

/// Fresh randomness of the system for a device: what it draws from now on cannot be told from a copy of its memory.
fn reseed(device: &mut Device) {
    let mut seed = Zeroizing::new([0; 32]);
    match getrandom::fill(&mut *seed) {
        Ok(()) => device.reseed(&seed),
        Err(error) => tracing::warn!(%error, "the operating system gave no random numbers; the old ones go on"),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Events that may wait for a reader.
const EVENTS: usize = 256;
/// Orders that may wait for the attendant.
const ORDERS: usize = 4;

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

//! A running tunnel: a WireGuard device on an engine, between any inside and any outside; and beside it, if it is a network's,
//! OpenVPN clients on the same inside.
//!
//! Not here: the engine of either (`engine`), making the inside and the outside (`adit-engine`), the machine around it (`supervise`), profiles.

mod attendant;
mod engine;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use adit_engine::{Beside, Clock, DatagramIo, Gone, PacketIo, RunOn, Stopped};
use adit_protocol::{Now, Protocol as _, Secret};
use adit_wireguard::{Device, DeviceChange, DeviceStatus, Event, PrivateKey, PublicKey};
use tokio::sync::{broadcast, mpsc, watch};
use zeroize::Zeroizing;

use self::attendant::{Attendant, Order};
use self::engine::{Engine, News, OPENVPN};
use crate::meter::Limit;
use crate::openvpn::network::{self, Authority, Ground, MemberStatus, Members, MembersChange};
use crate::outside::{Outside, Visitor};
use crate::profile::wg_quick::Profile;
use crate::resolve::{self, Prefer};
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
    engine: Engine,
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
    /// The server for OpenVPN clients.
    #[error("cannot admit OpenVPN clients: {0}")]
    OpenVpn(#[from] network::StartError),
}

/// OpenVPN clients beside a tunnel's peers: their carrier, the authority that certifies them, and what they are told.
#[derive(Debug)]
pub struct Guests<L> {
    /// What their datagrams come over, and nobody else's.
    pub carrier: L,
    /// Whose certificates they show, and who certifies the server.
    pub authority: Authority,
    /// The network that they come into.
    pub ground: Ground,
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
        let clock = Clock::default();
        let device = device(config, clock.now())?;
        let Options { run, outside: controls, prefer } = options;
        let (engine, news) = Engine::alone(device, (inside, outside), (clock, run));
        Ok(Self::of(engine, news, controls, prefer))
    }

    /// As [`start`](Self::start), with OpenVPN clients beside the peers: nobody comes in before
    /// [`change_members`](Self::change_members).
    ///
    /// # Errors
    /// Certificates cannot be made; and as [`start`](Self::start).
    pub fn start_with_guests<I: PacketIo, O: DatagramIo, L: DatagramIo>(
        config: DeviceChange,
        inside: I,
        outside: O,
        guests: Guests<L>,
        options: Options,
    ) -> Result<Self, StartError> {
        let clock = Clock::default();
        let device = device(config, clock.now())?;
        let Guests { carrier, authority, ground } = guests;
        let members = Members::new(authority, ground, seed()?, clock.now())?;
        let Options { run, outside: controls, prefer } = options;
        let outside = Beside::new(outside, carrier, OPENVPN);
        let (engine, news) = Engine::beside(device, members, (inside, outside), (clock, run));
        Ok(Self::of(engine, news, controls, prefer))
    }

    fn of(engine: Engine, news: News, outside: Outside, prefer: Prefer) -> Self {
        let (events, _) = broadcast::channel(EVENTS);
        let (attendant, orders) = mpsc::channel(ORDERS);
        let (named, names) = watch::channel(BTreeMap::new());
        let weak = events.downgrade();
        let listener = Attendant::new(events, named, outside.visitor().cloned(), prefer);
        tokio::spawn(listener.run(engine.clone(), news, orders));
        Self { engine, outside, events: weak, attendant, names }
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

    /// As [`start_profile`](Self::start_profile), with OpenVPN clients beside the peers.
    ///
    /// # Errors
    /// As [`start_with_guests`](Self::start_with_guests).
    pub async fn start_profile_with_guests<I: PacketIo, O: DatagramIo, L: DatagramIo>(
        profile: &Profile,
        inside: I,
        outside: O,
        guests: Guests<L>,
        options: Options,
    ) -> Result<Self, StartError> {
        let change = crate::profile::device::change(profile, &resolve::address);
        let tunnel = Self::start_with_guests(change, inside, outside, guests, options)?;
        tunnel.follow_names(profile).await;
        Ok(tunnel)
    }

    /// Changes which OpenVPN clients may come in. Those who may not any more are gone at once; others do not notice. Of no
    /// meaning without a carrier for them.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn change_members(&self, change: MembersChange) -> Result<(), Gone> {
        self.engine.members(move |members, now| members.apply(now, change)).await.map(drop)
    }

    /// Changes keys and peers; sessions of peers that stay are kept.
    ///
    /// # Errors
    /// [`Gone`] if the tunnel has stopped.
    pub async fn configure(&self, change: DeviceChange) -> Result<(), Gone> {
        self.with(move |device, now| device.apply(now, change)).await
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
        let members: Option<Vec<MemberStatus>> = self.engine.members(|members, _now| members.status()).await?;
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
        if let Some(members) = members {
            status.add_members(&members, now);
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
        self.engine.set_limits(limits).await
    }

    /// Runs this on the device, between two turns of the engine.
    async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Device, Now) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        self.engine.device(run).await
    }

    /// The outside, for what can be asked of it.
    pub const fn outside(&self) -> &Outside {
        &self.outside
    }

    /// News from now on. A reader that falls behind by many loses the oldest, and is told so. `None` if it has stopped.
    pub fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.events.upgrade().map(|events| events.subscribe())
    }

    /// Tells OpenVPN clients so, stops it, and waits until inside and outside are closed.
    pub async fn stop(&self) -> Arc<Stopped> {
        let goodbye = self.engine.members(|members, now| members.say_goodbye(now));
        // Whoever is not reached in time finds out by silence.
        let _in_time = tokio::time::timeout(GOODBYE, goodbye).await;
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

/// The device of a new tunnel.
fn device(config: DeviceChange, now: Now) -> Result<Device, StartError> {
    let mut device = Device::new(*seed()?.expose(), now);
    device.apply(now, config);
    Ok(device)
}

fn seed() -> Result<Secret<32>, StartError> {
    let mut seed = Secret::new([0; 32]);
    getrandom::fill(seed.expose_mut()).map_err(StartError::NoRandomness)?;
    Ok(seed)
}

/// Fresh randomness of the system for a device: what it draws from now on cannot be told from a copy of its memory.
fn reseed(device: &mut Device) {
    let mut seed = Zeroizing::new([0; 32]);
    match getrandom::fill(&mut *seed) {
        Ok(()) => device.reseed(&seed),
        Err(error) => tracing::warn!(%error, "the operating system gave no random numbers; the old ones go on"),
    }
}

/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(300);
/// Events that may wait for a reader.
const EVENTS: usize = 256;
/// Orders that may wait for the attendant.
const ORDERS: usize = 4;

//! The server role: many sessions on one outside, none of them before a client has proved its address.
//!
//! Not here: what a session is (`session`); who may come in, and with which address: the owner is asked.

mod config;
mod control;
mod cookie;
mod drive;
mod event;
mod gate;
mod peer;
mod unproven;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_protocol::{Drops, Now, Path, PrefixTable};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use self::config::Envelopes;
pub use self::config::{ServerConfig, ServerWrap, SharedWrap};
use self::cookie::CookieJar;
pub use self::event::{Answer, AuthRequest, Carried, ClientId, ClientSettings, Password, ServerChange, ServerEvent};
use self::gate::Budget;
use self::peer::{Peer, Phase};
use self::unproven::Unproven;
use crate::Role;
use crate::constants::MAX_PEERS;
use crate::data::SealJob;
use crate::inner::Entering;
use crate::packet::SessionId;
use crate::session::{Credentials, Ground};
use crate::tls::{TlsFactory, TlsSettings, TlsSettingsError};

/// An OpenVPN server. Driven through [`Protocol`](adit_protocol::Protocol).
pub struct Server {
    config: ServerConfig,
    ground: Ground,
    envelopes: Envelopes,
    cookies: CookieJar,
    budget: Budget,
    unproven: Unproven,
    rng: ChaCha20Rng,
    /// A server has none.
    credentials: Credentials,
    /// By number; at most `max_clients` that are in, and `MAX_HALF_OPEN` beside them.
    peers: Vec<Option<Box<Peer>>>,
    /// Numbers that are free.
    free: Vec<u32>,
    /// How many clients there have been.
    count: u64,
    /// Where control packets go: by address and the client's name of the session.
    sessions: HashMap<(SocketAddr, SessionId), u32>,
    /// Where packets without a number go.
    addresses: HashMap<SocketAddr, u32>,
    /// Whose an inner address is.
    routes: PrefixTable<u32>,
    /// When to look at whom. A peer is in it once.
    agenda: BTreeSet<(Instant, u32)>,
    /// Peers with something to send or a new deadline; each at most once.
    touched: VecDeque<u32>,
    drops: Drops,
    /// What came of packets and answers since the driver last asked. What clients merely say waits up to `MAX_EVENTS`; the
    /// rest is a few for each peer: all of it follows from key exchanges and authentic packets.
    events: VecDeque<ServerEvent>,
    /// What the core itself wants sealed: pieces, pings, packets from one client to another. More than `MAX_SEALS` are not cut
    /// nor passed on.
    seals: VecDeque<(SealJob, Path, Vec<u8>)>,
    /// Packets that were in pieces.
    entering: Entering,
    /// Answers to resets, which the budget limits, and the last words of sessions that failed.
    answers: VecDeque<(Path, Vec<u8>)>,
}

impl Server {
    /// A server without clients. `seed`: 32 random bytes of the operating system.
    ///
    /// # Errors
    ///
    /// Certificates, keys or rules that TLS cannot be run with.
    pub fn new(mut config: ServerConfig, seed: [u8; 32], now: Now) -> Result<Self, TlsSettingsError> {
        let tls = TlsFactory::new(Role::Server, std::mem::take(&mut config.tls))?;
        let envelopes = config.wrap.take();
        config.max_clients = config.max_clients.min(MAX_PEERS);
        let mut times = config.times;
        // So that clients, which wait less, renew first; and if they do not, we do.
        if !times.renegotiate.is_zero() {
            times.renegotiate += times.hand_window;
        }
        let ground =
            Ground { role: Role::Server, tls, times, options: config.options_string(), peer_info: String::new() };
        let mut rng = ChaCha20Rng::from_seed(seed);
        let cookies = CookieJar::new(&mut rng, now.instant, config.times.hand_window);
        Ok(Self {
            config,
            ground,
            envelopes,
            cookies,
            budget: Budget::new(now.instant),
            unproven: Unproven::default(),
            rng,
            credentials: Credentials::default(),
            peers: Vec::new(),
            free: Vec::new(),
            count: 0,
            sessions: HashMap::new(),
            addresses: HashMap::new(),
            routes: PrefixTable::new(),
            agenda: BTreeSet::new(),
            touched: VecDeque::new(),
            drops: Drops::default(),
            events: VecDeque::new(),
            seals: VecDeque::new(),
            entering: Entering::default(),
            answers: VecDeque::new(),
        })
    }

    /// Clients whose packets flow.
    pub fn clients(&self) -> usize {
        self.peers.iter().flatten().filter(|peer| peer.phase == Phase::Up).count()
    }

    /// Clients that were let in, those counted that have not asked for their settings yet.
    fn let_in(&self) -> usize {
        self.peers.iter().flatten().filter(|peer| matches!(peer.phase, Phase::Accepted | Phase::Up)).count()
    }

    /// Sessions, those that are not yet let in counted.
    pub fn sessions(&self) -> usize {
        self.peers.len() - self.free.len()
    }

    /// Those who were asked about and are not gone yet: for an owner who may have missed news.
    pub fn present(&self) -> BTreeSet<ClientId> {
        let is_known = |peer: &Peer| !matches!(peer.phase, Phase::Exchanging);
        let known = (0..).zip(&self.peers).filter_map(|(number, peer)| Some((number, peer.as_deref()?)));
        known.filter(|(_, peer)| is_known(peer)).map(|(number, peer)| ClientId { number, count: peer.count }).collect()
    }

    /// Whether an address inside is a client's who is in.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.routes.lookup(address).is_some()
    }

    /// What a client has moved since it came; `None` if it is gone.
    pub fn carried(&self, client: ClientId) -> Option<Carried> {
        let peer = self.peers.get(client.number as usize)?.as_deref()?;
        (peer.count == client.count).then_some(peer.carried)
    }

    /// Keys of clients with this written into them are good from now on, or not any more. Who is in stays in. Of no meaning
    /// where all keys are ([`ServerConfig::known_keys`]).
    pub fn know_key(&mut self, written: [u8; 32], good: bool) {
        if let Some(known) = &mut self.config.known_keys {
            if good {
                known.insert(written);
            } else {
                known.remove(&written);
            }
        }
    }

    /// The largest packet inside (`tun-mtu`), as clients are told that come from now on.
    pub const fn set_mtu(&mut self, mtu: u16) {
        self.config.mtu = mtu;
    }

    /// Another certificate of our own, and other rules for those of clients, for all key exchanges from now on.
    ///
    /// # Errors
    ///
    /// As [`Server::new`]: those before stay then.
    pub fn set_tls(&mut self, tls: TlsSettings) -> Result<(), TlsSettingsError> {
        self.ground.tls = TlsFactory::new(Role::Server, tls)?;
        Ok(())
    }

    fn peer(&mut self, number: u32) -> Option<&mut Peer> {
        self.peers.get_mut(number as usize)?.as_deref_mut()
    }

    /// The peer that the owner means, if it is still there.
    fn named(&mut self, client: ClientId) -> Option<&mut Peer> {
        self.peer(client.number).filter(|peer| peer.count == client.count)
    }

    fn id(&self, number: u32) -> ClientId {
        let peer = self.peers.get(number as usize).and_then(Option::as_ref);
        ClientId { number, count: peer.map_or(0, |peer| peer.count) }
    }

    /// Has the peer looked at before the next wait.
    fn touch(&mut self, number: u32) {
        if !self.touched.contains(&number) {
            self.touched.push_back(number);
        }
    }

    /// Takes a peer out, with everything that leads to it.
    fn remove(&mut self, number: u32, why: String) {
        let client = self.id(number);
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::take) else { return };
        self.sessions.remove(&(peer.path.remote, peer.name));
        if self.addresses.get(&peer.path.remote) == Some(&number) {
            self.addresses.remove(&peer.path.remote);
        }
        self.routes.retain(|_, owner| *owner != number);
        if let Some(at) = peer.agenda {
            self.agenda.remove(&(at, number));
        }
        self.touched.retain(|touched| *touched != number);
        self.free.push(number);
        if peer.carried != Carried::default() {
            self.events.push_back(ServerEvent::Carried(client, peer.carried));
        }
        self.events.push_back(ServerEvent::Left(client, why));
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

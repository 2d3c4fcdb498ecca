//! A server, clients, and the network between them: nothing here takes time or comes by chance but by a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_openvpn::{
    Answer, AuthRequest, Client, ClientConfig, ClientEvent, ClientSettings, OpenJob, PeerRules, SealJob, Server,
    ServerChange, ServerConfig, ServerEvent, TlsSettings,
};
use adit_protocol::{Delivery, Inbound, IpPacket, Now, Open, Opening, Outbound, Output, Path, Protocol, Seal, Sealing};

use super::papers::Papers;

/// Where the server is.
pub(crate) fn server_at() -> SocketAddr {
    ([192, 0, 2, 1], 1194).into()
}

/// What a network does to datagrams, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) twice: u32,
    pub(crate) late: u32,
}

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) server: Server,
    pub(crate) clients: Vec<Guest>,
    /// In flight: when they arrive, in which order; to whom, from where, what.
    wire: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    pub(crate) weather: Weather,
    dice: u64,
    /// Steps since time went on.
    standing: u32,
    order: u64,
    /// What the server said that was no question.
    pub(crate) news: Vec<ServerEvent>,
    /// Inner packets that came out at the server.
    pub(crate) arrived: Vec<Vec<u8>>,
    /// Who may come in.
    pub(crate) door: fn(&AuthRequest) -> Answer,
    /// Datagrams that the server has sent.
    pub(crate) sent_by_server: usize,
}

/// A client, where it is, and what came out of it.
pub(crate) struct Guest {
    pub(crate) core: Client,
    pub(crate) at: SocketAddr,
    pub(crate) events: Vec<ClientEvent>,
    pub(crate) arrived: Vec<Vec<u8>>,
    deadline: Option<Instant>,
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
fn beginning() -> Now {
    Now { instant: Instant::now(), unix: Duration::from_secs(1_800_000_000) }
}

/// Certificates checked both ways.
pub(crate) fn server_config(papers: &Papers) -> ServerConfig {
    let paper = papers.server();
    let peer = PeerRules { authorities: vec![papers.authority()], role_stated: true, ..PeerRules::default() };
    let tls = TlsSettings { certificates: paper.chain(), key: Some(paper.key()), peer, ..TlsSettings::default() };
    ServerConfig { tls, ..ServerConfig::default() }
}

pub(crate) fn client_config(papers: &Papers) -> ClientConfig {
    let paper = papers.client();
    let peer = PeerRules { authorities: vec![papers.authority()], role_stated: true, ..PeerRules::default() };
    let tls = TlsSettings { certificates: paper.chain(), key: Some(paper.key()), peer, ..TlsSettings::default() };
    ClientConfig { remotes: vec![Path::to(server_at()).into()], tls, ..ClientConfig::default() }
}

/// Everybody may come in, and gets an address by the port it comes from.
fn open_door(request: &AuthRequest) -> Answer {
    let last = (request.from.remote.port() % 200) as u8 + 2;
    Answer::Accept(Box::new(ClientSettings {
        address4: Some(([10, 8, 0, last].into(), [255, 255, 255, 0].into())),
        options: vec!["topology subnet".into(), "route-gateway 10.8.0.1".into()],
        ..ClientSettings::default()
    }))
}

impl World {
    pub(crate) fn new(server: ServerConfig, clients: Vec<ClientConfig>) -> Self {
        let now = beginning();
        let guest = |(n, config): (u16, ClientConfig)| Guest {
            core: Client::new(config, [n as u8 + 1; 32], now).unwrap(),
            at: ([198, 51, 100, n as u8 + 1], 40_000 + n).into(),
            events: vec![],
            arrived: vec![],
            deadline: None,
        };
        Self {
            now,
            server: Server::new(server, [99; 32], now).unwrap(),
            clients: (0..).zip(clients).map(guest).collect(),
            wire: BTreeMap::new(),
            weather: Weather::default(),
            dice: 1,
            standing: 0,
            order: 0,
            news: vec![],
            arrived: vec![],
            door: open_door,
            sent_by_server: 0,
        }
    }

    /// One client, everything as it comes, connected.
    pub(crate) fn connected() -> Self {
        Self::connected_with(None)
    }

    /// The same, with packets in pieces.
    pub(crate) fn connected_with(fragment: Option<u16>) -> Self {
        let papers = Papers::new();
        let server = ServerConfig { fragment, ..server_config(&papers) };
        let mut world = Self::new(server, vec![ClientConfig { fragment, ..client_config(&papers) }]);
        world.until("connected", |world| world.clients[0].core.is_up());
        world
    }

    pub(crate) fn seed(mut self, dice: u64) -> Self {
        self.dice = dice | 1;
        self
    }

    /// Lets time pass until `done`; fails after two virtual hours.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now.instant + Duration::from_secs(7200);
        for _ in 0..200_000 {
            self.drain();
            if done(self) {
                return;
            }
            self.step(end);
            if self.now.instant >= end {
                break;
            }
        }
        let events: Vec<_> = self.clients.iter().map(|guest| &guest.events).collect();
        panic!("in vain: {what}; {events:?} {:?} {:?}", self.news, self.server.drops());
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.drain();
        while self.now.instant < end {
            self.step(end);
            self.drain();
        }
    }

    /// To the next thing that happens, or to `end`.
    fn step(&mut self, end: Instant) {
        let server = self.drain_server();
        let clients = self.clients.iter().filter_map(|guest| guest.deadline);
        let wire = self.wire.first_key_value().map(|((at, _), _)| *at);
        let at = clients.chain(server).chain(wire).min().unwrap_or(end).min(end).max(self.now.instant);
        self.standing = if at == self.now.instant { self.standing + 1 } else { 0 };
        assert!(self.standing < 1000, "somebody's deadline is always now");
        self.now.unix += at - self.now.instant;
        self.now.instant = at;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= at) {
            let (to, from, datagram) = entry.remove();
            self.arrive(to, from, datagram);
        }
        self.server.handle_timeout(self.now);
        for guest in &mut self.clients {
            guest.core.handle_timeout(self.now);
        }
    }

    /// A datagram arrives, whoever sent it.
    pub(crate) fn arrive(&mut self, to: SocketAddr, from: SocketAddr, mut datagram: Vec<u8>) {
        let now = self.now;
        if to == server_at() {
            if let Some(packet) = receive(&mut self.server, now, from, &mut datagram) {
                self.arrived.push(packet);
            }
        } else if let Some(guest) = self.clients.iter_mut().find(|guest| guest.at == to)
            && let Some(packet) = receive(&mut guest.core, now, from, &mut datagram)
        {
            guest.arrived.push(packet);
        }
    }

    /// Everything that the cores want done.
    pub(crate) fn drain(&mut self) {
        self.drain_server();
        while let Some(packet) = self.server.poll_inside(self.now) {
            self.arrived.push(packet.to_vec());
        }
        for n in 0..self.clients.len() {
            loop {
                let guest = &mut self.clients[n];
                let (at, now) = (guest.at, self.now);
                match guest.core.poll_output(now) {
                    Output::Transmit { to, datagram, .. } => self.post(at, to.remote, datagram),
                    Output::Seal { job, to, packet } => self.post(at, to.remote, seal(job, &packet)),
                    Output::Event(event) => guest.events.push(event),
                    Output::Timeout(deadline, _) => {
                        guest.deadline = deadline;
                        while let Some(packet) = guest.core.poll_inside(now) {
                            guest.arrived.push(packet.to_vec());
                        }
                        break;
                    }
                }
            }
        }
    }

    fn drain_server(&mut self) -> Option<Instant> {
        loop {
            match self.server.poll_output(self.now) {
                Output::Transmit { to, datagram, .. } => self.post(server_at(), to.remote, datagram),
                Output::Seal { job, to, packet } => self.post(server_at(), to.remote, seal(job, &packet)),
                Output::Event(ServerEvent::Ask(request)) => {
                    let answer = (self.door)(&request);
                    self.server.apply(self.now, ServerChange::Answer(request.client, answer));
                }
                Output::Event(event) => self.news.push(event),
                Output::Timeout(at, _) => return at,
            }
        }
    }

    /// Into the network: perhaps lost, twice, or late.
    fn post(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        if from == server_at() {
            self.sent_by_server += 1;
        }
        if self.roll() < self.weather.loss {
            return;
        }
        let times = if self.roll() < self.weather.twice { 2 } else { 1 };
        for _ in 0..times {
            let late = if self.roll() < self.weather.late { u64::from(self.roll()) * 5 } else { 0 };
            let at = self.now.instant + Duration::from_millis(10 + late);
            self.order += 1;
            self.wire.insert((at, self.order), (to, from, datagram.clone()));
        }
    }

    /// 0 to 99.
    fn roll(&mut self) -> u32 {
        // xorshift64
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 33) as u32 % 100
    }

    /// A packet from a client to the server's network.
    pub(crate) fn up(&mut self, client: usize, packet: &[u8]) {
        let guest = &mut self.clients[client];
        let parsed = IpPacket::parse(packet).unwrap();
        if let Outbound::Seal { job, to } = guest.core.plan_outbound(self.now, &parsed) {
            let from = guest.at;
            self.post(from, to.remote, seal(job, packet));
        }
    }

    /// A packet from the server's network to whoever has its destination.
    pub(crate) fn down(&mut self, packet: &[u8]) {
        let parsed = IpPacket::parse(packet).unwrap();
        if let Outbound::Seal { job, to } = self.server.plan_outbound(self.now, &parsed) {
            self.post(server_at(), to.remote, seal(job, packet));
        }
    }

    /// What is in flight, for somebody who listens.
    pub(crate) fn overheard(&self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.wire.values().cloned().collect()
    }

    /// The inner address that the client of this number has.
    pub(crate) const fn inner(client: u8) -> [u8; 4] {
        [10, 8, 0, client + 2]
    }
}

/// An inner packet that says `number`.
pub(crate) fn packet(from: [u8; 4], to: [u8; 4], number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from);
    packet.extend(to);
    packet.extend(number.to_be_bytes());
    packet
}

fn seal(job: SealJob, packet: &[u8]) -> Vec<u8> {
    let packet = IpPacket::parse(packet);
    let mut datagram = vec![0; job.wire_len(packet.as_ref().map_or(0, IpPacket::len))];
    job.lay_out(packet.as_ref(), &mut datagram);
    SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
    datagram
}

fn receive<P: Protocol<Open = OpenJob>>(
    core: &mut P,
    now: Now,
    from: SocketAddr,
    datagram: &mut [u8],
) -> Option<Vec<u8>> {
    let Inbound::Open(job) = core.plan_inbound(now, Path::to(from), datagram) else { return None };
    let mut batch = [Opening::new(job, datagram)];
    OpenJob::open_batch(&mut batch);
    let [opening] = batch;
    let (outcome, datagram) = (opening.outcome?, opening.datagram);
    match core.commit_inbound(now, outcome, datagram) {
        Delivery::Packet(range) => Some(datagram[range].to_vec()),
        Delivery::Nothing | Delivery::Drop(_) => None,
    }
}

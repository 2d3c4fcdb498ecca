//! Devices with real papers and our own client's core, against a table: in virtual time, without a network.

use std::collections::VecDeque;
use std::time::Instant;

use adit_openvpn::options::{self, Config};
use adit_openvpn::{Client, ClientEvent};
use adit_protocol::{Opening, Seal, Sealing};
use adit_wireguard::PrivateKey;

use super::super::DeviceKey;
use super::*;

#[test]
fn a_device_in_the_table_comes_in_with_its_address_and_is_counted() {
    let mut world = World::new(2);
    // The other one is switched off.
    world.clients.truncate(1);
    world.until_up(0);
    let [one, other] = world.statuses();
    assert!(one.has_session && one.endpoint == Some(World::at(0)) && one.last_keys.is_some());
    assert!(!other.has_session && other.last_keys.is_none());
    assert!(world.members.owns(one.member.v4.into()) && world.members.owns(one.member.v6.into()));
    assert!(!world.members.owns(other.member.v4.into()));
    let before = one.carried;
    world.sends(0, one.member.v4, OUTSIDE);
    world.sends(0, other.member.v4, OUTSIDE);
    world.settle();
    assert_eq!(world.inside, [packet(one.member.v4, OUTSIDE)], "only what comes from its own address");
    let [after, _] = world.statuses();
    assert!(after.carried.received > before.received);
}

#[test]
fn who_is_taken_out_is_cut_off_at_once_hears_nothing_more_and_the_other_stays() {
    let mut world = World::new(2);
    world.until_up(0);
    world.until_up(1);
    let [one, other] = world.statuses();
    let gone = [one.member.certificate].into();
    world.members.apply(world.now, MembersChange { remove: gone, ..MembersChange::default() });
    assert!(!world.members.owns(one.member.v4.into()));
    world.sends(0, one.member.v4, OUTSIDE);
    world.sends(1, other.member.v4, OUTSIDE);
    world.settle();
    assert_eq!(world.inside, [packet(other.member.v4, OUTSIDE)]);
    world.pass(Duration::from_secs(10));
    let heard = world.heard[0];
    world.pass(Duration::from_secs(30));
    assert!(!world.clients[0].is_up() && world.heard[0] == heard, "a stranger gets silence");
    assert_eq!(world.members.status().len(), 1);
    // It is let in again: the same file is good.
    world.members.apply(world.now, MembersChange { put: vec![one.member], ..MembersChange::default() });
    world.until_up(0);
    assert!(world.clients[1].is_up());
}

#[test]
fn only_says_who_stays_and_those_who_stay_do_not_notice() {
    let mut world = World::new(3);
    (0..3).for_each(|client| world.until_up(client));
    let [one, two, three] = [0, 1, 2].map(|n| world.papers[n].certificate);
    let joined = world.joined.clone();
    let only = Some([one, three].into());
    world.members.apply(world.now, MembersChange { only, ..MembersChange::default() });
    world.pass(Duration::from_secs(6));
    assert_eq!((0..3).map(|n| world.clients[n].is_up()).collect::<Vec<_>>(), [true, false, true]);
    let there: Vec<_> = world.members.status().iter().map(|status| status.member.certificate).collect();
    assert!(there.contains(&one) && there.contains(&three) && !there.contains(&two));
    assert_eq!((world.joined[0], world.joined[2]), (joined[0], joined[2]));
}

#[test]
fn a_device_that_comes_again_from_elsewhere_takes_its_own_place() {
    let mut world = World::new(1);
    world.until_up(0);
    let before = world.statuses_of_one();
    world.restart(0);
    world.until_up(0);
    let after = world.statuses_of_one();
    assert!(after.has_session && after.carried.received > before.carried.received, "what it had moved is not lost");
    assert_eq!(world.members.here.len(), 1);
}

#[test]
fn papers_of_another_network_get_silence_and_so_do_those_that_were_never_let_in() {
    let mut world = World::new(1);
    let stranger = World::papers(&authority(8), 200);
    let known_to_nobody = World::papers(&authority(7), 201);
    for papers in [stranger, known_to_nobody] {
        world.clients = vec![papers.client(world.now)];
        world.heard = vec![0];
        world.pass(Duration::from_secs(20));
        assert_eq!((world.heard[0], world.members.here.len()), (0, 0));
    }
}

#[test]
fn another_address_counts_when_the_device_comes_again_and_that_is_at_once() {
    let mut world = World::new(1);
    world.until_up(0);
    let member = Member { v4: [10, 77, 0, 99].into(), ..world.papers[0] };
    world.members.apply(world.now, MembersChange { put: vec![member], ..MembersChange::default() });
    assert!(!world.members.owns(world.papers[0].v4.into()));
    world.pass(Duration::from_secs(1));
    world.until_up(0);
    assert!(world.members.owns(member.v4.into()));
}

#[test]
fn a_new_certificate_of_the_server_is_as_good_as_the_one_before() {
    let mut world = World::new(2);
    world.until_up(0);
    world.members.renew_certificate(world.now).unwrap();
    world.until_up(1);
    world.pass(Duration::from_secs(3700));
    assert!(world.clients[0].is_up() && world.clients[1].is_up(), "keys were renewed under it as well");
}

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn authority(number: u8) -> Authority {
    Authority::of(&PrivateKey::new([number; 32])).unwrap()
}

fn packet(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let head = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
    [head.as_slice(), &from.octets(), &to.octets()].concat()
}

/// A device's configuration, and how the table names it.
struct Device {
    member: Member,
    text: String,
}

impl Device {
    fn client(&self, now: Now) -> Client {
        let Some(Config::Client(config)) = options::parse(&self.text).config else { panic!("{}", self.text) };
        let mut settings = adit_openvpn::client_of(&config, None).unwrap();
        settings.remotes = vec![Path::to(server_at()).into()];
        Client::new(settings, [self.member.v4.octets()[3]; 32], now).unwrap()
    }
}

fn server_at() -> SocketAddr {
    ([203, 0, 113, 1], 1194).into()
}

struct World {
    now: Now,
    members: Members,
    devices: Vec<Device>,
    papers: Vec<Member>,
    clients: Vec<Client>,
    /// How often each has come in.
    joined: Vec<usize>,
    /// How many datagrams each was sent.
    heard: Vec<usize>,
    /// Which port each has now.
    moved: u16,
    inside: Vec<Vec<u8>>,
    /// For the server, or for a client.
    wire: VecDeque<(Option<usize>, Vec<u8>)>,
}

impl World {
    /// So many devices, all in the table.
    fn new(devices: u8) -> Self {
        let now = Now { instant: Instant::now(), unix: Duration::from_secs(1_800_000_000) };
        let ground = Ground { v4: [10, 77, 0, 1].into(), mask: [255, 255, 255, 0].into(), prefix6: 64, mtu: 1420 };
        let mut members = Members::new(authority(7), ground, Secret::new([3; 32]), now).unwrap();
        let devices: Vec<_> = (0..devices).map(|n| Self::papers(&authority(7), n + 2)).collect();
        let papers: Vec<_> = devices.iter().map(|device| device.member).collect();
        members.apply(now, MembersChange { put: papers.clone(), ..MembersChange::default() });
        let clients: Vec<_> = devices.iter().map(|device| device.client(now)).collect();
        let (joined, heard) = (vec![0; clients.len()], vec![0; clients.len()]);
        let (inside, wire) = (Vec::new(), VecDeque::new());
        Self { now, members, devices, papers, clients, joined, heard, moved: 0, inside, wire }
    }

    fn papers(authority: &Authority, number: u8) -> Device {
        let key = DeviceKey::generate().unwrap();
        let papers = authority.admit("device", &key.public()).unwrap();
        let text = format!(
            "client\ndev tun\nremote 203.0.113.1 1194 udp\nremote-cert-tls server\nverify-x509-name {} name\n\
             connect-retry 1 2\n<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n<tls-crypt-v2>\n{}</tls-crypt-v2>\n",
            super::super::SERVER_NAME,
            papers.authority,
            papers.certificate,
            *key.pem(),
            *papers.wrapped
        );
        let v6 = Ipv6Addr::from_bits(0xfd77 << 112 | u128::from(number));
        Device { member: Member { certificate: papers.fingerprint, v4: [10, 77, 0, number].into(), v6 }, text }
    }

    fn at(client: usize) -> SocketAddr {
        ([198, 51, 100, client as u8 + 1], 40_000).into()
    }

    fn from(&self, client: usize) -> Path {
        let mut at = Self::at(client);
        at.set_port(at.port() + self.moved);
        Path::to(at)
    }

    fn statuses<const N: usize>(&self) -> [MemberStatus; N] {
        let mut all = self.members.status();
        all.sort_by_key(|status| status.member.v4);
        all.try_into().unwrap()
    }

    fn statuses_of_one(&self) -> MemberStatus {
        let [one] = self.statuses();
        one
    }

    /// The program is started again, elsewhere.
    fn restart(&mut self, client: usize) {
        self.moved += 1;
        self.clients[client] = self.devices[client].client(self.now);
    }

    fn sends(&mut self, client: usize, from: Ipv4Addr, to: Ipv4Addr) {
        let bytes = packet(from, to);
        let view = IpPacket::parse(&bytes).unwrap();
        if let Outbound::Seal { job, .. } = self.clients[client].plan_outbound(self.now, &view) {
            self.wire.push_back((None, sealed(job, Some(&view))));
            // Whose it is, the server sees from where it comes.
            self.deliver_from(client);
        }
    }

    fn deliver_from(&mut self, client: usize) {
        while let Some((None, mut datagram)) = self.wire.pop_front() {
            let from = self.from(client);
            if let Inbound::Open(job) = self.members.plan_inbound(self.now, from, &mut datagram) {
                let mut batch = [Opening::new(job, &mut datagram)];
                Open::open_batch(&mut batch);
                let [Opening { outcome, .. }] = batch;
                if let Some(opened) = outcome
                    && let Delivery::Packet(range) = self.members.commit_inbound(self.now, opened, &datagram)
                {
                    self.inside.push(datagram[range].to_vec());
                }
            }
        }
    }

    /// Until nobody has anything to say at this time.
    fn settle(&mut self) -> Option<Instant> {
        loop {
            let (mut next, mut said) = (None, false);
            for client in 0..self.clients.len() {
                loop {
                    match self.clients[client].poll_output(self.now) {
                        Output::Transmit { datagram, .. } => {
                            self.wire.push_back((None, datagram));
                            self.deliver_from(client);
                            said = true;
                        }
                        Output::Seal { job, packet, .. } => {
                            let view = IpPacket::parse(&packet);
                            self.wire.push_back((None, sealed(job, view.as_ref())));
                            self.deliver_from(client);
                            said = true;
                        }
                        Output::Event(event) => self.joined[client] += usize::from(came_in(&event)),
                        Output::Timeout(at, _) => break next = at.into_iter().chain(next).min(),
                    }
                }
            }
            loop {
                match self.members.poll_output(self.now) {
                    Output::Transmit { to, datagram, .. } => {
                        self.hears(to, datagram);
                        said = true;
                    }
                    Output::Seal { job, to, packet } => {
                        let view = IpPacket::parse(&packet);
                        let datagram = sealed(job, view.as_ref());
                        self.hears(to, datagram);
                        said = true;
                    }
                    Output::Event(never) => match never {},
                    Output::Timeout(at, _) => break next = at.into_iter().chain(next).min(),
                }
            }
            if !said {
                return next;
            }
        }
    }

    fn hears(&mut self, to: Path, mut datagram: Vec<u8>) {
        let Some(client) = (0..self.clients.len()).find(|client| self.from(*client).remote == to.remote) else {
            return;
        };
        self.heard[client] += 1;
        let from = Path::to(server_at());
        if let Inbound::Open(job) = self.clients[client].plan_inbound(self.now, from, &mut datagram) {
            let mut batch = [Opening::new(job, &mut datagram)];
            Open::open_batch(&mut batch);
            let [Opening { outcome, .. }] = batch;
            if let Some(opened) = outcome {
                let _keepalive = self.clients[client].commit_inbound(self.now, opened, &datagram);
            }
        }
    }

    fn step(&mut self, until: Instant) {
        let next = self.settle().filter(|next| *next <= until).unwrap_or(until);
        let step = next.saturating_duration_since(self.now.instant).max(Duration::from_millis(1));
        self.now = Now { instant: self.now.instant + step, unix: self.now.unix + step };
        for client in &mut self.clients {
            client.handle_timeout(self.now);
        }
        self.members.handle_timeout(self.now);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.instant + time;
        while self.now.instant < until {
            self.step(until);
        }
        self.settle();
    }

    #[track_caller]
    fn until_up(&mut self, client: usize) {
        let until = self.now.instant + Duration::from_secs(120);
        while !(self.clients[client].is_up() && self.members.owns(self.member_at(client))) {
            assert!(self.now.instant < until, "it does not come in: {:?}", self.members.drops());
            self.step(until);
        }
        self.settle();
    }

    fn member_at(&self, client: usize) -> IpAddr {
        let certificate = self.papers[client].certificate;
        let entry = self.members.table.get(&certificate);
        entry.map_or(Ipv4Addr::UNSPECIFIED, |entry| entry.member.v4).into()
    }
}

const fn came_in(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Connected(_))
}

fn sealed<J: Seal>(job: J, packet: Option<&IpPacket<'_>>) -> Vec<u8> {
    let mut datagram = vec![0; job.wire_len(packet.map_or(0, IpPacket::len))];
    job.lay_out(packet, &mut datagram);
    J::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
    datagram
}

//! Who takes part: WireGuard implementations, and the engine with a protocol that protects nothing, as its ceiling.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::openvpn::{self, OpenVpn};
use super::other::{self, Ended, Files};
use super::processors::Pinned;
use crate::ns::{Family, Namespace, Side, World};
use crate::poll::{self, PATIENCE};
use crate::shell::Run;
use crate::subjects::{Subject, Usage, beside_this_program, peer};
use crate::traffic;
use crate::tunnel::{PORT, Pairing, Tunnel};

/// Someone to measure.
#[derive(Debug, Clone)]
pub enum Contestant {
    /// A WireGuard implementation, both ends.
    WireGuard(Subject),
    /// adit over HTTPS, both ends.
    Https,
    /// OpenVPN, both ends.
    OpenVpn(OpenVpn),
    /// Our engine with a null protocol, both ends; the mode is `null` or `aead`.
    Null(&'static str),
    /// The cable itself.
    Cable,
}

/// A contestant set up across a world.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) world: World,
    pub(super) target: std::net::IpAddr,
    pub(super) daemons: Vec<u32>,
    _tunnel: Option<[crate::tunnel::End; 2]>,
    others: Vec<Ended>,
    files: Option<Files>,
}

impl Contestant {
    /// Everyone on this machine; the others are named in the second list.
    pub fn all() -> (Vec<Self>, Vec<&'static str>) {
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for name in Subject::NAMES {
            match Subject::named(name) {
                Some(subject) => here.push(Self::WireGuard(subject)),
                None => missing.push(name),
            }
        }
        here.push(Self::Https);
        let theirs = peer("openvpn").is_some();
        missing.extend((!theirs).then_some("openvpn"));
        here.extend(OpenVpn::ALL.into_iter().filter(|one| one.is_ours() || theirs).map(Self::OpenVpn));
        here.extend([Self::Null("aead"), Self::Null("null"), Self::Cable]);
        (here, missing)
    }

    /// Its name in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WireGuard(subject) => subject.name,
            Self::Https => "adit, HTTPS",
            Self::OpenVpn(one) => one.name(),
            Self::Null("aead") => "engine, AEAD only",
            Self::Null(_) => "engine, no crypto",
            Self::Cable => "no tunnel",
        }
    }

    /// The subject, if it is a WireGuard implementation.
    pub const fn subject(&self) -> Option<&Subject> {
        match self {
            Self::WireGuard(subject) => Some(subject),
            Self::Https | Self::OpenVpn(_) | Self::Null(_) | Self::Cable => None,
        }
    }

    /// What it says of its version.
    pub fn version(&self) -> String {
        let program = match self {
            Self::WireGuard(subject) => subject.program.clone(),
            Self::OpenVpn(one) if !one.is_ours() => "openvpn".into(),
            Self::Https | Self::OpenVpn(_) | Self::Null(_) | Self::Cable => return String::new(),
        };
        let said = Run::program(&program).arg("--version").attempt();
        let said = said.unwrap_or_else(|failed| failed.said);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.trim().to_owned()
    }

    /// Builds both ends in a world of their own: veth MTU 1500, tunnel MTU 1420.
    pub(super) fn set_up(&self) -> Field {
        let world = World::direct();
        let target = match self {
            Self::Cable => world.address(Side::Bob, Family::V4),
            Self::OpenVpn(_) => openvpn::INSIDE,
            Self::WireGuard(_) | Self::Https | Self::Null(_) => other::INSIDE,
        };
        let mut field = match self {
            Self::WireGuard(subject) => wireguard(world, subject),
            Self::Https => by_themselves(world, other::https),
            Self::OpenVpn(one) => by_themselves(world, |world| one.start(world)),
            Self::Null(mode) => null(world, mode),
            Self::Cable => Field { world, target, daemons: vec![], _tunnel: None, others: vec![], files: None },
        };
        field.target = target;
        poll::until("the first answer", PATIENCE, || traffic::ping_once(&field.world.alice, target).then_some(()));
        field
    }
}

impl Field {
    /// Processor seconds of both ends so far.
    pub(super) fn cpu(&self) -> f64 {
        self.daemons.iter().map(|pid| Usage::of_all(*pid).cpu).sum()
    }

    /// The most memory either end ever had, in MB.
    pub(super) fn peak(&self) -> f64 {
        let peak = self.daemons.iter().map(|pid| Usage::of_all(*pid).peak).max();
        peak.unwrap_or(0) as f64 / 1_000.0
    }

    /// Each end on a processor of its own, as long as this is kept.
    pub(super) fn pinned(&self) -> Pinned {
        Pinned::apart(&self.daemons)
    }

    /// Ends the client and starts it anew: how long it takes until it is in, in milliseconds.
    #[track_caller]
    pub(super) fn come_again(&mut self, one: &OpenVpn) -> Option<f64> {
        self.others.pop()?.end();
        let files = self.files.as_ref()?;
        let (milliseconds, client) = openvpn::connect(&self.world.alice, || one.client(&self.world, files));
        self.others.push(client);
        Some(milliseconds)
    }

    /// The memory of the answering end, in MB.
    pub(super) fn resident(&self) -> f64 {
        self.daemons.last().map_or(0.0, |pid| Usage::of_all(*pid).resident as f64 / 1_000.0)
    }
}

fn wireguard(world: World, subject: &Subject) -> Field {
    let pairing = Pairing { caller: subject.clone(), answerer: subject.clone() };
    let Tunnel { alice, bob, world } = Tunnel::new(world, &pairing);
    let daemons = vec![alice.daemon.pid(), bob.daemon.pid()];
    Field { target: [10, 7, 0, 2].into(), world, daemons, _tunnel: Some([alice, bob]), others: vec![], files: None }
}

/// Ends that configure themselves.
fn by_themselves(world: World, start: impl FnOnce(&World) -> (Vec<Ended>, Files)) -> Field {
    let (ends, files) = start(&world);
    for host in [&world.alice, &world.bob] {
        other::wait_for_address(host);
    }
    let daemons = ends.iter().rev().map(|end| end.0.id()).collect();
    Field { target: other::INSIDE, world, daemons, _tunnel: None, others: ends, files: Some(files) }
}

fn null(world: World, mode: &str) -> Field {
    let ends = [Side::Alice, Side::Bob].map(|side| {
        let remote = SocketAddr::new(world.address(side.other(), Family::V4), PORT);
        let address = if side == Side::Alice { "10.7.0.1" } else { "10.7.0.2" };
        start_null(world.host(side), remote, mode, address)
    });
    let daemons = ends.iter().map(|end| end.0.id()).collect();
    Field { target: [10, 7, 0, 2].into(), world, daemons, _tunnel: None, others: ends.into(), files: None }
}

#[track_caller]
fn start_null(namespace: &Namespace, remote: SocketAddr, mode: &str, address: &str) -> Ended {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name()]).arg(beside_this_program("examples/null"));
    command.args(["null0", &PORT.to_string(), &remote.to_string(), mode]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let ended = Ended(child.unwrap_or_else(|error| panic!("cannot start the null protocol: {error}")));
    poll::until("null0", PATIENCE, || namespace.attempt("ip link show null0").is_ok().then_some(()));
    namespace.run(&format!("ip address add {address}/24 dev null0"));
    namespace.run("ip link set null0 mtu 1420 up");
    ended
}

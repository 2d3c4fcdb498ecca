//! `adit demo`: two peers in two network namespaces on this machine, and real traffic between them.
//!
//! Both peers are this very program, run as a daemon and asked over its socket, so that what is shown is what is used.
//! Nothing outlives it: namespaces end with the process, daemons end with their parent, files are in one directory.

mod peer;
mod room;
mod sys;
mod transfer;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_wireguard::{PresharedKey, PrivateKey};
use serde::Serialize;

pub(crate) use crate::ping::Pings;

use self::peer::Peer;
use self::room::Room;
use crate::exit::{Failure, Result};
use crate::report::{Offloads, TunnelReport};

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DemoReport {
    /// The number of this schema.
    pub(crate) schema: u32,
    /// The version of the program.
    pub(crate) version: String,
    /// CPUs there are for everything.
    pub(crate) cpus: usize,
    /// From the first packet to its answer, handshake and all, in milliseconds.
    pub(crate) handshake_ms: f64,
    /// Pings through the tunnel, idle but for them.
    pub(crate) ping: Pings,
    /// Transfers through the tunnel, one after the other.
    pub(crate) transfers: Vec<Transfer>,
    /// The two peers.
    pub(crate) peers: Vec<PeerFigures>,
}

/// One timed TCP transfer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Transfer {
    /// Who sent.
    pub(crate) from: String,
    /// Who received.
    pub(crate) to: String,
    /// What arrived, each byte compared.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Gigabits a second, of what the program received.
    pub(crate) gbit_per_second: f64,
    /// CPU seconds that both peers' daemons together spent on each gigabyte.
    pub(crate) cpu_seconds_per_gb: f64,
}

/// One peer at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PeerFigures {
    /// Its name.
    pub(crate) name: String,
    /// Bytes of WireGuard messages received, as `wg` counts them.
    pub(crate) received: u64,
    /// Bytes of WireGuard messages sent.
    pub(crate) sent: u64,
    /// Packets dropped, whatever the reason.
    pub(crate) dropped: u64,
    /// Resident memory of its daemon, in KiB.
    pub(crate) resident_kib: u64,
    /// CPU time of its daemon, in seconds.
    pub(crate) cpu_seconds: f64,
    /// What the kernel did for it.
    pub(crate) offloads: Offloads,
}

/// Says what is being done, to whoever watches.
pub(crate) type Progress<'a> = &'a dyn Fn(&str);

/// Runs it all. When `stop` is set, ends early, as an error, with everything cleaned up.
pub(crate) fn run(seconds: u32, stop: &Arc<AtomicBool>, progress: Progress<'_>) -> Result<DemoReport> {
    can_run()?;
    let directory = Directory::new()?;
    progress("making two network namespaces and a cable between them");
    let (left, right) = (Room::new("left")?, Room::new("right")?);
    left.connect(&right, LEFT.outside.octets(), RIGHT.outside.octets())?;
    progress("bringing up an adit peer in each");
    let files = profiles(&directory.0)?;
    let mut left = Peer::start(&LEFT, left, &directory.0, &files.left)?;
    let mut right = Peer::start(&RIGHT, right, &directory.0, &files.right)?;
    left.up()?;
    right.up()?;
    check(stop)?;
    progress("pinging through the tunnel");
    let handshake_ms = handshake(&left, stop)?;
    let ping = pings(&left, stop)?;
    let mut transfers = Vec::new();
    for (from, to) in [(&left, &right), (&right, &left)] {
        progress(&format!("sending over TCP from {} to {} for {seconds} s", from.name(), to.name()));
        transfers.push(transfer(from, to, seconds, stop)?);
    }
    let peers = vec![left.figures()?, right.figures()?];
    progress("cleaning up");
    left.down()?;
    right.down()?;
    Ok(DemoReport {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        handshake_ms,
        ping,
        transfers,
        peers,
    })
}

/// One side of the demo.
#[derive(Debug)]
struct Side {
    /// What it is called.
    label: &'static str,
    /// Its address on the cable.
    outside: Ipv4Addr,
    /// Its address in the tunnel.
    inside: Ipv4Addr,
}

impl Side {
    /// Its interface: of this process alone, for the control sockets of all interfaces are in one directory.
    fn interface(&self) -> String {
        format!("{}{}", self.label, std::process::id())
    }
}

const LEFT: Side = Side { label: "left", outside: Ipv4Addr::new(192, 0, 2, 1), inside: Ipv4Addr::new(10, 77, 0, 1) };
const RIGHT: Side = Side { label: "right", outside: Ipv4Addr::new(192, 0, 2, 2), inside: Ipv4Addr::new(10, 77, 0, 2) };

/// Where both listen.
const PORT: u16 = 51820;
/// How many pings.
const PINGS: u16 = 20;
/// How long one may take.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// How often the first ping is sent before the tunnel counts as broken; a handshake is repeated after 5 s.
const FIRST_PINGS: u16 = 7;

/// What has to be there, each with its own sentence.
fn can_run() -> Result<()> {
    use rustix::thread::CapabilitySet;
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN | CapabilitySet::NET_RAW;
    let has = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if !has.contains(needed) {
        return Err(Failure::privilege("the demo makes network namespaces and TUN devices, which only root may do")
            .hint("run it as `sudo adit demo`"));
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(Failure::failed("there is no /dev/net/tun, so no tunnel can be made")
            .hint("load it with `modprobe tun`; in a container, start it with `--device /dev/net/tun`"));
    }
    Ok(())
}

fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Failure::failed("interrupted; everything was cleaned up")) } else { Ok(()) }
}

/// The configuration files of both.
struct Profiles {
    left: PathBuf,
    right: PathBuf,
}

fn profiles(directory: &Path) -> Result<Profiles> {
    let random = || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| Failure::failed(format!("the system gives no random numbers: {e}")))?;
        Ok::<_, Failure>(bytes)
    };
    let (left, right) = (PrivateKey::new(random()?), PrivateKey::new(random()?));
    let secret = PresharedKey::new(random()?);
    let write = |own: &Side, key: &PrivateKey, peer: &Side, peer_key: &PrivateKey| {
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = {}/24\nListenPort = {PORT}\n\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = {}:{PORT}\nAllowedIPs = {}/32\n",
            key.to_base64(),
            own.inside,
            peer_key.public_key(),
            secret.to_base64(),
            peer.outside,
            peer.inside
        );
        let file = directory.join(format!("{}.conf", own.interface()));
        write_private(&file, text.as_bytes())
            .map_err(|e| Failure::io(format!("cannot write {}", file.display()), &e))?;
        Ok::<_, Failure>(file)
    };
    Ok(Profiles { left: write(&LEFT, &left, &RIGHT, &right)?, right: write(&RIGHT, &right, &LEFT, &left)? })
}

fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(bytes)
}

/// From the first packet to its answer.
fn handshake(from: &Peer, stop: &AtomicBool) -> Result<f64> {
    for sequence in 0..FIRST_PINGS {
        check(stop)?;
        if let Some(time) = from.ping(RIGHT.inside, sequence, PING_PATIENCE)? {
            return Ok((time.as_secs_f64() + f64::from(sequence) * PING_PATIENCE.as_secs_f64()) * 1000.0);
        }
    }
    let log = from.log_tail();
    Err(Failure::failed(format!("no answer came through the tunnel within {FIRST_PINGS} s{log}"))
        .hint("run it again with ADIT_LOG=debug, and report what it says"))
}

fn pings(from: &Peer, stop: &AtomicBool) -> Result<Pings> {
    let mut times = Vec::new();
    for sequence in 0..PINGS {
        check(stop)?;
        times.push(from.ping(RIGHT.inside, FIRST_PINGS + sequence, PING_PATIENCE)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Pings::of(&times))
}

fn transfer(from: &Peer, to: &Peer, seconds: u32, stop: &Arc<AtomicBool>) -> Result<Transfer> {
    check(stop)?;
    let failed = |e: std::io::Error| Failure::failed(format!("the transfer through the tunnel failed: {e}"));
    let cpu_before = from.cpu_seconds() + to.cpu_seconds();
    let (listener, port) = to.inside(transfer::listen)?.map_err(failed)?;
    let receiver = {
        let stop = stop.clone();
        to.inside(move |_| std::thread::spawn(move || transfer::receive(&listener, &stop)))?
    };
    let target = to.address();
    let sender = {
        let stop = stop.clone();
        let time = Duration::from_secs(seconds.into());
        from.inside(move |_| std::thread::spawn(move || transfer::send(target, port, time, &stop)))?
    };
    let ended = |_| Failure::failed("a thread of the transfer ended in a way it should not");
    let sent = sender.join().map_err(ended)?;
    let arrived = receiver.join().map_err(ended)?;
    check(stop)?;
    sent.map_err(failed)?;
    let arrived = arrived.map_err(failed)?;
    let cpu = from.cpu_seconds() + to.cpu_seconds() - cpu_before;
    let time = arrived.time.as_secs_f64().max(f64::EPSILON);
    Ok(Transfer {
        from: from.name().to_owned(),
        to: to.name().to_owned(),
        bytes: arrived.bytes,
        seconds: time,
        gbit_per_second: arrived.bytes as f64 * 8.0 / time / 1e9,
        cpu_seconds_per_gb: cpu / (arrived.bytes.max(1) as f64 / 1e9),
    })
}

impl PeerFigures {
    fn of(label: &str, tunnel: &TunnelReport, resident_kib: u64, cpu_seconds: f64) -> Self {
        Self {
            name: label.to_owned(),
            received: tunnel.traffic.received,
            sent: tunnel.traffic.sent,
            dropped: tunnel.drops.values().sum(),
            resident_kib,
            cpu_seconds,
            offloads: tunnel.offloads.clone(),
        }
    }
}

/// A directory that goes away with the demo. A killed demo's is removed by the next one.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let all = std::env::temp_dir();
        remove_leftovers(&all);
        let own = all.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&own)
            .map_err(|e| Failure::io(format!("cannot create {}", own.display()), &e))?;
        Ok(Self(own))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

const PREFIX: &str = "adit-demo-";

/// Removes our own directories of processes that are no more.
fn remove_leftovers(all: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    for entry in all.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let ours = entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw());
        if ours && !Path::new(&format!("/proc/{pid}")).exists() {
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}

//! `adit up SERVER.ovpn` under a flood of first packets that others forged, and with two hundred clients at once.
//!
//! How fast ten clients are meanwhile is printed; what is asserted is that all arrives, that memory stays, and that nothing is kept.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::ExtendedKeyUsagePurpose;
use socket2::{Domain, Protocol, Socket, Type};

use super::serving::{Guest, REMOTE};
use super::{INSIDE, Scene};
use crate::world::{Machine, PATIENCE, eventually};

/// A million in a minute.
const RESETS_A_SECOND: f64 = 1_000_000.0 / 60.0;
/// Clients that pass traffic meanwhile.
const CLIENTS: usize = 10;
/// How long they do, before, during and after the flood.
const ROUND: Duration = Duration::from_secs(3);
/// How long the flood goes on alone.
const ALONE: Duration = Duration::from_secs(2);
/// What the server's memory may differ by, in KiB: pages that the allocator has touched since.
const FLAT: u64 = 3 << 10;
/// What a test on a machine with other work asserts of their speed; what it is on an idle one is in `docs/performance.md`.
const LEAST_RATIO: f64 = 0.4;

/// A client's first packets, as somebody forges them who has heard others': of so many, with sessions of their own.
type Forge = fn(&[u8], u64) -> Vec<u8>;

#[test]
fn a_million_forged_resets_a_minute_without_an_envelope() {
    let scene = Scene::serving("topology subnet\n");
    let remote = REMOTE.replace("--tls-crypt DIR/tc.key", "");
    flood(&scene, &remote, false, |_, number| [&[0x38], number.to_be_bytes().as_slice(), &[0; 5]].concat());
}

/// Half of them are what a client sent once, from elsewhere; the other half nobody's.
#[test]
fn a_million_forged_resets_a_minute_under_tls_crypt_v2() {
    let scene = Scene::with(&rcgen::PKCS_ECDSA_P256_SHA256);
    let [server, client] = ["v2-server.key", "v2-client.key"].map(|name| scene.bob().dir.join(name));
    let made = |words: &[&str]| assert!(Command::new("openvpn").args(words).output().unwrap().status.success());
    let [of_server, of_client] = [&server, &client].map(|path| path.to_str().unwrap());
    made(&["--genkey", "tls-crypt-v2-server", of_server]);
    made(&["--tls-crypt-v2", of_server, "--genkey", "tls-crypt-v2-client", of_client]);
    fs::copy(&client, scene.alice().dir.join("v2-client.key")).unwrap();
    let bob = scene.bob();
    bob.ok(&["up", &scene.file_of_server("topology subnet\ntls-crypt-v2 v2-server.key\n")]);
    let remote = REMOTE.replace("--tls-crypt DIR/tc.key", "--tls-crypt-v2 DIR/v2-client.key");
    flood(&scene, &remote, true, |heard, number| {
        let mut reset = heard.to_vec();
        if number % 2 == 0 {
            reset[60..68].copy_from_slice(&number.to_be_bytes());
        }
        reset
    });
}

/// The ten of them, before, during and after. `keyed`: whoever has a key comes in meanwhile too; where there is none, answers are used
/// up by those who need not prove anything.
fn flood(scene: &Scene, remote: &str, keyed: bool, forge: Forge) {
    let (alice, bob) = (scene.alice(), scene.bob());
    let mallory = scene.world.third();
    route_back(bob);
    let heard = first_packet(scene, remote);
    let guests: Vec<_> = (0..CLIENTS).map(|n| Guest::new(scene, alice, &format!("c{n}"), remote)).collect();
    let guests: Vec<_> = guests.into_iter().map(|guest| guest.once_connected(scene)).collect();
    let server = Server::at(bob);
    let before = goodput(alice, bob);
    let (memory, drops) = (server.memory(), drops(bob));
    let flooded = |meanwhile: &dyn Fn() -> f64| {
        let ended = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let sender = threads.spawn(|| mallory.inside(|| send_resets(&heard, forge, &ended)));
            let done = meanwhile();
            ended.store(true, Ordering::Relaxed);
            (done, sender.join().unwrap())
        })
    };
    let (during, sent) = flooded(&|| goodput(alice, bob));
    // What one costs: nothing else happens meanwhile.
    let (spent, alone) = flooded(&|| {
        let before = server.cpu();
        std::thread::sleep(ALONE);
        server.cpu() - before
    });
    if keyed {
        flooded(&|| {
            drop(Guest::connected(scene, alice, "meanwhile", &format!("{remote} --explicit-exit-notify 1")).end());
            eventually("it has left", || scene.guests().len() == CLIENTS);
            0.0
        });
    }
    let grown = server.memory().saturating_sub(memory);
    let (sent, refused) = (sent + alone, self::drops(bob) - drops);
    let after = goodput(alice, bob);
    let ratio = 2.0 * during / (before + after);
    let each = 1e6 * spent / alone as f64;
    figure(&format!(
        "{sent} resets: {before:.1}, {during:.1}, {after:.1} MB/s before, during and after, ratio {ratio:.3}; {each:.1} µs of the \
         server for each, and {grown} KiB more in all"
    ));
    assert!(refused * 10 >= sent * 8, "{refused} of {sent} were looked at: {}", bob.status());
    assert!(grown <= FLAT, "{grown} KiB");
    assert_eq!(scene.guests().len(), CLIENTS, "nobody else is in, and nobody went");
    assert!(guests.iter().all(|guest| !guest.log().contains("SIGUSR1")), "nobody had to come again");
    assert!(ratio >= LEAST_RATIO, "{ratio}");
    // Whoever comes when it is over is let in as ever.
    Guest::connected(scene, alice, "late", remote);
}

/// What a client with the key sends first: it asks at a port where only we listen.
fn first_packet(scene: &Scene, remote: &str) -> Vec<u8> {
    let socket = scene.alice().inside(|| std::net::UdpSocket::bind("127.0.0.1:1194").unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let asking = Guest::new(scene, scene.alice(), "asking", &remote.replace("192.0.2.2", "127.0.0.1"));
    let mut packet = [0; 2048];
    let len = socket.recv(&mut packet).unwrap_or_else(|error| panic!("{error}: {}", asking.log()));
    packet[..len].to_vec()
}

/// What the server answers goes where it came from, and ends there.
fn route_back(bob: &Machine) {
    let words = ["route", "add", "198.18.0.0/15", "via", "203.0.113.1"];
    assert!(bob.command("ip").args(words).status().unwrap().success());
}

/// Packets from 131 072 addresses, until it is over; how many.
fn send_resets(heard: &[u8], forge: Forge, ended: &AtomicBool) -> u64 {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))).unwrap();
    let to: SocketAddr = (Ipv4Addr::new(203, 0, 113, 2), 1194).into();
    let (began, mut sent) = (Instant::now(), 0_u64);
    while !ended.load(Ordering::Relaxed) {
        while (sent as f64) < began.elapsed().as_secs_f64() * RESETS_A_SECOND {
            // Any permutation: each address has its turn.
            let dice = (sent + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let from = 0xc612_0000 | (dice >> 40) as u32 & 0x1_ffff;
            let packet = in_ip(from, 1024 + (dice >> 50) as u16, to, &forge(heard, dice));
            socket.send_to(&packet, &to.into()).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// A datagram in a packet whose source is whatever one likes.
fn in_ip(from: u32, port: u16, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(to) = to else { panic!("IPv4 it is") };
    let length = payload.len() as u16 + 8;
    // The kernel fills in what is zero here: the number of the packet, and the checksum. Of UDP it may be missing.
    let mut packet = vec![0x45, 0];
    packet.extend((length + 20).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.to_be_bytes());
    packet.extend(to.ip().octets());
    packet.extend([port, to.port(), length, 0].map(u16::to_be_bytes).concat());
    packet.extend(payload);
    packet
}

/// What ten clients send in a round, all at once, in MB/s: every byte is looked at.
fn goodput(alice: &Machine, bob: &Machine) -> f64 {
    let listener = bob.inside(|| TcpListener::bind((INSIDE, 0)).unwrap());
    let at = listener.local_addr().unwrap();
    let began = Instant::now();
    let total: u64 = std::thread::scope(|threads| {
        let senders: Vec<_> = (0..CLIENTS)
            .map(|n| threads.spawn(move || alice.inside(|| send_through(&format!("ovc{n}"), at))))
            .collect();
        let readers: Vec<_> =
            (0..CLIENTS).map(|_| listener.accept().unwrap().0).map(|s| threads.spawn(|| read_all(s))).collect();
        let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        let come: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!(come, sent, "all arrives");
        come
    });
    total as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// A block of what is sent, which is no other.
fn block() -> Vec<u8> {
    (0..64_u32 << 10).map(|i| ((i * 7) ^ (i >> 8)) as u8).collect()
}

fn send_through(device: &str, to: SocketAddr) -> u64 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind_device(Some(device.as_bytes())).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let (block, began, mut sent) = (block(), Instant::now(), 0);
    while began.elapsed() < ROUND {
        stream.write_all(&block).unwrap();
        sent += block.len() as u64;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    sent
}

fn read_all(mut stream: TcpStream) -> u64 {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (block, mut come, mut buffer) = (block(), 0, vec![0; 64 << 10]);
    loop {
        let len = stream.read(&mut buffer).unwrap();
        if len == 0 {
            return come;
        }
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let at = (come % block.len() as u64) as usize;
            let part = rest.len().min(block.len() - at);
            assert!(rest[..part] == block[at..at + part], "something else arrived at byte {come}");
            (rest, come) = (&rest[part..], come + part as u64);
        }
    }
}

/// What was refused or not understood, all in all.
fn drops(bob: &Machine) -> u64 {
    let drops = bob.status()["drops"].clone();
    ["rate-limited", "bad-mac", "bad-handshake", "not-a-message", "unknown-session"]
        .iter()
        .filter_map(|reason| drops[*reason].as_u64())
        .sum()
}

/// The process that serves.
struct Server(i32);

impl Server {
    fn at(bob: &Machine) -> Self {
        Self(bob.daemon())
    }

    /// In KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// In seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
        ticks / 100.0
    }
}

#[expect(clippy::print_stdout, reason = "a figure to read, which nothing depends on")]
fn figure(text: &str) {
    println!("{text}");
}

/// How many clients are in at once.
const MANY: usize = 200;
/// Begun at a time: they share two cores with everything else.
const AT_A_TIME: usize = 10;
/// KiB of the server for each.
const MEMORY_A_CLIENT: u64 = 100;

struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for client in &mut self.0 {
            let _gone = client.kill();
            let _gone = client.wait();
        }
    }
}

#[test]
fn two_hundred_real_clients_at_once() {
    let scene = Scene::serving("topology subnet\ntls-crypt tc.key\nduplicate-cn\n");
    let (alice, bob) = (scene.alice(), scene.bob());
    let (cert, key) = scene.papers.issue("many", ExtendedKeyUsagePurpose::ClientAuth);
    for (name, text) in [("many.crt", cert), ("many.key", key), ("ca.crt", scene.papers.authority.pem())] {
        fs::write(alice.dir.join(name), text).unwrap();
    }
    fs::copy(bob.dir.join("tc.key"), alice.dir.join("tc.key")).unwrap();
    let line = "--client --nobind --dev null --ifconfig-noexec --route-noexec --ca ca.crt --cert many.crt --key many.key \
                --tls-crypt tc.key --remote 192.0.2.2 1194 --proto udp --verb 1";
    let mut crowd = Crowd(Vec::new());
    let mut begin = |count: usize| {
        for _ in 0..count {
            let mut command = alice.command("openvpn");
            command.args(line.split_whitespace()).current_dir(&alice.dir).stdout(Stdio::null()).stderr(Stdio::null());
            crowd.0.push(command.spawn().unwrap());
        }
        let wanted = crowd.0.len();
        eventually("those who began are in", || scene.guests().len() == wanted);
    };
    let server = Server::at(bob);
    // What the first ones cost is the server's own.
    begin(AT_A_TIME);
    let (memory, began) = (server.memory(), Instant::now());
    (1..MANY / AT_A_TIME).for_each(|_| begin(AT_A_TIME));
    let each = server.memory().saturating_sub(memory) / (MANY - AT_A_TIME) as u64;
    let took = began.elapsed().as_secs_f64();
    figure(&format!("{MANY} clients are in; {each} KiB of the server each, within {took:.1} s"));
    assert!(each <= MEMORY_A_CLIENT, "{each} KiB");
    // Longer than silence would be borne.
    std::thread::sleep(Duration::from_secs(5));
    let guests = scene.guests();
    let addresses: std::collections::BTreeSet<_> =
        guests.iter().map(|guest| guest["addresses"][0].to_string()).collect();
    assert_eq!((guests.len(), addresses.len()), (MANY, MANY), "each has its own address, and stays");
    let shown = bob.status();
    assert_eq!((&shown["openvpn_server"]["admitted"], &shown["openvpn_server"]["refused"]), (&MANY.into(), &0.into()));
}

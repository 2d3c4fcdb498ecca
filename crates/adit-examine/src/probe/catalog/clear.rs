//! Probes without TLS of their own: random bytes, other protocols, broken records and hellos made by hand.

use std::time::Duration;

use super::super::script::{Channel, Step, Until};
use super::{Set, send};

/// Lengths at which servers of random-looking protocols were seen to change their minds (Frolov et al. 2020).
const TELLING_LENGTHS: [(usize, usize); 8] =
    [(7, 9), (11, 13), (15, 17), (21, 23), (32, 34), (40, 42), (48, 50), (221, 221)];
const MOMENT: Duration = Duration::from_millis(30);

pub(super) fn add(set: &mut Set<'_>) {
    openvpn(set);
    random(set);
    other_protocols(set);
    records(set);
    hellos(set);
    if set.first {
        idle(set);
    }
}

/// Xue et al. 2022, §5: what an OpenVPN server over TCP does that others do not.
fn openvpn(set: &mut Set<'_>) {
    let mut reset = vec![0, 14, 0x38];
    reset.extend(set.dice.bytes(8));
    reset.extend([0; 5]);
    set.clear("R4", "openvpn: reset", String::new(), send(reset.clone()));
    set.clear("R4", "openvpn: reset without its last byte", String::new(), send(&reset[..reset.len() - 1]));
    let length = set.dice.between(1628, 65_535);
    let mut long = vec![(length >> 8) as u8, length as u8, 0x38];
    long.extend(set.dice.bytes(13));
    set.clear("R4", "openvpn: length too long", length.to_string(), send(long));
    let random = set.dice.bytes(2000);
    set.clear("R4", "openvpn: 2000 random bytes", String::new(), send(random));
    let count = set.dice.between(1500, 1700);
    let random = set.dice.bytes(count);
    set.clear("R4", "openvpn: around its threshold", count.to_string(), send(random));
}

fn random(set: &mut Set<'_>) {
    for (kind, count) in
        [("1 random byte", 1), ("50 random bytes", 50), ("1000 random bytes", 1000), ("10000 random bytes", 10_000)]
    {
        let bytes = set.dice.bytes(count);
        set.clear("R12", kind, String::new(), send(bytes.clone()));
        if set.dice.coin() {
            set.clear("R12", "random bytes, then half closed", count.to_string(), then(bytes, Step::HalfClose));
        }
    }
    let (from, to) = *set.dice.pick(&TELLING_LENGTHS);
    let count = set.dice.between(from, to);
    let bytes = set.dice.bytes(count);
    set.clear("R13", "random bytes of a telling length", count.to_string(), send(bytes));
    set.clear("R12", "nothing, then half closed", String::new(), vec![Step::HalfClose]);
}

fn other_protocols(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let path = set.unknown_path();
    let plain = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n");
    set.clear("R12", "plain HTTP", path, send(plain.clone()));
    set.clear("R12", "plain HTTP, then half closed", String::new(), then(plain.into_bytes(), Step::HalfClose));
    let preface = super::super::frames::Frames::begin().0;
    set.clear("R12", "plain HTTP/2", String::new(), send(preface));
    for (kind, bytes) in [
        ("SSH", &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..]),
        ("SMTP", b"EHLO example.org\r\n"),
        ("SOCKS 5", b"\x05\x01\x00"),
        ("proxy protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"),
        ("SSL 2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80"),
    ] {
        set.clear("R12", kind, String::new(), send(bytes));
    }
    let mut wireguard = vec![1, 0, 0, 0];
    wireguard.extend(set.dice.bytes(144));
    set.clear("R12", "a WireGuard initiation", String::new(), send(wireguard));
    let capsule = super::tunnel::capsules(&mut set.dice);
    set.clear("R12", "capsules", String::new(), send(capsule));
}

fn records(set: &mut Set<'_>) {
    let hello = hello_by_hand(set, 0x0303, true);
    let body = set.dice.bytes(40);
    let kind = *set.dice.pick(&[0_u8, 1, 19, 20, 21, 23, 24, 25, 99, 255]);
    set.clear("R12", "a record of another type", kind.to_string(), send(record(kind, 0x0303, &body)));
    set.clear("R12", "an alert", String::new(), send(record(21, 0x0303, &[2, 40])));
    set.clear("R12", "a record too long", String::new(), send([&[22, 3, 1, 0x48, 0x01][..], &[1; 200]].concat()));
    set.clear("R12", "an empty record", String::new(), send(record(22, 0x0301, &[])));
    let version = *set.dice.pick(&[0x0000, 0x0200, 0x0300, 0x0305, 0x0400, 0xffff]);
    set.clear("R12", "a record of another version", format!("{version:04x}"), send(record(22, version, &hello)));
    let cut = set.dice.between(1, hello.len() - 1);
    let two = [record(22, 0x0301, &hello[..cut]), record(22, 0x0301, &hello[cut..])].concat();
    set.clear("R12", "a hello in two records", cut.to_string(), send(two));
    let whole = record(22, 0x0301, &hello);
    let slow = vec![Step::Send(whole[..cut].to_vec()), Step::Pause(MOMENT), Step::Send(whole[cut..].to_vec())];
    set.clear("R12", "a hello in two segments", cut.to_string(), slow);
    set.clear("R12", "half a hello, then half closed", cut.to_string(), then(whole[..cut].to_vec(), Step::HalfClose));
    set.clear("R12", "a hello, then half closed", String::new(), then(whole.clone(), Step::HalfClose));
    let garbage = set.dice.bytes(300);
    set.clear("R12", "a hello, then random bytes", String::new(), send([whole.clone(), garbage.clone()].concat()));
    let sealed = record(23, 0x0303, &garbage);
    set.clear("R12", "a hello, then a record nobody can open", String::new(), send([whole, sealed].concat()));
}

fn hellos(set: &mut Set<'_>) {
    for (kind, version) in [("a hello of TLS 1.0", 0x0301), ("a hello of TLS 1.1", 0x0302), ("of SSL 3", 0x0300)] {
        let hello = hello_by_hand(set, version, false);
        set.clear("R12", kind, String::new(), send(record(22, 0x0301, &hello)));
    }
    let plain = hello_by_hand(set, 0x0303, false);
    set.clear("R12", "a hello without extensions", String::new(), send(record(22, 0x0301, &plain)));
    let empty_alpn = hello_by_hand(set, 0x0303, true);
    set.clear("R12", "a hello with an empty ALPN", String::new(), send(record(22, 0x0301, &empty_alpn)));
    let mut wrong = plain;
    let at = set.dice.between(0, 3);
    wrong[at] ^= 1 << set.dice.between(0, 7);
    set.clear("R12", "a hello with a wrong length or type", at.to_string(), send(record(22, 0x0301, &wrong)));
}

/// Frolov et al. 2020: after how long does a server close a connection that says nothing, or not enough?
fn idle(set: &mut Set<'_>) {
    let hello = record(22, 0x0301, &hello_by_hand(set, 0x0303, true));
    let random = set.dice.bytes(1);
    let half = hello[..hello.len() / 2].to_vec();
    for (kind, steps) in [
        ("idle: nothing", Vec::new()),
        ("idle: one byte", send(random)),
        ("idle: half a hello", send(half)),
        ("idle: a hello", send(hello)),
    ] {
        set.add("R12", kind, String::new(), Channel::Clear, steps, Until::Idle);
    }
}

fn then(bytes: Vec<u8>, step: Step) -> Vec<Step> {
    vec![Step::Send(bytes), step]
}

pub(super) fn record(kind: u8, version: u16, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind];
    record.extend(version.to_be_bytes());
    record.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend_from_slice(content);
    record
}

/// A client's hello of TLS 1.2 or older; with extensions its ALPN is there, and empty.
fn hello_by_hand(set: &mut Set<'_>, version: u16, extended: bool) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend(set.dice.bytes(32));
    body.push(0);
    let ciphers: [u16; 8] = [0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x002f];
    body.extend(16_u16.to_be_bytes());
    body.extend(ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()));
    body.extend([1, 0]);
    if extended {
        let name = set.plan.name.as_bytes();
        let mut extensions = Vec::new();
        let length = |extra: usize| u16::try_from(name.len() + extra).unwrap_or_default().to_be_bytes();
        extensions.extend([0, 0]);
        extensions.extend(length(5));
        extensions.extend(length(3));
        extensions.push(0);
        extensions.extend(length(0));
        extensions.extend_from_slice(name);
        extensions.extend([0, 10, 0, 6, 0, 4, 0, 29, 0, 23]);
        extensions.extend([0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]);
        extensions.extend([0, 16, 0, 2, 0, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap_or_default().to_be_bytes());
        body.extend(extensions);
    }
    let mut hello = vec![1];
    hello.extend(&u32::try_from(body.len()).unwrap_or_default().to_be_bytes()[1..]);
    hello.extend(body);
    hello
}

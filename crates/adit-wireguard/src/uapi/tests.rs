//! The control text against what Debian's `wg` writes (captured from a socket), and against itself.

use std::fmt::Write as _;
use std::time::Duration;

use adit_protocol::Drops;
use proptest::prelude::*;

use super::*;
use crate::{AllowedIpChange, DeviceStatus, PeerChange, PeerStatus, PresharedKey, PrivateKey, PublicKey};

const PRIVATE: &str = "f08765611520f796618317405298e0e6392e3c3da5d753b7b7bee44b7a56c345";
const PEER: &str = "a821189365d69eac70b98bd8850cd99c6ed293798ee0c89dde09e783542b3d0d";
const OTHER: &str = "f25b9ec4143efa691275c1cf4663e84dede55cca371d433c4072833609b57a75";
const PSK: &str = "bd4e7da1a9dcd3aa7b5a63f5dbaf71cdef4552dd5abe1c95e60f9a8eea47a915";

/// `wg set xyz private-key … listen-port 51820 fwmark 0x1234`
#[test]
fn wg_set_of_a_device_is_understood() {
    let set = well(&format!("set=1\nprivate_key={PRIVATE}\nlisten_port=51820\nfwmark=4660\n\n"));
    assert_eq!(set.change.private_key, Some(PrivateKey::from_hex(PRIVATE).unwrap()));
    assert_eq!((set.listen_port, set.fwmark), (Some(51820), Some(0x1234)));
    assert!(set.change.peers.is_empty() && !set.change.replace_peers);
}

/// `wg set xyz peer … preshared-key … endpoint … persistent-keepalive 25 allowed-ips 10.0.0.1/32,fd00::/64`
#[test]
fn wg_set_of_a_peer_is_understood() {
    let set = well(&format!(
        "set=1\npublic_key={PEER}\npreshared_key={PSK}\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\n\
         replace_allowed_ips=true\nallowed_ip=10.0.0.1/32\nallowed_ip=fd00::/64\n\n"
    ));
    let [peer] = &set.change.peers[..] else { panic!("one peer") };
    assert_eq!(peer.public_key, PublicKey::from_hex(PEER).unwrap());
    assert_eq!(peer.preshared_key, Some(PresharedKey::from_hex(PSK).unwrap()));
    assert_eq!(peer.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
    assert_eq!(peer.persistent_keepalive, Some(25));
    assert!(peer.replace_allowed_ips && !peer.remove && !peer.update_only);
    assert_eq!(peer.allowed_ips, [add("10.0.0.1/32"), add("fd00::/64")]);
}

/// `wg syncconf`: peers that are gone from the file are removed by name, the others given again.
#[test]
fn wg_syncconf_is_understood() {
    let set = well(&format!(
        "set=1\nprivate_key={PRIVATE}\nlisten_port=1234\nfwmark=85\npublic_key={OTHER}\nremove=true\npublic_key={PEER}\n\
         endpoint=[2001:db8::1]:5\nreplace_allowed_ips=true\nallowed_ip=0.0.0.0/0\n\n"
    ));
    let [gone, kept] = &set.change.peers[..] else { panic!("two peers") };
    assert!(gone.remove);
    assert_eq!(kept.endpoint, Some("[2001:db8::1]:5".parse().unwrap()));
    assert!(!set.change.replace_peers);
}

/// `wg setconf` says `replace_peers=true` before the first peer.
#[test]
fn wg_setconf_replaces_the_peers() {
    let set = well(&format!("set=1\nlisten_port=1234\nfwmark=0\nreplace_peers=true\npublic_key={PEER}\n\n"));
    assert!(set.change.replace_peers);
    assert_eq!((set.fwmark, set.change.peers.len()), (Some(0), 1));
}

/// Reference W-110: several operations on one connection, cut anywhere.
#[test]
fn requests_are_the_same_however_the_bytes_are_cut() {
    let text = format!("get=1\n\nset=1\nlisten_port=7\npublic_key={PEER}\nallowed_ip=-10.0.0.0/8\n\nget=1\n\n");
    for cut in 1..20 {
        let mut parser = Parser::new();
        let mut seen = Vec::new();
        for mut part in text.as_bytes().chunks(cut) {
            while let Some(request) = parser.feed(&mut part) {
                seen.push(request);
            }
        }
        let [Request::Get, Request::Set(set, Ok(())), Request::Get] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(set.listen_port, Some(7));
        assert_eq!(set.change.peers[0].allowed_ips, [AllowedIpChange::Remove("10.0.0.0/8".parse().unwrap())]);
        assert!(parser.finish().is_none());
    }
}

/// Reference W-112.
#[test]
fn a_set_may_end_with_the_connection() {
    let mut parser = Parser::new();
    assert!(parser.feed(&mut &b"set=1\nfwmark=1\nlisten_port=2"[..]).is_none());
    let Some(Request::Set(set, Ok(()))) = parser.finish() else { panic!("a set") };
    assert_eq!((set.fwmark, set.listen_port), (Some(1), Some(2)));
}

#[test]
fn a_get_may_not_end_with_the_connection() {
    let mut parser = Parser::new();
    assert!(parser.feed(&mut &b"get=1\n"[..]).is_none());
    assert!(matches!(parser.finish(), Some(Request::Malformed)));
}

#[test]
fn an_unknown_operation_is_malformed() {
    for text in ["\n", "get=2\n", "set=0\n", "hello\n", "get=1\nx\n", "get=1 \n"] {
        assert!(matches!(Parser::new().feed(&mut text.as_bytes()), Some(Request::Malformed)), "{text:?}");
    }
}

/// Reference W-115: earlier lines stay applied, later ones do not count.
#[test]
fn what_comes_before_a_wrong_line_stays_and_what_comes_after_is_not_looked_at() {
    let (set, wrong) = asked(&format!(
        "set=1\nfwmark=9\npublic_key={PEER}\nallowed_ip=10.0.0.1/32\nallowed_ip=10.0.0.2\nallowed_ip=10.0.0.3/32\n\
         public_key={OTHER}\n\n"
    ));
    assert_eq!(wrong, Err(Errno::EINVAL));
    assert_eq!(set.fwmark, Some(9));
    let [peer] = &set.change.peers[..] else { panic!("one peer") };
    assert_eq!(peer.allowed_ips, [add("10.0.0.1/32")]);
}

/// Reference W-115.
#[test]
fn wrong_lines_have_the_error_numbers_of_others() {
    let long = "a".repeat(MAX_LINE + 1);
    let device: [(&str, Errno); 12] = [
        ("nonsense", Errno::EPROTO),
        (&long, Errno::EPROTO),
        ("unknown_key=1", Errno::EINVAL),
        ("endpoint=1.2.3.4:5", Errno::EINVAL),
        ("private_key=00", Errno::EINVAL),
        ("private_key=zz", Errno::EINVAL),
        ("listen_port=65536", Errno::EINVAL),
        ("listen_port=+1", Errno::EINVAL),
        ("listen_port=", Errno::EINVAL),
        ("fwmark=4294967296", Errno::EINVAL),
        ("fwmark=-1", Errno::EINVAL),
        ("replace_peers=false", Errno::EINVAL),
    ];
    for (line, errno) in device {
        assert_eq!(asked(&format!("set=1\n{line}\n\n")).1, Err(errno), "{line}");
    }
    let peer = [
        "remove=1",
        "update_only=false",
        "replace_allowed_ips=yes",
        "protocol_version=2",
        "protocol_version=01",
        "persistent_keepalive_interval=65536",
        "preshared_key=",
        "endpoint=host:1",
        "endpoint=1.2.3.4",
        "endpoint=[fe80::1%eth0]:5",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=--10.0.0.0/8",
        "private_key=00",
        "public_key=1234",
    ];
    for line in peer {
        let text = format!("set=1\npublic_key={PEER}\n{line}\n\n");
        assert_eq!(asked(&text).1, Err(Errno::EINVAL), "{line}");
    }
}

#[test]
fn an_interface_named_in_an_endpoint_is_looked_up() {
    let mut parser = Parser::with_scopes(|name| (name == "eth0").then_some(7));
    let text = format!("set=1\npublic_key={PEER}\nendpoint=[fe80::1%eth0]:51820\n\n");
    let Some(Request::Set(set, Ok(()))) = parser.feed(&mut text.as_bytes()) else { panic!("a set") };
    assert_eq!(set.change.peers[0].endpoint, Some("[fe80::1%7]:51820".parse().unwrap()));
}

#[test]
fn an_ipv4_endpoint_written_as_ipv6_is_an_ipv4_endpoint() {
    let set = well(&format!("set=1\npublic_key={PEER}\nendpoint=[::ffff:192.0.2.1]:5\n\n"));
    assert_eq!(set.change.peers[0].endpoint, Some("192.0.2.1:5".parse().unwrap()));
}

/// wireguard-go acts line by line, so a late `replace_allowed_ips` also takes what the request gave before it.
#[test]
fn replacing_networks_late_takes_the_earlier_ones_of_the_request_too() {
    let set = well(&format!(
        "set=1\npublic_key={PEER}\nallowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=10.1.0.0/16\n\n"
    ));
    assert_eq!(set.change.peers[0].allowed_ips, [add("10.1.0.0/16")]);
}

/// The port comes after the private key and before everything else.
#[test]
fn when_the_port_cannot_be_had_only_the_private_key_is_changed() {
    let set = well(&format!("set=1\nprivate_key={PRIVATE}\nlisten_port=1\nreplace_peers=true\npublic_key={PEER}\n\n"));
    let left = set.before_port();
    assert!(left.private_key.is_some() && left.peers.is_empty() && !left.replace_peers);
}

/// Reference W-117.
#[test]
fn an_error_is_negative_after_set_and_positive_after_get() {
    assert_eq!(Errno::answer_set(Ok(())), "errno=0\n\n");
    assert_eq!(Errno::answer_set(Err(Errno::EINVAL)), "errno=-22\n\n");
    assert_eq!(Errno::EIO.answer_get(), "errno=5\n\n");
    assert_eq!(Errno::from_raw(98), Errno::EADDRINUSE);
    assert_eq!(Errno::from_raw(-1), Errno::EIO);
}

/// Reference W-111.
#[test]
fn a_device_is_shown_as_others_show_it() {
    let mut bare = peer(OTHER);
    bare.endpoint = Some("182.122.22.19:3233".parse().unwrap());
    let status = device(vec![full_peer(), bare]);
    let expected = format!(
        "private_key={}\nlisten_port=12912\nfwmark=5\n\
         public_key={PEER}\npreshared_key={PSK}\nprotocol_version=1\nendpoint=[abcd:23::33%2]:51820\n\
         last_handshake_time_sec=1\nlast_handshake_time_nsec=5\ntx_bytes=38333\nrx_bytes=2224\n\
         persistent_keepalive_interval=111\nallowed_ip=192.168.4.4/32\nallowed_ip=fd00::/64\n\
         public_key={OTHER}\npreshared_key={}\nprotocol_version=1\nendpoint=182.122.22.19:3233\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
         persistent_keepalive_interval=0\nerrno=0\n\n",
        PrivateKey::from_hex(PRIVATE).unwrap().to_hex(),
        "0".repeat(64),
    );
    assert_eq!(*emit_get(&status, 12912, 5), expected);
}

/// Reference W-111: no key, no port, no mark, no endpoint, no lines for them.
#[test]
fn what_a_device_does_not_have_is_left_out() {
    let mut status = device(vec![]);
    status.private_key = None;
    assert_eq!(*emit_get(&status, 0, 0), "errno=0\n\n");
    status.private_key = Some(PrivateKey::new([0; 32]));
    status.peers = vec![peer(PEER)];
    let text = emit_get(&status, 0, 0);
    assert!(text.starts_with("public_key="));
    assert!(!text.contains("endpoint"));
}

/// The text is made in one piece, so that no key is left behind in memory that was given back.
#[test]
fn a_get_never_moves() {
    let mut widest = full_peer();
    widest.endpoint = Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap());
    widest.last_handshake = Some(Duration::new(u64::MAX, 999_999_999));
    (widest.rx_bytes, widest.tx_bytes, widest.persistent_keepalive) = (u64::MAX, u64::MAX, u16::MAX);
    widest.allowed_ips = vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(); 9];
    widest.allowed_ips.extend(["255.255.255.255/32".parse::<ipnet::IpNet>().unwrap(); 9]);
    let status = device(vec![widest]);
    let bound = shown::most_bytes(&status);
    assert!(emit_get(&status, u16::MAX, u32::MAX).len() <= bound);
}

#[test]
fn what_is_shown_is_read_back() {
    let shown = parse_get(&emit_get(&device(vec![full_peer(), peer(OTHER)]), 12912, 5)).unwrap();
    assert_eq!(shown.private_key, Some(PrivateKey::from_hex(PRIVATE).unwrap()));
    assert_eq!((shown.listen_port, shown.fwmark), (12912, 5));
    let [first, second] = &shown.peers[..] else { panic!("two peers") };
    assert_eq!(first.preshared_key, Some(PresharedKey::from_hex(PSK).unwrap()));
    assert_eq!(first.endpoint, full_peer().endpoint);
    assert_eq!(first.last_handshake, Some(Duration::new(1, 5)));
    assert_eq!((first.tx_bytes, first.rx_bytes, first.persistent_keepalive), (38333, 2224, 111));
    assert_eq!(first.allowed_ips, full_peer().allowed_ips);
    assert_eq!((second.preshared_key.is_none(), second.last_handshake), (true, None));
}

#[test]
fn answers_that_are_no_answers_are_refused() {
    assert_eq!(parse_set("errno=0\n\n"), Ok(()));
    assert_eq!(parse_set("errno=-22\n\n"), Err(ReplyError::Refused(Errno::EINVAL)));
    assert_eq!(parse_set("errno=22\n\n"), Err(ReplyError::Refused(Errno::EINVAL)));
    assert_eq!(parse_set(""), Err(ReplyError::Malformed { line: 1 }));
    assert_eq!(parse_set("errno=-2147483648\n"), Err(ReplyError::Malformed { line: 1 }));
    assert_eq!(parse_get("errno=1\n\n").unwrap_err(), ReplyError::Refused(Errno::from_raw(1)));
    assert_eq!(parse_get("fwmark=1\n").unwrap_err(), ReplyError::Malformed { line: 2 });
    assert_eq!(parse_get("fwmark=x\nerrno=0\n").unwrap_err(), ReplyError::Malformed { line: 1 });
}

/// Reference W-118.
#[test]
fn a_hundred_thousand_networks_pass_through() {
    let mut text = String::from("set=1\nreplace_peers=true\n");
    for peer in 0..4_000_u32 {
        writeln!(text, "public_key={:064x}", peer + 1).unwrap();
        for net in 0..30_u32 {
            writeln!(text, "allowed_ip={}/32", std::net::Ipv4Addr::from(peer * 30 + net)).unwrap();
        }
    }
    text.push('\n');
    let set = well(&text);
    assert_eq!(set.change.peers.len(), 4_000);
    assert_eq!(set.change.peers.iter().map(|p| p.allowed_ips.len()).sum::<usize>(), 120_000);
    assert_eq!(*set.emit(), text);
}

#[test]
fn no_secret_is_printed_while_a_request_is_parsed() {
    let mut parser = Parser::new();
    let text = format!("set=1\nprivate_key={PRIVATE}\npublic_key={PEER}\npreshared_key={PSK}\n");
    assert!(parser.feed(&mut text.as_bytes()).is_none());
    assert!(parser.feed(&mut &b"preshared_key=bd4e7da1"[..]).is_none());
    let shown = format!("{parser:?}");
    assert!(!shown.contains("bd4e7da1") && !shown.contains("100, 52, 101"), "{shown}");
}

proptest! {
    #[test]
    fn a_set_is_the_same_after_emitting_and_parsing(set in any_set(), cut in 1_usize..200) {
        let text = set.emit();
        let mut parser = Parser::new();
        let mut parsed = None;
        for mut part in text.as_bytes().chunks(cut) {
            parsed = parsed.or(parser.feed(&mut part));
        }
        let Some(Request::Set(parsed, Ok(()))) = parsed else { panic!("a set") };
        prop_assert_eq!(parsed.emit(), text);
        prop_assert_eq!(format!("{parsed:?}"), format!("{set:?}"));
    }

    #[test]
    fn any_bytes_end_in_requests_and_never_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut parser = Parser::new();
        let mut rest = &bytes[..];
        while parser.feed(&mut rest).is_some() {}
        prop_assert!(rest.is_empty());
        drop(parser.finish());
        drop(parse_get(&String::from_utf8_lossy(&bytes)));
    }
}

fn any_set() -> impl Strategy<Value = Set> {
    let key = || proptest::option::of(any::<[u8; 32]>());
    let device = (key(), any::<Option<u16>>(), any::<Option<u32>>(), any::<bool>());
    (device, proptest::collection::vec(any_peer(), 0..4)).prop_map(|((key, listen_port, fwmark, replace), peers)| Set {
        change: DeviceChange { private_key: key.map(PrivateKey::new), replace_peers: replace, peers },
        listen_port,
        fwmark,
    })
}

fn any_peer() -> impl Strategy<Value = PeerChange> {
    let endpoint = proptest::option::of(prop_oneof![
        any::<([u8; 4], u16)>().prop_map(std::net::SocketAddr::from),
        any::<([u16; 8], u16)>()
            .prop_map(|(ip, port)| std::net::SocketAddr::from((ip, port)))
            .prop_filter("written as IPv4", |a| a.ip().to_canonical().is_ipv6()),
    ]);
    let net = (any::<bool>(), any::<bool>(), any::<u128>(), 0_u8..=32).prop_map(|(give, v4, bits, len)| {
        let ip: std::net::IpAddr =
            if v4 { std::net::Ipv4Addr::from(bits as u32).into() } else { std::net::Ipv6Addr::from(bits).into() };
        let net = ipnet::IpNet::new(ip, len).unwrap();
        if give { AllowedIpChange::Add(net) } else { AllowedIpChange::Remove(net) }
    });
    let parts = (any::<[u8; 32]>(), any::<[bool; 3]>(), any::<Option<[u8; 32]>>(), endpoint, any::<Option<u16>>());
    (parts, proptest::collection::vec(net, 0..4)).prop_map(|((key, flags, psk, endpoint, keepalive), nets)| {
        let mut peer = PeerChange::new(PublicKey::new(key));
        let [remove, update_only, replace_allowed_ips] = flags;
        if remove {
            peer.remove = true;
            return peer;
        }
        (peer.update_only, peer.replace_allowed_ips) = (update_only, replace_allowed_ips);
        peer.preshared_key = psk.map(PresharedKey::new);
        (peer.endpoint, peer.persistent_keepalive, peer.allowed_ips) = (endpoint, keepalive, nets);
        peer
    })
}

fn asked(text: &str) -> (Set, Result<(), Errno>) {
    let mut rest = text.as_bytes();
    let Some(Request::Set(set, outcome)) = Parser::new().feed(&mut rest) else { panic!("a set") };
    assert!(rest.is_empty());
    (set, outcome)
}

fn well(text: &str) -> Set {
    let (set, outcome) = asked(text);
    assert_eq!(outcome, Ok(()));
    set
}

fn add(net: &str) -> AllowedIpChange {
    AllowedIpChange::Add(net.parse().unwrap())
}

fn device(peers: Vec<PeerStatus>) -> DeviceStatus {
    DeviceStatus {
        private_key: Some(PrivateKey::from_hex(PRIVATE).unwrap()),
        public_key: None,
        peers,
        drops: Drops::default(),
        handshakes: 0,
        deadline: None,
        under_load: false,
    }
}

fn full_peer() -> PeerStatus {
    PeerStatus {
        preshared_key: Some(PresharedKey::from_hex(PSK).unwrap()),
        endpoint: Some("[abcd:23::33%2]:51820".parse().unwrap()),
        last_handshake: Some(Duration::new(1, 5)),
        tx_bytes: 38333,
        rx_bytes: 2224,
        persistent_keepalive: 111,
        allowed_ips: vec!["192.168.4.4/32".parse().unwrap(), "fd00::/64".parse().unwrap()],
        ..peer(PEER)
    }
}

fn peer(key: &str) -> PeerStatus {
    PeerStatus {
        public_key: PublicKey::from_hex(key).unwrap(),
        preshared_key: None,
        endpoint: None,
        link: adit_protocol::LinkId(0),
        last_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        persistent_keepalive: 0,
        allowed_ips: vec![],
        has_session: false,
        staged: 0,
        deadline: None,
    }
}

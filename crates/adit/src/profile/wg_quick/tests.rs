//! Tests of the format: what each kind of line comes to, and that text and profile are the same thing.

use std::path::Path;

use super::*;
use proptest::prelude::*;

const A: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";
const B: &str = "vpXqGaZP9hHIhaseOUhKlIHZEBkVSPfX3W2cEUvtKE4=";
const C: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn ok(text: &str) -> Profile {
    parse(text).strict(Path::new("wg0.conf")).unwrap().0
}

/// The findings that a person should hear of, as printed.
fn troubles(text: &str) -> Vec<String> {
    parse(text).findings.iter().filter(|f| f.is_trouble()).map(|f| f.in_file(Path::new("f")).to_string()).collect()
}

fn interface(lines: &str) -> String {
    format!("[Interface]\nPrivateKey = {A}\n{lines}\n")
}

fn peer(lines: &str) -> String {
    interface(&format!("[Peer]\nPublicKey = {B}\n{lines}"))
}

#[test]
fn a_file_with_everything_in_it() {
    let text = format!(
        "[Interface]\n\
         Address = 10.1.2.3/24, fd00::3/64\nAddress = 10.9.9.9/32\n\
         DNS = 10.1.2.1, fd00::1, corp.example, ~lab.example\n\
         MTU = 1380\nTable = 1234\nPreUp = a %i\nPostUp = b\nPostUp = c = d, e\nPreDown = f\nPostDown = g\nSaveConfig = true\n\
         PrivateKey = {A}\nListenPort = 51820\nFwMark = 0xca6c\n\
         [Peer]\nPublicKey = {B}\nPresharedKey = {C}\nAllowedIPs = 0.0.0.0/0, ::/0\nAllowedIPs = 10.0.0.0/8\n\
         Endpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n\
         [Peer]\nPublicKey = {C}\nAllowedIPs =\nEndpoint = vpn.example.org:1\nPersistentKeepalive = off\n"
    );
    let profile = ok(&text);
    let i = &profile.interface;
    assert_eq!(i.private_key, PrivateKey::from_base64(A).ok());
    assert_eq!(i.addresses, ["10.1.2.3/24", "fd00::3/64", "10.9.9.9/32"].map(|n| n.parse().unwrap()));
    assert_eq!(i.dns, ["10.1.2.1", "fd00::1"].map(|n| n.parse::<IpAddr>().unwrap()));
    assert_eq!(i.dns_search, ["corp.example", "~lab.example"]);
    assert_eq!((i.mtu, i.listen_port, i.fwmark), (Some(1380), Some(51820), Some(0xca6c)));
    assert_eq!(i.table, Table::Number(1234));
    assert_eq!(
        (i.pre_up.clone(), i.post_up.clone()),
        (vec!["a %i".to_owned()], vec!["b".to_owned(), "c = d, e".to_owned()])
    );
    assert_eq!((i.pre_down.clone(), i.post_down.clone()), (vec!["f".to_owned()], vec!["g".to_owned()]));
    assert!(i.save_config);
    let [first, second] = &profile.peers[..] else { panic!("two peers") };
    assert_eq!(first.allowed_ips, ["0.0.0.0/0", "::/0", "10.0.0.0/8"].map(|n| n.parse().unwrap()));
    assert_eq!(first.preshared_key, PresharedKey::from_base64(C).ok());
    assert_eq!(first.endpoint.as_ref().unwrap().to_string(), "[2001:db8::1]:51820");
    assert_eq!((first.persistent_keepalive, second.persistent_keepalive), (Some(25), Some(0)));
    assert_eq!(second.allowed_ips, []);
    assert_eq!(second.endpoint.as_ref().unwrap().host, Host::Name("vpn.example.org".to_owned()));
    assert_eq!(parse(&profile.emit()).profile, profile);
}

#[test]
fn every_line_has_its_finding() {
    let parsed = parse(&format!("# hello\n\n[Interface]\nPrivateKey={A}\nMTU = 9x\nnonsense\n"));
    let seen: Vec<_> = parsed.findings.iter().map(|f| (f.line, f.key.as_str())).collect();
    assert_eq!(seen, [(1, ""), (2, ""), (3, "[Interface]"), (4, "PrivateKey"), (5, "MTU"), (6, "")]);
    assert_eq!(parsed.findings[0].verdict, Verdict::Ignored { why: "a comment".to_owned() });
    assert_eq!(parsed.findings[3].verdict, Verdict::Accepted);
    assert!(parsed.findings[4].is_wrong() && parsed.findings[5].is_wrong());
}

#[test]
fn case_white_space_carriage_returns_comments_and_a_byte_order_mark_do_not_matter() {
    let plain = ok(&peer("AllowedIPs = 10.0.0.0/8, fd00::/8\nEndpoint = 192.0.2.1:1"));
    let odd = format!(
        "\u{feff}[interface] # this end\r\n\tprivatekey={A}\r\n  [PEER]\r\nPUBLICKEY\t=\t{B}   # who\r\n\
         Allowed IPs = 10.0.0.0/8 ,fd00::/8\r\nendpoint = 192.0.2.1 : 1\r\n"
    );
    assert_eq!(ok(&odd), plain);
}

#[test]
fn networks_with_plus_and_minus_are_added_and_taken_away_in_order() {
    let profile = ok(&peer("AllowedIPs = +10.0.0.0/8, 10.1.0.0/16\nAllowedIPs = -10.0.0.0/8"));
    assert_eq!(profile.peers[0].allowed_ips, ["10.1.0.0/16".parse().unwrap()]);
}

#[test]
fn all_wrong_lines_are_refused_at_once_with_place_and_remedy() {
    let text = peer("AllowedIPs = 10.0.0.0/8, 10.0.0.300\nEndpiont = a:1\nPersistentKeepalive = soon\nMTU = 1400");
    let refused = parse(&text).strict(Path::new("/etc/wireguard/wg0.conf")).unwrap_err();
    assert_lines(
        &refused.to_string(),
        &[
            "/etc/wireguard/wg0.conf:5:26: `AllowedIPs = 10.0.0.300`: not an address range",
            "  hint: an address range like 10.0.0.0/24 or fd00::/64, or 10.0.0.7/32 for one host",
            "/etc/wireguard/wg0.conf:6: `Endpiont`: no such key",
            "  hint: Endpoint",
            "/etc/wireguard/wg0.conf:7:23: `PersistentKeepalive = soon`: not a number of seconds",
            "  hint: a number from 1 to 65535 (25 suits most NATs), or `off`",
            "/etc/wireguard/wg0.conf:8: `MTU = 1400`: does not belong under [Peer]",
            "  hint: put it under [Interface]",
        ],
    );
}

#[test]
fn a_wrong_secret_is_never_repeated() {
    let secret = &A[..43];
    let text =
        format!("[Interface]\nPrivateKey = {secret}\n[Peer]\nPublicKey={B}\nPresharedKey = {secret}\nMTU = {secret}");
    let parsed = parse(&text);
    let wrong: Vec<_> = parsed.findings.iter().filter(|f| f.is_wrong()).collect();
    assert_eq!(wrong.len(), 3);
    assert!(!wrong[0].to_string().contains(secret) && !wrong[1].to_string().contains(secret));
    assert_eq!(
        wrong[0].to_string().lines().next().unwrap(),
        "`PrivateKey = (43 characters)`: not a key: a key is 44 characters of base64, ending in `=`"
    );
}

#[test]
fn what_is_missing_is_said_of_the_section_it_is_missing_from() {
    assert_eq!(
        troubles("[Interface]\nMTU = 1400\n[Peer]\nAllowedIPs = ::/0\n"),
        [
            "f:1: `[Interface]`: `PrivateKey` is missing\n  hint: PrivateKey = (output of `adit genkey` or `wg genkey`)",
            "f:3: `[Peer]`: `PublicKey` is missing\n  hint: PublicKey = (output of `adit pubkey` on the peer)",
        ]
    );
    assert_eq!(troubles("")[0].lines().next().unwrap(), "f:1: `[Interface]`: the section is missing");
}

/// `PostUp = wg set %i private-key …` is how a key stays out of the file.
#[test]
fn a_private_key_set_by_a_hook_is_not_missing() {
    assert_eq!(troubles("[Interface]\nPostUp = wg set %i private-key /root/key\n"), [""; 0]);
}

#[test]
fn conflicts_between_lines_are_found() {
    let text = format!(
        "{}[Peer]\nPublicKey = {C}\nAllowedIPs = 10.0.0.0/24, 10.0.0.9/24\n",
        peer("AllowedIPs = 10.0.0.0/24\n")
    );
    let seen = troubles(&text);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().any(|s| s.contains("10.0.0.0/24 belongs to the peer of line 5 too")), "{seen:?}");
    assert!(seen.iter().any(|s| s.contains("10.0.0.9/24 has bits set")), "{seen:?}");

    let twice = format!("{}[Peer]\nPublicKey = {B}\n", peer(""));
    assert!(troubles(&twice)[0].contains("this peer is in line 4 already"));
    let own = interface(&format!("[Peer]\nPublicKey = {}", PrivateKey::from_base64(A).unwrap().public_key()));
    assert!(troubles(&own)[0].contains("of this end itself"));
    assert!(troubles(&interface("MTU = 1000\nAddress = fd00::1/64"))[0].contains("no IPv6 address"));
    assert!(troubles(&interface("MTU = 1400\nMTU = 1300"))[0].contains("stands in line 3 already"));
    assert!(troubles(&interface("[Interface]"))[0].contains("there is one already, in line 1"));
}

#[test]
fn an_address_without_a_prefix_length_is_one_host_and_doubted() {
    let text = interface("Address = 10.0.0.2");
    assert_eq!(ok(&text).interface.addresses, ["10.0.0.2/32".parse().unwrap()]);
    assert!(troubles(&text)[0].contains("hint: 10.0.0.2/32 if that is meant, 10.0.0.2/24 for a whole network"));
}

#[test]
fn keys_of_another_dialect_are_refused_rather_than_lost() {
    assert!(troubles(&interface("Jc = 4\nH1 = 5"))[0].contains("AmneziaWG"));
}

#[test]
fn all_zero_keys_are_refused_where_they_make_no_sense() {
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert!(troubles(&format!("[Interface]\nPrivateKey={zero}"))[0].contains("all zero"));
    assert!(troubles(&interface(&format!("[Peer]\nPublicKey={zero}")))[0].contains("all zero"));
    assert_eq!(ok(&peer(&format!("PresharedKey={zero}"))).peers[0].preshared_key, None);
}

fn assert_lines(text: &str, lines: &[&str]) {
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(a, n)| IpNet::new(std::net::Ipv4Addr::from(a).into(), n).unwrap()),
        (any::<u128>(), 0..=128u8).prop_map(|(a, n)| IpNet::new(Ipv6Addr::from(a).into(), n).unwrap()),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let host = prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5}){0,2}".prop_map(Host::Name),
        (any::<u128>(), "[a-z][a-z0-9]{0,9}").prop_map(|(a, z)| Host::Zoned(a.into(), z)),
    ];
    (host, 1u16..).prop_map(|(host, port)| Endpoint { host, port })
}

fn command() -> impl Strategy<Value = String> {
    "[!-\"$-~]([ -\"$-~]{0,20}[!-\"$-~])?"
}

prop_compose! {
    fn any_interface()(
        key in any::<[u8; 32]>(), listen_port in any::<Option<u16>>(), fwmark in any::<Option<u32>>(),
        addresses in prop::collection::hash_set(network(), 0..40), dns in prop::collection::vec(any::<IpAddr>(), 0..4),
        dns_search in prop::collection::vec("~?[a-z]{1,9}\\.[a-z]{2,4}", 0..3), mtu in prop::option::of(1280u16..),
        table in prop_oneof![Just(Table::Auto), Just(Table::Off), any::<u32>().prop_map(Table::Number), "t[a-z]{1,9}".prop_map(Table::Named)],
        hooks in prop::collection::vec(prop::collection::vec(command(), 0..3), 4), save_config in any::<bool>(),
    ) -> Interface {
        let [pre_up, post_up, pre_down, post_down] = <[Vec<String>; 4]>::try_from(hooks).unwrap();
        Interface {
            private_key: Some(PrivateKey::new(key)), listen_port, fwmark, addresses: addresses.into_iter().collect(),
            dns, dns_search, mtu, table, pre_up, post_up, pre_down, post_down, save_config,
        }
    }
}

prop_compose! {
    fn any_peer()(
        preshared in any::<Option<[u8; 32]>>(), networks in prop::collection::hash_set(network(), 0..70),
        endpoint in prop::option::of(endpoint()), fallback in prop::collection::vec(endpoint(), 0..4), persistent_keepalive in any::<Option<u16>>(), key in any::<[u8; 32]>(),
    ) -> Peer {
        let mut known = std::collections::HashSet::new();
        let allowed_ips = networks.iter().map(IpNet::trunc).filter(|n| known.insert(*n)).collect();
        Peer {
            public_key: PublicKey::new(key),
            preshared_key: preshared.map(PresharedKey::new),
            allowed_ips,
            endpoint,
            fallback,
            persistent_keepalive,
            transport: None,
            https: None,
            https_key: None,
        }
    }
}

#[test]
fn a_peer_may_be_in_several_places() {
    let read = |fallback: &str| {
        let parsed = parse(&peer(&format!("Endpoint = 192.0.2.1:51820\n{fallback}")));
        let wrong = parsed.findings.iter().any(Finding::is_wrong);
        (parsed.profile.peers[0].ways().iter().map(ToString::to_string).collect::<Vec<_>>(), wrong)
    };
    let (ways, wrong) = read("Fallback = 192.0.2.2:51820, b.example:7\nFallback = [2001:db8::1]:1\n");
    assert_eq!(ways, ["192.0.2.1:51820", "192.0.2.2:51820", "b.example:7", "[2001:db8::1]:1"]);
    assert!(!wrong);
    assert!(read("Fallback = 192.0.2.2\n").1, "the port is missing");
    let (ways, wrong) = read(&"Fallback = 192.0.2.2:1\n".repeat(17));
    assert_eq!((ways.len(), wrong), (17, true));
}

proptest! {
    #[test]
    fn any_profile_survives_being_written_and_read(interface in any_interface(), peers in prop::collection::vec(any_peer(), 0..4)) {
        let profile = Profile { interface, peers, web_site: None };
        let parsed = parse(&profile.emit());
        prop_assert!(parsed.findings.iter().all(|f| !f.is_wrong()), "{:?}", parsed.findings);
        prop_assert_eq!(&parsed.profile, &profile);
        prop_assert_eq!(profile.duplicate(), profile);
    }

    #[test]
    fn no_text_makes_it_panic_and_every_line_is_answered(text in "(\\PC|\\[Interface\\]|\\[Peer\\]|[\\n\\r\\t =#,/:+-]|AllowedIPs|Endpoint|PublicKey|DNS|PostUp){0,80}") {
        let parsed = parse(&text);
        for line in 1..=text.lines().count() {
            prop_assert!(parsed.findings.iter().any(|f| f.line == line));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let parsed = parse(&String::from_utf8_lossy(&bytes));
        prop_assert!(parsed.strict(Path::new("f")).is_err());
    }
}

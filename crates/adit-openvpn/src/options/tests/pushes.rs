//! What a server may push.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::{
    Destination, FilterAction, Framing, MAX_PUSHED, PullFilter, Pulling, Pushed, Rejected, Topology, Verdict, Via,
    WhyRejected, parse,
};
use super::why;
use crate::Cipher;

fn read(reply: &str) -> Pushed {
    Pushed::read(reply.split(','), &Pulling::default()).unwrap()
}

/// As OpenVPN 2.6.14 sends it (measured).
#[test]
fn a_real_reply_is_read_without_a_word_left() {
    let pushed = read(
        "route-gateway 10.29.41.1,topology subnet,ping 10,ping-restart 60,ifconfig 10.29.41.2 255.255.255.0,peer-id 0,\
         cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
    );
    assert!(pushed.findings.iter().all(|f| f.verdict == Verdict::Accepted), "{:#?}", pushed.findings);
    assert_eq!(pushed.inside.ifconfig.unwrap().local, Ipv4Addr::new(10, 29, 41, 2));
    assert_eq!((pushed.inside.topology, pushed.cipher), (Some(Topology::Subnet), Some(Cipher::Aes256Gcm)));
    assert_eq!((pushed.only.peer_id, pushed.tun_mtu), (Some(0), Some(1500)));
    assert!(pushed.only.key_export && pushed.only.exit_by_control && pushed.only.dynamic_wrap && !pushed.only.epochs);
    assert_eq!(pushed.life.ping, Some(Duration::from_secs(10)));
    assert_eq!(pushed.gateway(), Some(Ipv4Addr::new(10, 29, 41, 1).into()));
}

#[test]
fn what_a_server_may_not_say_is_left_aside_with_a_reason() {
    let pushed = read(
        "up /bin/sh,remote evil.example,cipher none,auth-user-pass x,tun-mtu 10,ping 999999,foo bar,dhcp-option DNS $(reboot),\
         dhcp-option DOMAIN a;b,dns server 0 address x,route evil.example,cd /,script-security 2,setenv PATH /tmp,\
         setenv-safe A B,ca x,peer-id 16777216,route 10.0.0.0 255.0.0.1,plugin /x.so,verb 11,echo hello",
    );
    for finding in &pushed.findings {
        let taken = finding.verdict == Verdict::Accepted;
        assert_eq!(taken, finding.option == "setenv-safe", "{finding}");
        assert!(taken || !why(finding).is_empty());
    }
    assert_eq!(pushed.environment, [("OPENVPN_A".to_owned(), "B".to_owned())]);
    let rest = Pushed { findings: Vec::new(), environment: Vec::new(), ..pushed };
    assert_eq!(rest.inside, Pushed::default().inside);
    assert_eq!((rest.dns.servers.len(), rest.tun_mtu, rest.cipher, rest.only.peer_id), (0, None, None, None));
}

#[test]
fn routes_and_name_servers_are_read_as_in_a_file() {
    let pushed = read(
        "route 10.0.0.0 255.0.0.0,route 192.0.2.7 255.255.255.255 net_gateway 5,route-ipv6 fd00::/8,dhcp-option DNS 10.8.0.1,\
         dhcp-option DNS6 fd00::1,dhcp-option DOMAIN corp.example,dns server 0 address 10.9.0.1 [fd00::2]:5353,\
         dns server 0 resolve-domains corp.example,block-outside-dns,comp-lzo no,auth-token SESS_ID_AT_x",
    );
    let Destination::V4(first) = &pushed.inside.routes[0].to else { panic!() };
    assert_eq!(first.to_string(), "10.0.0.0/8");
    assert_eq!((pushed.inside.routes[1].via, pushed.inside.routes[1].metric), (Via::Before, Some(5)));
    assert_eq!((pushed.dns.servers.len(), pushed.dns.ranked[&0].addresses.len()), (2, 2));
    assert_eq!(pushed.dns.ranked[&0].addresses[1].port(), 5353);
    assert!(pushed.inside.block_outside_dns);
    assert_eq!((pushed.framing, pushed.only.token.unwrap().expose()), (Some(Framing::Lzo), "SESS_ID_AT_x"));
    assert_eq!(read("ping 10").framing, None);
}

#[test]
fn filters_of_the_file_decide_first() {
    let filter = |action, beginning: &str| PullFilter { action, beginning: beginning.to_owned() };
    let filters = vec![
        filter(FilterAction::Accept, "route 10."),
        filter(FilterAction::Ignore, "route"),
        filter(FilterAction::Reject, "dhcp-option"),
    ];
    let pulling = Pulling { filters, ..Pulling::default() };
    let pushed = Pushed::read(["route 10.0.0.0 255.0.0.0", "route 192.0.2.0 255.255.255.0"], &pulling).unwrap();
    assert_eq!(pushed.inside.routes.len(), 1);
    assert_eq!(
        Pushed::read(["dhcp-option DNS 10.0.0.1"], &pulling),
        Err(Rejected { option: "dhcp-option DNS 10.0.0.1".to_owned(), why: WhyRejected::Filter })
    );
    let no_routes = Pulling { no_routes: true, ..Pulling::default() };
    let pushed = Pushed::read(["route 10.0.0.0 255.0.0.0", "dhcp-option DNS 1.1.1.1", "ping 5"], &no_routes).unwrap();
    assert_eq!((pushed.inside.routes.len(), pushed.dns.servers.len(), pushed.life.ping.is_some()), (0, 0, true));
}

/// A server may write its options in many ways; each is read once, and what was read is judged.
#[test]
fn nothing_gets_past_a_filter_by_how_it_is_written() {
    let ways = [
        "\"route\" 10.0.0.0 255.0.0.0",
        "'route' 10.0.0.0 255.0.0.0",
        "--route 10.0.0.0 255.0.0.0",
        "\"--route\" 10.0.0.0 255.0.0.0",
        "  route\t 10.0.0.0   255.0.0.0",
        "setenv opt route 10.0.0.0 255.0.0.0",
        "setenv opt \"route\" 10.0.0.0 255.0.0.0",
        "route 10.0.0.0 255.0.0.0\nroute 10.0.0.0 255.0.0.0",
    ];
    let ignore = PullFilter { action: FilterAction::Ignore, beginning: "route ".to_owned() };
    let rules =
        [Pulling { no_routes: true, ..Pulling::default() }, Pulling { filters: vec![ignore], ..Pulling::default() }];
    for (pulling, way) in rules.iter().flat_map(|pulling| ways.map(|way| (pulling, way))) {
        let pushed = Pushed::read([way], pulling).unwrap();
        assert!(pushed.inside.routes.is_empty(), "{way}: {:?}", pushed.findings);
        assert!(matches!(pushed.findings[0].verdict, Verdict::Ignored { .. }));
    }
    let reject = PullFilter { action: FilterAction::Reject, beginning: "route 10.".to_owned() };
    let pulling = Pulling { filters: vec![reject], ..Pulling::default() };
    for way in &ways[..5] {
        let rejected = Pushed::read([*way], &pulling).unwrap_err();
        assert_eq!(rejected.option, "route 10.0.0.0 255.0.0.0");
    }
    assert!(
        read("setenv opt route 10.0.0.0 255.0.0.0").inside.routes.is_empty(),
        "its own name is all that a server has"
    );
    let file = super::client_with("pull-filter ignore \"dhcp-option   DNS \"\n");
    assert_eq!(file.pulling.filters[0].beginning, "dhcp-option DNS ");
    assert!(parse("client\nsetenv opt float\n").findings.iter().any(|f| f.option == "float"));
}

#[test]
fn a_flag_that_nobody_knows_ends_it() {
    let flags = |flags: &str| Pushed::read([format!("protocol-flags {flags}").as_str()], &Pulling::default());
    assert!(flags("tls-ekm cc-exit").unwrap().only.key_export);
    let rejected = flags("tls-ekm frobnicate").unwrap_err();
    assert_eq!(rejected.why, WhyRejected::UnknownFlag);
    assert!(rejected.to_string().contains("protocol-flags tls-ekm frobnicate"), "{rejected}");
    let token = PullFilter { action: FilterAction::Reject, beginning: "auth-token".to_owned() };
    let pulling = Pulling { filters: vec![token], ..Pulling::default() };
    for way in ["auth-token very-secret", "\"auth-token\" very-secret", "auth-token 'very-secret"] {
        assert!(!Pushed::read([way], &pulling).unwrap_err().to_string().contains("very-secret"), "{way}");
    }
}

#[test]
fn a_flood_of_options_has_a_bound() {
    let pushed =
        Pushed::read(std::iter::repeat_n("route 10.0.0.0 255.0.0.0", MAX_PUSHED + 10), &Pulling::default()).unwrap();
    assert_eq!(pushed.findings.len(), MAX_PUSHED + 1);
    assert!(why(pushed.findings.last().unwrap()).contains("more options"));
    assert!(pushed.inside.routes.len() <= super::super::MAX_LIST);
}

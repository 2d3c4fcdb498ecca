//! What a gateway is as nftables text, and what it does about other firewalls. Whether the kernel takes the text, and what
//! the rules then do to packets, is tested in namespaces.

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

fn home() -> Gateway {
    Gateway { ranges: nets(&["10.77.0.0/24", "fd7a::/64"]), nat: true, isolate: true, ..Gateway::default() }
}

fn text(gateway: &Gateway) -> String {
    GatewayTable::new("wg0", &["10.77.0.1".parse().unwrap(), "fd7a::1".parse().unwrap()], gateway).text
}

/// The rules of one chain, without indentation.
fn chain(gateway: &Gateway, name: &str) -> Vec<String> {
    let text = text(gateway);
    let from = text.split(&format!("\tchain {name} {{\n")).nth(1).unwrap();
    from.split("\t}\n").next().unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

fn reach(from: &[&str], to: To, ports: Option<Ports>) -> Reach {
    Reach { from: nets(from), to, ports }
}

#[test]
fn by_default_devices_go_out_translated_and_are_kept_from_each_other() {
    let expected = "\
table inet aditgw-wg0 {
    set range4 {
        type ipv4_addr; flags interval;
        elements = {
            10.77.0.0/24
        }
    }
    set range6 {
        type ipv6_addr; flags interval;
        elements = {
            fd7a::/64
        }
    }
    chain guard {
        type filter hook prerouting priority raw; policy accept;
        iifname != { \"lo\", \"wg0\" } ip saddr @range4 drop
        iifname != { \"lo\", \"wg0\" } ip daddr 10.77.0.1 drop
        iifname != { \"lo\", \"wg0\" } ip6 saddr @range6 drop
        iifname != { \"lo\", \"wg0\" } ip6 daddr fd7a::1 drop
    }
    chain reach {
    }
    chain to_server {
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname \"wg0\" jump to_server
    }
    chain from_devices {
        ct state related accept
        ct state established ct direction reply accept
        ct state invalid drop
        jump reach
        oifname \"wg0\" drop
        accept
    }
    chain to_devices {
        ct state related accept
        ct state established ct direction reply accept
        jump reach
        drop
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname \"wg0\" jump from_devices
        oifname \"wg0\" jump to_devices
    }
    chain clamp {
        type filter hook forward priority mangle; policy accept;
        iifname \"wg0\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
        oifname \"wg0\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    }
    chain outward {
        type nat hook postrouting priority srcnat; policy accept;
        oifname != { \"lo\", \"wg0\" } ip saddr @range4 masquerade
        oifname != { \"lo\", \"wg0\" } ip6 saddr @range6 masquerade
    }
}
";
    assert_eq!(text(&home()).replace('\t', "    "), expected);
}

#[test]
fn what_is_not_wanted_is_not_there() {
    let gateway = Gateway { ranges: nets(&["10.77.0.0/24"]), ..Gateway::default() };
    let text = text(&gateway);
    for not in ["masquerade", "ip6", "oifname \"wg0\" drop", "enrol"] {
        assert!(!text.contains(not), "{not} in {text}");
    }
}

#[test]
fn an_invite_reaches_the_enrol_port_and_nothing_else() {
    let enrol =
        Enrol { sources: "fd7a:0:0:0:8000::7/65".parse().unwrap(), server: "fd7a::1".parse().unwrap(), port: 5354 };
    let gateway = Gateway { enrol: Some(enrol), ..home() };
    assert_eq!(chain(&gateway, "to_server"), ["ip6 saddr fd7a::8000:0:0:0/65 jump enrol"]);
    assert_eq!(chain(&gateway, "enrol"), ["ip6 daddr fd7a::1 udp dport 5354 accept", "drop"]);
    assert_eq!(chain(&gateway, "from_devices")[0], "ip6 saddr fd7a::8000:0:0:0/65 drop");
}

#[test]
fn permissions_between_single_hosts_are_elements_and_not_rules() {
    let from: Vec<String> = (2..200).map(|host| format!("10.77.0.{host}/32")).collect();
    let one = |from: &String| reach(&[from], To::Nets(nets(&["10.77.0.1/32"])), Some(Ports::one(Transport::Tcp, 445)));
    let mut gateway = Gateway { reach: from.iter().map(one).collect(), ..home() };
    gateway.reach.push(reach(&["fd7a::2/128"], To::Nets(nets(&["fd7a::3/128"])), None));
    // From one version of IP to the other there is no way.
    gateway.reach.push(reach(&["fd7a::2/128"], To::Nets(nets(&["10.77.0.3/32"])), None));
    assert_eq!(
        chain(&gateway, "reach"),
        ["ip saddr . ip daddr . meta l4proto . th dport @ports4 accept", "ip6 saddr . ip6 daddr @hosts6 accept"]
    );
    let text = text(&gateway);
    assert!(text.contains("10.77.0.9 . 10.77.0.1 . tcp . 445, "), "{text}");
    assert!(text.contains("\t\t\tfd7a::2 . fd7a::3\n"), "{text}");
}

#[test]
fn permissions_that_share_an_end_are_one_rule() {
    let nas = || To::Nets(nets(&["192.168.1.0/24"]));
    let web = Some(Ports { transport: Transport::Tcp, first: 80, last: 90 });
    let gateway = Gateway {
        reach: vec![
            reach(&["10.77.0.0/28"], nas(), web),
            reach(&["10.77.0.16/28", "10.77.0.64/28"], nas(), web),
            reach(&["10.77.0.0/28"], To::Internet, None),
            reach(&["0.0.0.0/0"], To::Nets(nets(&["10.77.0.7/32", "fd7a::7/128"])), None),
        ],
        ..home()
    };
    assert_eq!(
        chain(&gateway, "reach"),
        [
            "meta nfproto ipv4 ip daddr 10.77.0.7/32 accept",
            "ip saddr { 10.77.0.0/27, 10.77.0.64/28 } ip daddr 192.168.1.0/24 tcp dport 80-90 accept",
            "ip saddr 10.77.0.0/28 ip daddr != @special4 accept",
        ]
    );
    assert!(text(&gateway).contains("10.0.0.0/8, "));
}

#[test]
fn the_confined_reach_only_what_is_allowed_and_get_answers() {
    let gateway = Gateway { confined: nets(&["10.77.0.9/32", "fd7a::9/128"]), ..home() };
    let last = ["jump reach", "ip saddr @confined4 drop", "ip6 saddr @confined6 drop"];
    assert!(chain(&gateway, "to_server").ends_with(&last.map(str::to_owned)));
    let from = chain(&gateway, "from_devices").join("\n");
    assert!(from.contains(&last.join("\n")), "{from}");
}

#[test]
fn a_device_does_not_keep_a_port_that_the_server_listens_at() {
    let mut gateway =
        Gateway { listens: vec![Ports::one(Transport::Udp, 51_820), Ports::one(Transport::Tcp, 8443)], ..home() };
    let out = "oifname != { \"lo\", \"wg0\" } ip saddr @range4";
    let rules = chain(&gateway, "outward");
    assert_eq!(rules[1], format!("{out} tcp sport 8443 masquerade to :32768-49151"));
    assert_eq!(rules[2], format!("{out} udp sport 51820 masquerade to :1024-32767"));
    assert_eq!(rules[3], format!("{out} masquerade"));
    gateway.listens = vec![Ports { transport: Transport::Udp, first: 1, last: u16::MAX }];
    assert_eq!(chain(&gateway, "outward")[1], format!("{out} udp sport 1-65535 drop"));
}

#[test]
fn two_tables_are_equal_by_their_text_also_from_a_journal() {
    let own = ["10.77.0.1".parse().unwrap()];
    let table = GatewayTable::new("wg0", &own, &home());
    let json = serde_json::to_string(&table).unwrap();
    assert!(json.len() < 100, "{json}");
    assert_eq!(serde_json::from_str::<GatewayTable>(&json).unwrap(), table);
    assert_ne!(GatewayTable::new("wg0", &own, &Gateway { nat: false, ..home() }), table);
    assert_eq!(table.unload_text(), "table inet aditgw-wg0 {}\ndelete table inet aditgw-wg0\n");
}

#[test]
fn a_firewall_that_drops_is_passed_at_its_top_and_dockers_in_the_chain_for_it() {
    let drops = |family: &str, table: &str, chain: &str| SeenChain::forward(family, table, chain, true);
    let plain =
        |family: &str, table: &str, chain: &str| SeenChain { hook: None, drops: false, ..drops(family, table, chain) };
    let chains = [
        drops("ip", "filter", "FORWARD"),
        plain("ip", "filter", "DOCKER-USER"),
        drops("ip6", "filter", "FORWARD"),
        drops("inet", "filter", "forward"),
        SeenChain::forward("inet", "mine", "forward", false),
        SeenChain { hook: Some("input".into()), ..drops("inet", "filter", "input") },
        drops("inet", "firewalld", "filter_FORWARD"),
        drops("bridge", "filter", "FORWARD"),
        drops("inet", "a b", "forward"),
    ];
    let printed = |v4, v6| passes(&chains, "wg0", v4, v6).iter().map(Pass::to_string).collect::<Vec<_>>();
    let line = |place: &str| format!("insert into nftables {place}: accept from and to wg0");
    assert_eq!(
        printed(true, true),
        [line("ip filter DOCKER-USER"), line("ip6 filter FORWARD"), line("inet filter forward")]
    );
    assert_eq!(printed(true, false), [line("ip filter DOCKER-USER"), line("inet filter forward")]);
    assert_eq!(passes(&chains[4..5], "wg0", true, true), []);
}

#[test]
fn our_rules_in_anothers_chain_are_known_by_their_comment() {
    let chains = [SeenChain::forward("ip", "filter", "FORWARD", true)];
    let pass = passes(&chains, "wg0", true, true).remove(0);
    assert_eq!(
        pass.insert_text(),
        "insert rule ip filter FORWARD oifname \"wg0\" counter accept comment \"adit wg0\"\n\
         insert rule ip filter FORWARD iifname \"wg0\" counter accept comment \"adit wg0\"\n"
    );
    let listed = r#"{"nftables": [{"metainfo": {}}, {"chain": {"name": "FORWARD"}},
        {"rule": {"handle": 7, "comment": "adit wg0"}}, {"rule": {"handle": 8, "comment": "adit wg00"}},
        {"rule": {"handle": 9}}, {"rule": {"handle": 12, "comment": "adit wg0"}}]}"#;
    assert_eq!(pass.handles(listed), [7, 12]);
    assert_eq!(
        pass.delete_text(&[7, 12]),
        "delete rule ip filter FORWARD handle 7\ndelete rule ip filter FORWARD handle 12\n"
    );
    assert_eq!(pass.handles("not JSON"), Vec::<u64>::new());
}

#[test]
fn chains_are_read_as_nft_prints_them() {
    let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter",
                   "hook": "forward", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER", "handle": 2}}]}"#;
    let docker_user = SeenChain { hook: None, ..SeenChain::forward("ip", "filter", "DOCKER-USER", false) };
    assert_eq!(seen_chains(json), [SeenChain::forward("ip", "filter", "FORWARD", true), docker_user]);
}

#[test]
fn firewalls_that_have_to_be_told_are_named_with_how() {
    let seen = |table: &str, chain: &str| SeenChain::forward("ip", table, chain, false);
    let chains = [seen("firewalld", "x"), seen("filter", "ufw-before-forward"), seen("filter", "FORWARD")];
    let found = other_firewalls(&chains, "nat\nfilter\n");
    assert_eq!(found, [OtherFirewall::Firewalld, OtherFirewall::Ufw, OtherFirewall::IptablesLegacy]);
    assert!(found.iter().all(|other| other.to_string().contains("hint: ")));
    assert_eq!(other_firewalls(&chains[2..], "nat\n"), []);
}

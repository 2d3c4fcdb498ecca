//! Which changes follow from which wish, printed as `--dry-run` prints them.

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn desired(addresses: &[&str], routes: &[&str]) -> HostPlan {
    HostPlan {
        name: "wg0".into(),
        addresses: addresses.iter().map(|text| net(text)).collect(),
        routes: routes.iter().map(|text| net(text)).collect(),
        ..HostPlan::default()
    }
}

/// A laptop at home: Ethernet, one default route, nothing of ours.
fn observed() -> Observed {
    let rule = |v6, priority, table| Rule { v6, priority, unless_mark: None, table, suppress: None };
    Observed {
        link: Some(Link { mtu: 1500, up: false }),
        routes: vec![
            Route { to: net("0.0.0.0/0"), link: "eth0".into(), table: TABLE_MAIN },
            Route { to: net("192.168.1.0/24"), link: "eth0".into(), table: TABLE_MAIN },
        ],
        rules: vec![
            rule(false, 0, 255),
            rule(false, 32_766, TABLE_MAIN),
            rule(false, 32_767, 253),
            rule(true, 0, 255),
            rule(true, 32_766, TABLE_MAIN),
        ],
        outer_mtu: Some(1500),
        sysctls: [(SRC_VALID_MARK, "0"), (FORWARD_V4, "0"), (FORWARD_V6, "0"), ("net/ipv6/conf/eth0/accept_ra", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Observed::default()
    }
}

fn printed(desired: &HostPlan, observed: &Observed) -> String {
    let mark = desired.fwmark.unwrap_or_else(|| observed.free_mark(&BTreeSet::new()));
    diff(desired, observed, mark).iter().map(|change| format!("{change}\n")).collect()
}

#[test]
fn a_split_tunnel_has_an_address_and_plain_routes() {
    let desired =
        desired(&["10.0.0.2/24", "fd00::2/64"], &["10.0.0.0/24", "172.16.0.0/12", "fd00::/64", "2001:db8::/32"]);
    assert_eq!(
        printed(&desired, &observed()),
        "set mtu of wg0 to 1420 (was 1500)\n\
         add address 10.0.0.2/24 to wg0\n\
         add address fd00::2/64 to wg0\n\
         set wg0 up\n\
         add route 172.16.0.0/12 dev wg0\n\
         add route 2001:db8::/32 dev wg0\n"
    );
}

#[test]
fn a_full_tunnel_takes_all_but_its_own_datagrams_and_what_main_knows_better() {
    let desired = desired(&["10.0.0.2/32", "fd00::2/128"], &["::/0", "0.0.0.0/0"]);
    assert_eq!(
        printed(&desired, &observed()),
        "set mtu of wg0 to 1420 (was 1500)\n\
         add address 10.0.0.2/32 to wg0\n\
         add address fd00::2/128 to wg0\n\
         set wg0 up\n\
         set net.ipv4.conf.all.src_valid_mark = 1 (was 0)\n\
         add route 0.0.0.0/0 dev wg0 table 51820\n\
         add route ::/0 dev wg0 table 51820\n\
         load nftables adit-wg0\n\
         \x20   table inet adit-wg0 {\n\
         \x20   \tchain inside {\n\
         \x20   \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \x20   \t\tiifname != { \"lo\", \"wg0\" } ip daddr 10.0.0.2 drop\n\
         \x20   \t\tiifname != { \"lo\", \"wg0\" } ip6 daddr fd00::2 drop\n\
         \x20   \t}\n\
         \x20   \tchain mark_sent {\n\
         \x20   \t\ttype filter hook postrouting priority mangle; policy accept;\n\
         \x20   \t\tmeta l4proto udp meta mark 0xca6c ct mark set meta mark\n\
         \x20   \t}\n\
         \x20   \tchain mark_received {\n\
         \x20   \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         \x20   \t\tmeta l4proto udp ct mark 0xca6c meta mark set ct mark\n\
         \x20   \t}\n\
         \x20   }\n\
         add rule 32764: table main suppress_prefixlength 0\n\
         add rule 32765: not fwmark 0xca6c table 51820\n\
         add rule -6 32764: table main suppress_prefixlength 0\n\
         add rule -6 32765: not fwmark 0xca6c table 51820\n"
    );
}

#[test]
fn a_full_tunnel_of_one_family_leaves_the_other_alone() {
    let text = printed(&desired(&["10.0.0.2/32", "fd00::2/128"], &["::/0"]), &observed());
    assert!(text.contains("rule -6 32765"), "{text}");
    for not in ["rule 3", "0.0.0.0/0", "src_valid_mark", "ip daddr"] {
        assert!(!text.contains(not), "{not} in {text}");
    }
}

#[test]
fn the_tunnels_own_mark_is_its_table() {
    let desired = HostPlan { fwmark: Some(0x1234), ..desired(&[], &["0.0.0.0/0"]) };
    let text = printed(&desired, &observed());
    assert!(text.contains("add route 0.0.0.0/0 dev wg0 table 4660\n"), "{text}");
    assert!(text.contains("not fwmark 0x1234 table 4660\n"), "{text}");
}

#[test]
fn a_second_full_tunnel_takes_the_next_mark_and_goes_before_the_first() {
    let mut observed = observed();
    observed.rules.push(Rule { v6: false, priority: 32_764, unless_mark: None, table: TABLE_MAIN, suppress: Some(0) });
    observed.rules.push(Rule { v6: false, priority: 32_765, unless_mark: Some(51_820), table: 51_820, suppress: None });
    let text = printed(&desired(&[], &["0.0.0.0/0"]), &observed);
    assert!(text.contains("add rule 32762: table main suppress_prefixlength 0\n"), "{text}");
    assert!(text.contains("add rule 32763: not fwmark 0xca6d table 51821\n"), "{text}");
}

#[test]
fn a_mark_is_free_if_no_rule_no_table_and_no_other_tunnel_has_it() {
    let mut observed = observed();
    observed.routes.push(Route { to: net("10.9.0.0/16"), link: "eth0".into(), table: 51_821 });
    assert_eq!(observed.free_mark(&BTreeSet::from([51_820, 51_822])), 51_823);
}

#[test]
fn rules_find_a_place_where_the_first_ones_are_taken() {
    let mut observed = observed();
    let taken = |priority| Rule { v6: false, priority, unless_mark: None, table: 7, suppress: None };
    observed.rules.extend([taken(1), taken(32_765)]);
    assert_eq!(observed.free_priorities(false), (32_763, 32_764));
}

#[test]
fn a_table_of_ones_own_gets_every_route_and_no_rule() {
    let desired =
        HostPlan { table: Table::Number(1234), ..desired(&["10.0.0.2/24"], &["0.0.0.0/0", "10.0.0.0/24", "::/0"]) };
    assert_eq!(
        printed(&desired, &observed()),
        "set mtu of wg0 to 1420 (was 1500)\n\
         add address 10.0.0.2/24 to wg0\n\
         set wg0 up\n\
         add route 0.0.0.0/0 dev wg0 table 1234\n\
         add route 10.0.0.0/24 dev wg0 table 1234\n\
         add route ::/0 dev wg0 table 1234\n"
    );
    assert!(!desired.is_full_tunnel());
}

#[test]
fn table_off_adds_no_route() {
    let desired = HostPlan { table: Table::Off, ..desired(&["10.0.0.2/24"], &["0.0.0.0/0", "172.16.0.0/12"]) };
    assert!(!printed(&desired, &observed()).contains("route"));
}

#[test]
fn a_route_inside_a_broader_one_is_added_only_if_another_interface_lies_between() {
    let wanted = desired(&[], &["192.168.1.7/32", "192.168.0.0/16", "192.168.2.0/24"]);
    let text = printed(&wanted, &observed());
    assert!(text.contains("add route 192.168.0.0/16 dev wg0\nadd route 192.168.1.7/32 dev wg0\n"), "{text}");
    assert!(!text.contains("192.168.2.0"), "{text}");
}

#[test]
fn bits_after_the_prefix_and_doubles_are_dropped() {
    let text = printed(&desired(&[], &["172.16.3.4/12", "172.16.0.0/12"]), &observed());
    assert_eq!(text.matches("add route 172.16.0.0/12 dev wg0\n").count(), 1, "{text}");
}

#[test]
fn the_mtu_is_the_given_one_or_what_the_outer_path_leaves() {
    let mtu = |wanted, outer| {
        let desired = HostPlan { mtu: wanted, ..desired(&[], &[]) };
        let observed = Observed { outer_mtu: outer, link: None, ..observed() };
        let changes = diff(&desired, &observed, 0);
        changes.iter().find_map(|change| if let Change::Mtu { mtu, .. } = change { Some(*mtu) } else { None })
    };
    assert_eq!(mtu(Some(1280), Some(9000)), Some(1280));
    assert_eq!(mtu(None, Some(1492)), Some(1412));
    assert_eq!(mtu(None, Some(9000)), Some(8920));
    assert_eq!(mtu(None, None), Some(1420));
    assert_eq!(mtu(None, Some(65_536)), Some(65_455));
    assert_eq!(mtu(None, Some(1300)), Some(1220));
    let v6 = desired(&["fd00::2/64"], &[]);
    let narrow = Observed { outer_mtu: Some(1300), ..observed() };
    assert!(printed(&v6, &narrow).starts_with("set mtu of wg0 to 1280"), "IPv6 has no less");
}

#[test]
fn what_is_there_already_is_not_done_again() {
    let desired = desired(&["10.0.0.2/24"], &["10.0.0.0/24"]);
    let observed =
        Observed { link: Some(Link { mtu: 1420, up: true }), addresses: vec![net("10.0.0.2/24")], ..observed() };
    assert_eq!(printed(&desired, &observed), "");
}

#[test]
fn commands_stand_in_their_order_and_those_for_the_end_are_noted_backwards() {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let hooks = Hooks {
        pre_up: strings(&["a", "b"]),
        post_up: strings(&["c"]),
        pre_down: strings(&["d", "e"]),
        post_down: strings(&["f"]),
    };
    let plan = HostPlan { hooks, ..desired(&[], &[]) };
    let text = |changes: Vec<Change>| changes.iter().map(|change| format!("{change}\n")).collect::<String>();
    assert_eq!(text(plan.changes_before()), "at the end run PostDown: f\nrun PreUp: a\nrun PreUp: b\n");
    assert_eq!(text(plan.changes_after()), "at the end run PreDown: e\nat the end run PreDown: d\nrun PostUp: c\n");
}

#[test]
fn a_gateway_filters_before_it_forwards_and_keeps_the_machines_own_routes() {
    let ranges = vec![net("10.77.0.0/24"), net("fd7a::/64")];
    let gateway = Some(Gateway { ranges, nat: true, isolate: true, ..Gateway::default() });
    let mut desired = HostPlan { gateway, ..desired(&["10.77.0.1/24", "fd7a::1/64"], &["10.77.0.2/32"]) };
    let observed = Observed { chains: vec![SeenChain::forward("ip", "filter", "FORWARD", true)], ..observed() };
    let text = printed(&desired, &observed);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            "load nftables aditgw-wg0",
            "insert into nftables ip filter FORWARD: accept from and to wg0",
            "set mtu of wg0 to 1420 (was 1500)",
            "add address 10.77.0.1/24 to wg0",
            "add address fd7a::1/64 to wg0",
            "set wg0 up",
            "set net.ipv4.ip_forward = 1 (was 0)",
            "set net.ipv6.conf.eth0.accept_ra = 2 (was 1)",
            "set net.ipv6.conf.all.forwarding = 1 (was 0)",
        ]
    );
    desired.gateway = Some(Gateway { ranges: vec![net("10.77.0.0/24")], ..Gateway::default() });
    assert!(!printed(&desired, &observed).contains("ipv6"));
}

#[test]
fn a_machine_that_forwards_already_takes_routes_from_routers_as_before() {
    let gateway = Some(Gateway { ranges: vec![net("fd7a::/64")], ..Gateway::default() });
    let desired = HostPlan { gateway, ..desired(&[], &[]) };
    let mut observed = observed();
    observed.sysctls.insert(FORWARD_V6.into(), "1".into());
    let text = printed(&desired, &observed);
    assert!(text.contains("keep net.ipv6.conf.all.forwarding = 1") && !text.contains("accept_ra"), "{text}");
    observed.sysctls.insert(accept_ra("eth0"), "2".into());
    assert!(printed(&desired, &observed).contains("keep net.ipv6.conf.eth0.accept_ra = 2"));
    observed.sysctls.clear();
    assert!(!printed(&desired, &observed).contains("net.ipv6.conf.all"), "a kernel without IPv6");
}

#[test]
fn no_packet_is_larger_than_it_may_be_unless_ipv6_must_carry_it() {
    let plan = |address: &str, at_most: u32| HostPlan {
        addresses: vec![address.parse().unwrap()],
        mtu_at_most: Some(at_most),
        ..HostPlan::default()
    };
    assert_eq!(mtu_for(Some(1500), &plan("10.0.0.2/24", 1400)), 1400);
    assert_eq!(mtu_for(Some(1500), &plan("10.0.0.2/24", 500)), 500);
    assert_eq!(mtu_for(Some(300), &plan("10.0.0.2/24", 1400)), 576);
    assert_eq!(mtu_for(Some(1500), &plan("10.0.0.2/24", 1)), 68);
    assert_eq!(mtu_for(Some(1500), &plan("fd00::2/64", 500)), 1280);
}

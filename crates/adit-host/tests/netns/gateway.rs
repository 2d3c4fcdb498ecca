//! Stories about a gateway: what its devices reach, what reaches them, and that nothing is left when it ends.
//!
//! Not here: the namespaces around it (`lan`).

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use adit_host::{Enrol, Gateway, GatewayTable, HostPlan, OtherFirewall, Ports, Reach, To, Transport};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::lan::{Lan, until};
use crate::stories::{assert_has, assert_same};
use crate::world::{World, run};
use crate::{Story, named};

pub(crate) const ALL: &[(&str, Story)] = named! {
    devices_go_out_under_the_servers_address_and_are_kept_from_each_other
    without_translation_or_isolation_devices_keep_their_addresses_and_meet
    a_permission_opens_one_port_and_its_end_closes_it
    the_confined_reach_what_is_allowed_and_nothing_else
    nobody_else_is_a_device_or_gets_at_one
    an_invite_reaches_the_enrol_port_and_nothing_else
    a_port_where_the_server_listens_is_not_a_devices
    docker_does_not_stop_it_and_finds_its_rules_as_they_were
    what_another_firewall_takes_away_comes_back_with_the_next_update
    a_ruleset_that_the_kernel_refuses_changes_nothing
    a_router_that_announces_itself_stays_the_default_route
    a_gateway_that_was_killed_leaves_nothing_after_recover
    ten_thousand_devices_are_elements_and_few_rules
    whatever_is_allowed_the_kernel_takes_the_text
};

/// What other processes of a story do.
pub(crate) const CHILDREN: &[(&str, Story)] = named! { gateway_stays_up };

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn gateway() -> Gateway {
    Gateway { ranges: nets(&["10.77.0.0/24", "fd7a::/64"]), nat: true, isolate: true, ..Gateway::default() }
}

fn plan(gateway: Gateway) -> HostPlan {
    HostPlan {
        name: "wg0".into(),
        addresses: nets(&["10.77.0.1/24", "fd7a::1/64"]),
        routes: nets(&["10.77.0.2/32", "10.77.0.3/32", "fd7a::2/128", "fd7a::3/128"]),
        gateway: Some(gateway),
        ..HostPlan::default()
    }
}

fn to_phone(port: u16) -> Reach {
    let ports = Some(Ports::one(Transport::Tcp, port));
    let to = To::Nets(nets(&["10.77.0.3/32", "fd7a::3/128"]));
    Reach { from: nets(&["10.77.0.2/32", "fd7a::2/128"]), to, ports }
}

async fn devices_go_out_under_the_servers_address_and_are_kept_from_each_other(world: World) {
    let lan = Lan::new();
    let before = world.seen();
    let applied = world.host.apply(&plan(gateway())).await.unwrap();
    let _servers = [lan.outside.serves(false, 80), lan.outside.serves(true, 80), lan.phone.serves(false, 80)];
    assert_eq!(lan.laptop.asks("198.51.100.1", 80), "192.0.2.2");
    assert_eq!(lan.laptop.asks("192.0.2.1", 80), "192.0.2.2", "the server's own network");
    let v6 = lan.laptop.asks("2001:db8:ff::1", 80);
    assert_eq!(v6.trim_matches(['[', ']']).parse::<IpAddr>().unwrap(), "2001:db8::2".parse::<IpAddr>().unwrap());
    lan.laptop.pings("10.77.0.1");
    lan.laptop.pings("fd7a::1");
    lan.phone.pings("198.51.100.1");
    assert!(lan.laptop.pings_in_vain("10.77.0.3"));
    assert!(lan.phone.pings_in_vain("fd7a::2"));
    assert!(lan.laptop.asks_in_vain("10.77.0.3", 80));
    // Devices and the outside have Ethernet's size, the tunnel less, and what is too large is dropped without a word.
    let _bulk = [
        lan.outside.serves_what(false, 81, "wc${IFS}-c"),
        lan.outside.serves_what(false, 82, "head${IFS}-c${IFS}200000${IFS}/dev/zero"),
    ];
    let up = lan.laptop.run("sh -c head -c 200000 /dev/zero | socat -t 20 - TCP4:198.51.100.1:81");
    assert_eq!(up.trim(), "200000");
    let down = lan.laptop.run("sh -c socat -u TCP4:198.51.100.1:82 STDOUT | wc -c");
    assert_eq!(down.trim(), "200000");
    applied.undo().await.unwrap();
    assert!(lan.laptop.pings_in_vain("198.51.100.1"));
    assert_same(&before, &world.seen());
}

async fn without_translation_or_isolation_devices_keep_their_addresses_and_meet(world: World) {
    let lan = Lan::new();
    lan.outside.run("ip route add 10.77.0.0/24 via 192.0.2.2");
    let applied = world.host.apply(&plan(Gateway { nat: false, isolate: false, ..gateway() })).await.unwrap();
    let _server = lan.outside.serves(false, 80);
    assert_eq!(lan.laptop.asks("198.51.100.1", 80), "10.77.0.2");
    lan.laptop.pings("10.77.0.3");
    lan.phone.pings("fd7a::2");
    applied.undo().await.unwrap();
}

async fn a_permission_opens_one_port_and_its_end_closes_it(world: World) {
    let lan = Lan::new();
    let _servers = [
        lan.phone.serves(false, 80),
        lan.phone.serves(true, 80),
        lan.phone.serves(false, 81),
        lan.laptop.serves(false, 80),
    ];
    let before = world.seen();
    let mut applied = world.host.apply(&plan(gateway())).await.unwrap();
    assert!(lan.laptop.asks_in_vain("10.77.0.3", 80));
    let open = plan(Gateway { reach: vec![to_phone(80)], ..gateway() });
    let made = world.host.update(&mut applied, &open).await.unwrap();
    assert_eq!(made.len(), 1, "only the table: {made:?}");
    assert_eq!(lan.laptop.asks("10.77.0.3", 80), "10.77.0.2");
    lan.laptop.asks("fd7a::3", 80);
    assert!(lan.laptop.asks_in_vain("10.77.0.3", 81));
    assert!(lan.phone.asks_in_vain("10.77.0.2", 80), "one way");
    assert!(lan.laptop.pings_in_vain("10.77.0.3"));
    assert_eq!(world.host.update(&mut applied, &open).await.unwrap(), []);
    // One that is connected loses its connection with the permission: what it sends does not arrive any more.
    let _reader = lan.phone.serves_what(false, 82, "head${IFS}-c${IFS}2");
    world.host.update(&mut applied, &plan(Gateway { reach: vec![to_phone(82)], ..gateway() })).await.unwrap();
    let talk = "sh -c (printf a; sleep 2; printf b; sleep 1) | socat -t 1 - TCP4:10.77.0.3:82";
    assert_eq!(lan.laptop.run(talk), "ab");
    let cut = thread::scope(|threads| {
        let talking = threads.spawn(|| lan.laptop.run(talk));
        until("a connection", || lan.phone.run("ss -Htn state established sport = :82").contains(":82"));
        tokio::task::block_in_place(|| {
            let closed = plan(gateway());
            tokio::runtime::Handle::current().block_on(world.host.update(&mut applied, &closed)).unwrap();
        });
        talking.join().unwrap()
    });
    assert_eq!(cut, "");
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn the_confined_reach_what_is_allowed_and_nothing_else(world: World) {
    let lan = Lan::new();
    let _servers = [lan.phone.serves(false, 80), lan.outside.serves(false, 80)];
    let confined = nets(&["10.77.0.2/32", "fd7a::2/128"]);
    let narrow = Gateway { confined, reach: vec![to_phone(80)], ..gateway() };
    let mut applied = world.host.apply(&plan(narrow.clone())).await.unwrap();
    assert_eq!(lan.laptop.asks("10.77.0.3", 80), "10.77.0.2");
    assert!(lan.laptop.asks_in_vain("198.51.100.1", 80));
    assert!(lan.laptop.pings_in_vain("2001:db8:ff::1"));
    lan.laptop.pings("10.77.0.1");
    let _own = Command::new("socat").args(["TCP4-LISTEN:99,fork,reuseaddr", "SYSTEM:echo"]).spawn().map(Guard).unwrap();
    until("a listener", || run("ss -Hltn sport = :99").contains("LISTEN"));
    assert!(lan.laptop.asks_in_vain("10.77.0.1", 99));
    assert_eq!(lan.phone.asks("10.77.0.1", 99), "");
    lan.phone.pings("198.51.100.1");
    let internet = Reach { from: nets(&["10.77.0.2/32"]), to: To::Internet, ports: None };
    let wide = Gateway { reach: vec![to_phone(80), internet], ..narrow };
    world.host.update(&mut applied, &plan(wide)).await.unwrap();
    assert_eq!(lan.laptop.asks("198.51.100.1", 80), "192.0.2.2");
    lan.outside.run("ip address add 10.8.0.1/32 dev lo");
    assert!(lan.laptop.asks_in_vain("10.8.0.1", 80), "that is not the internet");
    assert!(lan.laptop.asks_in_vain("10.77.0.1", 99), "nor is this");
    applied.undo().await.unwrap();
}

/// A process that ends with the value.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn nobody_else_is_a_device_or_gets_at_one(world: World) {
    let lan = Lan::new();
    let applied = world.host.apply(&plan(gateway())).await.unwrap();
    let heard = world.dir.join("heard");
    let write = format!("OPEN:{},creat,append", heard.display());
    let _ears = Command::new("socat").args(["-u", "UDP4-RECV:99", &write]).spawn().map(Guard).unwrap();
    lan.outside.run("ip address add 10.77.0.2/32 dev lo");
    lan.outside.run("ip route add 10.77.0.0/24 via 192.0.2.2");
    lan.outside.run("ip -6 route add fd7a::/64 via 2001:db8::2");
    let say = |word: &str, bind: &str| {
        lan.outside.run(&format!("sh -c printf {word} | socat -u STDIN UDP4:192.0.2.2:99,bind={bind}"));
    };
    // Until the last one, which may be said, is heard.
    until("what may be said", || {
        say("lie", "10.77.0.2");
        say("honest", "192.0.2.1");
        fs::read_to_string(&heard).is_ok_and(|heard| heard.contains("honest"))
    });
    assert!(!fs::read_to_string(&heard).unwrap().contains("lie"));
    lan.outside.run("ip address delete 10.77.0.2/32 dev lo");
    lan.outside.pings("192.0.2.2");
    for inside in ["10.77.0.1", "10.77.0.3", "fd7a::1", "fd7a::3"] {
        assert!(lan.outside.pings_in_vain(inside), "{inside}");
    }
    applied.undo().await.unwrap();
}

async fn an_invite_reaches_the_enrol_port_and_nothing_else(world: World) {
    let lan = Lan::new();
    lan.also("fd7a::8000:0:0:7");
    let enrol =
        Enrol { sources: "fd7a::8000:0:0:0/65".parse().unwrap(), server: "fd7a::1".parse().unwrap(), port: 5354 };
    let applied = world.host.apply(&plan(Gateway { enrol: Some(enrol), ..gateway() })).await.unwrap();
    let _desk =
        Command::new("socat").args(["UDP6-RECVFROM:5354,fork", "SYSTEM:echo welcome"]).spawn().map(Guard).unwrap();
    let _door =
        Command::new("socat").args(["UDP6-RECVFROM:5355,fork", "SYSTEM:echo welcome"]).spawn().map(Guard).unwrap();
    let ask = |from: &str, port: u16| {
        let peer = format!("UDP6:[fd7a::1]:{port},bind=[{from}]");
        // Refused, while nobody listens yet.
        lan.laptop.attempt(&format!("sh -c echo hello | socat -t 1 - {peer}")).unwrap_or_default()
    };
    until("a welcome", || ask("fd7a::2", 5355) == "welcome\n" && ask("fd7a::8000:0:0:7", 5354) == "welcome\n");
    assert_eq!(ask("fd7a::8000:0:0:7", 5355), "");
    let pings = |from: &str, to: &str| {
        !lan.laptop.run(&format!("sh -c ping -n -c 1 -W 1 -I {from} {to} || true")).contains("100% packet loss")
    };
    for to in ["fd7a::1", "2001:db8:ff::1"] {
        until("an echo", || pings("fd7a::2", to));
        assert!(!pings("fd7a::8000:0:0:7", to), "{to}");
    }
    applied.undo().await.unwrap();
}

async fn a_port_where_the_server_listens_is_not_a_devices(world: World) {
    let lan = Lan::new();
    let listens = vec![Ports::one(Transport::Tcp, 8443)];
    let applied = world.host.apply(&plan(Gateway { listens, ..gateway() })).await.unwrap();
    let _server = lan.outside.serves_what(false, 80, "echo${IFS}$SOCAT_PEERPORT");
    let from = |port: u16| {
        let line = format!("socat -u TCP4:198.51.100.1:80,bind=:{port},reuseaddr STDOUT");
        lan.laptop.run(&line).trim().parse::<u16>().unwrap()
    };
    assert_eq!(from(40_000), 40_000);
    assert!((32_768..49_152).contains(&from(8443)));
    applied.undo().await.unwrap();
}

/// What Docker makes of the packet filter, in the words of iptables-nft, as far as it stands in the way.
const DOCKER: &str = "\
table ip filter {
    chain DOCKER-USER {
        counter packets 0 bytes 0 return
    }
    chain DOCKER-FORWARD {
        oifname \"docker0\" counter packets 0 bytes 0 accept comment \"theirs\"
    }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        jump DOCKER-USER
        jump DOCKER-FORWARD
    }
}
table ip6 filter {
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
    }
}
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        oifname != \"docker0\" ip saddr 172.17.0.0/16 masquerade
    }
}
";

fn load(world: &World, text: &str) {
    let file = world.dir.join("theirs.nft");
    fs::write(&file, text).unwrap();
    run(&format!("nft -f {}", file.display()));
}

async fn docker_does_not_stop_it_and_finds_its_rules_as_they_were(world: World) {
    let lan = Lan::new();
    load(&world, DOCKER);
    let before = world.seen();
    let mut applied = world.host.apply(&plan(gateway())).await.unwrap();
    lan.laptop.pings("198.51.100.1");
    lan.laptop.pings("2001:db8:ff::1");
    assert!(lan.laptop.pings_in_vain("10.77.0.3"), "their exception is not ours");
    let user = run("nft list chain ip filter DOCKER-USER");
    assert_eq!(user.matches("accept comment \"adit wg0\"").count(), 2, "{user}");
    assert_eq!(run("nft list chain ip filter FORWARD").matches("adit").count(), 0);
    assert_eq!(world.host.update(&mut applied, &plan(gateway())).await.unwrap(), []);
    assert_eq!(run("nft list chain ip filter DOCKER-USER"), user, "no rule twice");
    // Docker restarts: its chains are made anew.
    run("nft flush chain ip filter DOCKER-USER");
    run("nft add rule ip filter DOCKER-USER counter return");
    world.host.update(&mut applied, &plan(gateway())).await.unwrap();
    lan.laptop.pings("198.51.100.1");
    run("nft reset counters");
    applied.undo().await.unwrap();
    // A counter of theirs has counted.
    let theirs = |text: &str| {
        text.lines().map(|line| line.split(" packets ").next().unwrap().to_owned() + "\n").collect::<String>()
    };
    assert_same(&theirs(&before), &theirs(&world.seen()));
}

async fn what_another_firewall_takes_away_comes_back_with_the_next_update(world: World) {
    let lan = Lan::new();
    let mut applied = world.host.apply(&plan(gateway())).await.unwrap();
    run("nft flush ruleset");
    assert!(lan.laptop.pings_in_vain("198.51.100.1"), "untranslated, and nobody answers to that");
    world.host.update(&mut applied, &plan(gateway())).await.unwrap();
    lan.laptop.pings("198.51.100.1");
    assert!(lan.laptop.pings_in_vain("10.77.0.3"));
    // One that drops what is forwarded came meanwhile.
    load(&world, "table inet filter {\n chain forward {\n type filter hook forward priority 0; policy drop;\n }\n}\n");
    assert!(lan.laptop.pings_in_vain("198.51.100.1"));
    world.host.update(&mut applied, &plan(gateway())).await.unwrap();
    lan.laptop.pings("198.51.100.1");
    load(&world, "table inet firewalld {\n}\ntable ip filter {\n chain ufw-user-input {\n }\n}\n");
    load(&world, "table inet firewalld {\n chain filter_FORWARD {\n type filter hook forward priority 10;\n }\n}\n");
    assert_eq!(world.host.other_firewalls().await.unwrap(), [OtherFirewall::Firewalld, OtherFirewall::Ufw]);
    applied.undo().await.unwrap();
    assert!(!run("nft list ruleset").contains("adit"));
}

async fn a_ruleset_that_the_kernel_refuses_changes_nothing(world: World) {
    let before = world.seen();
    let mut applied = world.host.apply(&plan(gateway())).await.unwrap();
    let up = world.seen();
    let backwards = Ports { transport: Transport::Tcp, first: 90, last: 80 };
    let bad = plan(Gateway { reach: vec![Reach { ports: Some(backwards), ..to_phone(80) }], ..gateway() });
    for _ in 0..2 {
        let error = world.host.update(&mut applied, &bad).await.unwrap_err();
        assert_has(&error.to_string(), &["cannot load nftables aditgw-wg0", "80"]);
        assert_same(&up, &world.seen());
    }
    let open = plan(Gateway { reach: vec![to_phone(80)], ..gateway() });
    world.host.update(&mut applied, &open).await.unwrap();
    assert_has(&run("nft list table inet aditgw-wg0"), &["10.77.0.2 . 10.77.0.3 . tcp . 80"]);
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

/// A router advertisement, said once: its own default route for half an hour.
const ADVERTISE: &str = "import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex('eth0p'))
s.bind(('fe80::1', 0, 0, socket.if_nametoindex('eth0p')))
s.sendto(bytes([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]), ('ff02::1', 0, 0, socket.if_nametoindex('eth0p')))
";

async fn a_router_that_announces_itself_stays_the_default_route(world: World) {
    let lan = Lan::new();
    lan.outside.run("ip address add fe80::1/64 dev eth0p nodad");
    // Or it would say of itself that it is none.
    lan.outside.run("sh -c echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    run("ip address add fe80::2/64 dev eth0 nodad");
    run("ip -6 route delete default");
    let script = world.dir.join("advertise.py");
    fs::write(&script, ADVERTISE).unwrap();
    let learned = || run("ip -6 route show default").contains("proto ra");
    until("a route from the router", || {
        lan.outside.run(&format!("python3 {}", script.display()));
        learned()
    });
    let applied = world.host.apply(&plan(gateway())).await.unwrap();
    assert!(learned(), "the kernel forgets it when a machine forwards that is not told to keep it");
    assert_eq!(run("cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "2\n");
    lan.laptop.pings("2001:db8:ff::1");
    applied.undo().await.unwrap();
    assert!(learned());
    assert_eq!(run("cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "1\n");
}

/// Up as a gateway until it is killed.
async fn gateway_stays_up(world: World) {
    let _applied = world.host.apply(&plan(gateway())).await.unwrap();
    fs::write(world.dir.join("up"), "").unwrap();
    std::future::pending::<()>().await;
}

async fn a_gateway_that_was_killed_leaves_nothing_after_recover(world: World) {
    load(&world, DOCKER);
    let before = world.seen();
    let up = world.dir.join("up");
    let mut caught = 0;
    for step in 0..20 {
        let mut child = world.child("gateway_stays_up").stderr(Stdio::null()).spawn().unwrap();
        if step == 19 {
            until("a gateway that is up", || up.exists());
        }
        thread::sleep(Duration::from_millis(4 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        caught += usize::from(before != world.seen());
        world.host.recover("wg0").await.unwrap();
        assert_same(&before, &world.seen());
    }
    assert!(caught > 0);
}

async fn ten_thousand_devices_are_elements_and_few_rules(world: World) {
    let before = world.seen();
    let device =
        |n: u32| format!("10.{}.{}.{}/32", 64 + n / 62_500, n / 250 % 250, 1 + n % 250).parse::<IpNet>().unwrap();
    let devices: Vec<IpNet> = (0..10_000).map(device).collect();
    let to_nas = |from: &IpNet| Reach {
        from: vec![*from],
        to: To::Nets(nets(&["10.64.250.1/32"])),
        ports: Some(Ports::one(Transport::Tcp, 445)),
    };
    let everyone = Reach { from: devices.clone(), to: To::Nets(nets(&["192.168.0.0/16"])), ports: None };
    let gateway = Gateway {
        ranges: nets(&["10.64.0.0/15"]),
        confined: devices.clone(),
        reach: devices.iter().map(to_nas).chain([everyone]).collect(),
        ..gateway()
    };
    let plan = HostPlan { addresses: nets(&["10.64.250.254/15"]), routes: devices, ..plan(gateway) };
    let mut applied = world.host.apply(&plan).await.unwrap();
    let rules = run("nft list chain inet aditgw-wg0 reach");
    assert_eq!(rules.matches(" accept").count(), 2, "{}", rules.len());
    assert_eq!(run("nft list set inet aditgw-wg0 ports4").matches(" . tcp . 445").count(), 10_000);
    let journal = fs::metadata(world.dir.join("state/wg0.journal")).unwrap().len();
    assert!(journal < 4096, "a journal of {journal} bytes");
    assert_eq!(world.host.update(&mut applied, &plan).await.unwrap(), []);
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

prop_compose! {
    fn any_net()(v6 in any::<bool>(), a in 0_u8..4, b in any::<u8>(), length in 0_u8..=128) -> IpNet {
        if v6 {
            IpNet::new(format!("fd7a::{a}:{b:x}").parse().unwrap(), length).unwrap()
        } else {
            IpNet::new(format!("10.{a}.0.{b}").parse().unwrap(), length % 33).unwrap()
        }
    }
}

prop_compose! {
    fn any_ports()(udp in any::<bool>(), first in any::<u16>(), more in 0_u16..3) -> Ports {
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        Ports { transport, first, last: first.saturating_add(more) }
    }
}

fn any_nets() -> impl Strategy<Value = Vec<IpNet>> {
    proptest::collection::vec(any_net(), 0..6)
}

prop_compose! {
    fn any_reach()(
        from in any_nets(),
        to in prop_oneof![3 => any_nets().prop_map(To::Nets), 1 => Just(To::Internet)],
        ports in proptest::option::of(any_ports()),
    ) -> Reach {
        Reach { from, to, ports }
    }
}

prop_compose! {
    fn any_gateway()(
        ranges in any_nets(),
        (nat, isolate, enrols) in any::<(bool, bool, bool)>(),
        confined in any_nets(),
        reach in proptest::collection::vec(any_reach(), 0..8),
        listens in proptest::collection::vec(any_ports(), 0..4),
    ) -> Gateway {
        let enrol = Enrol { sources: "fd7a::/65".parse().unwrap(), server: "fd7a::1".parse().unwrap(), port: 5354 };
        Gateway { ranges, nat, isolate, enrol: enrols.then_some(enrol), confined, reach, listens }
    }
}

async fn whatever_is_allowed_the_kernel_takes_the_text(world: World) {
    let file = world.dir.join("table.nft");
    let own: [IpAddr; 2] = ["10.77.0.1".parse().unwrap(), "fd7a::1".parse().unwrap()];
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&any_gateway(), |gateway| {
        let text = GatewayTable::new("wg0", &own, &gateway).text;
        fs::write(&file, &text).unwrap();
        let checked = Command::new("nft").args(["-c", "-f"]).arg(&file).output().unwrap();
        prop_assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
        Ok(())
    });
    checked.unwrap();
}

//! The stories.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use adit_host::{Hooks, HostError, HostEvent, HostEvents, HostPlan, Table};

use crate::resolved::Resolved;
use crate::world::{World, run};
use crate::{Story, named};

pub(crate) const ALL: &[(&str, Story)] = named! {
    a_split_tunnel_has_its_addresses_mtu_and_routes_and_leaves_no_trace
    a_full_tunnel_takes_everything_but_its_own_and_the_lan
    two_full_tunnels_and_the_first_goes_first
    a_table_of_ones_own_or_none
    the_mtu_follows_the_path_to_the_endpoint
    a_dry_run_changes_nothing
    a_route_that_somebody_has_is_an_error_and_nothing_is_left
    a_failing_command_undoes_what_was_done
    commands_run_before_the_interface_is_made_and_after_it_is_gone
    a_reload_changes_only_what_differs
    names_go_to_the_file_that_is_mounted
    names_go_to_resolvconf
    names_go_to_resolved
    a_run_that_was_killed_leaves_nothing_after_recover
    a_run_that_was_killed_in_a_command_leaves_nothing
    an_interface_that_went_with_its_process_leaves_nothing
    a_live_run_is_not_recovered
    network_changes_are_heard
};

/// What other processes of a story do.
pub(crate) const CHILDREN: &[(&str, Story)] = named! { stays_up };

fn plan(routes: &[&str]) -> HostPlan {
    HostPlan {
        name: "wg0".into(),
        addresses: ["10.0.0.2/24", "fd00::2/64"].map(|text| text.parse().unwrap()).to_vec(),
        routes: routes.iter().map(|text| text.parse().unwrap()).collect(),
        ..HostPlan::default()
    }
}

fn full() -> HostPlan {
    HostPlan { dns: vec!["10.0.0.1".parse().unwrap()], ..plan(&["0.0.0.0/0", "::/0", "172.16.0.0/12"]) }
}

pub(crate) fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

pub(crate) fn assert_same(before: &str, after: &str) {
    let gone: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
    let left: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(before == after, "gone: {gone:#?}\nleft: {left:#?}");
}

async fn a_split_tunnel_has_its_addresses_mtu_and_routes_and_leaves_no_trace(world: World) {
    let before = world.seen();
    let plan = plan(&["10.0.0.0/24", "172.16.0.0/12", "2001:db8:1::/48", "10.0.0.7/32"]);
    let applied = world.host.apply(&plan).await.unwrap();
    assert_eq!(applied.fwmark(), None);
    assert_has(&run("ip -o address show dev wg0"), &["inet 10.0.0.2/24", "inet6 fd00::2/64"]);
    assert_has(&run("ip link show wg0"), &["mtu 1412", "UP"]);
    assert_has(&run("ip route show dev wg0"), &["10.0.0.0/24 proto kernel", "172.16.0.0/12"]);
    assert_has(&run("ip -6 route show dev wg0"), &["2001:db8:1::/48"]);
    assert!(!run("ip route show dev wg0").contains("10.0.0.7"));
    assert_eq!(run("nft list ruleset"), "");
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
    assert_eq!(fs::read_dir(world.dir.join("state")).unwrap().count(), 1, "only the lock");
}

async fn a_full_tunnel_takes_everything_but_its_own_and_the_lan(world: World) {
    let before = world.seen();
    assert_eq!(world.host.choose_fwmark(&full()).await.unwrap(), Some(51_820));
    let applied = world.host.apply(&full()).await.unwrap();
    assert_eq!(applied.fwmark(), Some(51_820));
    assert_has(&run("ip route get 198.51.100.1"), &["dev wg0 table 51820"]);
    assert_has(&run("ip route get 198.51.100.1 mark 51820"), &["via 192.0.2.1 dev eth0"]);
    assert_has(&run("ip route get 192.0.2.77"), &["dev eth0"]);
    assert_has(&run("ip route get 172.16.1.1"), &["dev wg0"]);
    assert_has(&run("ip route get 2001:db8:ffff::1"), &["dev wg0"]);
    assert_has(&run("ip route get 2001:db8:ffff::1 mark 51820"), &["via 2001:db8::1 dev eth0"]);
    assert_eq!(run("cat /proc/sys/net/ipv4/conf/all/src_valid_mark"), "1\n");
    assert_has(
        &run("nft list table inet adit-wg0"),
        &["ip daddr 10.0.0.2 drop", "ip6 daddr fd00::2 drop", "ct mark set"],
    );
    assert_has(&fs::read_to_string("/etc/resolv.conf").unwrap(), &["nameserver 10.0.0.1\n"]);
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn two_full_tunnels_and_the_first_goes_first(world: World) {
    let before = world.seen();
    let first = world.host.apply(&full()).await.unwrap();
    let other = HostPlan {
        name: "wg1".into(),
        addresses: vec!["10.1.0.2/24".parse().unwrap()],
        routes: vec!["0.0.0.0/0".parse().unwrap()],
        ..full()
    };
    let second = world.host.apply(&other).await.unwrap();
    assert_eq!(second.fwmark(), Some(51_821));
    assert_has(&run("ip route get 198.51.100.1"), &["dev wg1 table 51821"]);
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap();
    first.undo().await.unwrap();
    assert_has(&run("ip route get 198.51.100.1"), &["dev wg1 table 51821"]);
    assert_eq!(run("cat /proc/sys/net/ipv4/conf/all/src_valid_mark"), "1\n");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), resolv_conf);
    second.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn a_table_of_ones_own_or_none(world: World) {
    let before = world.seen();
    let own = HostPlan { table: Table::Number(1234), ..plan(&["0.0.0.0/0", "::/0", "172.16.0.0/12"]) };
    let applied = world.host.apply(&own).await.unwrap();
    assert_has(&run("ip route show table 1234"), &["default dev wg0", "172.16.0.0/12 dev wg0"]);
    assert_has(&run("ip -6 route show table 1234"), &["default dev wg0"]);
    assert!(!run("ip rule").contains("1234"));
    applied.undo().await.unwrap();
    let off = HostPlan { table: Table::Off, ..own };
    let applied = world.host.apply(&off).await.unwrap();
    assert!(!run("ip route show table all").contains("172.16"));
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn the_mtu_follows_the_path_to_the_endpoint(world: World) {
    run("ip link add far mtu 1400 type veth peer name farp mtu 1400");
    run("ip link set farp up");
    run("ip link set far up");
    run("ip route add 203.0.113.0/24 dev far");
    run("ip route add 203.0.113.9/32 dev far mtu 1300");
    for (endpoints, mtu) in
        [(&["203.0.113.1"][..], 1320), (&["203.0.113.9", "203.0.113.1"], 1280), (&["192.0.2.9"], 1412)]
    {
        let endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        let applied = world.host.apply(&HostPlan { endpoints, ..plan(&[]) }).await.unwrap();
        assert_has(&run("ip link show wg0"), &[&format!("mtu {mtu} ")]);
        applied.undo().await.unwrap();
    }
    let applied = world.host.apply(&HostPlan { mtu: Some(9000), ..plan(&[]) }).await.unwrap();
    assert_has(&run("ip link show wg0"), &["mtu 9000 "]);
    applied.undo().await.unwrap();
    assert_has(&run("ip link show wg0"), &["mtu 1500 "]);
}

async fn a_dry_run_changes_nothing(world: World) {
    let before = world.seen();
    let changes = world.host.plan(&full()).await.unwrap();
    let text: String = changes.iter().map(|change| format!("{change}\n")).collect();
    assert_has(
        &text,
        &["add rule 32765: not fwmark 0xca6c table 51820", "write /etc/resolv.conf: nameserver 10.0.0.1"],
    );
    assert_same(&before, &world.seen());
    assert!(!world.dir.join("state").exists());
}

async fn a_route_that_somebody_has_is_an_error_and_nothing_is_left(world: World) {
    let before = world.seen();
    // The network of the Ethernet, which the kernel made itself, and one that somebody made.
    let error = world.host.apply(&plan(&["172.16.0.0/12", "192.0.2.0/24"])).await.unwrap_err();
    assert_has(&error.to_string(), &["cannot add route 192.0.2.0/24 dev wg0: File exists", "hint:"]);
    run("ip route add 198.18.0.0/15 dev eth0");
    let error = world.host.apply(&plan(&["172.16.0.0/12", "198.18.0.0/15"])).await.unwrap_err();
    assert_has(&error.to_string(), &["cannot add route 198.18.0.0/15 dev wg0: File exists", "hint:"]);
    run("ip route delete 198.18.0.0/15 dev eth0");
    assert_same(&before, &world.seen());
}

async fn a_failing_command_undoes_what_was_done(world: World) {
    let before = world.seen();
    let log = world.dir.join("log");
    let line = |word: &str| vec![format!("echo {word} wg0 >> {}", log.display())];
    let hooks = Hooks {
        pre_up: line("pre-up"),
        post_up: vec!["ip route get 198.51.100.1 | grep -q wg0".into(), "exit 7".into(), "touch /never".into()],
        pre_down: line("pre-down"),
        post_down: line("post-down"),
    };
    let error = world.host.apply(&HostPlan { hooks, ..full() }).await.unwrap_err();
    assert!(matches!(&error, HostError::Hook { command, .. } if command == "exit 7"), "{error}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "pre-up wg0\npre-down wg0\npost-down wg0\n");
    assert_same(&before, &world.seen());
}

async fn commands_run_before_the_interface_is_made_and_after_it_is_gone(world: World) {
    run("ip link delete wg0");
    let before = world.seen();
    let log = world.dir.join("log");
    let line = |word: &str| vec![format!("echo {word} $(ls /sys/class/net | grep -x wg0) >> {}", log.display())];
    let hooks = Hooks {
        pre_up: line("pre-up"),
        post_up: line("post-up"),
        pre_down: line("pre-down"),
        post_down: line("post-down"),
    };
    let plan = HostPlan { hooks, ..full() };
    let prepared = world.host.prepare(&plan).await.unwrap();
    assert_eq!(prepared.fwmark(), Some(51_820));
    run("ip link add wg0 arp off type veth peer name wg0p");
    let applied = prepared.apply(&plan).await.unwrap();
    applied.undo_around(async { drop(run("ip link delete wg0")) }).await.unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "pre-up\npost-up wg0\npre-down wg0\npost-down\n");
    assert_same(&before, &world.seen());
    fs::remove_file(&log).unwrap();
    world.host.prepare(&plan).await.unwrap().cancel().await.unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "pre-up\npost-down\n");
}

async fn a_reload_changes_only_what_differs(world: World) {
    let before = world.seen();
    let mut applied = world.host.apply(&full()).await.unwrap();
    let mut next = full();
    next.addresses[0] = "10.0.0.9/24".parse().unwrap();
    next.routes.push("172.31.0.0/16".parse().unwrap());
    next.routes.retain(|to| to.to_string() != "172.16.0.0/12");
    next.dns = vec!["10.0.0.53".parse().unwrap()];
    let made = world.host.update(&mut applied, &next).await.unwrap();
    let made: String = made.iter().map(|change| format!("{change}\n")).collect();
    assert_has(&made, &["add address 10.0.0.9/24", "add route 172.31.0.0/16", "nameserver 10.0.0.53"]);
    assert!(!made.contains("rule") && !made.contains("mtu"), "{made}");
    let addresses = run("ip -o -4 address show dev wg0");
    assert!(addresses.contains("10.0.0.9/24") && !addresses.contains("10.0.0.2/24"), "{addresses}");
    assert_has(&run("ip route get 198.51.100.1"), &["dev wg0 table 51820"]);
    let routes = run("ip route show dev wg0");
    assert!(routes.contains("172.31.0.0/16") && !routes.contains("172.16.0.0/12"), "{routes}");
    assert_eq!(world.host.update(&mut applied, &next).await.unwrap(), []);
    let split = plan(&["172.31.0.0/16"]);
    world.host.update(&mut applied, &split).await.unwrap();
    assert_has(&run("ip route get 198.51.100.1"), &["dev eth0"]);
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), "nameserver 192.0.2.53\n");
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn names_go_to_the_file_that_is_mounted(world: World) {
    let dns = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let plan = HostPlan { dns, search: vec!["corp.example".into()], ..plan(&[]) };
    let applied = world.host.apply(&plan).await.unwrap();
    assert_eq!(
        fs::read_to_string("/etc/resolv.conf").unwrap(),
        "# Written by adit for wg0; what was here comes back when it goes down.\n\
         nameserver 10.0.0.1\nnameserver fd00::1\nsearch corp.example\n"
    );
    fs::write("/etc/resolv.conf", "nameserver 203.0.113.53\n").unwrap();
    applied.undo().await.unwrap();
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), "nameserver 203.0.113.53\n");
}

/// A copy of `/etc` without the mounted file, so that nothing of the machine's is in reach.
fn own_etc(world: &World) {
    run("umount /etc/resolv.conf");
    let etc = world.dir.join("etc");
    fs::create_dir(&etc).unwrap();
    run(&format!("mount --bind {} /etc", etc.display()));
}

async fn names_go_to_resolvconf(world: World) {
    own_etc(&world);
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    let bin = world.dir.join("bin");
    let log = world.dir.join("log");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("resolvconf");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}\ncase $1 in\n-a) cp /etc/resolv.conf /etc/was; cat > /etc/resolv.conf;;\n\
         *) [ -e /etc/was ] && mv /etc/was /etc/resolv.conf;;\nesac\n",
        log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let hook = "grep -qx 'nameserver 10.0.0.1' /etc/resolv.conf";
    let mut child = world.child("stays_up");
    child.env("PATH", path).env("ADIT_HOST_POST_UP", hook).env("ADIT_HOST_ENDS", "1");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(log).unwrap(), "-a tun.wg0 -m 0 -x\n-d tun.wg0\n");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), "nameserver 192.0.2.53\n");
}

async fn names_go_to_resolved(world: World) {
    let resolved = Resolved::start(&world.dir).await;
    own_etc(&world);
    fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
    let bus = format!("unix:path={}", world.dir.join("bus").display());
    let output =
        world.child("stays_up").env("DBUS_SYSTEM_BUS_ADDRESS", &bus).env("ADIT_HOST_ENDS", "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let index = run("cat /sys/class/net/wg0/ifindex").trim().to_owned();
    assert_eq!(
        resolved.calls(),
        [
            format!("SetLinkDNS {index} [(2, [10, 0, 0, 1])]"),
            format!("SetLinkDomains ({index}, [(\".\", true)])"),
            format!("SetLinkDefaultRoute ({index}, true)"),
            "FlushCaches".to_owned(),
            format!("RevertLink {index}"),
        ]
    );
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), "nameserver 127.0.0.53\n");
}

/// Up with a full tunnel; then down again if asked, else until it is killed.
async fn stays_up(world: World) {
    let hooks = Hooks { post_up: std::env::var("ADIT_HOST_POST_UP").into_iter().collect(), ..Hooks::default() };
    let applied = world.host.apply(&HostPlan { hooks, ..full() }).await.unwrap();
    if std::env::var_os("ADIT_HOST_ENDS").is_none() {
        fs::write(world.dir.join("up"), "").unwrap();
        std::future::pending::<()>().await;
    }
    applied.undo().await.unwrap();
}

async fn a_run_that_was_killed_leaves_nothing_after_recover(world: World) {
    let before = world.seen();
    let mut caught = 0;
    for step in 0..16 {
        let mut child = world.child("stays_up").stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(4 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        caught += usize::from(before != world.seen());
        world.host.recover("wg0").await.unwrap();
        assert_same(&before, &world.seen());
        assert_eq!(world.host.recover("wg0").await.unwrap(), [], "twice is once");
    }
    // Not only before the first change: one more is killed when it is surely up.
    let up = world.dir.join("up");
    if up.exists() {
        fs::remove_file(&up).unwrap();
    }
    let mut child = world.child("stays_up").spawn().unwrap();
    while !up.exists() {
        assert_eq!(child.try_wait().unwrap(), None);
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    caught += usize::from(before != world.seen());
    let results = world.host.recover_all().await.unwrap();
    assert!(matches!(results.as_slice(), [(link, Ok(undone))] if link == "wg0" && !undone.is_empty()), "{results:?}");
    assert_same(&before, &world.seen());
    assert!(caught > 0);
}

async fn a_run_that_was_killed_in_a_command_leaves_nothing(world: World) {
    let before = world.seen();
    let output = world.child("stays_up").env("ADIT_HOST_POST_UP", "kill -9 $PPID").output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    assert_ne!(before, world.seen());
    // The next run undoes it before it starts.
    let applied = world.host.apply(&full()).await.unwrap();
    assert_eq!(applied.fwmark(), Some(51_820));
    applied.undo().await.unwrap();
    assert_same(&before, &world.seen());
}

async fn an_interface_that_went_with_its_process_leaves_nothing(world: World) {
    run("ip link delete wg0");
    let before = world.seen();
    run("ip link add wg0 arp off type veth peer name wg0p");
    let output = world.child("stays_up").env("ADIT_HOST_POST_UP", "kill -9 $PPID").output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    run("ip link delete wg0");
    world.host.recover("wg0").await.unwrap();
    assert_same(&before, &world.seen());
}

async fn a_live_run_is_not_recovered(world: World) {
    let applied = world.host.apply(&full()).await.unwrap();
    let error = world.host.recover("wg0").await.unwrap_err();
    assert!(matches!(error, HostError::Busy { .. }), "{error}");
    let error = world.host.apply(&full()).await.unwrap_err();
    assert!(matches!(error, HostError::Busy { .. }), "{error}");
    assert!(world.host.recover_all().await.unwrap().is_empty());
    assert_has(&run("ip rule"), &["51820"]);
    applied.undo().await.unwrap();
}

async fn network_changes_are_heard(_: World) {
    let mut events = HostEvents::listen().unwrap();
    run("ip route replace default via 192.0.2.9");
    wait_for(&mut events, |event| *event == HostEvent::DefaultRoute).await;
    run("ip link set wg1 up");
    wait_for(&mut events, |event| matches!(event, HostEvent::Link { name, up: true, running: true } if name == "wg1"))
        .await;
    run("ip address add 10.9.0.1/24 dev wg1");
    let index: u32 = run("cat /sys/class/net/wg1/ifindex").trim().parse().unwrap();
    wait_for(&mut events, |event| *event == HostEvent::Address { index }).await;
    run("ip link delete wg1");
    wait_for(&mut events, |event| matches!(event, HostEvent::LinkGone { name } if name == "wg1")).await;
}

async fn wait_for(events: &mut HostEvents, wanted: impl Fn(&HostEvent) -> bool) {
    while !wanted(&events.next().await.unwrap()) {}
}

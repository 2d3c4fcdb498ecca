//! Ends that nobody wished for: killed, told to end, an interface pulled away.

use crate::world::{Machine, World, eventually};

/// A full tunnel touches everything: rules, tables, the packet filter, a sysctl.
fn full_tunnel(world: &World) {
    let (a, b) = (&world.a, &world.b);
    a.write(&a.file_text("10.77.0.1/24", 51820, b, "192.0.2.2:51820", "0.0.0.0/0"));
    b.write(&b.file_text("10.77.0.2/24", 51820, a, "192.0.2.1:51820", "10.77.0.1/32"));
}

fn is_touched(machine: &Machine) -> bool {
    machine.network().contains("fwmark")
}

#[test]
fn after_kill_9_down_removes_what_was_left_and_says_so() {
    let world = World::new();
    full_tunnel(&world);
    let before = world.a.network();
    world.a.ok(&["up", &world.a.file()]);
    world.b.ok(&["up", &world.b.file()]);
    assert!(world.a.pings("10.77.0.2"), "{}", world.a.log());
    assert!(is_touched(&world.a), "{}", world.a.network());
    world.a.signal("KILL");
    eventually("the interface is gone with its process", || !world.a.has_interface());
    assert!(is_touched(&world.a), "rules outlive a process: {}", world.a.network());
    let said = world.a.ok(&["down", &world.a.tunnel]);
    assert!(said.contains("traces are removed") && said.contains("rule"), "{said}");
    assert_eq!(world.a.network(), before);
    assert!(world.a.fails(3, &["down", &world.a.tunnel]).contains("is not up"));
}

#[test]
fn after_kill_9_the_next_up_begins_clean() {
    let world = World::new();
    full_tunnel(&world);
    let before = world.a.network();
    world.a.ok(&["up", &world.a.file()]);
    world.a.signal("KILL");
    eventually("the interface is gone with its process", || !world.a.has_interface());
    world.a.ok(&["up", &world.a.file()]);
    world.b.ok(&["up", &world.b.file()]);
    assert!(world.a.pings("10.77.0.2"), "{}", world.a.log());
    world.a.ok(&["down", &world.a.tunnel]);
    assert_eq!(world.a.network(), before);
}

#[test]
fn told_to_end_the_daemon_undoes_everything() {
    let world = World::new();
    full_tunnel(&world);
    let before = world.a.network();
    world.a.ok(&["up", &world.a.file()]);
    assert_ne!(world.a.network(), before);
    world.a.signal("TERM");
    eventually("the daemon has ended", || !world.a.has_interface() && !is_touched(&world.a));
    assert_eq!(world.a.network(), before);
    assert!(!world.a.dir.join("run/adit.sock").exists());
}

#[test]
fn a_tunnel_whose_interface_is_pulled_away_takes_no_other_down() {
    let world = World::up();
    let second = world.a.dir.join("second.conf");
    let text = world.a.file_text("10.79.0.1/24", 51821, &world.b, "192.0.2.2:51999", "10.79.0.2/32");
    let name = format!("s{}", &world.a.tunnel[1..]);
    let second = second.with_file_name(format!("{name}.conf"));
    std::fs::write(&second, text).unwrap();
    world.a.ok(&["up", second.to_str().unwrap()]);
    assert!(world.a.command("ip").args(["link", "delete", &name]).status().unwrap().success());
    eventually("it is seen to have ended", || {
        world.a.ok(&["status", "--json", &name]).contains("\"state\": \"failed\"")
    });
    assert!(world.a.ok(&["status", &name]).contains("ended by itself"));
    assert!(world.a.pings("10.77.0.2"), "the other one goes on");
    world.a.ok(&["down", &name]);
    assert_eq!(world.a.status()["state"], "connected");
    let _gone = std::fs::remove_file(format!("/var/run/wireguard/{name}.sock"));
}

#[test]
fn the_hang_up_signal_applies_changed_files() {
    let world = World::up();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    world.a.write(&text.replace("10.77.0.2/32", "10.77.0.2/32, 10.80.0.0/16"));
    world.a.signal("HUP");
    eventually("the route is there", || world.a.network().contains("10.80.0.0/16"));
    assert!(world.a.pings("10.77.0.2"));
}

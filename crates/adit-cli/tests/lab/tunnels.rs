//! Tunnels that work: up, traffic, status, reload, down.

use std::process::Stdio;

use crate::world::{World, eventually};

#[test]
fn a_tunnel_comes_up_carries_packets_and_leaves_nothing() {
    let world = World::configured();
    let before = world.a.network();
    let said = world.a.ok(&["up", &world.a.file()]);
    assert!(said.starts_with(&format!("{} is up; no handshake yet", world.a.tunnel)), "{said}");
    world.b.ok(&["up", &world.b.file()]);
    assert!(world.a.pings("10.77.0.2"), "{}", world.a.log());
    let status = world.a.status();
    assert_eq!(status["state"], "connected", "{status}");
    assert_eq!(status["listen_port"], 51820);
    assert_eq!(status["peers"][0]["endpoint"], "192.0.2.2:51820");
    assert!(status["peers"][0]["last_handshake_seconds_ago"].as_u64().unwrap() < 20, "{status}");
    assert!(status["traffic"]["received"].as_u64().unwrap() > 0, "{status}");
    assert!(status["next"]["why"].is_string(), "{status}");
    let shown = world.a.ok(&["status", "--why"]);
    assert!(shown.contains("connected, up for") && shown.contains(" ago") || shown.contains("now"), "{shown}");
    assert_eq!(world.a.ok(&["down", &world.a.tunnel]), format!("{} is down\n", world.a.tunnel));
    assert_eq!(world.a.network(), before);
    eventually("the daemon ends by itself", || !world.a.dir.join("run/adit.sock").exists());
    assert!(world.a.fails(3, &["status"]).contains("no tunnel is up"));
}

#[test]
fn a_peer_that_keeps_in_touch_is_shaken_hands_with_at_once() {
    let world = World::configured();
    let keepalive = std::fs::read_to_string(world.b.file()).unwrap() + "PersistentKeepalive = 25\n";
    world.b.write(&keepalive);
    world.a.ok(&["up", &world.a.file()]);
    let said = world.b.ok(&["up", &world.b.file()]);
    assert!(said.contains("the handshake is completed"), "{said}\n{}", world.b.log());
}

#[test]
fn wg_shows_the_tunnel_that_adit_brought_up() {
    let world = World::up();
    let run = world.a.command("wg").args(["show", &world.a.tunnel, "allowed-ips"]).output().unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), format!("{}\t10.77.0.2/32\n", world.b.keys.public));
}

#[test]
fn status_shows_the_mtu_that_a_reload_has_set() {
    let world = World::up();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    for mtu in [1300, 1390] {
        world.a.write(&text.replace("[Interface]\n", &format!("[Interface]\nMTU = {mtu}\n")));
        world.a.ok(&["reload", &world.a.tunnel]);
        assert_eq!(world.a.status()["mtu"], mtu);
    }
}

#[test]
fn a_changed_file_is_applied_as_a_difference_and_sessions_are_kept() {
    let world = World::up();
    assert!(world.a.pings("10.77.0.2"));
    let before = world.a.status();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    world.a.write(&text.replace("10.77.0.2/32", "10.77.0.2/32, 10.78.0.0/16").replace("/24", "/24, 10.77.1.1/32"));
    let said = world.a.ok(&["reload", &world.a.tunnel]);
    assert!(said.contains("route 10.78.0.0/16"), "{said}");
    let after = world.a.status();
    assert_eq!(after["peers"][0]["allowed_ips"], serde_json::json!(["10.77.0.2/32", "10.78.0.0/16"]), "{after}");
    assert_eq!(after["addresses"], serde_json::json!(["10.77.0.1/24", "10.77.1.1/32"]));
    let handshake = "last_handshake_unix";
    assert_eq!(after["peers"][0][handshake], before["peers"][0][handshake], "the session is the same");
    assert_eq!(after["peers"][0]["has_session"], true);
    assert!(world.a.pings("10.77.0.2"));
    assert!(world.a.ok(&["reload", &world.a.tunnel]).contains("Nothing in the file differs"));
}

#[test]
fn a_wrong_file_changes_nothing_when_reloaded() {
    let world = World::up();
    let before = world.a.network();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    world.a.write(&text.replace("10.77.0.1/24", "10.77.0.1/99"));
    assert!(world.a.fails(2, &["reload", &world.a.tunnel]).contains("10.77.0.1/99"));
    assert_eq!(world.a.network(), before);
    assert!(world.a.pings("10.77.0.2"));
}

#[test]
fn a_dry_run_prints_the_plan_and_does_nothing() {
    let world = World::configured();
    let (a, b) = (&world.a, &world.b);
    a.write(&a.file_text("10.77.0.1/24", 51820, b, "192.0.2.2:51820", "10.78.0.0/16"));
    let before = world.a.network();
    let said = world.a.ok(&["up", "--dry-run", &world.a.file()]);
    for line in ["listen on UDP port 51820", "add address 10.77.0.1/24", "add route 10.78.0.0/16"] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    assert_eq!(world.a.network(), before);
    assert!(!world.a.dir.join("run").exists(), "no daemon was started");
}

#[test]
fn watching_as_json_gives_a_line_a_second() {
    let world = World::up();
    let mut watch = world
        .a
        .command(env!("CARGO_BIN_EXE_adit"))
        .args(["status", "--watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    for line in lines.take(2) {
        let report: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(report["schema"], 1);
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn in_the_foreground_a_tunnel_lasts_until_ctrl_c() {
    let world = World::configured();
    let before = world.a.network();
    let mut front = world.a.spawn(&["up", "--foreground", &world.a.file()]);
    eventually("the interface is there", || world.a.has_interface());
    world.b.ok(&["up", &world.b.file()]);
    eventually("packets pass", || world.a.pings("10.77.0.2"));
    let pid = rustix::process::Pid::from_child(&front);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(front.wait().unwrap().success());
    assert_eq!(world.a.network(), before);
}

#[test]
fn a_saved_configuration_has_what_was_set_meanwhile() {
    let world = World::configured();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    world.a.write(&text.replace("[Interface]", "[Interface]\nSaveConfig = true"));
    world.a.ok(&["up", &world.a.file()]);
    let peer = world.b.keys.public.as_str();
    let set = ["set", &world.a.tunnel, "peer", peer, "persistent-keepalive", "21"];
    assert!(world.a.command("wg").args(set).status().unwrap().success());
    assert!(world.a.ok(&["down", &world.a.tunnel]).contains("is saved"));
    let saved = std::fs::read_to_string(world.a.file()).unwrap();
    assert!(saved.contains("PersistentKeepalive = 21") && saved.contains("10.77.0.1/24"), "{saved}");
    assert!(world.a.ok(&["check", &world.a.file()]).ends_with("good\n"));
}

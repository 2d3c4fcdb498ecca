//! Restarts and deaths: what is admitted stays admitted, and nothing is left behind.

use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::traffic;

use crate::scene::{SERVER, Scene, outside};

#[test]
fn a_server_that_was_restarted_goes_on_without_anybody_joining_again() {
    let mut scene = Scene::new();
    scene.join_both();
    scene.end_server("-TERM");
    assert!(!traffic::ping_once(&scene.phone.host, outside()), "it is down");
    scene.serve_again();
    for machine in [&scene.phone, &scene.laptop] {
        scene.reaches_outside(machine);
    }
}

#[test]
fn a_server_that_was_killed_is_missed_by_nobody_and_leaves_nothing() {
    let mut scene = Scene::unserved();
    let before = scene.server.ruleset();
    scene.serve();
    scene.join_both();
    scene.end_server("-KILL");
    // Who decides is gone; what was decided runs.
    scene.reaches_outside(&scene.phone);
    scene.serve_again();
    scene.reaches_outside(&scene.phone);
    scene.server.adit("peer disable phone").ok();
    poll::until("the phone to be cut off", PATIENCE, || {
        (!traffic::ping_once(&scene.phone.host, outside())).then_some(())
    });
    scene.end_server("-TERM");
    assert_eq!(scene.server.ruleset(), before, "rules are left behind");
}

#[test]
fn what_decides_has_no_rights_in_any_of_its_threads() {
    let scene = Scene::new();
    let tasks = format!("/proc/{}/task", scene.deciding_process());
    let mut threads = 0;
    for task in std::fs::read_dir(tasks).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let has = |line: &str| status.lines().any(|l| l.split_whitespace().eq(line.split_whitespace()));
        assert!(has("CapEff: 0000000000000000") && has("CapPrm: 0000000000000000"), "{status}");
        assert!(has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");
        threads += 1;
    }
    assert!(threads > 1, "the link to the daemon is a thread of its own");
}

/// A third process speaks to strangers: it has neither the database nor the rights of the daemon.
#[test]
fn what_serves_the_web_site_has_no_rights_and_is_replaced_when_it_is_killed() {
    let scene = Scene::new();
    scene.join_both();
    let process = || scene.server.tunnel()["web_site"]["process"].as_u64();
    let first = process().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let has = |line: &str| status.lines().any(|l| l.split_whitespace().eq(line.split_whitespace()));
    assert!(has("CapEff: 0000000000000000") && has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");
    // What only root may read is asked for by links among the pages.
    let state = scene.server.dir.join("state/server");
    for (name, file) in [("key", state.join("network.key")), ("shadow", "/etc/shadow".into())] {
        assert!(std::fs::read(&file).is_ok());
        std::os::unix::fs::symlink(file, state.join("site").join(name)).unwrap();
    }
    let code = |page: &str| {
        let curl = "curl -sk -o /dev/null -w %{http_code}";
        scene.phone.host.run(&format!("{curl} https://{SERVER}/{page}"))
    };
    assert_eq!(code(""), "200");
    assert!(code("key") != "200" && code("shadow") != "200");
    scene.block_udp();
    scene.reaches_outside(&scene.phone);
    Run::line(&format!("kill -KILL {first}")).ok();
    poll::until("another process", PATIENCE, || process().filter(|process| *process != first));
    scene.reaches_outside(&scene.phone);
}

/// Neither half goes on without the other.
#[test]
fn when_what_decides_is_killed_its_monitor_ends_and_says_so() {
    let mut scene = Scene::new();
    scene.join_both();
    let deciding = scene.deciding_process();
    Run::line(&format!("kill -KILL {deciding}")).ok();
    let said = scene.wait_for_the_end();
    assert!(said.contains("the process that decides about the network ended: signal: 9"), "{said}");
    scene.reaches_outside(&scene.phone);
    scene.serve_again();
    scene.server.adit("peer disable phone").ok();
}

#[test]
fn a_daemon_that_was_killed_is_given_the_network_again() {
    let mut scene = Scene::new();
    scene.join_both();
    scene.server.kill_daemon();
    scene.server.start_daemon_beside_a_server();
    for machine in [&scene.phone, &scene.laptop] {
        scene.reaches_outside(machine);
    }
}

#[test]
fn a_backup_brings_back_who_was_admitted() {
    let scene = Scene::new();
    scene.join_both();
    let file = scene.server.dir.join("backup");
    scene.server.adit(&format!("server backup {}", file.display())).ok();
    scene.server.adit("peer remove phone").ok();
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 1);
    // While it is served.
    scene.server.adit(&format!("server restore {}", file.display())).ok();
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 2);
    scene.reaches_outside(&scene.phone);
}

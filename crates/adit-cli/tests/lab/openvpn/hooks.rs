//! Programs that a client's configuration has run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{INSIDE, Scene};
use crate::world::eventually;

/// A program that notes when it was run, with what, and whether the interface was there.
fn program(scene: &Scene, name: &str, more: &str) -> String {
    let dir = &scene.alice().dir;
    let file = dir.join(name);
    let script = format!(
        "#!/bin/sh\nip link show \"$dev\" > /dev/null 2>&1 && there=there || there=gone\n\
         echo \"$script_type $script_context $there $* $ifconfig_local $trusted_ip $SEAT [$HOME$ADIT_LOG]\" >> {}/ran\n{more}\n",
        dir.display()
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn ran(scene: &Scene) -> Vec<String> {
    let text = fs::read_to_string(scene.alice().dir.join("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const OPTIONS: &str =
    "--proto udp --tls-crypt DIR/tc.key --explicit-exit-notify 1 --push route~10.99.7.0~255.255.255.0";

#[test]
fn programs_are_run_when_the_tunnel_comes_and_goes() {
    let mut scene = Scene::new(OPTIONS);
    let note = program(&scene, "note.sh", "");
    let lines: String = ["ipchange", "up", "route-up", "route-pre-down", "down"]
        .map(|option| format!("{option} \"{note} word\"\n"))
        .concat();
    let lines = format!("remote 192.0.2.2 1194 udp\nscript-security 2\nsetenv SEAT 7\nconnect-retry 1 1\n{lines}");
    let alice = scene.alice();
    let before = alice.network();
    let (tunnel, dry) = (alice.tunnel.clone(), alice.ok(&["up", "--dry-run", &scene.file(&lines)]));
    assert!(dry.contains(&format!("run {note} word (`up`)")), "{dry}");
    alice.ok(&["up", &scene.file(&lines)]);
    assert!(alice.pings(INSIDE));
    // A connection that is made anew is not told of, unless that is asked for.
    scene.end_server();
    scene.serve(OPTIONS);
    let alice = scene.alice();
    eventually("the client is connected again", || alice.status()["openvpn"]["connections"] == 2);
    alice.ok(&["down", &tunnel]);
    assert_eq!(alice.network(), before);
    let told = "10.29.41.2 192.0.2.2 7 []";
    assert_eq!(
        ran(&scene),
        [
            format!("ipchange init there word 192.0.2.2 1194 {told}"),
            format!("up init there word {tunnel} 1500 0 10.29.41.2 255.255.255.0 init {told}"),
            format!("route-up init there word {told}"),
            format!("route-pre-down init there word {told}"),
            format!("down init gone word {tunnel} 1500 0 10.29.41.2 255.255.255.0 init {told}"),
        ]
        .map(|line| line.replace(" 1500 ", &format!(" {} ", mtu(&scene))))
    );
}

/// What the interface had.
fn mtu(scene: &Scene) -> String {
    let up = ran(scene).into_iter().find(|line| line.starts_with("up ")).unwrap();
    up.split_whitespace().nth(5).unwrap().to_owned()
}

#[test]
fn where_it_is_asked_for_programs_know_of_each_connection_and_come_before_the_interface_goes() {
    let mut scene = Scene::new(OPTIONS);
    let note = program(&scene, "note.sh", "");
    let lines = format!(
        "remote 192.0.2.2 1194 udp\nscript-security 2\nconnect-retry 1 1\nup {note}\ndown {note}\nup-restart\ndown-pre\n"
    );
    scene.alice().ok(&["up", &scene.file(&lines)]);
    scene.end_server();
    scene.serve(OPTIONS);
    eventually("both know of the second connection", || ran(&scene).len() == 3);
    scene.alice().ok(&["down", &scene.alice().tunnel]);
    let ran = ran(&scene);
    let began: Vec<_> = ran.iter().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(began, ["up init there", "down restart there", "up restart there", "down init there"], "{ran:?}");
}

#[test]
fn where_up_fails_there_is_no_tunnel() {
    let scene = Scene::new(OPTIONS);
    let alice = scene.alice();
    let before = alice.network();
    let fails = program(&scene, "fails.sh", "exit 3");
    let down = program(&scene, "down.sh", "");
    for (program, said) in [(fails.as_str(), "ended with exit status: 3"), ("/nonexistent/program", "cannot run")] {
        let lines = format!("remote 192.0.2.2 1194 udp\nscript-security 2\nup {program}\ndown {down}\n");
        let failure = alice.fails(1, &["up", &scene.file(&lines)]);
        assert!(failure.contains("`up`") && failure.contains(program) && failure.contains(said), "{failure}");
        assert_eq!(alice.network(), before);
    }
    assert_eq!(ran(&scene).len(), 1, "what `up` did not do is nothing for `down`");
    let refused = alice.fails(2, &["up", &scene.file(&format!("remote 192.0.2.2 1194 udp\nup {fails}\n"))]);
    assert!(refused.contains("script-security 2"), "{refused}");
}

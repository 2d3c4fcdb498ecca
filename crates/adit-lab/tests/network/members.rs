//! Members of the group `adit`: they decide about the network, and do not become root by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use adit_lab::shell::Failed;
use adit_lab::subjects::beside_this_program;

use crate::machine::Machine;
use crate::scene::Scene;

/// Numbers that nobody has.
const GROUP: u32 = 942;
const USER: u32 = 64_242;

/// A file of groups that is seen in one namespace only: `ip netns exec` puts it there.
struct Groups(std::path::PathBuf);

impl Groups {
    fn at(machine: &Machine) -> Self {
        let dir = std::path::Path::new("/etc/netns").join(machine.host.name());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("group"), format!("root:x:0:\nadit:x:{GROUP}:\n")).unwrap();
        Self(dir)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// `adit` as somebody who is in this group.
fn somebody(machine: &Machine, group: u32, arguments: &str) -> Result<String, Failed> {
    let adit = beside_this_program("adit");
    let line = format!("setpriv --reuid {USER} --regid {USER} --groups {group} {} {arguments}", adit.display());
    let run = machine.host.command(&line).env("ADIT_RUNTIME_DIR", machine.dir.join("run"));
    run.env("ADIT_STATE_DIR", machine.dir.join("state")).env("ADIT_CONFIG_DIR", machine.dir.join("profiles")).attempt()
}

#[test]
fn a_member_decides_and_does_not_become_root() {
    let mut scene = Scene::unserved();
    let _groups = Groups::at(&scene.server);
    scene.server.kill_daemon();
    scene.server.start_daemon();
    scene.serve();
    let member = |arguments: &str| somebody(&scene.server, GROUP, arguments);
    let refused = |arguments: &str| member(arguments).expect_err("it should be refused").said;

    // What the network is about is theirs, under their own number.
    assert!(member("invite phone --json").unwrap().contains("adit:1:"));
    assert!(member("peers").is_ok() && member("status").is_ok());
    assert!(member("server log --most 1").unwrap().contains(&format!("uid {USER}")));
    assert!(member("server log --verify").unwrap().contains("whole"));

    // What is root's is not.
    let file = scene.server.dir.join("backup");
    assert!(refused(&format!("server backup {}", file.display())).contains("only root"));
    let mark = scene.server.dir.join("was-root");
    let dir = scene.server.dir.join("theirs");
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("m{}", std::process::id());
    let key = scene.server.adit("genkey").ok();
    let text = format!("[Interface]\nPrivateKey = {key}\nPostUp = touch {}\n", mark.display());
    let own = dir.join(format!("{name}.conf"));
    fs::write(&own, &text).unwrap();
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    assert!(refused(&format!("up {}", own.display())).contains("run as root"));
    assert!(refused(&format!("down {}", scene.server.name)).contains("network"));
    assert!(!mark.exists(), "a command of a member's file was run as root");

    // What root has configured may be used.
    let kept = scene.server.dir.join("profiles");
    fs::create_dir_all(&kept).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(kept.join(format!("{name}.conf")), text).unwrap();
    fs::set_permissions(kept.join(format!("{name}.conf")), fs::Permissions::from_mode(0o600)).unwrap();
    member(&format!("up {name}")).unwrap();
    assert!(mark.exists(), "root's own command is run");
    member(&format!("down {name}")).unwrap();

    // Whoever is in another group comes to no socket.
    assert!(somebody(&scene.server, GROUP + 1, "peers").is_err());
    assert!(somebody(&scene.server, GROUP + 1, "status").unwrap_err().said.contains("member of the group"));
    let inside = scene.server.host.attempt(&format!(
        "setpriv --reuid {USER} --regid {USER} --groups {GROUP} ls {}",
        scene.server.dir.join("run").display()
    ));
    assert!(inside.is_err(), "a member sees what else is there: {inside:?}");
}

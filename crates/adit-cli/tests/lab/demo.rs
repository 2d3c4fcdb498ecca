//! The demo: moves traffic, and leaves nothing, however it ends.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::eventually;

fn demo(seconds: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(["demo", "--json", "--seconds", seconds]).stdin(Stdio::null());
    command
}

fn directory_of(pid: u32) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("adit-demo-{pid}"))
}

/// The daemons of a demo: its children.
fn children(pid: u32) -> Vec<String> {
    let list = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8(list.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_demo_moves_real_traffic_and_cleans_up() {
    let child = demo("1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let run = child.wait_with_output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["ping"]["lost"], 0, "{report}");
    for transfer in report["transfers"].as_array().unwrap() {
        assert!(transfer["bytes"].as_u64().unwrap() > 1_000_000, "{report}");
    }
    for peer in report["peers"].as_array().unwrap() {
        assert!(peer["received"].as_u64().unwrap() > 1_000_000, "{report}");
    }
    assert!(!directory_of(pid).exists());
}

#[test]
fn interrupted_it_cleans_up_too() {
    for signal in ["INT", "TERM"] {
        let mut child = demo("30").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it has begun", || children(child.id()).len() == 2);
        let daemons = children(child.id());
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(!directory_of(child.id()).exists());
        assert!(daemons.iter().all(|pid| !Path::new("/proc").join(pid).exists()), "its daemons have ended");
    }
}

#[test]
fn killed_it_leaves_no_process_and_the_next_removes_its_directory() {
    let mut child = demo("30").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it has begun", || children(child.id()).len() == 2);
    let daemons = children(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("its daemons end", || daemons.iter().all(|pid| !Path::new("/proc").join(pid).exists()));
    assert!(demo("1").stdout(Stdio::null()).status().unwrap().success());
    assert!(!directory_of(child.id()).exists());
}

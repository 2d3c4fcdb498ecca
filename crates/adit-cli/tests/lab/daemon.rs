//! The daemon's socket: who may speak, in which version, how much at once.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::world::{Machine, World};

fn connect(machine: &Machine) -> UnixStream {
    let stream = UnixStream::connect(machine.dir.join("run/adit.sock")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream
}

fn ask(stream: &mut UnixStream, line: &str) -> serde_json::Value {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.last() != Some(&b'\n') {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    serde_json::from_slice(&answer).unwrap()
}

#[test]
fn the_protocol_is_the_documented_one() {
    let world = World::up();
    let mut stream = connect(&world.a);
    let info = ask(&mut stream, "{\"adit\":1,\"id\":3,\"method\":\"info\"}\n");
    assert_eq!((&info["adit"], &info["id"]), (&1.into(), &3.into()));
    assert_eq!(info["result"]["tunnels"], serde_json::json!([world.a.tunnel]));
    let other = ask(&mut stream, "{\"adit\":2,\"id\":4,\"method\":\"info\"}\n");
    assert_eq!(other["id"], 4);
    assert!(other["error"]["message"].as_str().unwrap().contains("different versions"), "{other}");
    let nonsense = ask(&mut stream, "hello\n");
    assert_eq!(nonsense["error"]["kind"], "usage");
    let unknown = ask(&mut stream, "{\"adit\":1,\"id\":5,\"method\":\"fly\"}\n");
    assert_eq!((&unknown["id"], &unknown["error"]["kind"]), (&5.into(), &"usage".into()));
}

#[test]
fn a_line_without_end_is_refused_and_others_are_served() {
    let world = World::up();
    let mut stream = connect(&world.a);
    // The daemon may hang up before all of it is sent.
    let _cut = stream.write_all(&vec![b'x'; 200_000]);
    let mut said = String::new();
    let _reset = stream.read_to_string(&mut said);
    assert!(said.is_empty() || said.contains("at most"), "{said}");
    assert!(world.a.ok(&["status"]).contains(&world.a.tunnel));
}

#[test]
fn too_many_commands_at_once_are_told_so() {
    let world = World::up();
    let seats: Vec<_> = (0..32).map(|_| connect(&world.a)).collect();
    for mut seat in &seats {
        seat.write_all(b"{\"adit\":1,\"id\":1,\"method\":\"info\"}\n").unwrap();
        let mut first = [0];
        seat.read_exact(&mut first).unwrap();
    }
    assert!(world.a.fails(1, &["status"]).contains("already serves 32"));
    drop(seats);
    crate::world::eventually("there is a seat again", || world.a.adit(&["status"]).status.success());
}

#[test]
fn its_files_are_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::up();
    for (file, mode) in [("run", 0o700), ("run/adit.sock", 0o600), ("run/daemon.log", 0o600)] {
        let has = world.a.dir.join(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(has, mode, "{file}");
    }
}

#[test]
fn a_second_daemon_says_that_there_is_one() {
    let world = World::up();
    assert!(world.a.fails(1, &["daemon"]).contains("a daemon already runs"));
    assert!(world.a.pings("10.77.0.2"));
}

//! A network of ten thousand devices: what it takes, and that it starts and changes as a small one does.

#![expect(clippy::print_stdout, reason = "times are for people: a machine that is busy says nothing about them")]

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use adit_lab::poll::{self, PATIENCE};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::scene::Scene;

/// Devices.
const CROWD: u32 = 10_000;
/// What all processes of the server may have of their own, in KiB: pages of the program itself, which they share, are not.
const OWN: u64 = 64 << 10;
/// And what each may have in all.
const EACH: u64 = 64 << 10;

#[test]
fn ten_thousand_devices_take_64_mb_and_change_one_by_one() {
    let mut scene = Scene::new();
    scene.server.adit("invite first --for wireguard --json").ok();
    let file = scene.server.dir.join("backup");
    scene.server.adit(&format!("server backup {}", file.display())).ok();
    let backup = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    fs::write(&file, serde_json::to_vec(&crowded(backup)).unwrap()).unwrap();
    scene.server.adit(&format!("server restore {}", file.display())).ok();
    scene.end_server("-TERM");

    let begun = Instant::now();
    scene.serve_again();
    println!("{CROWD} devices are served {:?} after the start", begun.elapsed());
    let known = || scene.server.tunnel()["peers"].as_array().map_or(0, Vec::len);
    poll::until("the tunnel knows them all", PATIENCE, || (known() >= CROWD as usize).then_some(()));
    for name in ["device-3", "device-7777", "device-9999"] {
        let begun = Instant::now();
        scene.server.adit(&format!("peer disable {name}")).ok();
        println!("{name} is cut off after {:?}", begun.elapsed());
        assert_eq!(scene.peer(name)["state"], "disabled");
    }
    assert!(known() >= CROWD as usize - 3);

    let server = scene.server_processes();
    let memory: Vec<_> = server.iter().map(|pid| Memory::of(*pid)).collect();
    println!("memory: {memory:?}");
    assert!(memory.iter().map(|one| one.own).sum::<u64>() <= OWN, "{memory:?}");
    assert!(memory.iter().all(|one| one.resident <= EACH), "{memory:?}");
}

/// The backup with many devices like its first, each with a key and addresses of its own.
fn crowded(mut backup: Value) -> Value {
    let model = &mut backup["snapshot"]["model"];
    let first = model["peers"].as_object().unwrap().values().next().unwrap().clone();
    let base = |of: &Value| of.as_str().unwrap().split_once('/').unwrap().0.to_owned();
    let v4: Ipv4Addr = base(&model["network"]["v4"]).parse().unwrap();
    let v6: Ipv6Addr = base(&model["network"]["v6"]).parse().unwrap();
    model["network"]["v4"] = json!(format!("{}/16", Ipv4Addr::from(u32::from(v4) & !0xffff)));
    let peers = (0..CROWD).map(|number| {
        let (id, place) = (number + 10, number + 2);
        let mut key = [0x42; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let mut peer = first.clone();
        peer["id"] = json!(id);
        peer["name"] = json!(format!("device-{number}"));
        peer["key"] = json!(Base64::encode_string(&key));
        peer["v4"] = json!(Ipv4Addr::from((u32::from(v4) & !0xffff) + place));
        peer["v6"] = json!(Ipv6Addr::from(u128::from(v6) + u128::from(place)));
        peer["invite"] = Value::Null;
        (id.to_string(), peer)
    });
    model["peers"] = Value::Object(peers.collect());
    model["next_id"] = json!(CROWD + 100);
    model["invites"] = json!({});
    backup["snapshot"]["usage"]["peers"] = json!({});
    backup
}

/// What a process takes, in KiB.
#[derive(Debug)]
struct Memory {
    own: u64,
    resident: u64,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self { own: kib("RssAnon:"), resident: kib("VmRSS:") }
    }
}

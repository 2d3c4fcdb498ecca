//! Metrics, read by the parser that Prometheus publishes for Python, which refuses what the format does not allow.

use std::collections::BTreeMap;

use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell;
use adit_lab::traffic;

use crate::scene::{SERVER, Scene, outside};

/// Prints each sample as its name, its labels sorted (without numbers of devices), and its value.
const PARSE: &str = r#"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "id")
        print(f"{sample.name} {labels} {sample.value}", sep="")
"#;

/// What is served now: values by name and labels.
#[track_caller]
fn scrape(scene: &Scene) -> BTreeMap<String, f64> {
    let page = scene.server.host.run("curl -sS --fail --max-time 10 http://127.0.0.1:9586/metrics");
    let parsed = shell::Run::program("/usr/bin/python3").arg("-c").arg(PARSE).input(page).ok();
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    parsed.lines().map(sample).collect()
}

#[test]
fn metrics_move_with_the_traffic_and_are_for_this_machine_alone() {
    let mut scene = Scene::unserved();
    let exposed = scene.server.refused(&format!("server up --host {SERVER} --metrics {SERVER}:9586"));
    assert!(exposed.contains("--metrics-exposed"), "{exposed}");
    scene.serve_with(&["--metrics", "9586"]);
    let link = scene.invite("phone");
    scene.phone.adit(&format!("join {link} --profile {}", scene.phone.name)).ok();
    scene.reaches_outside(&scene.phone);
    let again = scene.laptop.refused(&format!("join {link} --profile {}", scene.laptop.name));
    assert!(again.contains("used"), "{again}");
    let before = poll::until("the phone to be seen", PATIENCE, || {
        let seen = scrape(&scene);
        (seen["adit_peers state=connected"] == 1.0).then_some(seen)
    });
    for (series, value) in [
        ("adit_invites_redeemed_total ", 1.0),
        ("adit_invites_refused_total reason=used", 1.0),
        ("adit_invites state=used", 1.0),
        ("adit_peers_by_carrier carrier=udp", 1.0),
        ("adit_peer_connected peer=phone", 1.0),
        ("adit_database_up ", 1.0),
        ("adit_tunnel_up ", 1.0),
    ] {
        assert_eq!(before.get(series), Some(&value), "{series} of {before:#?}");
    }
    assert!(before["adit_handshakes_total "] >= 1.0 && before["adit_audit_entries_total "] >= 3.0, "{before:#?}");
    let moved = 16 << 20;
    traffic::tcp(&scene.phone.host, (&scene.outside, outside()), moved).finish();
    scene.server.adit("peer limit phone --quota 10GiB").ok();
    poll::until("the counters to move", PATIENCE, || {
        let after = scrape(&scene);
        let grown = |series: &str| after[series] - before[series];
        let bytes = grown("adit_peer_received_bytes_total peer=phone");
        let quota = after.get("adit_peer_quota_bytes peer=phone") == Some(&(10.0 * 1024.0 * 1024.0 * 1024.0));
        (bytes > f64::from(moved as u32) && quota && grown("adit_audit_entries_total ") >= 1.0).then_some(())
    });
    let elsewhere = scene.phone.host.attempt(&format!("curl -sS --max-time 3 http://{SERVER}:9586/metrics"));
    assert!(elsewhere.is_err(), "others reach it: {elsewhere:?}");
    let by_name = "curl -sS --resolve evil.example:9586:127.0.0.1 http://evil.example:9586/metrics";
    assert!(!scene.server.host.run(by_name).contains("adit_"), "a web page could read it");
}

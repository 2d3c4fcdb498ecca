//! Small captures of real programs, made between network namespaces, and what the rules say of each.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::fs::File;
use std::path::Path;

use adit_examine::flow::{Traffic, capture};
use adit_examine::{Examination, Verdict, examine, report};

#[test]
fn chromium_on_a_web_site_passes_every_rule() {
    let (examination, _) = examined("chromium");
    assert_eq!(detections(&examination), [""; 0]);
    let decided = ["R1", "R2", "R7", "R8", "R9", "R10", "R14", "R15", "R16", "R18", "R22"];
    for rule in decided {
        assert_eq!(verdict(&examination, rule), Verdict::Pass, "{:?}", examination.rule(rule));
    }
    assert_eq!(examination.flows[0].ja4.as_deref(), Some("t13d1517h2_8daaf6152771_cb7bf5808d99"));
    assert_eq!(examination.flows[0].server_name.as_deref(), Some("example.test"));
}

#[test]
fn chromiums_quic_is_opened_and_recognised() {
    let (examination, traffic) = examined("chromium-quic");
    assert_eq!(detections(&examination), [""; 0]);
    assert_eq!(verdict(&examination, "R14"), Verdict::Pass);
    assert_eq!(verdict(&examination, "R17"), Verdict::Note);
    assert_eq!(examination.flows[0].ja4.as_deref(), Some("q13d0312h3_55b375c5d22e_178839b6cec1"));
    let quic = &traffic.flows()[0].quic;
    assert_eq!((quic.id_lengths, quic.first_length, quic.hello_datagrams), (Some((8, 0)), 1250, 2));
}

#[test]
fn openvpn_over_udp_is_detected_by_its_opcodes() {
    assert_eq!(detections(&examined("openvpn-udp").0), ["R2"]);
}

#[test]
fn openvpn_behind_tls_crypt_is_detected_as_noise_and_by_its_opcodes() {
    assert_eq!(detections(&examined("openvpn-tcp-tls-crypt").0), ["R1", "R2"]);
}

#[test]
fn wireguard_is_detected_by_its_messages() {
    assert_eq!(detections(&examined("wireguard").0), ["R5"]);
}

#[test]
fn obfs4_is_detected_as_noise() {
    assert_eq!(detections(&examined("obfs4").0), ["R1"]);
}

/// Chromium through a proxy that is asked over TLS: its own handshake inside.
#[test]
fn a_handshake_inside_of_tls_is_detected_by_its_bursts() {
    let (examination, _) = examined("tls-in-tls");
    assert_eq!(detections(&examination), ["R7", "R9"]);
    let numbers = &examination.rule("R7").unwrap().findings[0].numbers;
    assert!(numbers.iter().any(|number| number.name == "distance" && number.value < 3.0), "{numbers:?}");
}

/// A file that ends early, at any of a hundred places, is examined as far as it goes.
#[test]
fn a_capture_cut_anywhere_is_still_examined() {
    let whole = std::fs::read(path("chromium")).unwrap();
    for end in (24..whole.len()).step_by(whole.len() / 100) {
        let mut traffic = Traffic::new();
        capture::read(&whole[..end], |frame| traffic.add(&frame)).unwrap();
        assert_eq!(detections(&examine("cut", &traffic)), [""; 0], "{end}");
    }
}

#[test]
fn words_name_the_rule_and_the_reason() {
    let (examination, _) = examined("wireguard");
    let words = report::words(&examination, |_, text| text.to_owned());
    assert!(words.contains("R5   detected      WireGuard messages"), "{words}");
    assert!(words.ends_with("not decidable from this capture\n"), "{words}");
    assert!(words.contains("\ndetected by R5: "), "{words}");
}

#[test]
fn the_page_has_verdicts_and_a_picture_and_needs_nothing_else() {
    let (examination, traffic) = examined("chromium");
    let page = report::html(&examination, &traffic);
    assert_eq!(page.matches("<svg").count(), 2);
    for rule in &examination.rules {
        assert!(page.contains(&format!("<b>{}</b>", rule.id)), "{}", rule.id);
    }
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// `docs/spec/examine.md` names every field and every rule.
#[test]
fn the_specification_names_what_json_has() {
    let spec =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/examine.md")).unwrap();
    let (examination, _) = examined("chromium");
    let json: serde_json::Value = serde_json::from_str(&report::json(&examination)).unwrap();
    assert_eq!(json["schema"], 1);
    let objects = [&json, &json["rules"][0], &json["rules"][0]["findings"][0], &json["flows"][0]];
    for name in objects.iter().flat_map(|object| object.as_object().unwrap().keys()) {
        let named = spec.contains(&format!("`{name}`"))
            || spec.contains(&format!("`{name}[]`"))
            || spec.contains(&format!("[].{name}[]`"));
        assert!(named, "{name}");
    }
    for rule in &examination.rules {
        assert!(spec.contains(&format!("| {} |", rule.id)), "{}", rule.id);
    }
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{name}.pcap"))
}

fn examined(name: &str) -> (Examination, Traffic) {
    let mut traffic = Traffic::new();
    let end = capture::read(File::open(path(name)).unwrap(), |frame| traffic.add(&frame)).unwrap();
    assert_eq!(end, capture::End::Whole);
    (examine(name, &traffic), traffic)
}

fn detections(examination: &Examination) -> Vec<&str> {
    examination.detections().map(|rule| rule.id).collect()
}

#[track_caller]
fn verdict(examination: &Examination, rule: &str) -> Verdict {
    examination.rule(rule).unwrap().verdict
}

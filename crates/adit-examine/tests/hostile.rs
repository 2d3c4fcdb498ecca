//! Captures that somebody has tampered with: whatever the bytes, an examination ends, within its bounds, with a report.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::Path;
use std::time::Duration;

use adit_examine::flow::capture::{self, Frame, Link};
use adit_examine::flow::{MAX_FLOWS, Traffic};
use adit_examine::{examine, report};
use proptest::prelude::*;

const CAPTURES: [&str; 7] =
    ["chromium", "chromium-quic", "obfs4", "openvpn-tcp-tls-crypt", "openvpn-udp", "tls-in-tls", "wireguard"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Bytes of a capture changed, cut out and repeated.
    #[test]
    fn changed_captures(which in 0..CAPTURES.len(), changes in prop::collection::vec(change(), 1..30)) {
        let mut bytes = file(CAPTURES[which]);
        for change in changes {
            change.apply(&mut bytes);
        }
        let mut traffic = Traffic::new();
        let _no_capture_any_more = capture::read(&bytes[..], |frame| traffic.add(&frame));
        ends_well(&traffic);
    }

    /// Frames of a capture in any order, some of them twice, some of them cut.
    #[test]
    fn shuffled_frames(which in 0..CAPTURES.len(), picks in prop::collection::vec((any::<prop::sample::Index>(), 0..2000_usize), 1..400)) {
        let mut frames = Vec::new();
        capture::read(&file(CAPTURES[which])[..], |frame| frames.push((frame.link, frame.bytes.to_vec()))).unwrap();
        let mut traffic = Traffic::new();
        for (n, (pick, cut)) in picks.into_iter().enumerate() {
            let (link, bytes) = pick.get(&frames);
            let bytes = if cut < 1000 { &bytes[..cut.min(bytes.len())] } else { bytes };
            traffic.add(&Frame { at: Duration::from_millis(n as u64), link: *link, bytes });
        }
        ends_well(&traffic);
    }

    /// No capture at all.
    #[test]
    fn noise(frames in prop::collection::vec((link(), prop::collection::vec(any::<u8>(), 0..200)), 0..50)) {
        let mut traffic = Traffic::new();
        for (link, bytes) in &frames {
            traffic.add(&Frame { at: Duration::MAX, link: *link, bytes });
        }
        ends_well(&traffic);
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<prop::sample::Index>(), 1..100_usize).prop_map(|(at, n)| Change::Cut(at, n)),
        1 => (any::<prop::sample::Index>(), 1..100_usize).prop_map(|(at, n)| Change::Repeat(at, n)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Cut(at, n) => {
                let at = at.index(bytes.len());
                drop(bytes.drain(at..(at + n).min(bytes.len() - 1).max(at)));
            }
            Self::Repeat(at, n) => {
                let at = at.index(bytes.len());
                let piece = bytes[at..(at + n).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
}

fn link() -> impl Strategy<Value = Link> {
    prop::sample::select(vec![Link::Raw, Link::Ethernet, Link::Cooked, Link::Cooked2, Link::Loopback])
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{name}.pcap"))).unwrap()
}

fn ends_well(traffic: &Traffic) {
    assert!(traffic.flows().len() <= MAX_FLOWS);
    let examination = examine("hostile", traffic);
    let json: serde_json::Value = serde_json::from_str(&report::json(&examination)).unwrap();
    assert_eq!(json["detected"], examination.detected);
    let words = report::words(&examination, |_, text| text.to_owned());
    assert!(!words.chars().any(|c| c.is_control() && c != '\n'), "{words:?}");
    assert!(report::html(&examination, traffic).ends_with("</html>\n"));
}

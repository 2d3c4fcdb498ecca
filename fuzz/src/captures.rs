//! Captures: files of packets that somebody else has made.

use adit_examine::flow::capture::{self, Frame, Link};
use adit_examine::flow::tls::{ClientHello, ServerHello};
use adit_examine::flow::{MAX_FLOWS, Traffic};
use adit_examine::{examine, report};

/// A whole file, from its first byte to the report.
pub fn capture(data: &[u8]) {
    let mut traffic = Traffic::new();
    let _not_a_capture = capture::read(data, |frame| traffic.add(&frame));
    check(&traffic);
}

/// Frames without a file around them: the first byte says which link, then each frame has two bytes of length.
pub fn frames(data: &[u8]) {
    let Some((link, mut rest)) = data.split_first() else { return };
    let links = [Link::Raw, Link::Ethernet, Link::Cooked, Link::Cooked2, Link::Loopback];
    let link = links[usize::from(*link) % links.len()];
    let mut traffic = Traffic::new();
    let mut at = std::time::Duration::ZERO;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let n = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (bytes, next) = after.split_at(n);
        at += std::time::Duration::from_millis(1);
        traffic.add(&Frame { at, link, bytes });
        rest = next;
    }
    check(&traffic);
}

/// Bytes that may be hellos.
pub fn hellos(data: &[u8]) {
    if let Some(hello) = ClientHello::parse(data) {
        assert_eq!(hello.length, data.len() + 4);
        assert!(adit_examine::ja4::ja4(&hello, adit_examine::ja4::Carrier::Tcp).len() >= 36);
    }
    drop(ServerHello::parse(data));
}

/// What must hold of any traffic: bounds, and reports that can be written and read.
fn check(traffic: &Traffic) {
    assert!(traffic.flows().len() <= MAX_FLOWS);
    let examination = examine("hostile", traffic);
    let json = report::json(&examination);
    assert!(json.starts_with('{') && json.ends_with('}'));
    let words = report::words(&examination, |_, text| text.to_owned());
    assert!(!words.chars().any(|c| c.is_control() && c != '\n'), "{words:?}");
    assert!(report::html(&examination, traffic).ends_with("</html>\n"));
}

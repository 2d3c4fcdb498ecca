//! Probes by what the TLS of the client offers, and by what it does after the handshake.

use super::super::frames::{END_STREAM, Frames};
use super::super::script::{Channel, Groups, Hello, Step, Until, Versions};
use super::clear::record;
use super::{BOTH, H1, H2, Set, send};

pub(super) fn add(set: &mut Set<'_>) {
    let usual = set.hello(BOTH);
    let wrong = format!("{}.example", set.dice.word(4, 12));
    for (rule, kind, hello) in [
        ("R10", "a session", usual.clone()),
        ("R10", "TLS 1.2 only", Hello { versions: Versions::Only12, ..usual.clone() }),
        ("R10", "TLS 1.3 only", Hello { versions: Versions::Only13, ..usual.clone() }),
        ("R10", "only X25519", Hello { groups: Groups::X25519, ..usual.clone() }),
        ("R10", "only P-256", Hello { groups: Groups::P256, ..usual.clone() }),
        ("R10", "asked for another key", Hello { groups: Groups::P384First, ..usual.clone() }),
        ("R10", "no ALPN", Hello { alpn: &[], ..usual.clone() }),
        ("R10", "no name", Hello { name: None, ..usual.clone() }),
        ("R10", "another name", Hello { name: Some(wrong), ..usual.clone() }),
        ("R10", "unknown ALPN", Hello { alpn: &[b"foo"], ..usual.clone() }),
        ("R10", "a resumed session", Hello { resumes: true, ..usual.clone() }),
        ("R10", "a resumed session of TLS 1.2", Hello { resumes: true, versions: Versions::Only12, ..usual }),
    ] {
        let name = hello.name.clone().unwrap_or_default();
        set.add(rule, kind, name, Channel::Tls(hello), Vec::new(), Until::Quiet);
    }
    requests(set);
    after(set);
    if set.first {
        once(set);
    }
}

/// The page itself over each kind of session.
fn requests(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let get = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let usual = set.hello(&[]);
    let wrong = format!("{}.example", set.dice.word(4, 12));
    for (kind, hello) in [
        ("GET / without ALPN", usual.clone()),
        ("GET / without a name", Hello { name: None, alpn: H1, ..usual.clone() }),
        ("GET / with another name in TLS", Hello { name: Some(wrong), alpn: H1, ..usual.clone() }),
        ("GET / over TLS 1.2", Hello { versions: Versions::Only12, ..usual.clone() }),
        ("HTTP/1.1 where HTTP/2 was agreed", Hello { alpn: H2, ..usual.clone() }),
    ] {
        set.add("R12", kind, String::new(), Channel::Tls(hello), send(get.clone()), Until::Quiet);
    }
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", name.as_str()), (":path", "/")];
    let get = Frames::begin().request(1, END_STREAM, &fields).ping();
    for (kind, hello) in [
        ("HTTP/2 over TLS 1.2", Hello { alpn: H2, versions: Versions::Only12, ..usual.clone() }),
        ("HTTP/2 without a name in TLS", Hello { alpn: H2, name: None, ..usual }),
    ] {
        set.add("R12", kind, String::new(), Channel::Tls(hello), send(get.clone()), Until::Streams(1));
    }
    let confused = set.hello(H1);
    set.add("R12", "HTTP/2 where HTTP/1.1 was agreed", String::new(), Channel::Tls(confused), send(get), Until::Quiet);
}

/// What a server does with odd records after the handshake.
fn after(set: &mut Set<'_>) {
    let count = set.dice.between(1, 40);
    let garbage = set.dice.bytes(64);
    for (rule, kind, steps) in [
        ("R12", "a session closed at once", vec![Step::CloseNotify]),
        ("R12", "a session half closed beneath TLS", vec![Step::HalfClose]),
        ("R12", "close notify and half close", vec![Step::CloseNotify, Step::HalfClose]),
        ("R11", "useless records after the handshake", vec![Step::Beneath(record(20, 0x0303, &[1]).repeat(count))]),
        ("R11", "empty records after the handshake", vec![Step::Beneath(record(23, 0x0303, &[]).repeat(count))]),
        ("R11", "a forged record after the handshake", vec![Step::Beneath(record(23, 0x0303, &garbage))]),
        ("R11", "random bytes after the handshake", vec![Step::Beneath(garbage)]),
    ] {
        let channel = Channel::Tls(set.hello(BOTH));
        set.add(rule, kind, count.to_string(), channel, steps, Until::Quiet);
    }
}

/// How much a server bears, counted; and when it gives up.
fn once(set: &mut Set<'_>) {
    let useless = record(20, 0x0303, &[1]);
    let channel = Channel::Tls(set.hello(BOTH));
    let steps = vec![Step::UntilRefused(useless)];
    set.add("R11", "useless records, counted", String::new(), channel.clone(), steps, Until::Quiet);
    let preface = Frames::begin().0;
    let h2 = Channel::Tls(set.hello(H2));
    let h1 = Channel::Tls(set.hello(H1));
    for (kind, channel, steps) in [
        ("idle: a session", channel, Vec::new()),
        ("idle: an HTTP/2 preface", h2.clone(), send(preface)),
        ("idle: half an HTTP/2 preface", h2, send(&b"PRI * HTTP/2.0\r\n\r\n"[..])),
        ("idle: half a request", h1, send(&b"GET / HTTP/1.1\r\nHos"[..])),
    ] {
        set.add("R12", kind, String::new(), channel, steps, Until::Idle);
    }
}

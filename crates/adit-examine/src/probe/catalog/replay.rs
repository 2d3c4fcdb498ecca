//! Probes with bytes of an earlier session: as they were, cut, with a bit changed, later, and with more behind them.

use std::time::Duration;

use super::super::frames::{END_STREAM, Frames};
use super::super::script::{Change, Channel, Hello, Step, Until};
use super::super::talk;
use super::clear::record;
use super::{H1, H2, Set, send};

pub(super) fn add(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", name.as_str()), (":path", "/")];
    let h2 = (set.hello(H2), Frames::begin().request(1, END_STREAM, &fields).ping());
    let h1 = (set.hello(H1), format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes());
    for (hello, request) in [h2, h1] {
        let cut = set.dice.between(1, 999);
        // Behind the hello everything is sealed; the order of a hello's extensions is another each time.
        let place = set.dice.between(900, 999);
        let bit = set.dice.between(0, 7) as u32;
        let later = Duration::from_millis(set.dice.between(100, 400) as u64);
        for (kind, change) in [
            ("a session replayed", Change::Nothing),
            ("a session replayed in part", Change::Truncated(cut)),
            ("a session replayed with a bit changed", Change::Flipped { place, bit }),
            ("a session replayed twice on one connection", Change::Doubled),
            ("a session replayed later", Change::Later(later)),
        ] {
            let channel = Channel::Replay { hello: hello.clone(), request: request.clone(), change };
            set.add("R13", kind, format!("{change:?}"), channel, Vec::new(), Until::Quiet);
        }
    }
    hellos(set);
}

/// One hello, known to both servers, with something behind it.
fn hellos(set: &mut Set<'_>) {
    let hello = set.hello(H2);
    let Some(bytes) = hello_bytes(&hello) else { return };
    let count = set.dice.between(1, 40);
    let flipped = {
        let mut bytes = bytes.clone();
        let at = set.dice.between(5, bytes.len() - 1);
        bytes[at] ^= 1 << set.dice.between(0, 7);
        (at, bytes)
    };
    set.clear("R13", "a hello with a bit changed", flipped.0.to_string(), send(flipped.1));
    let mut fresh = bytes.clone();
    // The random of a hello is its 12th byte and 31 more.
    let random = set.dice.bytes(32);
    fresh[11..43].copy_from_slice(&random);
    set.clear("R10", "a hello with another random", String::new(), send(fresh));
    let after = |record: Vec<u8>| [bytes.clone(), record.repeat(count)].concat();
    let change_cipher = after(record(20, 0x0303, &[1]));
    let empty = after(record(23, 0x0303, &[]));
    let unreadable = after(record(23, 0x0303, &[0; 40]));
    set.clear("R11", "a hello replayed, then useless records", count.to_string(), send(change_cipher));
    set.clear("R11", "a hello replayed, then empty records", count.to_string(), send(empty));
    set.clear("R11", "a hello replayed, then forged records", count.to_string(), send(unreadable));
    set.clear("R13", "the same hello twice on one connection", String::new(), send(bytes.repeat(2)));
    if set.first {
        let steps = vec![Step::Send(bytes), Step::UntilRefused(record(20, 0x0303, &[1]))];
        set.clear("R11", "a hello replayed, then useless records, counted", String::new(), steps);
    }
}

/// A hello that is sent to nobody.
fn hello_bytes(hello: &Hello) -> Option<Vec<u8>> {
    let mut session = talk::session(&talk::config(hello).ok()?, hello).ok()?;
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).ok()?;
    Some(bytes)
}

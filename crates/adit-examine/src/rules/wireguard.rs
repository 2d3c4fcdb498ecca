//! R5: WireGuard by its message types and sizes.
//!
//! Four bytes of type, of which three are zero; 148, 92 and 64 bytes; data in multiples of 16; an answer that names the
//! index of the question. Published with the protocol, and what every DPI engine looks at.

use super::{Judge, Judged, Rule, count};
use crate::flow::{Flow, Head, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R5",
    name: "WireGuard messages",
    about: "Do datagrams have the types and sizes of WireGuard, and does an answer name the index of its question?",
    source: "WireGuard whitepaper §5.4; nDPI",
    judge: Judge::Flow(judge),
};

/// TunnelBear's handshakes are this much longer: 204 and 100.
const INITIATIONS: [usize; 2] = [148, 204];
const RESPONSES: [usize; 2] = [92, 100];
const COOKIE: usize = 64;
const KEEPALIVE: usize = 32;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Udp {
        return None;
    }
    let kinds: Vec<_> = flow.heads.iter().map(kind).collect();
    let of = |wanted: Message| kinds.iter().filter(|kind| **kind == Some(wanted)).count();
    let (initiations, data) = (of(Message::Initiation), of(Message::Data));
    let answered = is_answered(&flow.heads);
    let judged = if answered {
        Judged::detected("an initiation of 148 bytes was answered with 92 bytes that name its index")
    } else if initiations >= 2 && kinds.iter().take(2).all(|kind| *kind == Some(Message::Initiation)) {
        Judged::detected("two handshake initiations of WireGuard in a row")
    } else if kinds.len() >= MANY && data == kinds.len() {
        Judged::detected(format!("all of {data} datagrams are data messages of WireGuard"))
    } else {
        Judged::pass("no handshake and no run of data messages of WireGuard")
    };
    Some(judged.with("initiations", count(initiations)).with("data messages", count(data)))
}

/// This many data messages and nothing else are no accident.
const MANY: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Initiation,
    Response,
    Cookie,
    Data,
}

fn kind(head: &Head) -> Option<Message> {
    let [kind, 0, 0, 0, ..] = head.bytes() else { return None };
    match kind {
        1 if INITIATIONS.contains(&head.length) => Some(Message::Initiation),
        2 if RESPONSES.contains(&head.length) => Some(Message::Response),
        3 if head.length == COOKIE => Some(Message::Cookie),
        4 if head.length >= KEEPALIVE && head.length.is_multiple_of(16) => Some(Message::Data),
        _ => None,
    }
}

/// Whether a response names the sender's index of an initiation that went the other way.
fn is_answered(heads: &[Head]) -> bool {
    heads.iter().enumerate().any(|(n, response)| {
        let Some(receiver) = (kind(response) == Some(Message::Response)).then(|| response.bytes().get(8..12)).flatten()
        else {
            return false;
        };
        let before = heads[..n].iter().filter(|head| head.up != response.up && kind(head) == Some(Message::Initiation));
        before.into_iter().any(|initiation| initiation.bytes().get(4..8) == Some(receiver))
    })
}

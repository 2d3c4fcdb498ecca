//! R18: the Russian counterpart of R1: a TCP connection of no known protocol with several large packets from the client.
//!
//! Only half of the rule is known (field reports): at least three packets of 411 bytes or more from the client, and a
//! condition on the server's sizes that nobody has published. So it is decided one way only.

use super::{Judge, Judged, Rule, count, fet};
use crate::flow::{Flow, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R18",
    name: "unknown TCP protocol",
    about: "Is this no known protocol, with at least three client packets of 411 bytes or more?",
    source: "field reports; half of the rule",
    judge: Judge::Flow(judge),
};

const LARGE: u32 = 411;
const SEVERAL: usize = 3;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Tcp {
        return None;
    }
    if !flow.from_start || flow.first.is_empty() {
        return Some(Judged::undecidable("the beginning of the connection is not in the capture"));
    }
    if fet::starts_as_protocol(&flow.first) {
        return Some(Judged::pass("it begins as TLS or HTTP"));
    }
    let large = flow.with_payload().filter(|packet| packet.up && packet.length >= LARGE).count();
    let judged = if large >= SEVERAL {
        Judged::undecidable(format!("the known half applies ({large} large packets); the other half is not known"))
    } else {
        Judged::pass(format!("{large} client packets of {LARGE} bytes or more"))
    };
    Some(judged.with("large packets", count(large)))
}

//! R2: OpenVPN by the number of different opcodes.
//!
//! Xue et al., "OpenVPN is Open to VPN Fingerprinting", USENIX Security 2022: the first byte of an OpenVPN packet takes
//! few values, and those of the two resets only at the beginning. A mask over the bytes changes the values, not that.

use std::collections::BTreeSet;

use super::{Judge, Judged, Rule, count};
use crate::flow::{Flow, Head, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R2",
    name: "OpenVPN opcodes",
    about: "Do the packets begin with a handful of values, the first two of which never come back?",
    source: "Xue et al., USENIX Security 2022",
    judge: Judge::Flow(judge),
};

/// Packets with payload that are looked at.
const PACKETS: usize = 100;
/// Members of the set from which on a reset must not come back; also the fewest for a detection.
const FEWEST: usize = 4;
/// The most for a detection.
const MOST: usize = 10;
/// Fewer packets than this prove nothing: any short exchange has few different first bytes. Ours.
const ENOUGH: usize = 50;

fn judge(flow: &Flow) -> Option<Judged> {
    let place = match flow.transport {
        // The length of a packet comes first.
        Transport::Tcp => 2,
        Transport::Udp => 0,
    };
    if !flow.from_start {
        return Some(Judged::undecidable("the beginning of the connection is not in the capture"));
    }
    let bytes: Vec<_> =
        flow.heads.iter().take(PACKETS).filter_map(|head| Some((head, *head.bytes().get(place)?))).collect();
    let first_of = |up: bool| bytes.iter().find(|(head, _)| head.up == up).map(|(_, byte)| *byte);
    let (Some(client), Some(server)) = (first_of(true), first_of(false)) else {
        return Some(Judged::undecidable("only one side has spoken"));
    };
    Some(decide(&bytes, client, server))
}

fn decide(bytes: &[(&Head, u8)], client: u8, server: u8) -> Judged {
    let mut set = BTreeSet::new();
    for (_, byte) in bytes {
        if set.len() >= FEWEST && (*byte == client || *byte == server) {
            return Judged::pass("a first value came back after others, as a reset of OpenVPN never does")
                .with("different values", count(set.len()));
        }
        set.insert(*byte);
    }
    let (values, packets) = (count(set.len()), count(bytes.len()));
    let judged = match set.len() {
        n if n > MOST => Judged::pass(format!("{n} different first bytes: too many for opcodes")),
        n if bytes.len() < ENOUGH => {
            Judged::undecidable(format!("{n} different first bytes in only {} packets", bytes.len()))
        }
        n if n < FEWEST => Judged::pass(format!("only {n} different first bytes")),
        n => Judged::detected(format!("{n} different first bytes in {} packets, as opcodes are", bytes.len())),
    };
    judged.with("different values", values).with("packets", packets)
}

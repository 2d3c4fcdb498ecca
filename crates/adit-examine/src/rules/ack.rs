//! R3: OpenVPN by its acknowledgements, packets of one size that are many at first and then stop.
//!
//! Xue et al., "OpenVPN is Open to VPN Fingerprinting", USENIX Security 2022.

use super::{Judge, Judged, Rule, count};
use crate::flow::{Flow, Seen};

pub(super) const RULE: Rule = Rule {
    id: "R3",
    name: "OpenVPN acknowledgements",
    about: "Are there packets of one small size that come often during the handshake and never again?",
    source: "Xue et al., USENIX Security 2022",
    judge: Judge::Flow(judge),
};

/// Packets in a bin.
const BIN: usize = 10;
/// Packets that are looked at.
const LOOKED_AT: usize = 100;
/// Packets that a flow must have.
const NEEDED: usize = 150;

fn judge(flow: &Flow) -> Option<Judged> {
    if !flow.from_start {
        return Some(Judged::undecidable("the beginning of the connection is not in the capture"));
    }
    let packets: Vec<&Seen> = flow.with_payload().take(NEEDED).collect();
    let Some(candidate) = packets.iter().filter(|packet| packet.up).nth(1).map(|packet| packet.length) else {
        return Some(Judged::undecidable("the client has sent fewer than two packets"));
    };
    if packets.len() < NEEDED {
        return Some(Judged::undecidable(format!("{} packets with payload; {NEEDED} are needed", packets.len())));
    }
    let bins: Vec<usize> = packets[..LOOKED_AT]
        .chunks(BIN)
        .map(|bin| bin.iter().filter(|packet| packet.length == candidate).count())
        .collect();
    let judged = if fits(&bins) {
        Judged::detected(format!(
            "packets of {candidate} bytes come and go as acknowledgements do: {bins:?} in each ten"
        ))
    } else {
        Judged::pass(format!("packets of {candidate} bytes do not come as acknowledgements do: {bins:?} in each ten"))
    };
    Some(judged.with("size", candidate).with("packets of that size", count(bins.iter().sum())))
}

fn fits(bins: &[usize]) -> bool {
    bins.iter().enumerate().all(|(n, inside)| match n {
        0 => (1..=3).contains(inside),
        1 => (2..=5).contains(inside),
        2..=4 => *inside <= 5,
        _ => *inside <= 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_come_early_and_stop() {
        assert!(fits(&[2, 4, 3, 0, 0, 0, 1, 0, 0, 0]));
    }

    #[test]
    fn what_never_comes_or_never_stops_is_no_acknowledgement() {
        assert!(!fits(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!fits(&[2, 4, 3, 0, 0, 0, 5, 0, 0, 0]));
        assert!(!fits(&[9, 4, 3, 0, 0, 0, 0, 0, 0, 0]));
    }
}

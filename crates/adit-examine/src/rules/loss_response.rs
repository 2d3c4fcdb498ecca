//! R20: does the sender slow down when packets are lost? Stock congestion control does; "Brutal" does not.
//!
//! FOCI 2025: two levels of loss tell custom congestion control apart without an error in 10 080 flows. A capture decides
//! it only if it happens to show losses, and only for TCP, whose repetitions can be seen.

use std::time::Duration;

use super::{Judge, Judged, Rule, count, median};
use crate::flow::{Flow, Seen, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R20",
    name: "response to loss",
    about: "Does the server slow down when packets are lost, as stock congestion control does?",
    source: "FOCI 2025; decided here only from losses that a capture shows",
    judge: Judge::Flow(judge),
};

/// Losses that are needed, apart from each other.
const NEEDED: usize = 20;
/// This long before and after a loss the rate is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// A sender that keeps this share of its rate does not respond.
const UNMOVED: f64 = 0.95;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Tcp {
        return None;
    }
    let down: Vec<&Seen> = flow.packets.iter().filter(|packet| !packet.up && packet.length > 0).collect();
    let mut losses: Vec<Duration> = Vec::new();
    for packet in down.iter().filter(|packet| packet.repeated) {
        if losses.last().is_none_or(|last| packet.at.saturating_sub(*last) > 2 * WINDOW) {
            losses.push(packet.at);
        }
    }
    if losses.len() < NEEDED {
        return Some(Judged::undecidable(format!(
            "{} losses; {NEEDED} are needed, or a probe that makes them",
            losses.len()
        )));
    }
    let bytes = |from: Duration, to: Duration| {
        down.iter()
            .filter(|packet| packet.at >= from && packet.at < to)
            .map(|packet| f64::from(packet.length))
            .sum::<f64>()
    };
    let ratios = losses.iter().map(|at| bytes(*at, *at + WINDOW) / bytes(at.saturating_sub(WINDOW), *at).max(1.0));
    let ratio = median(ratios.collect()).unwrap_or(0.0);
    let judged = if ratio >= UNMOVED {
        Judged::detected(format!("after a loss the server keeps {:.0} % of its rate", ratio * 100.0))
    } else {
        Judged::pass(format!("after a loss the server keeps {:.0} % of its rate", ratio * 100.0))
    };
    Some(judged.with("losses", count(losses.len())).with("rate kept", ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::Talk;
    use crate::verdict::Verdict;

    /// A download that loses a packet every two seconds and then sends at `kept` of its rate for a second.
    fn download(kept: usize) -> Flow {
        let mut flow = Talk::handshake().flow();
        let packet = |ms: u64, repeated: bool| Seen {
            at: Duration::from_millis(ms),
            up: false,
            length: 1000,
            sequence: 0,
            acknowledges: None,
            repeated,
        };
        flow.packets = (0..60_000)
            .step_by(10)
            .filter(|ms| ms % 2000 >= 1000 || (ms / 10) as usize % 10 < kept)
            .map(|ms| packet(ms, ms % 2000 == 0 && ms > 0))
            .collect();
        flow
    }

    #[test]
    fn a_sender_that_does_not_slow_down_is_detected() {
        assert_eq!(judge(&download(5)).unwrap().verdict, Verdict::Pass);
        assert_eq!(judge(&download(10)).unwrap().verdict, Verdict::Detected);
    }
}

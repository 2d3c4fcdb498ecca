//! R19: the gap between two round trips: TCP answers from the near end, what it carries from further away.
//!
//! Xue et al., "The Discriminative Power of Cross-layer RTTs in Fingerprinting Proxy Traffic", NDSS 2025: a proxy
//! acknowledges at once and answers when its own server has. The threshold here (1.3) is ours. It only means something
//! where the path is longer than a server thinks, so short paths are not decided.

use std::time::Duration;

use super::{Judge, Judged, Rule, count, median};
use crate::flow::{Flow, Seen, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R19",
    name: "round-trip gap",
    about: "Do answers persistently come later than acknowledgements, as through a proxy?",
    source: "Xue et al., NDSS 2025; threshold ours",
    judge: Judge::Flow(judge),
};

/// Exchanges that are needed.
const NEEDED: usize = 20;
/// An answer this many times later than the acknowledgement.
const RATIO: f64 = 1.3;
/// A path shorter than this tells nothing: any server thinks as long.
const SHORTEST: Duration = Duration::from_millis(5);
/// An answer after this is no answer to that question.
const LATEST: Duration = Duration::from_secs(10);
/// Exchanges that are looked at.
const MOST: usize = 2000;

/// One question: when it was acknowledged, when the first byte of an answer came.
struct Exchange {
    acknowledged: Duration,
    answered: Duration,
}

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Tcp {
        return None;
    }
    let exchanges = exchanges(&flow.packets);
    let found = count(exchanges.len());
    if exchanges.len() < NEEDED {
        let why = format!("{} exchanges; {NEEDED} are needed", exchanges.len());
        return Some(Judged::undecidable(why).with("exchanges", found));
    }
    let seconds = |of: fn(&Exchange) -> Duration| median(exchanges.iter().map(|e| of(e).as_secs_f64()).collect());
    let path = seconds(|exchange| exchange.acknowledged).unwrap_or(0.0);
    if path < SHORTEST.as_secs_f64() {
        let why = format!("the path is too short ({:.2} ms): any server thinks that long", path * 1000.0);
        return Some(Judged::undecidable(why).with("exchanges", found).with("path in ms", path * 1000.0));
    }
    let ratios: Vec<f64> = exchanges.iter().map(Exchange::ratio).collect();
    let late = ratios.iter().filter(|ratio| **ratio > RATIO).count();
    let ratio = median(ratios).unwrap_or(1.0);
    let judged = if ratio > RATIO {
        Judged::detected(format!(
            "answers come {ratio:.2} times as late as acknowledgements, in {late} of {found} exchanges"
        ))
    } else {
        Judged::pass(format!("answers come with the acknowledgements ({ratio:.2} times as late)"))
    };
    Some(judged.with("ratio", ratio).with("exchanges", found).with("path in ms", path * 1000.0))
}

impl Exchange {
    fn ratio(&self) -> f64 {
        self.answered.as_secs_f64() / self.acknowledged.as_secs_f64().max(1e-6)
    }
}

/// The last packet of each burst of the client, with what came back.
fn exchanges(packets: &[Seen]) -> Vec<Exchange> {
    let mut found = Vec::new();
    let mut asked: Option<&Seen> = None;
    let mut acknowledged = None;
    for packet in packets.iter().filter(|packet| !packet.repeated) {
        if packet.up {
            if packet.length > 0 {
                (asked, acknowledged) = (Some(packet), None);
            }
            continue;
        }
        let Some(question) = asked else { continue };
        let end = question.sequence.wrapping_add(question.length);
        let covers = packet.acknowledges.is_some_and(|ack| ack.wrapping_sub(end).cast_signed() >= 0);
        if covers && acknowledged.is_none() {
            acknowledged = Some(packet.at);
        }
        if packet.length == 0 {
            continue;
        }
        // Data that was on its way before the question arrived is no answer to it.
        if let Some(at) = acknowledged {
            let (acknowledged, answered) = (at.saturating_sub(question.at), packet.at.saturating_sub(question.at));
            if answered <= LATEST {
                found.push(Exchange { acknowledged, answered });
            }
            asked = None;
            if found.len() == MOST {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions every second, acknowledged after `path` and answered after `answer` milliseconds.
    fn talk(path: u64, answer: u64) -> Vec<Seen> {
        let packet = |ms: u64, up: bool, length: u32, sequence: u32, acknowledges: u32| Seen {
            at: Duration::from_millis(ms),
            up,
            length,
            sequence,
            acknowledges: Some(acknowledges),
            repeated: false,
        };
        let each = |n: u32| {
            let ms = u64::from(n) * 1000;
            let mut packets = vec![packet(ms, true, 100, n * 100, 0)];
            if answer > path {
                packets.push(packet(ms + path, false, 0, 0, n * 100 + 100));
            }
            packets.push(packet(ms + answer, false, 500, n * 500, n * 100 + 100));
            packets
        };
        (0..30).flat_map(each).collect()
    }

    #[test]
    fn exchanges_tell_the_path_and_the_answer() {
        let found = exchanges(&talk(40, 90));
        assert_eq!(found.len(), 30);
        assert!(found.iter().all(|exchange| (exchange.ratio() - 2.25).abs() < 0.01));
        assert!(exchanges(&talk(40, 40)).iter().all(|exchange| (exchange.ratio() - 1.0).abs() < 0.01));
    }

    #[test]
    fn answers_from_further_away_are_detected_where_the_path_is_long_enough() {
        let mut flow = crate::rules::tests::Talk::handshake().flow();
        for (path, answer, expected) in
            [(40, 90, crate::Verdict::Detected), (40, 45, crate::Verdict::Pass), (1, 20, crate::Verdict::Undecidable)]
        {
            flow.packets = talk(path, answer);
            assert_eq!(judge(&flow).unwrap().verdict, expected, "{path} {answer}");
        }
    }
}

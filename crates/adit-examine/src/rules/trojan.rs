//! R8: Trojan and its kin by two numbers: what the client sends with its Finished, and what comes back.
//!
//! The published numbers (trojan-killer: 650 to 750 bytes up, 170 to 180 or 3000 to 7500 down) are of hellos before
//! post-quantum keys; with them 1882 to 1978 up and 5193 down were measured, so 1700 to 2300 up counts as well.

use super::{Judge, Judged, Rule};
use crate::flow::Flow;
use crate::flow::tls::{Kind, Record};

pub(super) const RULE: Rule = Rule {
    id: "R8",
    name: "Trojan bursts",
    about: "Is the client's first word as long as an inner hello, and the answer as long as a chain of certificates?",
    source: "trojan-killer; measured with post-quantum hellos",
    judge: Judge::Flow(judge),
};

/// An answer with no more than a hello and a Finished: a resumed session. Only held against the published first number.
const SHORT_ANSWER: std::ops::RangeInclusive<u32> = 170..=180;
const ANSWER: std::ops::RangeInclusive<u32> = 3000..=7500;
const HELLO: std::ops::RangeInclusive<u32> = 650..=750;
const HELLO_PQ: std::ops::RangeInclusive<u32> = 1700..=2300;

fn judge(flow: &Flow) -> Option<Judged> {
    if !flow.is_tls() {
        return None;
    }
    let records = &flow.tls.records;
    let Some(begin) = records.iter().position(|record| record.up && record.kind == Kind::ChangeCipherSpec) else {
        return Some(Judged::undecidable("the client has not changed to encryption"));
    };
    let mut rest = records[begin..].iter().peekable();
    let mut run = |up: bool| {
        let mut sum = 0;
        while let Some(record) = rest.next_if(|record| record.up == up) {
            sum += on_the_wire(record);
        }
        sum
    };
    let (sent, answered) = (run(true), run(false));
    if answered == 0 {
        return Some(Judged::undecidable("the server has not answered yet"));
    }
    let hit = HELLO.contains(&sent) && (SHORT_ANSWER.contains(&answered) || ANSWER.contains(&answered))
        || HELLO_PQ.contains(&sent) && ANSWER.contains(&answered);
    let judged = if hit {
        Judged::detected(format!(
            "{sent} bytes up and {answered} down after the handshake: an inner hello and its answer"
        ))
    } else {
        Judged::pass(format!(
            "{sent} bytes up and {answered} down after the handshake are no inner hello and its answer"
        ))
    };
    Some(judged.with("bytes up", sent).with("bytes down", answered))
}

fn on_the_wire(record: &Record) -> u32 {
    u32::from(record.length) + 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{Talk, down, up};
    use crate::verdict::Verdict;

    #[test]
    fn a_hello_and_a_chain_of_certificates_are_detected() {
        // Before the first record stand the change of cipher and the Finished: 6 and 58 bytes.
        for (sent, answered, expected) in [
            (1850, 5000, Verdict::Detected),
            (620, 175 - 5, Verdict::Detected),
            (620, 5000, Verdict::Detected),
            (465, 5000, Verdict::Pass),
            (1850, 600, Verdict::Pass),
            (1850, 9000, Verdict::Pass),
        ] {
            let mut talk = Talk::handshake();
            talk.records(&[up(sent), down(answered)]);
            assert_eq!(judge(&talk.flow()).unwrap().verdict, expected, "{sent} {answered}");
        }
    }
}

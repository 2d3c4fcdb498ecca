//! R9: a decision tree over burst lengths, for handshakes inside of TLS.
//!
//! OpenGFW published the idea against Trojan (four burst lengths, 1 % false, 10 % missed), but a tree grown on hellos
//! before post-quantum keys. This one is our own. It was grown on captures of Chromium 156, November 2026: 198
//! connections to an HTTPS proxy with the browser's TLS inside (servers with TLS 1.2 and 1.3 and three sizes of
//! certificate chains, 40 pages), and 94 direct connections to the same pages. It finds 197 of the former, missing a
//! resumed session whose server sends no certificate, and none of the latter.
//!
//! What it cannot know: browsers that send cookies of two kilobytes with a first request, and inner hellos without
//! post-quantum keys. R7 has a model for those.

use super::bursts::{Burst, bursts};
use super::{Judge, Judged, Rule};
use crate::flow::Flow;

pub(super) const RULE: Rule = Rule {
    id: "R9",
    name: "tree of burst lengths",
    about: "Is there, in one of the first exchanges, a burst like a hello, one like its answer and one like its end?",
    source: "idea of OpenGFW; tree grown on own captures, November 2026",
    judge: Judge::Flow(judge),
};

/// A browser's post-quantum hello, with or without a proxy's header.
const HELLO: std::ops::RangeInclusive<u32> = 1700..=2300;
/// A hello needs no more records than this.
const MAX_HELLO_RECORDS: u32 = 3;
/// A server's hello with its certificates.
const ANSWER: std::ops::RangeInclusive<u32> = 600..=7500;
/// A Finished, alone or with a first request.
const END: std::ops::RangeInclusive<u32> = 60..=1600;
/// Exchanges that are looked at.
const EXCHANGES: usize = 3;

fn judge(flow: &Flow) -> Option<Judged> {
    if !flow.is_tls() {
        return None;
    }
    let bursts = bursts(flow).unwrap_or_default();
    if bursts.len() < 3 {
        return Some(Judged::undecidable(format!("{} bursts inside the connection; three are needed", bursts.len())));
    }
    let hit = bursts.windows(3).step_by(2).take(EXCHANGES).find(|window| is_handshake(window));
    Some(match hit {
        Some([hello, answer, end, ..]) => Judged::detected(format!(
            "bursts of {}, {} and {} bytes are a hello, its answer and its end",
            hello.bytes, answer.bytes, end.bytes
        ))
        .with("hello", hello.bytes)
        .with("answer", answer.bytes)
        .with("end", end.bytes),
        _ => Judged::pass("no exchange has the lengths of a handshake"),
    })
}

fn is_handshake(window: &[Burst]) -> bool {
    let [hello, answer, end] = window else { return false };
    HELLO.contains(&hello.bytes)
        && hello.records <= MAX_HELLO_RECORDS
        && ANSWER.contains(&answer.bytes)
        && END.contains(&end.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{Talk, down, up};
    use crate::verdict::Verdict;

    fn verdict(records: &[(bool, u16)]) -> Verdict {
        let mut talk = Talk::handshake();
        talk.records(records);
        judge(&talk.flow()).unwrap().verdict
    }

    #[test]
    fn an_inner_handshake_is_found_wherever_it_begins() {
        assert_eq!(verdict(&[up(1978), down(802), up(1472), down(1343)]), Verdict::Detected);
        assert_eq!(verdict(&[up(249), down(36), up(2044), down(4402), up(81)]), Verdict::Detected);
    }

    #[test]
    fn a_browsers_requests_are_none() {
        assert_eq!(verdict(&[up(530), down(3599), up(109), down(11_387)]), Verdict::Pass);
        assert_eq!(verdict(&[up(1978), down(9000), up(1472), down(1343)]), Verdict::Pass);
        assert_eq!(verdict(&[up(530), down(3599)]), Verdict::Undecidable);
    }
}

//! R15: a connection is silenced after some 16 kB from the server.
//!
//! Field reports from Russia, 2025 and 2026: TLS 1.3 to hosters abroad freezes once 15 to 20 kB came down. Which networks
//! count cannot be seen in a capture, and honest sites are hit as well, so this is a note, never a detection.

use super::{Judge, Judged, Rule};
use crate::flow::{Flow, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R15",
    name: "16 kB freeze",
    about: "Does one connection bring down more than the 15 kB after which some networks silence it?",
    source: "field reports, 2025-2026",
    judge: Judge::Flow(judge),
};

const FROZEN_AFTER: u64 = 15_000;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Tcp || !flow.is_tls() {
        return None;
    }
    let down = flow.down_bytes;
    let judged = if down > FROZEN_AFTER {
        Judged::note(format!(
            "{down} bytes came down: where this rule is armed the connection would have frozen, as any site's"
        ))
    } else {
        Judged::pass(format!("{down} bytes came down, fewer than {FROZEN_AFTER}"))
    };
    Some(judged.with("bytes down", u32::try_from(down).map_or(f64::INFINITY, f64::from)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{Talk, down, up};
    use crate::verdict::Verdict;

    #[test]
    fn much_from_the_server_is_noted() {
        let mut talk = Talk::handshake();
        talk.records(&[up(465), down(10_000)]);
        assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Pass);
        let mut talk = Talk::handshake();
        talk.records(&[up(465), down(10_000), down(10_000)]);
        assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Note);
    }
}

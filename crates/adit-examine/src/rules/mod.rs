//! The rules, a file each: what was published or measured about how censors find tunnels, applied to a capture.
//!
//! Not here: how packets become flows (`flow`), how verdicts look (`report`), rules that need to ask (`probe`).

mod ack;
mod fet;
mod ja4;
mod opcode;
mod wireguard;

use crate::flow::{Flow, Traffic};
use crate::verdict::{Finding, Number, RuleReport, Verdict};

/// A rule and where it comes from.
#[derive(Debug)]
pub(crate) struct Rule {
    id: &'static str,
    name: &'static str,
    about: &'static str,
    source: &'static str,
    judge: Judge,
}

/// What a rule looks at.
#[derive(Debug)]
enum Judge {
    /// One flow; none if the rule is not about such flows.
    Flow(fn(&Flow) -> Option<Judged>),
    /// All of them together.
    Traffic(fn(&Traffic) -> Vec<(Option<usize>, Judged)>),
}

/// A verdict with its reason.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    verdict: Verdict,
    why: String,
    numbers: Vec<Number>,
}

/// All rules that look at captures, in order.
pub(crate) const RULES: [Rule; 5] = [fet::RULE, opcode::RULE, ack::RULE, wireguard::RULE, ja4::RULE];

impl Rule {
    pub(crate) fn apply(&self, traffic: &Traffic) -> RuleReport {
        let judged: Vec<_> = match self.judge {
            Judge::Flow(judge) => {
                traffic.flows().iter().enumerate().filter_map(|(n, flow)| Some((Some(n), judge(flow)?))).collect()
            }
            Judge::Traffic(judge) => judge(traffic),
        };
        let gravest = judged.iter().map(|(_, judged)| judged).max_by_key(|judged| judged.verdict);
        let (verdict, why) = gravest.map_or_else(
            || (Verdict::Undecidable, "the capture has no flow that this rule looks at".to_owned()),
            |gravest| (gravest.verdict, gravest.why.clone()),
        );
        let findings = judged.into_iter().map(|(flow, judged)| judged.of(flow)).collect();
        let Self { id, name, about, source, .. } = *self;
        RuleReport { id, name, about, source, verdict, why, findings }
    }
}

impl Judged {
    fn pass(why: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, why)
    }

    fn detected(why: impl Into<String>) -> Self {
        Self::new(Verdict::Detected, why)
    }

    fn note(why: impl Into<String>) -> Self {
        Self::new(Verdict::Note, why)
    }

    fn undecidable(why: impl Into<String>) -> Self {
        Self::new(Verdict::Undecidable, why)
    }

    fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        Self { verdict, why: why.into(), numbers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.numbers.push(Number { name, value: value.into() });
        self
    }

    fn of(self, flow: Option<usize>) -> Finding {
        Finding { flow, verdict: self.verdict, why: self.why, numbers: self.numbers }
    }
}

/// A count as a number for the report.
fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

/// The middle of some numbers.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

//! What the comparison of two servers came to: values, and the same in words and as JSON.
//!
//! Not here: colours and printing.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::Tone;

/// The rules that need questions to a server.
pub(super) const RULES: [(&str, &str); 5] = [
    ("R4", "OpenVPN probes"),
    ("R10", "handshake and tickets"),
    ("R11", "useless records"),
    ("R12", "web requests"),
    ("R13", "replays"),
];
/// Below this, two sets of times are unlikely to be of one source. Divided by the number of kinds of probes.
const UNLIKELY: f64 = 0.01;
/// Differences that are told in words.
const TOLD: usize = 40;

/// Two servers, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The number of this schema.
    pub schema: u32,
    /// The server that was examined.
    pub target: String,
    /// The one it was compared with.
    pub against: String,
    /// The name of the site.
    pub name: String,
    /// What the random parts followed from.
    pub seed: u64,
    /// How often the whole set was asked.
    pub rounds: u32,
    /// Probes put to each of the two.
    pub probes: u64,
    /// Whether anything differs.
    pub different: bool,
    /// The rules.
    pub rules: Vec<RuleCount>,
    /// What differs, each kind of probe and aspect once.
    pub differences: Vec<Difference>,
    /// Probes whose answers differed once, and not again when repeated.
    pub unsteady: u64,
    /// Connections that could not be made.
    pub unconnected: u64,
    /// Times until the first byte of an answer, the least probable pair first. They never make a difference by themselves.
    pub timing: Vec<Timing>,
}

/// A rule and how much was asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleCount {
    /// Its number in the list of rules.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Probes put to each server.
    pub probes: u64,
    /// Differences found.
    pub differences: usize,
}

/// Something by which the two servers can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The rule.
    pub rule: &'static str,
    /// The kind of the probe.
    pub probe: &'static str,
    /// Its random parts.
    pub detail: String,
    /// What differs.
    pub aspect: &'static str,
    /// At the target.
    pub target: String,
    /// At the other.
    pub against: String,
    /// Probes of this kind whose answers differed.
    pub seen: u64,
}

/// Times of one kind of probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// The kind of the probe.
    pub probe: &'static str,
    /// How many of each.
    pub samples: usize,
    /// That both sets are of one source (Kolmogorov-Smirnov).
    pub probability: f64,
    /// The target's median.
    pub target_micros: u64,
    /// The other's.
    pub against_micros: u64,
}

impl Comparison {
    /// The comparison as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Kinds of probes whose times are less alike than chance explains.
    pub fn suspicious_times(&self) -> impl Iterator<Item = &Timing> {
        let bound = UNLIKELY / self.timing.len().max(1) as f64;
        self.timing.iter().filter(move |timing| timing.probability < bound)
    }

    /// The comparison in words, each piece coloured by `paint`.
    pub fn words(&self, paint: impl Fn(Tone, &str) -> String) -> String {
        let mut text = String::new();
        // A String takes everything.
        let _infallible = self.write_words(&mut text, &paint);
        text
    }

    fn write_words(&self, out: &mut String, paint: &impl Fn(Tone, &str) -> String) -> std::fmt::Result {
        let title = format!("{} compared with {}, as {}", self.target, self.against, self.name);
        writeln!(out, "{}", paint(Tone::Strong, &title))?;
        writeln!(out, "{} probes to each, in {} rounds; seed {}\n", self.probes, self.rounds, self.seed)?;
        for rule in &self.rules {
            let (tone, verdict) = match (rule.probes, rule.differences) {
                (0, _) => (Tone::Faint, "not asked"),
                (_, 0) => (Tone::Good, "the same"),
                _ => (Tone::Bad, "different"),
            };
            let verdict = paint(tone, &format!("{verdict:<10}"));
            writeln!(out, "{verdict} {:<4} {} ({} probes)", rule.id, rule.name, rule.probes)?;
        }
        for difference in self.differences.iter().take(TOLD) {
            let Difference { rule, probe, detail, aspect, target, against, seen } = difference;
            writeln!(out, "\n{} {rule}, {probe}: {aspect} ({seen} probes)", paint(Tone::Bad, "differs"))?;
            if !detail.is_empty() {
                writeln!(out, "    asked: {detail}")?;
            }
            writeln!(out, "    target:  {target}\n    against: {against}")?;
        }
        if self.differences.len() > TOLD {
            writeln!(out, "\nand {} more; --json has them all", self.differences.len() - TOLD)?;
        }
        writeln!(out)?;
        self.write_remarks(out, paint)
    }

    fn write_remarks(&self, out: &mut String, paint: &impl Fn(Tone, &str) -> String) -> std::fmt::Result {
        let mut suspicious = 0;
        for Timing { probe, samples, probability, target_micros, against_micros } in self.suspicious_times() {
            suspicious += 1;
            let note = format!(
                "{probe}: medians {target_micros} and {against_micros} µs over {samples}, p = {probability:.6}"
            );
            writeln!(out, "{} {note}", paint(Tone::Warning, "times differ"))?;
        }
        if suspicious == 0 {
            writeln!(out, "times: no kind of probe is answered sooner or later than chance explains")?;
        }
        if self.unsteady > 0 {
            writeln!(out, "{} probes were answered differently once, and alike when repeated", self.unsteady)?;
        }
        if self.unconnected > 0 {
            writeln!(out, "{} {} connections could not be made", paint(Tone::Warning, "note"), self.unconnected)?;
        }
        Ok(())
    }
}

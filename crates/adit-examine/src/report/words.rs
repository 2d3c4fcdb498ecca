//! The examination as words for a terminal.

use std::fmt::Write as _;

use crate::verdict::{Examination, FlowReport, RuleReport, Verdict};

/// How a piece of text is meant, for whoever has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Well.
    Good,
    /// Look at this.
    Warning,
    /// Wrong.
    Bad,
    /// A name.
    Strong,
    /// Less important.
    Faint,
}

/// The whole examination; `paint` gives a text its tone.
pub fn words(examination: &Examination, paint: impl Fn(Tone, &str) -> String) -> String {
    let mut text = format!("{}\n", paint(Tone::Strong, &examination.source));
    for (n, flow) in examination.flows.iter().take(MAX_SHOWN).enumerate() {
        let _ = writeln!(text, "  flow {n}  {}", flow_line(flow));
    }
    if examination.flows.len() > MAX_SHOWN {
        let _ = writeln!(text, "  and {} more", examination.flows.len() - MAX_SHOWN);
    }
    text.push('\n');
    for rule in &examination.rules {
        text.push_str(&rule_lines(rule, &paint));
    }
    for remark in &examination.remarks {
        let _ = writeln!(text, "{} {remark}", paint(Tone::Warning, "remark:"));
    }
    let _ = writeln!(text, "\n{}", sum(examination, &paint));
    text
}

/// Flows, and findings of one rule, that are shown one by one.
const MAX_SHOWN: usize = 20;

fn flow_line(flow: &FlowReport) -> String {
    let mut line = format!("{} {} → {}", flow.transport, flow.client, flow.server);
    if let Some(name) = flow.server_name.as_deref().or(flow.looks_like) {
        let _ = write!(line, " ({})", printable(name));
    }
    let _ = write!(line, ": {} bytes up, {} down, {:.1} s", flow.up_bytes, flow.down_bytes, flow.seconds);
    if let Some(ja4) = &flow.ja4 {
        let _ = write!(line, ", {}", printable(ja4));
    }
    line
}

fn rule_lines(rule: &RuleReport, paint: &impl Fn(Tone, &str) -> String) -> String {
    let mut text =
        format!("{:<4} {} {:<28} {}\n", rule.id, badge(rule.verdict, paint), rule.name, printable(&rule.why));
    let detected = rule.findings.iter().filter(|finding| finding.verdict == Verdict::Detected);
    for finding in detected.take(MAX_SHOWN) {
        let place = finding.flow.map_or_else(|| "capture".to_owned(), |flow| format!("flow {flow}"));
        let numbers: Vec<_> = finding.numbers.iter().map(|n| format!("{} {}", n.name, number(n.value))).collect();
        let line = format!("{place}: {}  [{}]", printable(&finding.why), numbers.join(", "));
        let _ = writeln!(text, "{:19} {}", "", paint(Tone::Faint, &line));
    }
    text
}

fn badge(verdict: Verdict, paint: &impl Fn(Tone, &str) -> String) -> String {
    let tone = match verdict {
        Verdict::Undecidable => Tone::Faint,
        Verdict::Pass => Tone::Good,
        Verdict::Note => Tone::Warning,
        Verdict::Detected => Tone::Bad,
    };
    paint(tone, &format!("{:<13}", verdict.words()))
}

fn sum(examination: &Examination, paint: &impl Fn(Tone, &str) -> String) -> String {
    let of = |verdict: Verdict| examination.rules.iter().filter(|rule| rule.verdict == verdict).count();
    let names: Vec<_> = examination.detections().map(|rule| rule.id).collect();
    let head = if names.is_empty() {
        paint(Tone::Good, "nothing detected")
    } else {
        paint(Tone::Bad, &format!("detected by {}", names.join(", ")))
    };
    let (passed, notes, open) = (of(Verdict::Pass), of(Verdict::Note), of(Verdict::Undecidable));
    format!("{head}: {passed} rules passed, {notes} to note, {open} not decidable from this capture")
}

/// A number without noise.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Names come from the wire: nothing in them may speak to the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

//! The human view of `adit doctor`: what is wrong first seen, what is sound on a line each.

use super::{Style, Tone};
use crate::doctor::report::{Checked, DoctorReport, Fixed, Verdict};

/// Indentation below a line.
const BELOW: &str = "          ";

/// All checks, what was mended, and a sum.
pub(crate) fn text(report: &DoctorReport, style: Style) -> String {
    let mut text: String = report.checks.iter().map(|one| checked(one, style)).collect();
    for one in &report.fixes {
        text.push_str(&fixed(one, style));
    }
    let proposed = report.proposed().len();
    let sum = match report.wrong {
        0 => style.paint(Tone::Good, "nothing is wrong"),
        1 => style.paint(Tone::Bad, "1 thing is wrong"),
        n => style.paint(Tone::Bad, &format!("{n} things are wrong")),
    };
    let hint = if proposed > 0 && report.fixes.is_empty() { "; `adit doctor --fix` mends what is marked" } else { "" };
    text.push_str(&format!("{sum}{hint}\n"));
    text
}

fn checked(one: &Checked, style: Style) -> String {
    let (tone, word) = match one.verdict {
        Verdict::Sound => (Tone::Good, "sound"),
        Verdict::Note => (Tone::Faint, "note"),
        Verdict::Wrong => (Tone::Bad, "wrong"),
        Verdict::Unknown => (Tone::Warning, "unknown"),
    };
    let about = one.about.as_ref().filter(|about| !one.what.contains(about.as_str()));
    let about = about.map_or_else(String::new, |about| format!("{}: ", style.paint(Tone::Strong, about)));
    let mut text = format!("{}  {about}{}\n", style.paint(tone, &format!("{word:>8}")), one.what);
    if one.verdict == Verdict::Sound {
        return text;
    }
    let mut below = |label: &str, what: &str| {
        let what = what.replace('\n', &format!("\n{BELOW}"));
        text.push_str(&format!("{BELOW}{} {what}\n", style.paint(Tone::Faint, label)));
    };
    if let Some(how) = &one.known_by {
        below("known by:", how);
    }
    for step in &one.advice {
        below("hint:", step);
    }
    if let Some(fix) = &one.fix {
        below("--fix:", &fix.what());
    }
    text
}

fn fixed(one: &Fixed, style: Style) -> String {
    let (tone, word) = match (&one.failure, one.done) {
        (Some(_), _) => (Tone::Bad, "failed"),
        (None, true) => (Tone::Good, "mended"),
        (None, false) => (Tone::Warning, "would"),
    };
    let word = style.paint(tone, &format!("{word:>8}"));
    let mut text: String = one.changes.iter().map(|change| format!("{word}  {change}\n")).collect();
    if let Some(failure) = &one.failure {
        text.push_str(&format!("{word}  {}: {failure}\n", one.fix.what()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::example;

    #[test]
    fn what_is_wrong_has_its_evidence_and_what_to_do() {
        let shown = text(&example(), Style::Plain);
        let expected = [
            "   sound  home: 203.0.113.2:51820 answers over UDP",
            "   wrong  home: this machine does not pass on what devices send to others",
            "          known by: net.ipv4.ip_forward is 0",
            "          hint: `sysctl -w net.ipv4.ip_forward=1`; look in /etc/sysctl.d who turned it off",
            "          --fix: make again what home had changed on this machine; `adit down home` undoes it as before",
            "1 thing is wrong; `adit doctor --fix` mends what is marked",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_was_mended_is_said() {
        let mut report = example();
        let fix = report.proposed().remove(0);
        let changes = vec!["set net.ipv4.ip_forward = 1".to_owned()];
        report.fixes = vec![Fixed { fix: fix.clone(), done: true, changes, failure: None }];
        assert!(text(&report, Style::Plain).contains("  mended  set net.ipv4.ip_forward = 1\n"));
        report.fixes = vec![Fixed { fix, done: false, changes: vec![], failure: Some("no daemon runs".into()) }];
        assert!(text(&report, Style::Plain).contains("  failed  make again"));
    }
}

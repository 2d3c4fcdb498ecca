//! The human view of `adit check`.

use adit::profile::wg_quick::{Finding, Verdict};

use super::{Style, Tone};
use crate::cmd::CheckReport;

/// Every line with what comes of it, and a sum.
pub(crate) fn text(report: &CheckReport, style: Style) -> String {
    let mut text = String::new();
    let width = report.lines.last().map_or(1, |f| f.line.to_string().len());
    for finding in &report.lines {
        if is_silent(finding) {
            continue;
        }
        text.push_str(&line(finding, width, style));
    }
    for warning in &report.warnings {
        text.push_str(&format!("{} {warning}\n", style.paint(Tone::Warning, "warning:")));
    }
    let count = |wanted: fn(&Verdict) -> bool| report.lines.iter().filter(|f| wanted(&f.verdict)).count();
    let wrong = count(|v| matches!(v, Verdict::Wrong { .. }));
    let doubtful = count(|v| matches!(v, Verdict::Doubtful { .. })) + report.warnings.len();
    let sum = match (wrong, doubtful) {
        (0, 0) => style.paint(Tone::Good, "good"),
        (0, n) => format!("{}, {n} to look at", style.paint(Tone::Good, "usable")),
        (n, _) => style.paint(Tone::Bad, &format!("{n} wrong")),
    };
    text.push_str(&format!("{}: {sum}\n", report.file));
    text
}

/// Empty lines and comments say nothing.
fn is_silent(finding: &Finding) -> bool {
    matches!(finding.verdict, Verdict::Ignored { .. }) && finding.key.is_empty()
}

fn line(finding: &Finding, width: usize, style: Style) -> String {
    let (tone, word) = match finding.verdict {
        Verdict::Accepted => (Tone::Good, "accepted"),
        Verdict::Ignored { .. } => (Tone::Faint, "ignored"),
        Verdict::Doubtful { .. } => (Tone::Warning, "doubtful"),
        Verdict::Wrong { .. } => (Tone::Bad, "wrong"),
    };
    let what = match finding.verdict {
        Verdict::Accepted => finding.key.clone(),
        Verdict::Ignored { .. } | Verdict::Doubtful { .. } | Verdict::Wrong { .. } => finding.to_string(),
    };
    let what = what.replace('\n', &format!("\n{:indent$}", "", indent = width + 12));
    format!("{:>width$}  {} {what}\n", finding.line, style.paint(tone, &format!("{word:8}")))
}

#[cfg(test)]
mod tests {
    use adit::profile::wg_quick;

    use super::*;

    #[test]
    fn each_line_is_said_to_be_accepted_ignored_or_wrong() {
        let file = "\
# home
[Interface]
PrivateKey = mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=
Address = 10.0.0.2/24
ListenPort = many

[Peer]
PublicKey = ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=
";
        let lines = wg_quick::parse(file).findings;
        let report = CheckReport { schema: 1, file: "home.conf".into(), usable: false, warnings: Vec::new(), lines };
        let shown = text(&report, Style::Plain);
        let words: Vec<_> = shown.lines().filter(|l| !l.starts_with("    ")).collect();
        assert!(words[0].starts_with("2  accepted"), "{shown}");
        assert!(shown.contains("\n5  wrong    `ListenPort = many`: "), "{shown}");
        assert!(shown.ends_with("home.conf: 1 wrong\n"), "{shown}");
    }
}

//! The human view of `adit check`.

use super::{Style, Tone};
use crate::cmd::{CheckLine, CheckReport, CheckVerdict};

/// Every line with what comes of it, and a sum.
pub(crate) fn text(report: &CheckReport, style: Style) -> String {
    let mut text = String::new();
    let width = report.lines.last().map_or(1, |line| line.line.to_string().len());
    for said in report.lines.iter().filter(|said| !is_silent(said)) {
        text.push_str(&line(said, width, style));
    }
    for warning in &report.warnings {
        text.push_str(&format!("{} {warning}\n", style.paint(Tone::Warning, "warning:")));
    }
    let count = |wanted: fn(&CheckVerdict) -> bool| report.lines.iter().filter(|said| wanted(&said.verdict)).count();
    let wrong = count(|v| matches!(v, CheckVerdict::Wrong { .. }));
    let refused = count(|v| matches!(v, CheckVerdict::Refused { .. }));
    let doubtful = count(|v| matches!(v, CheckVerdict::Doubtful { .. })) + report.warnings.len();
    let sum = match (wrong, refused, doubtful) {
        (0, 0, 0) => style.paint(Tone::Good, "good"),
        (0, 0, n) => format!("{}, {n} to look at", style.paint(Tone::Good, "usable")),
        (0, n, _) => style.paint(Tone::Bad, &format!("{n} refused")),
        (n, _, _) => style.paint(Tone::Bad, &format!("{n} wrong")),
    };
    text.push_str(&format!("{}: {sum}\n", report.file));
    text
}

/// Empty lines and comments say nothing.
const fn is_silent(said: &CheckLine) -> bool {
    matches!(said.verdict, CheckVerdict::Ignored { .. }) && said.key.is_empty()
}

fn line(said: &CheckLine, width: usize, style: Style) -> String {
    let (tone, word) = match said.verdict {
        CheckVerdict::Accepted => (Tone::Good, "accepted"),
        CheckVerdict::Ignored { .. } => (Tone::Faint, "ignored"),
        CheckVerdict::Doubtful { .. } => (Tone::Warning, "doubtful"),
        CheckVerdict::Wrong { .. } => (Tone::Bad, "wrong"),
        CheckVerdict::Refused { .. } => (Tone::Bad, "refused"),
    };
    let what = match said.verdict {
        CheckVerdict::Accepted => said.key.clone(),
        CheckVerdict::Ignored { .. }
        | CheckVerdict::Doubtful { .. }
        | CheckVerdict::Wrong { .. }
        | CheckVerdict::Refused { .. } => said.sentence.clone(),
    };
    let what = what.replace('\n', &format!("\n{:indent$}", "", indent = width + 12));
    // What is to be said of the file as a whole has no line.
    let number = if said.line == 0 { "-".to_owned() } else { said.line.to_string() };
    format!("{number:>width$}  {} {what}\n", style.paint(tone, &format!("{word:8}")))
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
        let lines = wg_quick::parse(file).findings.iter().map(CheckLine::from).collect();
        let report = CheckReport {
            schema: 1,
            file: "home.conf".into(),
            format: "wireguard",
            usable: false,
            warnings: Vec::new(),
            lines,
        };
        let shown = text(&report, Style::Plain);
        let words: Vec<_> = shown.lines().filter(|l| !l.starts_with("    ")).collect();
        assert!(words[0].starts_with("2  accepted"), "{shown}");
        assert!(shown.contains("\n5  wrong    `ListenPort = many`: "), "{shown}");
        assert!(shown.ends_with("home.conf: 1 wrong\n"), "{shown}");
    }
}

//! The examination as one page that needs nothing else: verdicts, reasons, pictures.

use std::fmt::Write as _;

use super::plot;
use super::words::number;
use crate::flow::{Flow, Traffic};
use crate::verdict::{Examination, RuleReport, Verdict};

/// Flows that get a picture, those with the most packets first.
pub const MAX_PICTURES: usize = 12;
/// Findings of one rule that are listed.
pub const MAX_FINDINGS: usize = 200;

/// The page.
pub fn html(examination: &Examination, traffic: &Traffic) -> String {
    let title = escape(&examination.source);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>adit examine: {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let names: Vec<_> = examination.detections().map(|rule| rule.id).collect();
    let (class, sum) = if names.is_empty() {
        ("pass", "Nothing detected".to_owned())
    } else {
        ("detected", format!("Detected by {}", names.join(", ")))
    };
    let _ = writeln!(page, "<p class=\"sum {class}\">{sum}</p>\n<h2>Rules</h2>");
    page.push_str("<table>\n<tr><th>rule</th><th>verdict</th><th>why</th></tr>\n");
    for rule in &examination.rules {
        page.push_str(&rule_row(rule));
    }
    page.push_str("</table>\n<h2>Flows</h2>\n");
    page.push_str(&pictures(examination, traffic.flows()));
    for remark in &examination.remarks {
        let _ = writeln!(page, "<p class=\"faint\">{}</p>", escape(remark));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn rule_row(rule: &RuleReport) -> String {
    let class = class(rule.verdict);
    let mut row = format!(
        "<tr><td><b>{}</b> {}<br><span class=\"faint\">{}<br>{}</span></td><td class=\"{class}\">{}</td><td>{}",
        rule.id,
        escape(rule.name),
        escape(rule.about),
        escape(rule.source),
        rule.verdict.words(),
        escape(&rule.why)
    );
    if !rule.findings.is_empty() {
        let _ = write!(row, "<details><summary>{} looked at</summary><ul>", rule.findings.len());
        let mut findings: Vec<_> = rule.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        for finding in findings.into_iter().take(MAX_FINDINGS) {
            let place = finding.flow.map_or_else(String::new, |flow| format!("flow {flow}: "));
            let numbers: Vec<_> = finding.numbers.iter().map(|n| format!("{} {}", n.name, number(n.value))).collect();
            let _ = write!(
                row,
                "<li><span class=\"{}\">{}</span> {place}{} <span class=\"faint\">{}</span></li>",
                self::class(finding.verdict),
                finding.verdict.words(),
                escape(&finding.why),
                escape(&numbers.join(", "))
            );
        }
        row.push_str("</ul></details>");
    }
    row.push_str("</td></tr>\n");
    row
}

fn pictures(examination: &Examination, flows: &[Flow]) -> String {
    let mut order: Vec<usize> = (0..flows.len().min(examination.flows.len())).collect();
    order.sort_by_key(|n| std::cmp::Reverse(flows[*n].packet_count));
    let mut text = String::new();
    for n in order.iter().copied().take(MAX_PICTURES) {
        let flow = &examination.flows[n];
        let name = flow.server_name.as_deref().or(flow.looks_like).unwrap_or_default();
        let _ = writeln!(
            text,
            "<h3>flow {n}: {} {} → {} {}</h3>\n<p class=\"faint\">{} packets, {} bytes up, {} down, {:.1} s {} {}</p>",
            flow.transport,
            escape(&flow.client),
            escape(&flow.server),
            escape(name),
            flow.packets,
            flow.up_bytes,
            flow.down_bytes,
            flow.seconds,
            escape(flow.ja4.as_deref().unwrap_or_default()),
            escape(flow.ja4t.as_deref().unwrap_or_default()),
        );
        text.push_str(&plot::svg(&flows[n]));
    }
    if flows.len() > MAX_PICTURES {
        let _ = writeln!(text, "<p class=\"faint\">and {} more flows</p>", flows.len() - MAX_PICTURES);
    }
    text
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Undecidable => "undecidable",
        Verdict::Pass => "pass",
        Verdict::Note => "note",
        Verdict::Detected => "detected",
    }
}

/// Names come from the wire: nothing in them may become markup.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other if other.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

const STYLE: &str = "
:root { color-scheme: light dark; --up: #1a7f37; --down: #0969da; --line: #8886 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .4rem .6rem; border-top: 1px solid var(--line) }
.faint { opacity: .65; font-size: 85% }
.sum { font-size: 120%; font-weight: 600 }
.pass { color: #1a7f37 } .detected { color: #cf222e; font-weight: 600 } .note { color: #9a6700 } .undecidable { opacity: .6 }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: currentColor; opacity: .7 }
.axis { stroke: var(--line) } path { fill: none; stroke-width: 1.4 } path.up { stroke: var(--up) } path.down { stroke: var(--down) }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_wire_are_no_markup() {
        assert_eq!(
            escape("<script>alert('x\"&')</script>\u{1b}"),
            "&lt;script&gt;alert(&#39;x&quot;&amp;&#39;)&lt;/script&gt;\u{fffd}"
        );
    }
}

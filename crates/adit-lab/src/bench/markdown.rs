//! The report as a section of `docs/benchmarks.md`. Not here: the words around it, which are written by hand.

use std::fmt::Write as _;

use super::report::Entry;
use super::{FIGURES, Figure, Report, Spread};

/// Machine, versions, figures and ratios.
pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    let _infallible = writeln!(
        text,
        "Measured {} on {} × {} (vectors: {}), Linux {}; {} rounds, {} s a measurement.\n",
        machine.day,
        machine.processors,
        machine.processor,
        machine.vectors,
        machine.kernel,
        report.repeats,
        report.seconds,
    );
    for entry in report.entries.iter().filter(|entry| !entry.version.is_empty()) {
        let _infallible = writeln!(text, "- {}: `{}`", entry.name, entry.version);
    }
    if !report.missing.is_empty() {
        let _infallible = writeln!(text, "- not on this machine: {}", report.missing.join(", "));
    }
    text += "\n";
    text += &table(report, "median (least – most)", |figure, entry| {
        entry.spread(figure.key).map_or_else(|| "–".to_owned(), |spread| cell(&spread))
    });
    text += "\nadit against each, by medians; above 1 is better for adit:\n\n";
    text += &table(report, "ratio", |figure, entry| ratio(report, figure, entry));
    text
}

fn table(report: &Report, corner: &str, cell: impl Fn(&Figure, &Entry) -> String) -> String {
    let names: Vec<_> = report.entries.iter().map(|entry| entry.name).collect();
    let mut text = format!("| {corner} | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()));
    for figure in &FIGURES {
        let cells: Vec<_> = report.entries.iter().map(|entry| cell(figure, entry)).collect();
        let _infallible = writeln!(text, "| {}, {} | {} |", figure.title, figure.unit, cells.join(" | "));
    }
    text
}

fn cell(Spread { median, min, max }: &Spread) -> String {
    format!("{} ({} – {})", number(*median), number(*min), number(*max))
}

fn ratio(report: &Report, figure: &Figure, entry: &Entry) -> String {
    let adit = report.entries.iter().find(|entry| entry.name == "adit").and_then(|adit| adit.spread(figure.key));
    match (adit, entry.spread(figure.key)) {
        (Some(ours), Some(theirs)) if ours.median > 0.0 && theirs.median > 0.0 => {
            let ratio = if figure.more_is_better { ours.median / theirs.median } else { theirs.median / ours.median };
            format!("{ratio:.2}")
        }
        _ => "–".to_owned(),
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Machine;

    #[test]
    fn ratios_point_up_where_adit_is_better() {
        let entry = |name, tcp1, cpu| {
            let mut entry = Entry::new(name, String::new());
            entry.samples.insert("tcp1", vec![tcp1]);
            entry.samples.insert("cpu", vec![cpu]);
            entry
        };
        let machine =
            Machine { processor: "P".into(), processors: 2, vectors: "V".into(), kernel: "K".into(), day: "D".into() };
        let entries = vec![entry("adit", 8.0, 1.0), entry("boringtun", 1.0, 10.0)];
        let report = Report { machine, seconds: 5, repeats: 1, missing: vec!["gotatun"], entries };
        let text = write(&report);
        assert!(text.contains("| TCP, 1 stream, Gb/s | 8.00 (8.00 – 8.00) | 1.00 (1.00 – 1.00) |"), "{text}");
        assert!(text.contains("| TCP, 1 stream, Gb/s | 1.00 | 8.00 |"), "{text}");
        assert!(text.contains("| CPU per GB, s | 1.00 | 10.00 |"), "{text}");
        assert!(text.contains("not on this machine: gotatun"), "{text}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([1234.5, 12.345, 1.2345, 0.5].map(number), ["1234", "12.3", "1.23", "0.50"]);
    }
}

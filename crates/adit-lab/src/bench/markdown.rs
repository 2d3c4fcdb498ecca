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
    let main: Vec<_> = report.entries.iter().filter(|entry| !is_openvpn(entry) || entry.name == YARDSTICK).collect();
    text += &table(&main, MEDIAN, whole);
    text += "\nadit against each, by medians; above 1 is better for adit:\n\n";
    text += &table(&main, "ratio", |figure, entry| ratio(report, "adit", figure, entry));
    let openvpn: Vec<_> = report.entries.iter().filter(|entry| is_openvpn(entry)).collect();
    if !openvpn.is_empty() {
        text += "\nOpenVPN, by adit and by the real one, from the same files:\n\n";
        text += &table(&openvpn, MEDIAN, whole);
        text += "\nadit against the real one in the same way, by medians; above 1 is better for adit:\n\n";
        let theirs: Vec<_> = openvpn.into_iter().filter(|entry| entry.name.starts_with(THEIRS)).collect();
        text += &table(&theirs, "ratio", |figure, entry| {
            let ours = entry.name.replacen(THEIRS, OURS, 1);
            ratio(report, &ours, figure, entry)
        });
    }
    text
}

const MEDIAN: &str = "median (least – most)";
/// How the names of those begin that speak OpenVPN: the real one, and ours.
const THEIRS: &str = "openvpn, ";
const OURS: &str = "adit, OpenVPN/";
/// What our HTTPS is measured against too.
const YARDSTICK: &str = "openvpn, TCP";

fn is_openvpn(entry: &Entry) -> bool {
    entry.name.starts_with(THEIRS) || entry.name.starts_with(OURS)
}

fn whole(figure: &Figure, entry: &Entry) -> String {
    entry.spread(figure.key).map_or_else(|| "–".to_owned(), |spread| cell(&spread))
}

/// A row for each figure that somebody has.
fn table(entries: &[&Entry], corner: &str, cell: impl Fn(&Figure, &Entry) -> String) -> String {
    let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
    let mut text = format!("| {corner} | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()));
    for figure in FIGURES.iter().filter(|figure| entries.iter().any(|entry| entry.samples.contains_key(figure.key))) {
        let cells: Vec<_> = entries.iter().map(|entry| cell(figure, entry)).collect();
        let _infallible = writeln!(text, "| {}, {} | {} |", figure.title, figure.unit, cells.join(" | "));
    }
    text
}

fn cell(Spread { median, min, max }: &Spread) -> String {
    format!("{} ({} – {})", number(*median), number(*min), number(*max))
}

/// How much better `ours` is than `entry`.
fn ratio(report: &Report, ours: &str, figure: &Figure, entry: &Entry) -> String {
    let ours = report.entries.iter().find(|entry| entry.name == ours).and_then(|ours| ours.spread(figure.key));
    match (ours, entry.spread(figure.key)) {
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
        let entries = vec![
            entry("adit", 8.0, 1.0),
            entry("boringtun", 1.0, 10.0),
            entry("adit, OpenVPN/UDP", 6.0, 2.0),
            entry("openvpn, UDP", 0.5, 20.0),
            entry("openvpn, TCP", 0.4, 20.0),
        ];
        let report = Report { machine, seconds: 5, repeats: 1, missing: vec!["gotatun"], entries };
        let text = write(&report);
        assert!(text.contains("| TCP, 1 stream, Gb/s | 8.00 (8.00 – 8.00) | 1.00 (1.00 – 1.00) | 0.40"), "{text}");
        assert!(text.contains("| TCP, 1 stream, Gb/s | 1.00 | 8.00 | 20.00 |"), "{text}");
        assert!(text.contains("| CPU per GB, s | 1.00 | 10.00 | 20.00 |"), "{text}");
        assert!(text.contains("| TCP, 1 stream, Gb/s | 12.00 | – |"), "{text}");
        assert!(!text.contains("handshakes"), "{text}");
        assert!(text.contains("not on this machine: gotatun"), "{text}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([1234.5, 12.345, 1.2345, 0.5].map(number), ["1234", "12.3", "1.23", "0.50"]);
    }
}

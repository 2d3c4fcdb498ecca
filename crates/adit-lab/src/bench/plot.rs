//! The report as a picture: for some figures a bar for each contestant, with its spread. Plain SVG, written by hand.

use std::fmt::Write as _;

use super::report::Entry;
use super::{FIGURES, Figure, Report};

/// The figures that are drawn.
const DRAWN: [&str; 6] = ["tcp1", "cpu", "udp64", "ping", "rss_loaded", "handshakes"];

/// Draws the report, one panel a figure, two panels a row.
pub(super) fn draw(report: &Report) -> String {
    let panels: Vec<_> = FIGURES.iter().filter(|figure| DRAWN.contains(&figure.key)).collect();
    let panel_height = HEAD + report.entries.len() * BAR + 16;
    let (width, height) = (2 * PANEL, panels.len().div_ceil(2) * panel_height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, figure) in panels.into_iter().enumerate() {
        let (x, y) = (number % 2 * PANEL, number / 2 * panel_height);
        let _infallible = writeln!(svg, "<g transform=\"translate({x} {y})\">{}</g>", panel(report, figure));
    }
    svg + "</svg>\n"
}

fn panel(report: &Report, figure: &Figure) -> String {
    let better = if figure.more_is_better { "more is better" } else { "less is better" };
    let mut svg =
        format!("<text x=\"10\" y=\"22\" font-weight=\"bold\">{}, {} ({better})</text>", figure.title, figure.unit);
    // The cable would flatten all the others.
    let entries = || report.entries.iter().filter(|entry| entry.name != "no tunnel");
    let most = entries().filter_map(|entry| entry.spread(figure.key)).map(|spread| spread.max).fold(0.0, f64::max);
    for (row, entry) in entries().enumerate() {
        svg += &bar(entry, figure, most, HEAD + row * BAR);
    }
    svg
}

fn bar(entry: &Entry, figure: &Figure, most: f64, y: usize) -> String {
    let mut svg = format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LABEL - 6, y + 13, entry.name);
    let Some(spread) = entry.spread(figure.key).filter(|_| most > 0.0) else { return svg };
    let scaled = |value: f64| value / most * (PANEL - LABEL - 80) as f64;
    let colour = if entry.name == "adit" { "#1b7f5c" } else { "#9aa5b1" };
    let (length, least, longest) = (scaled(spread.median), scaled(spread.min), scaled(spread.max));
    let middle = y + 9;
    let _infallible = write!(
        svg,
        "<rect x=\"{LABEL}\" y=\"{}\" width=\"{length:.1}\" height=\"14\" fill=\"{colour}\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222\"/>\
         <text x=\"{:.1}\" y=\"{}\">{:.1}</text>",
        y + 2,
        LABEL as f64 + least,
        LABEL as f64 + longest,
        LABEL as f64 + longest + 6.0,
        y + 13,
        spread.median,
    );
    svg
}

/// Width of a panel, height of its heading, height of a bar, room for names.
const PANEL: usize = 560;
const HEAD: usize = 34;
const BAR: usize = 20;
const LABEL: usize = 200;

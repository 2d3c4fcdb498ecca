//! The text of OpenMetrics 1.0: families, samples, and what has to be escaped.
//!
//! Not here: which metrics there are (`page`), who may ask for them (`serve`).

use std::fmt::{Display, Write as _};

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only ever grows; begins at 0 when what it counts is made anew.
    Counter,
    /// As it is now.
    Gauge,
    /// Facts, as labels.
    Info,
}

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// A family of it, to which samples are added.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'a str,
    suffix: &'static str,
}

impl Page {
    /// Begins a family. A name that ends in a unit of its own (`_bytes`, `_seconds`) has that unit.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let (kind, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Info => ("info", "_info"),
        };
        let _infallible = writeln!(self.0, "# TYPE {name} {kind}");
        if let Some(unit) = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(&format!("_{unit}"))) {
            let _infallible = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _infallible = writeln!(self.0, "# HELP {name} {}", escaped(help));
        Family { page: &mut self.0, name, suffix }
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

impl Family<'_> {
    /// Adds a value with these labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let _infallible = write!(self.page, "{}{}", self.name, self.suffix);
        for (n, (label, text)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _infallible = write!(self.page, "{before}{label}=\"{}\"", escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _infallible = writeln!(self.page, "{end} {value}");
        self
    }
}

/// Inside quotes, and on one line.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_format_says() {
        let mut page = Page::default();
        page.family("a_bytes", Kind::Counter, "What came.").sample(&[("peer", "x"), ("way", "in")], 7).sample(&[], 1);
        page.family("b", Kind::Gauge, "A \"b\"\n\\").sample(&[], 2);
        page.family("c", Kind::Info, "C.").sample(&[("version", "1")], 1);
        let wanted = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes What came.\n\
            a_bytes_total{peer=\"x\",way=\"in\"} 7\na_bytes_total 1\n\
            # TYPE b gauge\n# HELP b A \\\"b\\\"\\n\\\\\nb 2\n\
            # TYPE c info\n# HELP c C.\nc_info{version=\"1\"} 1\n# EOF\n";
        assert_eq!(page.finish(), wanted);
    }

    #[test]
    fn a_label_cannot_leave_its_quotes() {
        let mut page = Page::default();
        page.family("a", Kind::Gauge, "A.").sample(&[("peer", "x\"} 1\nb{c=\"\\")], 0);
        assert!(page.finish().contains("a{peer=\"x\\\"} 1\\nb{c=\\\"\\\\\"} 0\n"));
    }
}

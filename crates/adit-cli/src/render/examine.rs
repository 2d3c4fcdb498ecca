//! The human view of `adit examine`: the words are the library's, the colours ours.

use adit_examine::probe::Comparison;
use adit_examine::{Examination, report};

use super::{Style, Tone};

/// The examination with its tones.
pub(crate) fn text(examination: &Examination, style: Style) -> String {
    report::words(examination, |tone, text| style.paint(of(tone), text))
}

/// The comparison of two servers with its tones.
pub(crate) fn comparison(comparison: &Comparison, style: Style) -> String {
    comparison.words(|tone, text| style.paint(of(tone), text))
}

const fn of(tone: report::Tone) -> Tone {
    match tone {
        report::Tone::Good => Tone::Good,
        report::Tone::Warning => Tone::Warning,
        report::Tone::Bad => Tone::Bad,
        report::Tone::Strong => Tone::Strong,
        report::Tone::Faint => Tone::Faint,
    }
}

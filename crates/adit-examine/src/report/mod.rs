//! How an examination is told: as words for a terminal, as JSON, as a page with pictures.
//!
//! Every function gives a text; nothing here prints or writes files.

mod html;
mod plot;
mod words;

use crate::verdict::Examination;

pub use html::{MAX_FINDINGS, MAX_PICTURES, html};
pub use plot::MAX_POINTS;
pub use words::{Tone, words};

/// The examination as indented JSON (`docs/spec/examine.md`).
pub fn json(examination: &Examination) -> String {
    serde_json::to_string_pretty(examination).unwrap_or_else(|_| "null".to_owned())
}

//! What a censor would make of a capture or of a server: published detection rules, run on one's own traffic.
//!
//! The map: [`flow`] from a capture to connections, `rules` one file per rule, [`verdict`] what comes out,
//! [`report`] how it is told, [`live`] an interface as the source, [`ja4`] and [`reference`](mod@reference) fingerprints and whose they are.
//!
//! ```no_run
//! use adit_examine::{Examination, examine, flow::Traffic, flow::capture};
//!
//! let mut traffic = Traffic::new();
//! capture::read(std::fs::File::open("mine.pcap")?, |frame| traffic.add(&frame))?;
//! let examination: Examination = examine("mine.pcap", &traffic);
//! for rule in examination.detections() {
//!     assert!(!rule.why.is_empty());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: the command (`adit-cli`), anything that prints.

mod examine;
pub mod flow;
pub mod ja4;
pub mod live;
pub mod probe;
pub mod reference;
pub mod report;
mod rules;
pub mod verdict;

pub use examine::examine;
pub use verdict::{Examination, Verdict};

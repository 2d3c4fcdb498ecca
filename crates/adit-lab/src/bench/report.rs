//! The figures of a whole run: medians and spreads, as JSON, as a table, as a plot.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Machine, markdown, plot};

/// One figure of one contestant over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// A contestant's results.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Who.
    pub name: &'static str,
    /// What it says of its version.
    pub version: String,
    /// Every figure in every round.
    pub samples: BTreeMap<&'static str, Vec<f64>>,
}

/// Everything a run found out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Seconds of each measurement.
    pub seconds: u64,
    /// Rounds.
    pub repeats: u32,
    /// Names of contestants that were not on the machine.
    pub missing: Vec<&'static str>,
    /// Who took part, in the order of the table.
    pub entries: Vec<Entry>,
}

impl Report {
    /// Adds one round of one contestant.
    pub fn add(&mut self, name: &'static str, figures: &BTreeMap<&'static str, f64>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) else { return };
        for (key, value) in figures {
            entry.samples.entry(key).or_default().push(*value);
        }
    }

    /// As text for machines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// As a section of a page.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// As a picture.
    pub fn svg(&self) -> String {
        plot::draw(self)
    }
}

impl Entry {
    /// Someone who has not been measured yet.
    pub const fn new(name: &'static str, version: String) -> Self {
        Self { name, version, samples: BTreeMap::new() }
    }

    /// A figure over all rounds.
    pub fn spread(&self, key: &str) -> Option<Spread> {
        Spread::of(self.samples.get(key)?)
    }
}

impl Spread {
    fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], upper) } else { upper };
        Some(Self { median, min: *sorted.first()?, max: *sorted.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
    }
}

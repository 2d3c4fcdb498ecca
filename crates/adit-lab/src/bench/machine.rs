//! The machine of a run, so that a figure is never seen without it.

use std::fs;

use serde::Serialize;

use crate::shell::Run;

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them there are.
    pub processors: usize,
    /// The widest vectors it has that matter here.
    pub vectors: String,
    /// The kernel.
    pub kernel: String,
    /// The day, by UTC.
    pub day: String,
}

impl Machine {
    /// This one, today.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let flags = field("flags");
        let vectors = ["avx512ifma", "avx512f", "avx2"].into_iter().find(|name| flags.contains(name));
        Self {
            processor: field("model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            vectors: vectors.unwrap_or("none of AVX2, AVX-512").to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            day: Run::line("date -u +%F").ok().trim().to_owned(),
        }
    }
}

//! Active probes: the questions a censor puts to a suspect server, put to a server and to the same site without a tunnel.
//!
//! The map: `catalog` what is asked, `script` a question as a value, `frames` HTTP/2 written by hand, `talk` one connection,
//! `observe` a question asked, `answer` what came back as facts, `run` many questions to both servers, [`report`] what
//! differs. Not here: captures (`flow`, `rules`).

mod answer;
mod catalog;
mod dice;
mod frames;
mod observe;
pub mod report;
mod run;
mod script;
mod talk;
#[cfg(test)]
mod tests;
mod timing;

use std::net::SocketAddr;
use std::time::Duration;

pub use report::{Comparison, Difference};
pub use run::compare;

/// Two servers to be compared, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server that may have something to hide.
    pub target: SocketAddr,
    /// The same site without it.
    pub against: SocketAddr,
    /// The name of the site.
    pub name: String,
    /// Paths that the site has, besides `/`.
    pub paths: Vec<String>,
    /// How often the whole set is asked, each time with other random parts.
    pub rounds: u32,
    /// What the random parts follow from.
    pub seed: u64,
    /// Probes at a time.
    pub parallel: usize,
    /// How long is waited for answers.
    pub patience: Patience,
}

/// How long a probe waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, and for a handshake.
    pub connect: Duration,
    /// For more, after the last byte: then the connection counts as open and silent.
    pub quiet: Duration,
    /// As `quiet`, in the probes that ask when a server gives up. They are asked once.
    pub idle: Duration,
}

impl Plan {
    /// One round of everything, with the usual patience.
    pub fn new(target: SocketAddr, against: SocketAddr, name: &str) -> Self {
        Self {
            target,
            against,
            name: name.to_owned(),
            paths: Vec::new(),
            rounds: 1,
            seed: 0,
            parallel: 64,
            patience: Patience::default(),
        }
    }

    /// How many probes one round has.
    pub fn probes_in_a_round(&self) -> usize {
        catalog::round(self, 0).len()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), quiet: Duration::from_millis(300), idle: Duration::from_secs(15) }
    }
}

impl Patience {
    /// For asking again, when nothing else is going on: an answer that was only late shall not look like none.
    fn longer(self) -> Self {
        Self { quiet: self.quiet * 4, ..self }
    }
}

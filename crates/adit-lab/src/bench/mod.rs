//! The benchmark: every contestant in turn, in the same two namespaces on the same machine, several times over.
//!
//! Not here: what the figures should be. Ratios within one run hold; absolute figures are of one machine on one day.

mod contestant;
mod figure;
mod flood;
mod handshakes;
mod machine;
mod markdown;
mod openvpn;
mod other;
mod plot;
mod processors;
mod report;
mod round;

pub use contestant::Contestant;
pub use figure::{FIGURES, Figure};
pub use machine::Machine;
pub use other::{Ended, WebSite};
pub use report::{Entry, Report, Spread};
pub use round::{Settings, round};

//! R7: a TLS handshake inside of TLS, by the sizes of four bursts.
//!
//! Xue et al., "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes", USENIX Security 2024, in the
//! form in which nDPI 5.0 has it: the Mahalanobis distance of the first bursts (client, server, client, server) from the
//! mean of inner handshakes. The means are nDPI's. Its covariance is not published apart from its source, which was not
//! read; the spreads here are our own, each burst taken for itself:
//!
//! - a hello differs by the length of a name and of the random ECH extension (up to 100 bytes), and by the header that a
//!   proxy puts before it;
//! - a server's flight by its chain of certificates (real ones have 2 to 7 kB);
//! - the client's Finished comes with a first request of some hundred bytes;
//! - the answer to it is nearly anything; after a hello as long as a post-quantum one it adds no more than two spreads,
//!   since nothing else is that long.
//!
//! nDPI looks at the first four bursts only. A proxy that is asked first (`CONNECT`) has its inner handshake one exchange
//! later, so the exchanges after the first are held against the models too.

use super::bursts::{Burst, bursts, windows};
use super::{Judge, Judged, Rule};
use crate::flow::Flow;

pub(super) const RULE: Rule = Rule {
    id: "R7",
    name: "TLS inside TLS",
    about: "Do the first bursts inside the connection have the sizes of another TLS handshake?",
    source: "Xue et al., USENIX Security 2024; means of nDPI 5.0, spreads ours",
    judge: Judge::Flow(judge),
};

/// A kind of inner handshake.
struct Model {
    name: &'static str,
    means: [f64; 4],
    spreads: [f64; 4],
    /// The most that the last burst adds, in spreads.
    last: f64,
    /// The first burst has at least this.
    at_least: f64,
    /// Nearer than this is a hit.
    threshold: f64,
}

const MODELS: [Model; 3] = [
    Model {
        name: "a browser's TLS 1.3 with a post-quantum key",
        means: [1850.0, 4903.0, 785.0, 1051.0],
        spreads: [110.0, 1300.0, 320.0, 900.0],
        last: 2.0,
        at_least: 1500.0,
        threshold: 3.0,
    },
    Model {
        name: "TLS 1.3",
        means: [641.0, 4649.0, 448.0, 1094.0],
        spreads: [60.0, 1000.0, 150.0, 500.0],
        last: f64::INFINITY,
        at_least: 517.0,
        threshold: 3.0,
    },
    Model {
        name: "TLS 1.2",
        means: [213.0, 4515.0, 108.0, 308.0],
        spreads: [25.0, 1000.0, 20.0, 100.0],
        last: f64::INFINITY,
        at_least: 0.0,
        threshold: 3.5,
    },
];

/// Exchanges that are looked at.
const EXCHANGES: usize = 3;
/// A hello needs no more records than this.
const MAX_FIRST_RECORDS: u32 = 3;

fn judge(flow: &Flow) -> Option<Judged> {
    if !flow.is_tls() {
        return None;
    }
    let bursts = bursts(flow).unwrap_or_default();
    let nearest = windows(&bursts, EXCHANGES)
        .filter(|window| window[0].records <= MAX_FIRST_RECORDS)
        .flat_map(|window| MODELS.iter().filter_map(move |model| Some((model, model.distance(&window)?, window))))
        .min_by(|(a, near, _), (b, far, _)| (near / a.threshold).total_cmp(&(far / b.threshold)));
    if bursts.len() < 4 {
        return Some(Judged::undecidable(format!("{} bursts inside the connection; four are needed", bursts.len())));
    }
    let Some((model, distance, window)) = nearest else {
        return Some(Judged::pass("no burst of the client is as long as a hello, or none in so few records"));
    };
    let sizes = window.map(|burst| burst.bytes);
    let judged = if distance < model.threshold {
        Judged::detected(format!("bursts of {sizes:?} bytes are as those of {} ({distance:.1} off)", model.name))
    } else {
        Judged::pass(format!(
            "bursts of {sizes:?} bytes are unlike any handshake ({distance:.1} off, {} nearest)",
            model.name
        ))
    };
    Some(judged.with("distance", distance).with("threshold", model.threshold))
}

impl Model {
    fn distance(&self, window: &[Burst; 4]) -> Option<f64> {
        if f64::from(window[0].bytes) < self.at_least {
            return None;
        }
        let off = |n: usize| (f64::from(window[n].bytes) - self.means[n]) / self.spreads[n];
        let last = off(3).clamp(-self.last, self.last);
        let terms = [off(0), off(1), off(2), last].map(|off| off * off);
        Some(terms.iter().sum::<f64>().sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{Talk, UP, down, up};
    use crate::verdict::Verdict;

    /// Contents of a TLS 1.3 record take 17 bytes more on the wire.
    fn verdict(bursts: [u16; 4]) -> Verdict {
        let mut talk = Talk::handshake();
        for (n, bytes) in bursts.into_iter().enumerate() {
            talk.record(n % 2 == 0, 23, bytes + 17);
        }
        judge(&talk.flow()).unwrap().verdict
    }

    #[test]
    fn the_bursts_of_an_inner_handshake_are_detected() {
        for bursts in [[1850, 4903, 785, 1051], [1995, 4240, 672, 9738], [641, 4649, 448, 1094], [213, 4515, 108, 308]]
        {
            assert_eq!(verdict(bursts), Verdict::Detected, "{bursts:?}");
        }
    }

    #[test]
    fn the_bursts_of_a_browser_are_not() {
        for bursts in
            [[149, 4806, 46, 623], [522, 16_000, 140, 16_000], [89, 16_000, 108, 613], [1850, 643, 1505, 1063]]
        {
            assert_eq!(verdict(bursts), Verdict::Pass, "{bursts:?}");
        }
    }

    #[test]
    fn a_hello_in_many_records_is_none() {
        let mut talk = Talk::handshake();
        for _ in 0..4 {
            talk.record(UP, 23, 470);
        }
        talk.records(&[down(4920), up(800), down(1070)]);
        assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Pass);
    }

    #[test]
    fn an_inner_handshake_after_a_first_exchange_is_detected() {
        let mut talk = Talk::handshake();
        talk.records(&[up(250), down(60), up(1867), down(4920), up(800), down(1070)]);
        assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Detected);
    }

    #[test]
    fn two_bursts_decide_nothing() {
        let mut talk = Talk::handshake();
        talk.records(&[up(1867), down(4920)]);
        assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Undecidable);
    }
}

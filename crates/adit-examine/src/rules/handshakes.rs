//! R16: too many TLS handshakes to one name.
//!
//! Field reports from Russia, June 2026: more than three handshakes to one server name, less than 400 ms apart, inside of
//! a minute, freeze TLS to that host for two minutes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Judge, Judged, Rule, count};
use crate::flow::Traffic;

pub(super) const RULE: Rule = Rule {
    id: "R16",
    name: "handshakes to one name",
    about: "Are there more than three TLS handshakes to one server name in quick succession?",
    source: "field reports, June 2026",
    judge: Judge::Traffic(judge),
};

/// More handshakes than this are too many.
const ALLOWED: usize = 3;
/// Closer together than this.
const GAP: Duration = Duration::from_millis(400);
/// Inside of this.
const WITHIN: Duration = Duration::from_secs(60);

fn judge(traffic: &Traffic) -> Vec<(Option<usize>, Judged)> {
    let mut hellos: BTreeMap<(IpAddr, String), Vec<(Duration, usize)>> = BTreeMap::new();
    for (n, flow) in traffic.flows().iter().enumerate() {
        let Some((hello, at)) = flow.tls.client_hello.as_ref().zip(flow.tls.hello_at) else { continue };
        // A hello without a name does not trigger it.
        let Some(name) = hello.server_name.clone() else { continue };
        hellos.entry((flow.client.ip(), name)).or_default().push((at, n));
    }
    hellos.into_iter().map(|((_, name), times)| of_name(&name, times)).collect()
}

fn of_name(name: &str, mut times: Vec<(Duration, usize)>) -> (Option<usize>, Judged) {
    times.sort_unstable();
    let (most, last) = longest_run(&times);
    let judged = if most > ALLOWED {
        Judged::detected(format!(
            "{most} handshakes to {name} less than 400 ms apart; more than {ALLOWED} freeze the host"
        ))
    } else {
        Judged::pass(format!("{} handshakes to {name}, at most {most} in quick succession", times.len()))
    };
    (last, judged.with("handshakes", count(times.len())).with("in quick succession", count(most)))
}

/// The most handshakes with small gaps inside of the window, and the flow of the last of them.
fn longest_run(times: &[(Duration, usize)]) -> (usize, Option<usize>) {
    let (mut most, mut last, mut begin) = (0, None, 0);
    for (n, (at, flow)) in times.iter().enumerate() {
        if n > 0 && at.saturating_sub(times[n - 1].0) >= GAP {
            begin = n;
        }
        while at.saturating_sub(times[begin].0) > WITHIN {
            begin += 1;
        }
        if n + 1 - begin > most {
            (most, last) = (n + 1 - begin, Some(*flow));
        }
    }
    (most, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    fn at(milliseconds: &[u64]) -> Judged {
        of_name("example.test", milliseconds.iter().map(|ms| (Duration::from_millis(*ms), 0)).collect()).1
    }

    #[test]
    fn three_at_once_are_allowed_and_four_are_not() {
        assert_eq!(at(&[0, 10, 20]).verdict, Verdict::Pass);
        assert_eq!(at(&[0, 10, 20, 30]).verdict, Verdict::Detected);
    }

    #[test]
    fn many_handshakes_with_pauses_are_allowed() {
        assert_eq!(at(&[0, 400, 800, 1200, 1600, 2000]).verdict, Verdict::Pass);
        assert_eq!(at(&[0, 10, 20, 1000, 1010, 1020]).verdict, Verdict::Pass);
    }
}

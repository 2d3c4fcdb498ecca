//! R14: the client's hello is that of a browser, and of a current one.
//!
//! A hello that no browser sends names the program that sent it; one that an old browser sent stands on a block list.

use std::collections::HashMap;

use super::{Judge, Judged, Rule};
use crate::flow::tls::is_grease;
use crate::flow::{Flow, Traffic};
use crate::ja4::{Carrier, ja4};
use crate::reference::{Kind, Reference};

pub(super) const RULE: Rule = Rule {
    id: "R14",
    name: "client fingerprint",
    about: "Is the JA4 of the client's hello that of a browser in the reference set, and on no block list?",
    source: "FoxIO JA4; measured browsers; field reports of block lists, 2026",
    judge: Judge::Traffic(judge),
};

fn judge(traffic: &Traffic) -> Vec<(Option<usize>, Judged)> {
    let reference = Reference::built_in();
    let mut findings = Vec::new();
    let mut orders: HashMap<Vec<u16>, usize> = HashMap::new();
    for (n, flow) in traffic.flows().iter().enumerate() {
        let Some((fingerprint, order)) = fingerprint(flow) else { continue };
        let mut judged = match reference.find(&fingerprint) {
            Some(entry) => match entry.kind {
                Kind::Browser => Judged::pass(format!("{fingerprint} is {}", entry.name)),
                Kind::Blocked => Judged::detected(format!("{fingerprint} is blocked: {}", entry.name)),
                Kind::Program => Judged::detected(format!("{fingerprint} is no browser, but {}", entry.name)),
            },
            None => Judged::detected(format!("{fingerprint} is no browser of the reference set")),
        };
        // Browsers shuffle their extensions anew for every connection.
        if judged.verdict == super::Verdict::Pass
            && let Some(before) = orders.insert(order, n)
        {
            judged = Judged::detected(format!(
                "{fingerprint} is a browser's, but its extensions stand in the same order as in flow {before}: a browser shuffles them"
            ));
        }
        findings.push((Some(n), judged));
    }
    findings
}

/// The JA4 of a flow's hello, and the order of its extensions without the random values.
fn fingerprint(flow: &Flow) -> Option<(String, Vec<u16>)> {
    let (hello, carrier) = match (&flow.tls.client_hello, &flow.quic.client_hello) {
        (Some(hello), _) => (hello, Carrier::Tcp),
        (None, Some(hello)) => (hello, Carrier::Quic),
        (None, None) => return None,
    };
    let order = hello.extensions.iter().map(|(kind, _)| *kind).filter(|kind| !is_grease(*kind)).collect();
    Some((ja4(hello, carrier), order))
}

//! From traffic to an examination: every rule applied, every flow described.

use std::time::Duration;

use crate::flow::{Flow, Traffic, Transport};
use crate::ja4::{Carrier, ja4, ja4t};
use crate::rules::RULES;
use crate::verdict::{Examination, FlowReport, Verdict};

/// The number of the schema of [`Examination`] as JSON.
pub(crate) const SCHEMA: u32 = 1;

/// Applies every rule to the traffic. `source` says what was examined, for the report.
pub fn examine(source: &str, traffic: &Traffic) -> Examination {
    let rules: Vec<_> = RULES.iter().map(|rule| rule.apply(traffic)).collect();
    let detected = rules.iter().any(|rule| rule.verdict == Verdict::Detected);
    let begin = traffic.flows().iter().filter_map(|flow| flow.packets.first()).map(|packet| packet.at).min();
    let flows = traffic.flows().iter().map(|flow| describe(flow, begin.unwrap_or_default())).collect();
    let remarks = remarks(traffic);
    Examination { schema: SCHEMA, source: source.to_owned(), detected, rules, flows, remarks }
}

fn describe(flow: &Flow, begin: Duration) -> FlowReport {
    let hello = flow.tls.client_hello.as_ref().map(|hello| (hello, Carrier::Tcp));
    let hello = hello.or_else(|| flow.quic.client_hello.as_ref().map(|hello| (hello, Carrier::Quic)));
    let at = |packet: Option<&crate::flow::Seen>| packet.map_or(begin, |packet| packet.at);
    let (first, last) = (at(flow.packets.first()), at(flow.packets.last()));
    FlowReport {
        transport: match flow.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        },
        client: flow.client.to_string(),
        server: flow.server.to_string(),
        looks_like: match (flow.is_tls(), flow.quic.is_quic()) {
            (true, _) => Some("tls"),
            (_, true) => Some("quic"),
            _ => None,
        },
        server_name: hello.and_then(|(hello, _)| hello.server_name.clone()),
        ja4: hello.map(|(hello, carrier)| ja4(hello, carrier)),
        ja4t: flow.syn.as_ref().map(ja4t),
        starts_at: first.saturating_sub(begin).as_secs_f64(),
        seconds: last.saturating_sub(first).as_secs_f64(),
        packets: flow.packet_count,
        up_bytes: flow.up_bytes,
        down_bytes: flow.down_bytes,
    }
}

fn remarks(traffic: &Traffic) -> Vec<String> {
    let mut remarks = Vec::new();
    if traffic.flows().is_empty() {
        remarks.push("the capture holds neither TCP nor UDP".to_owned());
    }
    if traffic.passed_over > 0 {
        remarks.push(format!("{} frames hold neither TCP nor UDP and were passed over", traffic.passed_over));
    }
    if traffic.beyond_bounds > 0 {
        remarks.push(format!("{} packets are beyond what is kept of a capture", traffic.beyond_bounds));
    }
    let torn = traffic.flows().iter().filter(|flow| flow.is_torn()).count();
    if torn > 0 {
        remarks
            .push(format!("{torn} connections have bytes missing, so that their records were not followed to the end"));
    }
    remarks
}

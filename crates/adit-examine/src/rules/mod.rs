//! The rules, a file each: what was published or measured about how censors find tunnels, applied to a capture.
//!
//! Not here: how packets become flows (`flow`), how verdicts look (`report`), rules that need to ask (`probe`).

mod ack;
mod amnezia;
mod burst_tree;
mod bursts;
mod fet;
mod handshakes;
mod ja4;
mod key_exchange;
mod loss_response;
mod opcode;
mod quic_sni;
mod rtt_gap;
mod sixteen_kb;
mod stack;
mod tickets;
mod tls_in_tls;
mod trojan;
mod unknown_tcp;
mod wireguard;

use crate::flow::{Flow, Traffic};
use crate::verdict::{Finding, Number, RuleReport, Verdict};

/// A rule and where it comes from.
#[derive(Debug)]
pub(crate) struct Rule {
    id: &'static str,
    name: &'static str,
    about: &'static str,
    source: &'static str,
    judge: Judge,
}

/// What a rule looks at.
#[derive(Debug)]
enum Judge {
    /// One flow; none if the rule is not about such flows.
    Flow(fn(&Flow) -> Option<Judged>),
    /// All of them together.
    Traffic(fn(&Traffic) -> Vec<OfFlow>),
}

/// What is said of all traffic, or of the flow with this number.
type OfFlow = (Option<usize>, Judged);

/// A verdict with its reason.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    verdict: Verdict,
    why: String,
    numbers: Vec<Number>,
}

/// All rules that look at captures, in order.
pub(crate) const RULES: [Rule; 18] = [
    fet::RULE,
    opcode::RULE,
    ack::RULE,
    wireguard::RULE,
    amnezia::RULE,
    tls_in_tls::RULE,
    trojan::RULE,
    burst_tree::RULE,
    tickets::RULE,
    ja4::RULE,
    sixteen_kb::RULE,
    handshakes::RULE,
    quic_sni::RULE,
    unknown_tcp::RULE,
    rtt_gap::RULE,
    loss_response::RULE,
    key_exchange::RULE,
    stack::RULE,
];

impl Rule {
    pub(crate) fn apply(&self, traffic: &Traffic) -> RuleReport {
        let judged: Vec<_> = match self.judge {
            Judge::Flow(judge) => {
                traffic.flows().iter().enumerate().filter_map(|(n, flow)| Some((Some(n), judge(flow)?))).collect()
            }
            Judge::Traffic(judge) => judge(traffic),
        };
        let gravest = judged.iter().map(|(_, judged)| judged).max_by_key(|judged| judged.verdict);
        let (verdict, why) = gravest.map_or_else(
            || (Verdict::Undecidable, "the capture has no flow that this rule looks at".to_owned()),
            |gravest| (gravest.verdict, gravest.why.clone()),
        );
        let findings = judged.into_iter().map(|(flow, judged)| judged.of(flow)).collect();
        let Self { id, name, about, source, .. } = *self;
        RuleReport { id, name, about, source, verdict, why, findings }
    }
}

impl Judged {
    fn pass(why: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, why)
    }

    fn detected(why: impl Into<String>) -> Self {
        Self::new(Verdict::Detected, why)
    }

    fn note(why: impl Into<String>) -> Self {
        Self::new(Verdict::Note, why)
    }

    fn undecidable(why: impl Into<String>) -> Self {
        Self::new(Verdict::Undecidable, why)
    }

    fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        Self { verdict, why: why.into(), numbers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.numbers.push(Number { name, value: value.into() });
        self
    }

    fn of(self, flow: Option<usize>) -> Finding {
        Finding { flow, verdict: self.verdict, why: self.why, numbers: self.numbers }
    }
}

/// A count as a number for the report.
fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

/// The middle of some numbers.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::flow::capture::{Frame, Link};

    /// A UDP flow in which the client sends these datagrams.
    pub(super) fn flow_of_datagrams(datagrams: impl Iterator<Item = Vec<u8>>) -> Flow {
        let mut traffic = Traffic::new();
        for (n, payload) in datagrams.enumerate() {
            let mut bytes = Vec::new();
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(5000, 6000).write(&mut bytes, &payload).unwrap();
            traffic.add(&Frame { at: Duration::from_millis(n as u64), link: Link::Raw, bytes: &bytes });
        }
        traffic.into_flows().remove(0)
    }

    pub(super) const UP: bool = true;

    /// A record of application data from the client, by its length.
    pub(super) const fn up(length: u16) -> (bool, u16) {
        (UP, length)
    }

    /// And one from the server.
    pub(super) const fn down(length: u16) -> (bool, u16) {
        (!UP, length)
    }

    /// A TLS connection that is made up record by record, each a segment of its own.
    pub(super) struct Talk {
        traffic: Traffic,
        next: [u32; 2],
        clock: u64,
    }

    impl Talk {
        /// As after an ordinary TLS 1.3 handshake.
        pub(super) fn handshake() -> Self {
            Self::handshake_with(53, 53, 0x11ec)
        }

        /// With these lengths of the server's and the client's Finished, and this group.
        pub(super) fn handshake_with(server: u16, client: u16, group: u16) -> Self {
            let mut talk = Self { traffic: Traffic::new(), next: [1, 1], clock: 0 };
            talk.segment(UP, true, &[]);
            talk.segment(!UP, true, &[]);
            let hex = include_str!("../../tests/hellos/chromium156-tcp.hex").trim();
            let digits: Vec<u8> = hex.bytes().map(|d| char::from(d).to_digit(16).unwrap() as u8).collect();
            let hello: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
            talk.whole(UP, 22, &hello);
            let extensions = [&[0, 43, 0, 2, 3, 4, 0, 51, 0, 2][..], &group.to_be_bytes()].concat();
            let body = [&[3, 3][..], &[7; 32], &[0, 0x13, 0x02, 0, 0, extensions.len() as u8], &extensions].concat();
            talk.whole(!UP, 22, &[&[2, 0, 0, body.len() as u8][..], &body].concat());
            talk.whole(!UP, 20, &[1]);
            talk.records(&[down(2000), down(server)]);
            talk.whole(UP, 20, &[1]);
            talk.records(&[up(client)]);
            talk
        }

        pub(super) fn records(&mut self, records: &[(bool, u16)]) {
            for (up, length) in records {
                self.record(*up, 23, *length);
            }
        }

        /// A record whose body nobody can read.
        pub(super) fn record(&mut self, up: bool, kind: u8, length: u16) {
            let body: Vec<u8> = noise(self.clock).take(length.into()).collect();
            self.whole(up, kind, &body);
        }

        fn whole(&mut self, up: bool, kind: u8, body: &[u8]) {
            let header = [&[kind, 3, 3][..], &u16::try_from(body.len()).unwrap().to_be_bytes()].concat();
            self.segment(up, false, &[&header, body].concat());
        }

        fn segment(&mut self, up: bool, syn: bool, payload: &[u8]) {
            let (ends, ports) = if up { ([1, 2], (5000, 443)) } else { ([2, 1], (443, 5000)) };
            let sequence = self.next[usize::from(up)];
            let packet = PacketBuilder::ipv4([10, 0, 0, ends[0]], [10, 0, 0, ends[1]], 64);
            let mut packet = packet.tcp(ports.0, ports.1, sequence, 64_240);
            if syn {
                packet = packet.syn();
            }
            if !up || !syn {
                packet = packet.ack(self.next[usize::from(!up)]);
            }
            let mut bytes = Vec::new();
            packet.write(&mut bytes, payload).unwrap();
            self.clock += 1;
            self.traffic.add(&Frame { at: Duration::from_millis(self.clock), link: Link::Raw, bytes: &bytes });
            self.next[usize::from(up)] = sequence + u32::from(syn) + u32::try_from(payload.len()).unwrap();
        }

        pub(super) fn flow(self) -> Flow {
            self.traffic.into_flows().remove(0)
        }
    }

    /// Bytes that look random, the same every time.
    pub(super) fn noise(seed: u64) -> impl Iterator<Item = u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
    }

    #[test]
    fn rules_have_numbers_of_their_own_in_order() {
        let numbers: Vec<u32> = RULES.iter().map(|rule| rule.id[1..].parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }

    #[test]
    fn an_empty_capture_is_not_decidable_by_any_rule() {
        for rule in &RULES {
            assert_eq!(rule.apply(&Traffic::new()).verdict, Verdict::Undecidable, "{}", rule.id);
        }
    }
}

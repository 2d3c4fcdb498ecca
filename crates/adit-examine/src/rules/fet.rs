//! R1: fully encrypted traffic. A TCP connection whose first payload looks like nothing but noise is blocked.
//!
//! Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023: five
//! exemptions; what none of them exempts is blocked, for a sample of connections and for some networks.

use super::{Judge, Judged, Rule};
use crate::flow::{Flow, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R1",
    name: "fully encrypted traffic",
    about: "Does the client's first payload look like random bytes: none of the five exemptions of the Great Firewall?",
    source: "Wu et al., USENIX Security 2023",
    judge: Judge::Flow(judge),
};

/// Ex1: exempt at or below this many set bits a byte …
const FEW_BITS: f64 = 3.4;
/// … and at or above this many.
const MANY_BITS: f64 = 4.6;
/// Ex2: this many printable bytes at the start.
const PRINTABLE_START: usize = 6;
/// Ex4: more printable bytes in a row than this.
const PRINTABLE_RUN: usize = 20;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Tcp {
        return None;
    }
    if !flow.from_start {
        return Some(Judged::undecidable("the beginning of the connection is not in the capture"));
    }
    if flow.first.is_empty() {
        return Some(Judged::undecidable("the client has sent nothing"));
    }
    let bits = bits_per_byte(&flow.first);
    let judged = match exemption(&flow.first) {
        Some(why) => Judged::pass(format!("exempt: {why}")),
        None => Judged::detected(format!(
            "the first {} bytes look random ({bits:.2} set bits a byte) and nothing exempts them",
            flow.first.len()
        )),
    };
    Some(judged.with("set bits a byte", bits))
}

/// Why a first payload is let through.
fn exemption(first: &[u8]) -> Option<&'static str> {
    if starts_as_protocol(first) {
        return Some("it begins as TLS or HTTP");
    }
    let bits = bits_per_byte(first);
    if bits <= FEW_BITS || bits >= MANY_BITS {
        return Some("its bits are not balanced as random ones are");
    }
    if first.len() >= PRINTABLE_START && first[..PRINTABLE_START].iter().all(is_printable) {
        return Some("it begins with text");
    }
    if first.iter().filter(|byte| is_printable(byte)).count() * 2 > first.len() {
        return Some("more than half of it is text");
    }
    if first.split(|byte| !is_printable(byte)).any(|run| run.len() > PRINTABLE_RUN) {
        return Some("it holds a line of text");
    }
    None
}

/// Ex5.
pub(super) fn starts_as_protocol(first: &[u8]) -> bool {
    let tls = matches!(first, [0x16..=0x17, 0x03, 0x00..=0x09, ..]);
    tls || VERBS.iter().any(|verb| first.starts_with(verb))
}

const VERBS: [&[u8]; 8] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH "];

fn bits_per_byte(bytes: &[u8]) -> f64 {
    let bits: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    f64::from(bits) / super::count(bytes.len())
}

const fn is_printable(byte: &u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes with four set bits each, none printable.
    const BALANCED: [u8; 8] = [0xaa, 0x99, 0x96, 0xc3, 0xf0, 0xa5, 0x0f, 0x87];

    #[test]
    fn balanced_bytes_are_not_exempt() {
        assert_eq!(exemption(&BALANCED.repeat(10)), None);
    }

    #[test]
    fn each_exemption_exempts() {
        let noise = BALANCED.repeat(10);
        for start in [&[0x16, 3, 1][..], &[0x17, 3, 9], b"GET ", b"abcdef"] {
            assert!(exemption(&[start, &noise].concat()).is_some(), "{start:?}");
        }
        assert!(exemption(&[0; 40]).is_some());
        assert!(exemption(&[0xff; 40]).is_some());
        assert!(exemption(&[&BALANCED[..], &[b'a'; 21], &noise].concat()).is_some());
        assert!(exemption(&[&BALANCED[..], &[b'a'; 20], &noise].concat()).is_none());
        assert!(exemption(&[&BALANCED.repeat(2)[..], &[b'a'; 17]].concat()).is_some());
    }
}

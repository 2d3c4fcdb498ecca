//! R6: AmneziaWG by what its disguise leaves as it was: an index that stays, and a counter that counts.
//!
//! Field reports (amneziawg-go, issue 75): padding and new message types hide WireGuard's handshake, but every data
//! message still has sixteen bytes of header, of which eight are a little-endian counter with zeros at its end.

use super::{Judge, Judged, Rule, count};
use crate::flow::{Flow, Head, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R6",
    name: "AmneziaWG data headers",
    about: "Is there a place in the datagrams where an index stays the same and a counter counts?",
    source: "amneziawg-go, field reports",
    judge: Judge::Flow(judge),
};

/// Datagrams of one direction that are needed.
const NEEDED: usize = 20;
/// The share of them that must fit.
const SHARE: f64 = 0.8;
/// The furthest that padding moves a header.
const MAX_PADDING: usize = 40;
/// A counter this far ahead of the one before still counts; more is chance.
const MAX_STEP: u64 = 1 << 16;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Udp {
        return None;
    }
    if flow.heads.iter().take(4).any(|head| matches!(head.bytes(), [1..=4, 0, 0, 0, ..])) {
        return Some(Judged::pass("its types are WireGuard's own, which R5 is about"));
    }
    let ways = [true, false].map(|up| flow.heads.iter().filter(|head| head.up == up).collect::<Vec<_>>());
    let most = ways.iter().map(Vec::len).max().unwrap_or(0);
    if most < NEEDED {
        return Some(Judged::undecidable(format!("{most} datagrams in one direction; {NEEDED} are needed")));
    }
    let found = ways.iter().filter(|heads| heads.len() >= NEEDED).find_map(|heads| {
        (0..=MAX_PADDING).map(|padding| (padding, share(heads, padding))).find(|(_, share)| *share >= SHARE)
    });
    let of_112 = flow.heads.iter().filter(|head| head.length == 112).count();
    let judged = match found {
        Some((padding, share)) => Judged::detected(format!(
            "{:.0} % of the datagrams have an index that stays and a counter that counts after {padding} bytes",
            share * 100.0
        ))
        .with("padding", count(padding)),
        None => Judged::pass("nowhere in the datagrams do an index and a counter stand"),
    };
    Some(judged.with("datagrams of 112 bytes", count(of_112)))
}

/// How many datagrams fit their predecessor: the same index, the next counter.
fn share(heads: &[&Head], padding: usize) -> f64 {
    let fields: Vec<_> = heads.iter().filter_map(|head| header(head, padding)).collect();
    let fits = fields
        .windows(2)
        .filter(|pair| {
            let [(index, counter), (next_index, next)] = [pair[0], pair[1]];
            index == next_index && index != 0 && next.wrapping_sub(counter).wrapping_sub(1) < MAX_STEP
        })
        .count();
    count(fits) / count(heads.len().max(2) - 1)
}

/// The receiver's index and the counter, if a data header stood there.
fn header(head: &Head, padding: usize) -> Option<(u32, u64)> {
    let (_, rest) = head.bytes().get(padding..)?.split_first_chunk::<4>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let counter = rest.first_chunk::<8>()?;
    let counter = u64::from_le_bytes(*counter);
    // A session ends long before.
    (counter >> 48 == 0).then_some((u32::from_le_bytes(*index), counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{flow_of_datagrams, noise};

    /// A data message with four unknown bytes of type, behind some padding.
    fn disguised(padding: usize, counter: u64) -> Vec<u8> {
        let mut random = noise(counter);
        let mut bytes: Vec<u8> = random.by_ref().take(padding).collect();
        bytes.extend([0x51, 0x7a, 0xc1, 0x99]);
        bytes.extend(0x1234_5678_u32.to_le_bytes());
        bytes.extend(counter.to_le_bytes());
        bytes.extend(random.take(80));
        bytes
    }

    #[test]
    fn a_moved_header_is_found_by_its_counter() {
        for padding in [0, 7, 33] {
            let flow = flow_of_datagrams((0..40).map(|n| disguised(padding, n * 2)));
            assert_eq!(judge(&flow).unwrap().verdict, super::super::Verdict::Detected, "{padding}");
        }
    }

    #[test]
    fn noise_has_no_counter() {
        let flow = flow_of_datagrams((0..40).map(|n| noise(n).take(120).collect()));
        assert_eq!(judge(&flow).unwrap().verdict, super::super::Verdict::Pass);
    }
}

//! R22: the first packet of a connection tells which system sent it, and should be the one that the program claims.
//!
//! JA4T and p0f: the options of the first packet and their order, the window, and the hop limit it began with. What the
//! program claims stands in the User-Agent, which TLS hides; where the same machine also speaks plain HTTP, it is read.

use super::{Judge, Judged, Rule};
use crate::flow::{Flow, Syn, Traffic, Transport};
use crate::ja4::ja4t;

pub(super) const RULE: Rule = Rule {
    id: "R22",
    name: "TCP/IP stack",
    about: "Was the first packet sent by the kernel of a usual system, and by the one that the client claims?",
    source: "FoxIO JA4T; p0f",
    judge: Judge::Traffic(judge),
};

/// A system's first packet.
struct System {
    name: &'static str,
    /// The order of its options, alternatives apart.
    options: &'static [&'static [u8]],
    /// The hop limit it begins with.
    hop_limit: u8,
    /// How a User-Agent names it.
    claims: &'static [&'static str],
}

/// Kinds: 0 end, 1 nothing, 2 segment size, 3 window scale, 4 selective acknowledgements, 8 timestamps.
const SYSTEMS: [System; 3] = [
    System {
        name: "Linux or Android",
        options: &[&[2, 4, 8, 1, 3]],
        hop_limit: 64,
        claims: &["Linux", "Android", "X11", "CrOS"],
    },
    System {
        name: "Windows",
        options: &[&[2, 1, 3, 1, 1, 4], &[2, 1, 3, 1, 1, 8, 4], &[2, 1, 3, 4, 8]],
        hop_limit: 128,
        claims: &["Windows"],
    },
    System {
        name: "macOS or iOS",
        options: &[&[2, 1, 3, 1, 1, 8, 4, 0]],
        hop_limit: 64,
        claims: &["Macintosh", "iPhone", "iPad"],
    },
];

fn judge(traffic: &Traffic) -> Vec<(Option<usize>, Judged)> {
    let tcp = |(_, flow): &(usize, &Flow)| flow.transport == Transport::Tcp;
    traffic.flows().iter().enumerate().filter(tcp).map(|(n, flow)| (Some(n), of_flow(traffic, flow))).collect()
}

fn of_flow(traffic: &Traffic, flow: &Flow) -> Judged {
    let Some(syn) = &flow.syn else {
        return Judged::undecidable("the beginning of the connection is not in the capture");
    };
    let text = ja4t(syn);
    let Some(system) = SYSTEMS.iter().find(|system| system.has_sent(syn)) else {
        return Judged::detected(format!("{text} with hop limit {} is no usual system's", syn.hop_limit));
    };
    let claimed = traffic.flows().iter().filter(|other| other.client.ip() == flow.client.ip()).find_map(user_agent);
    let judged = match claimed {
        Some(claim) if !system.claims.iter().any(|name| claim.contains(name)) && names_a_system(&claim) => {
            Judged::detected(format!("{text} is {}, but the client claims to be {claim}", system.name))
        }
        Some(_) => Judged::pass(format!("{text} is {}, as the client claims", system.name)),
        None => Judged::pass(format!("{text} is {}; no claim to the contrary is visible", system.name)),
    };
    judged.with("hop limit", syn.hop_limit)
}

impl System {
    fn has_sent(&self, syn: &Syn) -> bool {
        // Routers on the way have counted down; thirty of them are many.
        let far = self.hop_limit.saturating_sub(32);
        self.options.contains(&&syn.options[..]) && (far..=self.hop_limit).contains(&syn.hop_limit)
    }
}

fn names_a_system(claim: &str) -> bool {
    SYSTEMS.iter().any(|system| system.claims.iter().any(|name| claim.contains(name)))
}

/// The User-Agent of a plain HTTP request.
fn user_agent(flow: &Flow) -> Option<String> {
    let text = std::str::from_utf8(&flow.first).ok()?;
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("user-agent"))?;
    Some(value.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(options: &[u8], hop_limit: u8) -> Syn {
        Syn { window: 64_240, options: options.to_vec(), max_segment: Some(1460), window_scale: Some(7), hop_limit }
    }

    #[test]
    fn systems_are_known_by_their_options_and_hop_limit() {
        let name = |syn: Syn| SYSTEMS.iter().find(|system| system.has_sent(&syn)).map(|system| system.name);
        assert_eq!(name(syn(&[2, 4, 8, 1, 3], 53)), Some("Linux or Android"));
        assert_eq!(name(syn(&[2, 1, 3, 1, 1, 4], 120)), Some("Windows"));
        assert_eq!(name(syn(&[2, 1, 3, 1, 1, 8, 4, 0], 64)), Some("macOS or iOS"));
        // A userspace stack that sends only a segment size.
        assert_eq!(name(syn(&[2], 64)), None);
        assert_eq!(name(syn(&[2, 4, 8, 1, 3], 255)), None);
    }
}

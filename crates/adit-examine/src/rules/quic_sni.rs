//! R17: QUIC's Initial packets are no secret: the server's name is read, and in some places QUIC is dropped as a whole.
//!
//! Zohaib et al., USENIX Security 2025: the Great Firewall opens the first datagram, no others, if the source port is not
//! below the destination port. Russia, 2022 (field reports): version 1 on UDP 443 with at least 1001 bytes is dropped.
//! Both meet browsers as much as tunnels, so this is a note.

use super::{Judge, Judged, Rule, count};
use crate::flow::{Flow, Transport};

pub(super) const RULE: Rule = Rule {
    id: "R17",
    name: "QUIC Initial",
    about: "What can be read from the first QUIC datagrams, and where are they dropped?",
    source: "Zohaib et al., USENIX Security 2025; field reports, 2022",
    judge: Judge::Flow(judge),
};

/// From this length on.
const DROPPED_FROM: usize = 1001;
const HTTPS: u16 = 443;

fn judge(flow: &Flow) -> Option<Judged> {
    if flow.transport != Transport::Udp {
        return None;
    }
    let quic = &flow.quic;
    if !quic.is_quic() {
        return Some(Judged::pass("no Initial packet of QUIC can be opened"));
    }
    let name = quic.client_hello.as_ref().and_then(|hello| hello.server_name.as_deref());
    let mut facts = Vec::new();
    if let Some(name) = name {
        let from_one = quic.name_in_first && flow.client.port() >= flow.server.port();
        let how = if from_one { "from the first datagram alone" } else { "though not from the first datagram alone" };
        facts.push(format!("the name {name} can be read, {how}"));
    }
    if quic.version == Some(1) && flow.server.port() == HTTPS && quic.first_length >= DROPPED_FROM {
        facts.push(format!("QUIC version 1 on UDP 443 with {} bytes is dropped in some places", quic.first_length));
    }
    let judged =
        if facts.is_empty() { Judged::pass("nothing of it is looked for") } else { Judged::note(facts.join("; ")) };
    Some(judged.with("first datagram", count(quic.first_length)))
}

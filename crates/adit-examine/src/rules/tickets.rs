//! R10: what follows the handshake: the sizes of the two Finished messages, and the server's session tickets.
//!
//! A TLS 1.3 Finished is a record of 53 bytes (69 with SHA-384). ShadowTLS has 57 or 73 in its place. After it, servers send tickets, all
//! of one size; a server that sends none, or others than it sends to strangers, has been told apart from the site it
//! borrows (Aparecium, 2025). What strangers get only a probe can say.

use super::bursts::after_handshake;
use super::{Judge, Judged, Rule, count};
use crate::flow::Flow;
use crate::flow::tls::{Kind, TLS13};

pub(super) const RULE: Rule = Rule {
    id: "R10",
    name: "Finished and tickets",
    about: "Have the Finished messages their sizes, and do session tickets follow as from an ordinary server?",
    source: "Aparecium, 2025; ShadowTLS field reports",
    judge: Judge::Flow(judge),
};

/// The record of a Finished: type, length, hash, the true content type, the tag.
const FINISHED: [u16; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];
/// The same with the four bytes that ShadowTLS adds.
const SHADOWED: [u16; 2] = [57, 73];

fn judge(flow: &Flow) -> Option<Judged> {
    if !flow.is_tls() {
        return None;
    }
    let tls = &flow.tls;
    let Some(hello) = &tls.server_hello else {
        return Some(Judged::undecidable("the server's hello is not in the capture"));
    };
    if hello.version != TLS13 {
        return Some(Judged::undecidable("only TLS 1.3 has a Finished of known size and tickets after it"));
    }
    let is_encrypted = |record: &&crate::flow::tls::Record| record.kind == Kind::Application;
    let Some(client) = tls.records.iter().filter(is_encrypted).find(|record| record.up).map(|record| record.length)
    else {
        return Some(Judged::undecidable("the client has not finished the handshake"));
    };
    let before = tls.records.iter().filter(is_encrypted).take_while(|record| !record.up).map(|record| record.length);
    let server = before.last().unwrap_or(0);
    let tickets = after_handshake(flow).map_or(vec![], |(_, tickets)| tickets);
    let judged = if SHADOWED.contains(&server) || SHADOWED.contains(&client) {
        Judged::detected(format!("a Finished of {} bytes, four too many: ShadowTLS", server.max(client)))
    } else if !FINISHED.contains(&client) {
        // A client with a certificate sends it first; browsers visiting web sites have none.
        Judged::note(format!("the client's first encrypted record has {client} bytes, not the 53 or 69 of a Finished"))
    } else {
        let tickets = match tickets.first() {
            Some(size) => format!("{} tickets of {size} bytes follow", tickets.len()),
            None => "no tickets were recognised".to_owned(),
        };
        Judged::pass(format!(
            "a Finished of {client} bytes; {tickets} (whether strangers get the same, a probe can say)"
        ))
    };
    Some(judged.with("client's Finished", client).with("tickets", count(tickets.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{Talk, down, up};
    use crate::verdict::Verdict;

    #[test]
    fn two_tickets_after_an_ordinary_handshake_pass() {
        let mut talk = Talk::handshake();
        talk.records(&[up(465), down(282), down(282), down(3000)]);
        let judged = judge(&talk.flow()).unwrap();
        assert_eq!(judged.verdict, Verdict::Pass);
        assert!(judged.why.contains("2 tickets of 282 bytes"), "{}", judged.why);
    }

    #[test]
    fn a_finished_with_four_bytes_more_is_detected() {
        for (server, client) in [(57, 53), (53, 57), (73, 69)] {
            let talk = Talk::handshake_with(server, client, 0x11ec);
            assert_eq!(judge(&talk.flow()).unwrap().verdict, Verdict::Detected, "{server} {client}");
        }
    }
}

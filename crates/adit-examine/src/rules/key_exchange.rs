//! R21: the server's choice of a key exchange, and its certificate where it can be seen.
//!
//! Field reports, 2026: a domain whose server does not take X25519MLKEM768 when it is offered gets marked, and some
//! issuers are suspect. TLS 1.3 hides the certificate; a probe can look at it. Many honest servers do not have the key
//! exchange yet, so its absence is a note.

use x509_parser::parse_x509_certificate;

use super::{Judge, Judged, Rule};
use crate::flow::Flow;
use crate::flow::tls::X25519MLKEM768;

pub(super) const RULE: Rule = Rule {
    id: "R21",
    name: "key exchange and certificate",
    about: "Does the server take the post-quantum key exchange, and is its certificate, if visible, an ordinary one?",
    source: "field reports, 2026",
    judge: Judge::Flow(judge),
};

/// Google's issuers, which stand behind many fronted domains.
const SUSPECT_ISSUER: &str = "Google Trust Services";

fn judge(flow: &Flow) -> Option<Judged> {
    let (client, server) = match (&flow.tls.client_hello, &flow.quic.client_hello) {
        (Some(hello), _) => (hello, flow.tls.server_hello.as_ref()),
        (None, Some(hello)) => (hello, flow.quic.server_hello.as_ref()),
        (None, None) => return None,
    };
    let Some(server) = server else {
        return Some(Judged::undecidable("the server's hello is not in the capture"));
    };
    if let Some(judged) = flow.tls.certificates.first().and_then(|certificate| suspect(certificate)) {
        return Some(judged);
    }
    if !client.groups.contains(&X25519MLKEM768) {
        return Some(Judged::undecidable("the client did not offer X25519MLKEM768, so the server could not take it"));
    }
    Some(match server.group {
        Some(X25519MLKEM768) => Judged::pass("the server takes X25519MLKEM768"),
        Some(group) => Judged::note(format!(
            "X25519MLKEM768 was offered and group {group:#06x} taken, as by many servers; such domains have been marked"
        )),
        None => Judged::note("X25519MLKEM768 was offered, and the server chose a protocol without it"),
    })
}

/// What is wrong with a certificate.
fn suspect(der: &[u8]) -> Option<Judged> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let issuer = certificate.issuer().to_string();
    if certificate.issuer() == certificate.subject() {
        return Some(Judged::detected("the certificate is signed by itself"));
    }
    issuer.contains(SUSPECT_ISSUER).then(|| Judged::detected(format!("the certificate's issuer is suspect: {issuer}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::Talk;
    use crate::verdict::Verdict;

    #[test]
    fn the_post_quantum_exchange_passes_and_another_is_noted() {
        for (group, expected) in [(0x11ec, Verdict::Pass), (29, Verdict::Note)] {
            let flow = Talk::handshake_with(53, 53, group).flow();
            assert_eq!(judge(&flow).unwrap().verdict, expected, "{group}");
        }
    }
}

//! Tests of configurations: verdicts on lines, whole files of the kinds that exist, files that are taken in, pushes, random
//! texts.

mod embedding;
mod lines;
mod properties;
mod pushes;
mod samples;
mod servers;

use super::{ClientConfig, Config, Finding, Verdict, parse};

/// The least that a client can be told.
const CLIENT: &str = "client\nremote vpn.example.com\nauth-user-pass\n<ca>\nx\n</ca>\nremote-cert-tls server\n";

/// The client that this text describes.
fn client(text: &str) -> ClientConfig {
    let parsed = parse(text);
    match parsed.config {
        Some(Config::Client(client)) => *client,
        Some(Config::Server(_)) | None => panic!("{:#?}", parsed.findings),
    }
}

/// A client with some lines more.
fn client_with(lines: &str) -> ClientConfig {
    client(&format!("{CLIENT}{lines}"))
}

/// What is said of the one line `line` in the file of a client.
fn of_client(line: &str) -> Finding {
    of(&format!("{CLIENT}{line}\n"), CLIENT.lines().count() + 1)
}

fn of(text: &str, line: usize) -> Finding {
    let findings = parse(text).findings;
    findings.iter().find(|finding| finding.line == line).cloned().unwrap_or_else(|| panic!("{text}: {findings:#?}"))
}

fn why(finding: &Finding) -> &str {
    match &finding.verdict {
        Verdict::Accepted => "",
        Verdict::Ignored { why } | Verdict::Doubtful { why, .. } | Verdict::Refused { why, .. } => why,
    }
}

fn hint(finding: &Finding) -> &str {
    match &finding.verdict {
        Verdict::Doubtful { write_instead, .. } | Verdict::Refused { write_instead, .. } => {
            write_instead.as_deref().unwrap_or_default()
        }
        Verdict::Accepted | Verdict::Ignored { .. } => "",
    }
}

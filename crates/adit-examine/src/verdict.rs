//! What comes out of an examination: a verdict for each rule, with the reason in words and the numbers behind it.
//!
//! Not here: how it is decided (`rules`), how it looks (`report`).

use serde::Serialize;

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// This capture does not let the rule be decided.
    Undecidable,
    /// The rule was applied and found nothing.
    Pass,
    /// The rule applies, and it applies to ordinary traffic of this kind just as well.
    Note,
    /// The rule was applied and would have this flow named, slowed or blocked.
    Detected,
}

impl Verdict {
    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Undecidable => "not decidable",
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Detected => "detected",
        }
    }
}

/// A rule's word on one flow, or on the capture as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The flow, by its number in [`Examination::flows`]; none for the capture as a whole.
    pub flow: Option<usize>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
    /// The numbers that decided.
    pub numbers: Vec<Number>,
}

/// A measured number, and what it was held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Number {
    /// What it is.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// What one rule says of the whole capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleReport {
    /// Its number in the list of rules.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it looks at, in a sentence.
    pub about: &'static str,
    /// Who published it.
    pub source: &'static str,
    /// The gravest verdict of its findings.
    pub verdict: Verdict,
    /// The reason of that verdict.
    pub why: String,
    /// What it says of each flow that it looks at.
    pub findings: Vec<Finding>,
}

/// A flow as the report names it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowReport {
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// The client's address and port.
    pub client: String,
    /// The server's.
    pub server: String,
    /// What it looks like: `tls`, `quic`, or nothing known.
    pub looks_like: Option<&'static str>,
    /// The name in the client's hello.
    pub server_name: Option<String>,
    /// The JA4 of the client's hello.
    pub ja4: Option<String>,
    /// The JA4T of its first packet.
    pub ja4t: Option<String>,
    /// When it began, seconds after the capture's first packet.
    pub starts_at: f64,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// Packets, both ways.
    pub packets: u64,
    /// Payload from the client.
    pub up_bytes: u64,
    /// Payload from the server.
    pub down_bytes: u64,
}

/// What an examination comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// The number of this schema.
    pub schema: u32,
    /// What was examined.
    pub source: String,
    /// Whether any rule has detected something.
    pub detected: bool,
    /// Every rule.
    pub rules: Vec<RuleReport>,
    /// Every flow.
    pub flows: Vec<FlowReport>,
    /// What of the capture could not be looked at, a sentence each.
    pub remarks: Vec<String>,
}

impl Examination {
    /// What a rule says.
    pub fn rule(&self, id: &str) -> Option<&RuleReport> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The rules that have detected something.
    pub fn detections(&self) -> impl Iterator<Item = &RuleReport> {
        self.rules.iter().filter(|rule| rule.verdict == Verdict::Detected)
    }
}

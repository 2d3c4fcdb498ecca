//! What came back, as facts that can be compared: dates taken out, TLS's random parts left out, the rest kept.
//!
//! Not here: how it was asked for (`observe`), what differs between two answers' facts over many rounds (`run`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use httlib_hpack::Decoder;

use super::frames::{self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PRIORITISED};
use super::frames::{PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use super::script::Until;
use super::talk::{End, Part, Record, Talk};
use crate::flow::tls::ServerHello;

/// By how much sizes of handshake records may differ: signatures (ECDSA in DER) have no fixed length.
const SIGNATURE_SLACK: usize = 8;
/// By how many milliseconds the times after which a silent connection is closed may differ.
const GIVING_UP_SLACK: usize = 2000;
/// How much of a text a report shows.
const SHOWN: usize = 96;

/// One server's answer to one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) facts: Vec<Fact>,
    pub(super) took: Option<Duration>,
}

/// One thing to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) aspect: &'static str,
    pub(super) text: String,
    /// Numbers that may differ, by as much as `slack`.
    sizes: Vec<usize>,
    slack: usize,
}

impl Observation {
    pub(super) fn failed(problem: &str) -> Self {
        Self { facts: vec![Fact::new("connection", problem.to_owned())], took: None }
    }

    /// What differs: the aspect, here, there.
    pub(super) fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let text = |fact: Option<&Fact>| fact.map_or_else(|| "(nothing)".to_owned(), Fact::shown);
        let mut aspects: Vec<_> = self.facts.iter().chain(&other.facts).map(|fact| fact.aspect).collect();
        aspects.sort_unstable();
        aspects.dedup();
        let differs = |aspect: &&str| match (self.fact(aspect), other.fact(aspect)) {
            (Some(one), Some(another)) => !one.equals(another),
            (None, None) => false,
            _ => true,
        };
        let shown = |aspect| (aspect, text(self.fact(aspect)), text(other.fact(aspect)));
        aspects.into_iter().filter(differs).map(shown).collect()
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        self.differences(other).is_empty()
    }

    fn fact(&self, aspect: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.aspect == aspect)
    }
}

impl Fact {
    fn new(aspect: &'static str, text: String) -> Self {
        Self { aspect, text, sizes: Vec::new(), slack: 0 }
    }

    fn equals(&self, other: &Self) -> bool {
        let near = |(one, another): (&usize, &usize)| one.abs_diff(*another) <= self.slack;
        self.text == other.text
            && self.sizes.len() == other.sizes.len()
            && self.sizes.iter().zip(&other.sizes).all(near)
    }

    fn shown(&self) -> String {
        let sizes = if self.sizes.is_empty() { String::new() } else { format!(" {:?}", self.sizes) };
        format!("{}{sizes}", self.text)
    }
}

/// The facts of a connection.
pub(super) fn read(talk: &Talk, ready: bool, is_h2: bool, until: Until, useless: Option<usize>) -> Observation {
    let mut facts = Vec::new();
    if talk.tls.is_some() {
        tls(talk, ready, &mut facts);
    }
    let plain = &talk.seen.plain;
    match &talk.tls {
        None if matches!(plain.as_slice(), [20..=24, 3, ..]) => records(plain, &mut facts),
        Some(tls) if tls.alpn_protocol() == Some(b"h2") || is_h2 && tls.alpn_protocol().is_none() => {
            http2(plain, &mut facts);
        }
        _ => http1(plain, &mut facts),
    }
    facts.push(Fact::new(
        "end",
        match talk.seen.end {
            End::Open => "stays open",
            End::Fin => "FIN",
            End::Reset => "RST",
        }
        .to_owned(),
    ));
    if let (Until::Idle, Some(ended)) = (until, talk.seen.ended) {
        let sizes = vec![usize::try_from(ended.as_millis()).unwrap_or(usize::MAX)];
        facts.push(Fact { aspect: "gives up after", text: "milliseconds".to_owned(), sizes, slack: GIVING_UP_SLACK });
    }
    if let Some(count) = useless {
        facts.push(Fact::new("useless records until refused", count.to_string()));
    }
    Observation { facts, took: talk.seen.took }
}

fn tls(talk: &Talk, ready: bool, facts: &mut Vec<Fact>) {
    let Some(tls) = &talk.tls else { return };
    let seen = &talk.seen;
    facts.push(Fact::new("server hello", hello(&seen.first)));
    let protocol = if ready {
        format!(
            "{:?} {:?} {:?} ALPN {} {:?}",
            tls.protocol_version(),
            tls.negotiated_cipher_suite().map(|suite| suite.suite()),
            tls.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            tls.alpn_protocol().map_or_else(|| "none".into(), String::from_utf8_lossy),
            tls.handshake_kind(),
        )
    } else {
        "no session".to_owned()
    };
    facts.push(Fact::new("session", protocol));
    let mut chain = String::new();
    for certificate in tls.peer_certificates().unwrap_or_default() {
        let _infallible = write!(chain, "{} ", hash(certificate));
    }
    facts.push(Fact::new("certificates", chain));
    let of = |part: Part| seen.records.iter().filter(move |record| record.part == part);
    facts.push(sized("handshake records", of(Part::Handshake)));
    let sizes: Vec<_> = of(Part::Ticket).map(|record| record.length).collect();
    facts.push(Fact::new("tickets", format!("{} {sizes:?}", sizes.len())));
    facts.push(Fact::new("alert", seen.alert.clone().unwrap_or_else(|| "none".to_owned())));
    if of(Part::Unread).next().is_some() {
        facts.push(sized("records after the end of TLS", of(Part::Unread)));
    }
}

fn sized<'a>(aspect: &'static str, records: impl Iterator<Item = &'a Record>) -> Fact {
    let (kinds, sizes): (Vec<_>, Vec<_>) = records.map(|record| (record.kind, record.length)).unzip();
    Fact { aspect, text: format!("{} of types {kinds:?}", kinds.len()), sizes, slack: SIGNATURE_SLACK }
}

/// The first record of a server, if it is a hello: everything in it that is not random.
fn hello(content: &[u8]) -> String {
    const SERVER_HELLO: u8 = 2;
    match content {
        [SERVER_HELLO, _, _, _, body @ ..] => {
            ServerHello::parse(body).map_or_else(|| "unreadable".to_owned(), |hello| format!("{hello:?}"))
        }
        [] => "none".to_owned(),
        [level, code] => format!("alert {level} {code}"),
        _ => "something else".to_owned(),
    }
}

/// TLS records seen from outside.
fn records(mut bytes: &[u8], facts: &mut Vec<Fact>) {
    let mut seen = Vec::new();
    let mut clear = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((content, rest)) = rest.split_at_checked(length) else { break };
        seen.push(Record { kind: *kind, length, part: Part::Unread });
        match kind {
            21 if length == 2 => clear.push(format!("alert {} {}", content[0], content[1])),
            22 if content.first() == Some(&2) => clear.push(hello(content)),
            _ => {}
        }
        bytes = rest;
    }
    facts.push(Fact::new("clear records", clear.join("; ")));
    facts.push(sized("records", seen.iter()));
    if !bytes.is_empty() {
        facts.push(Fact::new("unreadable rest", format!("{} bytes", bytes.len())));
    }
}

/// HTTP/1: one head after the other, as far as their lengths say where the next one begins.
fn http1(bytes: &[u8], facts: &mut Vec<Fact>) {
    let mut heads = Heads::default();
    let mut rest = bytes;
    let mut bodies = String::new();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n").filter(|_| rest.starts_with(b"HTTP/")) {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        heads.status(lines.next().unwrap_or_default());
        let fields: Vec<_> = lines.map(|line| line.split_once(':').unwrap_or((line, ""))).collect();
        let length = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|(_, value)| value.trim().parse::<usize>().ok());
        heads.fields(&fields);
        let body_length = length.unwrap_or(rest.len()).min(rest.len());
        let next = &rest[..body_length];
        // The answer to HEAD names a length and has no body: the next answer begins at once.
        let body = if next.starts_with(b"HTTP/1.") { &rest[..0] } else { next };
        let _infallible = write!(bodies, "{}; ", digested(body));
        rest = &rest[body.len()..];
    }
    heads.into_facts(facts);
    facts.push(Fact::new("body", format!("{bodies}{}", digested(rest))));
}

/// Statuses and header fields of all answers of a connection.
#[derive(Default)]
struct Heads {
    statuses: Vec<String>,
    order: String,
    values: String,
}

impl Heads {
    fn status(&mut self, text: &str) {
        self.statuses.push(text.to_owned());
    }

    fn fields<N: AsRef<str>, V: AsRef<str>>(&mut self, fields: &[(N, V)]) {
        let mut sorted = Vec::new();
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref().trim_start());
            let _infallible = write!(self.order, "{name} ");
            let is_date = name.eq_ignore_ascii_case("date") && value.len() == 29 && value.ends_with(" GMT");
            sorted.push(format!("{name}: {}", if is_date { "(a date)" } else { value }));
        }
        sorted.sort();
        self.order.push_str("; ");
        self.values.push_str(&sorted.join(", "));
        self.values.push_str("; ");
    }

    fn into_facts(self, facts: &mut Vec<Fact>) {
        facts.push(Fact::new("status", self.statuses.join("; ")));
        facts.push(Fact::new("headers", self.values));
        facts.push(Fact::new("header order", self.order));
    }
}

#[derive(Default)]
struct Stream {
    heads: Heads,
    body: Vec<u8>,
    end: &'static str,
    reset: Option<u32>,
}

/// HTTP/2: what belongs to the connection in its order, and each stream for itself.
fn http2(bytes: &[u8], facts: &mut Vec<Fact>) {
    let (frames, rest) = frames::parse(bytes);
    let mut decoder = Decoder::with_dynamic_size(65_536);
    let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
    let mut connection = Vec::new();
    let mut block: Vec<u8> = Vec::new();
    for frame in frames {
        if frame.stream == 0 {
            connection.push(of_connection(frame.kind, frame.flags, frame.payload));
            continue;
        }
        let stream = streams.entry(frame.stream).or_default();
        match frame.kind {
            DATA => stream.body.extend_from_slice(unpadded(frame.flags, frame.payload)),
            HEADERS | CONTINUATION => {
                let content = if frame.kind == HEADERS { unpadded(frame.flags, frame.payload) } else { frame.payload };
                let skip = if frame.kind == HEADERS && frame.flags & PRIORITISED != 0 { 5 } else { 0 };
                block.extend_from_slice(content.get(skip..).unwrap_or_default());
                if frame.flags & END_HEADERS != 0 {
                    head(&mut decoder, &mut block, &mut stream.heads);
                }
            }
            RST_STREAM => stream.reset = frame.payload.first_chunk().map(|code| u32::from_be_bytes(*code)),
            WINDOW_UPDATE => {}
            kind => connection.push(format!("type {kind} on stream {}", frame.stream)),
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            stream.end = if frame.kind == DATA { "END_STREAM with DATA" } else { "END_STREAM with HEADERS" };
        }
    }
    facts.push(Fact::new("connection frames", connection.join("; ")));
    if !rest.is_empty() {
        facts.push(Fact::new("unreadable rest", digested(rest)));
    }
    of_streams(&streams, facts);
}

fn of_streams(streams: &BTreeMap<u32, Stream>, facts: &mut Vec<Fact>) {
    let all = |aspect, text: &dyn Fn(&Stream) -> String| {
        let each: Vec<_> = streams.iter().map(|(id, stream)| format!("{id}: {}", text(stream))).collect();
        Fact::new(aspect, each.join(" | "))
    };
    facts.push(all("status", &|stream| stream.heads.statuses.join("; ")));
    facts.push(all("headers", &|stream| stream.heads.values.clone()));
    facts.push(all("header order", &|stream| stream.heads.order.clone()));
    facts.push(all("body", &|stream| digested(&stream.body)));
    facts.push(all("stream ends", &|stream| match stream.reset {
        Some(code) => format!("{} RST_STREAM {code}", stream.end),
        None => stream.end.to_owned(),
    }));
}

fn head(decoder: &mut Decoder<'_>, block: &mut Vec<u8>, heads: &mut Heads) {
    let mut fields = Vec::new();
    let problem = decoder.decode(block, &mut fields).err();
    block.clear();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields: Vec<_> = fields.iter().map(|(name, value, _)| (text(name), text(value))).collect();
    heads.status(fields.iter().find(|(name, _)| name == ":status").map_or("no status", |(_, status)| status));
    heads.fields(&fields);
    if let Some(problem) = problem {
        heads.status(&format!("unreadable: {problem:?}"));
    }
}

/// A frame of the connection in words.
fn of_connection(kind: u8, flags: u8, payload: &[u8]) -> String {
    match (kind, flags & ACK != 0) {
        (SETTINGS, false) => {
            let pair = |six: &[u8]| {
                let (id, value) = six.split_at(2);
                let value = value.try_into().map_or(0, u32::from_be_bytes);
                format!("{}={value}", u16::from_be_bytes([id[0], id[1]]))
            };
            format!("SETTINGS {}", payload.chunks_exact(6).map(pair).collect::<Vec<_>>().join(","))
        }
        (SETTINGS, true) => "SETTINGS ack".to_owned(),
        (PING, true) => format!("PING ack of {}", hex(payload)),
        (GOAWAY, _) => format!("GOAWAY {}", hex(payload)),
        (WINDOW_UPDATE, _) => format!("WINDOW_UPDATE {}", hex(payload)),
        (kind, _) => format!("type {kind}, flags {flags:#x}, {}", hex(payload)),
    }
}

fn unpadded(flags: u8, payload: &[u8]) -> &[u8] {
    match payload {
        [padding, rest @ ..] if flags & PADDED != 0 => &rest[..rest.len().saturating_sub(usize::from(*padding))],
        _ => payload,
    }
}

/// A body by its length, its beginning and its hash.
fn digested(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    let beginning: String = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).escape_debug().collect();
    format!("{} bytes \"{beginning}\" {}", bytes.len(), hash(bytes))
}

fn hash(bytes: &[u8]) -> String {
    hex(&digest(&SHA256, bytes).as_ref()[..6])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(SHOWN).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

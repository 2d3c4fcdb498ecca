//! Just enough of an HTTP/2 server (RFC 9113) to see how a client speaks it: settings, windows, requests, their order.
//!
//! Not here: anything a server does to be fast, safe or complete. The other end is a browser that we started.

use adit_transport::tls::profile::{Http2Profile, Kind, RequestProfile};

use crate::site::HOST;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:status: 200` and `content-type: text/html`: entry 8 of HPACK's static table, and the name of entry 31 (RFC 7541).
const ANSWER: &[u8] = b"\x88\x5f\x09text/html";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PRIORITY: u8 = 0x20;

/// What a client said in HTTP/2.
#[derive(Debug, Clone, Default)]
pub(crate) struct Http2 {
    /// Its first SETTINGS.
    pub(crate) settings: Vec<(u16, u32)>,
    /// The first WINDOW_UPDATE of the connection.
    pub(crate) window_update: u32,
    /// Its requests.
    pub(crate) requests: Vec<Request>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Its headers, pseudo headers first.
    pub(crate) headers: Vec<(String, String)>,
    /// The weight in its HEADERS frame, if it has a priority.
    pub(crate) weight: Option<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

impl Http2 {
    /// What it asked for, in order. On which request another depends is not here: that changes with the answers' times.
    pub(crate) fn order(&self) -> Vec<&str> {
        let plain = self.requests.iter().filter(|request| request.header(":method") == "GET");
        plain.map(|request| request.header(":path")).collect()
    }

    /// The same as a profile has it. `records` are the sizes of the client's records.
    pub(crate) fn profile(&self, records: &[u16]) -> Http2Profile {
        let pseudo = |request: &Request| {
            let names = request.headers.iter().map(|(name, _)| name.clone());
            names.filter(|name| name.starts_with(':')).collect()
        };
        let kinds = [
            ("/", Kind::Document),
            ("/a.css", Kind::Style),
            ("/b.js", Kind::Script),
            ("/c.png", Kind::Image),
            ("/favicon.ico", Kind::Icon),
        ];
        let request = |&(path, kind): &(&str, Kind)| {
            let request = self.requests.iter().find(|request| request.header(":path") == path)?;
            Some(RequestProfile { kind, weight: request.weight.unwrap_or(0), headers: plain(request) })
        };
        Http2Profile {
            settings: self.settings.clone(),
            window_update: self.window_update,
            pseudo_headers: self.requests.first().map(pseudo).unwrap_or_default(),
            first_records: records.iter().copied().take(2).collect(),
            requests: kinds.iter().filter_map(request).collect(),
        }
    }
}

/// The headers after the pseudo headers, with the site's own address left open.
fn plain(request: &Request) -> Vec<(String, String)> {
    let headers = request.headers.iter().filter(|(name, _)| !name.starts_with(':'));
    let page = format!("https://{HOST}/");
    headers.map(|(name, value)| (name.clone(), value.replace(&page, "{referer}"))).collect()
}

/// A connection, read frame by frame.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    greeted: bool,
    hpack: httlib_hpack::Decoder<'static>,
    /// What was seen so far.
    pub(crate) seen: Http2,
}

impl Frames {
    /// Takes what arrived; answers what to send.
    pub(crate) fn read(&mut self, bytes: &[u8], page: &[u8]) -> Vec<u8> {
        self.bytes.extend(bytes);
        let mut answer = Vec::new();
        if !self.greeted && self.bytes.len() >= PREFACE.len() {
            assert_eq!(&self.bytes[..PREFACE.len()], PREFACE, "HTTP/2 begins with its preface");
            self.bytes.drain(..PREFACE.len());
            self.greeted = true;
            frame(&mut answer, SETTINGS, 0, 0, &[]);
        }
        while self.greeted && self.bytes.len() >= 9 {
            let length =
                usize::from(self.bytes[0]) << 16 | usize::from(self.bytes[1]) << 8 | usize::from(self.bytes[2]);
            if self.bytes.len() < 9 + length {
                break;
            }
            let whole: Vec<u8> = self.bytes.drain(..9 + length).collect();
            let stream = u32::from_be_bytes([whole[5], whole[6], whole[7], whole[8]]);
            self.frame(whole[3], whole[4], stream, &whole[9..], page, &mut answer);
        }
        answer
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8], page: &[u8], answer: &mut Vec<u8>) {
        match kind {
            SETTINGS if flags & ACK == 0 => {
                let (values, _) = body.as_chunks::<6>();
                let value =
                    |v: &[u8; 6]| (u16::from_be_bytes([v[0], v[1]]), u32::from_be_bytes([v[2], v[3], v[4], v[5]]));
                self.seen.settings = values.iter().map(value).collect();
                frame(answer, SETTINGS, ACK, 0, &[]);
            }
            WINDOW_UPDATE if stream == 0 && self.seen.window_update == 0 => {
                self.seen.window_update = u32::from_be_bytes(body.try_into().unwrap());
            }
            HEADERS => {
                assert_ne!(flags & END_HEADERS, 0, "a request fits one frame");
                let skipped = if flags & PRIORITY == 0 { 0 } else { 5 };
                let mut found = Vec::new();
                self.hpack.decode(&mut body[skipped..].to_vec(), &mut found).expect("a browser compresses well");
                let text = |bytes| String::from_utf8(bytes).expect("headers are text");
                let headers = found.into_iter().map(|(name, value, _)| (text(name), text(value))).collect();
                self.seen.requests.push(Request { headers, weight: (skipped > 0).then(|| body[4]) });
                frame(answer, HEADERS, END_HEADERS, stream, ANSWER);
                frame(answer, DATA, END_STREAM, stream, page);
            }
            PING if flags & ACK == 0 => frame(answer, PING, ACK, 0, body),
            _ => {}
        }
    }
}

fn frame(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    into.extend(&(body.len() as u32).to_be_bytes()[1..]);
    into.extend([kind, flags]);
    into.extend(stream.to_be_bytes());
    into.extend(body);
}

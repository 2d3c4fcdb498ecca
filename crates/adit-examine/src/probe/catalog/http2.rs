//! Requests of HTTP/2, proper ones, and frames that no proper client sends.
//!
//! Not here: requests that a tunnel is asked for with (`tunnel`).

use super::super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITISED, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use super::super::script::{Step, Until};
use super::{Set, send};

pub(super) fn add(set: &mut Set<'_>) {
    pages(set);
    beginnings(set);
    frames(set);
    streams(set);
    fields(set);
    floods(set);
}

/// The fields of a request, as a browser orders them.
pub(super) fn request<'a>(name: &'a str, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":authority", name),
        (":scheme", "https"),
        (":path", path),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ("accept", "*/*"),
    ]
}

fn pages(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let (known, unknown) = (set.known_path(), set.unknown_path());
    let method = set.dice.word(3, 12).to_uppercase();
    let range = format!("bytes={}-", set.dice.between(0, 3000));
    let get = |method: &str, path: &str, more: &[(&str, &str)]| {
        let mut fields = request(&name, method, path);
        fields.extend_from_slice(more);
        Frames::begin().request(1, END_STREAM, &fields).ping()
    };
    for (kind, detail, bytes) in [
        ("GET /", "", get("GET", "/", &[])),
        ("HEAD /", "", get("HEAD", "/", &[])),
        ("GET of a file", known.as_str(), get("GET", &known, &[])),
        ("GET of no file", &unknown, get("GET", &unknown, &[])),
        ("a range", &range, get("GET", &known, &[("range", &range)])),
        ("compressed", &known, get("GET", &known, &[("accept-encoding", "gzip, deflate, br, zstd")])),
        ("OPTIONS", &unknown, get("OPTIONS", &unknown, &[])),
        ("OPTIONS *", "", get("OPTIONS", "*", &[])),
        ("TRACE", "", get("TRACE", "/", &[])),
        ("an unknown method", &method, get(&method, &unknown, &[])),
        ("DELETE", &unknown, get("DELETE", &unknown, &[])),
    ] {
        set.http2(kind, detail.to_owned(), send(bytes), Until::Streams(1));
    }
    let body = set.dice.bytes(2000);
    let post = Frames::begin().request(1, 0, &request(&name, "POST", &unknown)).data(1, END_STREAM, &body).ping();
    set.http2("POST", unknown.clone(), send(post), Until::Streams(1));
    let several = (0..8).fold(Frames::begin(), |frames, n| {
        frames.request(2 * n + 1, END_STREAM, &request(&name, "GET", if n % 2 == 0 { "/" } else { &unknown }))
    });
    set.http2("eight requests at once", unknown, send(several.ping()), Until::Streams(8));
}

fn beginnings(set: &mut Set<'_>) {
    let mut preface = PREFACE.to_vec();
    let at = set.dice.between(0, preface.len() - 1);
    preface[at] ^= 1 << set.dice.between(0, 6);
    set.http2("a bad preface", at.to_string(), send(preface), Until::Quiet);
    let half = set.dice.between(1, 23);
    set.http2("half a preface", half.to_string(), send(&PREFACE[..half]), Until::Quiet);
    let length = set.dice.between(1, 5);
    let begin = || Frames(PREFACE.to_vec());
    let id = set.dice.between(7, 60_000) as u16;
    for (kind, bytes) in [
        ("a preface without settings", begin().ping()),
        ("settings of a broken length", begin().frame(SETTINGS, 0, 0, &[0; 7][..length]).ping()),
        ("settings on a stream", begin().frame(SETTINGS, 0, 1, &[]).ping()),
        ("settings: push 2", begin().settings(&[(2, 2)]).ping()),
        ("settings: window too large", begin().settings(&[(4, 0x8000_0000)]).ping()),
        ("settings: frame too small", begin().settings(&[(5, 100)]).ping()),
        ("settings: frame too large", begin().settings(&[(5, 0x0100_0000)]).ping()),
        ("settings: connect protocol 2", begin().settings(&[(8, 2)]).ping()),
        ("settings: connect protocol", begin().settings(&[(8, 1)]).ping()),
        ("settings: unknown", begin().settings(&[(id, 7)]).ping()),
        ("settings acknowledged with content", Frames::begin().frame(SETTINGS, 1, 0, &[0; 6]).ping()),
        ("settings acknowledged unasked", Frames::begin().frame(SETTINGS, 1, 0, &[]).frame(SETTINGS, 1, 0, &[]).ping()),
    ] {
        set.http2(kind, id.to_string(), send(bytes), Until::Streams(0));
    }
}

fn frames(set: &mut Set<'_>) {
    let junk = set.dice.bytes(20);
    let kind = set.dice.between(10, 255) as u8;
    let begin = Frames::begin;
    for (name, bytes) in [
        ("a frame too large", begin().claiming(20_000, DATA, 0, 1, &[0; 2000]).ping()),
        ("a frame far too large", begin().claiming(0xff_ffff, HEADERS, 4, 1, &[0; 100]).ping()),
        ("a frame of unknown type", begin().frame(kind, 0xff, 0, &junk).ping()),
        ("a frame of unknown type on a stream", begin().frame(kind, 0, 1, &junk).ping()),
        ("data on stream 0", begin().data(0, 0, &junk).ping()),
        ("data on an idle stream", begin().data(1, 0, &junk).ping()),
        ("headers on stream 0", begin().frame(HEADERS, 5, 0, &junk).ping()),
        ("headers on an even stream", begin().frame(HEADERS, 5, 2, &[0x82]).ping()),
        ("headers nobody can decode", begin().frame(HEADERS, END_HEADERS | END_STREAM, 1, &junk).ping()),
        ("a ping of another length", begin().frame(PING, 0, 0, &junk[..7]).ping()),
        ("a ping on a stream", begin().frame(PING, 0, 1, &junk[..8]).ping()),
        ("a ping's answer unasked", begin().frame(PING, 1, 0, &junk[..8]).ping()),
        ("a reset of an idle stream", begin().reset(1, 8).ping()),
        ("a reset of another length", begin().frame(RST_STREAM, 0, 1, &junk[..3]).ping()),
        ("a push", begin().frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82]).ping()),
        ("a priority of another length", begin().frame(PRIORITY, 0, 1, &junk[..4]).ping()),
        ("a stream that depends on itself", begin().frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 5]).ping()),
        ("going away", begin().frame(GOAWAY, 0, 0, &[0; 8]).ping()),
        ("going away in error", begin().frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]).ping()),
        ("a window of zero more", begin().window_update(0, 0).ping()),
        ("a window beyond the most", begin().window_update(0, 0x7fff_ffff).ping()),
        ("a window of another length", begin().frame(WINDOW_UPDATE, 0, 0, &junk[..3]).ping()),
        ("a window of an idle stream", begin().window_update(1, 100).ping()),
        ("a continuation of nothing", begin().frame(CONTINUATION, 4, 1, &junk).ping()),
        ("random frames", begin().frame(junk[0] % 10, junk[1], u32::from(junk[2] % 4), &junk[3..]).ping()),
    ] {
        set.http2(name, format!("{kind} {junk:02x?}"), send(bytes), Until::Streams(0));
    }
}

fn streams(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let fields = request(&name, "GET", "/");
    let head = block(&fields);
    let cut = set.dice.between(1, head.len() - 1);
    let open = |flags| Frames::begin().frame(HEADERS, flags, 1, &head[..cut]);
    let padded = [&[8][..], &head, &[0; 8]].concat();
    let over_padded = [&[255][..], &head].concat();
    let prioritised = [&[0x80, 0, 0, 0, 255][..], &head].concat();
    let twice = Frames::begin().request(1, END_STREAM, &fields).request(1, END_STREAM, &fields);
    let backwards = Frames::begin().request(5, END_STREAM, &fields).request(3, END_STREAM, &fields);
    let after_end = Frames::begin().request(1, END_STREAM, &fields).data(1, 0, b"more");
    let starved = Frames(PREFACE.to_vec()).settings(&[(4, 0)]).request(1, END_STREAM, &fields);
    let trickled = starved.clone().window_update(1, 10);
    let overflow = Frames::begin().request(1, END_STREAM, &fields).window_update(1, 0x7fff_ffff);
    let nothing = Frames::begin().request(1, END_STREAM, &fields).window_update(1, 0);
    for (kind, frames, until) in [
        ("headers in two frames", open(1).frame(CONTINUATION, 4, 1, &head[cut..]), Until::Streams(1)),
        ("headers without an end", open(1), Until::Quiet),
        ("headers interrupted by data", open(0).data(1, 0, b"x"), Until::Quiet),
        ("headers continued on another stream", open(1).frame(CONTINUATION, 4, 3, &head[cut..]), Until::Quiet),
        ("padded", Frames::begin().frame(HEADERS, 5 | PADDED, 1, &padded), Until::Streams(1)),
        ("padded beyond the end", Frames::begin().frame(HEADERS, 5 | PADDED, 1, &over_padded), Until::Quiet),
        ("prioritised", Frames::begin().frame(HEADERS, 5 | PRIORITISED, 1, &prioritised), Until::Streams(1)),
        ("a stream twice", twice, Until::Quiet),
        ("streams backwards", backwards, Until::Quiet),
        ("data after the end", after_end, Until::Quiet),
        ("no window", starved, Until::Quiet),
        ("a small window", trickled, Until::Quiet),
        ("a stream's window beyond the most", overflow, Until::Quiet),
        ("a stream's window of zero more", nothing, Until::Quiet),
    ] {
        set.http2(kind, cut.to_string(), send(frames.ping()), until);
    }
    let half = Frames::begin().request(1, 0, &request(&name, "POST", "/")).ping();
    let steps = vec![Step::Send(half), Step::CloseNotify, Step::HalfClose];
    set.http2("half a request, then half closed", String::new(), steps, Until::Quiet);
}

fn fields(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let long = set.dice.word(3000, 12_000);
    let many: Vec<_> = (0..set.dice.between(100, 400)).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let usual = request(&name, "GET", "/");
    let without = |left_out: &str| -> Vec<(&str, &str)> {
        usual.iter().copied().filter(|(field, _)| *field != left_out).collect()
    };
    let with = |more: (&'static str, &'static str)| [usual.clone(), vec![more]].concat();
    for (kind, list) in [
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("an unknown pseudo field", with((":foo", "bar"))),
        ("a method twice", with((":method", "GET"))),
        ("a status in a request", with((":status", "200"))),
        ("a field in capitals", with(("X-Field", "1"))),
        ("connection", with(("connection", "keep-alive"))),
        ("transfer-encoding", with(("transfer-encoding", "chunked"))),
        ("te", with(("te", "gzip"))),
        ("another host", with(("host", "other.example"))),
        ("a zero in a field", with(("x-zero", "a\0b"))),
        ("a length without a body", with(("content-length", "100"))),
        ("a protocol without CONNECT", with((":protocol", "websocket"))),
    ] {
        set.http2(kind, String::new(), send(Frames::begin().request(1, END_STREAM, &list).ping()), Until::Streams(1));
    }
    let mut list: Vec<(String, String)> = usual.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    list.push(("x-long".to_owned(), long));
    set.http2("a long field", String::new(), send(Frames::begin().request(1, 1, &list).ping()), Until::Streams(1));
    list.truncate(usual.len());
    list.extend(many);
    set.http2("many fields", String::new(), send(Frames::begin().request(1, 1, &list).ping()), Until::Streams(1));
}

/// Floods, each small enough to be no attack, and large enough to meet the bounds that servers have.
fn floods(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let usual = request(&name, "GET", "/");
    let count = set.dice.between(30, 150) as u32;
    let reset =
        (0..count).fold(Frames::begin(), |frames, n| frames.request(2 * n + 1, END_STREAM, &usual).reset(2 * n + 1, 8));
    let open = (0..count).fold(Frames::begin(), |frames, n| frames.request(2 * n + 1, 0, &usual));
    let pings = (0..count).fold(Frames::begin(), |frames, n| frames.frame(PING, 0, 0, &u64::from(n).to_be_bytes()));
    let settings = (0..count).fold(Frames::begin(), |frames, _| frames.settings(&[(3, 100)]));
    let empty = (0..count).fold(Frames::begin().request(1, 0, &usual), |frames, _| frames.data(1, 0, b""));
    let endless = (0..count).fold(Frames::begin().frame(HEADERS, 1, 1, &block(&usual)), |frames, _| {
        frames.frame(CONTINUATION, 0, 1, &block(&[("x-more", "1".repeat(500))]))
    });
    for (kind, frames) in [
        ("rapid reset", reset),
        ("many open streams", open),
        ("many pings", pings),
        ("many settings", settings),
        ("many empty frames", empty),
        ("many continuations", endless),
    ] {
        set.http2(kind, count.to_string(), send(frames.ping()), Until::Quiet);
    }
}

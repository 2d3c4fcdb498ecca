//! Requests of HTTP/1.1, and of what came before it, proper and broken.

use std::time::Duration;

use super::super::script::Step;
use super::{Set, send};

const MOMENT: Duration = Duration::from_millis(30);
const METHODS: [&str; 10] = ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW", "PRI", "get", "GETT"];

pub(super) fn add(set: &mut Set<'_>) {
    pages(set);
    proxies(set);
    odd(set);
    broken(set);
}

fn pages(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let request = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {name}\r\n{more}Connection: close\r\n\r\n").into_bytes()
    };
    let (known, unknown) = (set.known_path(), set.unknown_path());
    set.http1("HTTP/1.1 GET /", String::new(), send(request("GET", "/", "")));
    set.http1("HTTP/1.1 HEAD /", String::new(), send(request("HEAD", "/", "")));
    set.http1("HTTP/1.1 GET of a file", known.clone(), send(request("GET", &known, "")));
    set.http1("HTTP/1.1 GET of no file", unknown.clone(), send(request("GET", &unknown, "")));
    set.http1("HTTP/1.1 HEAD of no file", unknown.clone(), send(request("HEAD", &unknown, "")));
    let from = set.dice.between(0, 5000);
    let range = format!("Range: bytes={from}-{}\r\n", from + 10);
    set.http1("HTTP/1.1 a range", range.clone(), send(request("GET", &known, &range)));
    let accepting = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
    set.http1("HTTP/1.1 compressed", known.clone(), send(request("GET", &known, accepting)));
    let condition = "If-Modified-Since: Tue, 01 Jan 2035 00:00:00 GMT\r\n";
    set.http1("HTTP/1.1 a condition", known.clone(), send(request("GET", &known, condition)));
    let method = *set.dice.pick(&METHODS);
    set.http1("HTTP/1.1 another method", format!("{method} {unknown}"), send(request(method, &unknown, "")));
    let method = set.dice.word(3, 20).to_uppercase();
    set.http1("HTTP/1.1 an unknown method", method.clone(), send(request(&method, "/", "")));
    set.http1("HTTP/1.1 OPTIONS *", String::new(), send(request("OPTIONS", "*", "")));
    let body = "x".repeat(set.dice.between(1, 5000));
    let post = format!("Content-Length: {}\r\n", body.len());
    let steps = send([request("POST", &unknown, &post), body.into_bytes()].concat());
    set.http1("HTTP/1.1 POST", post, steps);
    let twice = [request("GET", "/", "").repeat(1), request("GET", &unknown, "")].concat();
    set.http1("HTTP/1.1 a request after the last", unknown, send(twice));
}

fn proxies(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let target = format!("{}.example:{}", set.dice.word(3, 12), set.dice.pick(&[22, 25, 80, 443, 8443, 51820]));
    let key = super::tunnel::base64(&set.dice.bytes(30));
    let upgrade = |protocol: &str, path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{more}\r\n")
    };
    let websocket = format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n", &key[..22]);
    for (kind, text) in [
        ("HTTP/1.1 CONNECT", format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")),
        (
            "HTTP/1.1 CONNECT with a password",
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {key}\r\n\r\n"),
        ),
        ("HTTP/1.1 absolute form", format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n")),
        ("HTTP/1.1 upgrade to a websocket", upgrade("websocket", "/", &websocket)),
        (
            "HTTP/1.1 upgrade to connect-udp",
            upgrade("connect-udp", "/.well-known/masque/udp/192.0.2.1/443/", "Capsule-Protocol: ?1\r\n"),
        ),
        ("HTTP/1.1 upgrade to connect-ip", upgrade("connect-ip", "/.well-known/masque/ip/*/*/", "")),
        ("HTTP/1.1 upgrade to HTTP/2", upgrade("h2c", "/", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n")),
        ("HTTP/1.1 upgrade to something", upgrade(&target, "/", "")),
    ] {
        set.http1(kind, target.clone(), send(text));
    }
    let authorization = format!("GET / HTTP/1.1\r\nHost: {name}\r\nAuthorization: Concealed k={key}, a={key}\r\n\r\n");
    set.http1("HTTP/1.1 Concealed authorization", key, send(authorization));
}

fn odd(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let unknown = set.unknown_path();
    let get = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let (from, to) = (set.dice.between(1, get.len() - 1), set.dice.between(2, 5));
    set.http1("HTTP/1.1 kept alive", String::new(), send(get.clone()));
    set.http1("HTTP/1.1 pipelined", to.to_string(), send(get.repeat(to)));
    let slow = vec![
        Step::Send(get.as_bytes()[..from].to_vec()),
        Step::Pause(MOMENT),
        Step::Send(get.as_bytes()[from..].to_vec()),
    ];
    set.http1("HTTP/1.1 in two parts", from.to_string(), slow);
    let closing = vec![Step::Send(get.clone().into_bytes()), Step::CloseNotify, Step::HalfClose];
    set.http1("HTTP/1.1 and half closed", String::new(), closing);
    let half = vec![Step::Send(get.as_bytes()[..from].to_vec()), Step::CloseNotify, Step::HalfClose];
    set.http1("HTTP/1.1 in part, then half closed", from.to_string(), half);
    for (kind, text) in [
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("HTTP/1.0 kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /\r\n".to_owned()),
        ("HTTP/2.0 in words", format!("GET / HTTP/2.0\r\nHost: {name}\r\n\r\n")),
        ("HTTP/1.2", format!("GET / HTTP/1.2\r\nHost: {name}\r\n\r\n")),
        ("HTTP/1.1 without a host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("HTTP/1.1 with another host", format!("GET {unknown} HTTP/1.1\r\nHost: {}.example\r\n\r\n", name.len())),
        ("HTTP/1.1 with two hosts", format!("GET / HTTP/1.1\r\nHost: {name}\r\nHost: other.example\r\n\r\n")),
        (
            "HTTP/1.1 expecting",
            format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
        ),
        ("HTTP/1.1 a path upwards", format!("GET /../../{unknown} HTTP/1.1\r\nHost: {name}\r\n\r\n")),
        ("HTTP/1.1 a path with codes", format!("GET /%2e%2e%2f%00{unknown} HTTP/1.1\r\nHost: {name}\r\n\r\n")),
    ] {
        set.http1(kind, unknown.clone(), send(text));
    }
}

fn broken(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let garbage = set.dice.bytes(100);
    let long = "a".repeat(set.dice.between(20_000, 100_000));
    let many = format!("x-{}: 1\r\n", set.dice.word(3, 6)).repeat(set.dice.between(90, 300));
    let chunk = set.dice.word(2, 9);
    for (kind, bytes) in [
        ("random bytes in TLS", garbage),
        ("HTTP/1.1 a long path", format!("GET /{long} HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes()),
        ("HTTP/1.1 a long field", format!("GET / HTTP/1.1\r\nHost: {name}\r\nX: {long}\r\n\r\n").into_bytes()),
        ("HTTP/1.1 many fields", format!("GET / HTTP/1.1\r\nHost: {name}\r\n{many}\r\n").into_bytes()),
        ("HTTP/1.1 a field without a name", format!("GET / HTTP/1.1\r\nHost: {name}\r\n: x\r\n\r\n").into_bytes()),
        ("HTTP/1.1 a folded field", format!("GET / HTTP/1.1\r\nHost: {name}\r\nX: a\r\n b\r\n\r\n").into_bytes()),
        ("HTTP/1.1 a zero in a field", format!("GET / HTTP/1.1\r\nHost: {name}\r\nX: a\0b\r\n\r\n").into_bytes()),
        ("HTTP/1.1 with bare newlines", format!("GET / HTTP/1.1\nHost: {name}\n\n").into_bytes()),
        (
            "HTTP/1.1 two lengths",
            format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
                .into_bytes(),
        ),
        (
            "HTTP/1.1 a negative length",
            format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: -1\r\n\r\n").into_bytes(),
        ),
        (
            "HTTP/1.1 length and chunks",
            format!(
                "POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
            .into_bytes(),
        ),
        (
            "HTTP/1.1 bad chunks",
            format!("POST / HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}z\r\n").into_bytes(),
        ),
        (
            "HTTP/1.1 an unknown encoding",
            format!("POST / HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: {chunk}\r\n\r\n").into_bytes(),
        ),
        ("HTTP/1.1 spaces in the first line", format!("GET  /  HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes()),
    ] {
        set.http1(kind, String::new(), send(bytes));
    }
}

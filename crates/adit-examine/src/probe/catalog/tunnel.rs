//! Requests that ask for a tunnel, of this program or of others, by somebody who may not have one.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::super::dice::Dice;
use super::super::frames::{END_STREAM, Frames, PING};
use super::super::script::{Concealed, Fault, Step, Until};
use super::{Set, http2::request, send};

const PROTOCOLS: [&str; 6] =
    ["connect-udp", "connect-ip", "websocket", "webtransport", "connect-tcp", "connect-ethernet"];

pub(super) fn add(set: &mut Set<'_>) {
    connects(set);
    authorized(set);
    by_token(set);
    bodies(set);
}

pub(super) fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A few capsules (RFC 9297): datagrams of the sizes of WireGuard, padding, and one that is cut.
pub(super) fn capsules(dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for length in [148_u16, 92, 32, 1280] {
        out.push(0);
        out.extend((0x4000 | (length + 1)).to_be_bytes());
        out.push(0);
        out.extend(dice.bytes(usize::from(length)));
    }
    out.extend([0x17, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([0, 0x40, 0x50, 0, 1, 2, 3]);
    out
}

fn path_of(set: &mut Set<'_>, protocol: &str) -> String {
    let host = set.dice.pick(&["192.0.2.1", "example.org", "2001%3Adb8%3A%3A1", "adit", "*"]);
    let port = set.dice.pick(&["53", "443", "51820", "0", "65536", "*"]);
    match protocol {
        "connect-udp" => format!("/.well-known/masque/udp/{host}/{port}/"),
        "connect-ip" => format!("/.well-known/masque/ip/{host}/{port}/"),
        _ if set.dice.coin() => "/".to_owned(),
        _ => set.unknown_path(),
    }
}

fn extended(name: &str, protocol: &str, path: &str) -> Vec<(String, String)> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "https"),
        (":authority", name),
        (":path", path),
        ("capsule-protocol", "?1"),
    ];
    fields.map(|(field, value)| (field.to_owned(), value.to_owned())).to_vec()
}

fn connects(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let target = format!("{}.example:{}", set.dice.word(3, 12), set.dice.pick(&[22, 80, 443, 51820]));
    let connect = [(":method", "CONNECT"), (":authority", target.as_str())];
    let bytes = Frames::begin().request(1, 0, &connect).ping();
    set.http2("CONNECT", target.clone(), send(bytes), Until::Quiet);
    let ends = Frames::begin().request(1, END_STREAM, &connect).ping();
    set.http2("CONNECT, ended", target.clone(), send(ends), Until::Quiet);
    let odd = [connect.to_vec(), vec![(":path", "/"), (":scheme", "https")]].concat();
    set.http2("CONNECT with a path", target.clone(), send(Frames::begin().request(1, 0, &odd).ping()), Until::Quiet);
    let basic = base64(&set.dice.bytes(12));
    let basic = [connect.to_vec(), vec![("proxy-authorization", basic.as_str())]].concat();
    set.http2(
        "CONNECT with a password",
        target.clone(),
        send(Frames::begin().request(1, 0, &basic).ping()),
        Until::Quiet,
    );

    let unknown = set.dice.word(3, 15);
    for (kind, protocol) in [
        ("extended CONNECT: connect-udp", PROTOCOLS[0]),
        ("extended CONNECT: connect-ip", PROTOCOLS[1]),
        ("extended CONNECT: websocket", PROTOCOLS[2]),
        ("extended CONNECT: webtransport", PROTOCOLS[3]),
        ("extended CONNECT: of others", *set.dice.pick(&PROTOCOLS[4..])),
        ("extended CONNECT: unknown", &unknown),
    ] {
        let path = path_of(set, protocol);
        let fields = extended(&name, protocol, &path);
        let bytes = Frames::begin().request(1, 0, &fields).ping();
        set.http2(kind, format!("{protocol} {path}"), send(bytes), Until::Quiet);
    }
    let path = path_of(set, "connect-udp");
    let fields = extended(&name, "connect-udp", &path);
    let ended = Frames::begin().request(1, END_STREAM, &fields).ping();
    set.http2("connect-udp, ended at once", path.clone(), send(ended), Until::Streams(1));
    let capsules = capsules(&mut set.dice);
    let bytes = Frames::begin().request(1, 0, &fields).data(1, 0, &capsules).ping();
    set.http2("connect-udp with capsules", path.clone(), send(bytes), Until::Quiet);
    let get = Frames::begin().request(1, END_STREAM, &request(&name, "GET", &path)).ping();
    set.http2("GET of a tunnel's path", path, send(get), Until::Streams(1));
}

/// Concealed authorization (RFC 9729): nonsense, of the right form, and properly signed by a key that nobody knows.
fn authorized(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let path = format!("/.well-known/masque/udp/{}/51820/", set.dice.pick(&["adit", "192.0.2.1", "localhost"]));
    let part = |set: &mut Set<'_>, length| base64(&set.dice.bytes(length));
    let (k, a, p, v) = (part(set, 16), part(set, 32), part(set, 64), part(set, 16));
    let values = [
        ("Concealed: of the right form", format!("Concealed k={k}, a={a}, p={p}, s=2055, v={v}")),
        ("Concealed: another scheme of signature", format!("Concealed k={k}, a={a}, p={p}, s=2052, v={v}")),
        ("Concealed: a part twice", format!("Concealed k={k}, k={k}, a={a}, p={p}, s=2055, v={v}")),
        ("Concealed: a part missing", format!("Concealed k={k}, a={a}, p={p}, s=2055")),
        ("Concealed: with a realm", format!("Concealed k={k}, a={a}, p={p}, s=2055, v={v}, realm=\"x\"")),
        ("Concealed: no base64", format!("Concealed k={k}!, a={a}, p={p}, s=2055, v={v}")),
        ("Concealed: empty", "Concealed".to_owned()),
        ("Concealed: random", format!("Concealed {p}")),
        ("Concealed: very long", format!("Concealed k={}, a={a}, p={p}, s=2055, v={v}", "A".repeat(6000))),
        ("another authorization", format!("Bearer {p}")),
    ];
    for (kind, value) in values {
        let mut fields = extended(&name, "connect-udp", &path);
        fields.push(("authorization".to_owned(), value.clone()));
        let bytes = Frames::begin().request(1, 0, &fields).ping();
        set.http2(kind, value.chars().take(60).collect(), send(bytes), Until::Quiet);
    }
    for (kind, fault) in [
        ("Concealed: signed by a stranger", Fault::Nothing),
        ("Concealed: another verification", Fault::Verification),
        ("Concealed: another signature", Fault::Signature),
        ("Concealed: of another session", Fault::Replayed),
    ] {
        let fields = extended(&name, "connect-udp", &path);
        let steps = signed(set, fields, fault, false);
        set.http2(kind, path.clone(), steps, Until::Quiet);
    }
    let fields = request(&name, "GET", "/").iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let steps = signed(set, fields, Fault::Nothing, true);
    set.http2("GET / signed by a stranger", String::new(), steps, Until::Streams(1));
}

fn signed(set: &mut Set<'_>, fields: Vec<(String, String)>, fault: Fault, ends: bool) -> Vec<Step> {
    let mut seed = [0; 32];
    seed.copy_from_slice(&set.dice.bytes(32));
    let concealed = Concealed { stream: 1, fields, host: set.plan.name.clone(), seed, fault, ends };
    // A ping of its own: once it is answered the session is there, and in which order the server says what belongs to its
    // beginning does not depend on when the request arrives.
    let begin = Frames::begin().frame(PING, 0, 0, b"begin...").0;
    vec![Step::Send(begin), Step::Hear, Step::Concealed(concealed)]
}

/// What asks in the shape of gRPC, and with tokens.
fn by_token(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let path = format!("/{}.{}/{}", set.dice.word(3, 8), set.dice.word(3, 8), set.dice.word(3, 8));
    let token = base64(&set.dice.bytes(56));
    let message = {
        let capsules = capsules(&mut set.dice);
        [&[0][..], &u32::try_from(capsules.len()).unwrap_or_default().to_be_bytes(), &capsules].concat()
    };
    for (kind, value) in [
        ("gRPC without a token", None),
        ("gRPC with a random token", Some(format!("Bearer {token}"))),
        ("gRPC with half a token", Some(format!("Bearer {}", &token[..40]))),
    ] {
        let mut fields = request(&name, "POST", &path);
        fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        fields.extend(value.as_deref().map(|value| ("authorization", value)));
        let bytes = Frames::begin().request(1, 0, &fields).data(1, 0, &message).ping();
        set.http2(kind, path.clone(), send(bytes), Until::Quiet);
        if value.is_some() {
            let ended = Frames::begin().request(1, 0, &fields).data(1, END_STREAM, &message).ping();
            set.http2("gRPC with a token, ended", path.clone(), send(ended), Until::Streams(1));
        }
    }
}

fn bodies(set: &mut Set<'_>) {
    let name = set.plan.name.clone();
    let path = set.unknown_path();
    let capsules = capsules(&mut set.dice);
    let fields = request(&name, "POST", &path);
    let bytes = Frames::begin().request(1, 0, &fields).data(1, END_STREAM, &capsules).ping();
    set.http2("capsules in a POST", path.clone(), send(bytes), Until::Streams(1));
    let with = [fields, vec![("capsule-protocol", "?1")]].concat();
    let bytes = Frames::begin().request(1, 0, &with).data(1, 0, &capsules).ping();
    set.http2("capsules in a POST that does not end", path.clone(), send(bytes), Until::Quiet);
    let length = capsules.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    set.http1("capsules in a POST of HTTP/1.1", path, send([head.into_bytes(), capsules].concat()));
}

//! The client's HTTP/2 against what Chromium sends, and against servers that mean ill.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::frame::{self, Head};
use super::hpack::Encoder;
use super::*;

/// As measured: the first record of a connection is 87 bytes with its header, content type and tag.
#[test]
fn the_first_record_is_chromiums() {
    let connection = Connection::new(&chromium());
    let mut expected = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    expected.extend(hex("000018040000000000000100010000000200000000000400600000000600040000"));
    expected.extend(hex("00000408000000000000ef0001"));
    assert_eq!(connection.record(), expected);
    assert_eq!(connection.record().len() + 17, 87);
}

/// Ten requests of one connection, page, parts, fetch, upload and WebSocket: every HEADERS frame is the same to the bit.
#[test]
fn requests_are_chromiums_to_the_bit() {
    let mut connection = established();
    // Which streams the server had answered before each request.
    let answered: [&[u32]; 10] = [&[], &[1], &[], &[], &[], &[3, 5, 7, 9], &[11], &[13], &[15], &[17]];
    let requests = measured();
    assert_eq!(requests.len(), answered.len());
    for (request, answered) in requests.iter().zip(answered) {
        for stream in answered {
            feed(&mut connection, &frame(frame::DATA, frame::END_STREAM, *stream, b"")).unwrap();
        }
        let fields = request.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let stream = connection.request(fields, request.weight, request.end).unwrap();
        assert_eq!(stream, request.stream);
        let flags = frame::END_HEADERS | frame::PRIORITY | u8::from(request.end);
        let mut payload = (0x8000_0000 | request.depends).to_be_bytes().to_vec();
        payload.push(request.weight);
        payload.extend(&request.block);
        assert_eq!(connection.record(), frame(frame::HEADERS, flags, stream, &payload), "stream {stream}");
        drain(&mut connection);
    }
}

/// As measured: the first request is a record of 465 bytes.
#[test]
fn the_first_request_is_a_record_of_its_own() {
    let mut connection = Connection::new(&chromium());
    let first = &measured()[0];
    let greeting = connection.record().len();
    connection.request(first.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())), 255, true).unwrap();
    assert_eq!(connection.record().len(), greeting);
    connection.written(greeting);
    assert_eq!(connection.record().len() + 17, 465);
}

#[test]
fn a_data_frame_fills_a_tls_record_and_no_window_is_overrun() {
    let mut connection = established();
    let stream = connection.request([(":method", "POST")], 219, false).unwrap();
    drain(&mut connection);
    let mut chunks = VecDeque::from([Bytes::from(vec![1; 30_000]), Bytes::from(vec![2; 50_000])]);
    let mut sent = Vec::new();
    loop {
        connection.send(stream, &mut chunks);
        if connection.record().is_empty() {
            break;
        }
        sent.push(connection.record().len());
        connection.written(connection.record().len());
    }
    assert_eq!(sent[..4], [16_384; 4]);
    assert_eq!(sent.iter().map(|len| len - 9).sum::<usize>(), 65_535);
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 80_000 - 65_535);

    // Both windows must be open.
    feed(&mut connection, &frame(frame::WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes())).unwrap();
    connection.send(stream, &mut chunks);
    assert!(connection.record().is_empty());
    feed(&mut connection, &frame(frame::WINDOW_UPDATE, 0, stream, &50_u32.to_be_bytes())).unwrap();
    connection.send(stream, &mut chunks);
    assert_eq!(connection.record().len(), 9 + 50);
}

#[test]
fn data_that_waits_to_be_written_is_bounded() {
    let mut connection = established();
    let windows = [(4, 1 << 30)];
    feed(&mut connection, &settings(&windows)).unwrap();
    feed(&mut connection, &frame(frame::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).unwrap();
    let stream = connection.request([(":method", "POST")], 219, false).unwrap();
    let mut chunks = VecDeque::from([Bytes::from(vec![1; 1 << 20])]);
    connection.send(stream, &mut chunks);
    assert!(!connection.has_room());
    assert!(chunks[0].len() > (1 << 20) - 100_000);
}

/// As measured: a stream's window of 6 MiB is opened again when more than half of it was used, by what was used.
#[test]
fn windows_are_opened_again_when_half_used() {
    let mut connection = established();
    let stream = connection.request([(":method", "GET")], 219, true).unwrap();
    drain(&mut connection);
    let part = frame(frame::DATA, 0, stream, &[0; 16_384]);
    let mut updates = Vec::new();
    for n in 1..=1000_u32 {
        feed(&mut connection, &part).unwrap();
        if !connection.record().is_empty() {
            updates.push((n, drain(&mut connection)));
        }
    }
    let stream_update = frame(frame::WINDOW_UPDATE, 0, stream, &(193 * 16_384_u32).to_be_bytes());
    let whole_update = frame(frame::WINDOW_UPDATE, 0, 0, &(481 * 16_384_u32).to_be_bytes());
    assert_eq!(updates[0], (193, stream_update.clone()));
    assert_eq!(updates[2], (481, whole_update));
    assert_eq!(updates.iter().filter(|(_, update)| *update == stream_update).count(), 5);
}

/// As measured with an answer that trickles: what was read is told with the first data after five seconds.
#[test]
fn a_trickle_is_told_every_five_seconds() {
    let mut connection = established();
    let begun = Instant::now();
    let stream = connection.request([(":method", "GET")], 219, true).unwrap();
    drain(&mut connection);
    let mut told = Vec::new();
    for half_seconds in 0..26_u32 {
        let now = begun + half_seconds * Duration::from_millis(500);
        feed_at(&mut connection, &frame(frame::DATA, 0, stream, &[0; 16_384]), now).unwrap();
        if !connection.record().is_empty() {
            told.push((half_seconds, drain(&mut connection)));
        }
    }
    let updates = |frames: u32| {
        let more = (frames * 16_384).to_be_bytes();
        [frame(frame::WINDOW_UPDATE, 0, 0, &more), frame(frame::WINDOW_UPDATE, 0, stream, &more)].concat()
    };
    assert_eq!(told, [(10, updates(11)), (20, updates(10))]);
}

#[test]
fn more_data_than_a_window_allows_ends_the_connection() {
    let mut connection = Connection::new(&Settings { settings: vec![(4, 100)], window_update: 0 });
    let stream = connection.request([(":method", "GET")], 219, true).unwrap();
    feed(&mut connection, &frame(frame::DATA, 0, stream, &[0; 50])).unwrap();
    assert_eq!(feed(&mut connection, &frame(frame::DATA, 0, stream, &[0; 51])).unwrap_err().code, 3);
}

#[test]
fn an_answer_in_several_frames_with_padding_and_priority_is_read() {
    let mut connection = established();
    let stream = connection.request([(":method", "GET")], 219, true).unwrap();
    let mut block = Vec::new();
    Encoder::new().encode([(":status", "200"), ("etag", "\"abc\"")], &mut block);
    let (first, second) = block.split_at(3);
    let mut padded = vec![4, 0, 0, 0, 0, 16];
    padded.extend(first);
    padded.extend([0; 4]);
    let mut bytes = frame(frame::HEADERS, frame::PADDED | frame::PRIORITY, stream, &padded);
    bytes.extend(frame(frame::CONTINUATION, frame::END_HEADERS, stream, second));
    bytes.extend(frame(frame::DATA, frame::PADDED | frame::END_STREAM, stream, &[2, b'h', b'i', 0, 0]));
    // In pieces of any size.
    for step in [1, 7, bytes.len()] {
        let mut connection = established();
        connection.request([(":method", "GET")], 219, true).unwrap();
        let mut events = Vec::new();
        let mut input = BytesMut::new();
        for piece in bytes.chunks(step) {
            input.put_slice(piece);
            while let Some(event) = connection.receive(&mut input, Instant::now()).unwrap() {
                events.push(event);
            }
        }
        let Event::Head { fields, end: false, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!(fields[1], Field { name: "etag".into(), value: "\"abc\"".into() });
        assert_eq!(events[1..], [Event::Data { stream, bytes: Bytes::from_static(b"hi"), end: true }]);
        assert!(!connection.is_open(stream));
    }
    drop(feed(&mut connection, &bytes).unwrap());
}

#[test]
fn what_the_server_may_not_do_ends_the_connection() {
    let long_block =
        [frame(frame::HEADERS, 0, 1, &[0; 16_384]), frame(frame::CONTINUATION, 0, 1, &[0; 16_384]).repeat(20)].concat();
    let cases: Vec<(Vec<u8>, u32)> = vec![
        (vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0], 6),
        (frame(frame::DATA, 0, 0, b"x"), 1),
        (frame(frame::DATA, 0, 7, b"x"), 1),
        (frame(frame::DATA, frame::PADDED, 1, &[9, 0]), 1),
        (frame(frame::DATA, frame::PADDED, 1, &[]), 1),
        (frame(frame::HEADERS, frame::END_HEADERS, 2, &[0x88]).repeat(2), 1),
        (frame(frame::HEADERS, frame::END_HEADERS, 1, &[0xff]), 9),
        (frame(frame::HEADERS, frame::END_HEADERS | frame::PRIORITY, 1, &[0]), 6),
        ([frame(frame::HEADERS, 0, 1, &[0x88]), frame(frame::PING, 0, 0, &[0; 8])].concat(), 1),
        (frame(frame::CONTINUATION, frame::END_HEADERS, 1, &[0x88]), 1),
        ([frame(frame::HEADERS, 0, 1, &[]), frame(frame::CONTINUATION, 0, 1, &[])].concat(), 11),
        (long_block, 11),
        (frame(frame::PUSH_PROMISE, frame::END_HEADERS, 1, &[0, 0, 0, 2, 0x88]), 1),
        (frame(frame::SETTINGS, 0, 0, &[0; 5]), 6),
        (settings(&[(4, u32::MAX)]), 3),
        (frame(frame::PING, 0, 0, &[0; 7]), 6),
        (frame(frame::WINDOW_UPDATE, 0, 0, &[0; 4]), 3),
        (frame(frame::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), 3),
        (frame(frame::GOAWAY, 0, 0, &[0; 7]), 6),
        (frame(frame::RST_STREAM, 0, 1, &[0; 3]), 6),
    ];
    for (bytes, code) in cases {
        let mut connection = established();
        connection.request([(":method", "GET")], 219, true).unwrap();
        let got = feed(&mut connection, &bytes);
        assert_eq!(got.unwrap_err().code, code, "{}", head_of(&bytes));
    }
}

/// Pings, settings and small frames that must be answered while we cannot write: bounded.
#[test]
fn a_flood_of_what_must_be_answered_is_given_up() {
    for flood in [frame(frame::PING, 0, 0, &[1; 8]), settings(&[]), settings(&[(4, 1), (4, 2)])] {
        let mut connection = established();
        let failed = (0..1_000_000).find_map(|_| feed(&mut connection, &flood).err());
        assert_eq!(failed.unwrap().code, 11);
        assert!(drain(&mut connection).len() < 300_000);
    }
}

#[test]
fn a_closing_server_gets_no_more_requests_and_too_many_are_refused() {
    let mut connection = established();
    feed(&mut connection, &settings(&[(3, 2)])).unwrap();
    for _ in 0..2 {
        connection.request([(":method", "GET")], 219, true).unwrap();
    }
    assert_eq!(connection.request([(":method", "GET")], 219, true), Err(Refused::TooMany));
    let events = feed(&mut connection, &frame(frame::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2])).unwrap();
    assert_eq!(events, [Event::GoAway { last: 1, code: 2 }]);
    assert_eq!(connection.request([(":method", "GET")], 219, true), Err(Refused::Closing));

    let long = "x".repeat(60_000);
    assert_eq!(established().request([("a", long.as_str())], 219, true), Err(Refused::TooLong));
}

#[test]
fn extended_connect_is_known_from_the_settings_only() {
    let mut connection = established();
    assert!(!connection.connect_protocol());
    assert_eq!(feed(&mut connection, &settings(&[(8, 1)])).unwrap(), [Event::Settings]);
    assert!(connection.connect_protocol());
    assert_eq!(drain(&mut connection), frame(frame::SETTINGS, frame::ACK, 0, &[]));
}

proptest! {
    /// Whatever the server sends, nothing panics and what we keep is bounded.
    #[test]
    fn noise_is_survived(
        frames in prop::collection::vec(
            (0_u8..11, any::<u8>(), 0_u32..4, prop::collection::vec(any::<u8>(), 0..60)), 0..40),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut connection = established();
        connection.request([(":method", "GET")], 219, false).unwrap();
        let mut bytes: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
        bytes.extend(tail);
        drop(feed(&mut connection, &bytes));
        prop_assert!(drain(&mut connection).len() < 10_000);
    }
}

/// A request as it was measured.
struct Measured {
    stream: u32,
    end: bool,
    depends: u32,
    weight: u8,
    fields: Vec<(String, String)>,
    block: Vec<u8>,
}

fn measured() -> Vec<Measured> {
    let text = include_str!("chromium-156.txt");
    text.split("\n\n").filter(|part| part.starts_with("request ")).map(read_measured).collect()
}

fn read_measured(text: &str) -> Measured {
    let mut lines = text.lines();
    let number = |line: &str, name: &str| -> u32 {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    let first = lines.next().unwrap();
    let block = hex(lines.next().unwrap().strip_prefix("block ").unwrap());
    let fields = lines.map(|line| {
        let colon = 1 + line[1..].find(": ").unwrap();
        (line[..colon].to_owned(), line[colon + 2..].to_owned())
    });
    Measured {
        stream: number(first, "stream="),
        end: number(first, "end=") == 1,
        depends: number(first, "depends="),
        weight: number(first, "weight=") as u8,
        fields: fields.collect(),
        block,
    }
}

fn chromium() -> Settings {
    Settings { settings: vec![(1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)], window_update: 15_663_105 }
}

/// A connection whose greeting was written.
fn established() -> Connection {
    let mut connection = Connection::new(&chromium());
    drain(&mut connection);
    connection
}

fn drain(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    while !connection.record().is_empty() {
        all.extend(connection.record());
        connection.written(connection.record().len());
    }
    all
}

fn feed(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<Event>, Broken> {
    // All tests but one happen in a moment.
    static NOW: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    feed_at(connection, bytes, *NOW)
}

fn feed_at(connection: &mut Connection, bytes: &[u8], now: Instant) -> Result<Vec<Event>, Broken> {
    let (mut input, mut events) = (BytesMut::from(bytes), Vec::new());
    while let Some(event) = connection.receive(&mut input, now)? {
        events.push(event);
    }
    Ok(events)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head { len: payload.len(), kind, flags, stream }.emit(&mut out);
    out.put_slice(payload);
    out.to_vec()
}

fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(frame::SETTINGS, 0, 0, &payload)
}

fn head_of(bytes: &[u8]) -> String {
    format!("{:02x?}", &bytes[..bytes.len().min(12)])
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

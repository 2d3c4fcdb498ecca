//! One HTTP/2 connection of a client: its streams, windows and priorities, RFC 9113 §5 and §6.
//!
//! After anything was called, what is to be written is in [`Connection::record`]: one frame at a time, each of which
//! Chromium gives to TLS by itself, so that it becomes one record.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{self, Head, StreamId};
use super::hpack::{Decoder, Encoder, Field};

/// Streams that are open at a time.
const MAX_STREAMS: usize = 64;
/// Bytes of data in one frame, with whose head it fills a TLS record. As measured.
const MAX_DATA: usize = frame::MAX_PAYLOAD - frame::HEAD;
/// The most of a header block that is kept until its end comes.
const MAX_BLOCK: usize = 256 << 10;
/// Bytes of data frames that may wait to be written before no more are made.
const MAX_WAITING: usize = 64 << 10;
/// Bytes that may wait to be written; a peer that makes us answer more than that without reading is given up.
const MAX_OUT: usize = 256 << 10;
/// The window that everything begins with, RFC 9113 §6.9.2.
const FIRST_WINDOW: i64 = 65_535;
const MAX_WINDOW: i64 = (1 << 31) - 1;
/// What was read is told at the latest with the next data after this long, however little it is. As measured.
const TELL_AFTER: Duration = Duration::from_secs(5);

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
/// What Chromium says of a stream that it is done with.
pub(super) const CANCEL: u32 = 8;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The weights, as on the wire, of the eight priorities that Chromium knows; the highest first.
const WEIGHTS: [u8; 8] = [255, 219, 182, 146, 109, 73, 36, 0];

/// What a client says first.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// In this order.
    pub(crate) settings: Vec<(u16, u32)>,
    /// How much the window of the connection is opened besides.
    pub(crate) window_update: u32,
}

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The server has said how it wants things.
    Settings,
    /// An answer begins, or its trailers came.
    Head { stream: StreamId, fields: Vec<Field>, end: bool },
    /// A part of an answer's body; it counts as read.
    Data { stream: StreamId, bytes: Bytes, end: bool },
    /// The server has given up a stream.
    Reset { stream: StreamId, code: u32 },
    /// The server takes no more requests, and has not looked at streams above this one.
    GoAway { last: StreamId, code: u32 },
    /// The answer to our ping.
    Pong,
}

/// The server broke the rules; the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HTTP/2: {why} (code {code})")]
pub(crate) struct Broken {
    /// RFC 9113 §7.
    pub(crate) code: u32,
    pub(crate) why: &'static str,
}

/// A request cannot be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("as many requests are open as there may be")]
    TooMany,
    #[error("the server is closing the connection")]
    Closing,
    #[error("the request's headers are too long")]
    TooLong,
}

#[derive(Debug)]
pub(crate) struct Connection {
    out: BytesMut,
    /// The lengths of the frames in `out`.
    records: VecDeque<usize>,
    encoder: Encoder,
    decoder: Decoder,
    streams: Vec<Stream>,
    next: StreamId,
    send_window: i64,
    receive: Window,
    stream_window: u32,
    peer: Peer,
    /// The beginning of a header block.
    block: Option<Block>,
    closing: bool,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    priority: usize,
    send_window: i64,
    receive: Window,
    sent_end: bool,
}

/// A window that we keep open.
#[derive(Debug)]
struct Window {
    size: u32,
    left: i64,
    unacked: u32,
    /// When the peer was last told, or first sent something.
    told: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    initial_window: i64,
    max_frame: usize,
    max_streams: usize,
    connect_protocol: bool,
}

#[derive(Debug)]
struct Block {
    stream: StreamId,
    end: bool,
    bytes: BytesMut,
}

impl Connection {
    /// A new connection: preface, settings and window are one record.
    pub(crate) fn new(first: &Settings) -> Self {
        let told = |setting, default| {
            first.settings.iter().find(|(id, _)| *id == setting).map_or(default, |(_, value)| *value)
        };
        let stream_window = told(frame::INITIAL_WINDOW_SIZE, FIRST_WINDOW as u32);
        let max_table = told(frame::HEADER_TABLE_SIZE, 4096) as usize;
        let max_list = told(frame::MAX_HEADER_LIST_SIZE, MAX_BLOCK as u32) as usize;
        let mut connection = Self {
            out: BytesMut::new(),
            records: VecDeque::new(),
            encoder: Encoder::new(),
            decoder: Decoder::new(max_table, max_list.min(MAX_BLOCK)),
            streams: Vec::new(),
            next: 1,
            send_window: FIRST_WINDOW,
            receive: Window::new(FIRST_WINDOW as u32 + first.window_update),
            stream_window,
            peer: Peer {
                initial_window: FIRST_WINDOW,
                max_frame: frame::MAX_PAYLOAD,
                max_streams: MAX_STREAMS,
                connect_protocol: false,
            },
            block: None,
            closing: false,
        };
        connection.greet(first);
        connection
    }

    fn greet(&mut self, first: &Settings) {
        self.out.put_slice(frame::PREFACE);
        let len = 6 * first.settings.len();
        Head { len, kind: frame::SETTINGS, flags: 0, stream: 0 }.emit(&mut self.out);
        for (setting, value) in &first.settings {
            self.out.put_u16(*setting);
            self.out.put_u32(*value);
        }
        Head { len: 4, kind: frame::WINDOW_UPDATE, flags: 0, stream: 0 }.emit(&mut self.out);
        self.out.put_u32(first.window_update);
        self.records.push_back(self.out.len());
    }

    /// What is to be written next, as one record; empty if there is nothing.
    pub(crate) fn record(&self) -> &[u8] {
        &self.out[..self.records.front().copied().unwrap_or(0)]
    }

    /// So many bytes of the record were written.
    pub(crate) fn written(&mut self, len: usize) {
        let len = len.min(self.record().len());
        self.out.advance(len);
        if let Some(first) = self.records.front_mut() {
            *first -= len;
            if *first == 0 {
                self.records.pop_front();
            }
        }
    }

    /// Whether there is room for more data to wait.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < MAX_WAITING
    }

    /// Whether the server takes extended CONNECT (RFC 8441).
    pub(crate) fn connect_protocol(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Whether a stream is still open in either direction.
    pub(crate) fn is_open(&self, stream: StreamId) -> bool {
        self.streams.iter().any(|known| known.id == stream)
    }

    /// Sends a request. `end` if it has no body.
    pub(crate) fn request<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
        weight: u8,
        end: bool,
    ) -> Result<StreamId, Refused> {
        if self.closing || self.next > MAX_WINDOW as u32 {
            return Err(Refused::Closing);
        }
        if self.streams.len() >= self.peer.max_streams {
            return Err(Refused::TooMany);
        }
        let priority = WEIGHTS.iter().position(|known| *known <= weight).unwrap_or(WEIGHTS.len() - 1);
        let mut payload = Vec::new();
        payload.put_u32(0x8000_0000 | self.parent(priority));
        payload.push(weight);
        self.encoder.encode(fields, &mut payload);
        if payload.len() > frame::MAX_PAYLOAD {
            // The tables of both ends differ now.
            self.closing = true;
            return Err(Refused::TooLong);
        }
        let (id, flags) = (self.next, frame::END_HEADERS | frame::PRIORITY | if end { frame::END_STREAM } else { 0 });
        self.next += 2;
        self.frame(frame::HEADERS, flags, id, &payload);
        self.streams.push(Stream {
            id,
            priority,
            send_window: self.peer.initial_window,
            receive: Window::new(self.stream_window),
            sent_end: end,
        });
        Ok(id)
    }

    /// The stream that a new one of this priority depends on: the newest of those that are as important, or else more so.
    fn parent(&self, priority: usize) -> StreamId {
        let newest = |level| self.streams.iter().rev().find(|stream| stream.priority == level);
        (0..=priority).rev().find_map(newest).map_or(0, |stream| stream.id)
    }

    /// Makes data frames of the chunks, as far as windows and room allow, and takes what it used out of them.
    pub(crate) fn send(&mut self, id: StreamId, chunks: &mut VecDeque<Bytes>) {
        let Some(place) = self.streams.iter().position(|stream| stream.id == id && !stream.sent_end) else { return };
        while self.has_room() {
            let there: usize = chunks.iter().map(Bytes::len).sum();
            let windows = self.send_window.min(self.streams[place].send_window).max(0) as usize;
            let len = there.min(windows).min(MAX_DATA).min(self.peer.max_frame);
            if len == 0 {
                return;
            }
            Head { len, kind: frame::DATA, flags: 0, stream: id }.emit(&mut self.out);
            let mut left = len;
            while left > 0
                && let Some(chunk) = chunks.front_mut()
            {
                let part = chunk.split_to(left.min(chunk.len()));
                self.out.extend_from_slice(&part);
                left -= part.len();
                if chunk.is_empty() {
                    chunks.pop_front();
                }
            }
            self.records.push_back(frame::HEAD + len);
            self.send_window -= len as i64;
            self.streams[place].send_window -= len as i64;
        }
    }

    /// Ends our direction of a stream.
    pub(crate) fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id && !stream.sent_end) {
            stream.sent_end = true;
            self.frame(frame::DATA, frame::END_STREAM, id, &[]);
        }
    }

    /// Gives up a stream, or says that an answer without a body is dealt with, as Chromium does.
    pub(crate) fn cancel(&mut self, id: StreamId) {
        self.forget(id);
        self.frame(frame::RST_STREAM, 0, id, &CANCEL.to_be_bytes());
    }

    /// Asks whether anybody is there.
    pub(crate) fn ping(&mut self, payload: [u8; 8]) {
        self.frame(frame::PING, 0, 0, &payload);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: StreamId, payload: &[u8]) {
        Head { len: payload.len(), kind, flags, stream }.emit(&mut self.out);
        self.out.put_slice(payload);
        self.records.push_back(frame::HEAD + payload.len());
    }

    /// Takes the next event out of what was received; `None` when more is needed.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Result<Option<Event>, Broken> {
        while let Some(head) = Head::parse(input) {
            if head.len > frame::MAX_PAYLOAD {
                return Err(broken(FRAME_SIZE_ERROR, "a frame is longer than allowed"));
            }
            if input.len() < frame::HEAD + head.len {
                return Ok(None);
            }
            input.advance(frame::HEAD);
            let payload = input.split_to(head.len).freeze();
            let event = self.handle(head, payload, now)?;
            if self.out.len() > MAX_OUT {
                return Err(broken(ENHANCE_YOUR_CALM, "too many answers are asked for"));
            }
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn handle(&mut self, head: Head, payload: Bytes, now: Instant) -> Result<Option<Event>, Broken> {
        if self.block.is_some() != (head.kind == frame::CONTINUATION) {
            return Err(broken(PROTOCOL_ERROR, "a header block is interrupted"));
        }
        match head.kind {
            frame::DATA => self.data(head, payload, now),
            frame::HEADERS => self.headers(head, payload),
            frame::CONTINUATION => self.more_headers(head, &payload),
            frame::RST_STREAM => {
                let code = number(&payload)?;
                let known = self.forget(head.stream);
                Ok(known.then_some(Event::Reset { stream: head.stream, code }))
            }
            frame::SETTINGS => self.settings(head, &payload),
            frame::PING => self.pinged(head, &payload),
            frame::GOAWAY => {
                self.closing = true;
                let last = number(&payload)? & 0x7fff_ffff;
                let code = number(payload.get(4..).unwrap_or_default())?;
                Ok(Some(Event::GoAway { last, code }))
            }
            frame::WINDOW_UPDATE => self.window_update(head, &payload).map(|()| None),
            frame::PUSH_PROMISE => Err(broken(PROTOCOL_ERROR, "a push that was forbidden")),
            // Priorities, and what is not known.
            _ => Ok(None),
        }
    }

    fn data(&mut self, head: Head, payload: Bytes, now: Instant) -> Result<Option<Event>, Broken> {
        let (id, len, end) = (head.stream, head.len as u32, head.flags & frame::END_STREAM != 0);
        if !self.was_opened(id) {
            return Err(broken(PROTOCOL_ERROR, "data on a stream that was never opened"));
        }
        if let Some(update) = self.receive.take(len, now)? {
            self.frame(frame::WINDOW_UPDATE, 0, 0, &update.to_be_bytes());
        }
        let bytes = unpad(head, payload)?;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return Ok(None) };
        if let Some(update) = stream.receive.take(len, now)?
            && !end
        {
            self.frame(frame::WINDOW_UPDATE, 0, id, &update.to_be_bytes());
        }
        if end {
            // A server that has answered needs no more of a request.
            self.forget(id);
        }
        Ok(Some(Event::Data { stream: id, bytes, end }))
    }

    fn headers(&mut self, head: Head, payload: Bytes) -> Result<Option<Event>, Broken> {
        if !self.was_opened(head.stream) {
            return Err(broken(PROTOCOL_ERROR, "an answer to what was never asked"));
        }
        let mut bytes = unpad(head, payload)?;
        if head.flags & frame::PRIORITY != 0 {
            if bytes.len() < 5 {
                return Err(broken(FRAME_SIZE_ERROR, "a priority is cut short"));
            }
            bytes.advance(5);
        }
        let end = head.flags & frame::END_STREAM != 0;
        if head.flags & frame::END_HEADERS == 0 {
            self.block = Some(Block { stream: head.stream, end, bytes: BytesMut::from(&bytes[..]) });
            return Ok(None);
        }
        self.answer(head.stream, end, &bytes)
    }

    fn more_headers(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Broken> {
        let Some(mut block) = self.block.take_if(|block| block.stream == head.stream) else {
            return Err(broken(PROTOCOL_ERROR, "a header block goes on elsewhere"));
        };
        // One without content costs as much to read as one with it.
        if block.bytes.len() + payload.len() > MAX_BLOCK || payload.is_empty() {
            return Err(broken(ENHANCE_YOUR_CALM, "an endless header block"));
        }
        block.bytes.put_slice(payload);
        if head.flags & frame::END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(None);
        }
        self.answer(block.stream, block.end, &block.bytes)
    }

    fn answer(&mut self, stream: StreamId, end: bool, block: &[u8]) -> Result<Option<Event>, Broken> {
        // Of a stream that is given up too, so that both tables stay equal.
        let fields =
            self.decoder.decode(block).map_err(|_| broken(COMPRESSION_ERROR, "a header block cannot be read"))?;
        let known = self.is_open(stream);
        if end {
            self.forget(stream);
        }
        Ok(known.then_some(Event::Head { stream, fields, end }))
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Broken> {
        if head.flags & frame::ACK != 0 {
            return Ok(None);
        }
        if head.stream != 0 || !payload.len().is_multiple_of(6) {
            return Err(broken(FRAME_SIZE_ERROR, "settings are cut short"));
        }
        for entry in payload.chunks_exact(6) {
            let (setting, value) = (u16::from_be_bytes([entry[0], entry[1]]), number(&entry[2..])?);
            self.setting(setting, value)?;
        }
        self.frame(frame::SETTINGS, frame::ACK, 0, &[]);
        Ok(Some(Event::Settings))
    }

    fn setting(&mut self, setting: u16, value: u32) -> Result<(), Broken> {
        match setting {
            frame::HEADER_TABLE_SIZE => self.encoder.allow_table(value as usize),
            frame::MAX_CONCURRENT_STREAMS => self.peer.max_streams = (value as usize).min(MAX_STREAMS),
            frame::INITIAL_WINDOW_SIZE => {
                let value = i64::from(value);
                for stream in &mut self.streams {
                    stream.send_window += value - self.peer.initial_window;
                    if stream.send_window > MAX_WINDOW {
                        return Err(broken(FLOW_CONTROL_ERROR, "a window is too large"));
                    }
                }
                if value > MAX_WINDOW {
                    return Err(broken(FLOW_CONTROL_ERROR, "a window is too large"));
                }
                self.peer.initial_window = value;
            }
            frame::MAX_FRAME_SIZE => self.peer.max_frame = (value as usize).max(frame::MAX_PAYLOAD),
            frame::ENABLE_CONNECT_PROTOCOL => self.peer.connect_protocol = value == 1,
            _ => {}
        }
        Ok(())
    }

    fn pinged(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Broken> {
        if payload.len() != 8 {
            return Err(broken(FRAME_SIZE_ERROR, "a ping of a wrong length"));
        }
        if head.flags & frame::ACK != 0 {
            return Ok(Some(Event::Pong));
        }
        self.frame(frame::PING, frame::ACK, 0, payload);
        Ok(None)
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let more = i64::from(number(payload)? & 0x7fff_ffff);
        let window = match self.streams.iter_mut().find(|stream| stream.id == head.stream) {
            _ if head.stream == 0 => &mut self.send_window,
            Some(stream) => &mut stream.send_window,
            None => return Ok(()),
        };
        *window += more;
        if more == 0 || *window > MAX_WINDOW {
            return Err(broken(FLOW_CONTROL_ERROR, "a window is opened by nothing, or too far"));
        }
        Ok(())
    }

    /// Whether there ever was such a stream: we open those with odd numbers.
    fn was_opened(&self, id: StreamId) -> bool {
        id < self.next && !id.is_multiple_of(2)
    }

    fn forget(&mut self, id: StreamId) -> bool {
        let before = self.streams.len();
        self.streams.retain(|stream| stream.id != id);
        self.streams.len() < before
    }
}

impl Window {
    fn new(size: u32) -> Self {
        Self { size, left: i64::from(size), unacked: 0, told: None }
    }

    /// So many bytes were received and read. Says by how much to open the window again: as Chromium, when more than half of
    /// it was used, or it was not told for long.
    fn take(&mut self, len: u32, now: Instant) -> Result<Option<u32>, Broken> {
        self.left -= i64::from(len);
        if self.left < 0 {
            return Err(broken(FLOW_CONTROL_ERROR, "more data than the window allows"));
        }
        self.unacked += len;
        let is_late = now.saturating_duration_since(*self.told.get_or_insert(now)) >= TELL_AFTER;
        if self.unacked <= self.size / 2 && !(is_late && self.unacked > 0) {
            return Ok(None);
        }
        self.told = Some(now);
        self.left += i64::from(self.unacked);
        Ok(Some(std::mem::take(&mut self.unacked)))
    }
}

const fn broken(code: u32, why: &'static str) -> Broken {
    Broken { code, why }
}

fn number(bytes: &[u8]) -> Result<u32, Broken> {
    let bytes = bytes.first_chunk::<4>().ok_or(broken(FRAME_SIZE_ERROR, "a frame is cut short"))?;
    Ok(u32::from_be_bytes(*bytes))
}

/// Takes the padding off, RFC 9113 §6.1.
fn unpad(head: Head, mut payload: Bytes) -> Result<Bytes, Broken> {
    if head.flags & frame::PADDED == 0 {
        return Ok(payload);
    }
    let padding = payload.first().copied().map(usize::from).filter(|padding| *padding < payload.len());
    let padding = padding.ok_or(broken(PROTOCOL_ERROR, "more padding than frame"))?;
    payload.advance(1);
    payload.truncate(payload.len() - padding);
    Ok(payload)
}

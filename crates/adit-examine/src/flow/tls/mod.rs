//! TLS as an observer sees it: records with their sizes and times, and what of the handshake is in clear.
//!
//! Not here: keys. Nothing is decrypted.

mod hello;
mod record;

use std::time::Duration;

pub(crate) use hello::is_grease;
pub use hello::{ClientHello, ServerHello, TLS13, X25519MLKEM768};
pub use record::{Kind, Record};

use record::{Scanner, Step};

/// Records of one connection that are kept; later ones are only counted.
pub const MAX_RECORDS: usize = 1024;
/// Bytes of the clear handshake that are kept, each way. A client's hello is some 2 kB, a chain of certificates some 6 kB.
pub const MAX_HANDSHAKE: usize = 32 << 10;

/// What is known of the TLS in one connection.
#[derive(Debug, Default)]
pub struct Tls {
    /// What the client offered.
    pub client_hello: Option<ClientHello>,
    /// What the server chose.
    pub server_hello: Option<ServerHello>,
    /// The server's certificates, first its own; only TLS 1.2 and older show them.
    pub certificates: Vec<Vec<u8>>,
    /// When the client's hello was complete.
    pub hello_at: Option<Duration>,
    /// Records in the order in which they were complete.
    pub records: Vec<Record>,
    /// Records beyond [`MAX_RECORDS`].
    pub uncounted: u64,
    up: Half,
    down: Half,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    scanner: Scanner,
    handshake: Vec<u8>,
    /// The clear part is over: a message was unreadable, too large, or encryption began.
    closed: bool,
}

impl Half {
    fn close(&mut self) {
        self.closed = true;
        self.handshake = Vec::new();
    }
}

impl Tls {
    /// Whether both directions began as TLS, or the only one that has spoken did.
    pub fn is_tls(&self) -> bool {
        self.client_hello.is_some() && !self.down.scanner.is_foreign()
    }

    /// Bytes of one direction, in order.
    pub(crate) fn feed(&mut self, up: bool, at: Duration, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let half = if up { &mut self.up } else { &mut self.down };
            let Step::Body { kind, part, ended } = half.scanner.step(&mut bytes) else { continue };
            if kind == Kind::Handshake && !half.closed {
                if half.handshake.len() + part.len() > MAX_HANDSHAKE {
                    half.close();
                } else {
                    half.handshake.extend_from_slice(part);
                }
            }
            if let Some(length) = ended {
                self.complete(Record { at, up, kind, length });
            }
        }
    }

    fn complete(&mut self, record: Record) {
        if self.records.len() == MAX_RECORDS {
            self.uncounted += 1;
        } else {
            self.records.push(record);
        }
        let half = if record.up { &mut self.up } else { &mut self.down };
        match record.kind {
            Kind::Handshake if !half.closed => self.read_messages(record),
            // From here on the handshake is not in clear any more.
            Kind::ChangeCipherSpec | Kind::Application => {
                half.close();
            }
            Kind::Handshake | Kind::Alert | Kind::Heartbeat => {}
        }
    }

    /// Takes whole messages from what was gathered.
    fn read_messages(&mut self, record: Record) {
        let half = if record.up { &mut self.up } else { &mut self.down };
        while let Some(header) = half.handshake.first_chunk::<4>() {
            let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            let Some(message) = half.handshake.get(4..4 + length) else {
                half.closed = length > MAX_HANDSHAKE;
                return;
            };
            match (record.up, header[0]) {
                (true, CLIENT_HELLO) if self.client_hello.is_none() => {
                    self.client_hello = ClientHello::parse(message);
                    self.hello_at = Some(record.at);
                }
                (false, SERVER_HELLO) => {
                    // A retry request comes first; what counts is the answer that follows.
                    let retry = self.server_hello.as_ref().is_none_or(|before| before.is_retry);
                    if retry && let Some(hello) = ServerHello::parse(message) {
                        self.server_hello = Some(hello);
                    }
                }
                (false, CERTIFICATE) if self.certificates.is_empty() => {
                    self.certificates = hello::certificates(message);
                }
                _ => {}
            }
            half.handshake.drain(..4 + length);
        }
    }
}

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, 3, 3][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn records_are_bounded_and_counted() {
        let mut tls = Tls::default();
        for _ in 0..MAX_RECORDS + 10 {
            tls.feed(true, Duration::ZERO, &record(23, &[0]));
        }
        assert_eq!((tls.records.len(), tls.uncounted), (MAX_RECORDS, 10));
    }

    #[test]
    fn a_handshake_without_end_is_given_up() {
        let mut tls = Tls::default();
        // A hello that says it has 16 MiB, and one that comes in small pieces and never ends.
        tls.feed(true, Duration::ZERO, &record(22, &[1, 0xff, 0xff, 0xff, 0]));
        assert!(tls.up.closed);
        tls.feed(false, Duration::ZERO, &record(22, &[2, 0, 0x7f, 0xff]));
        for _ in 0..100 {
            tls.feed(false, Duration::ZERO, &record(22, &[7; 1000]));
            assert!(tls.down.handshake.len() <= MAX_HANDSHAKE);
        }
        assert!(tls.client_hello.is_none() && tls.server_hello.is_none());
    }

    #[test]
    fn a_second_hello_follows_a_retry_request() {
        let retry = |group: u8, random: [u8; 32]| {
            let extensions = [0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, group];
            let body = [&[3, 3][..], &random, &[0, 0x13, 0x01, 0, 0, 12], &extensions].concat();
            record(22, &[&[2, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat())
        };
        let mut tls = Tls::default();
        tls.feed(false, Duration::ZERO, &retry(24, hello::RETRY));
        assert!(tls.server_hello.as_ref().unwrap().is_retry);
        tls.feed(false, Duration::ZERO, &retry(29, [7; 32]));
        tls.feed(false, Duration::ZERO, &retry(23, [7; 32]));
        assert_eq!(tls.server_hello.unwrap().group, Some(29));
    }
}

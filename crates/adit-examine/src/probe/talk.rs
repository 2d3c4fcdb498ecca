//! One connection to a server, record by record: what was sent, what came back, how it ended.
//!
//! TLS is taken one record at a time, so that tickets, alerts and data are told apart. Not here: what it means (`answer`).

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::script::{Groups, Hello, Versions};

/// The most that is kept of an answer. What is beyond is read and forgotten.
const MAX_KEPT: usize = 1 << 20;
/// The most records that are noted.
const MAX_RECORDS: usize = 4096;
const RECORD_HEADER: usize = 5;

/// How a connection ended, as far as was waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum End {
    #[default]
    Open,
    Fin,
    Reset,
}

/// What a record was, as the client understood it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Handshake,
    /// After the handshake, and no data: a session ticket.
    Ticket,
    Data,
    Alert,
    Unread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: u8,
    pub(super) length: usize,
    pub(super) part: Part,
}

/// All that a connection has brought.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) records: Vec<Record>,
    /// The first record's content, in clear: the server's hello, or an alert.
    pub(super) first: Vec<u8>,
    /// What was inside; without TLS, all bytes.
    pub(super) plain: Vec<u8>,
    pub(super) end: End,
    /// What the TLS of the client had to say when it gave up.
    pub(super) alert: Option<String>,
    /// From the last byte sent to the first received after it.
    pub(super) took: Option<Duration>,
    /// From the last byte sent to the end.
    pub(super) ended: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Talk {
    tcp: TcpStream,
    pub(super) tls: Option<ClientConnection>,
    /// TLS has failed: from here on bytes are only counted.
    broken: bool,
    pending: Vec<u8>,
    pub(super) sent: Vec<u8>,
    pub(super) seen: Seen,
    asked: Instant,
    buffer: Vec<u8>,
}

impl Talk {
    pub(super) async fn open(to: SocketAddr, tls: Option<ClientConnection>, patience: Duration) -> io::Result<Self> {
        let tcp = timeout(patience, TcpStream::connect(to)).await??;
        tcp.set_nodelay(true)?;
        Ok(Self {
            tcp,
            tls,
            broken: false,
            pending: Vec::new(),
            sent: Vec::new(),
            seen: Seen::default(),
            asked: Instant::now(),
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Does the handshake. Whether it succeeded shows in `tls`.
    pub(super) async fn handshake(&mut self, patience: Duration) -> bool {
        self.flush().await;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) && !self.broken {
            if !self.read(patience).await {
                return false;
            }
            self.flush().await;
        }
        !self.broken && self.seen.end == End::Open
    }

    /// Sends bytes, through TLS if there is one.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => {
                // Into memory: it cannot fail.
                let _written = tls.writer().write_all(bytes);
                self.flush().await;
            }
            None => self.send_beneath(bytes).await,
        }
    }

    /// Sends bytes on the TCP connection. If nobody takes them any more, reading will show why.
    pub(super) async fn send_beneath(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        let _refused = timeout(Duration::from_secs(2), self.tcp.write_all(bytes)).await;
        self.asked = Instant::now();
        self.seen.took = None;
    }

    async fn flush(&mut self) {
        let mut out = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && tls.write_tls(&mut out).is_ok_and(|n| n > 0) {}
        }
        if !out.is_empty() {
            self.send_beneath(&out).await;
        }
    }

    pub(super) async fn close_notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush().await;
        }
    }

    pub(super) async fn half_close(&mut self) {
        let _gone = self.tcp.shutdown().await;
    }

    /// Waits for more, and takes it. `false` if nothing came, or it is the end.
    pub(super) async fn read(&mut self, patience: Duration) -> bool {
        if self.seen.end != End::Open {
            return false;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = timeout(patience, self.tcp.read(&mut buffer)).await;
        let more = match got {
            Err(_) => false,
            Ok(Ok(0)) => {
                self.ended(End::Fin);
                false
            }
            Ok(Err(_)) => {
                self.ended(End::Reset);
                false
            }
            Ok(Ok(n)) => {
                self.seen.took.get_or_insert(self.asked.elapsed());
                self.take(&buffer[..n]);
                true
            }
        };
        self.buffer = buffer;
        more
    }

    fn ended(&mut self, end: End) {
        self.seen.end = end;
        self.seen.ended = Some(self.asked.elapsed());
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.tls.is_none() {
            let room = MAX_KEPT.saturating_sub(self.seen.plain.len());
            self.seen.plain.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        self.pending.extend_from_slice(bytes);
        loop {
            let Some(header) = self.pending.first_chunk::<RECORD_HEADER>() else { return };
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if self.pending.len() < RECORD_HEADER + length {
                return;
            }
            let rest = self.pending.split_off(RECORD_HEADER + length);
            let record = std::mem::replace(&mut self.pending, rest);
            let part = if self.broken { Part::Unread } else { self.understand(&record) };
            if self.seen.records.is_empty() {
                self.seen.first = record[RECORD_HEADER..].to_vec();
            }
            if self.seen.records.len() < MAX_RECORDS {
                self.seen.records.push(Record { kind: record[0], length, part });
            }
        }
    }

    /// Gives TLS one record, and sees what it was.
    fn understand(&mut self, mut record: &[u8]) -> Part {
        let Some(tls) = &mut self.tls else { return Part::Unread };
        let was_handshaking = tls.is_handshaking();
        while !record.is_empty() {
            if tls.read_tls(&mut record).is_err() {
                break;
            }
            match tls.process_new_packets() {
                Ok(state) => {
                    let count = state.plaintext_bytes_to_read();
                    if count > 0 {
                        let mut plain = vec![0; count];
                        let count = tls.reader().read(&mut plain).unwrap_or(0);
                        let room = MAX_KEPT.saturating_sub(self.seen.plain.len());
                        self.seen.plain.extend_from_slice(&plain[..count.min(room)]);
                        return Part::Data;
                    }
                    if state.peer_has_closed() {
                        self.broken = true;
                        self.seen.alert = Some("close notify".to_owned());
                        return Part::Alert;
                    }
                }
                Err(error) => {
                    self.broken = true;
                    self.seen.alert = Some(error.to_string());
                    return if matches!(error, Error::AlertReceived(_)) { Part::Alert } else { Part::Unread };
                }
            }
        }
        if was_handshaking { Part::Handshake } else { Part::Ticket }
    }
}

/// Sessions that offer what `hello` says.
///
/// # Errors
/// rustls refuses the combination.
pub(super) fn config(hello: &Hello) -> Result<Arc<ClientConfig>, Error> {
    let groups = match hello.groups {
        Groups::All => default_provider().kx_groups,
        Groups::X25519 => vec![kx_group::X25519],
        Groups::P256 => vec![kx_group::SECP256R1],
        Groups::P384First => vec![kx_group::SECP384R1, kx_group::X25519],
    };
    let provider = Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() });
    let versions: &[&rustls::SupportedProtocolVersion] = match hello.versions {
        Versions::Both => rustls::ALL_VERSIONS,
        Versions::Only12 => &[&rustls::version::TLS12],
        Versions::Only13 => &[&rustls::version::TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = hello.alpn.iter().map(|name| name.to_vec()).collect();
    config.enable_sni = hello.name.is_some();
    config.enable_early_data = hello.resumes;
    config.resumption = if hello.resumes {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)))
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// A session that has not begun.
///
/// # Errors
/// The name is none.
pub(super) fn session(config: &Arc<ClientConfig>, hello: &Hello) -> Result<ClientConnection, Error> {
    let name = hello.name.clone().unwrap_or_else(|| "nobody.invalid".to_owned());
    let name = ServerName::try_from(name).map_err(|e| Error::General(e.to_string()))?;
    let mut session = ClientConnection::new(Arc::clone(config), name)?;
    session.set_buffer_limit(None);
    Ok(session)
}

/// A prober believes every certificate: it compares them.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

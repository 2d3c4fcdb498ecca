//! The browser's back end: BoringSSL, set up from a profile so that its hello is Chromium's.
//!
//! Not here: the calls that its safe wrapper lacks (`sys`), the check of certificates (`pins`).

mod sys;

use std::{
    io::{self, Write},
    sync::Arc,
};

use boring::{
    error::ErrorStack,
    ssl::{
        CertificateCompressionAlgorithm, CertificateCompressor, Ssl, SslAlert, SslCipher, SslContext,
        SslContextBuilder, SslMethod, SslMode, SslRef, SslSessionCacheMode, SslSignatureAlgorithm, SslVerifyError,
        SslVerifyMode, SslVersion,
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_boring::{SslStream, SslStreamBuilder};

use super::{ClientHello, TlsError, pins::Judge, profile::TlsProfile, tickets::Tickets};

/// Certificates in a server's chain that are looked at; BoringSSL bounds their bytes.
const MAX_CHAIN: usize = 16;

pub(super) async fn connect(
    tcp: TcpStream,
    hello: &ClientHello,
    judge: Arc<Judge>,
) -> Result<SslStream<TcpStream>, TlsError> {
    let ssl = greet(&hello.profile.tls, &hello.tickets, &judge)
        .map_err(|problem| TlsError::Profile { profile: hello.profile.name.clone(), reason: problem.to_string() })?;
    SslStreamBuilder::new(ssl, tcp)
        .connect()
        .await
        .map_err(|problem| judge.explain(io::Error::other(problem.to_string())))
}

/// What the profile asks for and BoringSSL cannot do, or what it answered.
#[derive(Debug, thiserror::Error)]
enum Cannot {
    #[error("{0}")]
    Boring(#[from] ErrorStack),
    #[error("{0}")]
    Profile(#[from] super::profile::ProfileError),
    #[error("it has no {0} {1:#06x}")]
    Unknown(&'static str, u16),
}

fn greet(profile: &TlsProfile, tickets: &Arc<Tickets>, judge: &Arc<Judge>) -> Result<Ssl, Cannot> {
    let context = context(profile, tickets, judge)?;
    let mut ssl = Ssl::new(&context)?;
    if let Some(session) = tickets.take() {
        sys::resume(&mut ssl, &session)?;
    }
    ssl.set_enable_ech_grease(profile.extensions.contains(&extension::ENCRYPTED_CLIENT_HELLO));
    for protocol in &profile.application_settings {
        sys::offer_application_settings(&mut ssl, protocol.as_bytes())?;
    }
    if let ServerName::DnsName(name) = judge.name() {
        ssl.set_hostname(name.as_ref())?;
    }
    Ok(ssl)
}

/// Extensions that are switched on by the profile's list of them.
mod extension {
    pub(super) const STATUS_REQUEST: u16 = 0x0005;
    pub(super) const SIGNED_CERTIFICATE_TIMESTAMP: u16 = 0x0012;
    pub(super) const TRUST_ANCHORS: u16 = 0xca34;
    pub(super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

fn context(profile: &TlsProfile, tickets: &Arc<Tickets>, judge: &Arc<Judge>) -> Result<SslContext, Cannot> {
    let mut context = SslContextBuilder::new(SslMethod::tls())?;
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_grease_enabled(true);
    context.set_permute_extensions(true);
    context.set_strict_cipher_list(&ciphers(profile)?)?;
    context.set_curves_list(&groups(profile)?)?;
    let algorithms: Vec<_> = profile.signature_algorithms.iter().copied().map(SslSignatureAlgorithm::from).collect();
    context.set_verify_algorithm_prefs(&algorithms)?;
    context.set_alpn_protos(&alpn(profile))?;
    if profile.extensions.contains(&extension::SIGNED_CERTIFICATE_TIMESTAMP) {
        context.enable_signed_cert_timestamps();
    }
    if profile.extensions.contains(&extension::STATUS_REQUEST) {
        context.enable_ocsp_stapling();
    }
    if profile.extensions.contains(&extension::TRUST_ANCHORS) {
        sys::name_trust_anchors(&mut context, &profile.trust_anchor_list()?)?;
    }
    for &algorithm in &profile.certificate_compression {
        if algorithm != BROTLI {
            return Err(Cannot::Unknown("certificate compression", algorithm));
        }
        context.add_certificate_compression_algorithm(Brotli)?;
    }
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let tickets = Arc::clone(tickets);
    context.set_new_session_callback(move |_, session| tickets.keep(session));
    // Pins and dates are those of now, whatever they were when the session began.
    sys::verify_on_resumption(&mut context);
    let judge = Arc::clone(judge);
    context.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| ask(&judge, ssl));
    Ok(context.build())
}

/// The cipher suites of TLS 1.2, by name; BoringSSL adds those of TLS 1.3 itself.
fn ciphers(profile: &TlsProfile) -> Result<String, Cannot> {
    let old = profile.ciphers.iter().filter(|&&suite| suite >> 8 != 0x13);
    let names = old.map(|&suite| SslCipher::from_value(suite).map(|cipher| cipher.name()).ok_or(suite));
    Ok(names.collect::<Result<Vec<_>, u16>>().map_err(|suite| Cannot::Unknown("cipher suite", suite))?.join(":"))
}

fn groups(profile: &TlsProfile) -> Result<String, Cannot> {
    let name = |group: u16| match group {
        0x11ec => Ok("X25519MLKEM768"),
        0x001d => Ok("X25519"),
        0x0017 => Ok("P-256"),
        0x0018 => Ok("P-384"),
        0x0019 => Ok("P-521"),
        other => Err(Cannot::Unknown("group", other)),
    };
    Ok(profile.groups.iter().map(|&group| name(group)).collect::<Result<Vec<_>, _>>()?.join(":"))
}

/// Protocols as the extension has them: each with its length before it.
fn alpn(profile: &TlsProfile) -> Vec<u8> {
    let mut list = Vec::new();
    for protocol in &profile.alpn {
        // A longer one makes a list that BoringSSL refuses.
        list.push(u8::try_from(protocol.len()).unwrap_or(0));
        list.extend(protocol.as_bytes());
    }
    list
}

/// Called by BoringSSL when the server has shown its certificates, or resumes a session in which it did, and before it is believed
/// anything.
fn ask(judge: &Judge, ssl: &SslRef) -> Result<(), SslVerifyError> {
    let refuse = |alert| Err(SslVerifyError::Invalid(alert));
    let Some(shown) = ssl.peer_cert_chain() else { return refuse(SslAlert::BAD_CERTIFICATE) };
    let chain = shown.iter().take(MAX_CHAIN).map(|certificate| certificate.to_der().map(CertificateDer::from));
    let Ok(chain) = chain.collect::<Result<Vec<_>, _>>() else { return refuse(SslAlert::BAD_CERTIFICATE) };
    let Some((leaf, intermediates)) = chain.split_first() else { return refuse(SslAlert::BAD_CERTIFICATE) };
    judge
        .judge(leaf, intermediates, UnixTime::now())
        .map_err(|_| SslVerifyError::Invalid(SslAlert::CERTIFICATE_UNKNOWN))
}

const BROTLI: u16 = 2;

/// Certificates compressed with brotli (RFC 8879): Chromium offers to read them, so a server may send them.
struct Brotli;

impl CertificateCompressor for Brotli {
    const ALGORITHM: CertificateCompressionAlgorithm = CertificateCompressionAlgorithm::BROTLI;
    const CAN_COMPRESS: bool = false;
    const CAN_DECOMPRESS: bool = true;

    /// `output` takes as many bytes as the server promised and no more; BoringSSL has bounded that promise.
    fn decompress<W: Write>(&self, mut input: &[u8], output: &mut W) -> io::Result<()> {
        brotli_decompressor::BrotliDecompress(&mut input, output)
    }
}

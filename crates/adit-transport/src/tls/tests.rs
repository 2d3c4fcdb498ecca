//! Both back ends against a local server: who is refused, what is sent, and what the hello looks like.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::{observed::Observed, *};

const HOST: &str = "example.test";

/// The back ends that this build has.
const HELLOS: &[Hello] = if has_browser() { &[Hello::Plain, Hello::Browser] } else { &[Hello::Plain] };

#[tokio::test]
async fn a_server_with_the_pinned_key_is_spoken_to() {
    for &hello in HELLOS {
        let site = Site::new();
        let server = site.serve().await;
        let mut stream = connect(server.dial().await, &greeting(hello, Roots::PinOnly, vec![site.pin])).await.unwrap();
        assert_eq!(stream.alpn(), Some(&b"h2"[..]));
        stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");

        let (mut ours, mut other) = ([0; 48], [0; 48]);
        stream.export_keying_material(&mut ours, "EXPORTER-test", Some(b"context")).unwrap();
        stream.export_keying_material(&mut other, "EXPORTER-test", Some(b"another")).unwrap();
        stream.shutdown().await.unwrap();
        let seen = server.seen().await;
        assert_eq!(seen.exported, Some(ours), "both ends must derive the same: {hello:?}");
        assert_ne!(ours, other);
        assert_eq!(seen.bytes, b"hello");
    }
}

/// Nothing but TLS's own messages may reach a server that has the wrong key, even with a good certificate.
#[tokio::test]
async fn a_server_with_another_key_gets_no_byte() {
    for &hello in HELLOS {
        let site = Site::new();
        let stranger = Pin::of(b"the key that the profile has");
        for roots in [Roots::PinOnly, Roots::System] {
            let server = site.serve().await;
            let greeting = greeting(hello, roots, vec![stranger]);
            let judge = site.judge(&greeting);
            let problem = connect_judged(server.dial().await, &greeting, judge).await.unwrap_err();
            assert!(matches!(&problem, TlsError::WrongKey { found, .. } if *found == site.pin), "{hello:?}: {problem}");
            assert!(problem.to_string().contains("nothing was sent"), "{problem}");
            assert_eq!(server.seen().await.bytes, b"", "{hello:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_even_with_the_pinned_key() {
    for &hello in HELLOS {
        let site = Site::new();
        let server = site.serve().await;
        let greeting = greeting(hello, Roots::System, vec![site.pin]);
        // Another authority than the one that signed.
        let judge = Site::new().judge(&greeting);
        let problem = connect_judged(server.dial().await, &greeting, judge).await.unwrap_err();
        assert!(matches!(problem, TlsError::Untrusted { .. }), "{hello:?}: {problem}");
        assert_eq!(server.seen().await.bytes, b"", "{hello:?}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    for &hello in HELLOS {
        let site = Site::new();
        let server = site.serve().await;
        let greeting = ClientHello { host: "other.test".to_owned(), ..greeting(hello, Roots::System, vec![]) };
        let judge = site.judge(&greeting);
        let problem = connect_judged(server.dial().await, &greeting, judge).await.unwrap_err();
        assert!(matches!(problem, TlsError::Untrusted { .. }), "{hello:?}: {problem}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_even_with_the_pinned_key() {
    for &hello in HELLOS {
        let site = Site::until(2024);
        let server = site.serve().await;
        let greeting = greeting(hello, Roots::System, vec![site.pin]);
        let judge = site.judge(&greeting);
        let problem = connect_judged(server.dial().await, &greeting, judge).await.unwrap_err();
        assert!(matches!(problem, TlsError::Untrusted { .. }), "{hello:?}: {problem}");
        assert!(problem.to_string().contains("expired"), "{problem}");
        assert_eq!(server.seen().await.bytes, b"", "{hello:?}");
    }
}

#[tokio::test]
async fn a_chain_that_leads_to_a_trusted_authority_needs_no_pin() {
    for &hello in HELLOS {
        let site = Site::new();
        let server = site.serve().await;
        let greeting = greeting(hello, Roots::System, vec![]);
        let judge = site.judge(&greeting);
        connect_judged(server.dial().await, &greeting, judge).await.unwrap().shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_is_an_error_that_names_it() {
    for &hello in HELLOS {
        let (listener, at) = listen().await;
        let hang_up = tokio::spawn(async move { drop(listener.accept().await) });
        let greeting = greeting(hello, Roots::PinOnly, vec![Pin::of(b"any")]);
        let problem = connect(TcpStream::connect(at).await.unwrap(), &greeting).await.unwrap_err();
        assert!(matches!(problem, TlsError::Handshake { .. }), "{hello:?}: {problem}");
        assert!(problem.to_string().contains(HOST), "{problem}");
        hang_up.await.unwrap();
    }
}

/// The hello of the browser's back end is the captured browser's, field by field.
#[cfg(feature = "chrome")]
#[tokio::test]
async fn the_hello_is_that_of_the_captured_browser() {
    let captured = observed::tests::captured();
    let reference = Observed::parse(&captured).unwrap();
    let mut sizes = std::collections::BTreeSet::new();
    let mut orders = std::collections::HashSet::new();
    for _ in 0..24 {
        let message = hello_of(Hello::Browser, HOST).await;
        let ours = Observed::parse(&message).unwrap();
        assert_eq!(ours.differences(&reference), Vec::<String>::new());
        assert_eq!(ours.profile.ja4, Profile::chromium().tls.ja4);
        sizes.insert(ours.encrypted_hello_size().unwrap());
        orders.insert(message[message.len() - 1200..].to_vec());
    }
    // A browser draws the padding of its encrypted hello from four sizes, and so do we.
    assert!(sizes.len() > 1, "{sizes:?}");
    sizes.extend(reference.encrypted_hello_size());
    assert!(sizes.iter().all(|size| [186, 218, 250, 282].contains(size)), "{sizes:?}");
    assert_eq!(orders.len(), 24);
}

/// The plain hello is not a browser's, and does not pretend to be one; but it has the post-quantum key.
#[tokio::test]
async fn the_plain_hello_differs_and_is_labelled_so() {
    let ours = Observed::parse(&hello_of(Hello::Plain, HOST).await).unwrap();
    assert_ne!(ours.profile.ja4, Profile::chromium().tls.ja4);
    assert_eq!(ours.profile.key_shares.first(), Some(&0x11ec));
    assert_eq!(ours.profile.alpn, ["h2", "http/1.1"]);
    assert_eq!(ours.server_name.as_deref(), Some(HOST));
}

#[tokio::test]
async fn an_address_is_not_sent_as_a_name() {
    for &hello in HELLOS {
        let ours = Observed::parse(&hello_of(hello, "192.0.2.7").await).unwrap();
        assert_eq!(ours.server_name, None, "{hello:?}");
    }
}

/// Chromium offers to read compressed certificates; a server that sends one must be understood.
#[cfg(feature = "chrome")]
#[tokio::test]
async fn a_certificate_compressed_with_brotli_is_read() {
    let site = Site::new();
    let mut config = site.config();
    config.cert_compressors = vec![&Stored];
    let server = serve(Arc::new(config)).await;
    let greeting = greeting(Hello::Browser, Roots::PinOnly, vec![site.pin]);
    connect(server.dial().await, &greeting).await.unwrap().shutdown().await.unwrap();
    assert_eq!(server.seen().await.bytes, b"");
}

/// A browser that comes again resumes: each session once, and with its certificate judged as of now.
#[cfg(feature = "chrome")]
#[tokio::test]
async fn a_session_is_resumed_once_and_only_if_its_key_is_still_the_pinned_one() {
    let site = Site::new();
    let config = Arc::new(site.config());
    let mut greeting = greeting(Hello::Browser, Roots::PinOnly, vec![site.pin]);
    let visit = async |greeting: &ClientHello| {
        let server = serve(Arc::clone(&config)).await;
        let mut stream = connect(server.dial().await, greeting).await?;
        // Tickets come before what is asked for.
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let mut ours = [0; 48];
        stream.export_keying_material(&mut ours, "EXPORTER-test", Some(b"context")).unwrap();
        let resumed = stream.is_resumed();
        stream.shutdown().await.unwrap();
        assert_eq!(server.seen().await.exported, Some(ours));
        Ok::<_, TlsError>(resumed)
    };
    assert!(!visit(&greeting).await.unwrap());
    for _ in 0..3 {
        assert!(visit(&greeting).await.unwrap(), "it has tickets for the next time, each time");
    }
    let first = greeting.tickets.take().unwrap();
    let second = greeting.tickets.take().unwrap();
    assert!(greeting.tickets.take().is_none(), "two are kept, however many came");
    assert_ne!(first.to_der().unwrap(), second.to_der().unwrap());
    assert!(!visit(&greeting).await.unwrap(), "without one it greets in full");
    greeting.pins = vec![Pin::of(b"the key that the profile has now")];
    let refused = visit(&greeting).await.unwrap_err();
    assert!(matches!(refused, TlsError::WrongKey { .. }), "{refused}");
}

/// Measured: Chromium's differs from its first one in an extension at the end, and in no other way.
#[cfg(feature = "chrome")]
#[tokio::test]
async fn the_hello_of_one_that_comes_again_has_one_extension_more() {
    let site = Site::new();
    let server = site.serve().await;
    let greeting = greeting(Hello::Browser, Roots::PinOnly, vec![site.pin]);
    let mut stream = connect(server.dial().await, &greeting).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    let reference = Observed::parse(&observed::tests::captured()).unwrap();
    let mut resuming = Observed::parse(&hello_as(greeting).await).unwrap();
    assert_eq!(resuming.profile.extensions.iter().filter(|&&kind| kind == 41).count(), 1);
    resuming.profile.extensions.retain(|&kind| kind != 41);
    assert_eq!(resuming.profile.extensions, reference.profile.extensions);
}

/// The ClientHello that a back end sends, as a message without the header of its record.
async fn hello_of(hello: Hello, host: &str) -> Vec<u8> {
    hello_as(ClientHello { host: host.to_owned(), ..greeting(hello, Roots::PinOnly, vec![Pin::of(b"any")]) }).await
}

async fn hello_as(greeting: ClientHello) -> Vec<u8> {
    let (listener, at) = listen().await;
    let client = tokio::spawn(async move { connect(TcpStream::connect(at).await.unwrap(), &greeting).await });
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut header = [0; 5];
    tcp.read_exact(&mut header).await.unwrap();
    assert_eq!(header[..3], [0x16, 3, 1]);
    let mut message = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    tcp.read_exact(&mut message).await.unwrap();
    drop(tcp);
    assert!(client.await.unwrap().is_err());
    message
}

fn greeting(hello: Hello, roots: Roots, pins: Vec<Pin>) -> ClientHello {
    ClientHello { host: HOST.to_owned(), pins, roots, hello, profile: Profile::chromium(), tickets: Arc::default() }
}

/// A site with a certificate of its own small authority.
struct Site {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pin: Pin,
}

impl Site {
    fn new() -> Self {
        Self::until(4096)
    }

    /// A site whose certificate ends with the beginning of this year.
    fn until(year: i32) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        certificate.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        Self {
            authority: authority.der().clone(),
            certificate: certificate.der().clone(),
            pin: Pin::of(&key.subject_public_key_info()),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// A judge that takes this site's authority for one of the machine's.
    fn judge(&self, greeting: &ClientHello) -> Arc<Judge> {
        let authorities = (greeting.roots == Roots::System).then(|| {
            let mut store = RootCertStore::empty();
            store.add(self.authority.clone()).unwrap();
            store
        });
        Arc::new(Judge::with_authorities(&greeting.host, &greeting.pins, authorities, plain::provider()).unwrap())
    }

    fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(plain::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    async fn serve(&self) -> Server {
        serve(Arc::new(self.config())).await
    }
}

/// What a server saw of one connection.
#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    exported: Option<[u8; 48]>,
}

/// A server for one connection: it sends back what it gets.
struct Server {
    at: SocketAddr,
    task: JoinHandle<Seen>,
}

impl Server {
    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    async fn seen(self) -> Seen {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap()
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

async fn serve(config: Arc<ServerConfig>) -> Server {
    let (listener, at) = listen().await;
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut seen = Seen::default();
        let Ok(mut stream) = acceptor.accept(tcp).await else { return seen };
        seen.exported = export(stream.get_ref().1).ok();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            seen.bytes.extend(&buffer[..length]);
            stream.write_all(&buffer[..length]).await.unwrap();
        }
        seen
    });
    Server { at, task }
}

fn export(connection: &ServerConnection) -> io::Result<[u8; 48]> {
    connection.export_keying_material([0; 48], b"EXPORTER-test", Some(b"context")).map_err(io::Error::other)
}

/// A brotli stream of one uncompressed piece (RFC 7932 §9.2), so that no compressor is needed to test a decompressor.
#[cfg(feature = "chrome")]
#[derive(Debug)]
struct Stored;

#[cfg(feature = "chrome")]
impl rustls::compress::CertCompressor for Stored {
    fn compress(
        &self,
        input: Vec<u8>,
        _level: rustls::compress::CompressionLevel,
    ) -> Result<Vec<u8>, rustls::compress::CompressionFailed> {
        // Window of 16 bits (0), not the last (0), four nibbles of length (00), length less one, uncompressed (1).
        let header = ((input.len() as u32 - 1) << 4) | 1 << 20;
        let mut output = header.to_le_bytes()[..3].to_vec();
        output.extend(input);
        // Last, and empty.
        output.push(0b11);
        Ok(output)
    }

    fn algorithm(&self) -> rustls::CertificateCompressionAlgorithm {
        rustls::CertificateCompressionAlgorithm::Brotli
    }
}

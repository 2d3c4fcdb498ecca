//! A server in clear text or with its own TLS, with a small site or one that never answers; connections that say anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_engine::{DatagramIo as _, MAX_READ, RecvBatch, Want};
use adit_protocol::Secret;
use adit_transport::concealed::SigningKey;
use adit_transport::config::{self, Certificates, HttpsServer, User};
use adit_transport::server::{HttpsListener, ServerControl};
use adit_transport::shape::Settings;
use adit_transport::token;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::sys::Counting;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames, RFC 9113 §6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PAGE: &str = "<html><body>Hello, this is a site.</body></html>\n";
/// A server that takes nothing for so long takes nothing more.
const STALLED: Duration = Duration::from_millis(200);

/// Who ends TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Front {
    Own,
    Other,
}

/// What the server shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Site {
    Files,
    /// A site behind that takes connections and says nothing.
    Silent,
}

/// Until it is dropped no other story makes anything, which would be counted with this one's.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells a story, or a part of one. Whatever it began is gone when this returns, so that the next part counts its own.
pub(crate) fn tell<T>(story: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(story);
    drop(runtime);
    told
}

pub(crate) struct World {
    control: ServerControl,
    directory: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) async fn new(front: Front, site: Site) -> Self {
        let directory = std::env::temp_dir().join(format!("adit-hostile-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("index.html"), PAGE).unwrap();
        std::fs::write(directory.join("large.bin"), vec![1; 4 << 20]).unwrap();
        let is_plain = matches!((front, site), (Front::Other, Site::Files));
        let front = match front {
            Front::Own => config::Front::Direct(Certificates::SelfSigned { names: vec!["site.test".into()] }),
            Front::Other => config::Front::Behind { replays: Some(directory.join("used")) },
        };
        let mut tasks = Vec::new();
        let site = match site {
            Site::Files => config::Site::Directory(directory.clone()),
            Site::Silent => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                tasks.push(tokio::spawn(silent(listener)));
                config::Site::Proxy { url, root: None }
            }
        };
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let users = vec![User::new(key.public_key(), Some(Secret::new([1; 32])))];
        let (listen, shape) = (vec![([127, 0, 0, 1], 0).into()], Settings::default());
        let (engine, control) = HttpsListener::bind(HttpsServer { listen, front, site, users, shape }).await.unwrap();
        tasks.push(tokio::spawn(drain(engine)));
        let world = Self { control, directory, tasks };
        if is_plain {
            // What is made at the first request is made.
            world.visit().await;
        }
        world
    }

    fn address(&self) -> SocketAddr {
        self.control.listening()[0]
    }

    /// Bytes that so many connections, all open at a time, cost at the most, each treated by this in turn.
    pub(crate) async fn cost(&self, connections: usize, treat: impl AsyncFn(&mut TcpStream)) -> usize {
        let before = Counting::mark();
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut tcp = TcpStream::connect(self.address()).await.unwrap();
            treat(&mut tcp).await;
            open.push(tcp);
        }
        let most = Counting::most();
        drop(open);
        most.saturating_sub(before)
    }

    /// The same, each with TLS, and with these bytes sent.
    pub(crate) async fn cost_over_tls(&self, connections: usize, bytes: &[u8]) -> usize {
        let provider = Arc::new(default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        let before = Counting::mark();
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let tcp = TcpStream::connect(self.address()).await.unwrap();
            let name = ServerName::try_from("site.test").unwrap();
            let mut tls = TlsConnector::from(Arc::clone(&config)).connect(name, tcp).await.unwrap();
            taken(&mut tls, bytes).await;
            open.push(tls);
        }
        let most = Counting::most();
        drop(open);
        most.saturating_sub(before)
    }

    /// Somebody who means no harm gets the page.
    pub(crate) async fn visit(&self) {
        let mut tcp = TcpStream::connect(self.address()).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(PAGE), "{answer}");
    }

    /// The head of a request for the tunnel, with a fresh token, in HPACK.
    pub(crate) fn tunnel_request(&self) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut nonce = [0; token::NONCE_LEN];
        nonce.copy_from_slice(&now.as_nanos().to_be_bytes());
        let authorization = token::authorize(&Secret::new([1; 32]), now.as_secs(), nonce);
        let mut head = request("POST", "/sync.Files/Watch");
        for (name, value) in [("content-type", "application/grpc"), ("authorization", &authorization)] {
            head.extend([0, name.len() as u8]);
            head.extend_from_slice(name.as_bytes());
            // A length beyond 126 takes a second byte.
            let len = value.len();
            if len < 127 {
                head.push(len as u8)
            } else {
                head.extend([127, (len - 127) as u8])
            }
            head.extend_from_slice(value.as_bytes());
        }
        head
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// The beginning of a connection of HTTP/2.
pub(crate) fn begun() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The head of a request, in HPACK: method, path, scheme and authority.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    let method = if method == "GET" { 0x82 } else { 0x83 };
    let mut head = vec![method, 0x86, 0x04, path.len() as u8];
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(&[0x41, 9]);
    head.extend_from_slice(b"site.test");
    head
}

/// Sends until everything is taken, or nothing more is, or the server has had enough.
pub(crate) async fn taken(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        match tokio::time::timeout(STALLED, to.write(left)).await {
            Ok(Ok(n)) => left = &left[n..],
            Ok(Err(_)) | Err(_) => return,
        }
    }
    drop(tokio::time::timeout(STALLED, to.flush()).await);
    // The server has the time to do something about it.
    tokio::time::sleep(STALLED / 8).await;
}

/// Trusts every certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A site that never answers.
async fn silent(listener: TcpListener) {
    let mut open = Vec::new();
    while let Ok((tcp, _)) = listener.accept().await {
        open.push(tcp);
    }
}

/// An engine that takes everything.
async fn drain(mut engine: HttpsListener) {
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    while engine.ready(Want { read: true, write: false }).await.is_ok() {
        drop(engine.try_recv(&mut batch));
        while batch.front().is_some() {
            batch.pop_front();
        }
    }
}

//! A server on loopback with a small site, an engine that echoes, and a client that can say anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_engine::{DatagramIo as _, MAX_READ, RecvBatch, SendArena, Want};
use adit_protocol::Secret;
use bytes::Bytes;
use h2::client::SendRequest;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::concealed::{EXPORTED_LEN, EXPORTER_LABEL, Exported, Origin, SigningKey};
use crate::config::{Certificates, Front, HttpsServer, Site, User};
use crate::server::{HttpsListener, ServerControl};
use crate::shape::Settings;

pub(in crate::server) const HOST: &str = "site.test";
pub(super) const PAGE: &str = "<html><body>Hello, this is a site.</body></html>\n";
pub(super) const TUNNEL: &str = "https://site.test/.well-known/masque/udp/adit/51820/";

/// A directory that is removed at the end.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("adit-server-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("index.html"), PAGE).unwrap();
        std::fs::write(dir.join("style.css"), "body { color: green }\n".repeat(400)).unwrap();
        std::fs::write(dir.join("sub/index.html"), PAGE).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server and the end of its tunnel.
pub(super) struct World {
    pub(super) control: ServerControl,
    pub(super) dir: Dir,
    echo: JoinHandle<()>,
}

impl World {
    /// A site of files, with these users.
    pub(super) async fn with_users(users: Vec<User>) -> Self {
        let dir = Dir::new();
        let site = Site::Directory(dir.0.clone());
        Self::of(dir, Front::Direct(Certificates::SelfSigned { names: vec![HOST.into()] }), site, users).await
    }

    pub(super) async fn of(dir: Dir, front: Front, site: Site, users: Vec<User>) -> Self {
        super::log::listen();
        let listen = vec![([127, 0, 0, 1], 0).into()];
        let (listener, control) =
            HttpsListener::bind(HttpsServer { listen, front, site, users, shape: Settings::default() }).await.unwrap();
        Self { control, dir, echo: tokio::spawn(echo(listener)) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.control.listening()[0]
    }

    /// A TLS connection with this protocol.
    pub(super) async fn tls(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address()).await.unwrap();
        let config = client_config(alpn);
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), tcp).await.unwrap()
    }

    /// An HTTP/2 connection.
    pub(super) async fn connect(&self) -> Client {
        Client::over(self.tls(b"h2").await).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.echo.abort();
    }
}

/// A client that can say anything over HTTP/2.
pub(super) struct Client {
    pub(super) send: SendRequest<Bytes>,
    /// What the exporter gives, by context.
    exported: Vec<(Vec<u8>, [u8; EXPORTED_LEN])>,
}

impl Client {
    pub(super) async fn over(tls: TlsStream<TcpStream>) -> Self {
        // The exporter is asked before the stream is given away, for every key that a test may want.
        let origin = Origin::https(HOST).unwrap();
        let exported = [1, 2, 9].map(|n| {
            let context = key(n).exporter_context(&origin);
            let tls = tls.get_ref().1;
            let exported = tls.export_keying_material([0; EXPORTED_LEN], EXPORTER_LABEL, Some(&context)).unwrap();
            (context, exported)
        });
        let (send, connection) = h2::client::Builder::new().handshake(tls).await.unwrap();
        // Its end is seen by its streams.
        tokio::spawn(connection);
        Self { send: send.ready().await.unwrap(), exported: exported.to_vec() }
    }

    /// The header that proves this key on this connection.
    pub(super) fn authorization(&self, key: &SigningKey) -> String {
        let origin = Origin::https(HOST).unwrap();
        let context = key.exporter_context(&origin);
        let exported = self.exported.iter().find(|(known, _)| *known == context).unwrap().1;
        key.authorize(&Exported::new(exported))
    }

    /// A request for the tunnel.
    pub(super) fn tunnel_request(&self, authorization: Option<&str>) -> Request<()> {
        let mut request = Request::connect(TUNNEL).header("capsule-protocol", "?1").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
        }
        request
    }

    /// Asks without a body, and reads the whole answer; the date left out.
    pub(super) async fn ask(&mut self, request: Request<()>) -> Seen {
        let end = request.method() != http::Method::CONNECT;
        let (response, _stream) = self.send.send_request(request, end).unwrap();
        let response = response.await.unwrap();
        let status = response.status();
        let mut headers = response.headers().clone();
        headers.remove("date");
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            bytes.extend_from_slice(&piece);
        }
        Seen { status, headers, body: bytes }
    }

    pub(super) async fn get(&mut self, path: &str) -> Seen {
        self.ask(Request::get(format!("https://{HOST}{path}")).body(()).unwrap()).await
    }
}

/// An answer as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The key of a user by number. 1 and 2 are users, 9 is a stranger.
pub(super) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32]).unwrap()
}

pub(super) fn user(n: u8) -> User {
    User::new(key(n).public_key(), Some(Secret::new([n; 32])))
}

/// The other end of the tunnel: everything comes back.
async fn echo(mut listener: HttpsListener) {
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    let mut arena = SendArena::with_capacity(4 * MAX_READ);
    loop {
        let want = Want { read: true, write: false };
        if listener.ready(want).await.is_err() || listener.try_recv(&mut batch).is_err() {
            continue;
        }
        while let (Some(path), Some(datagram)) = (batch.front_path(), batch.front()) {
            if arena.push(path, 0, datagram).is_err() {
                listener.try_send(&mut arena).unwrap();
                continue;
            }
            batch.pop_front();
        }
        listener.try_send(&mut arena).unwrap();
    }
}

/// A server that nobody vouches for.
pub(in crate::server) fn server_config() -> rustls::ServerConfig {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    server_config_of(&made)
}

/// A server with this certificate.
pub(super) fn server_config_of(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> rustls::ServerConfig {
    let chain = vec![made.cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(crate::server::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// A client that trusts every certificate.
pub(in crate::server) fn client_config(alpn: &[u8]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(super::super::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = if alpn.is_empty() { vec![] } else { vec![alpn.to_vec()] };
    config
}

/// Trusts every certificate: only for tests.
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
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

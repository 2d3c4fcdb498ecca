//! A web site on loopback that notes how it is visited: the records, the hello in the first, and the HTTP/2 in the rest.
//!
//! Not here: who visits (`browser`), what is concluded (`main`).

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use adit_lab::ns::Namespace;
use adit_transport::config;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::frames::{Frames, Http2};

/// The name of the site.
pub(crate) const HOST: &str = "example.test";

/// How long one connection is watched.
const PATIENCE: Duration = Duration::from_secs(20);

/// The page: it has one of each kind of thing that a browser fetches.
const PAGE: &[u8] = b"<!doctype html><html><head><link rel=stylesheet href=/a.css><script src=/b.js></script></head>\
    <body><img src=/c.png>hello</body></html>";

/// The path of a page after which the site hangs up: what else a browser wants of it, it comes again for.
pub(crate) const HANGS_UP: &str = "/again";

/// One visit, as an observer with the key sees it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// The address that it went to: each visitor is sent to another.
    pub(crate) to: IpAddr,
    /// The ClientHello, without the header of its record.
    pub(crate) hello: Vec<u8>,
    /// The sizes of the client's encrypted records after Finished, without their headers.
    pub(crate) records: Vec<u16>,
    /// What it said in HTTP/2.
    pub(crate) http2: Http2,
}

/// A site in a namespace.
pub(crate) struct Site {
    visits: Arc<Mutex<Vec<Visit>>>,
    certificate: CertificateDer<'static>,
    /// The pin of its key.
    pub(crate) pin: config::Pin,
}

impl Site {
    /// Opens the site in a namespace, on port 443 of every address of loopback.
    pub(crate) fn open(namespace: &Namespace) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        let site = Self {
            visits: Arc::default(),
            certificate: certificate.der().clone(),
            pin: config::Pin::of(&key.subject_public_key_info()),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![site.certificate.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (acceptor, visits) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&site.visits));
        let (tell, open) = std::sync::mpsc::channel();
        namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 443)).await.unwrap();
                tell.send(()).unwrap();
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(watch(tcp, acceptor.clone(), Arc::clone(&visits)));
                }
            });
        });
        open.recv().unwrap();
        site
    }

    /// The visits to one address that have ended, those first that asked for most.
    pub(crate) fn visits(&self, to: Ipv4Addr) -> Vec<Visit> {
        let mut visits = self.visits.lock().unwrap().clone();
        visits.retain(|visit| visit.to == to);
        visits.sort_by_key(|visit| std::cmp::Reverse(visit.http2.requests.len()));
        visits
    }
}

/// Serves one connection, and notes how it went whichever way it ends.
async fn watch(tcp: TcpStream, acceptor: TlsAcceptor, visits: Arc<Mutex<Vec<Visit>>>) {
    let to = tcp.local_addr().unwrap().ip();
    let noted = Arc::new(Mutex::new(Vec::new()));
    let tap = Tap { tcp, noted: Arc::clone(&noted) };
    let mut frames = Frames::default();
    // How a connection ends is no finding: clients hang up as they like.
    drop(tokio::time::timeout(PATIENCE, serve(tap, acceptor, &mut frames)).await);
    let bytes = noted.lock().unwrap().clone();
    let (hello, records) = records(&bytes);
    visits.lock().unwrap().push(Visit { to, hello, records, http2: frames.seen });
}

async fn serve(tap: Tap, acceptor: TlsAcceptor, frames: &mut Frames) -> io::Result<()> {
    let mut stream: TlsStream<Tap> = acceptor.accept(tap).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let answer = frames.read(&buffer[..length], PAGE);
        stream.write_all(&answer).await?;
        stream.flush().await?;
        if frames.seen.order().contains(&HANGS_UP) {
            return stream.shutdown().await;
        }
    }
}

/// The hello, and the sizes of the encrypted records after the client's Finished.
fn records(mut bytes: &[u8]) -> (Vec<u8>, Vec<u16>) {
    let (mut hello, mut sizes) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        match header[0] {
            22 if hello.is_empty() => hello = body.to_vec(),
            23 => sizes.push(length as u16),
            _ => {}
        }
        bytes = rest;
    }
    // The first encrypted record is Finished.
    (hello, sizes.into_iter().skip(1).collect())
}

/// A connection that notes what comes in.
struct Tap {
    tcp: TcpStream,
    noted: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(task, into);
        self.noted.lock().unwrap().extend(&into.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(task)
    }
}

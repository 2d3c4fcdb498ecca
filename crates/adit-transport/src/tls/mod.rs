//! The outer TLS of a client: one way in, two back ends, and the check that the server is the right one.
//!
//! Not here: the server's TLS (`server`), HTTP (`client`), when to connect (`client`).

#[cfg(feature = "chrome")]
mod chrome;
pub mod observed;
mod pins;
mod plain;
pub mod profile;
#[cfg(test)]
mod tests;
mod tickets;

use std::{
    fmt, io,
    pin::Pin as Pinned,
    sync::Arc,
    task::{Context, Poll},
};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use self::{pins::Judge, profile::Profile};
pub use self::{
    pins::{Validity, pin_of_certificate},
    tickets::Tickets,
};
use crate::config::{Hello, Pin, Roots};

/// Whom to greet, as whom, and how to know that it is really them.
#[derive(Debug, Clone)]
pub struct ClientHello {
    /// The server's name: sent in the hello, and looked for in the certificate.
    pub host: String,
    /// Keys of which the server must have one. May be empty unless `roots` says that only they count.
    pub pins: Vec<Pin>,
    /// Who vouches for the certificate.
    pub roots: Roots,
    /// Like a browser, or plainly as what it is.
    pub hello: Hello,
    /// The browser to look like. A plain hello takes nothing from it.
    pub profile: Arc<Profile>,
    /// Sessions with this server that may be resumed, as a browser does. A plain hello takes nothing from it.
    pub tickets: Arc<Tickets>,
}

/// Why there is no TLS connection. Nothing but the hello was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The name is neither a host name nor an address.
    #[error("`{host}` is not the name of a host")]
    BadName {
        /// The name.
        host: String,
    },
    /// Only pins count, and there is none.
    #[error(
        "no key of the server is pinned, and no authority is trusted\n  hint: add a pin, or trust the machine's authorities"
    )]
    NoPin,
    /// The machine's certificate authorities cannot be read.
    #[error(
        "the machine's certificate authorities cannot be read: {reason}\n  hint: install ca-certificates, or trust a pinned key alone"
    )]
    Roots {
        /// What went wrong.
        reason: String,
    },
    /// Nobody trusted vouches for the certificate.
    #[error(
        "the certificate of {host} is not to be trusted: {reason}\n  hint: nothing was sent; somebody may be in between, or the server's certificate needs renewal"
    )]
    Untrusted {
        /// The server.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate is good, but its key is not the pinned one.
    #[error(
        "{host} has the key {found}, which is not the one that is pinned\n  hint: nothing was sent; somebody may be in between. If the server has a new key, ask its owner for the new pin"
    )]
    WrongKey {
        /// The server.
        host: String,
        /// The key that it showed.
        found: Pin,
    },
    /// This build cannot look like a browser.
    #[error(
        "this build cannot look like a browser\n  hint: build adit-transport with its feature `chrome`, or accept a plain hello"
    )]
    NoBrowser,
    /// The profile asks for what the back end cannot do.
    #[error("the hello of {profile} cannot be made: {reason}\n  hint: update adit, or its fingerprint profile")]
    Profile {
        /// The profile.
        profile: String,
        /// What cannot be done.
        reason: String,
    },
    /// The handshake failed, or the connection broke during it.
    #[error("no TLS with {host}: {source}")]
    Handshake {
        /// The server.
        host: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// Greets a server over `tcp`. When this returns, the server has proved to be the right one; until then it was sent
/// nothing but TLS's own messages.
///
/// It waits for as long as the server takes: put a time limit around it.
///
/// # Errors
///
/// The server is not the right one, or there is no handshake with it.
pub async fn connect(tcp: TcpStream, hello: &ClientHello) -> Result<TlsStream, TlsError> {
    let judge = Arc::new(Judge::new(&hello.host, &hello.pins, hello.roots, plain::provider())?);
    connect_judged(tcp, hello, judge).await
}

/// As [`connect`], and says when the certificate is good that the server showed: of one that was refused, too.
pub async fn connect_seen(tcp: TcpStream, hello: &ClientHello) -> (Result<TlsStream, TlsError>, Option<Validity>) {
    let judge = match Judge::new(&hello.host, &hello.pins, hello.roots, plain::provider()) {
        Ok(judge) => Arc::new(judge),
        Err(error) => return (Err(error), None),
    };
    let connected = connect_judged(tcp, hello, Arc::clone(&judge)).await;
    (connected, judge.seen())
}

async fn connect_judged(tcp: TcpStream, hello: &ClientHello, judge: Arc<Judge>) -> Result<TlsStream, TlsError> {
    match hello.hello {
        Hello::Plain => plain::connect(tcp, judge).await.map(|stream| TlsStream(Backend::Plain(Box::new(stream)))),
        #[cfg(feature = "chrome")]
        Hello::Browser => chrome::connect(tcp, hello, judge).await.map(|stream| TlsStream(Backend::Chrome(stream))),
        #[cfg(not(feature = "chrome"))]
        Hello::Browser => Err(TlsError::NoBrowser),
    }
}

/// Can this build look like a browser?
#[must_use]
pub const fn has_browser() -> bool {
    cfg!(feature = "chrome")
}

/// A TLS connection with a server that has proved to be the right one.
///
/// Each `poll_write` becomes one record (up to 16 KiB), so whoever writes decides the sizes that are seen outside.
pub struct TlsStream(Backend);

enum Backend {
    Plain(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    #[cfg(feature = "chrome")]
    Chrome(tokio_boring::SslStream<TcpStream>),
}

impl TlsStream {
    /// Key material that only the two ends of this connection know (RFC 5705, RFC 8446 §7.5).
    ///
    /// # Errors
    ///
    /// `out` is longer than the exporter can fill.
    pub fn export_keying_material(&self, out: &mut [u8], label: &str, context: Option<&[u8]>) -> io::Result<()> {
        match &self.0 {
            Backend::Plain(stream) => stream
                .get_ref()
                .1
                .export_keying_material(out, label.as_bytes(), context)
                .map(|_| ())
                .map_err(io::Error::other),
            #[cfg(feature = "chrome")]
            Backend::Chrome(stream) => {
                stream.ssl().export_keying_material(out, label, context).map_err(io::Error::other)
            }
        }
    }

    /// The application protocol that the server chose, if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.0 {
            Backend::Plain(stream) => stream.get_ref().1.alpn_protocol(),
            #[cfg(feature = "chrome")]
            Backend::Chrome(stream) => stream.ssl().selected_alpn_protocol(),
        }
    }

    /// Whether the handshake resumed a session that there was before.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match &self.0 {
            Backend::Plain(_) => false,
            #[cfg(feature = "chrome")]
            Backend::Chrome(stream) => stream.ssl().session_reused(),
        }
    }

    /// What this connection looks like from outside, for people.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match &self.0 {
            Backend::Plain(_) => "HTTPS, not a browser",
            #[cfg(feature = "chrome")]
            Backend::Chrome(_) => "HTTPS, like a browser",
        }
    }

    /// The TCP connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Backend::Plain(stream) => stream.get_ref().0,
            #[cfg(feature = "chrome")]
            Backend::Chrome(stream) => stream.get_ref(),
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.label()).finish()
    }
}

/// The same call on whichever back end it is.
macro_rules! on_backend {
    ($self:ident, $call:ident ( $($argument:expr),* )) => {
        match &mut $self.get_mut().0 {
            Backend::Plain(stream) => Pinned::new(stream.as_mut()).$call($($argument),*),
            #[cfg(feature = "chrome")]
            Backend::Chrome(stream) => Pinned::new(stream).$call($($argument),*),
        }
    };
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pinned<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_backend!(self, poll_read(task, into))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pinned<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_backend!(self, poll_write(task, bytes))
    }

    fn poll_flush(self: Pinned<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_backend!(self, poll_flush(task))
    }

    fn poll_shutdown(self: Pinned<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_backend!(self, poll_shutdown(task))
    }
}

//! The bytes of one connection: TLS or clear text, gathered into large writes, and the TLS exporter on request.
//!
//! Not here: what the bytes mean (`h1`, `h2`).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::ledger::{Account, Held};
use super::limits::{GATHER, WRITE_TIME};
use crate::concealed::{EXPORTED_LEN, EXPORTER_LABEL, Exported};

/// Questions to an exporter that wait for an answer; a stream asks one at a time.
const QUESTIONS: usize = 4;

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Carrier {
    /// Our own TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// The front on this machine has ended TLS.
    Clear(TcpStream),
}

/// One connection as bytes.
#[derive(Debug)]
pub(super) struct Wire {
    carrier: Carrier,
    gathered: BytesMut,
    /// Runs while nothing can be written, and what is held meanwhile.
    stalled: Option<(Pin<Box<Sleep>>, Held)>,
    account: Arc<Account>,
    questions: mpsc::Receiver<Question>,
}

/// Asks the TLS exporter of one connection, from the tasks that answer its requests.
#[derive(Debug, Clone)]
pub(super) struct Exporter(mpsc::Sender<Question>);

#[derive(Debug)]
struct Question {
    context: Vec<u8>,
    answer: oneshot::Sender<Option<Exported>>,
}

impl Exporter {
    /// What the exporter gives for this context. `None` without TLS 1.3, or if the connection has ended.
    pub(super) async fn ask(&self, context: Vec<u8>) -> Option<Exported> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question { context, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}

impl Wire {
    pub(super) fn new(carrier: Carrier, account: Arc<Account>) -> (Self, Exporter) {
        let (ask, questions) = mpsc::channel(QUESTIONS);
        (Self { carrier, gathered: BytesMut::new(), stalled: None, account, questions }, Exporter(ask))
    }

    fn answer_questions(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(question)) = self.questions.poll_recv(cx) {
            // Whoever asked may have gone meanwhile.
            drop(question.answer.send(self.carrier.export(&question.context)));
        }
    }

    /// Writes what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = self.carrier.as_mut().poll_write(cx, &self.gathered);
            match self.or_stalled(cx, written) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.gathered.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Idle connections hold no memory for writing.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// An error in place of waiting, once nothing could be written for too long.
    fn or_stalled<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let (account, gathered) = (&self.account, self.gathered.capacity());
        let (stalled, _) = self.stalled.get_or_insert_with(|| {
            // Our own buffer, and as much in that of TLS.
            (Box::pin(sleep(WRITE_TIME)), account.hold(2 * gathered))
        });
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Carrier {
    fn as_mut(&mut self) -> Pin<&mut (dyn Duplex + Send)> {
        match self {
            Self::Tls(tls) => Pin::new(tls.as_mut()),
            Self::Clear(tcp) => Pin::new(tcp),
        }
    }

    fn export(&self, context: &[u8]) -> Option<Exported> {
        let Self::Tls(tls) = self else { return None };
        let (_, session) = tls.get_ref();
        if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        let exported = session.export_keying_material([0; EXPORTED_LEN], EXPORTER_LABEL, Some(context)).ok()?;
        Some(Exported::new(exported))
    }
}

/// Both directions in one object.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.answer_questions(cx);
        self.carrier.as_mut().poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHER {
            ready!(self.poll_drain(cx))?;
        }
        let n = bytes.len().min(GATHER - self.gathered.len());
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(if n > GATHER / 16 { GATHER } else { n });
        }
        self.gathered.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match self.as_mut().poll_write(cx, slice) {
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(error)) if written == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
            if self.gathered.len() >= GATHER {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        let flushed = self.carrier.as_mut().poll_flush(cx);
        self.or_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        let closed = self.carrier.as_mut().poll_shutdown(cx);
        self.or_stalled(cx, closed)
    }
}

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

/// What rustls takes while the socket takes nothing, if it is not told otherwise.
const TLS_BUFFER: usize = 64 * 1024;

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
    /// The memory that what was gathered takes: also that of bytes which have left it.
    room: usize,
    /// Bytes that the carrier was given since it last had none left.
    given: usize,
    stalled: Option<Stalled>,
    account: Arc<Account>,
    questions: mpsc::Receiver<Question>,
}

/// While nothing can be written.
#[derive(Debug)]
struct Stalled {
    patience: Pin<Box<Sleep>>,
    /// What is noted of what waits, and how much that is. It may become more.
    held: Vec<Held>,
    bytes: usize,
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
        (
            Self { carrier, gathered: BytesMut::new(), room: 0, given: 0, stalled: None, account, questions },
            Exporter(ask),
        )
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
                Poll::Ready(Ok(n)) => {
                    self.gathered.advance(n);
                    self.given = self.given.saturating_add(n);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Idle connections hold no memory for writing.
        (self.gathered, self.room) = (BytesMut::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// An error in place of waiting, once nothing could be written for too long.
    fn or_stalled<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let bytes = self.room + self.carrier.keeps_of(self.given);
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            patience: Box::pin(sleep(WRITE_TIME)),
            held: Vec::new(),
            bytes: 0,
        });
        if bytes > stalled.bytes || stalled.held.is_empty() {
            stalled.held.push(self.account.hold(bytes - stalled.bytes));
            stalled.bytes = bytes;
        }
        ready!(stalled.patience.as_mut().poll(cx));
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

    /// How much of what it was given since it last had none left may still be here: TLS takes bytes also when the socket takes
    /// none, but for so many.
    fn keeps_of(&self, given: usize) -> usize {
        match self {
            Self::Tls(_) => given.min(TLS_BUFFER),
            Self::Clear(_) => 0,
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
        self.room = self.room.max(self.gathered.capacity());
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
        if flushed.is_ready() {
            self.given = 0;
        }
        self.or_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        let closed = self.carrier.as_mut().poll_shutdown(cx);
        self.or_stalled(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::server::ledger::Ledger;
    use crate::server::tests::{HOST, client_config, server_config};

    /// Over TLS two buffers fill up: that of TLS first, and then ours. As soon as nothing leaves, both are counted for what
    /// is in them; and when the client takes it, for nothing.
    #[tokio::test]
    async fn what_a_stalled_connection_keeps_is_counted_also_inside_tls() {
        let ledger = Ledger::new(1, 64 << 20);
        let account = ledger.admit().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let connector = TlsConnector::from(Arc::new(client_config(b"h2")));
        let (client, server) = tokio::join!(
            connector.connect(HOST.try_into().unwrap(), client),
            TlsAcceptor::from(Arc::new(server_config())).accept(server)
        );
        let (mut wire, _exporter) = Wire::new(Carrier::Tls(Box::new(server.unwrap())), account);

        let mut written = 0;
        while at_once(wire.write_all(&[7; GATHER])).await.is_some() {
            written += GATHER;
            let is_flushed = at_once(wire.flush()).await.is_some();
            assert_eq!(ledger.held() > 0, !is_flushed);
            if !is_flushed {
                assert!(ledger.held() >= TLS_BUFFER, "{} of {written}", ledger.held());
            }
        }
        // The last was not taken whole, for nothing has room any more.
        let held = ledger.held();
        assert!((GATHER + TLS_BUFFER..=4 * GATHER).contains(&held), "{held}");

        let (mut client, mut taken) = (client.unwrap(), vec![0; GATHER]);
        let take = async { while client.read(&mut taken).await.is_ok_and(|n| n > 0) {} };
        tokio::select! {
            flushed = wire.flush() => flushed.unwrap(),
            () = take => panic!("the connection ended"),
        }
        assert_eq!(ledger.held(), 0);
    }

    /// What comes of it without anybody's help. The kernel may move bytes meanwhile, so it is asked some times.
    async fn at_once<T>(what: impl Future<Output = io::Result<T>>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        for _ in 0..20 {
            tokio::select! {
                biased;
                done = &mut what => return Some(done.unwrap()),
                () = tokio::task::yield_now() => {}
            }
        }
        None
    }
}

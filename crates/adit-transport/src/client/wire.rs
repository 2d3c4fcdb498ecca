//! HTTP/2 on a TLS stream, one request after the other: for everything before the tunnel carries datagrams.
//!
//! Not here: carrying them (`pump`), the bytes of HTTP/2 (`h2`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::h2::{Connection, Event, Settings};

/// Room for reading: some TLS records at a time, so that memory is asked for seldom.
pub(super) const READ_AT_ONCE: usize = 128 << 10;
/// When less than a TLS record fits, more room is made.
pub(super) const READ_AT_LEAST: usize = 17 << 10;

/// A connection before it carries datagrams.
#[derive(Debug)]
pub(super) struct Wire<S> {
    pub(super) stream: S,
    pub(super) connection: Connection,
    /// Received, and not yet understood.
    pub(super) input: BytesMut,
    pub(super) traffic: Arc<Traffic>,
    /// The server has told its settings.
    pub(super) settled: bool,
}

/// Bytes of HTTP/2 that were carried, of all connections.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, first: &Settings, traffic: Arc<Traffic>) -> Self {
        Self { stream, connection: Connection::new(first), input: BytesMut::new(), traffic, settled: false }
    }

    /// Writes what is to be written, each record by itself.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.connection.record().is_empty() {
            let len = self.stream.write(self.connection.record()).await?;
            if len == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.connection.written(len);
            self.traffic.sent.fetch_add(len as u64, Ordering::Relaxed);
        }
        self.stream.flush().await
    }

    /// What happens next, after everything was written.
    pub(super) async fn event(&mut self) -> io::Result<Event> {
        loop {
            let event =
                self.connection.receive(&mut self.input, Instant::now().into_std()).map_err(io::Error::other)?;
            self.settled |= event == Some(Event::Settings);
            if let Some(event) = event {
                return Ok(event);
            }
            self.flush().await?;
            make_room(&mut self.input);
            let len = self.stream.read_buf(&mut self.input).await?;
            if len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.traffic.received.fetch_add(len as u64, Ordering::Relaxed);
        }
    }
}

/// Makes room for another read.
pub(super) fn make_room(input: &mut BytesMut) {
    if input.capacity() - input.len() < READ_AT_LEAST {
        input.reserve(READ_AT_ONCE);
    }
}

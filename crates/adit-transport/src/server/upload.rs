//! Bodies of requests over HTTP/2: read as they arrive, and noted in the ledger byte by byte until they are handed on.
//!
//! What lies unread in the HTTP library is not seen by anybody, so nothing is left there. The window stays closed for what
//! was read and not handed on, so the client sends no more than [`WINDOW`](super::limits::WINDOW). Not here: bodies of
//! HTTP/1.1, which are read when they are asked for (`h1`); tunnels, which read without a pause (`tunnel`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{FlowControl, RecvStream};
use http::HeaderMap;
use hyper::body::Frame;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::body::{self, Body};
use super::ledger::{Account, Held};

/// The body of a request, which is noted in this account.
pub(super) fn of(stream: RecvStream, account: &Arc<Account>) -> Body {
    if stream.is_end_stream() { body::empty() } else { body::patient(Upload::new(stream, account)) }
}

struct Upload {
    /// No longer than the window is wide, for a piece has a byte at least; and each is noted as a kilobyte at least.
    arrived: UnboundedReceiver<Result<Arrived, h2::Error>>,
    window: FlowControl,
    /// The piece that was handed on last, until the next is asked for.
    given: Option<(usize, Held)>,
    /// Ends with the body.
    _reading: JoinSet<()>,
}

enum Arrived {
    Data(Bytes, Held),
    Trailers(HeaderMap),
}

impl Upload {
    fn new(mut stream: RecvStream, account: &Arc<Account>) -> Self {
        let (to, arrived) = mpsc::unbounded_channel();
        let window = stream.flow_control().clone();
        let mut reading = JoinSet::new();
        reading.spawn(read(stream, to, Arc::clone(account)));
        Self { arrived, window, given: None, _reading: reading }
    }

    /// Opens the window again for what was handed on, and forgets it.
    fn release(&mut self) {
        if let Some((len, held)) = self.given.take() {
            // The stream may be gone meanwhile.
            drop(self.window.release_capacity(len));
            drop(held);
        }
    }
}

/// Reads until the end of the body.
async fn read(mut stream: RecvStream, to: UnboundedSender<Result<Arrived, h2::Error>>, account: Arc<Account>) {
    while let Some(piece) = stream.data().await {
        let piece = piece.map(|data| {
            let held = account.hold(data.len());
            // A copy: a slice would keep all of what was read from the connection together with it.
            Arrived::Data(Bytes::copy_from_slice(&data), held)
        });
        if matches!(&piece, Ok(Arrived::Data(data, _)) if data.is_empty()) {
            continue;
        }
        let is_broken = piece.is_err();
        if let Err(unsent) = to.send(piece) {
            if let Ok(Arrived::Data(data, _)) = unsent.0 {
                drop(stream.flow_control().release_capacity(data.len()));
            }
            return;
        }
        if is_broken {
            return;
        }
    }
    if let Some(last) = stream.trailers().await.map(|trailers| trailers.map(Arrived::Trailers)).transpose() {
        // Whoever asked may have gone.
        drop(to.send(last));
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        // Whoever asks for the next piece has used this one.
        self.release();
        Poll::Ready(ready!(self.arrived.poll_recv(cx)).map(|arrived| {
            arrived.map(|arrived| match arrived {
                Arrived::Data(data, held) => {
                    self.given = Some((data.len(), held));
                    Frame::data(data)
                }
                Arrived::Trailers(trailers) => Frame::trailers(trailers),
            })
        }))
    }
}

impl Drop for Upload {
    /// The connection's other uploads may have what this one took of its window.
    fn drop(&mut self) {
        self.release();
        self.arrived.close();
        while let Ok(arrived) = self.arrived.try_recv() {
            if let Ok(Arrived::Data(data, held)) = arrived {
                self.given = Some((data.len(), held));
                self.release();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::server::ledger::Ledger;
    use crate::server::limits::WINDOW;

    const KIB: usize = 1 << 10;
    /// What pieces of less than a kilobyte may count for beyond their size.
    const SMALL: usize = 16 * KIB;

    /// An upload that rests costs nothing; one that nobody reads costs what arrived; one that is read, what is in use.
    #[tokio::test]
    async fn what_arrived_and_is_not_handed_on_is_noted_and_no_more() {
        let ledger = Ledger::new(1, 64 << 20);
        let account = ledger.admit().await;
        let (mut to, stream) = request().await;
        let mut upload = of(stream, &account);
        noted(&ledger, 0..=0).await;
        for piece in [10 * KIB, 5 * KIB, 1] {
            to.send_data(vec![7; piece].into(), false).unwrap();
        }
        noted(&ledger, 16 * KIB..=16 * KIB).await;
        assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), vec![7; 10 * KIB]);
        noted(&ledger, 16 * KIB..=16 * KIB).await;
        assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), vec![7; 5 * KIB]);
        noted(&ledger, 6 * KIB..=6 * KIB).await;
        drop(upload);
        noted(&ledger, 0..=0).await;
    }

    /// However much a client has to send: no more than fits in its window comes before it is handed on, and all of it does.
    #[tokio::test]
    async fn the_window_bounds_what_is_read_ahead_and_opens_as_it_is_handed_on() {
        let ledger = Ledger::new(1, 64 << 20);
        let account = ledger.admit().await;
        let (mut to, stream) = request().await;
        let mut upload = of(stream, &account);
        let (window, all) = (WINDOW as usize, 3 * WINDOW as usize);
        to.send_data(vec![7; all].into(), true).unwrap();
        noted(&ledger, window..=window + SMALL).await;
        let mut got = 0;
        while let Some(frame) = upload.frame().await {
            got += frame.unwrap().into_data().unwrap().len();
            assert!(ledger.held() <= window + SMALL, "{}", ledger.held());
        }
        assert_eq!(got, all);
        noted(&ledger, 0..=0).await;
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_gives_back_its_part_of_the_window() {
        let ledger = Ledger::new(1, 64 << 20);
        let account = ledger.admit().await;
        let (mut to, mut stream) = request().await;
        let window = stream.flow_control().clone();
        let upload = of(stream, &account);
        to.send_data(vec![7; 3 * WINDOW as usize].into(), false).unwrap();
        noted(&ledger, WINDOW as usize..=WINDOW as usize + SMALL).await;
        assert_eq!(window.used_capacity(), WINDOW as usize);
        drop(upload);
        while window.used_capacity() > 0 {
            tokio::task::yield_now().await;
        }
        noted(&ledger, 0..=0).await;
    }

    /// A request with a body, in the hands of both ends.
    async fn request() -> (h2::SendStream<Bytes>, RecvStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut server = h2::server::Builder::new();
        server.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (client, server) = tokio::join!(h2::client::handshake(near), server.handshake::<_, Bytes>(far));
        let (mut send, connection) = client.unwrap();
        tokio::spawn(connection);
        let (response, to) = send.send_request(Request::post("https://site.test/").body(()).unwrap(), false).unwrap();
        let mut server = server.unwrap();
        let (request, respond) = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move {
            let _open = (send, response, respond);
            while server.accept().await.is_some() {}
        });
        (to, request.into_body())
    }

    /// Waits until so much is noted.
    async fn noted(ledger: &Ledger, bytes: RangeInclusive<usize>) {
        let waited = async {
            while !bytes.contains(&ledger.held()) {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        assert!(tokio::time::timeout(patience, waited).await.is_ok(), "{} and not {bytes:?}", ledger.held());
    }
}

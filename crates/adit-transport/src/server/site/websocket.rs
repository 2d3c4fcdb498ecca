//! The two directions of a WebSocket between a client and the site behind, until one of them has had enough.
//!
//! Not here: how it is asked for (`proxy`), and what is said on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::server::body::{Body, BodyError};
use crate::server::ledger::Working;
use crate::server::limits::BODY_TIME;

/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// Over HTTP/1.1: carries both directions until they have ended, until not a byte has passed either way for as long as a
/// body may pause, or until the client's connection has to go.
pub(super) async fn carry<C, S>(client: C, site: S, working: Option<Arc<Working>>)
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let passed = Notify::new();
    let (from_client, to_client) = tokio::io::split(client);
    let (from_site, to_site) = tokio::io::split(site);
    let both = async { tokio::try_join!(copy(from_client, to_site, &passed), copy(from_site, to_client, &passed)) };
    let quiet = async { while timeout(BODY_TIME, passed.notified()).await.is_ok() {} };
    let ended = async {
        match &working {
            Some(working) => working.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Either end may break off at any time.
        _ = both => {}
        () = quiet => tracing::trace!("a WebSocket was quiet for too long"),
        () = ended => {}
    }
}

async fn copy<R, W>(mut from: ReadHalf<R>, mut to: WriteHalf<W>, passed: &Notify) -> io::Result<()>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut buffer = vec![0; PIECE];
    loop {
        let len = from.read(&mut buffer).await?;
        let Some(piece) = buffer.get(..len).filter(|piece| !piece.is_empty()) else { return to.shutdown().await };
        to.write_all(piece).await?;
        to.flush().await?;
        passed.notify_one();
    }
}

/// Over HTTP/2, what the client says: the body of its request, until it ends or the site takes no more.
pub(super) async fn upward(mut from_client: Body, mut to_site: WriteHalf<TokioIo<Upgraded>>) {
    while let Some(Ok(frame)) = from_client.frame().await {
        let Ok(data) = frame.into_data() else { break };
        if !matches!(timeout(BODY_TIME, to_site.write_all(&data)).await, Ok(Ok(()))) {
            return;
        }
    }
    // The site may have closed first.
    drop(to_site.shutdown().await);
}

/// Over HTTP/2, what the site says, as the body of an answer.
pub(super) struct Downward {
    from_site: ReadHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
}

impl Downward {
    pub(super) fn new(from_site: ReadHalf<TokioIo<Upgraded>>) -> Self {
        Self { from_site, buffer: BytesMut::new() }
    }
}

impl hyper::body::Body for Downward {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.buffer.resize(PIECE, 0);
        let mut into = ReadBuf::new(&mut this.buffer);
        if let Err(error) = ready!(Pin::new(&mut this.from_site).poll_read(cx, &mut into)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let len = into.filled().len();
        Poll::Ready((len > 0).then(|| Ok(Frame::data(this.buffer.split_to(len).freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::server::ledger::Ledger;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_until_both_have_ended() {
        let (mut client, mut site, carrying) = carried(None);
        for _ in 0..3 {
            // A byte either way, now and then, is enough.
            sleep(BODY_TIME - SECOND).await;
            passes(&mut client, &mut site).await;
            sleep(BODY_TIME - SECOND).await;
            passes(&mut site, &mut client).await;
        }
        site.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        passes(&mut client, &mut site).await;
        client.shutdown().await.unwrap();
        over(carrying).await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_byte_either_way_it_ends() {
        let (mut client, mut site, carrying) = carried(None);
        passes(&mut client, &mut site).await;
        let begun = Instant::now();
        over(carrying).await;
        assert_eq!(begun.elapsed().as_secs(), BODY_TIME.as_secs());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    /// A client that takes nothing: the site's bytes do not pass.
    #[tokio::test(start_paused = true)]
    async fn bytes_that_nobody_takes_are_as_good_as_none() {
        let (_client, mut site, carrying) = carried(None);
        let write = tokio::spawn(async move { while site.write_all(&[7; PIECE]).await.is_ok() {} });
        over(carrying).await;
        write.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_ledger_ends_it_and_has_its_place_back() {
        let ledger = Ledger::new(1, 1 << 20);
        let account = ledger.admit().await;
        let (mut client, _site, carrying) = carried(Some(Arc::new(account.works())));
        let others = account.hold((1 << 20) + 1);
        // Whoever served the connection learns of it, and is not the only one.
        account.ended().await;
        over(carrying).await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop((account, others));
        ledger.admit().await;
    }

    fn carried(working: Option<Arc<Working>>) -> (DuplexStream, DuplexStream, JoinHandle<()>) {
        let (client, near) = duplex(PIECE);
        let (site, far) = duplex(PIECE);
        (client, site, tokio::spawn(carry(near, far, working)))
    }

    /// Waits until it is over, and not for ever.
    async fn over(carrying: JoinHandle<()>) {
        timeout(10 * BODY_TIME, carrying).await.expect("it ends").unwrap();
    }

    async fn passes(from: &mut DuplexStream, to: &mut DuplexStream) {
        from.write_all(b"hello").await.unwrap();
        let mut seen = [0; 5];
        to.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hello");
    }
}

//! Bodies of requests and answers, of one type whatever they come from, and of limited patience.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::ledger::{Account, Held, Working};
use super::limits::{ANSWER, BODY_TIME};

/// Any body.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why a body ended before its end.
pub(super) type BodyError = Box<dyn Error + Send + Sync>;

/// No body.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is all there.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that fails if its next piece does not come in time.
pub(super) fn patient<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    Patient { body, waiting: None }.boxed_unsync()
}

/// A body that is noted in the ledger piece by piece, each until the next is asked for, and as a request until its end.
pub(super) fn noted(body: Body, account: Arc<Account>, working: Arc<Working>) -> Body {
    Noted { body, account, held: None, _working: working }.boxed_unsync()
}

struct Noted {
    body: Body,
    account: Arc<Account>,
    held: Option<Held>,
    _working: Arc<Working>,
}

struct Patient<B> {
    body: B,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Noted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Whoever asks for more has room for it: what was given has left, but for a bounded rest.
        self.held = None;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        self.held = data.map(|data| self.account.hold(2 * data.len() + ANSWER));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> hyper::body::Body for Patient<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(BODY_TIME)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err("no more of the body came".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The tunnel inside one request: capsules between its bodies and a seat at the hub.
//!
//! Not here: capsules (`capsule`), the seat (`hub`), who may have a tunnel (`admit`).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::admit::Form;
use super::h2::capacity;
use super::piece::Piece;
use super::users::Entry;
use crate::capsule::Decoder;
use crate::grpc::{self, Deframer};
use crate::hub::{FromEngine, Seat, ToEngine};
use crate::shape::{Outgoing, Role, Settings};

/// Chunks of the engine that are sent as one, if they lie ready.
const JOIN_UP_TO: usize = 32 * 1024;

/// Carries the tunnel until one of its ends, or its user, is gone.
pub(super) async fn run(
    form: Form,
    seat: Seat,
    mut entry: Entry,
    shape: &Settings,
    mut from_client: RecvStream,
    mut to_client: SendStream<Piece>,
) {
    let Seat { to_engine, mut from_engine } = seat;
    let heard = Heard::default();
    let outgoing = Outgoing::new(Role::Server, shape, Instant::now().into_std());
    let end = tokio::select! {
        end = up(form, &mut from_client, &to_engine, &heard) => end,
        end = down(form, outgoing, &mut from_engine, &mut to_client, &heard) => end,
        () = entry.ended() => End::Orderly,
    };
    match end {
        End::Orderly => finish(form, &mut to_client),
        End::Broken => to_client.send_reset(Reason::PROTOCOL_ERROR),
        End::Gone => {}
    }
}

/// What one direction tells the other: how much was heard from the client.
#[derive(Debug, Default)]
struct Heard {
    real: AtomicUsize,
    padding: AtomicUsize,
    news: Notify,
}

/// How a tunnel ended.
enum End {
    /// One side has said its last.
    Orderly,
    /// The client broke the rules.
    Broken,
    /// The connection, or the request, is gone.
    Gone,
}

/// From the client to the engine. What the engine has not taken keeps the window closed.
async fn up(form: Form, from: &mut RecvStream, to: &ToEngine, heard: &Heard) -> End {
    let (mut decoder, mut deframer) = (Decoder::default(), Deframer::default());
    while let Some(piece) = from.data().await {
        let Ok(mut piece) = piece else { return End::Gone };
        let len = piece.len();
        loop {
            let capsules = match form {
                Form::Capsules => std::mem::take(&mut piece),
                Form::Grpc => match deframer.next(&mut piece) {
                    Ok(capsules) => capsules,
                    Err(_) => return End::Broken,
                },
            };
            if capsules.is_empty() {
                break;
            }
            let (bytes, skipped) = (capsules.len(), decoder.skipped());
            let Ok(datagrams) = decoder.decode(capsules) else { return End::Broken };
            heard.tell(bytes, (decoder.skipped() - skipped) as usize);
            if to.deliver(datagrams).await.is_err() {
                return End::Orderly;
            }
        }
        if from.flow_control().release_capacity(len).is_err() {
            return End::Gone;
        }
    }
    End::Orderly
}

/// From the engine to the client, in the shape that the wire should show.
async fn down(
    form: Form,
    mut outgoing: Outgoing,
    from: &mut FromEngine,
    to: &mut SendStream<Piece>,
    heard: &Heard,
) -> End {
    let mut pieces = VecDeque::new();
    loop {
        let wake = outgoing.pull(Instant::now().into_std(), &mut pieces).map(Instant::from_std);
        for piece in pieces.drain(..) {
            let mut piece = wrapped(form, piece);
            while !piece.is_empty() {
                let Some(room) = capacity(to, piece.len()).await else { return End::Gone };
                if to.send_data(piece.split_to(room).into(), false).is_err() {
                    return End::Gone;
                }
            }
        }
        tokio::select! {
            first = from.next(), if outgoing.has_room() => {
                let Some(first) = first else { return End::Orderly };
                outgoing.push(Instant::now().into_std(), gather(first, from));
            }
            () = heard.news.notified() => {
                let (real, padding) = heard.take();
                outgoing.heard(Instant::now().into_std(), real, padding);
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            _ = poll_fn(|cx| to.poll_reset(cx)) => return End::Gone,
        }
    }
}

impl Heard {
    fn tell(&self, bytes: usize, padding: usize) {
        self.real.fetch_add(bytes.saturating_sub(padding), Ordering::Relaxed);
        self.padding.fetch_add(padding, Ordering::Relaxed);
        self.news.notify_one();
    }

    fn take(&self) -> (usize, usize) {
        (self.real.swap(0, Ordering::Relaxed), self.padding.swap(0, Ordering::Relaxed))
    }
}

/// The first chunk with those that lie ready behind it, in as few pieces as may be.
fn gather(first: Bytes, from: &mut FromEngine) -> Bytes {
    let second = if first.len() < JOIN_UP_TO { from.try_next() } else { None };
    if second.is_none() {
        return first;
    }
    let mut all = BytesMut::with_capacity(JOIN_UP_TO);
    all.extend_from_slice(&first);
    let mut next = second;
    while let Some(chunk) = next {
        all.extend_from_slice(&chunk);
        next = if all.len() < JOIN_UP_TO { from.try_next() } else { None };
    }
    all.freeze()
}

/// A piece as the stream carries it.
fn wrapped(form: Form, piece: Bytes) -> Bytes {
    match form {
        Form::Capsules => piece,
        Form::Grpc => [&grpc::prefix(piece.len())[..], &piece[..]].concat().into(),
    }
}

/// The orderly end of an answer. The connection may be gone already.
fn finish(form: Form, to: &mut SendStream<Piece>) {
    drop(match form {
        Form::Capsules => to.send_data(Bytes::new().into(), true),
        Form::Grpc => to.send_trailers(grpc::trailers()),
    });
}

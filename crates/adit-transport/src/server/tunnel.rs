//! The tunnel inside one request: capsules between its bodies and a seat at the hub.
//!
//! Not here: capsules (`capsule`), the seat (`hub`), who may have a tunnel (`admit`).

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use super::admit::Form;
use super::h2::capacity;
use super::users::Entry;
use crate::capsule::Decoder;
use crate::grpc::{self, Deframer};
use crate::hub::{FromEngine, Seat, ToEngine};

/// Chunks of the engine that are sent as one, if they lie ready.
const JOIN_UP_TO: usize = 32 * 1024;

/// Carries the tunnel until one of its ends, or its user, is gone.
pub(super) async fn run(
    form: Form,
    seat: Seat,
    mut entry: Entry,
    mut from_client: RecvStream,
    mut to_client: SendStream<Bytes>,
) {
    let Seat { to_engine, mut from_engine } = seat;
    let end = tokio::select! {
        end = up(form, &mut from_client, &to_engine) => end,
        end = down(form, &mut from_engine, &mut to_client) => end,
        () = entry.ended() => End::Orderly,
    };
    match end {
        End::Orderly => finish(form, &mut to_client),
        End::Broken => to_client.send_reset(Reason::PROTOCOL_ERROR),
        End::Gone => {}
    }
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
async fn up(form: Form, from: &mut RecvStream, to: &ToEngine) -> End {
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
            let Ok(datagrams) = decoder.decode(capsules) else { return End::Broken };
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

/// From the engine to the client.
async fn down(form: Form, from: &mut FromEngine, to: &mut SendStream<Bytes>) -> End {
    loop {
        let first = tokio::select! {
            first = from.next() => first,
            _ = poll_fn(|cx| to.poll_reset(cx)) => return End::Gone,
        };
        let Some(first) = first else { return End::Orderly };
        let mut chunk = gather(form, first, from);
        while !chunk.is_empty() {
            let Some(room) = capacity(to, chunk.len()).await else { return End::Gone };
            if to.send_data(chunk.split_to(room), false).is_err() {
                return End::Gone;
            }
        }
    }
}

/// The first chunk with those that lie ready behind it, in as few frames as may be.
fn gather(form: Form, first: Bytes, from: &mut FromEngine) -> Bytes {
    let second = if first.len() < JOIN_UP_TO { from.try_next() } else { None };
    if second.is_none() && form == Form::Capsules {
        return first;
    }
    let mut all = BytesMut::with_capacity(JOIN_UP_TO);
    if form == Form::Grpc {
        all.extend_from_slice(&[0; grpc::PREFIX_LEN]);
    }
    all.extend_from_slice(&first);
    let mut next = second;
    while let Some(chunk) = next {
        all.extend_from_slice(&chunk);
        next = if all.len() < JOIN_UP_TO { from.try_next() } else { None };
    }
    if form == Form::Grpc {
        let prefix = grpc::prefix(all.len() - grpc::PREFIX_LEN);
        all[..grpc::PREFIX_LEN].copy_from_slice(&prefix);
    }
    all.freeze()
}

/// The orderly end of an answer. The connection may be gone already.
fn finish(form: Form, to: &mut SendStream<Bytes>) {
    drop(match form {
        Form::Capsules => to.send_data(Bytes::new(), true),
        Form::Grpc => to.send_trailers(grpc::trailers()),
    });
}

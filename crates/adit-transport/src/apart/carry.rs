//! The web end of the bridge: carries datagrams between an outside of this process and the engine in another.
//!
//! Nothing is read of one side while what was read of it before is not gone to the other, which is all the back-pressure
//! there is. Not here: the engine's end (`bridge`), frames (`frame`).

use std::io;

use adit_engine::{DatagramIo, MAX_READ, RecvBatch, SendArena, Want};
use tokio::net::UnixStream;

use super::frame::{Reader, Unsent};

/// Bytes that the outside may give at a time.
const BATCH: usize = 4 * MAX_READ;
/// Bytes that may wait for the outside.
const ARENA: usize = 3 * MAX_READ;

/// Carries until the engine or the outside is gone.
///
/// # Errors
/// `UnexpectedEof` if the engine's process closed the stream; else what went wrong.
pub(super) async fn carry(mut outside: impl DatagramIo, stream: UnixStream) -> io::Result<()> {
    let (mut reader, mut unsent) = (Reader::new(), Unsent::default());
    let (mut batch, mut arena) = (RecvBatch::with_capacity(BATCH), SendArena::with_capacity(ARENA));
    loop {
        let want = Want { read: unsent.is_empty(), write: !arena.is_empty() };
        tokio::select! {
            ready = outside.ready(want) => if ready?.read {
                unless_blocked(outside.try_recv(&mut batch))?;
                unsent.take_batch(&mut batch);
                unless_blocked(unsent.flush(&stream))?;
            },
            readable = stream.readable(), if arena.is_empty() => {
                readable?;
                match reader.fill(&stream) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    other => unless_blocked(other.map(drop))?,
                }
            }
            writable = stream.writable(), if !unsent.is_empty() => {
                writable?;
                unless_blocked(unsent.flush(&stream))?;
            }
        }
        // All that was read, or until the outside takes no more.
        loop {
            let moved = reader.give_to_arena(&mut arena).map_err(io::Error::other)?;
            if !arena.is_empty() {
                unless_blocked(outside.try_send(&mut arena))?;
            }
            if moved == 0 || !arena.is_empty() {
                break;
            }
        }
    }
}

fn unless_blocked(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
}

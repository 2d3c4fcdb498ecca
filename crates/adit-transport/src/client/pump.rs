//! Carries capsules between a stream of HTTP/2 and the engine, until either ends.
//!
//! One task for both directions. Large writes: what the engine gives is cut into frames that fill a TLS record each. Not
//! here: how the tunnel was opened (`tunnel`), what comes after its end (`run`).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::wire::{Wire, make_room};
use crate::capsule::{Datagrams, Decoder};
use crate::grpc;
use crate::h2::{Connection, Event, StreamId};
use crate::hub::{FromEngine, Seat, ToEngine, TryDeliver};
use crate::shape::Outgoing;

/// Bytes taken from the engine at a time, at the most: a few frames.
const TAKE: usize = 64 << 10;
/// When nothing came for so long after we have written something: look whether our address is still ours.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// And after so long: ask whether the server is there.
const PING_AFTER: Duration = Duration::from_secs(5);
/// And after so long the connection is dead.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// When somebody said that the network has changed: the connection must show within this time that it lives.
const PROVE_WITHIN: Duration = Duration::from_secs(3);
/// A write that took so long had to wait for acknowledgements: the server is there.
const WAITED: Duration = Duration::from_millis(50);
/// How long a connection that was replaced still brings what is on its way.
const DRAIN: Duration = Duration::from_secs(5);

/// How the tunnel ended.
#[derive(Debug)]
pub(super) enum End {
    /// The server closed it, or broke a rule.
    Closed(String),
    /// Something should have come, and nothing came.
    Silent,
    /// Our address is not ours any more.
    Moved,
    /// A newer connection has taken over, or the engine is gone.
    Replaced,
}

/// How capsules are wrapped in the stream.
#[derive(Debug)]
pub(super) enum Framing {
    /// Not at all.
    Capsules,
    /// In messages of gRPC.
    Grpc(grpc::Deframer),
}

/// What a pump asks of the world around it.
pub(super) trait Surroundings: Send {
    /// Whether packets to the server would still leave from the address that the connection has.
    fn is_here(&self) -> bool;
    /// Waits until somebody says that the network has changed.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

struct Pump<W> {
    writer: W,
    connection: Connection,
    input: BytesMut,
    stream: StreamId,
    framing: Framing,
    decoder: Decoder,
    /// From the engine, and not yet to be written.
    outgoing: Outgoing,
    /// To be written, and not yet in frames.
    chunks: VecDeque<Bytes>,
    /// For the engine, which had no room.
    arrived: Option<Datagrams>,
    /// The rest of a frame, not looked at while something waits for the engine; and whether the stream ends with it.
    rest: Bytes,
    ended: bool,
    silence: Silence,
    /// Since when a record waits to be taken, whatever else happened meanwhile.
    writing: Option<Instant>,
}

/// Since when something should have come, and what was done about it.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    looked: bool,
    pinged: bool,
    /// The network has changed: proof is wanted sooner.
    doubted: bool,
}

/// Carries until the end.
pub(super) async fn pump<S>(
    wire: Wire<S>,
    stream: StreamId,
    framing: Framing,
    seat: Seat,
    outgoing: Outgoing,
    mut around: impl Surroundings,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Seat { to_engine, mut from_engine } = seat;
    let (mut reader, writer) = tokio::io::split(wire.stream);
    let mut pump = Pump {
        writer,
        connection: wire.connection,
        input: wire.input,
        stream,
        framing,
        decoder: Decoder::default(),
        outgoing,
        chunks: VecDeque::new(),
        arrived: None,
        rest: Bytes::new(),
        ended: false,
        silence: Silence::default(),
        writing: None,
    };
    let traffic = wire.traffic;
    let mut until = None;
    loop {
        match pump.understand(&to_engine) {
            Ok(true) => {}
            Ok(false) => return End::Replaced,
            Err(why) => return End::Closed(why),
        }
        let shaped = pump.shape();
        pump.connection.send(stream, &mut pump.chunks);
        let wants = pump.chunks.is_empty() && pump.outgoing.has_room() && until.is_none() && pump.connection.has_room();
        if !pump.connection.record().is_empty() {
            pump.writing.get_or_insert_with(Instant::now);
        }
        make_room(&mut pump.input);
        tokio::select! {
            room = to_engine.room(), if pump.arrived.is_some() => match room {
                Ok(room) => room.deliver(pump.arrived.take().unwrap_or_default()),
                Err(_) => return End::Replaced,
            },
            read = reader.read_buf(&mut pump.input), if pump.arrived.is_none() => match read {
                Ok(0) => return End::Closed("the server closed the connection".into()),
                Ok(len) => {
                    pump.heard();
                    traffic.received.fetch_add(len as u64, Ordering::Relaxed);
                }
                Err(error) => return End::Closed(error.to_string()),
            },
            wrote = pump.writer.write(pump.connection.record()), if !pump.connection.record().is_empty() => match wrote {
                Ok(len) if len > 0 => {
                    pump.wrote(len);
                    traffic.sent.fetch_add(len as u64, Ordering::Relaxed);
                }
                Ok(_) => return End::Closed("the connection takes nothing".into()),
                Err(error) => return End::Closed(error.to_string()),
            },
            chunk = from_engine.next(), if wants => match chunk {
                Some(chunk) => pump.take(chunk, &mut from_engine),
                None => until = Some(Instant::now() + DRAIN),
            },
            () = around.changed() => pump.doubt(),
            () = sleep_until(shaped.unwrap_or_else(Instant::now)), if shaped.is_some() => {}
            () = sleep_until(pump.silence.next()), if pump.silence.since.is_some() => {
                if let Some(end) = pump.silent(&around) {
                    return end;
                }
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                return pump.finish().await;
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Pump<W> {
    /// Reads what was received, until the engine has no room for what is in it. `false` if the engine is gone.
    fn understand(&mut self, to_engine: &ToEngine) -> Result<bool, String> {
        let now = Instant::now().into_std();
        loop {
            if !self.decode(to_engine)? {
                return Ok(false);
            }
            if self.arrived.is_some() {
                return Ok(true);
            }
            if self.ended {
                return Err("the server ended the tunnel".into());
            }
            let event = self.connection.receive(&mut self.input, now).map_err(|error| error.to_string())?;
            match event {
                None => return Ok(true),
                Some(Event::Data { stream, bytes, end }) if stream == self.stream => {
                    (self.rest, self.ended) = (bytes, end);
                }
                Some(Event::Head { stream, end: true, .. } | Event::Reset { stream, .. }) if stream == self.stream => {
                    return Err("the server ended the tunnel".into());
                }
                Some(Event::GoAway { last, .. }) if last < self.stream => {
                    return Err("the server refused the tunnel".into());
                }
                Some(Event::Pong) => self.silence = Silence::default(),
                Some(Event::Data { .. } | Event::Head { .. } | Event::Reset { .. }) => {}
                Some(Event::GoAway { .. } | Event::Settings) => {}
            }
        }
    }

    /// Gives the engine what is in the rest of a frame, as far as it has room. `false` if the engine is gone.
    fn decode(&mut self, to_engine: &ToEngine) -> Result<bool, String> {
        while self.arrived.is_none() && !self.rest.is_empty() {
            let capsules = match &mut self.framing {
                Framing::Capsules => std::mem::take(&mut self.rest),
                Framing::Grpc(deframer) => deframer.next(&mut self.rest).map_err(|error| error.to_string())?,
            };
            let (len, skipped) = (capsules.len(), self.decoder.skipped());
            let datagrams = self.decoder.decode(capsules).map_err(|error| error.to_string())?;
            let padding = (self.decoder.skipped() - skipped) as usize;
            self.outgoing.heard(Instant::now().into_std(), len.saturating_sub(padding), padding);
            match to_engine.try_deliver(datagrams) {
                Ok(()) => {}
                Err(TryDeliver::Gone) => return Ok(false),
                Err(TryDeliver::Full(datagrams)) => self.arrived = Some(datagrams),
            }
        }
        Ok(true)
    }

    /// Takes what the engine has, up to a few frames.
    fn take(&mut self, first: Bytes, from_engine: &mut FromEngine) {
        let now = Instant::now().into_std();
        let mut chunk = Some(first);
        let mut taken = 0;
        while let Some(bytes) = chunk {
            taken += bytes.len();
            self.outgoing.push(now, bytes);
            chunk = if taken < TAKE { from_engine.try_next() } else { None };
        }
    }

    /// Hands on what is to be written now, with its padding. When to look again, if nothing else happens before.
    fn shape(&mut self) -> Option<Instant> {
        if !self.chunks.is_empty() {
            return None;
        }
        let wake = self.outgoing.pull(Instant::now().into_std(), &mut self.chunks);
        if let Framing::Grpc(_) = self.framing {
            let prefix = |piece: &Bytes| Bytes::copy_from_slice(&grpc::prefix(piece.len()));
            self.chunks = self.chunks.drain(..).flat_map(|piece| [prefix(&piece), piece]).collect();
        }
        wake.map(Instant::from_std)
    }

    fn wrote(&mut self, len: usize) {
        self.connection.written(len);
        let now = Instant::now();
        let begun = self.writing.take().unwrap_or(now);
        if now - begun > WAITED && !self.silence.doubted {
            self.silence = Silence::default();
        }
        self.silence.since.get_or_insert(now);
    }

    /// Something came. After the network has changed it may have been on its way before: then only the answer counts.
    fn heard(&mut self) {
        if !self.silence.doubted {
            self.silence = Silence::default();
        }
    }

    /// The network may have changed: asks for a sign of life at once.
    fn doubt(&mut self) {
        self.connection.ping(*b"adit\0\0\0\0");
        self.silence = Silence { since: Some(Instant::now()), looked: false, pinged: true, doubted: true };
    }

    /// Nothing came for a while. What is to be done about it, or the end.
    fn silent(&mut self, around: &impl Surroundings) -> Option<End> {
        let quiet = self.silence.since?.elapsed();
        if !self.silence.looked {
            self.silence.looked = true;
            return (!around.is_here()).then_some(End::Moved);
        }
        if self.silence.doubted {
            return (quiet >= PROVE_WITHIN).then_some(End::Moved);
        }
        if !self.silence.pinged {
            self.silence.pinged = true;
            self.connection.ping([0; 8]);
            return None;
        }
        (quiet >= SILENT_AFTER).then_some(if around.is_here() { End::Silent } else { End::Moved })
    }

    /// Ends a stream that another has replaced, politely if that is possible at once.
    async fn finish(mut self) -> End {
        self.connection.end(self.stream);
        let polite = async {
            while !self.connection.record().is_empty() {
                let len = self.writer.write(self.connection.record()).await?;
                self.connection.written(len.max(1));
            }
            self.writer.flush().await
        };
        let result: Result<io::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), polite).await;
        if !matches!(result, Ok(Ok(()))) {
            tracing::debug!("a replaced connection did not take its end");
        }
        End::Replaced
    }
}

impl Silence {
    /// When to do something about it. Only to be asked while it is silent.
    fn next(&self) -> Instant {
        let after = match self {
            Self { looked: false, doubted: true, .. } => Duration::ZERO,
            Self { looked: false, .. } => LOOK_AFTER,
            Self { doubted: true, .. } => PROVE_WITHIN,
            Self { pinged: false, .. } => PING_AFTER,
            Self { .. } => SILENT_AFTER,
        };
        self.since.unwrap_or_else(Instant::now) + after
    }
}

//! The engine's end: an outside whose datagrams another process carries, which may die and be replaced.
//!
//! While there is no such process, what is sent is dropped, as on a network: the connections that it was for are gone too.
//! A process that does not take what is sent is waited for, but not for long, since UDP goes out by the same engine.
//! Not here: frames (`frame`), that process (`carry`, `half`), who starts it.

use std::future::pending;
use std::io;
use std::time::Duration;

use adit_engine::{DatagramIo, Ready, RecvBatch, SendArena, Want};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::frame::{Reader, Unsent};

/// How long the engine waits for the other process to take something. After that it drops, until something is taken.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The outside of an engine, of which another process has the connections.
#[derive(Debug)]
pub struct Bridge {
    streams: mpsc::Receiver<UnixStream>,
    to: Option<Far>,
    patience: Duration,
}

/// Gives a [`Bridge`] the stream to a new process. Knows when the bridge is gone.
#[derive(Debug)]
pub(super) struct Port(mpsc::Sender<UnixStream>);

/// The stream to the other process.
#[derive(Debug)]
struct Far {
    stream: UnixStream,
    reader: Reader,
    unsent: Unsent,
    /// Since when it has taken nothing although there was something.
    full_since: Option<Instant>,
}

/// A bridge that leads nowhere yet, and waits for so long for whoever does not take what is sent.
pub(super) fn bridge(patience: Duration) -> (Bridge, Port) {
    let (port, streams) = mpsc::channel(1);
    (Bridge { streams, to: None, patience }, Port(port))
}

impl Port {
    /// From now on the bridge leads there; what was on its way elsewhere is lost.
    pub(super) async fn lead_to(&self, stream: UnixStream) -> io::Result<()> {
        self.0.send(stream).await.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel has stopped"))
    }

    /// Waits until the engine has dropped the bridge.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

impl Bridge {
    fn follow(&mut self) {
        while let Ok(stream) = self.streams.try_recv() {
            self.to = Some(Far::new(stream));
        }
    }

    fn part(&mut self, why: &dyn std::fmt::Display) {
        tracing::debug!("the process that serves the web site is left: {why}");
        self.to = None;
    }
}

impl Far {
    fn new(stream: UnixStream) -> Self {
        Self { stream, reader: Reader::new(), unsent: Unsent::default(), full_since: None }
    }

    /// Reads frames until the batch is full or nothing is left; an error ends the bridge to this process.
    fn read(&mut self, into: &mut RecvBatch) -> io::Result<usize> {
        let mut moved = 0;
        loop {
            moved += self.reader.give_to_batch(into).map_err(io::Error::other)?;
            if !into.has_room() {
                return Ok(moved);
            }
            match self.reader.fill(&self.stream) {
                Ok(0) if moved > 0 => return Ok(moved),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
        }
    }
}

impl DatagramIo for Bridge {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        loop {
            self.follow();
            let Self { streams, to, patience } = self;
            let Some(far) = to else {
                if want.write {
                    return Ok(Ready { read: false, write: true });
                }
                match streams.recv().await {
                    Some(stream) => *to = Some(Far::new(stream)),
                    None => pending().await,
                }
                continue;
            };
            // A frame that is none is found by reading it.
            if want.read && !matches!(far.reader.front(), Ok(None)) {
                return Ok(Ready { read: true, write: false });
            }
            let patience = far.full_since.map(|since| since + *patience);
            tokio::select! {
                Some(stream) = streams.recv() => *to = Some(Far::new(stream)),
                // Errors too are found by trying.
                _ = far.stream.readable(), if want.read => return Ok(Ready { read: true, write: false }),
                _ = far.stream.writable(), if want.write || !far.unsent.is_empty() => {
                    if want.write {
                        return Ok(Ready { read: false, write: true });
                    }
                    // The rest of a run that left in part: for the engine it is gone already.
                    if let Err(error) = far.unsent.flush(&far.stream)
                        && error.kind() != io::ErrorKind::WouldBlock
                    {
                        self.part(&error);
                    }
                }
                () = until(patience), if want.write => return Ok(Ready { read: false, write: true }),
            }
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        self.follow();
        let Some(far) = &mut self.to else { return Err(io::ErrorKind::WouldBlock.into()) };
        match far.read(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => Ok(()),
            Err(error) => {
                self.part(&error);
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        self.follow();
        if let Some(far) = &mut self.to {
            let before = far.unsent.taken;
            match far.unsent.send_arena(&far.stream, out) {
                Ok(()) => far.full_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    if far.unsent.taken != before {
                        far.full_since = None;
                    }
                    if *far.full_since.get_or_insert(now) + self.patience > now {
                        return Ok(());
                    }
                }
                Err(error) => self.part(&error),
            }
        }
        while !out.is_empty() {
            out.refuse_front();
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        // As for UDP over IPv6, whoever carries it (see `Hub`).
        40 + 8
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

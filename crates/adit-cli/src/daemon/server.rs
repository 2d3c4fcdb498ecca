//! The socket of the daemon: who may speak, how much, and one answer for each line.
//!
//! Not here: what the requests mean (`house`), how they look (`rpc`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::house::House;
use crate::exit::{Failure, Result};
use crate::rpc::{self, Answer, MAX_REQUEST, Method};

/// The most commands served at once.
const MAX_CLIENTS: usize = 32;

/// A client that says nothing for so long is sent away.
const IDLE: Duration = Duration::from_secs(60);

/// How long a client that is refused may take to see it.
const GRACE: Duration = Duration::from_secs(1);

/// How many clients there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients(Arc<AtomicUsize>);

/// One of them; counted until dropped.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Clients {
    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn sit(&self) -> Option<Seat> {
        let seat = Seat(self.0.clone());
        // Counted first, so that the drop of a refused seat is right as well.
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_CLIENTS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves for ever.
pub(crate) async fn serve(listener: UnixListener, house: Arc<House>, clients: Clients) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of descriptors, most likely: wait for some to be closed.
                tracing::warn!("cannot accept a command: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let seat = clients.sit();
        let house = house.clone();
        tokio::spawn(async move {
            if let Err(failure) = may_speak(&stream) {
                refuse(stream, failure).await;
            } else if seat.is_none() {
                let busy = Failure::failed(format!("the daemon already serves {MAX_CLIENTS} commands"));
                refuse(stream, busy.hint("try again when some of them have ended")).await;
            } else {
                converse(stream, &house).await;
            }
            drop(seat);
        });
    }
}

/// Only root and the daemon's own user.
fn may_speak(stream: &UnixStream) -> Result<()> {
    let theirs = stream.peer_cred().map_err(|e| Failure::io("cannot tell who is asking", &e))?.uid();
    if theirs == 0 || theirs == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Failure::privilege("only root may talk to this daemon").hint("run the command with `sudo`"))
}

async fn refuse(mut stream: UnixStream, failure: Failure) {
    let _gone = stream.write_all(&rpc::line(&Answer::error(0, failure))).await;
    // Closing with its request unread would take the answer away from it.
    let _gone = stream.shutdown().await;
    let mut unread = [0; 1024];
    let drained = async { while stream.read(&mut unread).await.is_ok_and(|n| n > 0) {} };
    let _late = tokio::time::timeout(GRACE, drained).await;
}

async fn converse(stream: UnixStream, house: &Arc<House>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let answer = match tokio::time::timeout(IDLE, read_line(&mut read, &mut line)).await {
            Err(_idle) => return,
            Ok(Err(_broken)) => return,
            Ok(Ok(Line::End)) => return,
            Ok(Ok(Line::TooLong)) => {
                let failure = Failure::usage(format!("a request has at most {MAX_REQUEST} bytes"));
                let _gone = write.write_all(&rpc::line(&Answer::error(0, failure))).await;
                return;
            }
            Ok(Ok(Line::Whole)) => answer(&line, house).await,
        };
        if write.write_all(&rpc::line(&answer)).await.is_err() {
            return;
        }
    }
}

async fn answer(line: &[u8], house: &Arc<House>) -> Answer {
    let (id, method) = match rpc::parse_request(line) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    let house = house.clone();
    // In a task of its own: what panics there is one failed request, and a command that goes away cancels nothing.
    let work = tokio::spawn(async move { perform(&house, id, method).await });
    work.await.unwrap_or_else(|e| {
        tracing::error!("a request failed in a way it should not: {e}");
        Answer::error(id, Failure::failed("the daemon failed inside while doing this; its log says more"))
    })
}

async fn perform(house: &Arc<House>, id: u64, method: Method) -> Answer {
    let done = match method {
        Method::Info => return Answer::result(id, &house.info()),
        Method::Status { name } => {
            return match house.status(name.as_deref()).await {
                Ok(report) => Answer::result(id, &report),
                Err(failure) => Answer::error(id, failure),
            };
        }
        Method::Up { name, file } => house.up(&name, &file).await,
        Method::Down { name } => house.down(&name).await,
        Method::Reload { name } => house.reload(&name).await,
    };
    match done {
        Ok(done) => Answer::result(id, &done),
        Err(failure) => Answer::error(id, failure),
    }
}

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads to the next newline, but never more than [`MAX_REQUEST`] bytes.
async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(read: &mut R, line: &mut Vec<u8>) -> std::io::Result<Line> {
    loop {
        let there = read.fill_buf().await?;
        if there.is_empty() {
            return Ok(Line::End);
        }
        let end = there.iter().position(|b| *b == b'\n');
        let part = there.get(..end.unwrap_or(there.len())).unwrap_or_default();
        if line.len() + part.len() > MAX_REQUEST {
            return Ok(Line::TooLong);
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        read.consume(used);
        if end.is_some() {
            return Ok(Line::Whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<(Line, Vec<u8>)> {
        // A small buffer, so that lines come in pieces.
        let mut read = BufReader::with_capacity(7, bytes);
        let mut all = Vec::new();
        loop {
            let mut line = Vec::new();
            let seen = read_line(&mut read, &mut line).await.unwrap();
            let last = seen != Line::Whole;
            all.push((seen, line));
            if last {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_are_taken_one_at_a_time_however_they_arrive() {
        let seen = lines(b"one\n\na longer line\nrest").await;
        let whole: Vec<_> = seen.iter().filter(|(l, _)| *l == Line::Whole).map(|(_, b)| b.as_slice()).collect();
        assert_eq!(whole, [b"one".as_slice(), b"", b"a longer line"]);
        assert_eq!(seen.last().unwrap().0, Line::End);
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept() {
        let endless = vec![b'x'; MAX_REQUEST + 100];
        let seen = lines(&endless).await;
        assert_eq!(seen.last().unwrap().0, Line::TooLong);
        assert!(seen.last().unwrap().1.len() <= MAX_REQUEST);
    }

    #[test]
    fn only_so_many_clients_have_a_seat() {
        let clients = Clients::default();
        let seats: Vec<_> = (0..MAX_CLIENTS).map(|_| clients.sit().unwrap()).collect();
        assert!(clients.sit().is_none());
        drop(seats);
        assert!(clients.is_empty());
        assert!(clients.sit().is_some());
    }
}

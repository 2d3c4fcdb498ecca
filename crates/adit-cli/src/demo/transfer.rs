//! A timed TCP transfer over one connection, every byte of it checked at its end.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Bytes.
    pub(super) bytes: u64,
    /// From the first to the last.
    pub(super) time: Duration,
}

/// Listens in this thread's namespace.
pub(super) fn listen(at: Ipv4Addr) -> io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((at, 0))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Sends the pattern until the time is over or somebody says stop.
pub(super) fn send(to: Ipv4Addr, port: u16, time: Duration, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&(to, port).into(), PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let pattern = pattern();
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        stream.write_all(&pattern)?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// Receives until the sender has done, and compares every byte with the pattern.
pub(super) fn receive(listener: &TcpListener, stop: &Arc<AtomicBool>) -> io::Result<Arrived> {
    let mut stream = accept(listener, stop)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let pattern = pattern();
    let mut buffer = vec![0; pattern.len()];
    let mut bytes = 0_u64;
    let begun = Instant::now();
    loop {
        let at = (bytes % pattern.len() as u64) as usize;
        // Never across the end of the pattern, so that one comparison is enough.
        let room = pattern.len() - at;
        let Some(target) = buffer.get_mut(..room) else { return Err(io::ErrorKind::InvalidData.into()) };
        let n = stream.read(target)?;
        if n == 0 {
            return Ok(Arrived { bytes, time: begun.elapsed() });
        }
        if buffer.get(..n) != pattern.get(at..at + n) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a byte arrived changed"));
        }
        bytes += n as u64;
    }
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            Err(_) if stop.load(Ordering::Relaxed) || Instant::now() > end => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Bytes that do not repeat soon, so that a lost or doubled piece is seen.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let next = std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8)
    });
    next.take(PATTERN).collect()
}

/// Written and read at once.
const PATTERN: usize = 128 * 1024;
/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let stop = Arc::new(AtomicBool::new(false));
        let (listener, port) = listen(Ipv4Addr::LOCALHOST).unwrap();
        let sender = std::thread::spawn({
            let stop = stop.clone();
            move || send(Ipv4Addr::LOCALHOST, port, Duration::from_millis(20), &stop)
        });
        let arrived = receive(&listener, &stop).unwrap();
        sender.join().unwrap().unwrap();
        assert!(arrived.bytes > 0 && arrived.bytes.is_multiple_of(PATTERN as u64), "{arrived:?}");
    }

    #[test]
    fn a_changed_byte_is_an_error() {
        let (listener, port) = listen(Ipv4Addr::LOCALHOST).unwrap();
        let sender = std::thread::spawn(move || {
            let mut bytes = pattern();
            bytes[1000] ^= 1;
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().write_all(&bytes)
        });
        let error = receive(&listener, &Arc::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // The sender may see its connection reset: that is the receiver leaving.
        let _reset = sender.join().unwrap();
    }
}

//! Datagrams in a stream of bytes between two processes: a head of fixed length, then a run of datagrams.
//!
//! What is read here may come from a process that somebody has taken over: every field is checked before it is used.
//! Not here: who writes and reads (`bridge`, `carry`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_engine::{MAX_DATAGRAM, MAX_SEGMENTS, RecvBatch, SendArena};
use adit_protocol::{Ecn, LinkId, Path};
use tokio::net::UnixStream;

/// Bytes of a head.
pub(super) const HEAD: usize = 48;
/// Bytes that wait here to be understood: a few of the longest frames.
const READ: usize = 4 * (HEAD + MAX_DATAGRAM);
/// Runs that leave with one system call.
const RUNS: usize = 32;

/// A frame that no honest end writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other process sent what is no frame")]
pub(super) struct Malformed;

/// What a head says: datagrams of `stride` bytes, the last one of what is left of `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) path: Path,
    pub(super) tos: u8,
    pub(super) len: usize,
    pub(super) stride: usize,
}

impl Head {
    pub(super) fn emit(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let family = |address: Option<IpAddr>| address.map_or(0, |address| if address.is_ipv4() { 4 } else { 6 });
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        head[0..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(self.stride as u32).to_le_bytes());
        head[8] = self.path.link.0;
        head[9] = self.tos;
        head[10] = family(Some(self.path.remote.ip()));
        head[11] = family(self.path.local);
        head[12..14].copy_from_slice(&self.path.remote.port().to_le_bytes());
        head[16..32].copy_from_slice(&bits(self.path.remote.ip()));
        if let Some(local) = self.path.local {
            head[32..48].copy_from_slice(&bits(local));
        }
        head
    }

    pub(super) fn parse(head: &[u8; HEAD]) -> Result<Self, Malformed> {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let address = |family: u8, at: usize| {
            let bits: [u8; 16] = head[at..at + 16].try_into().map_err(|_| Malformed)?;
            let v6 = Ipv6Addr::from(bits);
            match (family, v6.to_ipv4_mapped()) {
                (0, _) if bits == [0; 16] => Ok(None),
                (4, Some(v4)) => Ok(Some(IpAddr::V4(Ipv4Addr::from(v4.octets())))),
                (6, None) => Ok(Some(IpAddr::V6(v6))),
                _ => Err(Malformed),
            }
        };
        let remote = address(head[10], 16)?.ok_or(Malformed)?;
        let remote = SocketAddr::new(remote, u16::from_le_bytes([head[12], head[13]]));
        let path = Path { link: LinkId(head[8]), remote, local: address(head[11], 32)? };
        let (len, stride) = (number(0), number(4));
        let is_run = (1..=MAX_DATAGRAM).contains(&len) && (1..=len).contains(&stride);
        if !is_run || len.div_ceil(stride) > MAX_SEGMENTS || head[14..16] != [0; 2] {
            return Err(Malformed);
        }
        Ok(Self { path, tos: head[9], len, stride })
    }
}

/// What was read and not yet understood.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; READ].into(), start: 0, end: 0 }
    }

    /// The first frame, if it is here as a whole.
    pub(super) fn front(&self) -> Result<Option<(Head, &[u8])>, Malformed> {
        let Some((head, rest)) = self.bytes[self.start..self.end].split_first_chunk::<HEAD>() else { return Ok(None) };
        let head = Head::parse(head)?;
        Ok(rest.get(..head.len).map(|body| (head, body)))
    }

    fn pop_front(&mut self, head: &Head) {
        self.start += HEAD + head.len;
    }

    /// Reads once. Called when there is no whole frame, so there is room. Nought is the end of the stream.
    pub(super) fn fill(&mut self, stream: &UnixStream) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = stream.try_read(&mut self.bytes[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// Moves frames into a batch while it has room, and says how many.
    pub(super) fn give_to_batch(&mut self, batch: &mut RecvBatch) -> Result<usize, Malformed> {
        let mut moved = 0;
        while batch.has_room()
            && let Some((head, body)) = self.front()?
        {
            batch.spare()[..body.len()].copy_from_slice(body);
            batch.fill(head.path, Ecn::from_tos(head.tos), body.len(), head.stride);
            self.pop_front(&head);
            moved += 1;
        }
        Ok(moved)
    }

    /// Moves frames into an arena while it has room, and says how many.
    pub(super) fn give_to_arena(&mut self, arena: &mut SendArena) -> Result<usize, Malformed> {
        let mut moved = 0;
        while let Some((head, body)) = self.front()? {
            if arena.room() < body.len() {
                break;
            }
            for datagram in body.chunks(head.stride) {
                // There is room.
                arena.push(head.path, head.tos, datagram).map_err(|_| Malformed)?;
            }
            self.pop_front(&head);
            moved += 1;
        }
        Ok(moved)
    }
}

/// Frames that were begun to be written, or are to be. Never more than one batch, or the rest of one run.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    at: usize,
    /// Bytes that the stream has taken, ever.
    pub(super) taken: u64,
}

impl Unsent {
    pub(super) const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Writes what the stream takes; `WouldBlock` if that is not all.
    pub(super) fn flush(&mut self, stream: &UnixStream) -> io::Result<()> {
        while !self.is_empty() {
            let written = stream.try_write(&self.bytes[self.at..])?;
            self.at += written;
            self.taken += written as u64;
        }
        self.bytes.clear();
        self.at = 0;
        Ok(())
    }

    /// Takes over all that a batch holds. Datagrams of one sender and one length become one frame.
    pub(super) fn take_batch(&mut self, batch: &mut RecvBatch) {
        let mut run: Option<(usize, Head)> = None;
        while let (Some(datagram), Some(path), Some(ecn)) = (batch.front(), batch.front_path(), batch.front_ecn()) {
            let (len, tos) = (datagram.len(), ecn as u8);
            match &mut run {
                Some((_, head))
                    if head.len.is_multiple_of(head.stride)
                        && (head.path, head.tos) == (path, tos)
                        && len <= head.stride
                        && head.len / head.stride < MAX_SEGMENTS
                        && head.len + len <= MAX_DATAGRAM =>
                {
                    head.len += len;
                }
                _ => {
                    self.settle(run.take());
                    let at = self.bytes.len();
                    self.bytes.resize(at + HEAD, 0);
                    run = Some((at, Head { path, tos, len, stride: len }));
                }
            }
            self.bytes.extend_from_slice(datagram);
            batch.pop_front();
        }
        self.settle(run);
    }

    /// Writes the head of a run whose length is known now.
    fn settle(&mut self, run: Option<(usize, Head)>) {
        if let Some((at, head)) = run {
            self.bytes[at..at + HEAD].copy_from_slice(&head.emit());
        }
    }

    /// Writes runs straight from an arena while the stream takes them; `WouldBlock` if some are left. Of a run that leaves in
    /// part the rest is kept here.
    pub(super) fn send_arena(&mut self, stream: &UnixStream, out: &mut SendArena) -> io::Result<()> {
        self.flush(stream)?;
        while !out.is_empty() {
            let heads: Vec<_> = out
                .waiting()
                .take(RUNS)
                .map(|run| Head { path: run.to, tos: run.tos, len: run.bytes.len(), stride: run.segment }.emit())
                .collect();
            let parts = heads.iter().zip(out.waiting()).flat_map(|(head, run)| [&head[..], run.bytes]);
            let slices: Vec<_> = parts.map(io::IoSlice::new).collect();
            let mut left = stream.try_write_vectored(&slices)?;
            self.taken += left as u64;
            let mut gone = 0;
            for (head, run) in heads.iter().zip(out.waiting()) {
                let len = HEAD + run.bytes.len();
                if left == 0 {
                    break;
                }
                if left < len {
                    self.bytes.extend(head.iter().chain(run.bytes).skip(left));
                }
                gone += 1;
                left = left.saturating_sub(len);
            }
            (0..gone).for_each(|_| out.pop_front());
            self.flush(stream)?;
        }
        Ok(())
    }
}

//! One carrier beside an outside that may be several itself: what comes over it is marked so, all else stays as it is marked.
//!
//! For two that are one each there is `Links`, which marks both. Not here: who speaks over which.

use std::io;

use adit_protocol::LinkId;

use crate::links::leaves_some;
use crate::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};

/// The outside `A` with the carriers it has, and the carrier `B` under a number that none of those has.
///
/// Neither waits for the other: what one cannot take now stays, while the other is given all that is its own.
#[derive(Debug)]
pub struct Beside<A, B> {
    a: A,
    b: B,
    link: LinkId,
    /// Which of them could not take all of its own the last time.
    blocked: [bool; 2],
    /// `b` was read first the last time.
    b_first: bool,
}

impl<A: DatagramIo, B: DatagramIo> Beside<A, B> {
    /// Both as one; `b` is called `link` in paths.
    pub const fn new(a: A, b: B, link: LinkId) -> Self {
        Self { a, b, link, blocked: [false; 2], b_first: false }
    }
}

impl<A: DatagramIo, B: DatagramIo> DatagramIo for Beside<A, B> {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        // If neither is known to be full, one that can be written to is enough.
        let [a_full, b_full] = self.blocked;
        let any = !a_full && !b_full;
        let for_a = Want { write: want.write && (a_full || any), ..want };
        let for_b = Want { write: want.write && (b_full || any), ..want };
        tokio::select! {
            ready = self.a.ready(for_a) => ready,
            ready = self.b.ready(for_b) => ready,
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        // Turn about: a flood at one of them can fill the batch each time.
        self.b_first = !self.b_first;
        let mut any = false;
        for is_b in [self.b_first, !self.b_first] {
            if !into.has_room() {
                break;
            }
            let first = into.len();
            let received = if is_b { self.b.try_recv(into) } else { self.a.try_recv(into) };
            match received {
                Ok(()) => {
                    if is_b {
                        into.came_over(self.link, first);
                    }
                    any = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        let a = out.all_but(self.link, |out| leaves_some(self.a.try_send(out), out))?;
        let b = out.only(self.link, |out| leaves_some(self.b.try_send(out), out))?;
        self.blocked = [a, b];
        Ok(())
    }

    fn overhead(&self) -> usize {
        self.a.overhead().max(self.b.overhead())
    }

    fn offloads(&self) -> Offloads {
        self.a.offloads().or(self.b.offloads())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use adit_protocol::Path;

    use super::*;
    use crate::{Datagram, DatagramChannel, Links, MAX_READ, datagram_pair};

    const THIRD: LinkId = LinkId(2);

    type Three = Beside<Links<DatagramChannel, DatagramChannel>, DatagramChannel>;

    /// Two carriers as one, a third beside them, and the far ends of all.
    fn world(bound: usize) -> (Three, [DatagramChannel; 3]) {
        let pair = |port: u16| datagram_pair(address(port), address(port + 1), bound);
        let ((a, far_a), (b, far_b), (c, far_c)) = (pair(1), pair(3), pair(5));
        (Beside::new(Links::new(a, b), c, THIRD), [far_a, far_b, far_c])
    }

    #[tokio::test]
    async fn what_comes_is_marked_and_keeps_the_marks_it_has() {
        let (mut outside, far) = world(4);
        for (far, text) in far.iter().zip(["a", "b", "c"]) {
            far.send(Datagram { tos: 0, bytes: text.as_bytes().to_vec() }).await;
        }
        let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
        assert!(outside.ready(Want { read: true, write: false }).await.unwrap().read);
        outside.try_recv(&mut batch).unwrap();
        let mut seen: Vec<_> = batch.sources_since(0).map(|from| (from.link.0, from.remote.port())).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(0, 2), (1, 4), (2, 6)]);
    }

    #[tokio::test]
    async fn what_goes_is_given_to_the_carrier_it_names_whoever_is_full() {
        let (mut outside, [mut far_a, mut far_b, mut far_c]) = world(1);
        let mut arena = SendArena::with_capacity(1000);
        for (link, remote, text) in [(2, 6, "c1"), (0, 2, "a1"), (2, 6, "c2"), (1, 4, "b1"), (0, 2, "a2"), (1, 4, "b2")]
        {
            arena.push(on(LinkId(link), remote), 0, text.as_bytes()).unwrap();
        }
        for round in ["1", "2"] {
            outside.try_send(&mut arena).unwrap();
            for (far, name) in [(&mut far_a, "a"), (&mut far_b, "b"), (&mut far_c, "c")] {
                assert_eq!(far.recv().await.unwrap().bytes, format!("{name}{round}").as_bytes());
            }
        }
        assert!(arena.is_empty());
        assert_eq!(arena.take_drops().total(), 0, "what waits for a full carrier is not dropped");
    }

    #[test]
    fn a_path_over_a_carrier_that_is_not_there_is_dropped_and_counted() {
        let (mut outside, _far) = world(1);
        let mut arena = SendArena::with_capacity(1000);
        arena.push(on(LinkId(3), 2), 0, b"nowhere").unwrap();
        arena.push(on(THIRD, 6), 0, b"c").unwrap();
        outside.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
        assert_eq!(arena.take_drops().total(), 1);
    }

    fn on(link: LinkId, port: u16) -> Path {
        Path { link, ..Path::to(address(port)) }
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }
}

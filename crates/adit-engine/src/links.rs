//! Two carriers as one outside: what comes is marked with the carrier it came over, what goes is given to the one it names.
//!
//! Not here: choosing between carriers, which is for whoever names one in a path.

use std::io;

use adit_protocol::LinkId;

use crate::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, Want};

/// The carriers `A`, which is [`LinkId`] 0 in paths, and `B`, which is 1.
///
/// Neither waits for the other: what one cannot take now stays, while the other is given all that is its own.
#[derive(Debug)]
pub struct Links<A, B> {
    a: A,
    b: B,
    /// Which of them could not take all of its own the last time.
    blocked: [bool; 2],
    /// `b` was read first the last time.
    b_first: bool,
}

const A: LinkId = LinkId(0);
const B: LinkId = LinkId(1);

impl<A: DatagramIo, B: DatagramIo> Links<A, B> {
    /// Both as one.
    pub const fn new(a: A, b: B) -> Self {
        Self { a, b, blocked: [false; 2], b_first: false }
    }
}

impl<A: DatagramIo, B: DatagramIo> DatagramIo for Links<A, B> {
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
            let (received, link) = if is_b { (self.b.try_recv(into), B) } else { (self.a.try_recv(into), A) };
            match received {
                Ok(()) => {
                    into.came_over(link, first);
                    any = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if any { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        let a = out.only(A, |out| leaves_some(self.a.try_send(out), out))?;
        let b = out.only(B, |out| leaves_some(self.b.try_send(out), out))?;
        self.blocked = [a, b];
        while !a && !b && !out.is_empty() {
            out.refuse_front();
        }
        Ok(())
    }

    fn overhead(&self) -> usize {
        self.a.overhead().max(self.b.overhead())
    }

    fn offloads(&self) -> Offloads {
        self.a.offloads().or(self.b.offloads())
    }
}

/// Whether a carrier has left something of its own, for now.
pub(crate) fn leaves_some(sent: io::Result<()>, out: &SendArena) -> io::Result<bool> {
    match sent {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => Ok(!out.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use adit_protocol::Path;

    use super::*;
    use crate::{Datagram, DatagramChannel, MAX_READ, datagram_pair};

    /// Two carriers joined, and their far ends.
    fn world(bound: usize) -> (Links<DatagramChannel, DatagramChannel>, DatagramChannel, DatagramChannel) {
        let (a, far_a) = datagram_pair(address(1), address(2), bound);
        let (b, far_b) = datagram_pair(address(3), address(4), bound);
        (Links::new(a, b), far_a, far_b)
    }

    #[tokio::test]
    async fn what_comes_is_marked_with_the_carrier_it_came_over() {
        let (mut links, far_a, far_b) = world(4);
        far_a.send(datagram(b"by a")).await;
        far_b.send(datagram(b"by b")).await;
        let mut batch = RecvBatch::with_capacity(2 * MAX_READ);
        assert!(links.ready(READ).await.unwrap().read);
        links.try_recv(&mut batch).unwrap();
        let mut seen: Vec<_> = batch.sources_since(0).map(|from| (from.link, from.remote)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(A, address(2)), (B, address(4))]);
        batch.clear();
        assert_eq!(links.try_recv(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn what_goes_is_given_to_the_carrier_it_names() {
        let (mut links, mut far_a, mut far_b) = world(4);
        let mut arena = SendArena::with_capacity(1000);
        for (link, remote, text) in [(B, 4, "1"), (A, 2, "2"), (B, 4, "3")] {
            arena.push(on(link, remote), 0, text.as_bytes()).unwrap();
        }
        links.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
        assert_eq!(far_a.recv().await.unwrap().bytes, b"2");
        assert_eq!(far_b.recv().await.unwrap().bytes, b"1");
        assert_eq!(far_b.recv().await.unwrap().bytes, b"3");
    }

    #[tokio::test]
    async fn a_full_carrier_keeps_its_own_and_holds_up_nobody() {
        let (mut links, mut far_a, mut far_b) = world(1);
        let mut arena = SendArena::with_capacity(1000);
        for (link, remote, text) in [(A, 2, "1"), (A, 2, "2"), (B, 4, "3")] {
            arena.push(on(link, remote), 0, text.as_bytes()).unwrap();
        }
        links.try_send(&mut arena).unwrap();
        assert_eq!(far_b.recv().await.unwrap().bytes, b"3");
        assert_eq!(arena.front().unwrap().bytes, b"2");
        // b has room, and that is of no use to anybody.
        tokio::select! {
            biased;
            _ = links.ready(WRITE) => panic!("only a is waited for"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(far_a.recv().await.unwrap().bytes, b"1");
        assert!(links.ready(WRITE).await.unwrap().write);
        links.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
        assert_eq!(far_a.recv().await.unwrap().bytes, b"2");
    }

    #[test]
    fn a_path_over_a_carrier_that_is_not_there_is_dropped_and_counted() {
        let (mut links, _far_a, _far_b) = world(1);
        let mut arena = SendArena::with_capacity(1000);
        arena.push(on(LinkId(2), 2), 0, b"nowhere").unwrap();
        links.try_send(&mut arena).unwrap();
        assert!(arena.is_empty());
        assert_eq!(arena.take_drops().total(), 1);
    }

    #[tokio::test]
    async fn a_flood_at_one_does_not_starve_the_other() {
        let (mut links, far_a, far_b) = world(600);
        for _ in 0..600 {
            far_a.send(datagram(b"flood")).await;
        }
        far_b.send(datagram(b"one")).await;
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        let mut rounds = 0;
        while !batch.sources_since(0).any(|from| from.link == B) {
            rounds += 1;
            batch.clear();
            links.try_recv(&mut batch).unwrap();
        }
        assert!(rounds <= 2, "{rounds}");
    }

    const READ: Want = Want { read: true, write: false };
    const WRITE: Want = Want { read: false, write: true };

    fn on(link: LinkId, port: u16) -> Path {
        Path { link, ..Path::to(address(port)) }
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn datagram(bytes: &[u8]) -> Datagram {
        Datagram { tos: 0, bytes: bytes.to_vec() }
    }
}

//! How many streams of TCP a server has, and whose place another one takes.
//!
//! Not here: the streams (`hub`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use adit_openvpn::crowd::Crowd;
use tokio::sync::oneshot;

/// Streams that have not come in yet.
pub(super) const MAX_HALF_OPEN: Crowd = Crowd { of_host: 32, of_network: 128, of_all: 256 };

/// How many streams there are, and who has those that have not come in yet.
#[derive(Debug)]
pub(super) struct Bounds {
    most: usize,
    now: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    streams: usize,
    /// In the order in which they came: from where, and what turns them out when it is dropped.
    half_open: BTreeMap<u64, (IpAddr, oneshot::Sender<Infallible>)>,
    last: u64,
}

/// A place among the streams, and until its client is in among those half open.
pub(super) struct Seat {
    bounds: Arc<Bounds>,
    number: u64,
    turned_out: Option<oneshot::Receiver<Infallible>>,
}

impl Bounds {
    /// So many streams, those that have not come in yet beside them.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.saturating_add(MAX_HALF_OPEN.of_all), now: Mutex::default() })
    }

    /// A place for a stream from there, if there is one at all.
    pub(super) fn seat(self: &Arc<Self>, from: IpAddr) -> Option<Seat> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.streams >= self.most {
            return None;
        }
        let waiting: Vec<_> = now.half_open.iter().map(|(number, (from, _))| (*from, *number)).collect();
        if let Some(other) = MAX_HALF_OPEN.who_goes(&waiting, from) {
            now.half_open.remove(&other);
        }
        now.streams += 1;
        now.last += 1;
        let (number, (stays, turned_out)) = (now.last, oneshot::channel());
        now.half_open.insert(number, (from, stays));
        Some(Seat { bounds: Arc::clone(self), number, turned_out: Some(turned_out) })
    }
}

impl Seat {
    /// Its client is in.
    pub(super) fn settle(&mut self) {
        self.turned_out = None;
        self.bounds.now.lock().unwrap_or_else(PoisonError::into_inner).half_open.remove(&self.number);
    }

    /// Until another has its place; for ever once its client is in.
    pub(super) async fn is_turned_out(&mut self) {
        match &mut self.turned_out {
            Some(turned_out) => drop(turned_out.await),
            None => pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
        self.bounds.now.lock().unwrap_or_else(PoisonError::into_inner).streams -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    /// Those that still have their places.
    fn stay(seats: &mut [Seat]) -> usize {
        let empty =
            |seat: &mut Seat| seat.turned_out.as_mut().is_none_or(|out| out.try_recv() == Err(TryRecvError::Empty));
        seats.iter_mut().filter_map(|seat| empty(seat).then_some(())).count()
    }

    #[tokio::test]
    async fn who_opens_many_streams_turns_out_his_own_and_those_that_are_in_do_not_count() {
        let bounds = Bounds::new(10_000);
        let one: IpAddr = [192, 0, 2, 1].into();
        let mut others = vec![bounds.seat(one).unwrap()];
        others[0].settle();
        others.push(bounds.seat([203, 0, 113, 9].into()).unwrap());
        let mut seats: Vec<_> = (0..100).filter_map(|_| bounds.seat(one)).collect();
        assert_eq!((seats.len(), stay(&mut seats)), (100, MAX_HALF_OPEN.of_host));
        assert!(seats[0].turned_out.as_mut().unwrap().try_recv() == Err(TryRecvError::Closed), "the oldest went first");
        // Eight hosts could hold them all once; now a newcomer comes in, and who waits beside stays.
        for host in 0..1000_u32 {
            seats.extend(bounds.seat((0xc633_6400 + (host << 4)).to_be_bytes().into()));
        }
        assert_eq!(stay(&mut seats), MAX_HALF_OPEN.of_all - 1);
        assert_eq!((bounds.now.lock().unwrap().half_open.len(), stay(&mut others)), (MAX_HALF_OPEN.of_all, 2));
        drop((seats, others));
        let now = bounds.now.lock().unwrap();
        assert_eq!((now.streams, now.half_open.len()), (0, 0));
    }

    #[tokio::test]
    async fn all_streams_together_have_a_bound() {
        let bounds = Bounds::new(3);
        let mut seats: Vec<_> =
            (0..3 + MAX_HALF_OPEN.of_all as u32).filter_map(|n| bounds.seat((n << 8).to_be_bytes().into())).collect();
        seats.iter_mut().for_each(Seat::settle);
        assert!(seats.len() == 3 + MAX_HALF_OPEN.of_all && bounds.seat([192, 0, 2, 9].into()).is_none());
    }
}

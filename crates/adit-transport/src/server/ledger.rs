//! What the connections of a server hold: places, and memory for what their clients have not taken yet. And who has to go
//! when it is too much.
//!
//! As other web servers do: without a free place the connection that has waited longest for its client goes (nginx), and
//! with too much memory held the connection whose client is slowest (Envoy resets such streams). All are treated alike,
//! with a tunnel or without. Not here: how long a connection may take for what (`limits`), datagrams that wait for a
//! tunnel (`hub`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::limits::CONNECTION_HELD;

/// What anything held counts for at least, so that many small ones are bounded too.
const LEAST: usize = 1 << 10;

/// The book of all connections.
#[derive(Debug)]
pub(super) struct Ledger {
    places: Arc<Semaphore>,
    /// Bytes that may be held by all together.
    limit: usize,
    /// Some connection has begun to wait for its client.
    rests: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what happens, so that it is known what was first.
    clock: u64,
    bytes: usize,
    /// What is held, the oldest first.
    held: BTreeMap<u64, Piece>,
    /// Connections that wait for their client, the one that has longest first.
    waiting: BTreeMap<u64, (u64, Wait)>,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Piece {
    of: u64,
    bytes: usize,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The rest of the TLS handshake.
    Greeting,
    /// A request.
    Request,
}

#[derive(Debug)]
struct Open {
    bytes: usize,
    /// Requests without the end of their answer.
    requests: usize,
    waiting: Option<u64>,
    end: Arc<Notify>,
}

/// One connection in the ledger, from its place to its end.
#[derive(Debug)]
pub(super) struct Account {
    ledger: Arc<Ledger>,
    number: u64,
    end: Arc<Notify>,
    room: Arc<Semaphore>,
    /// There always is one, for nobody closes the places.
    _place: Option<OwnedSemaphorePermit>,
}

/// Memory held for a client, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    account: Arc<Account>,
    since: u64,
    /// Of what this connection may hold.
    room: Option<OwnedSemaphorePermit>,
}

/// A request of a connection, until its answer has ended.
#[derive(Debug)]
pub(super) struct Working(Arc<Account>);

impl Ledger {
    /// A ledger for so many connections, and so many bytes held by all of them.
    pub(super) fn new(connections: usize, limit: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(connections));
        Arc::new(Self { places, limit, rests: Notify::new(), state: Mutex::default() })
    }

    /// A place for another connection. If there is none, whoever has waited longest for its client gives up its own.
    pub(super) async fn admit(self: &Arc<Self>) -> Arc<Account> {
        let mut comes = self.places.available_permits() > 0 || self.end_longest_wait(None);
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::pin!(place);
        let place = loop {
            tokio::select! {
                biased;
                place = &mut place => break place.ok(),
                () = self.rests.notified(), if !comes => comes = self.end_longest_wait(None),
            }
        };
        let end = Arc::new(Notify::new());
        let mut state = self.lock();
        let number = state.tick();
        state.open.insert(number, Open { bytes: 0, requests: 0, waiting: None, end: Arc::clone(&end) });
        drop(state);
        Arc::new(Account {
            ledger: Arc::clone(self),
            number,
            end,
            room: Arc::new(Semaphore::new(CONNECTION_HELD)),
            _place: place,
        })
    }

    /// Ends the connection that has waited longest for its client; with `kind`, of those that wait for that. Says whether
    /// there was one.
    pub(super) fn end_longest_wait(&self, kind: Option<Wait>) -> bool {
        let mut state = self.lock();
        let mut waiting = state.waiting.values();
        let longest = waiting.find(|(_, wait)| kind.is_none_or(|kind| kind == *wait)).map(|(number, _)| *number);
        if let Some(number) = longest {
            tracing::trace!("no place is left: a connection that waits for its client ends");
            state.end(number);
        }
        longest.is_some()
    }

    /// Bytes held by all connections.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn set_waiting(&mut self, number: u64, wait: Option<Wait>) {
        let now = self.tick();
        let Some(open) = self.open.get_mut(&number) else { return };
        if let Some(since) = open.waiting.take() {
            self.waiting.remove(&since);
        }
        if let Some(wait) = wait {
            open.waiting = Some(now);
            self.waiting.insert(now, (number, wait));
        }
    }

    /// Takes a connection out of the book, with all that it holds, and tells it to end.
    fn end(&mut self, number: u64) {
        self.set_waiting(number, None);
        if let Some(open) = self.open.remove(&number) {
            if open.bytes > 0 {
                self.bytes -= open.bytes;
                self.held.retain(|_, piece| piece.of != number);
            }
            open.end.notify_one();
        }
    }
}

impl Account {
    /// Waits until this connection has to go.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
        // For the next who waits.
        self.end.notify_one();
    }

    /// From now on the client is waited for.
    pub(super) fn waits(&self, wait: Wait) {
        self.ledger.lock().set_waiting(self.number, Some(wait));
        self.ledger.rests.notify_one();
    }

    /// A request, until its answer has ended. Meanwhile the connection does not wait.
    pub(super) fn works(self: &Arc<Self>) -> Working {
        let mut state = self.ledger.lock();
        if let Some(open) = state.open.get_mut(&self.number) {
            open.requests += 1;
        }
        state.set_waiting(self.number, None);
        drop(state);
        Working(Arc::clone(self))
    }

    /// Notes bytes that are held for the client. If all connections together hold too much, those go that hold the oldest;
    /// it may be this one.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = bytes.max(LEAST);
        let mut locked = self.ledger.lock();
        let state = &mut *locked;
        let since = state.tick();
        if let Some(open) = state.open.get_mut(&self.number) {
            open.bytes += bytes;
            state.bytes += bytes;
            state.held.insert(since, Piece { of: self.number, bytes });
        }
        while state.bytes > self.ledger.limit {
            let Some(slowest) = state.held.values().next().map(|piece| piece.of) else { break };
            tracing::trace!("too much is held: the connection whose client is slowest ends");
            state.end(slowest);
        }
        drop(locked);
        Held { account: Arc::clone(self), since, room: None }
    }

    /// As [`hold`](Self::hold), once this connection holds less than it may.
    pub(super) async fn hold_in_turn(self: &Arc<Self>, bytes: usize) -> Held {
        let mut held = self.hold(bytes);
        let wanted = bytes.clamp(LEAST, CONNECTION_HELD) as u32;
        held.room = Arc::clone(&self.room).acquire_many_owned(wanted).await.ok();
        held
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        // Nobody waits to be told.
        state.end(self.number);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut locked = self.account.ledger.lock();
        let state = &mut *locked;
        // It is no longer there if the connection was ended.
        if let Some(piece) = state.held.remove(&self.since) {
            state.bytes -= piece.bytes;
            if let Some(open) = state.open.get_mut(&piece.of) {
                open.bytes -= piece.bytes;
            }
        }
    }
}

impl Working {
    /// Waits until the connection has to go.
    pub(super) async fn ended(&self) {
        self.0.ended().await;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = self.0.ledger.lock();
        let Some(open) = state.open.get_mut(&self.0.number) else { return };
        open.requests -= 1;
        if open.requests == 0 {
            state.set_waiting(self.0.number, Some(Wait::Request));
            drop(state);
            self.0.ledger.rests.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn with_too_much_held_the_connection_with_the_oldest_goes_and_no_other() {
        let ledger = Ledger::new(10, 4 * MIB);
        let (slow, quick) = (ledger.admit().await, ledger.admit().await);
        let _oldest = slow.hold(MIB);
        for _ in 0..100 {
            // What is taken at once is never the oldest.
            drop(quick.hold(3 * MIB));
        }
        let more = quick.hold(3 * MIB);
        assert!(!is_ended(&slow).await);
        let _drop_that_overflows = quick.hold(1);
        assert!(is_ended(&slow).await && !is_ended(&quick).await);
        assert_eq!(ledger.held(), 3 * MIB + LEAST);
        // What the ended one still has, or takes, is no longer counted.
        let late = slow.hold(MIB);
        assert_eq!(ledger.held(), 3 * MIB + LEAST);
        drop((late, more, _oldest));
        assert_eq!(ledger.held(), LEAST);
    }

    #[tokio::test]
    async fn who_holds_more_than_all_may_goes_itself() {
        let ledger = Ledger::new(10, MIB);
        let greedy = ledger.admit().await;
        let held: Vec<_> = (0..2000).map(|_| greedy.hold(1)).collect();
        assert!(is_ended(&greedy).await);
        assert!(ledger.held() <= MIB);
        drop(held);
        drop(greedy);
        assert_eq!(ledger.held(), 0);
        assert!(ledger.lock().open.is_empty() && ledger.lock().held.is_empty());
    }

    #[tokio::test]
    async fn one_connection_holds_so_much_and_then_waits_until_it_is_taken() {
        let ledger = Ledger::new(10, 64 * MIB);
        let account = ledger.admit().await;
        let first = account.hold_in_turn(CONNECTION_HELD).await;
        let mut second = pin!(account.hold_in_turn(1));
        tokio::select! {
            biased;
            _ = &mut second => panic!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        drop(second.await);
        assert_eq!(ledger.held(), 0);
    }

    #[tokio::test]
    async fn without_a_place_the_longest_wait_ends_and_requests_do_not() {
        let ledger = Ledger::new(3, MIB);
        let (one, two, three) = (ledger.admit().await, ledger.admit().await, ledger.admit().await);
        one.waits(Wait::Request);
        two.waits(Wait::Greeting);
        let at_work = three.works();
        // The first has asked for something meanwhile, and waits again: the second has waited longest now.
        drop(one.works());
        let mut next = pin!(ledger.admit());
        assert!(!is_done(&mut next).await);
        assert!(is_ended(&two).await && !is_ended(&one).await && !is_ended(&three).await);
        drop(two);
        let four = next.await;

        // Now the first; then nobody waits, until the third has been answered.
        let mut next = pin!(ledger.admit());
        assert!(!is_done(&mut next).await && is_ended(&one).await);
        let _in_use = (four.works(), next, one);
        drop(at_work);
        assert!(!is_ended(&three).await, "its place is not needed");
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_that_of_the_first_who_rests() {
        let ledger = Ledger::new(1, MIB);
        let first = ledger.admit().await;
        let at_work = first.works();
        let mut next = pin!(ledger.admit());
        assert!(!is_done(&mut next).await && !is_ended(&first).await);
        drop(at_work);
        assert!(!is_done(&mut next).await && is_ended(&first).await);
        drop(first);
        next.await;
    }

    #[tokio::test]
    async fn a_wait_of_one_kind_is_ended_alone() {
        let ledger = Ledger::new(3, MIB);
        let (one, two) = (ledger.admit().await, ledger.admit().await);
        one.waits(Wait::Request);
        two.waits(Wait::Greeting);
        assert!(ledger.end_longest_wait(Some(Wait::Greeting)));
        assert!(is_ended(&two).await && !is_ended(&one).await);
        assert!(!ledger.end_longest_wait(Some(Wait::Greeting)));
    }

    async fn is_ended(account: &Account) -> bool {
        is_done(&mut pin!(account.ended())).await
    }

    async fn is_done<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
        tokio::select! {
            biased;
            _ = future.as_mut() => true,
            () = tokio::task::yield_now() => false,
        }
    }
}

//! Who may use the tunnel, now; and which streams each has.
//!
//! Not here: how a user proves who it is (`admit`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::limits::{TUNNELS, TUNNELS_OF_USER};
use crate::concealed::Keys;
use crate::config::User;
use crate::token::TokenKeys;

/// The users of one moment, made ready for checks.
#[derive(Debug)]
pub(super) struct Users {
    list: Vec<User>,
    pub(super) keys: Keys,
    pub(super) tokens: TokenKeys,
}

/// The users as they are now, and the streams they have.
#[derive(Debug)]
pub(super) struct Register {
    users: watch::Sender<Arc<Users>>,
    /// Touched when a stream begins or ends, never by its data.
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    /// By number, so the first of a user is its oldest.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    user: Vec<u8>,
    /// Dropped to end the stream.
    _end: oneshot::Sender<()>,
}

/// One stream in the register; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Entry {
    register: Arc<Register>,
    number: u64,
    ended: Option<oneshot::Receiver<()>>,
}

impl Users {
    pub(super) fn new(list: Vec<User>) -> Self {
        let keys = Keys::new(list.iter().map(|user| (user.id.as_slice(), &user.public_key)));
        let tokens = TokenKeys::new(list.iter().map(|user| user.token_secret.as_ref()));
        Self { list, keys, tokens }
    }

    /// The id of the user in this place of the checks' answers.
    pub(super) fn id(&self, place: usize) -> Option<Vec<u8>> {
        self.list.get(place).map(|user| user.id.clone())
    }

    fn has(&self, user: &User) -> bool {
        self.list.iter().any(|other| {
            other.id == user.id && other.public_key == user.public_key && other.token_secret == user.token_secret
        })
    }
}

impl Register {
    pub(super) fn new(users: Vec<User>) -> Self {
        Self { users: watch::Sender::new(Arc::new(Users::new(users))), streams: Mutex::default() }
    }

    /// The users as they are now.
    pub(super) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.borrow())
    }

    /// From now on these are the users. Streams of those who are gone, or whose keys are others now, end.
    pub(super) fn set(&self, users: Vec<User>) {
        let users = Arc::new(Users::new(users));
        let before = self.users.send_replace(Arc::clone(&users));
        let gone: Vec<_> = before.list.iter().filter(|user| !users.has(user)).map(|user| &user.id).collect();
        self.lock().open.retain(|_, open| !gone.contains(&&open.user));
    }

    /// Notes a stream of a user. With one too many the user's oldest ends; `None` if all users together have too many, or
    /// if this is no longer a user.
    pub(super) fn enter(self: &Arc<Self>, user: &[u8]) -> Option<Entry> {
        let mut streams = self.lock();
        if !self.users.borrow().list.iter().any(|known| known.id == user) {
            return None;
        }
        let of_user: Vec<_> = streams.open.iter().filter(|(_, o)| o.user == user).map(|(number, _)| *number).collect();
        if of_user.len() >= TUNNELS_OF_USER {
            streams.open.remove(&of_user[0]);
        }
        if streams.open.len() >= TUNNELS {
            return None;
        }
        let (end, ended) = oneshot::channel();
        let number = streams.next;
        streams.next += 1;
        streams.open.insert(number, Open { user: user.to_vec(), _end: end });
        Some(Entry { register: Arc::clone(self), number, ended: Some(ended) })
    }

    /// Streams by user id.
    pub(super) fn count(&self) -> BTreeMap<Vec<u8>, usize> {
        let mut count = BTreeMap::new();
        for open in self.lock().open.values() {
            *count.entry(open.user.clone()).or_default() += 1;
        }
        count
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Waits until this stream must end.
    pub(super) async fn ended(&mut self) {
        if let Some(ended) = self.ended.take() {
            // It is never sent, only dropped.
            let _ = ended.await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_streams_of_a_user_who_is_removed_end_and_no_others() {
        let register = register(2);
        let (mut one, two) = (register.enter(&id(1)).unwrap(), register.enter(&id(2)).unwrap());
        register.set(vec![user(2)]);
        one.ended().await;
        drop(one);
        assert_eq!(register.count(), BTreeMap::from([(id(2), 1)]));
        assert!(register.enter(&id(1)).is_none());
        drop(two);
        assert_eq!(register.count(), BTreeMap::new());
    }

    #[tokio::test]
    async fn a_user_with_another_key_is_another_user() {
        let register = register(1);
        let mut stream = register.enter(&id(1)).unwrap();
        register.set(vec![User { public_key: [77; 32], ..user(1) }]);
        stream.ended().await;
    }

    #[tokio::test]
    async fn with_one_stream_too_many_the_oldest_of_the_user_ends() {
        let register = register(2);
        let mut other = register.enter(&id(2)).unwrap();
        let mut first = register.enter(&id(1)).unwrap();
        let mut more: Vec<_> = (0..TUNNELS_OF_USER).map(|_| register.enter(&id(1)).unwrap()).collect();
        first.ended().await;
        drop(first);
        assert_eq!(register.count(), BTreeMap::from([(id(1), TUNNELS_OF_USER), (id(2), 1)]));
        assert!(other.ended.as_mut().unwrap().try_recv().is_err());
        assert_eq!(more[0].ended.as_mut().unwrap().try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }

    #[test]
    fn all_users_together_have_a_bound() {
        let register = register(u16::try_from(TUNNELS / TUNNELS_OF_USER + 1).unwrap());
        let mut open = Vec::new();
        for n in 1..=TUNNELS / TUNNELS_OF_USER {
            open.extend((0..TUNNELS_OF_USER).map(|_| register.enter(&id(n as u16)).unwrap()));
        }
        assert!(register.enter(&id((TUNNELS / TUNNELS_OF_USER + 1) as u16)).is_none());
    }

    fn register(users: u16) -> Arc<Register> {
        Arc::new(Register::new((1..=users).map(user).collect()))
    }

    fn user(n: u16) -> User {
        User { id: id(n), public_key: [n as u8; 32], token_secret: None }
    }

    fn id(n: u16) -> Vec<u8> {
        n.to_be_bytes().to_vec()
    }
}

//! A Unix socket that is asked and answers: who may speak, how much, and one answer for each line.
//!
//! Not here: what the requests mean (`daemon::house`, `server::desk`), how they look (`rpc`).

mod sys;

use std::fs::Permissions;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use serde::de::DeserializeOwned;

use crate::exit::{Failure, Result};
use crate::members;
use crate::rpc::{self, Answer, Json, MAX_REQUEST};

/// The most commands served at once.
const MAX_CLIENTS: usize = 32;

/// So many of these places are kept for root, however many members of the group come.
const KEPT_FOR_OWNERS: usize = 4;

/// The most clients that are told at once why they are refused; further ones are sent away without a word. So many are kept
/// for root here too, who is to read why.
const MAX_REFUSED: usize = 32;

/// A client that says nothing for so long is sent away, and so is one that takes so long to read an answer.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// How long a client that is refused may take to see it.
const GRACE: Duration = Duration::from_secs(1);

/// Who asks, by what the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user.
    pub(crate) uid: u32,
    /// The process, if it can be known.
    pub(crate) pid: Option<i32>,
    /// Whether it is in the group whose members may ask, too.
    pub(crate) is_member: bool,
}

/// How somebody may come to be allowed.
pub(crate) const HOW_TO_BE_A_MEMBER: &str = "or be a member of the group `adit`: `sudo groupadd --system adit`, `sudo usermod -aG adit USER`, restart the daemon, log in anew";

/// What answers on a socket.
pub(crate) trait Answers: Send + Sync + 'static {
    /// What it can be asked for.
    type Method: DeserializeOwned + Send + 'static;
    /// What is remembered of one connection.
    type Talk: Default + Send;

    /// Refuses whoever may not speak.
    fn may_speak(&self, caller: Caller) -> Result<()>;

    /// The group whose members may speak, if there is one.
    fn group(&self) -> Option<u32>;

    /// Refuses what this caller, or this connection, may not ask for.
    fn admit(&self, caller: Caller, talk: &mut Self::Talk, method: &Self::Method) -> Result<()>;

    /// How long a line of this connection may be, and how long it may say nothing.
    fn bounds(&self, _talk: &Self::Talk) -> (usize, Duration) {
        (MAX_REQUEST, IDLE)
    }

    /// Does it.
    fn perform(self: Arc<Self>, caller: Caller, method: Self::Method) -> impl Future<Output = Result<Json>> + Send;
}

/// How many clients there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients {
    served: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

/// One of them; counted until dropped.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Clients {
    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.served.load(Ordering::Relaxed) == 0
    }

    /// A place for whoever is served.
    fn sit(&self, caller: Caller) -> Option<Seat> {
        Seat::below(&self.served, places(caller))
    }

    /// A place for whoever is refused; who it is may not be known.
    fn stand(&self, caller: Option<Caller>) -> Option<Seat> {
        let is_owner = caller.is_some_and(Caller::is_owner);
        Seat::below(&self.refused, if is_owner { MAX_REFUSED } else { MAX_REFUSED - KEPT_FOR_OWNERS })
    }
}

impl Seat {
    fn below(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let seat = Self(count.clone());
        // Counted first, so that the drop of a refused seat is right as well.
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Listens there, for root and the members of this group. Whoever calls this has made sure that nobody else listens: a socket that is
/// there is a dead one.
pub(crate) fn bind(socket: &Path, group: Option<u32>) -> Result<std::os::unix::net::UnixListener> {
    let what = |e: &std::io::Error| Failure::io(format!("cannot listen at {}", socket.display()), e);
    let _absent = std::fs::remove_file(socket);
    let listener = std::os::unix::net::UnixListener::bind(socket).map_err(|e| what(&e))?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(|e| what(&e))?;
    if let Some(group) = group {
        members::open_socket(socket, group).map_err(|e| what(&e))?;
    }
    listener.set_nonblocking(true).map_err(|e| what(&e))?;
    Ok(listener)
}

/// Serves for ever.
pub(crate) async fn serve<A: Answers>(listener: UnixListener, desk: Arc<A>, clients: Clients) {
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
        let caller = caller(&stream, desk.group());
        let known = caller.as_ref().ok().copied();
        let allowed = caller.and_then(|caller| desk.may_speak(caller).map(|()| caller));
        let seated =
            allowed.and_then(|caller| clients.sit(caller).map(|seat| (caller, seat)).ok_or_else(|| busy(caller)));
        match seated {
            Ok((caller, seat)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    converse(stream, caller, &desk).await;
                    drop(seat);
                });
            }
            Err(failure) => {
                let Some(place) = clients.stand(known) else { continue };
                tokio::spawn(async move {
                    refuse(stream, failure).await;
                    drop(place);
                });
            }
        }
    }
}

/// How many places there are for this caller.
fn places(caller: Caller) -> usize {
    if caller.is_owner() { MAX_CLIENTS } else { MAX_CLIENTS - KEPT_FOR_OWNERS }
}

fn busy(caller: Caller) -> Failure {
    Failure::failed(format!("this process already serves {} commands", places(caller)))
        .hint("try again when some of them have ended")
}

fn caller(stream: &UnixStream, group: Option<u32>) -> Result<Caller> {
    let theirs = stream.peer_cred().map_err(|e| Failure::io("cannot tell who is asking", &e))?;
    let is_member = group.is_some_and(|group| {
        // A kernel that cannot say leaves the first group alone.
        theirs.gid() == group || sys::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&group))
    });
    Ok(Caller { uid: theirs.uid(), pid: theirs.pid(), is_member })
}

impl Caller {
    /// Whether this is root, or the user this process runs as.
    pub(crate) fn is_owner(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// Refuses whoever is neither that nor a member of the group.
    pub(crate) fn check(self, may_not: &str) -> Result<()> {
        if self.is_owner() || self.is_member {
            return Ok(());
        }
        Err(Failure::privilege(may_not).hint("run the command with `sudo`").hint(HOW_TO_BE_A_MEMBER))
    }

    /// Refuses members what is root's.
    pub(crate) fn check_owner(self, may_not: &str) -> Result<()> {
        if self.is_owner() { Ok(()) } else { Err(Failure::privilege(may_not).hint("run the command with `sudo`")) }
    }
}

async fn refuse(mut stream: UnixStream, failure: Failure) {
    let told = async {
        let _gone = stream.write_all(&Answer::error(0, failure).line()).await;
        // Closing with its request unread would take the answer away from it.
        let _gone = stream.shutdown().await;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await.is_ok_and(|n| n > 0) {}
    };
    let _late = tokio::time::timeout(GRACE, told).await;
}

async fn converse<A: Answers>(stream: UnixStream, caller: Caller, desk: &Arc<A>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut talk = A::Talk::default();
    loop {
        line.clear();
        let (limit, idle) = desk.bounds(&talk);
        let answer = match tokio::time::timeout(idle, read_line(&mut read, &mut line, limit)).await {
            Err(_idle) => return,
            Ok(Err(_broken)) => return,
            Ok(Ok(Line::End)) => return,
            Ok(Ok(Line::TooLong)) => {
                let failure = Failure::usage(format!("a request has at most {limit} bytes"));
                let _late = tokio::time::timeout(IDLE, write.write_all(&Answer::error(0, failure).line())).await;
                return;
            }
            Ok(Ok(Line::Whole)) => answer(&line, caller, desk, &mut talk).await,
        };
        match tokio::time::timeout(IDLE, write.write_all(&answer.line())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn answer<A: Answers>(line: &[u8], caller: Caller, desk: &Arc<A>, talk: &mut A::Talk) -> Answer {
    let (id, method) = match rpc::parse_request(line) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    if let Err(failure) = desk.admit(caller, talk, &method) {
        return Answer::error(id, failure);
    }
    let desk = desk.clone();
    // In a task of its own: what panics there is one failed request, and a command that goes away cancels nothing.
    let work = tokio::spawn(desk.perform(caller, method));
    match work.await {
        Ok(outcome) => Answer { id, outcome },
        Err(e) => {
            tracing::error!("a request failed in a way it should not: {e}");
            Answer::error(id, Failure::failed("it failed inside while doing this; its log says more"))
        }
    }
}

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads to the next newline, but never more than so many bytes.
async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(
    read: &mut R,
    line: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<Line> {
    loop {
        let there = read.fill_buf().await?;
        if there.is_empty() {
            return Ok(Line::End);
        }
        let end = there.iter().position(|b| *b == b'\n');
        let part = there.get(..end.unwrap_or(there.len())).unwrap_or_default();
        if line.len() + part.len() > limit {
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
            let seen = read_line(&mut read, &mut line, MAX_REQUEST).await.unwrap();
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

    #[tokio::test]
    async fn the_kernel_says_in_which_groups_who_asks_is() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own: std::collections::BTreeSet<u32> =
            rustix::process::getgroups().unwrap().into_iter().map(rustix::process::Gid::as_raw).collect();
        assert_eq!(sys::peer_groups(one.as_fd()).unwrap().into_iter().collect::<std::collections::BTreeSet<_>>(), own);
        let first = rustix::process::getegid().as_raw();
        assert!(caller(&one, Some(first)).unwrap().is_member);
        assert!(!caller(&one, Some(4_000_000_001)).unwrap().is_member && !caller(&one, None).unwrap().is_member);
    }

    fn owner() -> Caller {
        Caller { uid: 0, pid: None, is_member: false }
    }

    fn member() -> Caller {
        let somebody = rustix::process::geteuid().as_raw() + 1;
        Caller { uid: somebody, pid: None, is_member: true }
    }

    #[test]
    fn only_so_many_clients_have_a_seat() {
        let clients = Clients::default();
        let seats: Vec<_> = (0..MAX_CLIENTS).map(|_| clients.sit(owner()).unwrap()).collect();
        assert!(clients.sit(owner()).is_none());
        drop(seats);
        assert!(clients.is_empty());
        assert!(clients.sit(owner()).is_some());
        let places: Vec<_> = (0..MAX_REFUSED).map(|_| clients.stand(Some(owner())).unwrap()).collect();
        assert!(clients.stand(Some(owner())).is_none() && clients.is_empty());
        drop(places);
        assert!(clients.stand(None).is_some());
    }

    #[test]
    fn root_is_told_why_it_is_refused_however_many_others_are() {
        let clients = Clients::default();
        let others = || [Some(member()), None].into_iter().cycle();
        let places: Vec<_> = others().map_while(|caller| clients.stand(caller)).take(MAX_REFUSED).collect();
        assert_eq!(places.len(), MAX_REFUSED - KEPT_FOR_OWNERS);
        assert!(clients.stand(Some(owner())).is_some());
        drop(places);
    }

    #[test]
    fn members_leave_seats_for_root() {
        let clients = Clients::default();
        let seats: Vec<_> = std::iter::from_fn(|| clients.sit(member())).take(MAX_CLIENTS).collect();
        assert_eq!(seats.len(), MAX_CLIENTS - KEPT_FOR_OWNERS);
        let kept: Vec<_> = (0..KEPT_FOR_OWNERS).map(|_| clients.sit(owner()).unwrap()).collect();
        assert!(clients.sit(owner()).is_none() && clients.sit(member()).is_none());
        drop(kept);
    }

    /// Answers everything with more than a socket holds.
    struct Talkative;

    impl Answers for Talkative {
        type Method = serde::de::IgnoredAny;
        type Talk = ();

        fn may_speak(&self, _: Caller) -> Result<()> {
            Ok(())
        }

        fn group(&self) -> Option<u32> {
            None
        }

        fn admit(&self, _: Caller, (): &mut (), _: &Self::Method) -> Result<()> {
            Ok(())
        }

        async fn perform(self: Arc<Self>, _: Caller, _: Self::Method) -> Result<Json> {
            rpc::value(&"x".repeat(1 << 22))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_the_answer_is_sent_away() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"adit\":1,\"id\":1}\n").await.unwrap();
        let desk = Arc::new(Talkative);
        let conversation = converse(ours, owner(), &desk);
        assert!(tokio::time::timeout(IDLE * 10, conversation).await.is_ok(), "it waits for ever");
        drop(theirs);
    }
}

//! The server's side of the socket: reads questions, has them answered, and lets nobody take more than a turn at a time.
//!
//! Who asks is known by the source address, for in a tunnel nobody can have another's. Not here: the answers.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{MAX_MESSAGE, Refusal, Reply, Request, Unread};

/// How long an answer counts against whoever got it.
const TURN: Duration = Duration::from_secs(1);
/// Answers that somebody may get at once, who has not asked for a while: a question that is asked again, by hand too.
const BURST: u32 = 8;
/// Answers in the making; what comes on top is not heard, and asked again.
const MAX_ANSWERS: usize = 64;
/// Sources that are remembered; as many invites can be open or lately closed.
const MAX_SOURCES: usize = 4096;

/// Answers questions until the socket fails. Must be bound at [`super::PORT`] of the server's address in the network.
///
/// `answer` is given the source of the question, by which the invite is known, and is not called for a source whose last
/// answer it has not given yet. What is malformed gets no answer.
pub async fn serve<F, A>(socket: UdpSocket, answer: F) -> io::Error
where
    F: Fn(Ipv6Addr, Request) -> A,
    A: Future<Output = Reply>,
{
    let mut turns = Turns::default();
    let mut answers = FuturesUnordered::new();
    // One byte more than may come, so that a longer one shows.
    let mut buffer = [0; MAX_MESSAGE + 1];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (len, from) = match received {
                    Ok(received) => received,
                    // What an earlier answer met on its way is no fault of the socket.
                    Err(error) if is_passing(&error) => continue,
                    Err(error) => return error,
                };
                let SocketAddr::V6(source) = from else { continue };
                let request = match Request::parse(&buffer[..len]) {
                    Ok(request) => Ok(request),
                    Err(Unread::Version(_)) => Err(Reply::Refused(Refusal::Version)),
                    Err(Unread::Malformed) => continue,
                };
                if answers.len() < MAX_ANSWERS && turns.begin(*source.ip(), Instant::now()) {
                    let answer = &answer;
                    answers.push(async move {
                        let reply = match request {
                            Ok(request) => answer(*source.ip(), request).await,
                            Err(reply) => reply,
                        };
                        (source, reply)
                    });
                }
            }
            Some((to, reply)) = answers.next(), if !answers.is_empty() => {
                turns.end(to.ip());
                // A datagram that is lost is asked for again.
                drop(socket.send_to(&bytes(&reply), to).await);
            }
        }
    }
}

/// The answer as it is sent.
fn bytes(reply: &Reply) -> Vec<u8> {
    reply.emit().unwrap_or_else(|| {
        tracing::warn!(
            "an answer to a device that joins does not fit into {MAX_MESSAGE} bytes: fewer routes would help"
        );
        Reply::Refused(Refusal::Unable).emit().unwrap_or_default()
    })
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock,
    };
    let passing = [ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock];
    passing.contains(&error.kind())
}

/// Whose turn it is.
#[derive(Debug, Default)]
struct Turns(HashMap<Ipv6Addr, Turn>);

#[derive(Debug)]
struct Turn {
    /// The answer is in the making.
    answering: bool,
    /// When all answers so far will have been paid for, each by [`TURN`].
    paid: Instant,
}

impl Turns {
    /// Whether this source is answered now. If so, [`Turns::end`] must follow.
    fn begin(&mut self, source: Ipv6Addr, now: Instant) -> bool {
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&source) {
            self.0.retain(|_, turn| turn.answering || turn.paid > now);
            if self.0.len() >= MAX_SOURCES {
                return false;
            }
        }
        let turn = self.0.entry(source).or_insert(Turn { answering: false, paid: now });
        let paid = turn.paid.max(now) + TURN;
        let may = !turn.answering && paid <= now + TURN * BURST;
        if may {
            *turn = Turn { answering: true, paid };
        }
        may
    }

    /// The answer is given.
    fn end(&mut self, source: &Ipv6Addr) {
        if let Some(turn) = self.0.get_mut(source) {
            turn.answering = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use adit_wireguard::PrivateKey;
    use tokio::sync::Notify;

    use super::*;
    use crate::https::HttpsKey;

    fn request() -> Request {
        let key = PrivateKey::new([2; 32]);
        Request {
            version: 1,
            key: key.public_key(),
            https_key: HttpsKey::of(&key).unwrap(),
            name: "laptop".to_owned(),
            system: String::new(),
        }
    }

    async fn sockets() -> (UdpSocket, UdpSocket) {
        let [server, client] = [UdpSocket::bind("[::1]:0").await.unwrap(), UdpSocket::bind("[::1]:0").await.unwrap()];
        client.connect(server.local_addr().unwrap()).await.unwrap();
        (server, client)
    }

    async fn reply(client: &UdpSocket) -> Reply {
        let mut buffer = [0; MAX_MESSAGE];
        let len = client.recv(&mut buffer).await.unwrap();
        Reply::parse(&buffer[..len]).unwrap()
    }

    #[tokio::test]
    async fn who_asks_is_answered_and_junk_is_not() {
        let (server, client) = sockets().await;
        // On another task, as a server has it: what `answer` makes may be sent between threads.
        let serving = tokio::spawn(serve(server, |source, request: Request| async move {
            assert_eq!((source, request.name.as_str()), (Ipv6Addr::LOCALHOST, "laptop"));
            tokio::task::yield_now().await;
            Reply::Refused(Refusal::Used)
        }));
        for junk in [&b""[..], b"{}", &[0xff; 40], &[b' '; 1300], br#"{"adit":1}"#] {
            client.send(junk).await.unwrap();
        }
        client.send(&request().emit()).await.unwrap();
        assert_eq!(reply(&client).await, Reply::Refused(Refusal::Used));
        client.send(br#"{"adit":2,"hello":"?"}"#).await.unwrap();
        assert_eq!(reply(&client).await, Reply::Refused(Refusal::Version));
        serving.abort();
    }

    #[tokio::test]
    async fn the_same_source_is_answered_once_at_a_time() {
        let (server, client) = sockets().await;
        let (asked, go) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let answering = serve(server, async |_, _| {
            asked.set(asked.get() + 1);
            go.notified().await;
            Reply::Refused(Refusal::Full)
        });
        let story = async {
            for _ in 0..5 {
                client.send(&request().emit()).await.unwrap();
            }
            while asked.get() == 0 {
                tokio::task::yield_now().await;
            }
            // Datagrams on loopback are there once they are sent: another client's turn comes after all five.
            let other = UdpSocket::bind("[::1]:0").await.unwrap();
            other.connect(client.peer_addr().unwrap()).await.unwrap();
            other.send(b"junk").await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(asked.get(), 1);
            go.notify_one();
            assert_eq!(reply(&client).await, Reply::Refused(Refusal::Full));
        };
        tokio::select! {
            error = answering => panic!("{error}"),
            () = story => {}
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_said_to_be_none() {
        let many = vec!["2001:db8:1234:5678::/64".parse().unwrap(); 60];
        let membership = super::super::tests::membership();
        let long = Reply::Admitted(super::super::Membership { routes: many, ..membership });
        assert_eq!(Reply::parse(&bytes(&long)), Ok(Reply::Refused(Refusal::Unable)));
    }

    #[test]
    fn a_source_has_so_many_answers_at_once_and_then_one_a_second() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let one = Ipv6Addr::LOCALHOST;
        let mut ask = |at: Duration| {
            let may = turns.begin(one, start + at);
            turns.end(&one);
            may
        };
        assert_eq!((0..100).filter(|_| ask(Duration::ZERO)).count(), BURST as usize);
        assert!(!ask(Duration::from_millis(999)));
        assert!(ask(Duration::from_secs(1)));
        assert!(!ask(Duration::from_secs(1)));
        assert_eq!((0..100).filter(|_| ask(Duration::from_secs(3600))).count(), BURST as usize);
    }

    #[test]
    fn the_sources_have_a_bound_and_those_that_are_quiet_make_room() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let source = |n: usize| Ipv6Addr::from(n as u128);
        for n in 0..MAX_SOURCES {
            assert!(turns.begin(source(n), now));
            turns.end(&source(n));
        }
        assert!(!turns.begin(source(MAX_SOURCES), now), "all of them asked just now");
        assert!(turns.begin(source(0), now), "who is known is still heard");
        let later = now + TURN;
        assert!(turns.begin(source(MAX_SOURCES), later));
        assert!(turns.0.len() <= 2, "{}", turns.0.len());
    }
}

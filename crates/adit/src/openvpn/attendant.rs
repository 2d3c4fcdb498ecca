//! Who listens to a client's core: looks names up, follows streams, counts attempts, reads what the server set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_engine::{EngineHandle, Gone};
use adit_openvpn::options::{self, Attempts, AuthRetry, Pulling, Remote, Transport};
use adit_openvpn::{AuthFailure, Client, ClientChange, ClientEvent, Credentials, Ended, ends_on_silence, shows};
use adit_protocol::{Path, Protocol as _};
use base64ct::{Base64, Encoding as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::proxy::NoWay;
use super::settings::Settings;
use super::stream::StreamControl;
use super::ways::{self, Tried, Ways};
use super::{Challenge, Phase, Shown};

/// Names are not asked for more often.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// A password that was refused is tried again after this, where the configuration says so.
const LOG_IN_EVERY: Duration = Duration::from_secs(5);
/// The longest text of a server that is kept to be shown.
const MAX_SAID: usize = 1024;

/// What the attendant is asked for.
#[derive(Debug)]
pub(super) enum Order {
    LogIn(Credentials),
    /// Say goodbye; tell when that is on its way.
    Leave(oneshot::Sender<()>),
}

/// The attendant of one client.
#[derive(Debug)]
pub(super) struct Attendant {
    ways: Ways,
    streams: Option<StreamControl>,
    shown: watch::Sender<Shown>,
    pulling: Pulling,
    attempts: Attempts,
    retry: AuthRetry,
    silence_is_the_end: bool,
    /// The tunnel ends after this time (`session-timeout`), the file's.
    session: Option<Duration>,
    /// Attempts that came to nothing since the last connection.
    in_vain: usize,
    looked_up: Option<Instant>,
    looking_since: Instant,
    due: Due,
}

/// What comes by itself.
#[derive(Debug, Default)]
struct Due {
    look_up: Option<Instant>,
    log_in: Option<Instant>,
    end: Option<Instant>,
}

/// What follows from an event.
enum Next {
    Nothing,
    Change(ClientChange),
    /// The end of the client, with what to say.
    End(String),
    /// The same, of an end that the configuration asks for: nothing is kept closed then.
    Over(String),
}

impl Attendant {
    pub(super) fn new(
        config: &options::ClientConfig,
        ways: Ways,
        streams: Option<StreamControl>,
        shown: watch::Sender<Shown>,
    ) -> Self {
        let now = Instant::now();
        let due = Due { look_up: ways.has_names().then_some(now), ..Due::default() };
        if let Some(streams) = &streams {
            streams.set_dials(ways.dials());
        }
        Self {
            ways,
            streams,
            shown,
            pulling: config.pulling.clone(),
            attempts: config.attempts.clone(),
            retry: config.login.retry,
            silence_is_the_end: ends_on_silence(config),
            session: config.common.life.session,
            in_vain: 0,
            looked_up: None,
            looking_since: now,
            due,
        }
    }

    /// Listens until the client's engine or its last handle is gone.
    pub(super) async fn run(
        mut self,
        engine: EngineHandle<Client>,
        mut news: mpsc::Receiver<ClientEvent>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        let mut questions = JoinSet::new();
        loop {
            let now = Instant::now();
            if self.due.look_up.is_some_and(|at| at <= now) && questions.is_empty() {
                self.due.look_up = None;
                self.looked_up = Some(now);
                for (number, remote) in self.ways.questions() {
                    questions.spawn(async move { answer(number, remote).await });
                }
            }
            let may_ask = questions.is_empty();
            let next = tokio::select! {
                event = news.recv() => match event {
                    Some(event) => self.hear(event),
                    None => return,
                },
                order = orders.recv() => match order {
                    Some(Order::LogIn(login)) => Next::Change(ClientChange::Credentials(login)),
                    Some(Order::Leave(done)) => {
                        if self.apply(&engine, ClientChange::Disconnect).await.is_err() {
                            return;
                        }
                        let _asker_left = done.send(());
                        Next::Nothing
                    }
                    None => return,
                },
                Some(found) = questions.join_next() => match found {
                    Ok(found) => self.learn(found),
                    Err(_) => Next::Nothing,
                },
                why = lost(&mut self.streams) => self.lose(why),
                () = self.due.sleep(may_ask) => self.on_time(Instant::now()),
            };
            let applied = match next {
                Next::Nothing => Ok(()),
                Next::Change(change) => self.apply(&engine, change).await,
                Next::End(why) => {
                    let applied = self.apply(&engine, ClientChange::Disconnect).await;
                    self.end(why);
                    applied
                }
                Next::Over(why) => {
                    let applied = self.apply(&engine, ClientChange::Disconnect).await;
                    self.end(why);
                    self.show(|shown| shown.over = true);
                    applied
                }
            };
            if applied.is_err() {
                return;
            }
        }
    }

    async fn apply(&self, engine: &EngineHandle<Client>, change: ClientChange) -> Result<(), Gone> {
        engine.with(move |client, now| client.apply(now, change)).await
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        self.shown.send_modify(change);
    }

    fn end(&self, why: String) {
        self.show(|shown| {
            shown.phase = Phase::Ended;
            shown.since = None;
            shown.trouble = Some(for_people(&why));
            // What was never open need not be kept closed.
            shown.over = shown.connections == 0;
        });
    }

    fn hear(&mut self, event: ClientEvent) -> Next {
        match event {
            ClientEvent::Connecting(path) => self.begins(&path),
            ClientEvent::Connected(pushed) => {
                match Settings::read(*pushed, &self.pulling, self.server(), self.ways.servers()) {
                    Ok(settings) => self.connected(settings),
                    Err(rejected) => return Next::End(rejected.to_string()),
                }
            }
            ClientEvent::Renewed => self.show(|shown| shown.renewals += 1),
            ClientEvent::Updated(updates) => {
                let Some(settings) = self.shown.borrow().settings.clone() else { return Next::Nothing };
                match settings.updated(updates, &self.pulling) {
                    Ok(settings) => self.show(|shown| shown.settings = Some(Arc::new(settings))),
                    Err(rejected) => return Next::End(rejected.to_string()),
                }
            }
            ClientEvent::Info(text) => self.show(|shown| shown.said = Some(for_people(&text))),
            ClientEvent::Ended(why) => return self.ended(&why),
        }
        Next::Nothing
    }

    /// The server of this attempt.
    fn server(&self) -> Option<std::net::IpAddr> {
        self.shown.borrow().server.as_ref().map(|(address, _)| address.ip())
    }

    fn begins(&self, path: &Path) {
        // What is tried is one of the ways; in doubt, one of another time.
        let Some(Tried { at, name, transport, proxy }) = self.ways.tried(path) else { return };
        let transport = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        tracing::debug!(server = %at, transport, ?proxy, "an attempt begins");
        self.show(|shown| {
            shown.phase = Phase::Connecting;
            shown.server = Some((at, name));
            shown.proxy = proxy;
            shown.transport = transport;
        });
    }

    /// A connection is gone, or was not made.
    fn lose(&self, lost: NoWay) -> Next {
        let NoWay { why, is_final } = lost;
        // Where a person has to change something, each server has been tried by then. Who was in once goes on trying: what a
        // proxy says today in clear text may be somebody else's word, and it may say something else tomorrow.
        if is_final && self.shown.borrow().connections == 0 && self.in_vain + 1 >= self.ways.count() {
            Next::End(why)
        } else {
            Next::Change(ClientChange::CarrierLost(why))
        }
    }

    fn connected(&mut self, settings: Settings) {
        let now = Instant::now();
        self.in_vain = 0;
        let session = settings.machine.life.session.or(self.session);
        self.due.end = session.map(|after| now + after);
        self.show(|shown| {
            shown.phase = Phase::Connected;
            shown.settings = Some(Arc::new(settings));
            shown.since = Some(now);
            shown.connections += 1;
            shown.renewals = 0;
            shown.trouble = None;
            shown.said = None;
        });
    }

    fn ended(&mut self, why: &Ended) -> Next {
        let was_up = self.shown.borrow().phase == Phase::Connected;
        if let Some(streams) = &self.streams {
            streams.close();
        }
        self.due.end = None;
        let now = Instant::now();
        // Asked anew where an attempt came to nothing: the server may have moved.
        if self.ways.has_names() && !why.is_final() {
            let earliest = self.looked_up.map_or(now, |at| at + LOOK_UP_EVERY);
            self.due.look_up = Some(earliest.max(now));
        }
        let text = for_people(&why.to_string());
        tracing::debug!(%text, "the session has ended");
        let challenge = challenge(why);
        self.show(|shown| shown.challenge = challenge);
        if matches!(why, Ended::Silent(_)) && self.silence_is_the_end && was_up {
            return Next::Over(format!("{text}, and `ping-exit` says that this is the end"));
        }
        self.in_vain += 1;
        let tries = self.attempts.most.map(|most| most as usize * self.ways.paths().len().max(1));
        if !why.is_final() && tries.is_some_and(|tries| self.in_vain >= tries) {
            return Next::Over(format!("{text}; that was the last attempt that `connect-retry-max` allows"));
        }
        // Each server has been tried, and what we found there is not whom we were told to meet.
        if why.is_refused_by_us() && self.shown.borrow().connections == 0 && self.in_vain >= self.ways.count() {
            return Next::End(text);
        }
        if why.is_final() {
            if matches!(why, Ended::Auth(AuthFailure::Denied(_))) && self.retry == AuthRetry::Same {
                self.due.log_in = Some(now + LOG_IN_EVERY);
            } else if !matches!(why, Ended::Asked) {
                self.end(text);
                return Next::Nothing;
            } else {
                self.show(|shown| shown.phase = Phase::Ended);
                return Next::Nothing;
            }
        }
        self.show(|shown| {
            shown.phase = Phase::Waiting;
            shown.since = None;
            shown.trouble = Some(text);
        });
        Next::Nothing
    }

    fn learn(&mut self, (number, found): (usize, Result<Vec<std::net::SocketAddr>, String>)) -> Next {
        let found = found.unwrap_or_else(|why| {
            let why = for_people(&why);
            tracing::debug!(%why, "a server's name");
            let nothing_known = self.ways.paths().is_empty();
            self.show(|shown| {
                if nothing_known || shown.trouble.is_none() {
                    shown.trouble = Some(why);
                }
            });
            Vec::new()
        });
        let failed = found.is_empty();
        self.ways.answered(number, found);
        let paths = self.ways.paths();
        if failed && paths.is_empty() {
            let now = Instant::now();
            if self.attempts.resolve_for.is_some_and(|patience| now >= self.looking_since + patience) {
                let why = self.shown.borrow().trouble.clone().unwrap_or_default();
                return Next::End(format!("{why}; `resolv-retry` says that this is the end"));
            }
            self.due.look_up = Some(now + LOOK_UP_EVERY);
            return Next::Nothing;
        }
        if let Some(streams) = &self.streams {
            streams.set_dials(self.ways.dials());
        }
        Next::Change(ClientChange::Remotes(paths))
    }

    fn on_time(&mut self, now: Instant) -> Next {
        if self.due.end.is_some_and(|at| at <= now) {
            self.due.end = None;
            return Next::Over("the time of the session is over (`session-timeout`)".to_owned());
        }
        if self.due.log_in.is_some_and(|at| at <= now) {
            self.due.log_in = None;
            return Next::Change(ClientChange::Reconnect);
        }
        Next::Nothing
    }
}

impl Due {
    /// Until the next of them; names are asked for only once those that were asked for are known.
    async fn sleep(&self, may_ask: bool) {
        let look_up = self.look_up.filter(|_| may_ask);
        match [look_up, self.log_in, self.end].into_iter().flatten().min() {
            Some(at) => sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// What the server asks, if that is why it ended.
fn challenge(why: &Ended) -> Option<Challenge> {
    let Ended::Auth(AuthFailure::Challenge { question, state, user, echo }) = why else { return None };
    // A user that cannot be read is nobody: the server says so.
    let user = Base64::decode_vec(user).ok().and_then(|user| String::from_utf8(user).ok()).unwrap_or_default();
    Some(Challenge { question: for_people(question), echo: *echo, user, state: state.clone() })
}

async fn answer(number: usize, remote: Remote) -> (usize, Result<Vec<std::net::SocketAddr>, String>) {
    (number, ways::look_up(&remote).await)
}

async fn lost(streams: &mut Option<StreamControl>) -> NoWay {
    match streams {
        Some(streams) => streams.lost().await,
        None => std::future::pending().await,
    }
}

/// What a server says, or what is said of one, without what a terminal would take for an order. Lines stay: hints are on lines
/// of their own, and no name in a sentence has any.
pub(super) fn for_people(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || shows(*c)).take(MAX_SAID).collect()
}

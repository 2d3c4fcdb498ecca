//! The client role: one session with one server, begun again whenever it ends.
//!
//! Not here: what a session is (`session`), what the server's settings mean for the machine (`push` passes them on).

mod config;
mod control;
mod drive;
mod event;
mod login;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{Drops, Now, Path};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use self::config::Wrapped;
pub use self::config::{ClientConfig, ControlWrap, Remote};
pub use self::event::{AuthFailure, ClientChange, ClientEvent, Ended};
use self::login::Login;
use crate::constants::{EARLY_NEGOTIATION, MAX_EVENTS};
use crate::data::{Fragments, SealJob, Segments};
use crate::inner::Entering;
use crate::key_method::KeyMessage;
use crate::packet::Opcode;
use crate::push::Pieces;
use crate::session::{Ground, Session, Wrapping};
use crate::tls::{TlsFactory, TlsSettingsError};
use crate::wrap::replay::ReplayCounter;
use crate::{Role, data::Agreed};

/// An OpenVPN client. Driven through [`Protocol`](adit_protocol::Protocol).
pub struct Client {
    config: ClientConfig,
    ground: Ground,
    /// As many as the configuration has of them.
    wraps: Vec<Wrapped>,
    login: Login,
    rng: ChaCha20Rng,
    state: State,
    /// Which of the remotes is next.
    remote: usize,
    /// How long to wait before the next attempt.
    pause: Duration,
    /// Attempts since the last that came to something.
    failures: usize,
    drops: Drops,
    /// At most `MAX_EVENTS`, connections and their ends apart.
    events: VecDeque<ClientEvent>,
    /// What the core itself wants sealed: packets that waited, pieces, pings, a farewell. More than `MAX_SEALS` are not cut.
    seals: VecDeque<(SealJob, Path, Vec<u8>)>,
    /// Packets that were in pieces.
    entering: Entering,
    /// Inner packets that wait for keys: at most `MAX_STAGED`.
    staged: VecDeque<Vec<u8>>,
    /// Nothing of IPv6 is sent (`block-ipv6`).
    blocks_ipv6: bool,
    /// Control packets made outside of `poll_output`: those of a session that ends.
    farewells: VecDeque<(Path, Vec<u8>)>,
}

enum State {
    /// Until somebody says otherwise.
    Stopped,
    /// Until there is a server to try.
    Nowhere,
    /// Until the next attempt.
    Waiting(Instant),
    Connecting(Box<Connection>),
}

/// A session with a server, and what belongs to this attempt alone.
struct Connection {
    session: Session,
    path: Path,
    wrapped: Wrapped,
    /// Of a reply with settings, and of a change to them, that have not come whole.
    replies: Pieces,
    updates: Pieces,
    fragments: Fragments,
    phase: Phase,
    ping: Option<Duration>,
    ping_restart: Option<Duration>,
    last_sent: Instant,
    last_heard: Instant,
    control_exit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Keys are being exchanged.
    Exchanging,
    /// Settings are asked for; once more at this time.
    Asking(Instant),
    /// Packets flow.
    Up,
}

impl Client {
    /// A client that begins to connect at once. `seed`: 32 random bytes of the operating system.
    ///
    /// # Errors
    ///
    /// Certificates, keys or rules that TLS cannot be run with.
    pub fn new(mut config: ClientConfig, seed: [u8; 32], now: Now) -> Result<Self, TlsSettingsError> {
        let tls = TlsFactory::new(Role::Client, std::mem::take(&mut config.tls))?;
        let wraps = std::mem::take(&mut config.wraps).into_iter().map(Wrapped::from).collect();
        let ground = Ground {
            role: Role::Client,
            tls,
            times: config.times,
            options: config.options_string(),
            peer_info: config.peer_info(),
        };
        let login = Login::new(std::mem::take(&mut config.credentials).unwrap_or_default());
        let pause = config.reconnect.0;
        let blocks_ipv6 = config.block_ipv6;
        Ok(Self {
            config,
            ground,
            wraps,
            login,
            rng: ChaCha20Rng::from_seed(seed),
            state: State::Waiting(now.instant),
            remote: 0,
            pause,
            failures: 0,
            drops: Drops::default(),
            events: VecDeque::new(),
            seals: VecDeque::new(),
            entering: Entering::default(),
            staged: VecDeque::new(),
            blocks_ipv6,
            farewells: VecDeque::new(),
        })
    }

    /// Whether packets flow.
    pub fn is_up(&self) -> bool {
        matches!(&self.state, State::Connecting(connection) if connection.phase == Phase::Up)
    }

    /// Begins a session with the next remote.
    fn connect(&mut self, now: Now) {
        let Some(Remote { path, wrap }) =
            self.config.remotes.get(self.remote % self.config.remotes.len().max(1)).copied()
        else {
            self.state = State::Nowhere;
            return;
        };
        self.remote = self.remote.wrapping_add(1);
        let wrapped = self.wraps.get(wrap).cloned().unwrap_or_else(|| Wrapped::from(ControlWrap::Plain));
        let (reset, first_number) = if wrapped.wrapped_key.is_empty() {
            (Opcode::HardResetClientV2, 1)
        } else {
            (Opcode::HardResetClientV3, EARLY_NEGOTIATION)
        };
        let counter = ReplayCounter::new(first_number, now.unix.as_secs());
        let wrapping = Wrapping::new(Arc::clone(&wrapped.envelope), counter, wrapped.wrapped_key.to_vec());
        match Session::begin(&self.ground, reset, wrapping, self.login.shown(), &mut self.rng, now) {
            Ok(session) => {
                self.state = State::Connecting(Box::new(Connection {
                    session,
                    path,
                    wrapped,
                    replies: Pieces::default(),
                    updates: Pieces::default(),
                    fragments: Fragments::default(),
                    phase: Phase::Exchanging,
                    ping: self.config.ping,
                    ping_restart: self.config.ping_restart,
                    last_sent: now.instant,
                    last_heard: now.instant,
                    control_exit: false,
                }));
                self.tell(ClientEvent::Connecting(path));
            }
            Err(failure) => self.end(now, Ended::Session(failure.into())),
        }
    }

    /// Takes other servers. Where there were none to try, that is what was waited for.
    fn set_remotes(&mut self, now: Now, remotes: Vec<Remote>) {
        self.config.remotes = remotes;
        if matches!(self.state, State::Nowhere) {
            self.state = State::Waiting(now.instant);
        }
    }

    /// Gives the session up, and tries again later unless that cannot help.
    fn end(&mut self, now: Now, why: Ended) {
        self.seals.clear();
        if matches!(&self.state, State::Connecting(connection) if connection.phase == Phase::Up) {
            self.pause = self.config.reconnect.0;
            self.failures = 0;
        }
        self.failures += 1;
        if why.stays() {
            self.remote = self.remote.wrapping_sub(1);
        }
        self.state = if why.is_final() {
            State::Stopped
        } else {
            let at = now.instant + self.pause.max(why.backoff());
            // As many attempts as there are remotes, and patience grows.
            if self.failures.is_multiple_of(self.config.remotes.len().max(1)) {
                self.pause = (self.pause * 2).min(self.config.reconnect.1);
            }
            State::Waiting(at)
        };
        self.tell(ClientEvent::Ended(why));
    }

    fn tell(&mut self, event: ClientEvent) {
        if matches!(event, ClientEvent::Info(_)) {
            // The newest counts; however much a server says, what matters is not pushed out by it.
            self.events.retain(|event| !matches!(event, ClientEvent::Info(_)));
        }
        // Connections and their ends are few, and changes are not taken beyond this bound.
        if self.events.len() >= MAX_EVENTS
            && let Some(least) = self.events.iter().position(|event| matches!(event, ClientEvent::Renewed))
        {
            self.events.remove(least);
        }
        self.events.push_back(event);
    }

    /// What the data channel will be, from the server's settings and ours.
    fn agreed(&self, pushed: &crate::push::Pushed) -> Result<Agreed, Ended> {
        if let Some(flags) = &pushed.unknown_flags {
            return Err(Ended::Flags(flags.clone()));
        }
        if let Some(name) = &pushed.unknown_cipher {
            return Err(Ended::Cipher(name.clone()));
        }
        // A server that chooses none may have said what it is configured with.
        let (configured, path) = match &self.state {
            State::Connecting(connection) => {
                let said = connection.session.newest.peer.as_ref();
                (said.and_then(KeyMessage::cipher), Some(connection.path))
            }
            State::Stopped | State::Nowhere | State::Waiting(_) => (None, None),
        };
        let cipher = self.config.choose(pushed.cipher, configured).map_err(Ended::Cipher)?;
        let framing = pushed.framing.unwrap_or(self.config.framing);
        let epochs = pushed.epoch_keys && cipher.is_aead() && pushed.peer_id.is_some();
        let ClientConfig { digest, fragment, mssfix, stream, .. } = self.config;
        let segments = path.map_or(Segments::Free, |path| mssfix.on(path, stream));
        Ok(Agreed { cipher, digest, peer_id: pushed.peer_id, framing, epochs, fragment, segments })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

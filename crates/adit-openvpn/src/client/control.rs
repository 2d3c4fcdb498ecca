//! What the server's control messages mean for a client.

use std::time::Duration;

use adit_protocol::Now;
use zeroize::Zeroizing;

use super::{AuthFailure, Client, ClientEvent, Connection, Ended, Phase, State};
use crate::Role;
use crate::constants::{MAX_EVENTS, PUSH_REQUEST_EVERY};
use crate::exchange::ExchangeFailure;
use crate::options;
use crate::push::{Pieces, Pushed};
use crate::update::{NotUpdatable, Update};

impl Connection {
    /// What the server says of pings takes the place of what was configured; zero turns them off.
    fn take_keepalive(&mut self, pushed: &Pushed) {
        let take = |said: Option<Duration>, before: Option<Duration>| {
            said.map_or(before, |said| Some(said).filter(|said| !said.is_zero()))
        };
        self.ping = take(pushed.ping, self.ping);
        self.ping_restart = take(pushed.ping_restart, self.ping_restart);
    }
}

impl Client {
    /// Goes on with the session as far as what has arrived allows.
    pub(super) fn advance(&mut self, now: Now) {
        let State::Connecting(connection) = &mut self.state else { return };
        let had = connection.session.newest.data.is_some();
        connection.session.advance(&self.ground, now);
        if let Some(end) = connection.session.end().cloned() {
            self.farewell(now);
            return self.end(now, end.into());
        }
        let renewed = !had && connection.session.newest.data.is_some() && connection.phase == Phase::Up;
        if connection.phase == Phase::Exchanging && connection.session.newest.is_complete() {
            connection.phase = Phase::Asking(now.instant);
        }
        if renewed {
            self.tell(ClientEvent::Renewed);
        }
        while let State::Connecting(connection) = &mut self.state {
            let Some(message) = connection.session.next_message() else { break };
            self.handle_message(now, &message);
        }
    }

    /// What the last packets of a session that ends say: an alert of TLS, a goodbye.
    pub(super) fn farewell(&mut self, now: Now) {
        let State::Connecting(connection) = &mut self.state else { return };
        while let Some(datagram) = connection.session.poll_transmit(now.instant) {
            self.farewells.push_back((connection.path, datagram));
        }
    }

    fn handle_message(&mut self, now: Now, message: &str) {
        let name = message.split(',').next().unwrap_or_default();
        let rest = message.get(name.len()..).unwrap_or_default();
        let text = || rest.trim_start_matches(',').to_owned();
        match name {
            "PUSH_REPLY" => self.handle_push(now, rest),
            "PUSH_UPDATE" => self.handle_update(now, rest),
            "AUTH_FAILED" => self.handle_refusal(now, rest),
            "RESTART" => self.end(now, Ended::Restart(text())),
            "EXIT" => self.end(now, Ended::Restart("it exits".to_owned())),
            "HALT" => self.end(now, Ended::Halt(text())),
            "AUTH_PENDING" | "INFO_PRE" | "INFO" => {
                if let (State::Connecting(connection), Some(longest)) = (&mut self.state, pending(message)) {
                    connection.session.wait(&self.ground.times, longest, now.instant);
                }
                self.tell(ClientEvent::Info(message.to_owned()));
            }
            _ => tracing::debug!(name, "a control message that is not known"),
        }
    }

    fn handle_refusal(&mut self, now: Now, rest: &str) {
        let failure = self.login.judge(AuthFailure::parse(rest));
        self.end(now, failure.into());
    }

    /// The options of a reply or an update that we take, once all its pieces are there. One that may not be is the end.
    fn whole(
        &mut self,
        now: Now,
        piece: &str,
        pieces: fn(&mut Connection) -> &mut Pieces,
    ) -> Option<Vec<Zeroizing<String>>> {
        let State::Connecting(connection) = &mut self.state else { return None };
        let pieces = pieces(connection);
        let options = pieces.push(piece);
        if pieces.too_long {
            let why = ExchangeFailure::Protocol("its settings are longer than any client takes");
            self.end(now, Ended::Session(why.into()));
            return None;
        }
        match options::filtered(options?, &self.config.pulling) {
            Ok(options) => Some(options),
            Err(rejected) => {
                self.end(now, rejected.into());
                None
            }
        }
    }

    fn handle_push(&mut self, now: Now, rest: &str) {
        let State::Connecting(connection) = &mut self.state else { return };
        let phase = connection.phase;
        if phase == Phase::Exchanging {
            return;
        }
        let Some(options) = self.whole(now, rest, |connection| &mut connection.replies) else { return };
        if phase == Phase::Up {
            // Settings come once; tokens with every renewal.
            return self.login.take_token(&Pushed::token_of(&options));
        }
        let pushed = Pushed::parse(&options);
        self.login.take_token(&pushed);
        let agreed = match self.agreed(&pushed) {
            Ok(agreed) => agreed,
            Err(why) => return self.end(now, why),
        };
        let is_pushed = pushed.options.iter().any(|option| option == "block-ipv6");
        self.blocks_ipv6 = self.config.block_ipv6 || is_pushed && !self.config.pulling.no_routes;
        let State::Connecting(connection) = &mut self.state else { return };
        connection.session.agree(Role::Client, agreed, pushed.exported_keys, now.instant);
        if pushed.dynamic_envelope {
            connection.session.use_dynamic(Role::Client, connection.wrapped.static_key.as_deref(), now.unix);
        }
        connection.take_keepalive(&pushed);
        connection.control_exit = pushed.control_exit;
        connection.phase = Phase::Up;
        self.pause = self.config.reconnect.0;
        self.tell(ClientEvent::Connected(Box::new(pushed)));
        self.release(now);
    }

    fn handle_update(&mut self, now: Now, rest: &str) {
        let State::Connecting(connection) = &mut self.state else { return };
        if connection.phase != Phase::Up {
            return;
        }
        let Some(options) = self.whole(now, rest, |connection| &mut connection.updates) else { return };
        if self.events.len() >= MAX_EVENTS {
            let why = ExchangeFailure::Protocol("it changes its settings faster than anybody could follow");
            return self.end(now, Ended::Session(why.into()));
        }
        let State::Connecting(connection) = &mut self.state else { return };
        match Update::parse(&options) {
            Err(NotUpdatable(name)) => {
                self.end(now, Ended::Restart(format!("it changes `{name}`, which no connection outlives")));
            }
            Ok(updates) => {
                for update in &updates {
                    match update {
                        Update::Set(option) if option.starts_with("keepalive ") => {
                            let mut pushed = Pushed::default();
                            pushed.add(option);
                            connection.take_keepalive(&pushed);
                        }
                        Update::Set(option) if option == "block-ipv6" && !self.config.pulling.no_routes => {
                            self.blocks_ipv6 = true;
                        }
                        Update::Remove(name) if name == "block-ipv6" => self.blocks_ipv6 = self.config.block_ipv6,
                        Update::Set(_) | Update::Remove(_) => {}
                    }
                }
                self.tell(ClientEvent::Updated(updates));
            }
        }
    }

    /// Asks for settings, if it is time.
    pub(super) fn ask(&mut self, now: Now) {
        let State::Connecting(connection) = &mut self.state else { return };
        if let Phase::Asking(at) = connection.phase
            && at <= now.instant
        {
            connection.session.send("PUSH_REQUEST");
            connection.phase = Phase::Asking(now.instant + PUSH_REQUEST_EVERY);
        }
    }
}

/// How long the server waits for its user, if it says so: `AUTH_PENDING,timeout SECONDS`.
fn pending(message: &str) -> Option<Duration> {
    let mut options = message.strip_prefix("AUTH_PENDING,")?.split(',');
    let seconds = options.find_map(|option| option.trim().strip_prefix("timeout "))?.trim();
    seconds.parse().ok().map(|seconds: u32| Duration::from_secs(seconds.into()))
}

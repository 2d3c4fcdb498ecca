//! What is found out before a client is let in, and again when it renews its keys: is its login right, what is it called, and what
//! is said of it alone.
//!
//! Runs beside the attendant, for programs and disks take their time. Not here: places and addresses (`attendant`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use adit_openvpn::options::{ClientEntry, ServerConfig};
use adit_openvpn::{AuthRequest, ClientId};
use adit_protocol::Path as Outside;
use zeroize::Zeroizing;

use super::entry::Entries;
use super::login::{Login, LoginProgram, Verdict};
use super::token::{Checked, Tokens};

/// So many wrong logins of one host (for IPv6: of one /64) in [`PACE`]; then nobody is asked.
const MAX_WRONG: u32 = 5;
/// How long a host that guesses has to wait.
const PACE: Duration = Duration::from_secs(60);
/// Hosts that are remembered for it.
const MAX_HOSTS: usize = 4096;

/// What a configuration demands of clients beside their certificates.
#[derive(Debug)]
pub(super) struct Admission {
    entries: Option<Entries>,
    program: Option<LoginProgram>,
    tokens: Option<Tokens>,
    user_is_name: bool,
    login_optional: bool,
    wrong: Mutex<Wrong>,
}

/// Who has guessed, and how often.
#[derive(Debug, Default)]
struct Wrong(HashMap<u128, (u32, Instant)>);

/// What was found out of one client.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) client: ClientId,
    pub(super) from: Outside,
    /// It is in already, and renews its keys.
    pub(super) renewal: bool,
    pub(super) outcome: Result<Known, Refusal>,
}

/// A client that may come in.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) entry: ClientEntry,
    /// What it is to show next time in place of a password.
    pub(super) token: Option<Zeroizing<String>>,
}

/// A client that may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What it reads.
    pub(super) told: String,
    /// What whoever runs the server should know.
    pub(super) trouble: Option<String>,
}

impl Refusal {
    pub(super) fn of(told: &str) -> Self {
        Self { told: told.to_owned(), trouble: None }
    }

    fn because(trouble: String) -> Self {
        Self { told: "the server cannot say whether you may come in".to_owned(), trouble: Some(trouble) }
    }
}

impl Admission {
    /// That of a configuration. `scratch`: a directory that only we can look into. `random`: for a key of our own.
    pub(super) fn of(config: &ServerConfig, base: &Path, scratch: &Path, random: &[u8; 32]) -> Self {
        let server = &config.server;
        Self {
            entries: Entries::of(server, base),
            program: LoginProgram::of(&config.common.hooks, base, scratch),
            tokens: Tokens::of(config, random),
            user_is_name: server.username_as_name,
            login_optional: server.login_optional,
            wrong: Mutex::default(),
        }
    }

    /// What has to be there, and the option that says so.
    pub(super) fn needs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let directory = self.entries.as_ref().map(|entries| ("client-config-dir", entries.directory()));
        let program = self.program.as_ref().map(|program| ("auth-user-pass-verify", program.path()));
        directory.into_iter().chain(program)
    }

    /// Finds out what is to be known of a client.
    pub(super) async fn examine(&self, request: AuthRequest) -> Found {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let outcome = self.know(&request, unix).await;
        Found { client: request.client, from: request.from, renewal: request.renewal, outcome }
    }

    async fn know(&self, request: &AuthRequest, unix: Duration) -> Result<Known, Refusal> {
        if request.certificate.is_some() && request.common_name.is_none() {
            return Err(Refusal::of("your certificate has no common name"));
        }
        let token = match &self.program {
            Some(program) => self.log_in(program, request, unix).await?,
            None => None,
        };
        let name = self.name(request);
        let entry = match &self.entries {
            Some(entries) => match entries.look_up(&name).await {
                Ok(entry) => entry,
                Err(why) => return Err(Refusal::because(format!("a client was turned away: {why}"))),
            },
            None => ClientEntry::default(),
        };
        if entry.disabled { Err(Refusal::of("you are not let in any more")) } else { Ok(Known { name, entry, token }) }
    }

    /// Whether the login is right; the next token, where there are tokens.
    async fn log_in(
        &self,
        program: &LoginProgram,
        request: &AuthRequest,
        unix: Duration,
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        let (user, password) = (&request.username, request.password.expose());
        let next = |made| self.tokens.as_ref().map(|tokens| tokens.make(user, made, unix));
        match self.tokens.as_ref().map(|tokens| tokens.check(user, password, unix)) {
            Some(Checked::Good { made }) => return Ok(next(made)),
            Some(Checked::Over) => return Err(Refusal::of("SESSION:the token is over")),
            Some(Checked::Password) | None => {}
        }
        if user.is_empty() && !self.login_optional {
            return Err(Refusal::of("a user and a password are needed"));
        }
        let host = host(request.from.remote.ip());
        if self.wrong().has_to_wait(host, Instant::now()) {
            return Err(Refusal::of("TEMP:too many wrong passwords came from your address"));
        }
        let login = Login {
            user: user.clone(),
            password: Zeroizing::new(password.to_owned()),
            common_name: request.common_name.clone().unwrap_or_default(),
            from: request.from.remote,
        };
        match program.clone().ask(login).await {
            Verdict::Right => Ok(next(unix)),
            Verdict::Wrong(why) => {
                // A question to the user (`CRV1`) is no guess, but may be asked only so often too.
                self.wrong().count(host, Instant::now());
                Err(Refusal { told: why, trouble: None })
            }
            Verdict::Unasked(why) => Err(Refusal::because(format!("a login was not checked: {why}"))),
        }
    }

    fn wrong(&self) -> std::sync::MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client is called: by its certificate, or by its user where the file says so or there is no certificate.
    fn name(&self, request: &AuthRequest) -> String {
        let user = || request.username.clone();
        match &request.common_name {
            Some(_) if self.user_is_name && self.program.is_some() && !request.username.is_empty() => user(),
            Some(name) => name.clone(),
            None => user(),
        }
    }
}

impl Wrong {
    fn has_to_wait(&self, host: u128, now: Instant) -> bool {
        self.0.get(&host).is_some_and(|(times, since)| *times >= MAX_WRONG && now < *since + PACE)
    }

    fn count(&mut self, host: u128, now: Instant) {
        if self.0.len() >= MAX_HOSTS {
            self.0.retain(|_, (_, since)| now < *since + PACE);
        }
        if self.0.len() >= MAX_HOSTS && !self.0.contains_key(&host) {
            // So many guess at once: those that are known go on waiting, and newcomers are not counted.
            return;
        }
        let (times, since) = self.0.entry(host).or_insert((0, now));
        if now >= *since + PACE {
            (*times, *since) = (0, now);
        }
        *times += 1;
    }
}

/// What counts as one host.
pub(super) fn host(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_has_to_wait_and_memory_has_an_end() {
        let (mut wrong, now) = (Wrong::default(), Instant::now());
        let (one, other) = (host([192, 0, 2, 1].into()), host([192, 0, 2, 2].into()));
        for _ in 0..MAX_WRONG {
            assert!(!wrong.has_to_wait(one, now));
            wrong.count(one, now);
        }
        assert!(wrong.has_to_wait(one, now) && !wrong.has_to_wait(other, now));
        assert!(!wrong.has_to_wait(one, now + PACE));
        wrong.count(one, now + PACE);
        assert!(!wrong.has_to_wait(one, now + PACE), "it begins anew");
        for n in 0..2 * MAX_HOSTS as u128 {
            wrong.count(n << 64, now);
        }
        assert_eq!(wrong.0.len(), MAX_HOSTS);
        wrong.count(7, now + 3 * PACE);
        assert_eq!(wrong.0.len(), 1, "those before are forgotten");
        assert_eq!(host("2001:db8::1".parse().unwrap()), host("2001:db8::2".parse().unwrap()));
    }
}

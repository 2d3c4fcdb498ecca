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
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::entry::Entries;
use super::login::{Login, LoginProgram, Verdict};
use super::token::{Bearer, Checked, Tokens};

/// So many wrong logins of one host (for IPv6: of one /64) in [`PACE`]; then nobody is asked.
const MAX_WRONG: u32 = 5;
/// How long a host that guesses has to wait.
const PACE: Duration = Duration::from_secs(60);
/// Hosts that are remembered for it: more than there can be logins at a time.
const MAX_HOSTS: usize = 4096;

/// How a client is shown that has no name at all.
const NAMELESS: &str = "(without a name)";

/// What a configuration demands of clients beside their certificates.
#[derive(Debug)]
pub(super) struct Admission {
    entries: Option<Entries>,
    program: Option<LoginProgram>,
    tokens: Option<Tokens>,
    user_is_name: bool,
    login_optional: bool,
    wrong: Mutex<Wrong>,
    /// A program has answered, whatever.
    answered: Notify,
}

/// Who has guessed, and how often.
#[derive(Debug, Default)]
struct Wrong(HashMap<u128, Guesses>);

/// The logins of one host.
#[derive(Debug)]
struct Guesses {
    /// That were wrong.
    times: u32,
    since: Instant,
    /// That the program is being asked about: each may turn out wrong.
    asked: u32,
}

/// Whether a host may have the program asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    /// When another of its logins was found right.
    Later,
    No,
}

/// A login of a host that the program is being asked about; it ends when this is dropped.
struct Asking<'a> {
    admission: &'a Admission,
    host: u128,
}

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
    /// By what it is told from others: the common name of its certificate, or its user where all are called by that. Two who have
    /// none are two.
    pub(super) name: Option<String>,
    /// How it is shown.
    pub(super) shown: String,
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
            answered: Notify::new(),
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
        let name = self.name(request).map(str::to_owned);
        let entry = match &self.entries {
            Some(entries) => match entries.look_up(name.as_deref()).await {
                Ok(entry) => entry,
                Err(why) => return Err(Refusal::because(format!("a client was turned away: {why}"))),
            },
            None => ClientEntry::default(),
        };
        if entry.disabled {
            return Err(Refusal::of("you are not let in any more"));
        }
        let user = Some(&request.username).filter(|user| !user.is_empty());
        let shown = name.as_ref().or(user).cloned().unwrap_or_else(|| NAMELESS.to_owned());
        Ok(Known { name, shown, entry, token })
    }

    /// Whether the login is right; the next token, where there are tokens.
    async fn log_in(
        &self,
        program: &LoginProgram,
        request: &AuthRequest,
        unix: Duration,
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        let (user, password) = (&request.username, request.password.expose());
        let whose = Bearer { user, certificate: request.certificate };
        let tokens = self.tokens.as_ref().filter(|_| !user.is_empty());
        let next = |made| tokens.map(|tokens| tokens.make(whose, made, unix));
        match tokens.map(|tokens| tokens.check(whose, password, unix)) {
            Some(Checked::Good { made }) => return Ok(next(made)),
            Some(Checked::Over) => return Err(Refusal::of("SESSION:the token is over")),
            Some(Checked::Password) | None => {}
        }
        if user.is_empty() && !self.login_optional {
            return Err(Refusal::of("a user and a password are needed"));
        }
        let host = host(request.from.remote.ip());
        // Who is in already, and renews its keys, does not wait because of guesses of its neighbours.
        let asking = match request.renewal {
            true => None,
            false => Some(self.turn(host).await?),
        };
        let login = Login {
            user: user.clone(),
            password: Zeroizing::new(password.to_owned()),
            common_name: request.common_name.clone().unwrap_or_default(),
            from: request.from.remote,
            renewal: request.renewal,
        };
        let verdict = program.clone().ask(login).await;
        if matches!(verdict, Verdict::Wrong(_) | Verdict::Late(_)) {
            // A question to the user (`CRV1`) is no guess, but may be asked only so often too, as what keeps the program busy for
            // nothing. Counted before the turn ends.
            self.wrong().count(host, Instant::now());
        }
        drop(asking);
        match verdict {
            Verdict::Right => Ok(next(unix)),
            Verdict::Wrong(why) => Err(Refusal { told: why, trouble: None }),
            Verdict::Busy => Err(Refusal::of("TEMP:the server is busy")),
            Verdict::Late(why) | Verdict::Unasked(why) => {
                Err(Refusal::because(format!("a login was not checked: {why}")))
            }
        }
    }

    /// Waits until a host may have the program asked: so many wrong logins as it has left are under way at a time.
    async fn turn(&self, host: u128) -> Result<Asking<'_>, Refusal> {
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            // From here on no answer is missed.
            answered.as_mut().enable();
            let turn = self.wrong().turn(host, Instant::now());
            match turn {
                Turn::Now => return Ok(Asking { admission: self, host }),
                Turn::Later => answered.await,
                Turn::No => return Err(Refusal::of("TEMP:too many wrong passwords came from your address")),
            }
        }
    }

    fn wrong(&self) -> std::sync::MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client is called: by its certificate, or by its user where the file says so. Never by the one where others are called by
    /// the other: a user who is called like a certificate is not its owner.
    fn name<'a>(&self, request: &'a AuthRequest) -> Option<&'a str> {
        let name = if self.user_is_name && self.program.is_some() {
            Some(request.username.as_str())
        } else {
            request.common_name.as_deref()
        };
        name.filter(|name| !name.is_empty())
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.admission.wrong().answered(self.host);
        self.admission.answered.notify_waiters();
    }
}

impl Wrong {
    /// Whether this host may have the program asked; if so, it is being asked until [`Wrong::answered`].
    fn turn(&mut self, host: u128, now: Instant) -> Turn {
        let guesses = self.of(host, now);
        if guesses.times >= MAX_WRONG {
            Turn::No
        } else if guesses.times + guesses.asked >= MAX_WRONG {
            Turn::Later
        } else {
            guesses.asked += 1;
            Turn::Now
        }
    }

    /// The program has answered, or is asked no more.
    fn answered(&mut self, host: u128) {
        let Some(guesses) = self.0.get_mut(&host) else { return };
        guesses.asked = guesses.asked.saturating_sub(1);
        if guesses.asked == 0 && guesses.times == 0 {
            self.0.remove(&host);
        }
    }

    /// One was wrong.
    fn count(&mut self, host: u128, now: Instant) {
        self.of(host, now).times += 1;
    }

    fn of(&mut self, host: u128, now: Instant) -> &mut Guesses {
        if self.0.len() >= MAX_HOSTS && !self.0.contains_key(&host) {
            self.0.retain(|_, guesses| guesses.asked > 0 || now < guesses.since + PACE);
            // So many guess at once: everybody is counted, and the one who began first begins anew.
            let idle = self.0.iter().filter(|(_, guesses)| guesses.asked == 0);
            if self.0.len() >= MAX_HOSTS
                && let Some(first) = idle.min_by_key(|(_, guesses)| guesses.since).map(|(host, _)| *host)
            {
                self.0.remove(&first);
            }
        }
        let guesses = self.0.entry(host).or_insert(Guesses { times: 0, since: now, asked: 0 });
        if now >= guesses.since + PACE {
            (guesses.times, guesses.since) = (0, now);
        }
        guesses
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
    use adit_openvpn::Password;

    use super::*;
    use crate::openvpn::server::testing::config;

    /// One whose program is this script.
    fn admission(lines: &str, script: &str) -> Admission {
        let lines = format!(
            "server 10.8.0.0 255.255.255.0\nscript-security 3\nauth-user-pass-verify '/bin/sh -c \"{script}\"' via-env\n{lines}\n"
        );
        let scratch = std::env::temp_dir().join(format!("adit-admission-{}", std::process::id()));
        Admission::of(&config(&lines), Path::new("/"), &scratch, &[7; 32])
    }

    fn request(user: &str, password: &str, renewal: bool) -> AuthRequest {
        AuthRequest {
            client: ClientId::new(0, 1),
            from: Outside::to(([192, 0, 2, 7], 1234).into()),
            common_name: None,
            certificate: None,
            username: user.to_owned(),
            password: Password::new(Zeroizing::new(password.to_owned())),
            peer_info: String::new(),
            metadata: None,
            key_name: None,
            renewal,
        }
    }

    #[test]
    fn who_guesses_has_to_wait_and_memory_has_an_end() {
        let (mut wrong, now) = (Wrong::default(), Instant::now());
        let (one, other) = (host([192, 0, 2, 1].into()), host([192, 0, 2, 2].into()));
        for _ in 0..MAX_WRONG {
            assert_eq!(wrong.turn(one, now), Turn::Now);
            wrong.count(one, now);
            wrong.answered(one);
        }
        assert_eq!((wrong.turn(one, now), wrong.turn(other, now)), (Turn::No, Turn::Now));
        assert_eq!(wrong.turn(one, now + PACE), Turn::Now, "it begins anew");
        wrong.count(one, now + PACE);
        wrong.answered(one);
        for n in 0..2 * MAX_HOSTS as u128 {
            wrong.count(n << 64, now);
        }
        assert_eq!(wrong.0.len(), MAX_HOSTS);
        assert_eq!(wrong.0[&other].asked, 1, "who is being asked about is not forgotten");
        for _ in 0..MAX_WRONG {
            wrong.count(7, now);
        }
        assert_eq!((wrong.0.len(), wrong.turn(7, now)), (MAX_HOSTS, Turn::No), "a newcomer is counted too");
        wrong.answered(other);
        wrong.count(9, now);
        assert_eq!(wrong.0.len(), MAX_HOSTS);
        wrong.count(8, now + 3 * PACE);
        assert_eq!(wrong.0.len(), 1, "those before are forgotten");
        assert_eq!(host("2001:db8::1".parse().unwrap()), host("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn guesses_at_one_time_are_no_more_than_those_one_after_the_other() {
        let (mut wrong, now) = (Wrong::default(), Instant::now());
        for _ in 0..MAX_WRONG {
            assert_eq!(wrong.turn(1, now), Turn::Now);
        }
        assert_eq!((wrong.turn(1, now), wrong.turn(2, now)), (Turn::Later, Turn::Now));
        wrong.answered(1);
        assert_eq!(wrong.turn(1, now), Turn::Now, "one was right");
        wrong.count(1, now);
        wrong.answered(1);
        assert_eq!(wrong.turn(1, now), Turn::Later, "one was wrong");
        for _ in 1..MAX_WRONG {
            wrong.count(1, now);
            wrong.answered(1);
        }
        assert_eq!(wrong.turn(1, now), Turn::No);
        wrong.answered(2);
        assert!(!wrong.0.contains_key(&2), "nothing is kept of who was right");
    }

    #[tokio::test]
    async fn wrong_passwords_of_neighbours_keep_nobody_from_renewing() {
        let admission = admission("verify-client-cert none\nusername-as-common-name", "test $password = right");
        let asked = async |password: &str, renewal| {
            admission.know(&request("alice", password, renewal), Duration::from_secs(5000)).await
        };
        // All at once.
        let (a, b, c, d, e, f) = tokio::join!(
            asked("1", false),
            asked("2", false),
            asked("3", false),
            asked("4", false),
            asked("5", false),
            asked("6", false)
        );
        let told = |outcome: Result<Known, Refusal>| outcome.unwrap_err().told;
        let paced = [a, b, c, d, e, f].map(told).iter().filter(|told| told.starts_with("TEMP:")).count();
        assert_eq!(paced, 1, "five were asked about");
        assert!(told(asked("right", false).await).starts_with("TEMP:"));
        assert_eq!(asked("right", true).await.unwrap().name.as_deref(), Some("alice"));
    }

    #[tokio::test]
    async fn a_user_is_not_the_client_whose_certificate_is_called_so() {
        let known = async |lines: &str, user: &str, common_name: Option<&str>| {
            let mut request = request(user, "x", false);
            (request.common_name, request.certificate) = (common_name.map(str::to_owned), common_name.map(|_| [1; 32]));
            let known = admission(lines, "exit 0").know(&request, Duration::from_secs(5000)).await.unwrap();
            (known.name, known.shown)
        };
        let name =
            |name: &str, shown: &str| (Some(name).filter(|name| !name.is_empty()).map(str::to_owned), shown.to_owned());
        let (optional, by_user) = ("verify-client-cert optional\nauth-user-pass-optional", "\nusername-as-common-name");
        assert_eq!(known(optional, "", Some("gateway")).await, name("gateway", "gateway"));
        assert_eq!(known(optional, "gateway", None).await, name("", "gateway"));
        assert_eq!(known(optional, "", None).await, name("", NAMELESS));
        let both = format!("{optional}{by_user}");
        assert_eq!(known(&both, "gateway", None).await, name("gateway", "gateway"));
        assert_eq!(known(&both, "", Some("gateway")).await, name("", NAMELESS));
    }

    #[tokio::test]
    async fn who_has_no_user_is_given_no_token_for_all_such() {
        let admission = admission("verify-client-cert none\nauth-user-pass-optional\nauth-gen-token", "exit 0");
        let token =
            async |user| admission.know(&request(user, "x", false), Duration::from_secs(5000)).await.unwrap().token;
        assert!(token("").await.is_none() && token("alice").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_the_program_busy_for_nothing_counts_as_a_guess() {
        let admission = admission("verify-client-cert none", "sleep 1000");
        for _ in 0..MAX_WRONG {
            assert!(admission.know(&request("alice", "x", false), Duration::ZERO).await.unwrap_err().trouble.is_some());
        }
        let told = admission.know(&request("alice", "x", false), Duration::ZERO).await.unwrap_err().told;
        assert!(told.starts_with("TEMP:too many"), "{told}");
    }
}

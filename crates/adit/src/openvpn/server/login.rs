//! The program that says whether user and password are right (`auth-user-pass-verify`), run without a shell.
//!
//! Its words are those of the file; nothing of a client is among them. It is given what the client said in a file that only we
//! read (`via-file`) or in its environment (`via-env`), and its exit code is the answer. Not here: when it is asked.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use adit_openvpn::options::{Hooks, Moment};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::openvpn::program::to_its_end;

/// How long it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a client may wait for its turn: a little less than it has for all of it (`hand-window`).
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// So many run at a time.
const MAX_RUNNING: usize = 8;
/// And so many for clients that are in and renew their keys: they do not wait behind strangers.
const MAX_RENEWING: usize = 4;
/// The longest name and password: those of tokens in place of passwords are long.
const MAX_WORD: usize = 8 << 10;
/// The longest reason that it may give.
const MAX_REASON: usize = 256;

/// The program of a configuration.
#[derive(Debug, Clone)]
pub(super) struct LoginProgram {
    program: PathBuf,
    words: Vec<String>,
    by_file: bool,
    environment: Vec<(String, String)>,
    places: Arc<Semaphore>,
    renewing: Arc<Semaphore>,
    /// Where its files are made.
    scratch: PathBuf,
}

/// What a client says of its user.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Zeroizing<String>,
    /// That of its certificate, or nothing.
    pub(super) common_name: String,
    pub(super) from: std::net::SocketAddr,
    /// It is in already.
    pub(super) renewal: bool,
}

/// What the program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are right.
    Right,
    /// They are not; why, if it says so, for the client to read.
    Wrong(String),
    /// Too many others are asked about.
    Busy,
    /// It did not answer, for whoever runs the server.
    Late(String),
    /// It could not be asked, for whoever runs the server.
    Unasked(String),
}

impl LoginProgram {
    /// The last one that a configuration names. `scratch`: a directory that only we can look into.
    /// `base`: where a program that is named without its directory is.
    pub(super) fn of(hooks: &Hooks, base: &Path, scratch: &Path) -> Option<Self> {
        let asked = |moment: Moment| matches!(moment, Moment::LoginByFile | Moment::LoginByEnvironment);
        let hook = hooks.run.iter().rfind(|hook| asked(hook.moment))?;
        Some(Self {
            program: base.join(hook.command.first()?),
            words: hook.command.iter().skip(1).cloned().collect(),
            by_file: hook.moment == Moment::LoginByFile,
            environment: hooks.environment.clone(),
            places: Arc::new(Semaphore::new(MAX_RUNNING)),
            renewing: Arc::new(Semaphore::new(MAX_RENEWING)),
            scratch: scratch.to_owned(),
        })
    }

    /// Asks it.
    pub(super) async fn ask(self, login: Login) -> Verdict {
        // A line of the file for each: what has several would say something else than it seems to.
        let is_word = |word: &str| word.len() <= MAX_WORD && !word.contains(char::is_control);
        if !is_word(&login.user) || !is_word(&login.password) {
            return Verdict::Wrong(String::new());
        }
        let places = if login.renewal { &self.renewing } else { &self.places };
        let Ok(Ok(_place)) = timeout(TURN_WITHIN, places.acquire()).await else { return Verdict::Busy };
        match timeout(ANSWER_WITHIN, self.run(&login)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::Unasked(format!("cannot run {}: {error}", self.program.display())),
            // Dropped, it is killed, with all that it started.
            Err(_late) => {
                let seconds = ANSWER_WITHIN.as_secs();
                Verdict::Late(format!("{} did not answer within {seconds} seconds", self.program.display()))
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.program
    }

    async fn run(&self, login: &Login) -> io::Result<Verdict> {
        let desk = Desk::new(&self.scratch)?;
        let reason = desk.file("reason", "")?;
        let mut command = Command::new(&self.program);
        command.args(&self.words).env_clear().envs(self.environment.iter().map(|(n, v)| (n, v)));
        command
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("script_type", "user-pass-verify")
            .env("username", &login.user)
            .env("common_name", login.common_name.replace(char::is_control, "_"))
            .env("untrusted_port", login.from.port().to_string())
            .env(if login.from.is_ipv4() { "untrusted_ip" } else { "untrusted_ip6" }, login.from.ip().to_string())
            .env("auth_failed_reason_file", &reason);
        if self.by_file {
            let said = Zeroizing::new(format!("{}\n{}\n", login.user, *login.password));
            command.arg(desk.file("login", &said)?);
        } else {
            command.env("password", &*login.password);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if to_its_end(command).await?.success() {
            return Ok(Verdict::Right);
        }
        let mut why = std::fs::read_to_string(&reason).unwrap_or_default();
        why.retain(|c| !c.is_control());
        Ok(Verdict::Wrong(why.chars().take(MAX_REASON).collect()))
    }
}

/// A directory of one question, which goes with it.
struct Desk(PathBuf);

impl Desk {
    fn new(scratch: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(scratch)?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let path = scratch.join(data_encoding::HEXLOWER.encode(&name));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str, script: &str) -> (Self, LoginProgram) {
            let dir = std::env::temp_dir().join(format!("adit-login-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let program = dir.join("who.sh");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            let program = LoginProgram {
                // Read, not run: another test may have it open for writing while it forks.
                program: "/bin/sh".into(),
                words: [program.to_str().unwrap(), "first word"].map(str::to_owned).to_vec(),
                by_file: true,
                environment: vec![("OPENVPN_X".to_owned(), "y".to_owned())],
                places: Arc::new(Semaphore::new(MAX_RUNNING)),
                renewing: Arc::new(Semaphore::new(MAX_RENEWING)),
                scratch: dir.join("scratch"),
            };
            (Self(dir), program)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn login(user: &str, password: &str) -> Login {
        let password = Zeroizing::new(password.to_owned());
        let from = ([192, 0, 2, 7], 1234).into();
        Login { user: user.to_owned(), password, common_name: "a b".to_owned(), from, renewal: false }
    }

    #[tokio::test]
    async fn a_file_of_two_lines_is_the_last_word_and_goes_with_the_answer() {
        let script = "[ \"$1\" = 'first word' ] && [ \"$(cat \"$2\")\" = \"$(printf 'al;ice\\n$(true)')\" ] && \
            [ \"$common_name $OPENVPN_X $untrusted_ip:$untrusted_port\" = 'a b y 192.0.2.7:1234' ] && [ -z \"$password\" ]";
        let (scene, program) = Scene::new("file", script);
        assert_eq!(program.clone().ask(login("al;ice", "$(true)")).await, Verdict::Right);
        assert_eq!(program.clone().ask(login("al;ice", "$(false)")).await, Verdict::Wrong(String::new()));
        assert_eq!(std::fs::read_dir(scene.0.join("scratch")).unwrap().count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn by_the_environment_and_with_a_reason() {
        let script = "[ \"$username:$password\" = 'alice:open sesame' ] && exit 0\n\
            printf 'come back\\n tomorrow' > \"$auth_failed_reason_file\"; exit 1";
        let (_scene, mut program) = Scene::new("env", script);
        program.by_file = false;
        assert_eq!(program.clone().ask(login("alice", "open sesame")).await, Verdict::Right);
        assert_eq!(program.ask(login("alice", "")).await, Verdict::Wrong("come back tomorrow".to_owned()));
    }

    #[tokio::test]
    async fn what_would_be_several_lines_or_is_too_long_is_wrong_without_being_asked() {
        let (scene, program) = Scene::new("lines", "exit 0");
        for (user, password) in
            [("alice\nopen", "x"), ("alice", "x\ry"), ("a\0b", "x"), (&*"a".repeat(MAX_WORD + 1), "x")]
        {
            assert_eq!(program.clone().ask(login(user, password)).await, Verdict::Wrong(String::new()), "{user:?}");
        }
        assert!(!scene.0.join("scratch").exists());
    }

    #[tokio::test]
    async fn what_a_program_started_ends_with_it_when_nobody_waits_any_more() {
        // Whoever holds the pipe open is still there.
        let (scene, program) = Scene::new("group", "(exec 9>\"$OPENVPN_X\"; echo x >&9; sleep 1000) & wait");
        let pipe = scene.0.join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let program =
            LoginProgram { environment: vec![("OPENVPN_X".to_owned(), pipe.to_str().unwrap().to_owned())], ..program };
        let asked = tokio::spawn(program.ask(login("alice", "x")));
        let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
        let mut said = [0; 1];
        // Until somebody opens it to write, it reads as ended.
        while tokio::io::AsyncReadExt::read(&mut reader, &mut said).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest).await.unwrap();
        assert_eq!(rest, b"\n", "it ends, so nobody is left");
    }

    #[tokio::test]
    async fn strangers_that_are_asked_about_leave_places_for_those_who_renew() {
        let (_scene, program) = Scene::new("renew", "exit 0");
        let _all = program.places.acquire_many(MAX_RUNNING as u32).await.unwrap();
        let renewing = Login { renewal: true, ..login("alice", "x") };
        assert_eq!(program.clone().ask(renewing).await, Verdict::Right);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_a_turn_or_an_answer() {
        let (_scene, program) = Scene::new("late", "sleep 1000");
        let late = program.clone().ask(login("alice", "x")).await;
        assert!(matches!(&late, Verdict::Late(why) if why.contains("20 seconds")), "{late:?}");
        let _all = program.places.acquire_many(MAX_RUNNING as u32).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(program.clone().ask(login("alice", "x")).await, Verdict::Busy);
        assert!(began.elapsed() <= TURN_WITHIN + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_run_lets_nobody_in() {
        let (_scene, mut program) = Scene::new("gone", "exit 0");
        program.program = "/nonexistent/program".into();
        assert!(
            matches!(program.ask(login("a", "b")).await, Verdict::Unasked(why) if why.contains("/nonexistent/program"))
        );
    }
}

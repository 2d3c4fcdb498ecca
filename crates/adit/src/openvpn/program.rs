//! Programs that a configuration has run: without a shell, with an environment that is made for them, in a bounded time.
//!
//! Not here: which programs (`adit_openvpn::options`), when, and what they are told.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What stands after it in the configuration.
    pub words: Vec<String>,
}

/// Why a program has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It was not started, or not waited for.
    #[error("cannot run {}: {error}", .program.display())]
    NotRun {
        /// Which.
        program: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It took too long, and was killed with all that it started.
    #[error("{} did not end within {} seconds", .program.display(), .within.as_secs())]
    Late {
        /// Which.
        program: PathBuf,
        /// How long it had.
        within: Duration,
    },
}

impl Program {
    /// Runs it with these words after its own, and with no other variables than `PATH` and these. If nobody waits for it any
    /// more, it is killed with all that it started.
    ///
    /// # Errors
    /// [`NoAnswer`]: nothing of it runs any more.
    pub async fn run<W, V>(&self, words: W, variables: V, within: Duration) -> Result<ExitStatus, NoAnswer>
    where
        W: IntoIterator<Item: AsRef<OsStr>>,
        V: IntoIterator<Item = (String, String)>,
    {
        let mut command = Command::new(&self.path);
        command.args(&self.words).args(words).env_clear().env("PATH", PATH).envs(variables);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let not_run = |error| NoAnswer::NotRun { program: self.path.clone(), error };
        match timeout(within, to_its_end(command)).await {
            Ok(ended) => ended.map_err(not_run),
            Err(_late) => Err(NoAnswer::Late { program: self.path.clone(), within }),
        }
    }
}

/// Runs a command until it ends; dropped, it is killed with all that it started.
pub(super) async fn to_its_end(mut command: Command) -> io::Result<ExitStatus> {
    let mut child = command.kill_on_drop(true).process_group(0).spawn()?;
    let group = Group::of(&child);
    let status = child.wait().await?;
    group.leave();
    Ok(status)
}

/// The program and all that it started, which are killed with it when nobody waits for its answer any more.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// It has ended by itself: its number may be somebody else's from now on.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The program is not waited for yet, so its number is its own. If all are gone, there is nobody to kill.
            let _is_gone = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program { path: "/bin/sh".into(), words: vec!["-c".to_owned(), script.to_owned(), "name".to_owned()] }
    }

    #[tokio::test]
    async fn it_has_its_words_and_the_variables_that_it_is_given_alone() {
        let program = shell("[ \"$1|$2|$dev|$HOME|$USER\" = 'a b|$(c)|tun0||' ]");
        let variables = || [("dev".to_owned(), "tun0".to_owned())];
        let within = Duration::from_secs(20);
        assert!(program.run(["a b", "$(c)"], variables(), within).await.unwrap().success());
        assert!(!program.run(["a b"], variables(), within).await.unwrap().success());
        let gone = Program { path: "/nonexistent/program".into(), words: Vec::new() };
        let why = gone.run([""; 0], variables(), within).await.unwrap_err().to_string();
        assert!(why.contains("cannot run /nonexistent/program"), "{why}");
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_killed() {
        let why = shell("sleep 1000").run([""; 0], [], Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(why, NoAnswer::Late { .. }), "{why}");
    }
}

//! Programs run for a tunnel: the commands of its profile, and system programs that are given a text.
//!
//! Not here: when to run them (`plan`).

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::change::Stage;
use crate::error::HostError;

/// Profiles are written for bash; where there is none, the shell that is always there.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// How long output is waited for once a command ended: a child it left behind may hold the pipe for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// Runs one command of the profile; its output goes to the log.
pub(crate) async fn run(stage: Stage, command: &str, link: &str) -> Result<(), HostError> {
    tracing::info!(interface = link, "{stage}: {command}");
    let failed = |ended: String| HostError::Hook { stage, command: command.to_owned(), ended };
    let shell = SHELLS.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("/bin/sh");
    let mut child = Command::new(shell)
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{shell}: {error}")))?;
    let outputs = [
        child.stdout.take().map(|pipe| tokio::spawn(log_lines(pipe, stage, link.to_owned()))),
        child.stderr.take().map(|pipe| tokio::spawn(log_lines(pipe, stage, link.to_owned()))),
    ];
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    for output in outputs.into_iter().flatten() {
        // Reading goes on behind, so that nobody who still writes is killed for it.
        if timeout(OUTPUT_GRACE, output).await.is_err() {
            tracing::debug!(interface = link, "{stage} left a program behind that holds its output");
        }
    }
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

async fn log_lines(pipe: impl AsyncRead + Unpin, stage: Stage, link: String) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!(interface = link, "{stage}: {line}");
    }
}

/// Runs a system program with `input`, and makes an error of what it says if it fails.
pub(crate) async fn run_program(
    program: &Path,
    args: &[&str],
    input: &str,
    what: String,
    hint: &'static str,
) -> Result<(), HostError> {
    ask_program(program, args, input, what, hint).await.map(drop)
}

/// The same, and gives what the program prints.
pub(crate) async fn ask_program(
    program: &Path,
    args: &[&str],
    input: &str,
    what: String,
    hint: &'static str,
) -> Result<String, HostError> {
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HostError::NoProgram { what, program: name, hint });
        }
        Err(error) => return Err(HostError::Program { what, program: name, said: error.to_string() }),
        Ok(child) => child,
    };
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read its input says why by how it ends.
        if let Err(error) = pipe.write_all(input.as_bytes()).await {
            tracing::debug!(%error, "{name} did not read all it was given");
        }
    }
    match child.wait_with_output().await {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let said = if said.is_empty() { output.status.to_string() } else { said };
            Err(HostError::Program { what, program: name, said })
        }
        Err(error) => Err(HostError::Program { what, program: name, said: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_runs_in_bash_and_fails_with_its_status() {
        run(Stage::PostUp, "[[ a == a ]] && echo $((1 + 1)) && true", "wg0").await.unwrap();
        let error = run(Stage::PostUp, "exit 3", "wg0").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "PostUp failed (exit status: 3): exit 3\n  hint: the line is from the profile; try it in a shell"
        );
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_how_to_get_it() {
        let missing = Path::new("adit-no-such-program");
        let error = run_program(missing, &[], "", "load x".into(), "install it").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot load x: the program `adit-no-such-program` is not installed\n  hint: install it"
        );
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let error = run_program(Path::new("sh"), &["-c", "cat >&2; exit 1"], "no such thing", "load x".into(), "")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot load x: sh said: no such thing");
    }
}

//! Running a program of a chore, its output on the terminal, its failure as a sentence.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What went wrong, for a person. A chore has nobody else to tell.
pub(crate) type Outcome = Result<(), String>;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A command line without quotes, run at the root.
pub(crate) fn cargo_line(line: &str) -> Command {
    let mut command = cargo();
    command.args(line.split_whitespace());
    command
}

/// Runs it with its output on the terminal.
pub(crate) fn show(command: &mut Command) -> Outcome {
    let words = words(command);
    println!("$ {words}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{words}` failed: {status}")),
        Err(error) => Err(format!("cannot run `{words}`: {error}")),
    }
}

/// Runs it and gives what it prints.
pub(crate) fn read(command: &mut Command) -> Result<String, String> {
    let words = words(command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run `{words}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{words}` failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{words}` printed something that is not text"))
}

/// Whether this process has all privileges.
pub(crate) fn is_root() -> bool {
    read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

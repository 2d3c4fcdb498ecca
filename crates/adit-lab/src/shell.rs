//! Running other programs and reading what they say. Not here: daemons that stay (`subjects`).

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A program to run to its end.
#[derive(Debug)]
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
}

/// A program that ended with something else than 0.
#[derive(Debug)]
pub struct Failed {
    /// The command line.
    pub command: String,
    /// What it said on both its outputs.
    pub said: String,
    /// Its exit code, if it was not killed.
    pub code: Option<i32>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` failed ({:?}): {}", self.command, self.code, self.said.trim())
    }
}

impl Run {
    /// The words of a command line; no shell, no quoting.
    pub fn line(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut run = Self::program(words.next().unwrap_or_default());
        run.command.args(words);
        run
    }

    /// A program without arguments yet.
    pub fn program(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), input: None }
    }

    /// Adds an argument as it is, spaces and all.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads on its standard input.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs it, and panics if it fails.
    #[track_caller]
    pub fn ok(self) -> String {
        match self.attempt() {
            Ok(text) => text,
            Err(failed) => panic!("{failed}"),
        }
    }

    /// Runs it, and gives what it printed, or how it failed.
    #[track_caller]
    pub fn attempt(mut self) -> Result<String, Failed> {
        let output = self.output();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let said = text + &String::from_utf8_lossy(&output.stderr);
        Err(Failed { command: self.words(), said, code: output.status.code() })
    }

    #[track_caller]
    fn output(&mut self) -> Output {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let child = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => panic!("cannot run `{}`: {error}\n  hint: `cargo xtask setup` installs it", self.words()),
        };
        if let (Some(text), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
            // A program that ends without reading all of its input tells so by its exit code.
            let _unread = stdin.write_all(&text);
        }
        match child.wait_with_output() {
            Ok(output) => output,
            Err(error) => panic!("`{}`: {error}", self.words()),
        }
    }

    fn words(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_its_code_and_what_it_said() {
        let failed = Run::line("sh -c").arg("echo no such thing >&2; exit 3").attempt().unwrap_err();
        assert_eq!((failed.code, failed.said.trim()), (Some(3), "no such thing"));
        assert!(failed.to_string().starts_with("`sh -c "));
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Run::line("cat").input("hello").ok(), "hello");
    }
}

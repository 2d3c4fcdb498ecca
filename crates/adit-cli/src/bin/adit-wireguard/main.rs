//! `adit-wireguard`: a drop-in for `wireguard-go`. Makes the interface, answers `wg` on its socket, goes to the background.
//!
//! Here: what the command line and the environment ask for. Not here: the background (`background`), running (`serve`).

mod background;
mod failure;
mod serve;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

use adit::profile::file::is_interface_name;
use tracing_subscriber::filter::LevelFilter;

use failure::Failure;

const USAGE: &str = "\
usage: adit-wireguard [-f | --foreground] INTERFACE
       adit-wireguard --version

Makes the WireGuard interface INTERFACE, to be configured by `wg` and `ip`, and goes to the background.
It ends when the interface or /var/run/wireguard/INTERFACE.sock is removed.

  -f, --foreground   stay in the foreground
  --version          print the version

environment, as for wireguard-go:
  LOG_LEVEL                silent, error (the default) or verbose; in the background nothing is logged unless it is set
  WG_PROCESS_FOREGROUND=1  as --foreground
  WG_TUN_FD, WG_UAPI_FD    descriptors of an interface and of a listening socket to take over
and of adit:
  ADIT_OFFLOAD             off, auto, or a list like no-gso,no-tso
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Help,
    Version,
    Run { interface: String, foreground: bool },
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)).and_then(|asked| obey(&asked)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn obey(asked: &Asked) -> Result<(), Failure> {
    match asked {
        Asked::Help => say(USAGE),
        Asked::Version => say(concat!("adit-wireguard ", env!("CARGO_PKG_VERSION"), "\n")),
        Asked::Run { interface, foreground } => run(interface, *foreground)?,
    }
    Ok(())
}

fn run(interface: &str, foreground: bool) -> Result<(), Failure> {
    log();
    let stays = foreground || std::env::var_os("WG_PROCESS_FOREGROUND").is_some_and(|value| value == "1");
    if stays { serve::serve(interface) } else { background::start(interface) }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Asked, Failure> {
    let (mut interface, mut foreground) = (None, false);
    for argument in arguments {
        let Some(text) = argument.to_str() else { return Err(Failure::usage("an argument is not text in UTF-8")) };
        match text {
            "-h" | "--help" => return Ok(Asked::Help),
            "--version" => return Ok(Asked::Version),
            "-f" | "--foreground" => foreground = true,
            _ if text.starts_with('-') => return Err(Failure::usage(format!("there is no option `{text}`"))),
            _ if interface.is_some() => return Err(Failure::usage("one interface at a time")),
            _ => interface = Some(text.to_owned()),
        }
    }
    let interface = interface.ok_or_else(|| Failure::usage("the name of the interface is missing"))?;
    if !is_interface_name(&interface) {
        let why = format!("`{interface}` cannot be the name of an interface: 1 to 15 of a-z A-Z 0-9 _ = + . -");
        return Err(Failure::usage(why));
    }
    Ok(Asked::Run { interface, foreground })
}

/// Logs to the standard error output, as much as `LOG_LEVEL` says.
fn log() {
    let level = match std::env::var("LOG_LEVEL").as_deref() {
        Ok("silent") => LevelFilter::OFF,
        Ok("verbose" | "debug") => LevelFilter::DEBUG,
        _ => LevelFilter::ERROR,
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false).init();
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn say(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "the command's complaint")]
fn complain(failure: &Failure) {
    eprintln!("adit-wireguard: {failure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<Asked, u8> {
        parse(arguments.iter().map(OsString::from)).map_err(|failure| failure.code)
    }

    #[test]
    fn the_command_line_is_that_of_wireguard_go() {
        let run = |foreground| Ok(Asked::Run { interface: "wg0".to_owned(), foreground });
        assert_eq!(asked(&["wg0"]), run(false));
        assert_eq!(asked(&["-f", "wg0"]), run(true));
        assert_eq!(asked(&["wg0", "--foreground"]), run(true));
        assert_eq!(asked(&["--version"]), Ok(Asked::Version));
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for arguments in [&[][..], &["--frob", "wg0"], &["a", "b"], &["much-too-long-a-name"], &["a/b"], &[""]] {
            assert_eq!(asked(arguments), Err(2), "{arguments:?}");
        }
    }
}

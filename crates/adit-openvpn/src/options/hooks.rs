//! Programs that a configuration would have run, and what it puts into their environment.
//!
//! Not here: running them. They are never run by a shell: the words of a command are the words of its program.

use super::catalogue::{BOTH, CLIENT, Entry, PUSHED, SERVER, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Said, doubt, ignore, refuse};
use super::lexer::{self, Directive};
use super::value::{add, small, text};

/// As many programs are kept.
const MAX_HOOKS: usize = 32;

/// When a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The interface is there.
    Up,
    /// The interface is gone, or with `down-pre` goes.
    Down,
    /// Routes are there.
    RouteUp,
    /// Routes go.
    RoutePreDown,
    /// The other end's address on the outside is known or has changed.
    AddressChange,
    /// A certificate is to be accepted.
    TlsVerify,
    /// A client gives user and password, in its environment.
    LoginByEnvironment,
    /// A client gives user and password, in a file.
    LoginByFile,
    /// A client is in.
    ClientConnect,
    /// A client is gone.
    ClientDisconnect,
    /// A client answers a question.
    ClientAnswer,
    /// An address belongs to a client now, or no longer.
    LearnAddress,
    /// A client comes with this metadata in its key.
    TlsCryptV2Verify,
}

impl Moment {
    /// The option that names a program for it.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::RouteUp => "route-up",
            Self::RoutePreDown => "route-pre-down",
            Self::AddressChange => "ipchange",
            Self::TlsVerify => "tls-verify",
            Self::LoginByEnvironment | Self::LoginByFile => "auth-user-pass-verify",
            Self::ClientConnect => "client-connect",
            Self::ClientDisconnect => "client-disconnect",
            Self::ClientAnswer => "client-crresponse",
            Self::LearnAddress => "learn-address",
            Self::TlsCryptV2Verify => "tls-crypt-v2-verify",
        }
    }
}

/// A program that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub moment: Moment,
    /// The program and its arguments: at least one word.
    pub command: Vec<String>,
    /// The line that asks for it.
    pub line: usize,
}

/// Programs and their environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// In the order of the file.
    pub run: Vec<Hook>,
    /// [`Moment::Down`] comes before the interface goes.
    pub down_first: bool,
    /// Up and down also when the connection is made anew.
    pub on_restart: bool,
    /// Names and values in their environment.
    pub environment: Vec<(String, String)>,
    /// What the server is told of this client beside the usual (`setenv UV_…`), with `push-peer-info`.
    pub peer_info: Vec<(String, String)>,
}

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("auth-user-pass-verify", SERVER, 2, 2, |draft, d| {
        let moment = match text(d, 2)? {
            "via-env" => Moment::LoginByEnvironment,
            "via-file" => Moment::LoginByFile,
            _ => return refuse(2, "there is no such choice", "write `via-file`"),
        };
        hook(draft, d, moment)
    }),
    read("client-connect", SERVER, 1, 1, |draft, d| hook(draft, d, Moment::ClientConnect)),
    read("client-crresponse", SERVER, 1, 1, |draft, d| hook(draft, d, Moment::ClientAnswer)),
    read("client-disconnect", SERVER, 1, 1, |draft, d| hook(draft, d, Moment::ClientDisconnect)),
    ignored("dns-updown", BOTH, 1, 2, "adit sets name servers itself"),
    read("down", BOTH, 1, 1, |draft, d| hook(draft, d, Moment::Down)),
    read("down-pre", BOTH, 0, 0, |draft, _| {
        draft.hooks.down_first = true;
        Ok(Said::Accepted)
    }),
    read("ipchange", CLIENT, 1, 1, |draft, d| hook(draft, d, Moment::AddressChange)),
    refused("iproute", BOTH, "no program takes the place of `ip`", "remove the line"),
    read("learn-address", SERVER, 1, 1, |draft, d| hook(draft, d, Moment::LearnAddress)),
    refused(
        "plugin",
        BOTH,
        "a plugin is a piece of OpenVPN's own program",
        "write `auth-user-pass-verify` for passwords, `client-connect` for the rest",
    )
    .many(),
    read("route-pre-down", BOTH, 1, 1, |draft, d| hook(draft, d, Moment::RoutePreDown)),
    read("route-up", BOTH, 1, 1, |draft, d| hook(draft, d, Moment::RouteUp)),
    read("script-security", BOTH, 1, 2, script_security),
    read("setenv", BOTH, 1, 15, setenv).many(),
    read("setenv-safe", BOTH | PUSHED, 2, 2, |draft, d| {
        let name = format!("OPENVPN_{}", text(d, 1)?);
        environment(draft, d, &name)
    })
    .many(),
    read("tls-crypt-v2-verify", SERVER, 1, 1, |draft, d| hook(draft, d, Moment::TlsCryptV2Verify)),
    read("tls-verify", BOTH, 1, 2, |draft, d| hook(draft, d, Moment::TlsVerify)),
    read("up", BOTH, 1, 1, |draft, d| hook(draft, d, Moment::Up)),
    read("up-restart", BOTH, 0, 0, |draft, _| {
        draft.hooks.on_restart = true;
        Ok(Said::Accepted)
    }),
];

/// Programs that set name servers for OpenVPN, which adit does itself.
const FOR_NAME_SERVERS: [&str; 6] = [
    "update-resolv-conf",
    "update-resolv-conf.sh",
    "update-systemd-resolved",
    "client.up",
    "client.down",
    "dns-updown",
];

fn script_security(draft: &mut Draft, d: &Directive) -> Outcome {
    let level = small(d, 1, 0..=3)?;
    match level {
        0 | 1 => ignore("no program is run, which is the rule here in any case"),
        2 => Ok(Said::Accepted),
        _ => {
            draft.password_in_environment = true;
            let why = "programs may be given passwords in their environment, where other programs of the same user can read them";
            doubt(why, "write script-security 2, and `via-file` in `auth-user-pass-verify`")
        }
    }
}

fn hook(draft: &mut Draft, d: &Directive, moment: Moment) -> Outcome {
    let Some(command) = lexer::command(text(d, 1)?).filter(|words| !words.is_empty()) else {
        return refuse(1, "this is not a command", "write the program and its arguments in double quotes");
    };
    let program = command.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    if matches!(moment, Moment::Up | Moment::Down) && FOR_NAME_SERVERS.contains(&program) {
        return ignore("adit sets name servers itself");
    }
    if draft.script_security < 2 {
        let why = "the file has a program run, and does not say `script-security 2`";
        return refuse(
            1,
            why,
            "read what the program does; then write `script-security 2` before it, or remove this line",
        );
    }
    if moment == Moment::LoginByEnvironment && draft.script_security < 3 {
        let why = "passwords are put into the environment of a program only where the file says `script-security 3`";
        return refuse(2, why, "write `via-file`");
    }
    if draft.hooks.run.len() == MAX_HOOKS {
        return refuse(0, format!("there are more than {MAX_HOOKS} programs"), "have one program run the others");
    }
    draft.hooks.run.push(Hook { moment, command, line: d.line });
    doubt("a program is run, with the rights of the daemon", "read what it does, or remove the line")
}

fn setenv(draft: &mut Draft, d: &Directive) -> Outcome {
    match text(d, 1)? {
        "FORWARD_COMPATIBLE" => ignore(
            "unknown options are refused with their reason; `ignore-unknown-option` names those that may be left out",
        ),
        "CLIENT_CERT" => ignore("a certificate is used if the file has one"),
        "GENERIC_CONFIG" => {
            refuse(1, "this file is a pattern without a user's own keys", "ask for the file of your user")
        }
        "PROFILE" | "FRIENDLY_NAME" | "PROFILE_NAME" | "USERNAME" | "SERVER" => ignore("this is a name for menus"),
        name if name.starts_with("UV_") || name.starts_with("IV_") => {
            let pair = (name.to_owned(), d.word(2).unwrap_or_default().to_owned());
            check_name(d)?;
            add(&mut draft.hooks.peer_info, pair)?;
            Ok(Said::Accepted)
        }
        name => {
            let name = name.to_owned();
            environment(draft, d, &name)
        }
    }
}

fn check_name(d: &Directive) -> Result<(), super::finding::Refusal> {
    let name = text(d, 1)?;
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    refuse(1, "this is not the name of a variable", "write it with letters, digits and _")
}

/// Variables that change what a program is, whoever sets them.
const POWERFUL: [&str; 8] = ["PATH", "IFS", "ENV", "BASH_ENV", "SHELL", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"];

fn environment(draft: &mut Draft, d: &Directive, name: &str) -> Outcome {
    check_name(d)?;
    if POWERFUL.contains(&name) {
        return refuse(1, "this variable would change which programs are run", "remove the line");
    }
    if d.arguments() > 2 {
        return refuse(3, "a variable has one value", "put it into double quotes");
    }
    add(&mut draft.hooks.environment, (name.to_owned(), d.word(2).unwrap_or_default().to_owned()))?;
    Ok(Said::Accepted)
}

//! What is known while a file is read, line by line.
//!
//! Not here: what single options do to it (their areas), what becomes of it at the end (`finish`).

use super::catalogue::{self, CCD, CLIENT, CONNECTION, Entry, PUSHED, Treat};
use super::connection::{ConnectionDraft, MAX_REMOTES, RemoteLine};
use super::data::{CipherDraft, DataOptions};
use super::dns::Dns;
use super::finding::{Finding, Outcome, Refusal, Said, Verdict, ignore, refuse};
use super::hooks::Hooks;
use super::identity::{Identity, LoginOptions, PeerRules};
use super::inside::{Inside, Pulling};
use super::lexer::{self, Directive};
use super::life::{Attempts, Life};
use super::process::SocketOptions;
use super::pushed::PushedOnly;
use super::server::{ClientEntry, ServerOptions};
use super::tls::{Rekeying, TlsOptions};

/// The network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Device {
    /// A TUN device of any name.
    #[default]
    Any,
    /// One of this name.
    Named(String),
    /// None (`dev null`).
    None,
}

/// Parts of the machine that are left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandsOff {
    /// The interface gets no addresses (`ifconfig-noexec`).
    pub addresses: bool,
    /// No routes are made (`route-noexec`).
    pub routes: bool,
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) place: u8,
    pub(super) connection: ConnectionDraft,
    pub(super) connections: Vec<(ConnectionDraft, RemoteLine)>,
    pub(super) remotes: Vec<RemoteLine>,
    remote_lines: Vec<usize>,
    after_blocks: bool,
    pub(super) identity: Identity,
    pub(super) peer: PeerRules,
    pub(super) login: LoginOptions,
    pub(super) tls: TlsOptions,
    pub(super) rekeying: Rekeying,
    pub(super) data: DataOptions,
    pub(super) cipher: CipherDraft,
    pub(super) inside: Inside,
    pub(super) dns: Dns,
    pub(super) pulling: Pulling,
    pub(super) life: Life,
    pub(super) attempts: Attempts,
    pub(super) socket: SocketOptions,
    pub(super) hooks: Hooks,
    pub(super) device: Device,
    pub(super) hands_off: HandsOff,
    pub(super) base: Option<String>,
    pub(super) push_peer_info: bool,
    pub(super) server: ServerOptions,
    pub(super) entry: ClientEntry,
    pub(super) pushed: PushedOnly,
    pub(super) script_security: u32,
    pub(super) password_in_environment: bool,
    ignorable: Vec<String>,
    /// Lines such as `ca [inline]`, whose block must come.
    announced: Vec<(String, usize)>,
    blocks: Vec<String>,
    /// Options that were there, with their line and what they said.
    seen: Vec<(&'static str, usize, String)>,
}

/// As many names may be given to `ignore-unknown-option`.
const MAX_IGNORABLE: usize = 256;

impl Draft {
    /// Nothing is known yet.
    pub(super) fn new(place: u8) -> Self {
        Self { place, ..Self::default() }
    }

    /// Whether a server pushed what is read.
    pub(super) const fn is_pushed(&self) -> bool {
        self.place == PUSHED
    }

    /// Whether the file is one of `client-config-dir`.
    pub(super) const fn is_of_client(&self) -> bool {
        self.place == CCD
    }

    /// Notes where material comes from; `[inline]` announces a block.
    pub(super) fn announce(&mut self, d: &Directive) -> Outcome {
        if d.block.is_some() {
            self.blocks.push(d.name().to_owned());
        } else if d.word(1) == Some("[inline]") {
            self.announced.push((d.name().to_owned(), d.line));
            if d.arguments() == 1 {
                return ignore(format!("the block <{}> counts", d.name()));
            }
        }
        Ok(Said::Accepted)
    }

    /// Takes a `remote` line, inside of a block or outside.
    pub(super) fn add_remote(&mut self, line: RemoteLine, number: usize) -> Outcome {
        if self.place == CONNECTION {
            if self.connection.remote.is_some() {
                return refuse(0, "the block has a remote already", "write a block for each remote");
            }
            self.connection.remote = Some(line);
            return Ok(Said::Accepted);
        }
        if self.remotes.len() + self.connections.len() == MAX_REMOTES {
            return refuse(0, format!("there are more than {MAX_REMOTES} remotes"), "remove some");
        }
        self.remotes.push(line);
        self.remote_lines.push(number);
        Ok(Said::Accepted)
    }

    /// Reads one directive; the findings are those of its line, or of the lines of its block.
    pub(super) fn take(&mut self, d: &Directive) -> Vec<Finding> {
        if d.name() == "connection" && d.block.is_some() && self.place == CLIENT {
            return self.block(d);
        }
        // Who pushes cannot ask for more than by the option's own name.
        match d.optional().filter(|_| !self.is_pushed()) {
            Some(optional) => vec![self.line(&optional, true)],
            None => vec![self.line(d, false)],
        }
    }

    fn line(&mut self, d: &Directive, optional: bool) -> Finding {
        let outcome = self.one(d, optional);
        let verdict = match outcome {
            Ok(Said::Accepted) => Verdict::Accepted,
            Ok(Said::Ignored(why)) => Verdict::Ignored { why },
            Ok(Said::Doubtful(why, write_instead)) => Verdict::Doubtful { why, write_instead },
            Err(refusal) => return refused(d, refusal),
        };
        Finding { line: d.line, column: None, option: d.name().to_owned(), verdict }
    }

    fn one(&mut self, d: &Directive, optional: bool) -> Outcome {
        if catalogue::is_role(d.name()) && self.place & (CLIENT | catalogue::SERVER) != 0 {
            return if d.arguments() == 0 {
                Ok(Said::Accepted)
            } else {
                refuse(1, "it stands alone", "remove the rest of the line")
            };
        }
        let Some(entry) = catalogue::find(d.name()) else { return self.unknown(d, optional) };
        if !entry.may_stand(self.place) {
            let (why, instead) = entry.stands_wrong(self.place);
            return if optional { ignore(why) } else { refuse(0, why, instead) };
        }
        if let Some(why) = entry.counts_wrong(d) {
            return refuse(0, why, "the manual of OpenVPN has the option with its words");
        }
        let said = match entry.treat {
            Treat::Read(reader) => reader(self, d)?,
            Treat::Ignored(why) => Said::Ignored(why.to_owned()),
            Treat::Refused(why, instead) => return refuse(0, why, instead),
            Treat::Handled => self.handled(d),
        };
        Ok(match said {
            Said::Accepted => self.beside_others(entry, d),
            Said::Ignored(_) | Said::Doubtful(..) => said,
        })
    }

    fn handled(&mut self, d: &Directive) -> Said {
        if d.name() == "ignore-unknown-option" {
            let room = MAX_IGNORABLE.saturating_sub(self.ignorable.len());
            self.ignorable.extend(d.words.iter().skip(1).take(room).map(|word| word.text.clone()));
        }
        Said::Accepted
    }

    /// What is said of an option that stands right: alone, again, or where it has no effect.
    fn beside_others(&mut self, entry: &'static Entry, d: &Directive) -> Said {
        let wraps = matches!(entry.name, "tls-auth" | "tls-crypt" | "tls-crypt-v2" | "key-direction");
        if self.place == CLIENT && self.after_blocks && entry.is_of_connections() && !wraps {
            let why = "it stands after the <connection> blocks, and they take only what comes before";
            return Said::Doubtful(why.to_owned(), Some("put the line before the blocks".to_owned()));
        }
        if entry.many || self.place == CONNECTION || d.word(1) == Some("[inline]") {
            return Said::Accepted;
        }
        let says = if d.block.is_some() { "<block>".to_owned() } else { d.rest() };
        let before = self.seen.iter().rposition(|(name, ..)| *name == entry.name);
        let before = before.map(|at| self.seen.swap_remove(at));
        self.seen.push((entry.name, d.line, says.clone()));
        match before {
            Some((_, line, said)) if said != says || d.block.is_some() => {
                let why = format!("line {line} says something else of the same; this one counts");
                Said::Doubtful(why, Some("keep the one that is meant".to_owned()))
            }
            Some(_) | None => Said::Accepted,
        }
    }

    fn unknown(&self, d: &Directive, optional: bool) -> Outcome {
        let name = d.name();
        if optional {
            return ignore("`setenv opt` says that it may be left out, and adit does not know it");
        }
        if self.ignorable.iter().any(|known| known == name) {
            return ignore("`ignore-unknown-option` says that it may be left out, and adit does not know it");
        }
        if d.block.is_some() {
            return refuse(0, "this block cannot stand here", "remove it");
        }
        if !shown(name).1 {
            let instead = "if this is a piece of a key or certificate, the line before it is missing, such as <key>; \
                `ignore-unknown-option` names options that may be left out";
            return refuse(0, "there is no such option", instead);
        }
        let instead = catalogue::similar(name).map_or_else(
            || format!("remove the line, or write `ignore-unknown-option {name}` before it if it may be left out"),
            |similar| format!("did you mean `{similar}`?"),
        );
        refuse(0, "there is no such option", instead)
    }

    fn block(&mut self, d: &Directive) -> Vec<Finding> {
        let Some(block) = &d.block else { return Vec::new() };
        let outside = self.connection.clone();
        self.connection.forget_announced();
        let remotes_before = outside.remote.clone();
        self.connection.remote = None;
        self.place = CONNECTION;
        let mut findings = Vec::new();
        for item in lexer::lines(block.text.expose(), block.first_line) {
            match item {
                Ok(inner) => findings.push(self.line(&inner, false)),
                Err(finding) => findings.push(finding),
            }
        }
        self.place = CLIENT;
        let inside = std::mem::replace(&mut self.connection, outside);
        self.connection.remote = remotes_before;
        self.after_blocks = true;
        let full = self.connections.len() + self.remotes.len() >= MAX_REMOTES;
        match inside.remote.clone() {
            Some(line) if !full => self.connections.push((inside, line)),
            Some(_) => {
                let refusal =
                    Refusal { word: 0, why: format!("there are more than {MAX_REMOTES} remotes"), instead: None };
                findings.push(refused(d, refusal));
            }
            None => {
                let instead = Some("write `remote HOST PORT` in it".to_owned());
                let refusal = Refusal { word: 0, why: "the block names no remote".to_owned(), instead };
                findings.push(refused(d, refusal));
            }
        }
        findings
    }

    /// What can be said only now: of lines that others have overruled, or that promised what did not come.
    pub(super) fn look_back(&self, findings: &mut Vec<Finding>) {
        if !self.connections.is_empty() {
            for finding in findings.iter_mut() {
                if self.remote_lines.contains(&finding.line) && !finding.is_refused() {
                    let why = "the file has <connection> blocks, and they alone count".to_owned();
                    finding.verdict = Verdict::Ignored { why };
                }
            }
        }
        for (name, line) in &self.announced {
            if self.blocks.contains(name) {
                continue;
            }
            let why = format!("a block <{name}> is announced and does not come");
            let write_instead = Some(format!("put it between <{name}> and </{name}>"));
            let verdict = Verdict::Refused { found: "[inline]".to_owned(), why, write_instead };
            findings.retain(|finding| finding.line != *line);
            findings.push(Finding { line: *line, column: None, option: name.clone(), verdict });
        }
        findings.sort_by_key(|finding| finding.line);
    }
}

/// Words that may be secrets, of options that take them.
const SECRET_WORDS: [&str; 8] = [
    "askpass",
    "auth-token",
    "auth-token-user",
    "auth-user-pass",
    "http-proxy-option",
    "http-proxy-user-pass",
    "secret",
    "socks-proxy-user-pass",
];
/// The longest name that is shown of an option that nobody knows.
const MAX_NAME: usize = 32;
/// As many digits it may have, as in `tls-crypt-v2`.
const MAX_DIGITS: usize = 3;
/// So many letters are shown of what is no option: enough to find it in the file.
const MAX_SHOWN: usize = 4;

/// The option, unless it looks like none: then it may be a line of a key without its block, or a password.
fn shown(name: &str) -> (String, bool) {
    if catalogue::is_known(name) || looks_like_an_option(name) || catalogue::similar(name).is_some() {
        (name.to_owned(), true)
    } else {
        (name.chars().take(MAX_SHOWN).chain(['…']).collect(), false)
    }
}

/// Whether it is a few words with hyphens between them: keys, in whichever base they are written, are not.
fn looks_like_an_option(name: &str) -> bool {
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let digits = name.chars().filter(char::is_ascii_digit).count();
    name.len() <= MAX_NAME && digits <= MAX_DIGITS && name.contains('-') && name.split('-').all(is_word)
}

fn refused(d: &Directive, refusal: Refusal) -> Finding {
    let (option, _) = shown(d.name());
    // What stands after a name that is mistyped may be a secret too.
    let may_be_secret = SECRET_WORDS.contains(&d.name()) || d.block.is_some() || !catalogue::is_known(d.name());
    let found = if may_be_secret { String::new() } else { d.rest() };
    let column = d.words.get(refusal.word).or(d.words.first()).map(|word| word.column);
    let verdict = Verdict::Refused { found, why: refusal.why, write_instead: refusal.instead };
    Finding { line: d.line, column, option, verdict }
}

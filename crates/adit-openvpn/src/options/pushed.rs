//! What a server may push to a client, and nothing else: typed, bounded, and with a reason for what is left aside.
//!
//! Not here: asking for it, pieces that continue (the core).

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::catalogue::{self, Entry, PUSHED, ignored, read};
use super::data::{self, Framing};
use super::dns::Dns;
use super::draft::Draft;
use super::finding::{Finding, Said, Verdict, refuse};
use super::inside::{FilterAction, Inside, Pulling};
use super::lexer::{self, Directive};
use super::life::Life;
use super::material::SecretText;
use super::process::SocketOptions;
use super::value::{small, text};
use crate::Cipher;

/// As many options are looked at in one reply, its continuations among them.
pub const MAX_PUSHED: usize = 4096;
/// As many bytes of options.
pub const MAX_PUSHED_BYTES: usize = 256 << 10;

/// What a server pushed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Addresses, routes, what is blocked.
    pub inside: Inside,
    /// Name servers.
    pub dns: Dns,
    /// Pings and how long silence may last.
    pub life: Life,
    /// Buffers of our sockets.
    pub socket: SocketOptions,
    /// Names and values for programs, as `setenv-safe` has them.
    pub environment: Vec<(String, String)>,
    /// The cipher that was chosen.
    pub cipher: Option<Cipher>,
    /// The framing of compression; `None`: nothing is said.
    pub framing: Option<Framing>,
    /// MTU of the inside.
    pub tun_mtu: Option<u16>,
    /// How many goodbyes are sent.
    pub exit_notify: Option<u32>,
    /// What is only ever pushed.
    pub only: PushedOnly,
    /// What is to be said of each option: `line` counts them from 1.
    pub findings: Vec<Finding>,
}

/// What is only ever pushed, and cannot be written in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushedOnly {
    /// Our number in the server's table of peers; 24 bits.
    pub peer_id: Option<u32>,
    /// Data keys come from TLS itself (`key-derivation tls-ekm`, or the flag).
    pub key_export: bool,
    /// Goodbyes go over the control channel (`cc-exit`).
    pub exit_by_control: bool,
    /// The control channel gets a new wrap of its own (`dyn-tls-crypt`).
    pub dynamic_wrap: bool,
    /// Data keys go by epochs (`aead-epoch`).
    pub epochs: bool,
    /// In place of the password from now on.
    pub token: Option<SecretText>,
    /// In place of the user's name, in base64.
    pub token_user: Option<String>,
    /// Another reply follows (2), or this was the last (1).
    pub continuation: Option<u32>,
}

/// A server that pushes what no connection can come of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server pushes `{option}`, {why}")]
pub struct Rejected {
    /// The option, its words with one space between them.
    pub option: String,
    /// Why.
    pub why: WhyRejected,
}

/// Why a push is rejected as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WhyRejected {
    /// The file says so.
    #[error("which `pull-filter reject` forbids\n  hint: ask its administrator, or change the filter")]
    Filter,
    /// Packets would look different from what both ends take them for.
    #[error("which changes packets in a way that adit does not know\n  hint: ask its administrator to turn it off")]
    UnknownFlag,
}

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("auth-token", PUSHED, 1, 1, |draft, d| {
        draft.pushed.token = Some(SecretText::new(text(d, 1)?.to_owned()));
        Ok(Said::Accepted)
    }),
    read("auth-token-user", PUSHED, 1, 1, |draft, d| {
        draft.pushed.token_user = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    read("key-derivation", PUSHED, 1, 1, data::key_derivation),
    read("peer-id", PUSHED, 1, 1, |draft, d| {
        draft.pushed.peer_id = Some(small(d, 1, 0..=0xff_ffff)?);
        Ok(Said::Accepted)
    }),
    read("protocol-flags", PUSHED, 1, 15, |draft, d| {
        for n in 1..=d.arguments() {
            match text(d, n)? {
                "cc-exit" => draft.pushed.exit_by_control = true,
                "tls-ekm" => draft.pushed.key_export = true,
                "dyn-tls-crypt" => draft.pushed.dynamic_wrap = true,
                "aead-epoch" => draft.pushed.epochs = true,
                // A flag that we did not offer would change the wire: that cannot be left aside, and the reply is rejected.
                _ => return refuse(n, "there is no such flag", "the server asks for what this client did not offer"),
            }
        }
        Ok(Said::Accepted)
    }),
    read("push-continuation", PUSHED, 1, 1, |draft, d| {
        draft.pushed.continuation = Some(small(d, 1, 0..=2)?);
        Ok(Said::Accepted)
    }),
    ignored("client-reason", PUSHED, 0, 15, "nobody is there to read it"),
];

impl Pushed {
    /// Reads pushed options, each a text such as `route 10.0.0.0 255.0.0.0`, in their order.
    ///
    /// What cannot be taken is left aside with a reason in [`findings`](Self::findings): a server must not end a client by a
    /// word that it does not know. What it writes is read once, and judged by the words that were read: quotes, dashes and spaces
    /// get nothing past a filter.
    ///
    /// # Errors
    /// The file says that such an option is to be rejected, or the server changes packets in a way that is not known.
    pub fn read<'a>(options: impl IntoIterator<Item = &'a str>, pulling: &Pulling) -> Result<Self, Rejected> {
        let mut draft = Draft::new(PUSHED);
        draft.data.framing = Framing::None;
        let (mut findings, mut bytes, mut framed) = (Vec::new(), 0_usize, false);
        for (option, number) in options.into_iter().map(str::trim).filter(|option| !option.is_empty()).zip(1..) {
            bytes = bytes.saturating_add(option.len());
            if number > MAX_PUSHED || bytes > MAX_PUSHED_BYTES {
                findings.push(left(number, "", "there are more options than are looked at"));
                break;
            }
            let read = directive(option, number);
            let (name, plain) =
                read.as_ref().map_or_else(|_| ("", option.to_owned()), |read| (read.name(), read.plain()));
            match pulling.decide(&plain) {
                FilterAction::Accept => {}
                FilterAction::Ignore => {
                    findings.push(left(number, name, "`pull-filter` says so"));
                    continue;
                }
                FilterAction::Reject => return Err(Rejected::new(name, plain, WhyRejected::Filter)),
            }
            if pulling.no_routes && OF_ROUTES.contains(&name) {
                findings.push(left(number, name, "`route-nopull` says so"));
                continue;
            }
            framed |= name.starts_with("comp");
            let mut finding = taken(&mut draft, &read, number);
            if let Verdict::Refused { why, .. } = finding.verdict {
                if name == "protocol-flags" {
                    return Err(Rejected::new(name, plain, WhyRejected::UnknownFlag));
                }
                // A person can do nothing about it: it is left aside, not refused.
                finding.verdict = Verdict::Ignored { why };
            }
            findings.push(finding);
        }
        Ok(Self::of(draft, framed, findings))
    }

    fn of(draft: Draft, framed: bool, findings: Vec<Finding>) -> Self {
        Self {
            cipher: draft.cipher.cipher,
            inside: draft.inside,
            dns: draft.dns,
            life: draft.life,
            socket: draft.socket,
            environment: draft.hooks.environment,
            framing: framed.then_some(draft.data.framing),
            tun_mtu: draft.connection.sizes.tun_mtu,
            exit_notify: draft.connection.exit_notify,
            only: draft.pushed,
            findings,
        }
    }

    /// Where routes into the tunnel lead over: what is pushed, or the other end's address.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.inside.gateway.or_else(|| self.inside.ifconfig.map(|ifconfig| ifconfig.other.into()))
    }
}

impl Rejected {
    /// A token is a secret, whatever is said of its option; so may be what could not be read.
    fn new(name: &str, plain: String, why: WhyRejected) -> Self {
        let option = if name.is_empty() || name.starts_with("auth-token") { name.to_owned() } else { plain };
        Self { option, why }
    }
}

/// What `route-nopull` leaves aside: routes and name servers.
const OF_ROUTES: [&str; 8] = [
    "route",
    "route-ipv6",
    "redirect-gateway",
    "redirect-private",
    "dhcp-option",
    "dns",
    "block-outside-dns",
    "block-ipv6",
];

fn left(number: usize, option: &str, why: &str) -> Finding {
    let verdict = Verdict::Ignored { why: why.to_owned() };
    Finding { line: number, column: None, option: option.to_owned(), verdict }
}

/// The one directive that an option is, or why it is none.
fn directive(option: &str, number: usize) -> Result<Directive, Finding> {
    let mut items = lexer::lines(option, number).into_iter();
    match (items.next(), items.next()) {
        (Some(item), None) => item,
        (Some(_), Some(_)) => Err(left(number, "", "it has more than one line")),
        (None, _) => Err(left(number, "", "it is empty")),
    }
}

fn taken(draft: &mut Draft, read: &Result<Directive, Finding>, number: usize) -> Finding {
    match read {
        Ok(directive) => {
            draft.take(directive).into_iter().next().unwrap_or_else(|| left(number, directive.name(), "it is empty"))
        }
        Err(finding) => finding.clone(),
    }
}

/// What is left of pushed options, as they were written, when the file's filters have been asked.
///
/// # Errors
/// The file says that such an option is to be rejected.
pub(crate) fn filtered(options: Vec<Zeroizing<String>>, pulling: &Pulling) -> Result<Vec<Zeroizing<String>>, Rejected> {
    if pulling.filters.is_empty() {
        return Ok(options);
    }
    let mut left = Vec::with_capacity(options.len());
    for option in options {
        // Of changes while a connection lives, some only take away (`-`), and some may be left aside (`?`).
        if option.starts_with('-') && !option.starts_with("--") {
            left.push(option);
            continue;
        }
        let read = directive(option.strip_prefix('?').unwrap_or(&option), 1);
        let (name, plain) = read.as_ref().map_or_else(|_| ("", option.to_string()), |read| (read.name(), read.plain()));
        let plain = Zeroizing::new(plain);
        match pulling.decide(&plain) {
            FilterAction::Accept => left.push(option),
            FilterAction::Ignore => tracing::debug!(name, "left aside, as `pull-filter` says"),
            FilterAction::Reject => return Err(Rejected::new(name, plain.to_string(), WhyRejected::Filter)),
        }
    }
    Ok(left)
}

/// The words of one option, and what it sets by itself: for the core, so that there is one reader of what is pushed. Its values are
/// `None` if no server may push it so; all of it, if it cannot be read.
pub(crate) fn alone(option: &str) -> Option<(Directive, Option<Pushed>)> {
    let read = directive(option, 1);
    // Nobody reads what would be said of a name that is not known, and looking for the one that was meant costs most.
    if read.as_ref().is_ok_and(|read| !catalogue::is_known(read.name())) {
        return read.ok().map(|read| (read, None));
    }
    let mut draft = Draft::new(PUSHED);
    let finding = taken(&mut draft, &read, 1);
    let read = read.ok()?;
    let framed = read.name().starts_with("comp");
    let values = (!finding.is_refused()).then(|| Pushed::of(draft, framed, vec![finding]));
    Some((read, values))
}

/// Whether a client takes this option from a push.
///
/// # Errors
/// Why not.
pub(super) fn check(option: &str) -> Result<(), String> {
    match taken(&mut Draft::new(PUSHED), &directive(option, 1), 1).verdict {
        Verdict::Accepted | Verdict::Doubtful { .. } | Verdict::Ignored { .. } => Ok(()),
        Verdict::Refused { why, .. } => Err(why),
    }
}

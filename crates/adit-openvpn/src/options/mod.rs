//! Configurations of OpenVPN: text in, typed values and a verdict on each line out.
//!
//! Not here: files (whoever has a disk), what the values lead to (the core and the engine).
//!
//! | module | what it knows |
//! |---|---|
//! | `lexer` | words, quotes, escapes, comments, inline blocks |
//! | `catalogue` | every option there is, and where it may stand |
//! | `connection`, `proxy` | remotes, transports, sizes, wrapping, proxies: what a `<connection>` block may hold |
//! | `identity`, `tls`, `data` | certificates and logins; TLS and rekeying; ciphers and framing |
//! | `inside`, `dns`, `life` | addresses and routes; name servers; pings and patience |
//! | `process`, `hooks` | what OpenVPN's own process is told; programs that are run |
//! | `server` | what only a server is told, and what it is told of one client |
//! | `pushed` | what a server may push |
//! | `draft`, `finish`, `config` | what is known line by line; what holds between lines; what is left |
//! | `embed` | a configuration and its files as one text |
//! | `finding`, `material`, `value` | verdicts; keys and where they are; words as values |
//!
//! Every line gets a verdict: accepted, ignored with the reason, doubtful, or refused with what to write instead. What
//! weakens or claims security is never ignored in silence.
//!
//! ```
//! use adit_openvpn::options::{self, Verdict};
//!
//! let parsed = options::parse("client\nremote vpn.example.com 1194 udp\nmute 20\ncipher BF-CBC\n");
//! assert_eq!(parsed.findings[1].verdict, Verdict::Accepted);
//! assert!(matches!(&parsed.findings[2].verdict, Verdict::Ignored { why } if why.contains("log")));
//! assert!(matches!(&parsed.findings[3].verdict, Verdict::Refused { why, .. } if why.contains("SWEET32")));
//! assert!(parsed.config.is_none());
//! ```

mod catalogue;
mod config;
mod connection;
mod data;
mod dns;
mod draft;
mod embed;
mod finding;
mod finish;
mod hooks;
mod identity;
mod inside;
mod lexer;
mod life;
mod material;
mod process;
mod proxy;
mod pushed;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod value;

pub use config::{ClientConfig, Common, Config, Listen, ServerConfig};
pub use connection::{ControlWrap, DEFAULT_PORT, Family, KeyDirection, MAX_REMOTES, MssFix, Remote, Sizes, Transport};
pub use data::{DataOptions, Framing};
pub use dns::{Dns, DnsServer, DnsTransport, MAX_SERVERS};
pub use draft::{Device, HandsOff};
pub use embed::{Needed, embed, left_beside, needs};
pub use finding::{Finding, Verdict};
pub use hooks::{Hook, Hooks, Moment};
pub use identity::{AuthRetry, Crl, Identity, Login, LoginOptions, PeerKind, PeerName, PeerRules, StaticChallenge};
pub use inside::{
    Destination, FilterAction, Ifconfig, Ifconfig6, Inside, PullFilter, Pulling, Redirect, Route, Topology, Via,
};
pub use lexer::{Block, Directive, MAX_DIRECTIVES, MAX_LINE, MAX_TEXT, MAX_WORDS, Quoted, Word};
pub use life::{Attempts, Life, OnSilence};
pub use material::{Material, SecretText};
pub use process::SocketOptions;
pub use proxy::{MAX_HEADERS, Proxy, ProxyKind};
pub use pushed::{MAX_PUSHED, MAX_PUSHED_BYTES, Pushed, PushedOnly, Rejected, WhyRejected};
pub(crate) use pushed::{alone, filtered};
pub use server::{ClientCert, ClientEntry, DEFAULT_CLIENTS, ServerOptions, TokenOptions};
pub use tls::{Rekeying, TlsOptions, TlsVersion};
pub use value::MAX_LIST;

use catalogue::{CCD, CLIENT, SERVER};
use draft::Draft;

/// What comes of a text.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration; `None` if something is refused.
    pub config: Option<Config>,
    /// What is to be said of each line with an option, from top to bottom; before them, what is to be said of the whole.
    pub findings: Vec<Finding>,
}

/// Reads the file of a client or of a server.
pub fn parse(text: &str) -> Parsed {
    let items = lexer::lex(text);
    if let [Err(too_long)] = items.as_slice()
        && too_long.line == 0
    {
        return Parsed { config: None, findings: vec![too_long.clone()] };
    }
    let is_server = has_server(&items);
    let mut draft = Draft::new(if is_server { SERVER } else { CLIENT });
    draft.script_security = script_security(&items);
    draft.pulling.pull = has(&items, "client", None) || has(&items, "pull", None);
    let mut findings = Vec::new();
    let role = role(&items, is_server);
    for item in items {
        match item {
            Ok(directive) => findings.extend(draft.take(&directive)),
            Err(finding) => findings.push(finding),
        }
    }
    draft.look_back(&mut findings);
    let mut whole: Vec<_> = role.into_iter().collect();
    let lines_are_good = !findings.iter().any(Finding::is_refused);
    // Where lines are wrong, what is missing is often what they would have said.
    let config = if lines_are_good {
        if is_server { finish::server(draft, &mut whole) } else { finish::client(draft, &mut whole) }
    } else {
        None
    };
    whole.extend(findings);
    let config = config.filter(|_| !whole.iter().any(Finding::is_refused));
    Parsed { config, findings: whole }
}

/// The verdict on each line of a file of a client or of a server.
pub fn explain(text: &str) -> Vec<Finding> {
    parse(text).findings
}

/// Whether a text is more likely a configuration of OpenVPN than one of another kind: it says which end it is for, or to which
/// server it leads, and has no sections in brackets.
pub fn is_likely(text: &str) -> bool {
    let items = lexer::lex(text);
    let has_sections = items.iter().flatten().any(|d| d.name().starts_with('['));
    let names = ["client", "remote", "tls-client", "tls-server", "server", "secret", "dev"];
    !has_sections && names.into_iter().any(|name| has(&items, name, None))
}

/// Whether a text is the configuration of a server.
pub fn is_of_server(text: &str) -> bool {
    has_server(&lexer::lex(text))
}

/// Whether a text holds a secret itself: a key, a password, or a bundle with a key.
pub fn holds_secret(text: &str) -> bool {
    let secret = |d: &Directive| SECRET_BLOCKS.contains(&d.name()) && d.block.is_some();
    let inside = |block: &Block| lexer::lines(block.text.expose(), 1).iter().flatten().any(secret);
    let items = lexer::lex(text);
    items.iter().flatten().any(|d| secret(d) || d.name() == "connection" && d.block.as_ref().is_some_and(inside))
}

/// Blocks that nobody else should read.
const SECRET_BLOCKS: [&str; 11] = [
    "askpass",
    "auth-gen-token-secret",
    "auth-user-pass",
    "http-proxy-user-pass",
    "key",
    "pkcs12",
    "secret",
    "socks-proxy-user-pass",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

/// Reads what a server is told of one client: a file of `client-config-dir`. `None` if something is refused.
pub fn parse_client_entry(text: &str) -> (Option<ClientEntry>, Vec<Finding>) {
    let mut draft = Draft::new(CCD);
    let mut findings = Vec::new();
    for item in lexer::lex(text) {
        match item {
            Ok(directive) => findings.extend(draft.take(&directive)),
            Err(finding) => findings.push(finding),
        }
    }
    let good = !findings.iter().any(Finding::is_refused);
    (good.then_some(draft.entry), findings)
}

/// Every directive of a text, as it was written: for whoever changes a file and keeps the rest of it.
///
/// # Errors
/// The first line that is no directive.
pub fn directives(text: &str) -> Result<Vec<Directive>, Finding> {
    lexer::lex(text).into_iter().collect()
}

type Items = [Result<Directive, Finding>];

fn has(items: &Items, name: &str, word: Option<&str>) -> bool {
    let is = |d: &Directive| d.name() == name && (word.is_none() || d.word(1) == word);
    items.iter().flatten().any(|d| is(d) || d.optional().is_some_and(|d| is(&d)))
}

fn has_server(items: &Items) -> bool {
    let is_client = has(items, "client", None) || has(items, "tls-client", None);
    let names = ["tls-server", "server", "server-ipv6", "server-bridge"];
    !is_client && (names.into_iter().any(|name| has(items, name, None)) || has(items, "mode", Some("server")))
}

/// What is to be said of the role of a file.
fn role(items: &Items, is_server: bool) -> Option<Finding> {
    if has(items, "secret", None) {
        return None; // which is refused with its own reason
    }
    if is_server {
        let many = ["server", "server-ipv6", "server-bridge"].into_iter().any(|name| has(items, name, None));
        if many || has(items, "mode", Some("server")) {
            return None;
        }
        let why = "this is the server's end of a tunnel between two machines, which adit does not serve";
        return Some(Finding::whole_file_refused(
            why,
            "write server 10.8.0.0 255.255.255.0, and `client` at the other end",
        ));
    }
    if has(items, "mode", Some("server")) {
        return Some(Finding::whole_file_refused(
            "`mode server` stands in the file of a client",
            "remove `mode server`, or `client`",
        ));
    }
    if has(items, "client", None) || has(items, "tls-client", None) {
        return None;
    }
    let why = "the file does not say which end it is for: there is neither `client` nor `server`";
    Some(Finding::whole_file_refused(why, "add `client` for a file that a network handed out"))
}

/// How far programs may be run: the last line counts, wherever it stands.
fn script_security(items: &Items) -> u32 {
    let level = |d: &Directive| (d.name() == "script-security").then(|| d.word(1)?.parse().ok()).flatten();
    let level = |d: &Directive| d.optional().map_or_else(|| level(d), |d| level(&d));
    items.iter().flatten().filter_map(level).next_back().unwrap_or(1)
}

//! A configuration as one text: what stands in other files is taken in, as blocks.
//!
//! Not here: reading those files (whoever has a disk).

use zeroize::Zeroizing;

use super::finding::Finding;
use super::identity::ASKED;
use super::lexer::{self, Directive, Quoted};
use super::material::SecretText;

/// A file that a configuration needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The line that names it, from 1.
    pub line: usize,
    /// The option that names it.
    pub option: String,
    /// Its name, as it stands there.
    pub name: String,
    /// Its bytes are not text: they become base64 in the block.
    pub binary: bool,
}

/// Options whose first word names a file that a block can stand for.
const TAKEN_IN: [&str; 15] = [
    "askpass",
    "auth-gen-token-secret",
    "auth-user-pass",
    "ca",
    "cert",
    "crl-verify",
    "extra-certs",
    "http-proxy-user-pass",
    "key",
    "peer-fingerprint",
    "pkcs12",
    "socks-proxy-user-pass",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

/// Options that name a file or directory no block can stand for, and which of their words does.
const LEFT_BESIDE: [(&str, usize); 3] = [("client-config-dir", 1), ("crl-verify", 1), ("ifconfig-pool-persist", 1)];

/// Options whose third word names a file, and the block that can stand for it, on a line of its own.
const PROXIES: [(&str, &str); 2] = [("http-proxy", "http-proxy-user-pass"), ("socks-proxy", "socks-proxy-user-pass")];

/// What stands in place of the name of a file with a proxy's user and password.
const NO_NAMES: [&str; 4] = ["auto", "auto-nct", "none", ASKED];

fn is_directory(d: &Directive) -> bool {
    d.name() == "crl-verify" && d.word(2) == Some("dir")
}

fn named(d: &Directive, n: usize) -> Option<Needed> {
    let name = d.word(n).filter(|_| d.block.is_none())?.to_owned();
    Some(Needed { line: d.line, option: d.name().to_owned(), name, binary: d.name() == "pkcs12" })
}

fn needed(d: &Directive) -> Option<Needed> {
    if let Some((_, block)) = PROXIES.into_iter().find(|(option, _)| *option == d.name()) {
        let login = named(d, 3).filter(|login| !NO_NAMES.contains(&login.name.as_str()))?;
        return Some(Needed { option: block.to_owned(), ..login });
    }
    let is_value = d.name() == "peer-fingerprint";
    let is_asked = ["askpass", "auth-user-pass"].contains(&d.name()) && d.word(1) == Some(ASKED);
    if is_directory(d) || is_value || is_asked || !TAKEN_IN.contains(&d.name()) {
        return None;
    }
    named(d, 1).filter(|needed| needed.name != "[inline]")
}

fn left(d: &Directive) -> Option<Needed> {
    let (_, word) = LEFT_BESIDE.into_iter().find(|(option, _)| *option == d.name())?;
    if d.name() == "crl-verify" && !is_directory(d) {
        return None;
    }
    named(d, word).filter(|left| left.name != "[inline]")
}

/// Every directive, those of `<connection>` blocks and those that may be left out among them.
fn each(text: &str) -> Vec<Directive> {
    let mut all = Vec::new();
    for d in lexer::lex(text).into_iter().flatten() {
        match &d.block {
            Some(block) if d.name() == "connection" => {
                all.extend(lexer::lines(block.text.expose(), block.first_line).into_iter().flatten());
            }
            Some(_) => {}
            None => all.push(d.optional().unwrap_or(d)),
        }
    }
    all
}

/// The files that a configuration names and that can be taken in, from top to bottom, those of its `<connection>` blocks too.
pub fn needs(text: &str) -> Vec<Needed> {
    each(text).iter().filter_map(needed).collect()
}

/// The files and directories that it names and that cannot be taken in, from top to bottom, programs apart.
pub fn left_beside(text: &str) -> Vec<Needed> {
    each(text).iter().filter_map(left).collect()
}

/// The same configuration with a block in place of each line whose file `content` knows. `cd` goes, for names have been looked up
/// by it: those that [`left_beside`] lists hold from anywhere only if they are whole paths. All other lines stay as they are.
///
/// # Errors
/// A file holds the line that would end its block.
pub fn embed(text: &str, mut content: impl FnMut(&Needed) -> Option<SecretText>) -> Result<SecretText, Finding> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = each(text);
    let moves: Vec<_> = directives.iter().filter(|d| d.name() == "cd").map(|d| d.line).collect();
    let mut needs = directives.iter().filter_map(needed).peekable();
    let mut pieces = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if moves.binary_search(&number).is_ok() {
            continue;
        }
        let taken = needs.next_if(|needed| needed.line == number);
        let Some((body, needed)) = taken.and_then(|needed| Some((content(&needed)?, needed))) else {
            pieces.push(Piece::Text(format!("{line}\n")));
            continue;
        };
        let end = format!("</{}>", needed.option);
        let ends = [end.as_str(), "</connection>"];
        if body.expose().lines().any(|line| ends.iter().any(|end| line.trim_start().starts_with(end))) {
            let why = format!("the file {} of line {number} holds `{end}`, which would end its block", needed.name);
            return Err(Finding::whole_file_refused(&why, "look at what the file is"));
        }
        pieces.push(Piece::Text(format!("{}<{}>\n", beside(line, &needed), needed.option)));
        let break_after = if body.expose().ends_with('\n') { "" } else { "\n" };
        pieces.push(Piece::Secret(body));
        pieces.push(Piece::Text(format!("{break_after}{end}\n")));
    }
    // A text that grows would leave copies of keys behind.
    let length = pieces.iter().map(|piece| piece.expose().len()).sum();
    let mut whole = Zeroizing::new(String::with_capacity(length));
    pieces.iter().for_each(|piece| whole.push_str(piece.expose()));
    Ok(SecretText::new(std::mem::take(&mut *whole)))
}

/// A part of what comes out.
enum Piece {
    Text(String),
    Secret(SecretText),
}

impl Piece {
    fn expose(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(text) => text.expose(),
        }
    }
}

/// What the line says beside the file: a block has no room for it. A proxy's line is one of its own.
fn beside(line: &str, needed: &Needed) -> String {
    let Some(Ok(d)) = lexer::lines(line, 1).into_iter().next() else { return String::new() };
    let d = d.optional().unwrap_or(d);
    if let (true, Some(host), Some(port)) = (d.name() != needed.option, d.word(1), d.word(2)) {
        let method = d.word(4).map(|method| format!(" auto {}", Quoted(method))).unwrap_or_default();
        return format!("{} {} {}{method}\n", d.name(), Quoted(host), Quoted(port));
    }
    match (needed.option.as_str(), d.word(2)) {
        (option @ ("tls-auth" | "tls-crypt-v2"), Some(word)) => format!("{option} [inline] {}\n", Quoted(word)),
        _ => String::new(),
    }
}

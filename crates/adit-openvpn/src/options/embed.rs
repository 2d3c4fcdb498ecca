//! A configuration as one text: what stands in other files is taken in, as blocks.
//!
//! Not here: reading those files (whoever has a disk).

use super::finding::Finding;
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
const TAKEN_IN: [&str; 13] = [
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
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

fn needed(d: &Directive) -> Option<Needed> {
    let name = d.word(1).filter(|name| *name != "[inline]")?;
    let is_directory = d.name() == "crl-verify" && d.word(2) == Some("dir");
    let is_value = d.name() == "peer-fingerprint";
    if d.block.is_some() || is_directory || is_value || !TAKEN_IN.contains(&d.name()) {
        return None;
    }
    let binary = d.name() == "pkcs12";
    Some(Needed { line: d.line, option: d.name().to_owned(), name: name.to_owned(), binary })
}

/// The files that a configuration names and that can be taken in, from top to bottom, those of its `<connection>` blocks too.
pub fn needs(text: &str) -> Vec<Needed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = Vec::new();
    for d in lexer::lex(text).into_iter().flatten() {
        match &d.block {
            Some(block) if d.name() == "connection" => {
                all.extend(
                    lexer::lines(block.text.expose(), block.first_line)
                        .into_iter()
                        .flatten()
                        .filter_map(|d| needed(&d)),
                );
            }
            Some(_) => {}
            None => all.extend(needed(&d)),
        }
    }
    all
}

/// The same configuration with a block in place of each line whose file `content` knows; all other lines stay as they are.
///
/// # Errors
/// A file holds the line that would end its block.
pub fn embed(text: &str, mut content: impl FnMut(&Needed) -> Option<SecretText>) -> Result<SecretText, Finding> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let needs = needs(text);
    let mut out = String::with_capacity(text.len() * 2);
    for (line, number) in text.lines().zip(1..) {
        let taken = needs.iter().find(|needed| needed.line == number);
        let Some((needed, body)) = taken.and_then(|needed| Some((needed, content(needed)?))) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let end = format!("</{}>", needed.option);
        if body.expose().lines().any(|line| line.trim_start().starts_with(&end)) {
            let why = format!("the file {} of line {number} holds `{end}`, which would end its block", needed.name);
            return Err(Finding::whole_file_refused(&why, "look at what the file is"));
        }
        out.push_str(&beside(line, needed));
        out.push_str(&format!("<{}>\n{}", needed.option, body.expose()));
        if !body.expose().ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&end);
        out.push('\n');
    }
    Ok(SecretText::new(out))
}

/// What the line says beside the file: a block has no room for it.
fn beside(line: &str, needed: &Needed) -> String {
    let Some(Ok(d)) = lexer::lines(line, 1).into_iter().next() else { return String::new() };
    match (needed.option.as_str(), d.word(2)) {
        ("tls-auth", Some(direction)) => format!("key-direction {}\n", Quoted(direction)),
        ("tls-crypt-v2", Some(cookie)) => format!("tls-crypt-v2 [inline] {}\n", Quoted(cookie)),
        _ => String::new(),
    }
}

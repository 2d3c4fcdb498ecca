//! From the text of a configuration to directives: words with their places, quotes, escapes, comments, inline blocks.
//!
//! Not here: which options there are (`catalogue`), what their words mean.

use std::fmt;

use super::finding::{Finding, Verdict};
use super::material::SecretText;

/// The longest text that is looked at, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// The longest line outside of inline blocks, in bytes. OpenVPN itself stops at 255.
pub const MAX_LINE: usize = 4096;
/// As many words a line may have, the option among them: OpenVPN drops what comes after without a word, which is no favour.
pub const MAX_WORDS: usize = 16;
/// As many directives are looked at.
pub const MAX_DIRECTIVES: usize = 20_000;

/// What may stand as a block, between `<ca>` and `</ca>`.
pub(super) const BLOCKS: [&str; 19] = [
    "askpass",
    "auth-gen-token-secret",
    "auth-user-pass",
    "ca",
    "cert",
    "connection",
    "crl-verify",
    "dh",
    "extra-certs",
    "http-proxy-user-pass",
    "key",
    "peer-fingerprint",
    "pkcs12",
    "secret",
    "socks-proxy-user-pass",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
    "verify-hash",
];

/// One word of a line, without its quotes and escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// The character of the line at which it begins, from 1.
    pub column: usize,
}

/// One option with what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The line, from 1.
    pub line: usize,
    /// The option, without dashes, and its words: at least one, at most [`MAX_WORDS`].
    pub words: Vec<Word>,
    /// What stands between `<option>` and `</option>`, with the line at which that begins.
    pub block: Option<Block>,
}

/// The content of an inline block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its text; every line ends with a line feed.
    pub text: SecretText,
    /// Its first line, from 1.
    pub first_line: usize,
    /// The line of its end.
    pub last_line: usize,
}

impl Directive {
    /// The option.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", |word| word.text.as_str())
    }

    /// The `n`th word after the option, from 1.
    pub fn word(&self, n: usize) -> Option<&str> {
        self.words.get(n).map(|word| word.text.as_str())
    }

    /// How many words stand after the option.
    pub const fn arguments(&self) -> usize {
        self.words.len().saturating_sub(1)
    }

    /// The option that may be left out, if `setenv opt` stands before one.
    pub(super) fn optional(&self) -> Option<Self> {
        let is = self.name() == "setenv" && self.word(1) == Some("opt") && self.block.is_none();
        let words = self.words.get(2..).filter(|words| is && !words.is_empty())?.to_vec();
        Some(Self { line: self.line, words, block: None })
    }

    /// Its words with one space between them, without quotes and escapes: by this it is judged, however it was written.
    pub(super) fn plain(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }

    /// The words after the option, as they could be written again.
    pub(crate) fn rest(&self) -> String {
        let words: Vec<_> = self.words.iter().skip(1).map(|word| Quoted(&word.text).to_string()).collect();
        words.join(" ")
    }
}

/// As it could stand in a file; what is a block stays one.
impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        if let Some(block) = &self.block {
            return write!(f, "<{name}>\n{}</{name}>", block.text.expose());
        }
        // A name that begins like this would lose its dashes, or open a block.
        let dashes = if name.starts_with("--") || name.starts_with('<') { "--" } else { "" };
        write!(f, "{}", Quoted(&format!("{dashes}{name}")))?;
        self.words.iter().skip(1).try_for_each(|word| write!(f, " {}", Quoted(&word.text)))
    }
}

/// A word as it must be written to be read as this word again. Control characters cannot be written at all.
#[derive(Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !['\\', '"', '\''].contains(&c);
        if !self.0.is_empty() && !self.0.starts_with(['#', ';', '\u{feff}']) && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for letter in self.0.chars() {
            if matches!(letter, '\\' | '"') {
                f.write_str("\\")?;
            }
            write!(f, "{letter}")?;
        }
        f.write_str("\"")
    }
}

/// Every directive of a text, and every line that is none.
pub(super) fn lex(text: &str) -> Vec<Result<Directive, Finding>> {
    if text.len() > MAX_TEXT {
        let why = format!("a configuration of {} bytes is not read: the bound is {MAX_TEXT}", text.len());
        return vec![Err(Finding::whole_file_refused(&why, "a usual one has some kilobytes"))];
    }
    lines(text.strip_prefix('\u{feff}').unwrap_or(text), 1)
}

/// The same for a piece of a file that begins at `first_line`.
pub(super) fn lines(text: &str, first_line: usize) -> Vec<Result<Directive, Finding>> {
    let mut items = Vec::new();
    let mut rest = text.lines().zip(first_line..);
    while let Some((line, number)) = rest.next() {
        if items.len() == MAX_DIRECTIVES {
            let why = format!("there are more than {MAX_DIRECTIVES} options");
            items.push(Err(refused(number, None, "", &why, None)));
            break;
        }
        let words = match words(line, number) {
            Ok(words) => words,
            Err(finding) => {
                items.push(Err(*finding));
                continue;
            }
        };
        let Some(first) = words.first() else { continue };
        items.push(match opened(&words) {
            Some(tag) => block(tag, number, first.column, &mut rest),
            None => Ok(directive(words, number)),
        });
    }
    items
}

/// The name in `<name>`, if that is all there is on the line.
fn opened(words: &[Word]) -> Option<&str> {
    let [only] = words else { return None };
    only.text.strip_prefix('<')?.strip_suffix('>')
}

fn directive(mut words: Vec<Word>, line: usize) -> Directive {
    // In a file the dashes of the command line may stay.
    if let Some(first) = words.first_mut()
        && let Some(name) = first.text.strip_prefix("--").filter(|name| !name.is_empty())
    {
        first.text = name.to_owned();
    }
    Directive { line, words, block: None }
}

fn block<'a>(
    tag: &str,
    line: usize,
    column: usize,
    rest: &mut impl Iterator<Item = (&'a str, usize)>,
) -> Result<Directive, Finding> {
    let end = format!("</{tag}>");
    let mut inside = Vec::new();
    let mut last_line = None;
    for (inner, number) in rest {
        if inner.trim_start().starts_with(&end) {
            last_line = Some(number);
            break;
        }
        inside.push(inner);
    }
    // Once, with room for all of it: a text that grows leaves copies of a key behind.
    let mut text = String::with_capacity(inside.iter().map(|line| line.len() + 1).sum());
    inside.iter().for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    let text = SecretText::new(text);
    let Some(last_line) = last_line else {
        let why = format!("there is no `{end}` after it");
        return Err(refused(
            line,
            Some(column),
            &format!("<{tag}>"),
            &why,
            Some("close the block, on a line of its own"),
        ));
    };
    if !BLOCKS.contains(&tag) {
        let why = "there is no block of this name";
        let known = format!("blocks are: {}", BLOCKS.join(", "));
        return Err(refused(line, Some(column), &format!("<{tag}>"), why, Some(&known)));
    }
    let words = vec![Word { text: tag.to_owned(), column }];
    Ok(Directive { line, words, block: Some(Block { text, first_line: line + 1, last_line }) })
}

/// The words of one line, without its end. A comment begins where a word could.
fn words(line: &str, number: usize) -> Result<Vec<Word>, Box<Finding>> {
    let refuse = |column, why: &str, instead: &str| Err(Box::new(refused(number, column, "", why, Some(instead))));
    if line.len() > MAX_LINE {
        let why = format!("the line has {} bytes; the bound is {MAX_LINE}", line.len());
        return refuse(None, &why, "keys and certificates belong into blocks, such as <ca> … </ca>");
    }
    let mut words = Vec::new();
    let mut letters = line.chars().zip(1..).peekable();
    while let Some(&(letter, column)) = letters.peek() {
        match letter {
            letter if is_space(letter) => {
                letters.next();
            }
            '#' | ';' => break,
            _ if words.len() == MAX_WORDS => {
                let why = format!("the line has more than {MAX_WORDS} words");
                return refuse(Some(column), &why, "put words that belong together into quotes: \"one two\"");
            }
            _ => match word(&mut letters) {
                Ok(text) => words.push(Word { text, column }),
                Err((why, instead)) => return refuse(Some(column), why, instead),
            },
        }
    }
    // After the words, so that comments may hold anything.
    let control = |word: &&Word| word.text.chars().any(|c| c.is_control() && c != '\t');
    if let Some(word) = words.iter().find(control) {
        return refuse(
            Some(word.column),
            "the word holds a control character",
            "write it again, in a plain text editor",
        );
    }
    Ok(words)
}

/// What separates words: a space of some other alphabet is a letter.
const fn is_space(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == '\x0b'
}

type WordResult = Result<String, (&'static str, &'static str)>;

fn word(letters: &mut impl Iterator<Item = (char, usize)>) -> WordResult {
    const ESCAPES: (&str, &str) = (
        "after a backslash only a backslash, a double quote or a space can stand",
        "write \\\\ for each backslash, as in \"C:\\\\keys\\\\ca.crt\"",
    );
    const OPEN: (&str, &str) = ("a quote is opened and not closed", "close it on the same line");
    let mut text = String::new();
    let mut quote = None;
    let mut first = true;
    while let Some((letter, _)) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') if first => quote = Some(letter),
            // A word ends with its quote, whatever follows.
            (Some(open), letter) if open == letter => return Ok(text),
            (None, letter) if is_space(letter) => return Ok(text),
            (None | Some('"'), '\\') => match letters.next() {
                Some((escaped @ ('\\' | '"'), _)) => text.push(escaped),
                Some((escaped, _)) if is_space(escaped) => text.push(escaped),
                Some(_) | None => return Err(ESCAPES),
            },
            (None | Some(_), letter) => text.push(letter),
        }
        first = false;
    }
    if quote.is_some() { Err(OPEN) } else { Ok(text) }
}

fn refused(line: usize, column: Option<usize>, option: &str, why: &str, instead: Option<&str>) -> Finding {
    let write_instead = instead.map(str::to_owned);
    let verdict = Verdict::Refused { found: String::new(), why: why.to_owned(), write_instead };
    Finding { line, column, option: option.to_owned(), verdict }
}

/// The words of a command that stands in one word: `"/bin/log \"all of it\""`. `None` for one that cannot be read.
pub(super) fn command(text: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    let mut letters = text.chars().zip(1..).peekable();
    while let Some((letter, _)) = letters.peek() {
        if is_space(*letter) {
            letters.next();
        } else if list.len() == MAX_WORDS {
            return None;
        } else {
            list.push(word(&mut letters).ok()?);
        }
    }
    Some(list)
}

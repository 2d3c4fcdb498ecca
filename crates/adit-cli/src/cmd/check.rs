//! `adit check FILE`: of wg-quick, or of OpenVPN.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use adit::openvpn::server::{Layout, LayoutError};
use adit::profile::{file, wg_quick};
use adit_openvpn::options::Config;
use adit_openvpn::{Unusable, options};
use serde::Serialize;
use zeroize::Zeroizing;

use super::import;
use crate::args::CheckArgs;
use crate::exit::{Exit, Failure, Result};
use crate::name::{self, Source};
use crate::render::{self, Style};

/// What a check comes to.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// The number of this schema.
    pub(crate) schema: u32,
    /// The file.
    pub(crate) file: String,
    /// Whose format it is: `wireguard` or `openvpn`.
    pub(crate) format: &'static str,
    /// Whether it can be used.
    pub(crate) usable: bool,
    /// What is to be said of the file as a whole, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// What is to be said of each line.
    pub(crate) lines: Vec<CheckLine>,
}

/// What is to be said of one line.
#[derive(Debug, Serialize)]
pub(crate) struct CheckLine {
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// The character in the line where the trouble begins, from 1.
    pub(crate) column: Option<usize>,
    /// The key or option.
    pub(crate) key: String,
    /// What it comes to.
    #[serde(flatten)]
    pub(crate) verdict: CheckVerdict,
    /// The same as a sentence, with a second line for the hint.
    #[serde(skip)]
    pub(crate) sentence: String,
}

/// What a line comes to.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub(crate) enum CheckVerdict {
    /// Taken as it stands.
    Accepted,
    /// It has no effect.
    Ignored { why: String },
    /// It takes effect, and deserves a look.
    Doubtful { why: String, write_instead: Option<String> },
    /// It is a mistake.
    Wrong { found: String, why: String, write_instead: Option<String> },
    /// It may be right for others, and cannot be had here.
    Refused { found: String, why: String, write_instead: Option<String> },
}

impl CheckLine {
    /// Whether the file cannot be used because of it.
    pub(crate) const fn is_wrong(&self) -> bool {
        matches!(self.verdict, CheckVerdict::Wrong { .. } | CheckVerdict::Refused { .. })
    }
}

impl From<&wg_quick::Finding> for CheckLine {
    fn from(finding: &wg_quick::Finding) -> Self {
        use wg_quick::Verdict;
        let verdict = match finding.verdict.clone() {
            Verdict::Accepted => CheckVerdict::Accepted,
            Verdict::Ignored { why } => CheckVerdict::Ignored { why },
            Verdict::Doubtful { why, write_instead } => CheckVerdict::Doubtful { why, write_instead },
            Verdict::Wrong { found, why, write_instead } => CheckVerdict::Wrong { found, why, write_instead },
        };
        let (line, column, key) = (finding.line, finding.column, finding.key.clone());
        Self { line, column, key, verdict, sentence: finding.to_string() }
    }
}

impl From<&options::Finding> for CheckLine {
    fn from(finding: &options::Finding) -> Self {
        use options::Verdict;
        let verdict = match finding.verdict.clone() {
            Verdict::Accepted => CheckVerdict::Accepted,
            Verdict::Ignored { why } => CheckVerdict::Ignored { why },
            Verdict::Doubtful { why, write_instead } => CheckVerdict::Doubtful { why, write_instead },
            Verdict::Refused { found, why, write_instead } => CheckVerdict::Refused { found, why, write_instead },
        };
        let (line, column, key) = (finding.line, finding.column, finding.option.clone());
        Self { line, column, key, verdict, sentence: finding.to_string() }
    }
}

/// Reads the file line by line and says what comes of each.
pub(super) fn run(args: &CheckArgs) -> Result<Exit> {
    let report = if args.source == "-" { of_stdin()? } else { of_file(&args.source)? };
    if args.json {
        render::json(&report);
    } else {
        render::print(&render::check::text(&report, Style::of_stdout()));
    }
    Ok(if report.usable { Exit::Done } else { Exit::Usage })
}

fn of_stdin() -> Result<CheckReport> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .map_err(|e| Failure::usage(format!("cannot read standard input: {e}")))?;
    if options::is_likely(&text) {
        return Ok(of_openvpn("standard input", &text, Vec::new()));
    }
    Ok(of_wireguard("standard input", &wg_quick::parse(&text), Vec::new()))
}

/// As much as a file may have.
const MAX_INPUT: u64 = 16 << 20;

fn of_file(argument: &str) -> Result<CheckReport> {
    let path = if Path::new(argument).is_file() {
        PathBuf::from(argument)
    } else {
        match name::openvpn_profile(argument) {
            Some(profile) => profile,
            None => Source::find(argument)?.file,
        }
    };
    let (text, mode) = file::read(&path).map_err(|e| super::load_failure(&e))?;
    let shown = path.display().to_string();
    if name::is_openvpn(&path) || options::is_likely(&text) {
        return Ok(of_openvpn(&shown, &text, exposed(&path, mode, &text).into_iter().collect()));
    }
    let parsed = wg_quick::parse(&text);
    let mut warnings = Vec::new();
    if let Err(e) = file::name_of(&path) {
        warnings.push(e.to_string());
    }
    warnings.extend(file::exposed(&path, mode, &parsed.profile).map(|e| e.to_string()));
    Ok(of_wireguard(&shown, &parsed, warnings))
}

/// That a file with secrets can be read by everybody.
fn exposed(path: &Path, mode: u32, text: &str) -> Option<String> {
    let path = path.display();
    (mode & 0o007 != 0 && options::holds_secret(text)).then(|| {
        format!("{path}: everybody on this machine may read the keys in it (mode {mode:04o})\n  hint: chmod 600 {path}")
    })
}

/// What is said first of what makes an OpenVPN configuration useless, and whether everybody may read secrets in it.
pub(crate) fn judge_openvpn(path: &Path, text: &str, mode: u32) -> (Option<String>, bool) {
    let report = of_openvpn(&path.display().to_string(), text, Vec::new());
    let wrong = report.lines.into_iter().find(CheckLine::is_wrong);
    (wrong.map(|line| line.sentence), exposed(path, mode, text).is_some())
}

fn of_wireguard(file: &str, parsed: &wg_quick::Parsed, warnings: Vec<String>) -> CheckReport {
    report(file, "wireguard", parsed.findings.iter().map(CheckLine::from).collect(), warnings)
}

fn of_openvpn(file: &str, text: &str, warnings: Vec<String>) -> CheckReport {
    let mut lines: Vec<_> = options::explain(text).iter().map(CheckLine::from).collect();
    let config = options::parse(text).config;
    if let Some(Config::Server(server)) = &config
        && let Err(why) = Layout::of(server)
    {
        lines.insert(0, no_room(&why));
    }
    let unusable = config.as_ref().and_then(import::not_spoken);
    if let Some(unusable @ Unusable::NotSpoken { option, why, hint }) = &unusable {
        let at = lines.iter_mut().find(|line| line.key == *option);
        let (line, column) = at.as_ref().map_or((0, None), |line| (line.line, line.column));
        let (found, why, write_instead) = ((*option).to_owned(), (*why).to_owned(), Some((*hint).to_owned()));
        let verdict = CheckVerdict::Refused { found, why, write_instead };
        let refused = CheckLine { line, column, key: (*option).to_owned(), verdict, sentence: unusable.to_string() };
        match at {
            Some(line) => *line = refused,
            None => lines.insert(0, refused),
        }
    }
    report(file, "openvpn", lines, warnings)
}

/// That a server's network has no place for clients.
fn no_room(why: &LayoutError) -> CheckLine {
    let (sentence, key) = (why.to_string(), "server".to_owned());
    let (why, hint) = sentence.split_once("\n  hint: ").unwrap_or((&sentence, ""));
    let verdict =
        CheckVerdict::Refused { found: key.clone(), why: why.to_owned(), write_instead: Some(hint.to_owned()) };
    CheckLine { line: 0, column: None, key, verdict, sentence }
}

fn report(file: &str, format: &'static str, lines: Vec<CheckLine>, warnings: Vec<String>) -> CheckReport {
    let usable = !lines.iter().any(CheckLine::is_wrong);
    CheckReport { schema: 1, file: file.to_owned(), format, usable, warnings, lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_hears_what_adit_up_would_refuse() {
        let server = |lines: &str| {
            let papers = "dh none\n<ca>\nx\n</ca>\n<cert>\nx\n</cert>\n<key>\nx\n</key>\n";
            of_openvpn("x", &format!("{lines}topology subnet\n{papers}"), Vec::new())
        };
        assert!(server("server 10.8.0.0 255.255.255.0\nproto tcp-server\n").usable);
        let refused = server("server 10.8.0.0 255.255.255.0\nlocal 192.0.2.1\n");
        assert!(!refused.usable && refused.lines[1].is_wrong() && refused.lines[1].key == "local");
        let nowhere =
            server("mode server\ntls-server\nifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.9.0.4 10.9.0.9\n");
        assert!(!nowhere.usable && nowhere.lines[0].sentence.contains("10.8.0.0/24"), "{:?}", nowhere.lines[0]);
    }

    #[test]
    fn verdicts_of_both_formats_have_one_schema() {
        let openvpn = of_openvpn("x", "client\ncipher BF-CBC\nmute 3\n", Vec::new());
        let json = serde_json::to_value(&openvpn).unwrap();
        assert_eq!((&json["format"], &json["usable"]), (&"openvpn".into(), &false.into()));
        let refused = &json["lines"][1];
        assert_eq!(
            (&refused["line"], &refused["key"], &refused["verdict"]),
            (&2.into(), &"cipher".into(), &"refused".into())
        );
        assert!(refused["write_instead"].is_string() && refused["column"] == 8, "{refused}");
        let wireguard = of_wireguard("x", &wg_quick::parse("[Interface]\nFoo = 1\n"), Vec::new());
        let json = serde_json::to_value(&wireguard).unwrap();
        assert_eq!(json["lines"][1]["verdict"], "wrong", "{json}");
    }
}

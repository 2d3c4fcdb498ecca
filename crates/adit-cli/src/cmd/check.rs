//! `adit check FILE`.

use std::io::Read as _;
use std::path::Path;

use adit::profile::{file, wg_quick};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure, Result};
use crate::name::Source;
use crate::render::{self, Style};

/// What a check comes to.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// The number of this schema.
    pub(crate) schema: u32,
    /// The file.
    pub(crate) file: String,
    /// Whether it can be used.
    pub(crate) usable: bool,
    /// What is to be said of the file as a whole, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// What is to be said of each line.
    pub(crate) lines: Vec<wg_quick::Finding>,
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
    Ok(report("standard input", &wg_quick::parse(&text), Vec::new()))
}

/// As much as a file may have.
const MAX_INPUT: u64 = 16 << 20;

fn of_file(argument: &str) -> Result<CheckReport> {
    let path = if Path::new(argument).is_file() { argument.into() } else { Source::find(argument)?.file };
    let (text, mode) = file::read(&path).map_err(|e| super::load_failure(&e))?;
    let parsed = wg_quick::parse(&text);
    let mut warnings = Vec::new();
    if let Err(e) = file::name_of(&path) {
        warnings.push(e.to_string());
    }
    warnings.extend(file::exposed(&path, mode, &parsed.profile).map(|e| e.to_string()));
    Ok(report(&path.display().to_string(), &parsed, warnings))
}

fn report(file: &str, parsed: &wg_quick::Parsed, warnings: Vec<String>) -> CheckReport {
    let usable = !parsed.findings.iter().any(wg_quick::Finding::is_wrong);
    CheckReport { schema: 1, file: file.to_owned(), usable, warnings, lines: parsed.findings.clone() }
}

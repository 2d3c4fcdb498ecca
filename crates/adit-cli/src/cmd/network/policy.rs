//! `adit policy`.

use std::io::Read as _;
use std::path::Path;

use super::ask;
use crate::args::network::PolicyCommand;
use crate::exit::{Exit, Failure, Result};
use crate::render;
use crate::server::api::{Ask, PolicyReport, PolicyTest};

/// No policy is longer.
const MAX_POLICY: u64 = adit_control::MAX_TEXT as u64;

/// Shows, checks, asks or changes the rules.
pub(crate) fn run(command: &PolicyCommand) -> Result<Exit> {
    match command {
        PolicyCommand::Show(args) => {
            let policy: PolicyReport = ask(Ask::Policy)?;
            if args.json { render::json(&policy) } else { render::print(&policy.text) }
        }
        PolicyCommand::Check { file } => {
            let policy: PolicyReport = ask(Ask::CheckPolicy { text: read(file)? })?;
            changes("The rules are sound. Put into force, they would change:", &policy);
        }
        PolicyCommand::Apply { file } => {
            let policy: PolicyReport = ask(Ask::ApplyPolicy { text: read(file)? })?;
            changes("In force, with these changes:", &policy);
        }
        PolicyCommand::Test { from, to } => {
            let test: PolicyTest = ask(Ask::TestPolicy { from: from.clone(), to: to.clone() })?;
            render::line(&format!("{}: {}", if test.allowed { "yes" } else { "no" }, test.why));
            return Ok(if test.allowed { Exit::Done } else { Exit::Failed });
        }
    }
    Ok(Exit::Done)
}

fn changes(said: &str, policy: &PolicyReport) {
    if policy.changes.is_empty() {
        return render::line("The rules are those in force.");
    }
    render::line(said);
    policy.changes.iter().for_each(|change| render::line(&format!("  {change}")));
}

fn read(file: &Path) -> Result<String> {
    let failed = |e: &std::io::Error| Failure::io(format!("cannot read {}", file.display()), e);
    let open = std::fs::File::open(file).map_err(|e| {
        let hint = format!("`adit policy show > {}` writes the rules in force there, to be changed", file.display());
        if e.kind() == std::io::ErrorKind::NotFound { failed(&e).hint(hint) } else { failed(&e) }
    })?;
    let mut text = String::new();
    open.take(MAX_POLICY + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
    if text.len() as u64 > MAX_POLICY {
        return Err(Failure::usage(format!(
            "{} is longer than {} KiB, which no policy is",
            file.display(),
            MAX_POLICY >> 10
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_answered_with_where_to_get_one() {
        let failure = read(Path::new("/nonexistent/rules")).unwrap_err();
        assert!(failure.message.contains("/nonexistent/rules"), "{failure}");
        assert!(failure.hints[0].contains("adit policy show > /nonexistent/rules"), "{:?}", failure.hints);
    }
}

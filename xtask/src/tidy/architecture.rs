//! Every crate and file that ARCHITECTURE.md names is there.

use super::SourceFile;
use crate::metadata::Workspace;

const MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &[SourceFile], workspace: &Workspace) -> Vec<String> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return vec![format!("{MAP}: is missing")];
    };
    let mut findings = Vec::new();
    for (number, line) in map.text.lines().enumerate() {
        for word in line.split(|letter: char| !is_of_a_name(letter)).map(|word| word.trim_matches('.')) {
            let wrong = if word.ends_with(".rs") && !word.starts_with(".rs") {
                !files.iter().any(|file| file.path == word || file.path.ends_with(&format!("/{word}")))
            } else {
                word.starts_with("adit-") && !workspace.has(word)
            };
            if wrong && !line.contains(PLANNED) {
                findings.push(format!("{MAP}:{}: {word} does not exist (say `{PLANNED}` if it will)", number + 1));
            }
        }
    }
    findings
}

/// A line with this word speaks of the future.
const PLANNED: &str = "planned";

const fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '/' | '.')
}

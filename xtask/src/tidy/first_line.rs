//! The first line of every Rust file says what lives there.

use super::SourceFile;

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let silent = |file: &&SourceFile| file.is_rust() && !speaks(&file.text);
    let finding = |file: &SourceFile| format!("{}: the first line must be `//!` and say what lives here", file.path);
    files.iter().filter(silent).map(finding).collect()
}

fn speaks(text: &str) -> bool {
    let said = text.lines().next().and_then(|line| line.strip_prefix("//! "));
    said.is_some_and(|said| said.split_whitespace().count() >= 2 && !said.contains("see ARCHITECTURE.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_must_have_content() {
        assert!(speaks("//! Keys as types.\n\nuse x;"));
        for silent in ["", "use x;", "//!", "//! keys\n", "// Keys as types.", "//! adit-x: see ARCHITECTURE.md.\n"] {
            assert!(!speaks(silent), "{silent:?}");
        }
    }
}

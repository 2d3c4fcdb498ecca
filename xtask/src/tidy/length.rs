//! A file of more than 600 lines probably holds two nouns.

use super::SourceFile;

/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];

const LIMIT: usize = 600;

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust());
    let long = rust.map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > LIMIT);
    let unexcused = long.filter(|(file, _)| !LONGER.iter().any(|(path, _)| *path == file.path));
    let mut findings: Vec<_> = unexcused
        .map(|(file, lines)| format!("{}: {lines} lines; does it do two jobs? (limit {LIMIT})", file.path))
        .collect();
    let stale = LONGER.iter().filter(|(path, _)| {
        files.iter().find(|file| file.path == *path).is_none_or(|file| file.text.lines().count() <= LIMIT)
    });
    findings.extend(stale.map(|(path, _)| format!("{path}: is allowed more than {LIMIT} lines and does not need it")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_only_rust() {
        let file = |path: &str, lines| SourceFile { path: path.into(), text: "x\n".repeat(lines) };
        let found = check(&[file("a.rs", 601), file("b.rs", 600), file("c.md", 9_000)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs: 601 lines"));
    }
}

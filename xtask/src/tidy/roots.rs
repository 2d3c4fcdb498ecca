//! The root of the repository holds what is listed here and nothing else.

use super::SourceFile;

const ENTRIES: [&str; 24] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.core.toml",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "fuzz",
    "packaging",
    "rustfmt.toml",
    "x",
    "xtask",
];

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut tops: Vec<_> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    tops.sort_unstable();
    tops.dedup();
    let strange = tops.into_iter().filter(|top| !ENTRIES.contains(top));
    strange
        .map(|top| format!("{top}: does not belong to the root (or to the list in xtask/src/tidy/roots.rs)"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_at_the_root_are_named_once() {
        let file = |path: &str| SourceFile { path: path.into(), text: String::new() };
        let found = check(&[file("crates/a/b.rs"), file("notes/a"), file("notes/b"), file("README.md")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("notes:"));
    }
}

//! Line ends and blanks that no editor shows.

use super::SourceFile;

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    files.iter().filter(|file| is_source(&file.path)).flat_map(problems).collect()
}

fn is_source(path: &str) -> bool {
    [".rs", ".toml", ".md", ".sh", ".service"].iter().any(|end| path.ends_with(end))
}

fn problems(file: &SourceFile) -> Vec<String> {
    let SourceFile { path, text } = file;
    let mut findings = Vec::new();
    if text.contains('\r') {
        findings.push(format!("{path}: has carriage returns"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{path}: does not end with a line end"));
    }
    if let Some(line) = text.lines().position(|line| line.contains('\t') && path.ends_with(".rs")) {
        findings.push(format!("{path}:{}: has a tab", line + 1));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_trouble_is_found() {
        let found = |path: &str, text: &str| check(&[SourceFile { path: path.into(), text: text.into() }]).len();
        assert_eq!(found("a.rs", "fine\n"), 0);
        assert_eq!(found("a.rs", "a\r\nb"), 2);
        assert_eq!(found("a.rs", "\tx\n"), 1);
        assert_eq!(found("corpus/bytes", "\r"), 0);
    }
}

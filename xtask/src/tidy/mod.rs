//! What compilers do not check: every rule a file here, every finding a line `path: what, and what to do`.

mod architecture;
mod arrows;
mod first_line;
mod length;
mod roots;
mod text;
mod unsafe_code;

use std::process::Command;

use crate::metadata::Workspace;
use crate::step::{Outcome, read, root};

/// A file of the repository.
#[derive(Debug)]
struct SourceFile {
    /// Its path from the root.
    path: String,
    /// What it says; binary files are not read.
    text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Runs every rule over every file that git knows or would take.
pub(crate) fn run() -> Outcome {
    let files = files()?;
    let workspace = Workspace::read()?;
    let mut findings = Vec::new();
    findings.extend(first_line::check(&files));
    findings.extend(length::check(&files));
    findings.extend(text::check(&files));
    findings.extend(unsafe_code::check(&files));
    findings.extend(roots::check(&files));
    findings.extend(arrows::check(&workspace));
    findings.extend(architecture::check(&files, &workspace));
    if findings.is_empty() {
        println!("tidy: {} files keep the rules", files.len());
        return Ok(());
    }
    Err(format!("{}\ntidy: {} findings", findings.join("\n"), findings.len()))
}

fn files() -> Result<Vec<SourceFile>, String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths = read(&mut git)?;
    let paths = paths.split_terminator('\0').map(str::to_owned);
    // A file that git knows but that is gone, or that is not text, has nothing to read.
    Ok(paths
        .filter_map(|path| Some(SourceFile { text: std::fs::read_to_string(root().join(&path)).ok()?, path }))
        .collect())
}

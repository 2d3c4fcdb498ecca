//! What is to be said of each line of a file: accepted, ignored, doubtful, or wrong with what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What is to be said of one line. Every line of a file has at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line where the trouble begins, from 1.
    pub column: Option<usize>,
    /// The key as the manual spells it, a section in brackets, or the text that was found where a key should be.
    /// Empty for a line without one.
    pub key: String,
    /// What it comes to.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Taken as it stands.
    Accepted,
    /// It has no effect.
    Ignored {
        /// Because of this.
        why: String,
    },
    /// It takes effect, and is probably not what was meant.
    Doubtful {
        /// Because of this.
        why: String,
        /// What was probably meant, if it can be told.
        write_instead: Option<String>,
    },
    /// It cannot be taken.
    Wrong {
        /// What stands there; never a secret.
        found: String,
        /// Why that is wrong.
        why: String,
        /// What to write instead, if it can be told.
        write_instead: Option<String>,
    },
}

impl Finding {
    /// Whether a strict reader refuses because of it.
    pub const fn is_wrong(&self) -> bool {
        matches!(self.verdict, Verdict::Wrong { .. })
    }

    /// Whether a person should hear of it: wrong or doubtful.
    pub const fn is_trouble(&self) -> bool {
        matches!(self.verdict, Verdict::Wrong { .. } | Verdict::Doubtful { .. })
    }

    /// The finding with the place it is in: `file:line:column: what, why` and a second line with the hint.
    pub const fn in_file<'a>(&'a self, file: &'a Path) -> InFile<'a> {
        InFile { finding: self, file }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = |f: &mut fmt::Formatter<'_>, hint: &Option<String>| match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        };
        match &self.verdict {
            Verdict::Accepted => write!(f, "{} accepted", self.key),
            Verdict::Ignored { why } if self.key.is_empty() => f.write_str(why),
            Verdict::Ignored { why } => write!(f, "{} ignored: {why}", self.key),
            Verdict::Doubtful { why, write_instead } => {
                write!(f, "{}: {why}", self.key)?;
                hint(f, write_instead)
            }
            Verdict::Wrong { found, why, write_instead } => {
                match (self.key.as_str(), found.as_str()) {
                    (key, "") => write!(f, "`{key}`: {why}")?,
                    ("", found) => write!(f, "`{found}`: {why}")?,
                    (key, found) => write!(f, "`{key} = {found}`: {why}")?,
                }
                hint(f, write_instead)
            }
        }
    }
}

/// A finding with its place in front. Made by [`Finding::in_file`].
#[derive(Debug)]
pub struct InFile<'a> {
    finding: &'a Finding,
    file: &'a Path,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.finding.line)?;
        if let Some(column) = self.finding.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.finding)
    }
}

/// A file with wrong lines, all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The file.
    pub file: PathBuf,
    /// Its wrong lines, at least one, from top to bottom.
    pub wrong: Vec<Finding>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.wrong.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", finding.in_file(&self.file))?;
        }
        Ok(())
    }
}

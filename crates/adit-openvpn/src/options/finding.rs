//! What is to be said of each line of a file: accepted, ignored, doubtful, or refused with what to write instead.
//!
//! Not here: why (`catalogue` and its neighbours), how it looks on a terminal (the command).

use std::fmt;

/// What is to be said of one line. Every line with an option has exactly one; comments and empty lines have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1; 0 for what is to be said of the file as a whole.
    pub line: usize,
    /// The character in the line where the trouble begins, from 1.
    pub column: Option<usize>,
    /// The option as the manual spells it, or the text that was found where an option should be.
    pub option: String,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What a line comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken as it stands.
    Accepted,
    /// It has no effect.
    Ignored {
        /// Because of this.
        why: String,
    },
    /// It takes effect, and is probably not what was meant, or deserves a look.
    Doubtful {
        /// Because of this.
        why: String,
        /// What was probably meant, if it can be told.
        write_instead: Option<String>,
    },
    /// It cannot be taken, and the file cannot be used as it stands.
    Refused {
        /// What stands there after the option; never a secret.
        found: String,
        /// Why.
        why: String,
        /// What to write instead, if it can be told.
        write_instead: Option<String>,
    },
}

impl Finding {
    /// Whether the file cannot be used because of it.
    pub const fn is_refused(&self) -> bool {
        matches!(self.verdict, Verdict::Refused { .. })
    }

    /// Whether a person should hear of it: refused or doubtful.
    pub const fn is_trouble(&self) -> bool {
        matches!(self.verdict, Verdict::Refused { .. } | Verdict::Doubtful { .. })
    }

    /// Something about the file as a whole that is doubtful.
    pub(super) fn whole_file_doubtful(why: &str, instead: &str) -> Self {
        let verdict = Verdict::Doubtful { why: why.to_owned(), write_instead: Some(instead.to_owned()) };
        Self { line: 0, column: None, option: String::new(), verdict }
    }

    /// Something about the file as a whole that makes it unusable.
    pub(super) fn whole_file_refused(why: &str, instead: &str) -> Self {
        let verdict =
            Verdict::Refused { found: String::new(), why: why.to_owned(), write_instead: Some(instead.to_owned()) };
        Self { line: 0, column: None, option: String::new(), verdict }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = |f: &mut fmt::Formatter<'_>, hint: &Option<String>| match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        };
        match &self.verdict {
            Verdict::Accepted => write!(f, "{} accepted", self.option),
            Verdict::Ignored { why } => write!(f, "{} ignored: {why}", self.option),
            Verdict::Doubtful { why, write_instead } => {
                match self.option.as_str() {
                    "" => f.write_str(why)?,
                    option => write!(f, "{option}: {why}")?,
                }
                hint(f, write_instead)
            }
            Verdict::Refused { found, why, write_instead } => {
                match (self.option.as_str(), found.as_str()) {
                    ("", "") => f.write_str(why)?,
                    (option, "") => write!(f, "`{option}`: {why}")?,
                    ("", found) => write!(f, "`{found}`: {why}")?,
                    (option, found) => write!(f, "`{option} {found}`: {why}")?,
                }
                hint(f, write_instead)
            }
        }
    }
}

/// Why a directive was not simply accepted or refused.
#[derive(Debug)]
pub(super) enum Said {
    /// Taken.
    Accepted,
    /// Without effect.
    Ignored(String),
    /// Taken, with a remark and what may be better.
    Doubtful(String, Option<String>),
}

/// Why a directive is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Which of its words, the option itself being 0.
    pub(super) word: usize,
    /// Why.
    pub(super) why: String,
    /// What to write instead.
    pub(super) instead: Option<String>,
}

/// What a reader of one directive says.
pub(super) type Outcome = Result<Said, Refusal>;

/// Refuses because of one word.
pub(super) fn refuse<T>(word: usize, why: impl Into<String>, instead: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { word, why: why.into(), instead: Some(instead.into()) })
}

/// Takes it with a remark.
pub(super) fn doubt(why: impl Into<String>, instead: impl Into<String>) -> Outcome {
    Ok(Said::Doubtful(why.into(), Some(instead.into())))
}

/// It has no effect.
pub(super) fn ignore(why: impl Into<String>) -> Outcome {
    Ok(Said::Ignored(why.into()))
}

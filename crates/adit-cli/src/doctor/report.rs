//! What `adit doctor --json` says: a stable schema (docs/spec/doctor.md), and what the human view is drawn from.
//!
//! Fields are only ever added. A changed meaning is a new [`SCHEMA`] number.

use serde::Serialize;

use super::fix::Fix;

/// The number of this schema.
pub(crate) const SCHEMA: u32 = 1;

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorReport {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The version of the command.
    pub(crate) version: String,
    /// How many checks found something wrong.
    pub(crate) wrong: usize,
    /// In the order of [`Check`]; one for each tunnel that it is about.
    pub(crate) checks: Vec<Checked>,
    /// What `--fix` did, or would do under `--dry-run`; empty without it.
    pub(crate) fixes: Vec<Fixed>,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// Changes that a killed run left.
    Leftovers,
    /// Files of tunnels.
    Profile,
    /// Whether a tunnel runs.
    Tunnel,
    /// Whether the server answers, over what it should be reached by.
    Port,
    /// Whether the clocks agree.
    Clock,
    /// Whether a server's machine forwards.
    Forwarding,
    /// Whether a server's own packet filter is there.
    Filter,
    /// Whether another program's packet filter is in the way.
    Firewall,
    /// Whether large packets get through the tunnel.
    Mtu,
    /// Whether names are asked outside of the tunnel.
    Dns,
    /// Whether certificates are good for a while.
    Certificate,
    /// Whether the browser that adit looks like is a current one.
    Fingerprint,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// Something to know, which is not wrong.
    Note,
    /// Something is wrong.
    Wrong,
    /// It could not be told.
    Unknown,
}

/// One check of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// What was checked.
    pub(crate) check: Check,
    /// The tunnel or file it is about; nothing for the machine as a whole.
    pub(crate) about: Option<String>,
    /// What came of it.
    pub(crate) verdict: Verdict,
    /// The same in a sentence.
    pub(crate) what: String,
    /// How that is known.
    pub(crate) known_by: Option<String>,
    /// What to do, a step each.
    pub(crate) advice: Vec<String>,
    /// What `--fix` does about it, if it may.
    pub(crate) fix: Option<Fix>,
}

/// What came of a fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fixed {
    /// Which.
    pub(crate) fix: Fix,
    /// Whether it was made; not under `--dry-run`.
    pub(crate) done: bool,
    /// What was changed, a sentence each, or what would be.
    pub(crate) changes: Vec<String>,
    /// Why it could not be made.
    pub(crate) failure: Option<String>,
}

impl DoctorReport {
    /// Of checks.
    pub(super) fn of(checks: Vec<Checked>) -> Self {
        let wrong = checks.iter().filter(|checked| checked.verdict == Verdict::Wrong).count();
        Self { schema: SCHEMA, version: env!("CARGO_PKG_VERSION").to_owned(), wrong, checks, fixes: Vec::new() }
    }

    /// Everything that may be mended, each once.
    pub(crate) fn proposed(&self) -> Vec<Fix> {
        let mut fixes: Vec<Fix> = self.checks.iter().filter_map(|checked| checked.fix.clone()).collect();
        fixes.sort();
        fixes.dedup();
        fixes
    }
}

impl Checked {
    fn new(check: Check, verdict: Verdict, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { check, about: None, verdict, what, known_by: None, advice: Vec::new(), fix: None }
    }

    /// Nothing is wrong.
    pub(super) fn sound(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Sound, what)
    }

    /// Something to know.
    pub(super) fn note(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Note, what)
    }

    /// Something is wrong.
    pub(super) fn wrong(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Wrong, what)
    }

    /// It could not be told.
    pub(super) fn unknown(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, what)
    }

    /// Of this tunnel or file.
    #[must_use]
    pub(super) fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    /// How it is known.
    #[must_use]
    pub(super) fn known_by(mut self, how: impl Into<String>) -> Self {
        self.known_by = Some(how.into());
        self
    }

    /// One more step.
    #[must_use]
    pub(super) fn advise(mut self, step: impl Into<String>) -> Self {
        self.advice.push(step.into());
        self
    }

    /// What `--fix` does about it.
    #[must_use]
    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// Something sound and something wrong, as in docs/spec/doctor.md.
#[cfg(test)]
pub(crate) fn example() -> DoctorReport {
    let sound = Checked::sound(Check::Port, "203.0.113.2:51820 answers over UDP").about("home");
    let wrong = Checked::wrong(Check::Forwarding, "this machine does not pass on what devices send to others")
        .about("home")
        .known_by("net.ipv4.ip_forward is 0")
        .advise("`sysctl -w net.ipv4.ip_forward=1`; look in /etc/sysctl.d who turned it off")
        .fixed_by(Fix::Mend { tunnel: "home".to_owned() });
    DoctorReport::of(vec![sound, wrong])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's example is what the code writes.
    #[test]
    fn the_documented_example_is_true() {
        let document = include_str!("../../../../docs/spec/doctor.md");
        let json = document.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let documented: serde_json::Value = serde_json::from_str(json).unwrap();
        let mut written = serde_json::to_value(example()).unwrap();
        written["version"] = documented["version"].clone();
        assert_eq!(written, documented);
    }

    #[test]
    fn what_is_proposed_twice_is_done_once() {
        let mut report = example();
        report.checks.push(report.checks[1].clone());
        assert_eq!(report.proposed().len(), 1);
    }
}

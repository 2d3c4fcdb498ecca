//! `adit doctor`: what is wrong with this machine's tunnels and its network, how that is known, and how to mend it.
//!
//! Looking and judging are apart: [`mod@look`] fills in what was [`seen`], the checks are a pure function of that, and [`fix`]
//! makes what they propose. Not here: how it looks (`render::doctor`).

mod check;
pub(crate) mod fix;
mod look;
pub(crate) mod report;
mod seen;

pub(crate) use self::look::look;
use self::report::DoctorReport;
pub(crate) use self::seen::Seen;

/// Every check, of what was seen.
pub(crate) fn judge(seen: &Seen) -> DoctorReport {
    DoctorReport::of(check::all(seen))
}

/// Whether there is a tunnel or profile of this name.
pub(crate) fn knows(seen: &Seen, name: &str) -> bool {
    !seen.tunnels.is_empty() || seen.kept.iter().any(|kept| kept.file.file_stem().is_some_and(|stem| stem == name))
}

//! Files of tunnels: can they be used, and does nobody else read their keys.

use super::super::fix::Fix;
use super::super::report::{Check, Checked};
use super::super::seen::{Kept, Seen};

/// Each file.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    seen.kept.iter().map(judge).collect()
}

fn judge(kept: &Kept) -> Checked {
    let file = kept.file.display().to_string();
    if let Some(failure) = &kept.failure {
        return Checked::wrong(Check::Profile, format!("{file} cannot be used"))
            .known_by(failure.as_str())
            .advise(format!("`adit check {file}` explains it line by line"))
            .about(file);
    }
    if kept.is_exposed {
        return Checked::wrong(Check::Profile, format!("everybody on this machine may read the private key in {file}"))
            .known_by("its permissions")
            .advise(format!("chmod 600 {file}"))
            .fixed_by(Fix::Protect { file: kept.file.clone() })
            .about(file);
    }
    Checked::sound(Check::Profile, format!("{file} can be used, and is not for everybody to read")).about(file)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn files_that_are_wrong_or_exposed_are_named() {
        let mut seen = scene::device();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.kept[0].is_exposed = true;
        let exposed = &check(&seen)[0];
        assert_eq!((exposed.verdict, exposed.fix.is_some()), (Verdict::Wrong, true));
        seen.kept[0].failure = Some("line 3: nonsense".into());
        let unusable = &check(&seen)[0];
        assert_eq!((unusable.verdict, unusable.fix.is_some()), (Verdict::Wrong, false));
    }
}

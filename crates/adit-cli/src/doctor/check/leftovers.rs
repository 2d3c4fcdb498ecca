//! Changes that a killed run left on this machine.

use super::super::fix::Fix;
use super::super::report::{Check, Checked};
use super::super::seen::Seen;

/// A daemon that runs has undone them when it started; one is about a daemon that is gone.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let Some(machine) = &seen.machine else {
        return vec![Checked::unknown(Check::Leftovers, "the kernel does not say what this machine is like")];
    };
    if machine.leftovers.is_empty() {
        return vec![Checked::sound(Check::Leftovers, "nothing is left of runs that were killed")];
    }
    let left = |name: &String| {
        let wrong =
            Checked::wrong(Check::Leftovers, format!("a killed run of {name} left its changes on this machine"))
                .about(name.as_str())
                .known_by(format!("the journal of {name} is not empty, and no process holds it"));
        if seen.daemon {
            // It knows nothing of them, so `adit down` would say that there is no such tunnel.
            return wrong
                .advise(format!("`adit up {name}` undoes them first; `adit down {name}` then leaves nothing"))
                .advise(
                    "or `systemctl restart adit`: a daemon undoes all of them when it starts, and its tunnels go down",
                );
        }
        wrong
            .advise(format!("`adit down {name}` undoes them; `adit up {name}` does so first, too"))
            .fixed_by(Fix::Recover)
    };
    machine.leftovers.iter().map(left).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_named_and_undone() {
        let mut seen = scene::device();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.machine.as_mut().unwrap().leftovers = vec!["home".into()];
        seen.daemon = false;
        let found = &check(&seen)[0];
        assert_eq!((found.verdict, found.about.as_deref()), (Verdict::Wrong, Some("home")));
        assert_eq!(found.fix, Some(Fix::Recover));
        assert!(found.advice[0].starts_with("`adit down home` undoes"), "{:?}", found.advice);
        seen.daemon = true;
        let found = &check(&seen)[0];
        assert_eq!(found.fix, None);
        assert!(found.advice[0].starts_with("`adit up home` undoes"), "a daemon that runs has no such tunnel to end");
        seen.machine = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
    }
}

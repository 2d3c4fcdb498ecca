//! Whether the browser that adit looks like is one that people still use.

use super::super::report::{Check, Checked};
use super::super::seen::Seen;
use super::days;

/// Once, if any profile looks like a browser.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let up = seen.tunnels.iter().filter_map(|tunnel| tunnel.profile.as_ref());
    let mut profiles = up.chain(seen.kept.iter().map(|kept| &kept.profile));
    if !profiles.any(|profile| profile.looks_like_a_browser) {
        return Vec::new();
    }
    let name = &seen.browser.name;
    vec![match seen.browser.expired {
        None => Checked::sound(Check::Fingerprint, format!("over HTTPS adit looks like a current browser ({name})")),
        Some(ago) => Checked::wrong(
            Check::Fingerprint,
            format!("over HTTPS adit looks like a browser that few still use ({name})"),
        )
        .known_by(format!("its looks were to be renewed {} ago, by this machine's clock", days(ago)))
        .advise("update adit: each version brings the looks of a current browser"),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn looks_that_are_out_of_date_are_named_where_they_are_used() {
        let mut seen = scene::device();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.browser.expired = Some(3);
        let found = &check(&seen)[0];
        assert_eq!(found.verdict, Verdict::Wrong);
        assert!(found.known_by.as_ref().unwrap().contains("3 days ago"));
        let mut server = scene::server();
        server.browser.expired = Some(3);
        assert!(check(&server).is_empty(), "a server does not look like a browser");
    }
}

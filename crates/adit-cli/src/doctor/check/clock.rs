//! Whether this machine's clock agrees with the servers'.
//!
//! A wrong clock makes good certificates look bad and one-time tokens stale; WireGuard itself only minds one that went back.

use std::time::{Duration, SystemTime};

use super::super::report::{Check, Checked};
use super::super::seen::{Seen, Tunnel};
use super::{days, days_between};

/// How far clocks may be apart: tokens in place of a browser's proof are good for a minute.
const APART: Duration = Duration::from_secs(60);

/// Against each server that said what time it is; and against what is certain without any.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    if seen.now < seen.browser.recorded {
        let early = days(days_between(seen.now, seen.browser.recorded));
        return vec![
            wrong(format!("this machine's clock is at least {early} behind"))
                .known_by("it is before the day on which this program was made"),
        ];
    }
    let checked: Vec<_> = seen.tunnels.iter().filter_map(|tunnel| judge(seen.now, tunnel)).collect();
    if checked.is_empty() {
        let nobody = Checked::unknown(Check::Clock, "nobody was asked what time it is")
            .known_by("only servers that are web sites say so, and none answered");
        return vec![nobody];
    }
    checked
}

fn judge(now: SystemTime, tunnel: &Tunnel) -> Option<Checked> {
    let site = tunnel.site.as_ref()?;
    let checked = if let Some((theirs, ours)) = site.clocks {
        let (apart, way) = match theirs.duration_since(ours) {
            Ok(behind) => (behind, "behind"),
            Err(ahead) => (ahead.duration(), "ahead of"),
        };
        if apart <= APART {
            Checked::sound(Check::Clock, format!("this machine's clock and that of {} agree", tunnel.name()))
        } else {
            wrong(format!("this machine's clock is {} {way} that of the server", spell(apart)))
                .known_by("the date that the server's web site says")
                .advise("if this machine's is right, the server's needs the same")
        }
    } else {
        let validity = site.certificate?;
        let early = validity.from.duration_since(now).ok().filter(|early| *early > APART)?;
        wrong(format!("this machine's clock is at least {} behind", spell(early)))
            .known_by("the server's certificate is of a time that is yet to come")
    };
    Some(checked.about(tunnel.name()))
}

fn wrong(what: String) -> Checked {
    Checked::wrong(Check::Clock, what)
        .advise("`timedatectl set-ntp true` sets it by the network; `timedatectl` shows whether that works")
}

fn spell(apart: Duration) -> String {
    match apart.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => days(seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    fn with_clocks(theirs: SystemTime, ours: SystemTime) -> Checked {
        let mut seen = scene::device();
        seen.tunnels[0].site.as_mut().unwrap().clocks = Some((theirs, ours));
        check(&seen).remove(0)
    }

    #[test]
    fn clocks_that_are_apart_are_named_with_by_how_much() {
        let now = scene::now();
        assert_eq!(with_clocks(now, now).verdict, Verdict::Sound);
        assert_eq!(with_clocks(now + APART, now).verdict, Verdict::Sound);
        let behind = with_clocks(now + Duration::from_secs(7_200), now);
        assert_eq!(behind.what, "this machine's clock is 2 hours behind that of the server");
        let ahead = with_clocks(now, now + Duration::from_secs(90));
        assert_eq!(ahead.what, "this machine's clock is 90 seconds ahead of that of the server");
        assert_eq!((ahead.verdict, ahead.fix), (Verdict::Wrong, None));
    }

    #[test]
    fn a_certificate_of_the_future_says_it_where_no_date_could_be_had() {
        let mut seen = scene::device();
        let site = seen.tunnels[0].site.as_mut().unwrap();
        site.clocks = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        let site = seen.tunnels[0].site.as_mut().unwrap();
        site.certificate.as_mut().unwrap().from = scene::now() + Duration::from_secs(3 * 86_400);
        assert_eq!(check(&seen)[0].what, "this machine's clock is at least 3 days behind");
    }

    #[test]
    fn a_clock_before_this_program_was_made_needs_no_server() {
        let mut seen = scene::server();
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        seen.now = seen.browser.recorded - Duration::from_secs(86_400);
        assert_eq!(check(&seen)[0].what, "this machine's clock is at least 1 day behind");
    }
}

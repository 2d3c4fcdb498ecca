//! Whether the certificates of web sites are good, and for a while yet: of this machine's, and of the servers'.

use std::time::SystemTime;

use adit::transport::client::{Looked, Trouble};
use adit::transport::tls::Validity;

use super::super::report::{Check, Checked};
use super::super::seen::{OwnCertificate, Seen, Tunnel};
use super::{days, days_between};

/// A certificate that ends within so many days is said to.
const SOON: u64 = 14;

/// Each web site.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let judge = |tunnel| own(seen.now, tunnel).or_else(|| shown(seen.now, tunnel)).map(|checked| (tunnel, checked));
    seen.tunnels.iter().filter_map(judge).map(|(tunnel, checked): (&Tunnel, _)| checked.about(tunnel.name())).collect()
}

/// The one that this machine shows.
fn own(now: SystemTime, tunnel: &Tunnel) -> Option<Checked> {
    let OwnCertificate { file, validity, renews } = tunnel.own_certificate.as_ref()?;
    let file = file.display();
    let Some(validity) = validity else {
        return Some(if *renews {
            Checked::wrong(Check::Certificate, "the web site has no certificate yet")
                .known_by(format!("there is none at {file}"))
                .advise(
                    "the daemon's log says why the authority gives none; the name must lead here, and port 443 be open",
                )
        } else {
            Checked::wrong(Check::Certificate, format!("the certificate in {file} cannot be read"))
                .advise("put a certificate in PEM there; it is read again by itself")
        });
    };
    let advice = if *renews {
        "adit renews it long before; the daemon's log says why that fails".to_owned()
    } else {
        format!("renew it where it comes from, and put it at {file}; it is read again by itself")
    };
    Some(judge(now, *validity, "the certificate of this machine's web site").known_by(file.to_string()).advise(advice))
}

/// The one that the server shows. One whose key alone counts may be as old as it likes.
fn shown(now: SystemTime, tunnel: &Tunnel) -> Option<Checked> {
    let site: &Looked = tunnel.site.as_ref()?;
    if tunnel.profile.as_ref().is_some_and(|profile| profile.only_pins) {
        let wrong_key = matches!(site.trouble, Some(Trouble::Untrusted(_)));
        let fits = || Checked::sound(Check::Certificate, "the server has the key that this device knows");
        return (!wrong_key && site.certificate.is_some()).then(fits);
    }
    let checked = judge(now, site.certificate?, "the server's certificate");
    Some(
        checked
            .known_by("what the server showed")
            .advise("its owner renews it: until then only UDP works once it has ended"),
    )
}

/// Says for how long; what it says of something sound needs no advice, so that is taken away in the end.
fn judge(now: SystemTime, Validity { from, until }: Validity, what: &str) -> Judged {
    let checked = if now > until {
        Checked::wrong(Check::Certificate, format!("{what} ended {} ago", days(days_between(until, now))))
    } else if now < from {
        Checked::wrong(Check::Certificate, format!("{what} is good only in {}", days(days_between(now, from))))
    } else {
        match days_between(now, until) {
            left @ 0..SOON => Checked::wrong(Check::Certificate, format!("{what} ends in {}", days(left))),
            left => {
                return Judged(Checked::sound(Check::Certificate, format!("{what} is good for {}", days(left))), false);
            }
        }
    };
    Judged(checked, true)
}

/// A judgement, and whether there is anything to do about it.
struct Judged(Checked, bool);

impl Judged {
    fn known_by(self, how: impl Into<String>) -> Self {
        Self(self.0.known_by(how), self.1)
    }

    fn advise(self, step: impl Into<String>) -> Checked {
        if self.1 { self.0.advise(step) } else { self.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_certificate_that_ends_soon_is_named_at_the_server() {
        let mut seen = scene::server();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        let own = seen.tunnels[0].own_certificate.as_mut().unwrap();
        own.validity.as_mut().unwrap().until = scene::now() + 3 * DAY;
        let found = &check(&seen)[0];
        assert_eq!(
            (found.verdict, found.what.as_str()),
            (Verdict::Wrong, "the certificate of this machine's web site ends in 3 days")
        );
        assert!(found.known_by.as_ref().unwrap().contains("chain.pem") && !found.advice.is_empty());
        seen.tunnels[0].own_certificate.as_mut().unwrap().validity = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Wrong);
    }

    #[test]
    fn and_at_a_device_that_visits_it() {
        let mut seen = scene::device();
        let sound = &check(&seen)[0];
        assert_eq!((sound.verdict, sound.advice.len()), (Verdict::Sound, 0));
        seen.tunnels[0].site.as_mut().unwrap().certificate.as_mut().unwrap().until = scene::now() - 2 * DAY;
        assert_eq!(check(&seen)[0].what, "the server's certificate ended 2 days ago");
        seen.tunnels[0].profile.as_mut().unwrap().only_pins = true;
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound, "its key is what counts");
    }
}

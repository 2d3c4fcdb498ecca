//! Whether large packets get through the tunnel, or vanish on the way without a word.

use super::super::report::{Check, Checked};
use super::super::seen::{Path, Role, Seen, Tunnel};

/// What every interface with IPv6 must carry (RFC 8200 §5).
const LEAST_V6: u16 = 1280;

/// Each device's tunnel through which packets were sent.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let devices = seen.tunnels.iter().filter(|tunnel| tunnel.role == Role::Device);
    devices.filter_map(|tunnel| Some(judge(tunnel, *tunnel.path.as_ref().ok()?).about(tunnel.name()))).collect()
}

fn judge(tunnel: &Tunnel, path: Path) -> Checked {
    let Path { to: Some(to), small, longest, mtu } = path else {
        return Checked::unknown(Check::Mtu, "nobody beyond the tunnel is known who could answer");
    };
    if !small {
        return Checked::unknown(Check::Mtu, format!("{to} does not answer through the tunnel, small packets neither"));
    }
    let Some(longest) = longest else {
        return Checked::unknown(Check::Mtu, "small packets get through the tunnel; long ones could not be sent");
    };
    if longest >= mtu {
        return Checked::sound(Check::Mtu, format!("packets of all lengths up to {mtu} bytes get through"));
    }
    let name = tunnel.name();
    let file = tunnel.report.file.as_ref().map_or_else(|| "the profile".to_owned(), |file| file.display().to_string());
    let checked = Checked::wrong(
        Check::Mtu,
        format!("packets of more than {longest} bytes vanish on the way; the tunnel lets up to {mtu} in"),
    )
    .known_by(format!("{to} answers small packets through the tunnel, and none of more than {longest} bytes"))
    .advise(format!("write `MTU = {longest}` under [Interface] in {file}, and `adit reload {name}`"));
    let has_v6 = tunnel.report.addresses.iter().any(|address| address.contains(':'));
    let checked = if has_v6 && longest < LEAST_V6 {
        checked.advise(format!("IPv6 needs {LEAST_V6}: take its addresses and networks out of the profile as well"))
    } else {
        checked
    };
    checked.advise("this is of the network between here and the server: from another one it may be different")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn packets_that_vanish_are_named_by_their_length() {
        let mut seen = scene::device();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.tunnels[0].path.as_mut().unwrap().longest = Some(1200);
        let found = &check(&seen)[0];
        assert_eq!(found.verdict, Verdict::Wrong);
        assert!(found.advice[0].contains("MTU = 1200") && found.advice[0].contains("/etc/adit/home.conf"));
        assert!(found.advice[1].contains("IPv6 needs 1280"), "{:?}", found.advice);
        seen.tunnels[0].path.as_mut().unwrap().longest = Some(1300);
        assert_eq!(check(&seen)[0].advice.len(), 2);
    }

    #[test]
    fn without_anybody_who_answers_nothing_is_claimed() {
        let mut seen = scene::device();
        seen.tunnels[0].path.as_mut().unwrap().small = false;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        seen.tunnels[0].path.as_mut().unwrap().to = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
        let mut seen = scene::device();
        seen.tunnels[0].path.as_mut().unwrap().longest = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
    }
}

//! Whether the packet filter of a network is there: another program that reloads its own often begins by removing all.

use adit_host::{Host, has_table};

use super::super::fix::Fix;
use super::super::report::{Check, Checked};
use super::super::seen::{Role, Seen, Tunnel};

/// Each network that is served here.
pub(super) fn check(seen: &Seen) -> Vec<Checked> {
    let networks = seen.tunnels.iter().filter(|tunnel| matches!(tunnel.role, Role::Network { .. }));
    networks.map(|tunnel| judge(seen, tunnel).about(tunnel.name())).collect()
}

fn judge(seen: &Seen, tunnel: &Tunnel) -> Checked {
    let Some(ruleset) = seen.machine.as_ref().and_then(|machine| machine.ruleset.as_ref()) else {
        return Checked::unknown(Check::Filter, "the rules of nftables cannot be read").advise("run it as root");
    };
    let table = Host::gateway_table(tunnel.name());
    if has_table(ruleset, &table) {
        return Checked::sound(Check::Filter, format!("the network's rules are there (nftables inet {table})"));
    }
    Checked::wrong(
        Check::Filter,
        format!("the rules of {} are gone: nobody is translated, and nobody is kept apart", tunnel.name()),
    )
    .known_by(format!("there is no table inet {table}"))
    .advise("another program removed them, for example `nft flush ruleset` in its start: have it remove only its own")
    .fixed_by(Fix::Mend { tunnel: tunnel.name().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::scene;
    use super::*;

    #[test]
    fn a_table_that_is_gone_is_named_and_made_again() {
        let mut seen = scene::server();
        assert_eq!(check(&seen)[0].verdict, Verdict::Sound);
        seen.machine.as_mut().unwrap().ruleset = Some(r#"{"nftables":[]}"#.into());
        let found = &check(&seen)[0];
        assert_eq!((found.verdict, found.fix.is_some()), (Verdict::Wrong, true));
        seen.machine.as_mut().unwrap().ruleset = None;
        assert_eq!(check(&seen)[0].verdict, Verdict::Unknown);
    }
}

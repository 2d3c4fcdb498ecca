//! Decisions about the network as a whole, and its policy.

use super::{Decision, NetworkChange, Outcome, Refusal, network};
use crate::model::{Change, Model};
use crate::network::Network;
use crate::policy::Policy;

pub(super) fn create(model: &Model, network: Network) -> Result<Decision, Refusal> {
    if let Some(network) = &model.network {
        return Err(Refusal::NetworkExists(network.name.clone()));
    }
    network.check().map_err(Refusal::Network)?;
    Ok(Decision {
        what: format!("made the network `{}` with {} and {}", network.name, network.v4, network.v6),
        changes: vec![Change::SetNetwork(network), Change::SetPolicy(Policy::default())],
        outcome: Outcome::Network,
        verb: "network.create",
    })
}

pub(super) fn change(model: &Model, change: NetworkChange) -> Result<Decision, Refusal> {
    let old = network(model)?;
    let new = Network {
        name: change.name.unwrap_or_else(|| old.name.clone()),
        hosts: change.hosts.unwrap_or_else(|| old.hosts.clone()),
        port: change.port.unwrap_or(old.port),
        web: change.web.unwrap_or_else(|| old.web.clone()),
        v4: change.v4.unwrap_or(old.v4),
        v6: old.v6,
        dns: change.dns.unwrap_or_else(|| old.dns.clone()),
        key: old.key,
    };
    new.check().map_err(Refusal::Network)?;
    keeps_addresses(model, old, &new)?;
    let parts = [
        (new.name != old.name, format!("name {}", new.name)),
        (new.hosts != old.hosts, format!("hosts {:?}", new.hosts)),
        (new.port != old.port, format!("port {}", new.port)),
        (new.web != old.web, new.web.as_ref().map_or("no web server".to_owned(), |web| format!("web {}", web.host))),
        (new.v4 != old.v4, format!("range {}", new.v4)),
        (new.dns != old.dns, format!("name servers {:?}", new.dns)),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect();
    let changes = if parts.is_empty() { Vec::new() } else { vec![Change::SetNetwork(new)] };
    let what = format!("changed the network: {}", parts.join(", "));
    Ok(Decision { changes, outcome: Outcome::Network, verb: "network.change", what })
}

/// Devices have their addresses in files that this server cannot change.
fn keeps_addresses(model: &Model, old: &Network, new: &Network) -> Result<(), Refusal> {
    if new.v4 == old.v4 || model.peers.is_empty() {
        return Ok(());
    }
    let fits = |number: Option<u32>, old: Option<u32>| number == old && number.is_some_and(|n| n <= new.last_host());
    let moved = model.peers.values().find(|peer| !fits(new.number_v4(peer.v4), old.number_v4(peer.v4)));
    moved.map_or(Ok(()), |peer| Err(Refusal::RangeInUse { range: new.v4, peer: peer.name.clone() }))
}

pub(super) fn set_policy(model: &Model, policy: Policy) -> Result<Decision, Refusal> {
    network(model)?;
    if !policy.is_within_bounds() {
        return Err(Refusal::PolicyTooLarge);
    }
    if let Some(stranger) = policy.strangers(model).first() {
        return Err(Refusal::PolicyStranger(*stranger));
    }
    let diff = model.policy.diff(&policy);
    let what = format!("changed the policy: {} rules more, {} less", diff.added.len(), diff.removed.len());
    let changes = if policy == model.policy { Vec::new() } else { vec![Change::SetPolicy(policy)] };
    Ok(Decision { changes, outcome: Outcome::Policy, verb: "policy.set", what })
}

#[cfg(test)]
mod tests {
    use super::super::{Command, decide};
    use super::*;
    use crate::fixture::{NOW, home, name, network};
    use crate::peer::PeerId;
    use crate::policy::{Rule, Target, Who};

    fn refused(model: &Model, command: Command) -> Refusal {
        decide(model, command, NOW).unwrap_err()
    }

    #[test]
    fn a_network_is_made_once() {
        let decision = decide(&Model::default(), Command::CreateNetwork(network()), NOW).unwrap();
        assert_eq!(decision.changes[0], Change::SetNetwork(network()));
        assert_eq!(refused(&home(), Command::CreateNetwork(network())), Refusal::NetworkExists(name("home")));
    }

    #[test]
    fn nothing_is_done_without_a_network() {
        let commands = [Command::ChangeNetwork(NetworkChange::default()), Command::SetPolicy(Policy::default())];
        for command in commands {
            assert_eq!(refused(&Model::default(), command), Refusal::NoNetwork);
        }
    }

    #[test]
    fn a_range_may_grow_around_its_devices_and_not_leave_them() {
        let to = |range: &str| {
            let v4 = Some(range.parse().unwrap());
            decide(&home(), Command::ChangeNetwork(NetworkChange { v4, ..NetworkChange::default() }), NOW)
        };
        assert_eq!(to("10.77.0.0/16").unwrap().what, "changed the network: range 10.77.0.0/16");
        assert!(matches!(to("10.78.0.0/24"), Err(Refusal::RangeInUse { .. })));
        assert!(matches!(to("10.64.0.0/10"), Err(Refusal::RangeInUse { .. })), "the server would be another address");
        assert!(matches!(to("10.77.0.0/30"), Err(Refusal::RangeInUse { .. })));
        assert!(matches!(to("8.0.0.0/8"), Err(Refusal::Network(_))));
    }

    #[test]
    fn a_change_to_what_is_already_so_changes_nothing() {
        let change = NetworkChange { port: Some(network().port), ..NetworkChange::default() };
        assert_eq!(decide(&home(), Command::ChangeNetwork(change), NOW).unwrap().changes, []);
        assert_eq!(decide(&home(), Command::SetPolicy(Policy::default()), NOW).unwrap().changes, []);
    }

    #[test]
    fn a_policy_speaks_of_devices_that_are_there_and_has_bounds() {
        let mut policy = Policy::default();
        policy.rules[0].from.insert(Who::Peer(PeerId(99)));
        assert_eq!(refused(&home(), Command::SetPolicy(policy)), Refusal::PolicyStranger(PeerId(99)));
        let rule = Policy::default().rules[0].clone();
        let many = Policy { rules: vec![rule.clone(); crate::policy::MAX_RULES + 1] };
        assert_eq!(refused(&home(), Command::SetPolicy(many)), Refusal::PolicyTooLarge);
        let target = |port| Target {
            ports: Some(crate::policy::Ports { protocol: None, first: port, last: port }),
            ..rule.to.first().unwrap().clone()
        };
        let wide = Rule { to: (1..=201).map(target).collect(), ..rule.clone() };
        assert_eq!(refused(&home(), Command::SetPolicy(Policy { rules: vec![wide] })), Refusal::PolicyTooLarge);
    }
}

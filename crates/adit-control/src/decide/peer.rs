//! Decisions about devices that are in, and the admission of plain WireGuard apps.

use std::collections::BTreeSet;

use super::{App, Decision, Keys, Limits, NewPeer, Outcome, Refusal, keys_are_free, network};
use crate::address;
use crate::model::{Change, MAX_PEERS, Model};
use crate::name::Name;
use crate::peer::{Kind, MAX_GROUPS, Peer, PeerId, Rate};
use crate::time::UnixTime;

/// A device of no invite, with the next number and the next addresses.
pub(super) fn admit(model: &Model, name: Name, keys: Keys, now: UnixTime) -> Result<Peer, Refusal> {
    let network = network(model)?;
    if model.peers.len() >= MAX_PEERS {
        return Err(Refusal::TooManyPeers);
    }
    let (v4, v6) = address::lowest_free(network, model.peers.values()).ok_or(Refusal::Full(network.v4))?;
    Ok(Peer {
        id: PeerId(model.next_id),
        name,
        kind: if keys.https_key.is_some() { Kind::Adit } else { Kind::WireGuard },
        key: keys.key,
        https_key: keys.https_key,
        v4,
        v6,
        groups: BTreeSet::new(),
        enabled: true,
        expires: None,
        quota: None,
        rate: Rate::default(),
        created: now,
        invite: None,
    })
}

pub(super) fn add(model: &Model, new: NewPeer, now: UnixTime) -> Result<Decision, Refusal> {
    let keys = Keys { key: new.key, https_key: None };
    name_is_free(model, &new.name, None)?;
    groups_fit(&new.groups)?;
    keys_are_free(model, keys, None)?;
    let (kind, called) = match new.app {
        App::WireGuard => (Kind::WireGuard, "a plain WireGuard app"),
        App::OpenVpn => (Kind::OpenVpn, "an OpenVPN client"),
    };
    let peer = Peer { kind, groups: new.groups, expires: new.expires, ..admit(model, new.name, keys, now)? };
    let what = format!("admitted `{}` as {called} with {}", peer.name, peer.v4);
    Ok(put(peer, "peer.add", what))
}

pub(super) fn rename(model: &Model, id: PeerId, name: Name) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    name_is_free(model, &name, Some(id))?;
    let what = format!("renamed `{}` to `{name}`", old.name);
    Ok(becomes(old, Peer { name, ..old.clone() }, "peer.rename", what))
}

pub(super) fn limit(model: &Model, id: PeerId, limits: Limits) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    let new = Peer { quota: limits.quota.unwrap_or(old.quota), rate: limits.rate.unwrap_or(old.rate), ..old.clone() };
    if [new.rate.down, new.rate.up, new.quota.map(|quota| quota.bytes)].contains(&Some(0)) {
        return Err(Refusal::ZeroLimit(old.name.clone()));
    }
    let shown = |limit: Option<u64>| limit.map_or("any".to_owned(), |limit| limit.to_string());
    let quota = new.quota.map_or("no quota".to_owned(), |quota| {
        format!("{} bytes per {:?}, then {:?}", quota.bytes, quota.per, quota.action).to_lowercase()
    });
    let rate = format!("{} bit/s down, {} bit/s up", shown(new.rate.down), shown(new.rate.up));
    let what = format!("limited `{}`: {quota}; {rate}", old.name);
    Ok(becomes(old, new, "peer.limit", what))
}

pub(super) fn expire(model: &Model, id: PeerId, at: Option<UnixTime>) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    let what = match at {
        Some(at) => format!("let `{}` expire at {at}", old.name),
        None => format!("let `{}` never expire", old.name),
    };
    Ok(becomes(old, Peer { expires: at, ..old.clone() }, "peer.expire", what))
}

pub(super) fn switch(model: &Model, id: PeerId, enabled: bool) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    let (verb, done) = if enabled { ("peer.enable", "enabled") } else { ("peer.disable", "disabled") };
    Ok(becomes(old, Peer { enabled, ..old.clone() }, verb, format!("{done} `{}`", old.name)))
}

pub(super) fn rotate(model: &Model, id: PeerId, keys: Keys) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    if keys.https_key.is_some() != (old.kind == Kind::Adit) {
        return Err(Refusal::WrongKeys(old.name.clone()));
    }
    keys_are_free(model, keys, Some(id))?;
    let what = format!("gave `{}` the key {} in place of {}", old.name, keys.key, old.key);
    Ok(becomes(old, Peer { key: keys.key, https_key: keys.https_key, ..old.clone() }, "peer.rotate", what))
}

pub(super) fn remove(model: &Model, id: PeerId) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    let mut changes: Vec<_> = model.policy.without(id).map(Change::SetPolicy).into_iter().collect();
    changes.push(Change::RemovePeer(id));
    let what = format!("removed `{}` with the key {}", old.name, old.key);
    Ok(Decision { changes, outcome: Outcome::Peer(id), verb: "peer.remove", what })
}

pub(super) fn set_groups(model: &Model, id: PeerId, groups: BTreeSet<Name>) -> Result<Decision, Refusal> {
    let old = known(model, id)?;
    groups_fit(&groups)?;
    let named: Vec<_> = groups.iter().map(Name::as_str).collect();
    let what = format!("put `{}` into the groups {named:?}", old.name);
    Ok(becomes(old, Peer { groups, ..old.clone() }, "peer.groups", what))
}

pub(super) fn groups_fit(groups: &BTreeSet<Name>) -> Result<(), Refusal> {
    if groups.len() <= MAX_GROUPS { Ok(()) } else { Err(Refusal::TooManyGroups(groups.len())) }
}

fn known(model: &Model, id: PeerId) -> Result<&Peer, Refusal> {
    network(model)?;
    model.peers.get(&id).ok_or(Refusal::UnknownPeer(id))
}

fn name_is_free(model: &Model, name: &Name, but: Option<PeerId>) -> Result<(), Refusal> {
    let folded = name.folded();
    let other = model.peers.values().find(|peer| Some(peer.id) != but && peer.name.folded() == folded);
    other.map_or(Ok(()), |other| Err(Refusal::NameTaken(other.name.clone())))
}

fn becomes(old: &Peer, new: Peer, verb: &'static str, what: String) -> Decision {
    if *old == new {
        return Decision { changes: Vec::new(), outcome: Outcome::Peer(old.id), verb, what };
    }
    put(new, verb, what)
}

fn put(peer: Peer, verb: &'static str, what: String) -> Decision {
    Decision { outcome: Outcome::Peer(peer.id), changes: vec![Change::PutPeer(peer)], verb, what }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, decide};
    use super::*;
    use crate::fixture::{NOW, home, https_key, key, name};
    use crate::peer::{OverQuota, Period, Quota};
    use crate::policy::Policy;

    const PHONE: PeerId = PeerId(3);

    fn after(command: Command) -> Result<Model, Refusal> {
        let mut model = home();
        for change in decide(&model, command, NOW)?.changes {
            model.apply(&change);
        }
        assert_eq!(model.contradictions(), Vec::<String>::new());
        Ok(model)
    }

    fn new_peer(called: &str, number: u64) -> Command {
        let groups = BTreeSet::from([name("guests")]);
        Command::AddPeer(NewPeer { name: name(called), app: App::WireGuard, key: key(number), groups, expires: None })
    }

    #[test]
    fn a_plain_app_is_admitted_with_the_next_number_and_address() {
        let model = after(new_peer("tablet", 50)).unwrap();
        let tablet = model.find_peer("tablet").unwrap();
        assert_eq!((tablet.id, tablet.kind, tablet.v4.to_string()), (PeerId(4), Kind::WireGuard, "10.77.0.5".into()));
        assert_eq!(after(new_peer("PHONE", 50)), Err(Refusal::NameTaken(name("phone"))));
        assert!(matches!(after(new_peer("tablet", 3)), Err(Refusal::KeyInUse { holder }) if holder.contains("phone")));
        let empty = adit_wireguard::PublicKey::new([0; 32]);
        let add = NewPeer { name: name("x"), app: App::WireGuard, key: empty, groups: [].into(), expires: None };
        assert_eq!(after(Command::AddPeer(add)), Err(Refusal::EmptyKey));
    }

    #[test]
    fn an_openvpn_client_is_admitted_by_its_certificate_and_keeps_what_it_speaks() {
        let add = |called: &str, number| NewPeer {
            name: name(called),
            app: App::OpenVpn,
            key: key(number),
            groups: [].into(),
            expires: None,
        };
        let decision = decide(&home(), Command::AddPeer(add("tv", 50)), NOW).unwrap();
        assert_eq!(decision.what, "admitted `tv` as an OpenVPN client with 10.77.0.5");
        let mut model = after(Command::AddPeer(add("tv", 50))).unwrap();
        let tv = model.find_peer("tv").unwrap().id;
        assert_eq!(model.peers[&tv].kind, Kind::OpenVpn);
        for change in decide(&model, Command::Rotate(tv, Keys { key: key(60), https_key: None }), NOW).unwrap().changes
        {
            model.apply(&change);
        }
        assert_eq!((model.peers[&tv].kind, model.peers[&tv].key), (Kind::OpenVpn, key(60)));
        assert!(matches!(after(Command::AddPeer(add("tv", 3))), Err(Refusal::KeyInUse { .. })));
    }

    #[test]
    fn a_device_is_renamed_even_if_only_the_case_changes() {
        assert!(after(Command::Rename(PHONE, name("Phone"))).is_ok());
        assert_eq!(after(Command::Rename(PHONE, name("NAS"))), Err(Refusal::NameTaken(name("nas"))));
        assert_eq!(after(Command::Rename(PeerId(77), name("x"))), Err(Refusal::UnknownPeer(PeerId(77))));
    }

    #[test]
    fn limits_change_what_they_name_and_leave_the_rest() {
        let quota = Quota { bytes: 1 << 30, per: Period::Month, action: OverQuota::Slow };
        let limits = Limits { quota: Some(Some(quota)), rate: None };
        assert_eq!(after(Command::Limit(PHONE, limits)).unwrap().peers[&PHONE].quota, Some(quota));
        let what = decide(&home(), Command::Limit(PHONE, limits), NOW).unwrap().what;
        assert_eq!(what, "limited `phone`: 1073741824 bytes per month, then slow; any bit/s down, any bit/s up");
        let zero = Limits { quota: None, rate: Some(Rate { down: Some(0), up: None }) };
        assert_eq!(after(Command::Limit(PHONE, zero)), Err(Refusal::ZeroLimit(name("phone"))));
    }

    #[test]
    fn a_device_is_switched_off_and_on_and_the_second_time_changes_nothing() {
        let off = after(Command::Disable(PHONE)).unwrap();
        assert!(!off.peers[&PHONE].enabled);
        assert_eq!(decide(&off, Command::Disable(PHONE), NOW).unwrap().changes, []);
        assert!(!decide(&off, Command::Enable(PHONE), NOW).unwrap().changes.is_empty());
    }

    #[test]
    fn a_key_is_changed_for_one_that_nobody_has() {
        let keys = |number| Keys { key: key(number), https_key: Some(https_key(number)) };
        assert_eq!(after(Command::Rotate(PHONE, keys(60))).unwrap().peers[&PHONE].key, key(60));
        assert!(matches!(after(Command::Rotate(PHONE, keys(1))), Err(Refusal::KeyInUse { .. })));
        let plain = Keys { https_key: None, ..keys(60) };
        assert_eq!(after(Command::Rotate(PHONE, plain)), Err(Refusal::WrongKeys(name("phone"))));
    }

    #[test]
    fn whoever_takes_the_name_of_a_removed_device_does_not_get_its_rights() {
        let mut model = home();
        let text = "[[policy]]\nfrom = 'host:phone'\nto = 'all'\n";
        let policy = Policy::parse(text, &model).unwrap();
        model.policy = policy;
        for change in decide(&model, Command::Remove(PHONE), NOW).unwrap().changes {
            model.apply(&change);
        }
        assert_eq!(model.policy.rules, []);
        assert_eq!(model.contradictions(), Vec::<String>::new());
    }

    #[test]
    fn groups_have_a_bound() {
        let groups: BTreeSet<_> = (0..=MAX_GROUPS).map(|n| name(&format!("g{n}"))).collect();
        assert_eq!(after(Command::SetGroups(PHONE, groups)), Err(Refusal::TooManyGroups(MAX_GROUPS + 1)));
        let one = BTreeSet::from([name("work")]);
        assert_eq!(after(Command::SetGroups(PHONE, one.clone())).unwrap().peers[&PHONE].groups, one);
    }
}

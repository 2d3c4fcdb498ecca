//! Decisions about invites: making, redeeming, taking back, and forgetting what has been closed for long.

use super::peer::{admit, groups_fit};
use super::{Decision, Keys, NewInvite, Outcome, Redeem, Refusal, Token, keys_are_free, network};
use crate::invite::{
    Invite, InviteId, InviteState, MAX_CLOSED_INVITES, MAX_OPEN, MAX_OPEN_INVITES, MAX_USES, Redemption,
};
use crate::model::{Change, Model};
use crate::name::Name;
use crate::peer::Peer;
use crate::time::UnixTime;

pub(super) fn create(model: &Model, new: NewInvite, now: UnixTime) -> Result<Decision, Refusal> {
    let network = network(model)?;
    groups_fit(&new.groups)?;
    if !(1..=MAX_USES).contains(&new.uses) {
        return Err(Refusal::Uses(new.uses));
    }
    if new.expires <= now || new.expires > now.after(MAX_OPEN) {
        return Err(Refusal::Expires(new.expires));
    }
    // A number small enough for a device would be a device's address, sooner or later.
    let is_apart = network.v6.contains(&new.address) && network.number_v6(new.address).is_none();
    if !is_apart || model.invite_at(new.address).is_some() {
        return Err(Refusal::InviteAddress);
    }
    keys_are_free(model, Keys { key: new.key, https_key: Some(new.https_key) }, None)?;
    let open = model.invites.values().filter(|invite| invite.state(now) == InviteState::Open);
    if open.count() >= MAX_OPEN_INVITES {
        return Err(Refusal::TooManyInvites);
    }
    let invite = Invite {
        id: InviteId(model.next_id),
        name: new.name,
        key: new.key,
        https_key: new.https_key,
        address: new.address,
        groups: new.groups,
        uses: new.uses,
        created: now,
        expires: new.expires,
        revoked: None,
        redeemed: Vec::new(),
    };
    let name = invite.name.as_ref().map_or(String::new(), |name| format!(" for `{name}`"));
    let devices = if invite.uses == 1 { "one device".to_owned() } else { format!("{} devices", invite.uses) };
    let what = format!("made invite {}{name}: {devices}, until {}", invite.id, invite.expires);
    let outcome = Outcome::Invite(invite.id);
    let mut changes: Vec<_> = forgotten(model, now).into_iter().map(Change::RemoveInvite).collect();
    changes.push(Change::PutInvite(invite));
    Ok(Decision { changes, outcome, verb: "invite.create", what })
}

/// Invites that are closed so long, or are so many, that the oldest need not answer any more.
fn forgotten(model: &Model, now: UnixTime) -> Vec<InviteId> {
    let closed = |invite: &Invite| invite.closed_since(now).map(|since| (since, invite.id));
    let mut closed: Vec<_> = model.invites.values().filter_map(closed).collect();
    closed.sort_unstable();
    let too_many = closed.len().saturating_sub(MAX_CLOSED_INVITES);
    let is_old = |id: &InviteId| model.invites.get(id).is_some_and(|invite| invite.is_forgotten(now));
    let aged = closed.iter().enumerate().filter(|(place, (_, id))| *place < too_many || is_old(id));
    aged.map(|(_, (_, id))| *id).collect()
}

pub(super) fn revoke(model: &Model, id: InviteId, now: UnixTime) -> Result<Decision, Refusal> {
    network(model)?;
    let invite = model.invites.get(&id).ok_or(Refusal::UnknownInvite(id))?;
    let changes = match invite.revoked {
        Some(_) => Vec::new(),
        None => vec![Change::PutInvite(Invite { revoked: Some(now), ..invite.clone() })],
    };
    Ok(Decision {
        changes,
        outcome: Outcome::Invite(id),
        verb: "invite.revoke",
        what: format!("took invite {id} back"),
    })
}

pub(super) fn redeem(model: &Model, request: Redeem, now: UnixTime) -> Result<Decision, Refusal> {
    network(model)?;
    let invite = match request.by {
        Token::Address(address) => model.invite_at(address),
        Token::Key(key) => model.invites.values().find(|invite| invite.key.as_bytes() == key.as_bytes()),
    };
    let invite = invite.ok_or(Refusal::InviteUnknown)?;
    if let Some(peer) = came_before(model, invite, &request) {
        let what = format!("`{}` asked again for what invite {} gave it", peer.name, invite.id);
        let outcome = Outcome::Redeemed { peer: peer.id, again: true };
        return Ok(Decision { changes: Vec::new(), outcome, verb: "invite.redeem", what });
    }
    match (invite.state(now), invite.revoked) {
        (InviteState::Open, _) => {}
        (InviteState::Used, _) => return Err(Refusal::InviteUsed { uses: invite.uses }),
        (InviteState::Expired, _) => return Err(Refusal::InviteExpired(invite.expires)),
        (InviteState::Revoked, at) => return Err(Refusal::InviteRevoked(at.unwrap_or(now))),
    }
    let keys = Keys { key: request.key, https_key: Some(request.https_key) };
    keys_are_free(model, keys, None)?;
    let wished = invite.name.clone().or(request.wish).unwrap_or_else(|| Name::wished(""));
    let peer = admit(model, model.free_name(&wished), keys, now)?;
    let peer = Peer { groups: invite.groups.clone(), invite: Some(invite.id), ..peer };
    let mut redeemed = invite.redeemed.clone();
    redeemed.push(Redemption { peer: peer.id, key: peer.key, at: now });
    let what = format!("admitted `{}` by invite {} with {}", peer.name, invite.id, peer.v4);
    let outcome = Outcome::Redeemed { peer: peer.id, again: false };
    let changes = vec![Change::PutPeer(peer), Change::PutInvite(Invite { redeemed, ..invite.clone() })];
    Ok(Decision { changes, outcome, verb: "invite.redeem", what })
}

/// The device that came by this invite with this very key, and still has it: the answer it got was lost.
fn came_before<'a>(model: &'a Model, invite: &Invite, request: &Redeem) -> Option<&'a Peer> {
    let is_same = |redemption: &&Redemption| redemption.key.as_bytes() == request.key.as_bytes();
    let peer = model.peers.get(&invite.redeemed.iter().rfind(is_same)?.peer)?;
    let has_keys = peer.key.as_bytes() == request.key.as_bytes() && peer.https_key == Some(request.https_key);
    has_keys.then_some(peer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{Command, decide};
    use super::*;
    use crate::fixture::{HOUR, NOW, home, https_key, invite, key, name};
    use crate::peer::PeerId;

    fn new_invite(number: u64) -> NewInvite {
        let Invite { name, key, https_key, address, groups, uses, expires, .. } = invite(number);
        NewInvite { name, key, https_key, address, expires, uses, groups }
    }

    fn request(invite_number: u64, device: u64) -> Redeem {
        let by = Token::Address(invite(invite_number).address);
        Redeem { by, key: key(device), https_key: https_key(device), wish: Some(name("tablet")) }
    }

    fn act(model: &mut Model, command: Command, now: UnixTime) -> Result<Outcome, Refusal> {
        let decision = decide(model, command, now)?;
        decision.changes.iter().for_each(|change| model.apply(change));
        assert_eq!(model.contradictions(), Vec::<String>::new());
        Ok(decision.outcome)
    }

    fn with_invite(new: NewInvite) -> Model {
        let mut model = home();
        act(&mut model, Command::CreateInvite(new), NOW).unwrap();
        model
    }

    #[test]
    fn an_invite_admits_a_device_under_the_name_it_was_made_for() {
        let groups = [name("family")].into();
        let mut model = with_invite(NewInvite { name: Some(name("Phone")), groups, ..new_invite(1) });
        let outcome = act(&mut model, Command::Redeem(request(1, 70)), NOW).unwrap();
        assert_eq!(outcome, Outcome::Redeemed { peer: PeerId(5), again: false });
        let peer = &model.peers[&PeerId(5)];
        assert_eq!((peer.name.as_str(), peer.v4.to_string().as_str()), ("Phone-2", "10.77.0.5"));
        assert_eq!((peer.invite, peer.groups.len()), (Some(InviteId(4)), 1));
        assert_eq!(model.invites[&InviteId(4)].redeemed[0].peer, PeerId(5));
    }

    #[test]
    fn the_same_device_gets_the_same_answer_and_costs_nothing_more() {
        let mut model = with_invite(new_invite(1));
        act(&mut model, Command::Redeem(request(1, 70)), NOW).unwrap();
        let before = model.clone();
        let by_key = Redeem { by: Token::Key(invite(1).key), ..request(1, 70) };
        for again in [request(1, 70), by_key] {
            let later = NOW.after(Duration::from_secs(48 * HOUR));
            let outcome = act(&mut model, Command::Redeem(again), later).unwrap();
            assert_eq!(outcome, Outcome::Redeemed { peer: PeerId(5), again: true });
        }
        assert_eq!(model, before);
    }

    #[test]
    fn a_closed_invite_says_which_it_is() {
        let refusal = |model: &Model, redeem, now| decide(model, Command::Redeem(redeem), now).unwrap_err();
        let model = with_invite(new_invite(1));
        assert_eq!(refusal(&model, request(2, 70), NOW), Refusal::InviteUnknown);
        let end = invite(1).expires;
        assert_eq!(refusal(&model, request(1, 70), end), Refusal::InviteExpired(end));
        let mut used = model.clone();
        act(&mut used, Command::Redeem(request(1, 70)), NOW).unwrap();
        assert_eq!(refusal(&used, request(1, 71), NOW), Refusal::InviteUsed { uses: 1 });
        let mut revoked = model;
        act(&mut revoked, Command::RevokeInvite(InviteId(4)), NOW).unwrap();
        assert_eq!(refusal(&revoked, request(1, 70), NOW), Refusal::InviteRevoked(NOW));
        for error in [Refusal::InviteUnknown, Refusal::InviteExpired(end), Refusal::InviteUsed { uses: 1 }] {
            assert!(error.to_string().contains("hint: "));
        }
    }

    #[test]
    fn a_device_cannot_come_with_the_key_of_another() {
        let mut model = with_invite(new_invite(1));
        for number in [1, 2, 1 << 32 | 1] {
            let stolen = act(&mut model, Command::Redeem(request(1, number)), NOW);
            assert!(matches!(stolen, Err(Refusal::KeyInUse { .. })), "{number}");
        }
        let stolen = Redeem { key: key(70), ..request(1, 2) };
        assert!(matches!(act(&mut model, Command::Redeem(stolen), NOW), Err(Refusal::KeyInUse { .. })));
    }

    #[test]
    fn a_device_that_was_removed_needs_another_invite() {
        let mut model = with_invite(new_invite(1));
        act(&mut model, Command::Redeem(request(1, 70)), NOW).unwrap();
        act(&mut model, Command::Remove(PeerId(5)), NOW).unwrap();
        assert_eq!(act(&mut model, Command::Redeem(request(1, 70)), NOW), Err(Refusal::InviteUsed { uses: 1 }));
    }

    #[test]
    fn what_cannot_be_an_invite_is_refused() {
        let refused = |new| decide(&home(), Command::CreateInvite(new), NOW).unwrap_err();
        assert_eq!(refused(NewInvite { uses: 0, ..new_invite(1) }), Refusal::Uses(0));
        assert_eq!(refused(NewInvite { uses: MAX_USES + 1, ..new_invite(1) }), Refusal::Uses(MAX_USES + 1));
        assert_eq!(refused(NewInvite { expires: NOW, ..new_invite(1) }), Refusal::Expires(NOW));
        let never = UnixTime(u64::MAX);
        assert_eq!(refused(NewInvite { expires: never, ..new_invite(1) }), Refusal::Expires(never));
        for address in ["fd7a:91c2:77:1::9", "fd7a:91c2:77:1::1", "fd00::8000:0:0:1"] {
            assert_eq!(
                refused(NewInvite { address: address.parse().unwrap(), ..new_invite(1) }),
                Refusal::InviteAddress
            );
        }
        let twice = NewInvite { address: invite(1).address, ..new_invite(2) };
        assert_eq!(decide(&with_invite(new_invite(1)), Command::CreateInvite(twice), NOW), Err(Refusal::InviteAddress));
    }

    #[test]
    fn open_and_closed_invites_have_a_bound() {
        let mut model = home();
        let bound = MAX_OPEN_INVITES as u64;
        model.invites = (1..=bound).map(|id| (InviteId(id), invite(id))).collect();
        model.next_id = bound + 1;
        let one_more = Command::CreateInvite(new_invite(bound + 1));
        assert_eq!(decide(&model, one_more, NOW), Err(Refusal::TooManyInvites));
        // All of them expire, and a few more were revoked before: the oldest give way.
        let revoked = |id| Invite { revoked: Some(NOW), ..invite(id) };
        model.invites.extend((bound + 10..bound + 15).map(|id| (InviteId(id), revoked(id))));
        model.next_id = bound + 20;
        let later = NOW.after(Duration::from_secs(25 * HOUR));
        let new = NewInvite { expires: later.after(Duration::from_secs(HOUR)), ..new_invite(bound + 1) };
        act(&mut model, Command::CreateInvite(new), later).unwrap();
        assert_eq!(model.invites.len(), MAX_CLOSED_INVITES + 1);
        assert!(!model.invites.contains_key(&InviteId(bound + 10)));
        let much_later = later.after(crate::invite::KEEP_CLOSED).after(Duration::from_secs(HOUR));
        let new = NewInvite { expires: much_later.after(Duration::from_secs(HOUR)), ..new_invite(bound + 2) };
        act(&mut model, Command::CreateInvite(new), much_later).unwrap();
        assert_eq!(model.invites.len(), 1);
    }

    /// What may happen to invites, in any order; `u8`s choose among few.
    #[derive(Debug, Clone)]
    enum Step {
        Create { invite: u8, uses: u32, hours: u64 },
        Redeem { invite: u8, device: u8 },
        Revoke { invite: u8 },
        Remove { device: u8 },
        Wait { hours: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (0..3_u8, 1..4_u32, 1..48_u64).prop_map(|(invite, uses, hours)| Step::Create { invite, uses, hours }),
            6 => (0..3_u8, 0..9_u8).prop_map(|(invite, device)| Step::Redeem { invite, device }),
            1 => (0..3_u8).prop_map(|invite| Step::Revoke { invite }),
            1 => (0..9_u8).prop_map(|device| Step::Remove { device }),
            1 => (1..24_u64).prop_map(|hours| Step::Wait { hours }),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        /// Uses are never exceeded, and nobody new comes in after expiry or revocation, whatever the order of commands.
        #[test]
        fn an_invite_admits_only_as_many_as_it_is_for_and_only_while_open(steps in steps()) {
            let mut model = home();
            let mut now = NOW;
            // What a bystander counts: for each invite the devices it admitted, its uses, its end, whether revoked.
            let mut seen: BTreeMap<u8, (u32, u32, UnixTime, bool)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Wait { hours } => now = UnixTime(now.0 + hours * HOUR),
                    Step::Create { invite, uses, hours } => {
                        let expires = UnixTime(now.0 + hours * HOUR);
                        let new = NewInvite { uses, expires, ..new_invite(u64::from(invite)) };
                        if act(&mut model, Command::CreateInvite(new), now).is_ok() {
                            prop_assert!(seen.insert(invite, (0, uses, expires, false)).is_none());
                        }
                    }
                    Step::Revoke { invite } => {
                        let address = self::invite(u64::from(invite)).address;
                        if let Some(id) = model.invite_at(address).map(|invite| invite.id) {
                            act(&mut model, Command::RevokeInvite(id), now).unwrap();
                            seen.get_mut(&invite).unwrap().3 = true;
                        }
                    }
                    Step::Remove { device } => {
                        let key = key(100 + u64::from(device));
                        if let Some(id) = model.peers.values().find(|peer| peer.key == key).map(|peer| peer.id) {
                            act(&mut model, Command::Remove(id), now).unwrap();
                        }
                    }
                    Step::Redeem { invite, device } => {
                        let request = request(u64::from(invite), 100 + u64::from(device));
                        let before = model.peers.len();
                        let result = act(&mut model, Command::Redeem(request), now);
                        let came = model.peers.len() - before;
                        prop_assert_eq!(came == 1, matches!(result, Ok(Outcome::Redeemed { again: false, .. })));
                        if came == 1 {
                            let (admitted, uses, expires, revoked) = seen.get_mut(&invite).unwrap();
                            *admitted += 1;
                            prop_assert!(*admitted <= *uses && now < *expires && !*revoked);
                        }
                    }
                }
            }
        }
    }
}

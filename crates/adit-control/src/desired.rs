//! What a gateway must run now: a pure view of model, usage and time, with the moment at which it changes by itself.
//!
//! Not here: running it. It has no type of the data plane, and can cross a process boundary.

use std::net::{Ipv4Addr, Ipv6Addr};

use adit_wireguard::PublicKey;
use serde::{Deserialize, Serialize};

use crate::invite::{Invite, InviteId, KEEP_CLOSED, MAX_CLOSED_INVITES};
use crate::key::{self, HttpsKey};
use crate::model::Model;
use crate::network::Network;
use crate::peer::{Kind, OverQuota, Peer, PeerId, Rate, SLOWED};
use crate::policy::Reach;
use crate::time::UnixTime;
use crate::usage::Usage;

/// What a gateway must run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The revision of the model that it was made of.
    pub revision: u64,
    /// The network.
    pub network: Network,
    /// Devices that may connect, by number.
    pub peers: Vec<Running>,
    /// Invites that may ask: those that are open, and closed ones that can still say why.
    pub enrolling: Vec<Enrolling>,
    /// What devices may reach, and nothing else.
    pub reach: Vec<Reach>,
    /// When it will be another, if nobody changes anything and nothing is used.
    pub next_change: Option<UnixTime>,
}

/// A device that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Which.
    pub id: PeerId,
    /// What it speaks.
    pub kind: Kind,
    /// Its WireGuard public key, or SHA-256 of its certificate for OpenVPN.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// Its key for the HTTPS carrier.
    pub https_key: Option<HttpsKey>,
    /// The only IPv4 address it may send from.
    pub v4: Ipv4Addr,
    /// The only IPv6 address it may send from.
    pub v6: Ipv6Addr,
    /// How fast it may be, its quota considered.
    pub rate: Rate,
}

/// An invite that may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolling {
    /// Which.
    pub id: InviteId,
    /// The WireGuard public key of its secret.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// The key of its secret for the HTTPS carrier.
    pub https_key: HttpsKey,
    /// The only address it may send from.
    pub address: Ipv6Addr,
}

impl Desired {
    /// What must run at this time. `None`: there is no network yet.
    pub fn of(model: &Model, usage: &Usage, now: UnixTime) -> Option<Self> {
        let network = model.network.clone()?;
        let mut next = Next { now, at: None };
        let peers = model.peers.values().filter_map(|peer| running(peer, usage, &mut next)).collect();
        let enrolling = enrolling(model, &mut next);
        let reach = model.policy.reach(model);
        Some(Self { revision: model.revision, network, peers, enrolling, reach, next_change: next.at })
    }
}

/// The earliest moment to come.
struct Next {
    now: UnixTime,
    at: Option<UnixTime>,
}

impl Next {
    fn note(&mut self, at: Option<UnixTime>) {
        let to_come = at.filter(|at| *at > self.now);
        self.at = self.at.into_iter().chain(to_come).min();
    }
}

fn running(peer: &Peer, usage: &Usage, next: &mut Next) -> Option<Running> {
    if !peer.enabled || peer.is_expired(next.now) {
        return None;
    }
    next.note(peer.expires);
    let mut rate = peer.rate;
    if let Some((quota, ends)) = usage.over(peer, next.now) {
        match quota.action {
            OverQuota::Block => {
                next.note(ends);
                return None;
            }
            OverQuota::Slow => {
                next.note(ends);
                rate = rate.at_most(SLOWED);
            }
            OverQuota::Notify => {}
        }
    }
    let Peer { id, kind, key, https_key, v4, v6, .. } = *peer;
    Some(Running { id, kind, key, https_key, v4, v6, rate })
}

/// All that are open, and of the others those closed last.
fn enrolling(model: &Model, next: &mut Next) -> Vec<Enrolling> {
    let known: Vec<_> = model.invites.values().filter(|invite| !invite.is_forgotten(next.now)).collect();
    let mut closed = Vec::new();
    let mut shown = Vec::new();
    for invite in known {
        match invite.closed_since(next.now) {
            // It stays when it expires: only its answer becomes another.
            None => shown.push(invite),
            Some(since) => {
                next.note(Some(since.after(KEEP_CLOSED)));
                closed.push((since, invite));
            }
        }
    }
    closed.sort_unstable_by_key(|(since, invite)| (*since, invite.id));
    let kept = closed.len().saturating_sub(MAX_CLOSED_INVITES);
    shown.extend(closed.into_iter().skip(kept).map(|(_, invite)| invite));
    shown.sort_unstable_by_key(|invite| invite.id);
    let enrolling = |invite: &Invite| {
        let Invite { id, key, https_key, address, .. } = *invite;
        Enrolling { id, key, https_key, address }
    };
    shown.into_iter().map(enrolling).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture::{HOUR, NOW, home, invite};
    use crate::peer::{Period, Quota};
    use crate::usage::UsageDelta;

    const PHONE: PeerId = PeerId(3);

    fn desired(model: &Model, usage: &Usage, now: UnixTime) -> Desired {
        Desired::of(model, usage, now).unwrap()
    }

    fn with_phone(change: impl FnOnce(&mut Peer)) -> Model {
        let mut model = home();
        change(model.peers.get_mut(&PHONE).unwrap());
        model
    }

    fn ids(desired: &Desired) -> Vec<u64> {
        desired.peers.iter().map(|peer| peer.id.0).collect()
    }

    fn used(bytes: u64) -> Usage {
        let mut usage = Usage::default();
        usage.add(&[UsageDelta { peer: PHONE, received: bytes, sent: 0, seen: None }], NOW);
        usage
    }

    #[test]
    fn without_a_network_nothing_runs() {
        assert_eq!(Desired::of(&Model::default(), &Usage::default(), NOW), None);
    }

    #[test]
    fn a_device_that_is_off_or_expired_does_not_run() {
        let nothing = Usage::default();
        assert_eq!(ids(&desired(&home(), &nothing, NOW)), [1, 2, 3]);
        assert_eq!(ids(&desired(&with_phone(|phone| phone.enabled = false), &nothing, NOW)), [1, 2]);
        let end = NOW.after(Duration::from_secs(HOUR));
        let model = with_phone(|phone| phone.expires = Some(end));
        let before = desired(&model, &nothing, NOW);
        assert_eq!((ids(&before), before.next_change), (vec![1, 2, 3], Some(end)));
        let after = desired(&model, &nothing, end);
        assert_eq!((ids(&after), after.next_change), (vec![1, 2], None));
    }

    #[test]
    fn a_quota_blocks_slows_or_notifies_until_its_period_ends() {
        let over = |action| {
            let quota = Quota { bytes: 100, per: Period::Day, action };
            desired(&with_phone(|phone| phone.quota = Some(quota)), &used(100), NOW)
        };
        let blocked = over(OverQuota::Block);
        assert_eq!((ids(&blocked), blocked.next_change), (vec![1, 2], Some(NOW.next_day())));
        let slowed = over(OverQuota::Slow);
        assert_eq!((slowed.peers[2].rate, slowed.next_change), (SLOWED, Some(NOW.next_day())));
        let told = over(OverQuota::Notify);
        assert_eq!((told.peers[2].rate, told.next_change), (Rate::default(), None));
        let quota = Quota { bytes: 100, per: Period::Day, action: OverQuota::Block };
        let model = with_phone(|phone| phone.quota = Some(quota));
        assert_eq!(ids(&desired(&model, &used(99), NOW)), [1, 2, 3]);
        assert_eq!(ids(&desired(&model, &used(100), NOW.next_day())), [1, 2, 3]);
    }

    #[test]
    fn closed_invites_stay_for_their_answer_and_are_bounded() {
        let mut model = home();
        model.invites.insert(InviteId(1), invite(1));
        let nothing = Usage::default();
        assert_eq!(desired(&model, &nothing, NOW).enrolling.len(), 1);
        let end = invite(1).expires;
        let expired = desired(&model, &nothing, end);
        assert_eq!((expired.enrolling.len(), expired.next_change), (1, Some(end.after(KEEP_CLOSED))));
        assert_eq!(desired(&model, &nothing, end.after(KEEP_CLOSED)).enrolling.len(), 0);
        let revoked = |id| (InviteId(id), Invite { revoked: Some(NOW), ..invite(id) });
        model.invites.extend((2..=2 + MAX_CLOSED_INVITES as u64).map(revoked));
        let many = desired(&model, &nothing, NOW);
        assert_eq!(many.enrolling.len(), MAX_CLOSED_INVITES + 1);
        assert_eq!((many.enrolling[0].id, many.enrolling[1].id), (InviteId(1), InviteId(3)));
    }

    /// A day ahead and back again: whoever was cut off meanwhile is back, and nothing was lost.
    #[test]
    fn a_clock_that_jumps_a_day_and_back_loses_nothing() {
        let soon = NOW.after(Duration::from_secs(HOUR));
        let quota = Quota { bytes: 100, per: Period::Day, action: OverQuota::Block };
        let mut model = with_phone(|phone| (phone.expires, phone.quota) = (Some(soon), Some(quota)));
        model.invites.insert(InviteId(1), invite(1));
        let before = desired(&model, &used(1), NOW);
        let ahead = desired(&model, &used(1), NOW.after(Duration::from_secs(25 * HOUR)));
        assert_eq!((ids(&ahead), ahead.enrolling.len()), (vec![1, 2], 1));
        let behind = desired(&model, &used(1), UnixTime(NOW.0 - 25 * HOUR));
        assert_eq!((ids(&behind), behind.next_change), (vec![1, 2, 3], Some(soon)));
        assert_eq!(desired(&model, &used(1), NOW), before);
    }

    #[test]
    fn it_crosses_a_process_boundary() {
        let mut model = home();
        model.invites.insert(InviteId(1), invite(1));
        let desired = desired(&model, &Usage::default(), NOW);
        let text = serde_json::to_string(&desired).unwrap();
        assert_eq!(serde_json::from_str::<Desired>(&text).unwrap(), desired);
    }
}

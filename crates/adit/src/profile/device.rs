//! What a profile asks of a WireGuard device: all of it at the start, the difference on a reload. Pure.
//!
//! Not here: resolving names (`resolve`), what it asks of the machine (`host`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use adit_wireguard::{AllowedIpChange, DeviceChange, PeerChange, PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;

use super::wg_quick::{Endpoint, Peer, Profile};

/// What is known of where an endpoint is; `None` if its name is not resolved (yet).
pub type Resolved<'a> = &'a dyn Fn(&Endpoint) -> Option<SocketAddr>;

/// Everything a device must be told to become what the profile says, whatever it was before.
pub fn change(profile: &Profile, resolved: Resolved<'_>) -> DeviceChange {
    let key = profile.interface.private_key.as_ref().map_or_else(no_private_key, PrivateKey::duplicate);
    DeviceChange {
        private_key: Some(key),
        replace_peers: true,
        peers: profile.peers.iter().map(|peer| whole(peer, resolved)).collect(),
    }
}

/// What a device that is as `old` says must be told to become what `new` says. Peers that stay keep their sessions, and
/// where they have moved to, unless their `Endpoint` was edited.
pub fn diff(old: &Profile, new: &Profile, resolved: Resolved<'_>) -> DeviceChange {
    let (old_key, new_key) = (&old.interface.private_key, &new.interface.private_key);
    let private_key = (old_key != new_key).then(|| new_key.as_ref().map_or_else(no_private_key, PrivateKey::duplicate));
    // A device has no peer with its own key (reference W-15): under another key it has to be made.
    let was_self = old_key.as_ref().filter(|_| private_key.is_some()).map(PrivateKey::public_key);
    let before: BTreeMap<PublicKey, &Peer> =
        old.peers.iter().filter(|p| Some(p.public_key) != was_self).map(|p| (p.public_key, p)).collect();
    let kept: BTreeSet<PublicKey> = new.peers.iter().map(|p| p.public_key).collect();
    let (owned_before, owned) = (owners(old), owners(new));

    let gone = old.peers.iter().filter(|p| !kept.contains(&p.public_key));
    let mut peers: Vec<PeerChange> =
        gone.map(|p| PeerChange { remove: true, ..PeerChange::new(p.public_key) }).collect();
    for peer in &new.peers {
        match before.get(&peer.public_key) {
            None => peers.push(PeerChange {
                allowed_ips: owned_by(&owned, peer).map(AllowedIpChange::Add).collect(),
                ..whole(peer, resolved)
            }),
            Some(was) => {
                let change = edited(was, peer, &owned_before, &owned, resolved);
                if !is_empty(&change) {
                    peers.push(change);
                }
            }
        }
    }
    DeviceChange { private_key, replace_peers: false, peers }
}

/// Whether nothing would happen.
pub fn is_nothing(change: &DeviceChange) -> bool {
    change.private_key.is_none() && !change.replace_peers && change.peers.is_empty()
}

fn whole(peer: &Peer, resolved: Resolved<'_>) -> PeerChange {
    PeerChange {
        preshared_key: Some(peer.preshared_key.as_ref().map_or_else(no_preshared_key, PresharedKey::duplicate)),
        endpoint: peer.way().as_ref().and_then(resolved),
        persistent_keepalive: Some(peer.persistent_keepalive.unwrap_or(0)),
        replace_allowed_ips: true,
        allowed_ips: peer.allowed_ips.iter().copied().map(AllowedIpChange::Add).collect(),
        ..PeerChange::new(peer.public_key)
    }
}

fn edited(was: &Peer, now: &Peer, owned_before: &Owners, owned: &Owners, resolved: Resolved<'_>) -> PeerChange {
    let mut change = PeerChange::new(now.public_key);
    if was.preshared_key != now.preshared_key {
        change.preshared_key = Some(now.preshared_key.as_ref().map_or_else(no_preshared_key, PresharedKey::duplicate));
    }
    if was.way() != now.way() {
        change.endpoint = now.way().as_ref().and_then(resolved);
    }
    let (before, after) = (was.persistent_keepalive.unwrap_or(0), now.persistent_keepalive.unwrap_or(0));
    change.persistent_keepalive = (before != after).then_some(after);
    let lost = owned_by(owned_before, was).filter(|net| !owned.contains_key(net)).map(AllowedIpChange::Remove);
    let gained = owned_by(owned, now).filter(|net| owned_before.get(net) != Some(&now.public_key));
    change.allowed_ips = lost.chain(gained.map(AllowedIpChange::Add)).collect();
    change
}

fn is_empty(change: &PeerChange) -> bool {
    change.preshared_key.is_none()
        && change.endpoint.is_none()
        && change.persistent_keepalive.is_none()
        && change.allowed_ips.is_empty()
}

type Owners = BTreeMap<IpNet, PublicKey>;

/// Which peer gets each network: the last one that asks, and never a peer that is this end itself.
fn owners(profile: &Profile) -> Owners {
    let own = profile.interface.private_key.as_ref().map(PrivateKey::public_key);
    let peers = profile.peers.iter().filter(|p| Some(p.public_key) != own);
    peers.flat_map(|p| p.allowed_ips.iter().map(|net| (*net, p.public_key))).collect()
}

fn owned_by<'a>(owners: &'a Owners, peer: &'a Peer) -> impl Iterator<Item = IpNet> + 'a {
    peer.allowed_ips.iter().copied().filter(|net| owners.get(net) == Some(&peer.public_key))
}

fn no_private_key() -> PrivateKey {
    PrivateKey::new([0; 32])
}

const fn no_preshared_key() -> PresharedKey {
    PresharedKey::new([0; 32])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::wg_quick::Host;
    use super::*;

    /// A device as far as a change can change it, in the plainest way.
    #[derive(Debug, Default, PartialEq)]
    struct Model {
        own: Option<PublicKey>,
        peers: BTreeMap<PublicKey, Shown>,
        networks: BTreeMap<IpNet, PublicKey>,
    }

    #[derive(Debug, Default, PartialEq)]
    struct Shown {
        preshared: Option<[u8; 32]>,
        endpoint: Option<SocketAddr>,
        keepalive: u16,
    }

    impl Model {
        fn of(profile: &Profile) -> Self {
            let mut model = Self::default();
            model.apply(change(profile, &resolved));
            model
        }

        fn forget(&mut self, key: &PublicKey) {
            self.peers.remove(key);
            self.networks.retain(|_, owner| owner != key);
        }

        fn apply(&mut self, change: DeviceChange) {
            if let Some(key) = change.private_key {
                self.own = (!key.is_none()).then(|| key.public_key());
                if let Some(own) = self.own {
                    self.forget(&own);
                }
            }
            if change.replace_peers {
                self.peers.clear();
                self.networks.clear();
            }
            let own = self.own;
            for peer in change.peers.into_iter().filter(|p| Some(p.public_key) != own) {
                if peer.remove {
                    self.forget(&peer.public_key);
                    continue;
                }
                let shown = self.peers.entry(peer.public_key).or_default();
                if let Some(key) = peer.preshared_key {
                    shown.preshared = (!key.is_none()).then(|| *key.expose());
                }
                shown.endpoint = peer.endpoint.or(shown.endpoint);
                shown.keepalive = peer.persistent_keepalive.unwrap_or(shown.keepalive);
                if peer.replace_allowed_ips {
                    self.networks.retain(|_, owner| *owner != peer.public_key);
                }
                for network in peer.allowed_ips {
                    match network {
                        AllowedIpChange::Add(net) => drop(self.networks.insert(net, peer.public_key)),
                        AllowedIpChange::Remove(net) if self.networks.get(&net) == Some(&peer.public_key) => {
                            self.networks.remove(&net);
                        }
                        AllowedIpChange::Remove(_) => {}
                    }
                }
            }
        }
    }

    fn resolved(endpoint: &Endpoint) -> Option<SocketAddr> {
        match endpoint.host {
            Host::Ip(address) => Some(SocketAddr::new(address, endpoint.port)),
            Host::Zoned(..) | Host::Name(_) => None,
        }
    }

    /// Few keys and networks, so that peers meet.
    fn peer() -> impl Strategy<Value = Peer> {
        let networks = prop::collection::btree_set(0..4u8, 0..4);
        (0..4u8, networks, prop::option::of(0..2u8), prop::option::of(0..2u16), 1..3u16).prop_map(
            |(key, networks, preshared, keepalive, port)| Peer {
                public_key: key_pair(key).public_key(),
                preshared_key: preshared.map(|n| PresharedKey::new([n + 1; 32])),
                allowed_ips: networks.iter().map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect(),
                endpoint: Some(Endpoint { host: Host::Ip(IpAddr::from([192, 0, 2, 1])), port }),
                persistent_keepalive: keepalive,
                ..Peer::new(key_pair(key).public_key())
            },
        )
    }

    fn key_pair(n: u8) -> PrivateKey {
        PrivateKey::new([n + 1; 32])
    }

    fn profile() -> impl Strategy<Value = Profile> {
        (prop::option::of(0..4u8), prop::collection::vec(peer(), 0..4)).prop_map(|(own, mut peers)| {
            let mut known = BTreeSet::new();
            peers.retain(|p| known.insert(p.public_key));
            let mut profile = Profile { peers, ..Profile::default() };
            profile.interface.private_key = own.map(key_pair);
            profile
        })
    }

    proptest! {
        #[test]
        fn a_difference_leads_where_starting_anew_leads(old in profile(), new in profile()) {
            let mut device = Model::of(&old);
            device.apply(diff(&old, &new, &resolved));
            prop_assert_eq!(device, Model::of(&new));
        }

        #[test]
        fn between_equals_there_is_no_difference(profile in profile()) {
            prop_assert!(is_nothing(&diff(&profile, &profile, &resolved)));
        }
    }

    #[test]
    fn a_reload_touches_only_what_was_edited() {
        let key = |n| key_pair(n).public_key();
        let endpoint = |port| Some(Endpoint { host: Host::Ip(IpAddr::from([192, 0, 2, 1])), port });
        let old = Profile {
            peers: vec![Peer { endpoint: endpoint(1), ..Peer::new(key(1)) }, Peer::new(key(2))],
            ..Profile::default()
        };
        let mut new = old.duplicate();
        new.peers[1].persistent_keepalive = Some(25);
        let change = diff(&old, &new, &resolved);
        let [only] = &change.peers[..] else { panic!("one peer, not {:?}", change.peers) };
        assert_eq!((only.public_key, only.endpoint, only.persistent_keepalive), (key(2), None, Some(25)));
    }
}

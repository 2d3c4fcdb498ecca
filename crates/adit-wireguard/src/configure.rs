//! Changes to a device while it runs, and what it looks like: sessions, counters and timestamps of peers that stay are
//! kept (reference W-14 to W-16, W-116).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_protocol::{Now, Path, Why};
use ipnet::IpNet;

use crate::cookie::MacKeys;
use crate::device::Device;
use crate::index::Slot;
use crate::noise::Identity;
use crate::peer::Peer;
use crate::shared::{Own, Shared};
use crate::timers::Timer;
use crate::{AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus, PrivateKey, PublicKey};

impl Device {
    pub(crate) fn change(&mut self, now: Now, change: DeviceChange) {
        if let Some(key) = change.private_key {
            self.set_private_key(now, key);
        }
        if change.replace_peers {
            for slot in self.peers.all() {
                self.remove_peer(slot);
            }
        }
        for peer in change.peers {
            self.change_peer(now, peer);
        }
    }

    /// A new identity: pending handshakes end, sessions only receive, the next packet begins anew (reference W-16).
    fn set_private_key(&mut self, now: Now, key: PrivateKey) {
        let same = match &self.shared.own {
            Some(own) => own.identity.private == key,
            None => key.is_none(),
        };
        if same {
            return;
        }
        let identity = Identity::new(key);
        if let Some(slot) = identity.as_ref().and_then(|identity| self.peers.slot(&identity.public)) {
            self.remove_peer(slot);
        }
        self.shared.own = identity.map(|identity| Own { mac_keys: MacKeys::new(&identity.public), identity });
        for peer in self.peers.iter_mut() {
            peer.remote.forget_shared();
            peer.keyring.stop_sending();
            peer.drop_handshake(&mut self.shared);
            peer.handshake_sent = None;
            if !peer.timers.is_set(Timer::PersistentKeepalive) {
                peer.start_persistent(now, &mut self.shared);
            }
        }
    }

    fn change_peer(&mut self, now: Now, change: PeerChange) {
        if self.shared.own.as_ref().is_some_and(|own| own.identity.public == change.public_key) {
            return;
        }
        let slot = match self.peers.slot(&change.public_key) {
            Some(slot) if change.remove => return self.remove_peer(slot),
            Some(slot) => slot,
            None if change.remove || change.update_only => return,
            None => self.peers.make(change.public_key),
        };
        if change.replace_allowed_ips {
            self.take_all_networks(slot);
        }
        for network in &change.allowed_ips {
            match *network {
                AllowedIpChange::Add(network) => self.give_network(slot, network),
                AllowedIpChange::Remove(network) => self.take_network(slot, network),
            }
        }
        let Some(peer) = self.peers.at_mut(slot) else { return };
        if let Some(key) = change.preshared_key {
            peer.remote.preshared = key;
        }
        let had_endpoint = peer.endpoint.is_some();
        if let Some(endpoint) = change.endpoint {
            peer.place(endpoint);
        }
        if let Some(seconds) = change.persistent_keepalive {
            peer.set_persistent(now, seconds, &mut self.shared);
        }
        if !had_endpoint && peer.endpoint.is_some() && !peer.timers.is_set(Timer::PersistentKeepalive) {
            peer.start_persistent(now, &mut self.shared);
        }
        peer.flush(now, &mut self.shared);
    }

    /// Gone at once, with its indices, networks, timers and packets (reference W-123).
    fn remove_peer(&mut self, slot: Slot) {
        self.take_all_networks(slot);
        let Some(mut peer) = self.peers.remove(slot) else { return };
        peer.wipe(&mut self.shared);
        peer.unstage(None, &mut self.shared);
        self.shared.agenda.remove(slot, &mut peer.timers);
        self.shared.forget(slot);
    }

    fn give_network(&mut self, slot: Slot, network: IpNet) {
        let network = network.trunc();
        if let Some(owner) = self.routes.insert(network, slot)
            && let Some(owner) = self.peers.at_mut(owner)
        {
            owner.networks.remove(&network);
        }
        if let Some(peer) = self.peers.at_mut(slot) {
            peer.networks.insert(network);
        }
    }

    fn take_network(&mut self, slot: Slot, network: IpNet) {
        let network = network.trunc();
        if let Some(peer) = self.peers.at_mut(slot)
            && peer.networks.remove(&network)
        {
            self.routes.remove(network);
        }
    }

    fn take_all_networks(&mut self, slot: Slot) {
        let Some(peer) = self.peers.at_mut(slot) else { return };
        for network in std::mem::take(&mut peer.networks) {
            self.routes.remove(network);
        }
    }

    /// How everything is.
    pub fn status(&self, now: Now) -> DeviceStatus {
        let mut peers: Vec<&Peer> = self.peers.iter().collect();
        peers.sort_unstable_by_key(|peer| peer.made);
        let own = self.shared.own.as_ref().map(|own| &own.identity);
        DeviceStatus {
            private_key: own.map(|identity| identity.private.duplicate()),
            public_key: own.map(|identity| identity.public),
            deadline: peers.iter().filter_map(|peer| peer.timers.next()).min_by_key(|(at, _)| *at).map(reason),
            peers: peers.into_iter().map(|peer| peer.status(now.instant)).collect(),
            drops: self.shared.drops.clone(),
            handshakes: self.shared.handshakes,
            under_load: self.gate.is_under_load(now.instant),
        }
    }

    /// How one peer is.
    pub fn peer_status(&self, now: Now, peer: &PublicKey) -> Option<PeerStatus> {
        self.peers.slot(peer).and_then(|slot| self.peers.at(slot)).map(|peer| peer.status(now.instant))
    }
}

impl Peer {
    fn status(&self, now: Instant) -> PeerStatus {
        let preshared = &self.remote.preshared;
        PeerStatus {
            public_key: self.public(),
            preshared_key: (!preshared.is_none()).then(|| preshared.duplicate()),
            endpoint: self.endpoint.map(|path| path.remote),
            link: self.endpoint.map(|path| path.link).unwrap_or_default(),
            last_handshake: self.last_handshake,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            persistent_keepalive: self.persistent,
            allowed_ips: self.networks.iter().copied().collect(),
            has_session: self.keyring.can_send(now),
            staged: self.staged(),
            deadline: self.timers.next().map(reason),
        }
    }

    /// The administrator says where the peer is: our own address is chosen anew (reference W-82). If the peer is known
    /// to be there, the carrier stays.
    fn place(&mut self, endpoint: SocketAddr) {
        let mut endpoint = endpoint;
        endpoint.set_ip(endpoint.ip().to_canonical());
        let known = self.endpoint.filter(|path| path.remote == endpoint);
        self.endpoint = Some(known.map_or_else(|| Path::to(endpoint), Path::without_source));
    }

    fn set_persistent(&mut self, now: Now, seconds: u16, shared: &mut Shared) {
        let before = std::mem::replace(&mut self.persistent, seconds);
        if seconds == 0 {
            self.timers.clear(Timer::PersistentKeepalive);
        } else if before == 0 {
            self.start_persistent(now, shared);
        } else if let Some(at) = self.timers.get(Timer::PersistentKeepalive) {
            let at = at.min(now.instant + Duration::from_secs(u64::from(seconds)));
            self.timers.set(Timer::PersistentKeepalive, at);
            shared.agenda.note(self.slot, &mut self.timers);
        }
    }
}

fn reason((at, timer): (Instant, Timer)) -> (Instant, Why) {
    (at, timer.why())
}

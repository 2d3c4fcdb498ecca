//! All peers of one interface: dispatch of messages, cryptokey routing, reconfiguration.

use adit_protocol::{Delivery, DropReason, Drops, Inbound, IpPacket, Now, Outbound, Output, Path, Protocol, Why};

use crate::constants::{DATA_HEADER, DEFAULT_MTU};
use crate::session::{OpenJob, Opened, SealJob};
use crate::{DeviceChange, DeviceStatus, Event, PeerStatus, PublicKey};

/// A WireGuard interface: its key, its peers, their sessions.
#[derive(Debug)]
pub struct Device {
    drops: Drops,
    mtu: usize,
}

impl Device {
    /// A device without key or peers, up, whose every random choice follows from `seed`.
    pub fn new(seed: [u8; 32], now: Now) -> Self {
        let _ = (seed, now);
        Self { drops: Drops::default(), mtu: DEFAULT_MTU }
    }

    /// The inside MTU: padding does not go beyond it (§5.4.6). Default 1420.
    pub const fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }

    /// Takes the device down (it sends nothing by itself, and forgets sessions) or up (persistent keepalives at once).
    pub fn set_up(&mut self, now: Now, up: bool) {
        let _ = (now, up);
    }

    /// Forgets which of our addresses each peer is answered from, for the routing table may have changed.
    pub fn forget_sources(&mut self) {}

    /// Says whether handshakes must prove their source address (§5.3); `None` leaves it to the device's own measure.
    pub fn set_under_load(&mut self, under_load: Option<bool>) {
        let _ = under_load;
    }

    /// How everything is.
    pub fn status(&self, now: Now) -> DeviceStatus {
        let _ = now;
        DeviceStatus {
            private_key: None,
            public_key: None,
            peers: Vec::new(),
            drops: self.drops.clone(),
            deadline: None,
            under_load: false,
        }
    }

    /// How one peer is.
    pub fn peer_status(&self, peer: &PublicKey) -> Option<PeerStatus> {
        let _ = peer;
        None
    }
}

impl Protocol for Device {
    type Seal = SealJob;
    type Open = OpenJob;
    type Change = DeviceChange;
    type Event = Event;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<SealJob> {
        let _ = (now, packet);
        self.drops.count(DropReason::NoRoute);
        Outbound::Drop(DropReason::NoRoute)
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<OpenJob> {
        let _ = (now, from, datagram);
        self.drops.count(DropReason::UnknownSession);
        Inbound::Drop(DropReason::UnknownSession)
    }

    fn commit_inbound(&mut self, now: Now, opened: Opened, datagram: &[u8]) -> Delivery {
        let _unused = (now, opened, datagram);
        Delivery::Nothing
    }

    fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        let _ = now;
        Output::Timeout(None, Why("nothing to do"))
    }

    fn apply(&mut self, now: Now, change: DeviceChange) {
        let _unused = (now, change);
    }

    fn drops(&self) -> &Drops {
        &self.drops
    }

    fn overhead(&self) -> usize {
        DATA_HEADER + adit_protocol::aead::TAG_LEN
    }
}

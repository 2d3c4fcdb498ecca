//! Handshake messages as they arrive: gate, Noise, and what follows for the peer (§5.4.2 to §5.4.7).

use std::time::Instant;

use adit_protocol::{DropReason, Inbound, Now, Path};

use crate::constants::INITIATION_SPACING;
use crate::device::Device;
use crate::gate::Verdict;
use crate::keyring::Session;
use crate::message::{CookieReply, Index, Initiation, Macs, Response};
use crate::noise::Claimed;
use crate::peer::Peer;
use crate::session::OpenJob;
use crate::shared::{Queued, Shared};
use crate::tai64n::Timestamp;

type Handled = Result<Inbound<OpenJob>, DropReason>;

impl Device {
    /// Somebody wants a session.
    #[cold]
    pub(crate) fn handle_initiation(&mut self, now: Now, from: Path, message: &Initiation<'_>) -> Handled {
        if !self.admit(now, from, message.sender, &message.macs)? {
            return Ok(Inbound::Handled);
        }
        let own = self.shared.own.as_ref().ok_or(DropReason::BadHandshake)?;
        let claimed = Claimed::read(&own.identity, message).ok_or(DropReason::BadHandshake)?;
        let peer = self.peers.by_key_mut(&claimed.public).ok_or(DropReason::BadHandshake)?;
        let proved = claimed.prove(&own.identity, &mut peer.remote).ok_or(DropReason::BadHandshake)?;
        peer.accept_timestamp(now.instant, proved.timestamp)?;

        let shared = &mut self.shared;
        peer.yield_to_theirs(now, shared);
        let ephemeral = shared.ephemeral();
        let local = shared.index.reserve(&mut shared.rng, peer.slot);
        let Some((derived, mut datagram)) = proved.respond(&peer.remote, local, &ephemeral) else {
            shared.index.release(local);
            return Err(DropReason::BadHandshake);
        };
        let gone = peer.keyring.install_as_responder(Session::new(&derived, false, now.instant));
        shared.release(gone);
        peer.jar.stamp(now.instant, &mut datagram);
        peer.follow(from, shared);
        peer.session_derived(now);
        peer.sent_handshake(now, datagram, from, shared);
        peer.received_handshake(now, message.macs.before_mac2.len() + message.macs.mac2.len(), shared);
        Ok(Inbound::Handled)
    }

    /// Somebody answers our initiation.
    #[cold]
    pub(crate) fn handle_response(&mut self, now: Now, from: Path, message: &Response<'_>) -> Handled {
        if !self.admit(now, from, message.sender, &message.macs)? {
            return Ok(Inbound::Handled);
        }
        let shared = &mut self.shared;
        let own = shared.own.as_ref().ok_or(DropReason::BadHandshake)?;
        let peer = shared.index.peer(message.receiver).and_then(|slot| self.peers.at_mut(slot));
        let peer = peer.ok_or(DropReason::BadHandshake)?;
        let state = peer.handshake.take_if(|state| state.local == message.receiver).ok_or(DropReason::BadHandshake)?;
        let derived = match state.finish(&own.identity, &peer.remote, message) {
            Ok(derived) => derived,
            Err(state) => {
                peer.handshake = Some(state);
                return Err(DropReason::BadHandshake);
            }
        };
        let gone = peer.keyring.install_as_initiator(Session::new(&derived, true, now.instant));
        shared.release(gone);
        peer.follow(from, shared);
        peer.session_derived(now);
        peer.handshake_completed(now, shared);
        peer.received_handshake(now, message.macs.before_mac2.len() + message.macs.mac2.len(), shared);
        // The first message under the new key confirms it: what waits, or a keepalive, at once (reference W-40).
        peer.send_keepalive(now, shared);
        Ok(Inbound::Handled)
    }

    /// Somebody wants us to prove our address with the next handshake message.
    #[cold]
    pub(crate) fn handle_cookie_reply(&mut self, now: Now, message: &CookieReply<'_>) -> Handled {
        let peer = self.shared.index.peer(message.receiver).and_then(|slot| self.peers.at_mut(slot));
        let peer = peer.ok_or(DropReason::UnknownSession)?;
        if peer.jar.take(now.instant, message) { Ok(Inbound::Handled) } else { Err(DropReason::Forged) }
    }

    /// Whether the message may cost us a Diffie-Hellman. If it was answered by a cookie instead: false.
    fn admit(&mut self, now: Now, from: Path, sender: Index, macs: &Macs<'_>) -> Result<bool, DropReason> {
        let shared = &mut self.shared;
        let own = shared.own.as_ref().ok_or(DropReason::BadHandshake)?;
        match self.gate.check(now.instant, &own.mac_keys, &mut shared.rng, from.remote, sender, macs) {
            Verdict::Admit => Ok(true),
            Verdict::AskCookie(datagram) => {
                shared.drops.count(DropReason::UnderLoad);
                shared.push(Queued::Transmit { owner: None, to: from, datagram, tos: 0 });
                Ok(false)
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }
}

impl Peer {
    /// Only a greater timestamp than ever before, and not too soon after the last (reference W-31, W-32).
    fn accept_timestamp(&mut self, now: Instant, timestamp: Timestamp) -> Result<(), DropReason> {
        if let Some((greatest, at)) = self.accepted {
            if timestamp <= greatest {
                return Err(DropReason::ReplayedHandshake);
            }
            if now.saturating_duration_since(at) < INITIATION_SPACING {
                return Err(DropReason::RateLimited);
            }
        }
        self.accepted = Some((timestamp, now));
        Ok(())
    }

    fn received_handshake(&mut self, now: Now, len: usize, shared: &mut Shared) {
        self.rx_bytes += len as u64;
        self.timers.received(now.instant, self.persistent);
        shared.agenda.note(self.slot, &mut self.timers);
    }
}

//! Which of several endpoints a peer is looked for at: the gateways of one network, in turn. Pure.
//!
//! A peer that does not answer is looked for at the next one, and stays where it answered: going back would end what goes
//! through that gateway. Not here: telling the device (`tunnel`), names to addresses (`resolve`), carriers
//! (`adit_transport::ladder`).

use std::collections::BTreeMap;

use adit_wireguard::PublicKey;

use crate::profile::wg_quick::Endpoint;

/// Initiations in a row that got no answer, before the peer is looked for elsewhere: one may be lost on its way.
const MAX_UNANSWERED: u32 = 2;

/// The peers that have several endpoints, and where each is looked for.
#[derive(Debug, Default)]
pub(crate) struct Fallbacks {
    peers: BTreeMap<PublicKey, Turn>,
}

#[derive(Debug)]
struct Turn {
    endpoints: Vec<Endpoint>,
    /// Which of them it is.
    at: usize,
    unanswered: u32,
}

impl Turn {
    fn current(&self) -> Option<&Endpoint> {
        self.endpoints.get(self.at)
    }
}

impl Fallbacks {
    /// Takes the endpoints of a peer, the first choice first, and gives the one to look for it at. If the first choice stays
    /// the same, and where it is looked for is still one of them, that is there.
    pub(crate) fn set(&mut self, peer: PublicKey, endpoints: Vec<Endpoint>) -> Option<Endpoint> {
        let before = self.peers.remove(&peer).filter(|turn| turn.endpoints.first() == endpoints.first());
        let (current, unanswered) = before.as_ref().map_or((None, 0), |turn| (turn.current(), turn.unanswered));
        let at = endpoints.iter().position(|endpoint| Some(endpoint) == current).unwrap_or(0);
        let found = endpoints.get(at).cloned();
        if endpoints.len() > 1 {
            self.peers.insert(peer, Turn { endpoints, at, unanswered });
        }
        found
    }

    /// Where a peer of several endpoints is looked for.
    pub(crate) fn current(&self, peer: &PublicKey) -> Option<&Endpoint> {
        self.peers.get(peer)?.current()
    }

    /// Forgets the peers that are not kept.
    pub(crate) fn retain(&mut self, kept: impl Fn(&PublicKey) -> bool) {
        self.peers.retain(|peer, _| kept(peer));
    }

    /// The peer answered.
    pub(crate) fn answered(&mut self, peer: &PublicKey) {
        if let Some(turn) = self.peers.get_mut(peer) {
            turn.unanswered = 0;
        }
    }

    /// An initiation got no answer. Gives the endpoint to look for the peer at from now on, if that is another. `lost`: the
    /// carrier that endpoints are for is known not to get there, and another one is in use.
    pub(crate) fn unanswered(&mut self, peer: &PublicKey, lost: bool) -> Option<&Endpoint> {
        let turn = self.peers.get_mut(peer)?;
        turn.unanswered += 1;
        if turn.unanswered < MAX_UNANSWERED && !lost {
            return None;
        }
        turn.unanswered = 0;
        turn.at = (turn.at + 1) % turn.endpoints.len();
        turn.current()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::wg_quick::Host;

    const PEER: PublicKey = PublicKey::new([1; 32]);

    fn endpoint(last: u8) -> Endpoint {
        Endpoint { host: Host::Ip([192, 0, 2, last].into()), port: 51_820 }
    }

    fn three() -> Fallbacks {
        let mut fallbacks = Fallbacks::default();
        fallbacks.set(PEER, (1..=3).map(endpoint).collect());
        fallbacks
    }

    #[test]
    fn a_silent_peer_is_looked_for_at_each_endpoint_in_turn() {
        let mut fallbacks = three();
        let tried: Vec<_> = (0..8).filter_map(|_| fallbacks.unanswered(&PEER, false).cloned()).collect();
        assert_eq!(tried, [endpoint(2), endpoint(3), endpoint(1), endpoint(2)]);
    }

    #[test]
    fn a_lost_message_moves_nothing() {
        let mut fallbacks = three();
        for _ in 0..10 {
            assert_eq!(fallbacks.unanswered(&PEER, false), None);
            fallbacks.answered(&PEER);
        }
    }

    #[test]
    fn over_another_carrier_each_try_goes_elsewhere() {
        let mut fallbacks = three();
        assert_eq!(fallbacks.unanswered(&PEER, true), Some(&endpoint(2)));
        assert_eq!(fallbacks.unanswered(&PEER, true), Some(&endpoint(3)));
    }

    #[test]
    fn the_same_endpoints_again_leave_it_where_it_is() {
        let mut fallbacks = three();
        assert_eq!(fallbacks.unanswered(&PEER, true), Some(&endpoint(2)));
        assert_eq!(fallbacks.set(PEER, (1..=3).map(endpoint).collect()), Some(endpoint(2)));
        assert_eq!(fallbacks.unanswered(&PEER, true), Some(&endpoint(3)));
        let reordered = [1, 4, 3].map(endpoint).to_vec();
        assert_eq!(fallbacks.set(PEER, reordered), Some(endpoint(3)), "it is still one of them");
        assert_eq!(fallbacks.set(PEER, vec![endpoint(1), endpoint(2)]), Some(endpoint(1)), "it is none of them");
        assert_eq!(fallbacks.unanswered(&PEER, true), Some(&endpoint(2)));
        assert_eq!(fallbacks.set(PEER, vec![endpoint(5), endpoint(2)]), Some(endpoint(5)), "another first choice");
        assert_eq!(fallbacks.set(PEER, Vec::new()), None);
        fallbacks.set(PEER, vec![endpoint(1)]);
        assert_eq!(fallbacks.unanswered(&PEER, true), None, "one endpoint is no choice");
    }
}

//! Names of endpoints to addresses: asked again until there is an answer, and anew when the peer does not answer any more.
//!
//! [`Names`] decides, purely, which name to ask for and when; [`look_up`] asks.
//! Not here: telling the device (`tunnel`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::{Duration, Instant};

use adit_wireguard::PublicKey;

use crate::profile::wg_quick::{Endpoint, Host};

/// Which addresses of a name come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// As the system sorts them: by whether there is a way (RFC 6724).
    #[default]
    System,
    /// IPv4 first.
    V4,
    /// IPv6 first.
    V6,
}

/// The first wait after a name was not found.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// No name is asked for more often, however often its peer gives up.
const LEAST_BETWEEN: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried in turn.
const MAX_ADDRESSES: usize = 8;

/// The peers whose endpoint is a name, and how far each is.
#[derive(Debug, Default)]
pub struct Names {
    peers: BTreeMap<PublicKey, Named>,
}

#[derive(Debug)]
struct Named {
    endpoint: Endpoint,
    /// When to ask; `None`: not before the peer gives up.
    due: Option<Instant>,
    asked: Option<Instant>,
    retry: Duration,
    /// The address the device was told last.
    told: Option<SocketAddr>,
}

impl Names {
    /// Takes the endpoint of a peer; one without a name is forgotten. A name that stays the same is not asked for again.
    pub fn set(&mut self, peer: PublicKey, endpoint: Option<&Endpoint>, now: Instant) {
        match endpoint {
            Some(endpoint) if address(endpoint).is_none() => {
                if self.peers.get(&peer).is_none_or(|known| known.endpoint != *endpoint) {
                    let named = Named {
                        endpoint: endpoint.clone(),
                        due: Some(now),
                        asked: None,
                        retry: FIRST_RETRY,
                        told: None,
                    };
                    self.peers.insert(peer, named);
                }
            }
            _ => drop(self.peers.remove(&peer)),
        }
    }

    /// Forgets the peers that are not kept.
    pub fn retain(&mut self, kept: impl Fn(&PublicKey) -> bool) {
        self.peers.retain(|peer, _| kept(peer));
    }

    /// The name by which a peer's endpoint was given.
    pub fn name_of(&self, peer: &PublicKey) -> Option<String> {
        self.peers.get(peer).map(|named| named.endpoint.to_string())
    }

    /// The peer did not answer: ask for its name anew, soon.
    pub fn gave_up(&mut self, peer: &PublicKey, now: Instant) {
        if let Some(named) = self.peers.get_mut(peer) {
            let earliest = named.asked.map_or(now, |asked| (asked + LEAST_BETWEEN).max(now));
            named.due = Some(named.due.map_or(earliest, |due| due.min(earliest)));
        }
    }

    /// When to ask next.
    pub fn due(&self) -> Option<Instant> {
        self.peers.values().filter_map(|named| named.due).min()
    }

    /// What to ask for now. Each question is given out once, until its answer or its wait is over.
    pub fn take_due(&mut self, now: Instant) -> Vec<(PublicKey, Endpoint)> {
        let due = self.peers.iter_mut().filter(|(_, named)| named.due.is_some_and(|due| due <= now));
        due.map(|(peer, named)| {
            named.due = None;
            named.asked = Some(now);
            (*peer, named.endpoint.clone())
        })
        .collect()
    }

    /// The answer for a peer. Returns the address to tell the device, if it should be told one.
    ///
    /// After a peer gave up at one address of its name, the next is tried.
    pub fn answered(
        &mut self,
        peer: &PublicKey,
        endpoint: &Endpoint,
        found: &[SocketAddr],
        now: Instant,
    ) -> Option<SocketAddr> {
        let named = self.peers.get_mut(peer).filter(|named| named.endpoint == *endpoint)?;
        let found = &found[..found.len().min(MAX_ADDRESSES)];
        let Some(first) = found.first() else {
            named.due = Some(now + named.retry);
            named.retry = (named.retry * 2).min(LONGEST_RETRY);
            return None;
        };
        named.retry = FIRST_RETRY;
        let at = named.told.and_then(|told| found.iter().position(|address| *address == told));
        let next = at.map_or(first, |at| &found[(at + 1) % found.len()]);
        named.told = Some(*next);
        Some(*next)
    }
}

/// The address of an endpoint that needs no asking.
pub fn address(endpoint: &Endpoint) -> Option<SocketAddr> {
    match &endpoint.host {
        Host::Ip(address) => Some(SocketAddr::new(*address, endpoint.port)),
        Host::Zoned(address, zone) => {
            Some(SocketAddr::V6(SocketAddrV6::new(*address, endpoint.port, 0, zone_index(zone)?)))
        }
        Host::Name(_) => None,
    }
}

/// The number of an interface.
pub(crate) fn zone_index(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse() {
        return Some(number);
    }
    let name = Path::new(zone).file_name()?;
    std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex")).ok()?.trim().parse().ok()
}

/// Asks the system for the addresses of an endpoint, the preferred first.
pub async fn look_up(endpoint: &Endpoint, prefer: Prefer) -> io::Result<Vec<SocketAddr>> {
    let Host::Name(name) = &endpoint.host else {
        return Ok(address(endpoint).into_iter().collect());
    };
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), endpoint.port)).await?.collect();
    sort(&mut found, prefer);
    Ok(found)
}

fn sort(found: &mut Vec<SocketAddr>, prefer: Prefer) {
    for address in found.iter_mut() {
        if let IpAddr::V6(v6) = address.ip()
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            *address = SocketAddr::from((v4, address.port()));
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|address| seen.insert(*address));
    match prefer {
        Prefer::System => {}
        Prefer::V4 => found.sort_by_key(SocketAddr::is_ipv6),
        Prefer::V6 => found.sort_by_key(SocketAddr::is_ipv4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PublicKey = PublicKey::new([7; 32]);

    fn named(name: &str) -> Endpoint {
        Endpoint { host: Host::Name(name.to_owned()), port: 51820 }
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 51820))
    }

    #[test]
    fn an_address_is_never_asked_for() {
        let mut names = Names::default();
        names.set(PEER, Some(&Endpoint::from(at(1))), Instant::now());
        assert_eq!(names.due(), None);
    }

    #[test]
    fn a_name_that_is_not_found_is_asked_for_again_less_and_less_often() {
        let (mut names, mut now) = (Names::default(), Instant::now());
        names.set(PEER, Some(&named("a.example")), now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let [(peer, endpoint)] = &names.take_due(now)[..] else { panic!("one question") };
            assert_eq!(names.take_due(now), []);
            assert_eq!(names.answered(peer, endpoint, &[], now), None);
            let due = names.due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_peer_that_gives_up_is_looked_for_anew_and_its_next_address_tried() {
        let (mut names, now) = (Names::default(), Instant::now());
        let endpoint = named("a.example");
        names.set(PEER, Some(&endpoint), now);
        assert_eq!(names.take_due(now).len(), 1);
        assert_eq!(names.answered(&PEER, &endpoint, &[at(1), at(2)], now), Some(at(1)));
        assert_eq!(names.due(), None);

        names.gave_up(&PEER, now);
        assert_eq!(names.due(), Some(now + LEAST_BETWEEN));
        let later = now + LEAST_BETWEEN;
        assert_eq!(names.take_due(later).len(), 1);
        assert_eq!(names.answered(&PEER, &endpoint, &[at(1), at(2)], later), Some(at(2)));
        assert_eq!(names.answered(&PEER, &endpoint, &[at(1), at(2)], later), Some(at(1)));
        assert_eq!(names.answered(&PEER, &endpoint, &[at(9)], later), Some(at(9)));
    }

    #[test]
    fn an_answer_for_a_name_that_was_edited_meanwhile_does_not_count() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.set(PEER, Some(&named("a.example")), now);
        assert_eq!(names.take_due(now).len(), 1);
        names.set(PEER, Some(&named("b.example")), now);
        assert_eq!(names.answered(&PEER, &named("a.example"), &[at(1)], now), None);
        assert_eq!(names.take_due(now), [(PEER, named("b.example"))]);
        names.set(PEER, None, now);
        assert_eq!(names.answered(&PEER, &named("b.example"), &[at(1)], now), None);
    }

    #[test]
    fn the_preferred_family_comes_first_and_mapped_addresses_are_ipv4() {
        let v6: SocketAddr = "[2001:db8::1]:51820".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:51820".parse().unwrap();
        let sorted = |prefer| {
            let mut found = vec![mapped, v6, at(1)];
            sort(&mut found, prefer);
            found
        };
        assert_eq!(sorted(Prefer::System), [at(1), v6]);
        assert_eq!(sorted(Prefer::V4), [at(1), v6]);
        assert_eq!(sorted(Prefer::V6), [v6, at(1)]);
    }

    #[tokio::test]
    async fn the_name_of_this_machine_is_found() {
        let found = look_up(&named("localhost"), Prefer::V4).await.unwrap();
        assert!(found[0].ip().is_loopback());
    }
}

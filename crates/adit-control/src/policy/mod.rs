//! Who may reach what: rules that allow, and nothing else. Devices do not see each other unless a rule says so.
//!
//! Devices are named by number, so that a rule follows its device through a change of name, and nobody inherits rights by
//! taking a name that is free again. Not here: the text (`text`), addresses for the firewall (`reach`).

mod diff;
mod reach;
mod text;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use diff::PolicyDiff;
pub use reach::Reach;
pub use text::{PolicyError, PolicyFault};

use crate::model::Model;
use crate::name::Name;
use crate::peer::{Peer, PeerId};

/// Rules of one policy.
pub const MAX_RULES: usize = 1_000;
/// Names in `from`, or in `to`, of one rule.
pub const MAX_TARGETS: usize = 200;
/// Bytes of a policy as text.
pub const MAX_TEXT: usize = 1 << 20;

/// What is allowed; the rest is not. The order of rules has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Everyone in `from` may reach everything in `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Who may.
    pub from: BTreeSet<Who>,
    /// What they may reach.
    pub to: BTreeSet<Target>,
}

/// Devices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Every one.
    All,
    /// Those of a group. A group that nobody is in is one, too.
    Group(Name),
    /// One.
    Peer(PeerId),
}

/// A place, or some of its ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Where.
    pub place: Place,
    /// `None`: everything that is there.
    pub ports: Option<Ports>,
}

/// Somewhere to send packets to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// These devices.
    Devices(Who),
    /// What is routed publicly: no private, local or multicast addresses, so neither devices nor the server's own network.
    Internet,
    /// A range of addresses.
    Net(IpNet),
}

/// Ports of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports {
    /// `None`: TCP and UDP.
    pub protocol: Option<Protocol>,
    /// The first port.
    pub first: u16,
    /// The last port, this one included.
    pub last: u16,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// A port of TCP or UDP.
    To(Protocol, u16),
    /// Anything without ports, `ping` for one.
    Other,
}

/// The internet for everyone, and nobody for anyone.
impl Default for Policy {
    fn default() -> Self {
        let to = Target { place: Place::Internet, ports: None };
        Self { rules: vec![Rule { from: BTreeSet::from([Who::All]), to: BTreeSet::from([to]) }] }
    }
}

impl Policy {
    /// The first rule by which `from` may send `traffic` to an address. `None`: it may not.
    pub fn allows(&self, model: &Model, from: &Peer, to: IpAddr, traffic: Traffic) -> Option<&Rule> {
        let is_from = |who: &Who| who.is(from);
        let is_to = |target: &Target| target.place.has(model, to) && target.ports.is_none_or(|s| s.has(traffic));
        self.rules.iter().find(|rule| rule.from.iter().any(is_from) && rule.to.iter().any(is_to))
    }

    /// Rules and names are as many as they may be.
    pub(crate) fn is_within_bounds(&self) -> bool {
        let fits = |rule: &Rule| rule.from.len() <= MAX_TARGETS && rule.to.len() <= MAX_TARGETS;
        self.rules.len() <= MAX_RULES && self.rules.iter().all(fits)
    }

    /// Devices that it speaks of and that are not there.
    pub(crate) fn strangers(&self, model: &Model) -> BTreeSet<PeerId> {
        let of_rule = |rule: &Rule| {
            let to = rule.to.iter().filter_map(|target| target.place.peer());
            rule.from.iter().filter_map(Who::peer).chain(to).collect::<Vec<_>>()
        };
        self.rules.iter().flat_map(of_rule).filter(|id| !model.peers.contains_key(id)).collect()
    }

    /// The policy without a word about a device: what would be left empty is left out. `None`: it has none.
    pub(crate) fn without(&self, peer: PeerId) -> Option<Self> {
        let mut rules = self.rules.clone();
        for rule in &mut rules {
            rule.from.retain(|who| who.peer() != Some(peer));
            rule.to.retain(|target| target.place.peer() != Some(peer));
        }
        rules.retain(|rule| !rule.from.is_empty() && !rule.to.is_empty());
        (rules != self.rules).then_some(Self { rules })
    }
}

impl Who {
    fn is(&self, peer: &Peer) -> bool {
        match self {
            Self::All => true,
            Self::Group(group) => peer.groups.contains(group),
            Self::Peer(id) => *id == peer.id,
        }
    }

    const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Peer(id) => Some(*id),
            Self::All | Self::Group(_) => None,
        }
    }
}

impl Place {
    fn has(&self, model: &Model, address: IpAddr) -> bool {
        match self {
            Self::Devices(Who::All) => model.network.as_ref().is_some_and(|network| match address {
                // The server is no device: what runs there is opened by its address.
                IpAddr::V4(v4) => network.v4.contains(&v4) && v4 != network.server_v4(),
                IpAddr::V6(v6) => network.devices_v6().contains(&v6) && v6 != network.server_v6(),
            }),
            Self::Devices(who) => {
                model.peers.values().any(|peer| who.is(peer) && (address == peer.v4 || address == peer.v6))
            }
            Self::Internet => is_internet(address),
            Self::Net(net) => net.contains(&address),
        }
    }

    const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Devices(who) => who.peer(),
            Self::Internet | Self::Net(_) => None,
        }
    }
}

impl Ports {
    /// Whether traffic is of it.
    pub fn has(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::To(protocol, port) => {
                self.protocol.is_none_or(|own| own == protocol) && (self.first..=self.last).contains(&port)
            }
            Traffic::Other => false,
        }
    }
}

/// Whether an address is routed publicly, told by its bits (RFC 6890, RFC 4291).
const fn is_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && b & 0xc0 == 64;
            !(a == 0 || is_shared || v4.is_private() || v4.is_loopback() || v4.is_link_local() || a >= 224)
        }
        IpAddr::V6(v6) => v6.octets()[0] & 0xe0 == 0x20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::home;

    const SMB: Traffic = Traffic::To(Protocol::Tcp, 445);

    fn named<'a>(model: &'a Model, name: &str) -> &'a Peer {
        model.find_peer(name).unwrap()
    }

    fn may(model: &Model, from: &str, to: IpAddr, traffic: Traffic) -> bool {
        model.policy.allows(model, named(model, from), to, traffic).is_some()
    }

    #[test]
    fn devices_are_isolated_and_have_the_internet_by_default() {
        let model = home();
        let nas = named(&model, "nas");
        assert!(!may(&model, "laptop", nas.v4.into(), SMB));
        assert!(!may(&model, "laptop", nas.v6.into(), Traffic::Other));
        assert!(may(&model, "laptop", "9.9.9.9".parse().unwrap(), Traffic::Other));
        assert!(may(&model, "laptop", "2620:fe::fe".parse().unwrap(), SMB));
        for private in ["192.168.1.1", "10.0.0.1", "169.254.169.254", "127.0.0.1", "224.0.0.1", "fe80::1", "ff02::1"] {
            assert!(!may(&model, "laptop", private.parse().unwrap(), SMB), "{private}");
        }
    }

    #[test]
    fn a_group_reaches_one_service_of_one_device() {
        let mut model = home();
        let text = "[[policy]]\nfrom = 'group:family'\nto = 'host:nas:445/tcp'\n";
        model.policy = Policy::parse(text, &model).unwrap();
        let nas = named(&model, "nas");
        assert!(may(&model, "laptop", nas.v4.into(), SMB));
        assert!(may(&model, "phone", nas.v6.into(), SMB));
        assert!(!may(&model, "laptop", nas.v4.into(), Traffic::To(Protocol::Udp, 445)));
        assert!(!may(&model, "laptop", nas.v4.into(), Traffic::Other));
        assert!(!may(&model, "laptop", "9.9.9.9".parse().unwrap(), SMB));
        let laptop = named(&model, "laptop");
        assert!(!may(&model, "nas", laptop.v4.into(), SMB));
    }

    #[test]
    fn nothing_is_left_of_a_device_that_is_gone() {
        let mut model = home();
        let text = "[[policy]]\nfrom = 'host:nas'\nto = 'all'\n[[policy]]\nfrom = ['host:nas', 'all']\nto = ['host:nas', 'internet']\n";
        model.policy = Policy::parse(text, &model).unwrap();
        assert_eq!(model.policy.without(PeerId(2)), None);
        assert_eq!(model.policy.without(PeerId(1)), Some(Policy::default()));
    }
}

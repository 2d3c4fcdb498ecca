//! Decisions about people: what a command changes, or why it is refused. Pure; neither clock, database nor randomness.
//!
//! Not here: carrying a decision out (`service`, `store`).

mod invite;
mod network;
mod peer;
mod refusal;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use adit_wireguard::PublicKey;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use refusal::Refusal;

use crate::invite::InviteId;
use crate::key::{self, HttpsKey};
use crate::model::{Change, Model};
use crate::name::{Host, Name};
use crate::network::{Network, Web};
use crate::peer::{PeerId, Quota, Rate};
use crate::policy::Policy;
use crate::time::UnixTime;

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Make the network. Once.
    CreateNetwork(Network),
    /// Change what can be changed of it.
    ChangeNetwork(NetworkChange),
    /// Make an invite.
    CreateInvite(NewInvite),
    /// Come in by one.
    Redeem(Redeem),
    /// Take an invite back.
    RevokeInvite(InviteId),
    /// Admit a plain WireGuard app, or an OpenVPN client.
    AddPeer(NewPeer),
    /// Call a device otherwise.
    Rename(PeerId, Name),
    /// Change how much and how fast.
    Limit(PeerId, Limits),
    /// Change when a device is cut off. `None`: never.
    Expire(PeerId, Option<UnixTime>),
    /// Cut a device off.
    Disable(PeerId),
    /// Let it in again.
    Enable(PeerId),
    /// Give a device other keys.
    Rotate(PeerId, Keys),
    /// Forget a device.
    Remove(PeerId),
    /// Change the groups of a device to these.
    SetGroups(PeerId, BTreeSet<Name>),
    /// Change the policy to this.
    SetPolicy(Policy),
}

/// What changes of a network. `None`: stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkChange {
    /// Its name.
    pub name: Option<Name>,
    /// Where it is found.
    pub hosts: Option<Vec<Host>>,
    /// The UDP port.
    pub port: Option<u16>,
    /// The web server, or none.
    pub web: Option<Option<Web>>,
    /// The IPv4 range: every device must keep its address, and the server its own.
    pub v4: Option<Ipv4Net>,
    /// Name servers.
    pub dns: Option<Vec<IpAddr>>,
}

/// An invite to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvite {
    /// What the device will be called. `None`: as it wishes.
    pub name: Option<Name>,
    /// The WireGuard public key that the secret makes.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// The key for the HTTPS carrier that the secret makes.
    pub https_key: HttpsKey,
    /// From where in the tunnel it is redeemed: in the network's IPv6 range, above the addresses of devices.
    pub address: Ipv6Addr,
    /// Until when it admits.
    pub expires: UnixTime,
    /// Devices that it admits.
    pub uses: u32,
    /// Groups of the devices that come by it.
    pub groups: BTreeSet<Name>,
}

/// A device that comes in by an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeem {
    /// By which.
    pub by: Token,
    /// The device's own WireGuard public key.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// The device's own key for the HTTPS carrier.
    pub https_key: HttpsKey,
    /// What it would like to be called. The invite's name goes before.
    pub wish: Option<Name>,
}

/// How an invite is told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Token {
    /// By the address that the request came from.
    Address(Ipv6Addr),
    /// By its public key.
    #[serde(with = "key::text")]
    Key(PublicKey),
}

/// A plain WireGuard app, or an OpenVPN client, to admit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPeer {
    /// What people call it.
    pub name: Name,
    /// What it speaks.
    pub app: App,
    /// Its public key, or SHA-256 of its certificate.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// Its groups.
    pub groups: BTreeSet<Name>,
    /// From when on it is cut off.
    pub expires: Option<UnixTime>,
}

/// What a device speaks that is admitted without an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum App {
    /// Any WireGuard app.
    #[serde(rename = "wireguard")]
    WireGuard,
    /// A stock OpenVPN client.
    #[serde(rename = "openvpn")]
    OpenVpn,
}

/// What changes of a device's limits. `None`: stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How much, or no limit.
    pub quota: Option<Option<Quota>>,
    /// How fast.
    pub rate: Option<Rate>,
}

/// The public keys of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// WireGuard's.
    #[serde(with = "key::text")]
    pub key: PublicKey,
    /// The one for the HTTPS carrier. `None` for plain WireGuard apps.
    pub https_key: Option<HttpsKey>,
}

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What changes, together. Nothing: all is as wanted already.
    pub changes: Vec<Change>,
    /// What it was about.
    pub outcome: Outcome,
    /// The kind of command as the log has it: `peer.disable`.
    pub verb: &'static str,
    /// What was done, as a sentence for the log.
    pub what: String,
}

/// What a command was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The network.
    Network,
    /// The policy.
    Policy,
    /// This device.
    Peer(PeerId),
    /// This invite.
    Invite(InviteId),
    /// This device, come in by an invite.
    Redeemed {
        /// The device.
        peer: PeerId,
        /// It was in already: the answer to its first request was lost.
        again: bool,
    },
}

/// What `command` changes at this time, or why it is refused.
pub fn decide(model: &Model, command: Command, now: UnixTime) -> Result<Decision, Refusal> {
    match command {
        Command::CreateNetwork(network) => network::create(model, network),
        Command::ChangeNetwork(change) => network::change(model, change),
        Command::SetPolicy(policy) => network::set_policy(model, policy),
        Command::CreateInvite(new) => invite::create(model, new, now),
        Command::Redeem(redeem) => invite::redeem(model, redeem, now),
        Command::RevokeInvite(id) => invite::revoke(model, id, now),
        Command::AddPeer(new) => peer::add(model, new, now),
        Command::Rename(id, name) => peer::rename(model, id, name),
        Command::Limit(id, limits) => peer::limit(model, id, limits),
        Command::Expire(id, at) => peer::expire(model, id, at),
        Command::Disable(id) => peer::switch(model, id, false),
        Command::Enable(id) => peer::switch(model, id, true),
        Command::Rotate(id, keys) => peer::rotate(model, id, keys),
        Command::Remove(id) => peer::remove(model, id),
        Command::SetGroups(id, groups) => peer::set_groups(model, id, groups),
    }
}

/// The network, if there is one.
fn network(model: &Model) -> Result<&Network, Refusal> {
    model.network.as_ref().ok_or(Refusal::NoNetwork)
}

/// Whether keys are free: each belongs to the server, one device or one invite. `but`: keys of this device are no clash.
fn keys_are_free(model: &Model, keys: Keys, but: Option<PeerId>) -> Result<(), Refusal> {
    let key = keys.key.as_bytes();
    let https_key = keys.https_key.as_ref();
    if key == &[0; 32] || https_key.is_some_and(|key| key.as_bytes() == &[0; 32]) {
        return Err(Refusal::EmptyKey);
    }
    if network(model)?.key.as_bytes() == key {
        return Err(Refusal::KeyInUse { holder: "the server".to_owned() });
    }
    let clashes = |own: &PublicKey, own_https: Option<&HttpsKey>| {
        own.as_bytes() == key || (https_key.is_some() && own_https == https_key)
    };
    let peer = model.peers.values().find(|peer| Some(peer.id) != but && clashes(&peer.key, peer.https_key.as_ref()));
    if let Some(peer) = peer {
        return Err(Refusal::KeyInUse { holder: format!("the device `{}`", peer.name) });
    }
    match model.invites.values().find(|invite| clashes(&invite.key, Some(&invite.https_key))) {
        Some(invite) => Err(Refusal::KeyInUse { holder: format!("the invite number {}", invite.id) }),
        None => Ok(()),
    }
}

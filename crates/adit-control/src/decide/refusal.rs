//! Why a command is refused, in sentences: what, to what, what to do next.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::invite::{InviteId, MAX_OPEN_INVITES, MAX_USES};
use crate::model::MAX_PEERS;
use crate::name::Name;
use crate::network::NetworkFault;
use crate::peer::{MAX_GROUPS, PeerId};
use crate::policy::{MAX_RULES, MAX_TARGETS};
use crate::time::UnixTime;

/// Why a command is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing can be done before there is a network.
    #[error("this server has no network yet\n  hint: `adit server up` makes one")]
    NoNetwork,
    /// There is one already.
    #[error(
        "this server has the network `{0}` already\n  hint: `adit server up` goes on with it, and changes what its options say"
    )]
    NetworkExists(Name),
    /// It cannot be one.
    #[error("{0}")]
    Network(NetworkFault),
    /// The range leaves devices outside.
    #[error(
        "the range cannot become {range}: the device `{peer}` or the server would need another address\n  hint: give a wider range that begins with the same address"
    )]
    RangeInUse {
        /// The range.
        range: Ipv4Net,
        /// The first device that would be outside.
        peer: Name,
    },
    /// Every address has a device.
    #[error(
        "every address of {0} is in use\n  hint: remove devices (`adit peer remove NAME`), or widen the range (`adit server up --range NET`)"
    )]
    Full(Ipv4Net),
    /// As many devices as there can be.
    #[error("this network has {MAX_PEERS} devices, and can have no more\n  hint: `adit peer remove NAME`")]
    TooManyPeers,
    /// No such device.
    #[error("there is no device number {0}: it was removed\n  hint: `adit peers` lists them")]
    UnknownPeer(PeerId),
    /// Its name is taken.
    #[error(
        "there is a device `{0}` already\n  hint: choose another name, or rename that one (`adit peer rename {0} NEW`)"
    )]
    NameTaken(Name),
    /// A key must be one device's.
    #[error("this key is that of {holder} already\n  hint: make a new one; a key must never be on two devices")]
    KeyInUse {
        /// Whose.
        holder: String,
    },
    /// All zero.
    #[error("the key is empty: all its bytes are zero\n  hint: make one with `adit genkey`")]
    EmptyKey,
    /// A key for HTTPS that a plain app cannot use, or none for one that needs it.
    #[error("the device `{0}` needs keys of its own kind: adit has one for HTTPS, a plain WireGuard app has none")]
    WrongKeys(Name),
    /// More groups than a device can have.
    #[error("a device can be in {MAX_GROUPS} groups, not in {0}")]
    TooManyGroups(usize),
    /// A limit that would let nothing through.
    #[error("a limit of 0 lets nothing through\n  hint: `adit peer disable {0}` cuts it off")]
    ZeroLimit(Name),
    /// More rules, or more names in one, than a policy can have.
    #[error("a policy has at most {MAX_RULES} rules, each with at most {MAX_TARGETS} names\n  hint: use groups")]
    PolicyTooLarge,
    /// The policy speaks of a device that is not there.
    #[error(
        "the policy speaks of device number {0}, which is not there\n  hint: `adit policy check FILE`, and apply it again"
    )]
    PolicyStranger(PeerId),
    /// Uses out of bounds.
    #[error("an invite is for 1 to {MAX_USES} devices, not for {0}")]
    Uses(u32),
    /// An end in the past, or years away.
    #[error(
        "an invite must end within a year from now, not at {0}\n  hint: --expires 24h, and check the clock of this machine"
    )]
    Expires(UnixTime),
    /// An address that is not an invite's.
    #[error("the address of this invite is not one for invites, or is in use\n  hint: make another invite")]
    InviteAddress,
    /// As many as there can be.
    #[error(
        "{MAX_OPEN_INVITES} invites are open, and there can be no more\n  hint: `adit invite --list`, then `adit invite --revoke N` those nobody waits for"
    )]
    TooManyInvites,
    /// No such invite.
    #[error(
        "there is no invite number {0}, or it was forgotten after it was closed\n  hint: `adit invite --list` shows those there are"
    )]
    UnknownInvite(InviteId),
    /// Redeeming: nobody knows it.
    #[error(
        "this invite is not known here\n  hint: it may be of another server, or closed long ago; ask for a new one"
    )]
    InviteUnknown,
    /// Redeeming: as many devices came as it was for.
    #[error(
        "this invite is used up: {uses} came by it, as many as it was for\n  hint: ask for a new one; if it was not you, tell whoever sent it"
    )]
    InviteUsed {
        /// Devices.
        uses: u32,
    },
    /// Redeeming: too late.
    #[error("this invite expired at {0}\n  hint: ask for a new one")]
    InviteExpired(UnixTime),
    /// Redeeming: taken back.
    #[error("this invite was taken back at {0}\n  hint: ask for a new one")]
    InviteRevoked(UnixTime),
}

//! What a device that joins and the server say to each other, inside the tunnel of the invite: one question, one answer,
//! each one datagram of JSON at [`PORT`] of the server's address in the network.
//!
//! Both sides read what the other could have made up: every text has a bound, every list too, a message is
//! [`MAX_MESSAGE`] bytes at most. A question that is asked again gets the same answer again.
//! Not here: asking ([`crate::join`]), who is admitted (whoever calls [`serve`]).

mod packet;
pub(crate) mod profile;
mod serve;
pub(crate) mod text;

use std::fmt;
use std::net::IpAddr;

use adit_wireguard::PublicKey;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use packet::Datagram;
pub use serve::serve;

use crate::https::HttpsKey;
use crate::invite::{HttpsOffer, MAX_NAME, check_way, is_plain};

/// The UDP port of the server's address in the network.
pub const PORT: u16 = 5354;
/// The version that is spoken here.
pub const VERSION: u32 = 1;
/// The longest message, in bytes: it passes every link that IPv6 does (RFC 8200 §5) in one piece.
pub const MAX_MESSAGE: usize = 1200;
/// The longest description of a system, in bytes.
pub const MAX_SYSTEM: usize = 64;
/// How many addresses a device may get.
const MAX_ADDRESSES: usize = 8;
/// How many name servers.
const MAX_DNS: usize = 8;
/// How many networks may lie behind the server.
const MAX_ROUTES: usize = 32;

/// A device asks to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    #[serde(rename = "adit")]
    pub version: u32,
    /// Its WireGuard key, made by itself.
    #[serde(with = "text")]
    pub key: PublicKey,
    /// By what a web site will know it.
    #[serde(with = "text")]
    pub https_key: HttpsKey,
    /// How it would like to be called; at most [`MAX_NAME`] bytes, and empty if it does not mind.
    pub name: String,
    /// What it is, for people; at most [`MAX_SYSTEM`] bytes.
    #[serde(default)]
    pub system: String,
}

/// What comes of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time, and the large one is the usual")]
pub enum Reply {
    /// Welcome.
    Admitted(Membership),
    /// No.
    Refused(Refusal),
}

/// Why a device is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Refusal {
    /// As many devices as it was for have joined with this invite.
    Used,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// There is no address left for another device.
    Full,
    /// This device was removed from the network, or its key belongs to somebody.
    Key,
    /// Not now: the server cannot reach what it knows. Asked again, it may say something else.
    Unable,
    /// The question is of another version.
    Version,
    /// Something that this program does not know.
    #[serde(other)]
    Other,
}

/// What a device needs to be part of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// What the network is called.
    pub network: String,
    /// What the device is called there.
    pub name: String,
    /// Its addresses, with the length of their network.
    pub addresses: Vec<IpNet>,
    /// The server's WireGuard key.
    #[serde(with = "text")]
    pub server: PublicKey,
    /// Where the server is, the first choice first.
    pub hosts: Vec<String>,
    /// Where WireGuard listens there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_port: Option<u16>,
    /// Where its web site is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsOffer>,
    /// Whom to ask for names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// What is reached through the server; if empty, everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNet>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is of this version.
    Version(u32),
    /// It is none, or what it says cannot be.
    Malformed,
}

/// What every message has, whatever its version.
#[derive(Deserialize)]
struct Envelope {
    adit: u32,
}

/// An answer as it is sent.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    adit: u32,
    #[serde(flatten)]
    reply: T,
}

impl Request {
    /// As it is sent.
    pub fn emit(&self) -> Vec<u8> {
        // Names are short, and everything else has one length.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        check_version(bytes)?;
        let request: Self = serde_json::from_slice(bytes).map_err(|_| Unread::Malformed)?;
        let sound = *request.key.as_bytes() != [0; 32]
            && is_plain(&request.name, MAX_NAME)
            && is_plain(&request.system, MAX_SYSTEM);
        if sound { Ok(request) } else { Err(Unread::Malformed) }
    }
}

impl Reply {
    /// As it is sent; `None` if that is longer than a message may be.
    pub fn emit(&self) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(&Versioned { adit: VERSION, reply: self }).ok()?;
        (bytes.len() <= MAX_MESSAGE).then_some(bytes)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        check_version(bytes)?;
        let Versioned { reply, .. } =
            serde_json::from_slice::<Versioned<Self>>(bytes).map_err(|_| Unread::Malformed)?;
        match &reply {
            Self::Admitted(membership) if !membership.is_sound() => Err(Unread::Malformed),
            Self::Admitted(_) | Self::Refused(_) => Ok(reply),
        }
    }
}

impl Membership {
    /// Whether a device could live with it.
    fn is_sound(&self) -> bool {
        let named = !self.network.is_empty() && !self.name.is_empty();
        let plain = is_plain(&self.network, MAX_NAME) && is_plain(&self.name, MAX_NAME);
        let bounded = (1..=MAX_ADDRESSES).contains(&self.addresses.len())
            && self.dns.len() <= MAX_DNS
            && self.routes.len() <= MAX_ROUTES;
        let has_way = check_way(&self.hosts, self.udp_port, self.https.as_ref()).is_ok();
        named && plain && bounded && has_way && *self.server.as_bytes() != [0; 32]
    }
}

fn check_version(bytes: &[u8]) -> Result<(), Unread> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Unread::Malformed);
    }
    match serde_json::from_slice(bytes) {
        Ok(Envelope { adit: VERSION }) => Ok(()),
        Ok(Envelope { adit }) => Err(Unread::Version(adit)),
        Err(_) => Err(Unread::Malformed),
    }
}

/// The sentence for whoever asked.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => {
                "the invite is used: as many devices as it was for have joined with it\n  \
                 hint: ask for a new one; if it was this machine, `adit up NAME` is enough"
            }
            Self::Expired => "the invite has expired, says the server\n  hint: ask for a new one: `adit invite`",
            Self::Revoked => "the invite was revoked\n  hint: ask whoever sent it for a new one",
            Self::Full => {
                "the network is full: there is no address left for another device\n  \
                 hint: have one removed on the server: `adit peers`, `adit peer remove NAME`"
            }
            Self::Key => {
                "the server does not take this device's key: another device has it\n  \
                 hint: ask for a new invite, with which a new key is made"
            }
            Self::Unable => {
                "the server cannot admit anybody at the moment\n  hint: try the same link again in a minute; it is not used up"
            }
            Self::Version => {
                "the server speaks another version of the invitation protocol\n  hint: update adit here and on the server"
            }
            Self::Other => {
                "the server refuses, for a reason that this adit does not know\n  hint: update adit; the server's log says why"
            }
        })
    }
}

#[cfg(test)]
mod tests;

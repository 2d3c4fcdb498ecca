//! An invite: what a device needs to join a network, as a value and as a link that a person can send or scan.
//!
//! Its 16 secret bytes stand for a WireGuard key of their own (HKDF-SHA256, a label, no salt), by which the server knows
//! the invite; so the server keeps only public halves, and what is stolen from it redeems nothing.
//! Not here: what is asked for with it (`enrol`), redeeming (`join`), who may invite (the server).

mod wire;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use adit_protocol::Secret;
use adit_transport::config::Pin;
use adit_wireguard::{PrivateKey, PublicKey};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::enrol::text;
use crate::https::{self, HttpsKey};
use crate::profile::wg_quick::is_host_name;

/// The label under which the secret becomes a WireGuard key.
const KEY_LABEL: &[u8] = b"adit invite v1 wireguard key";
/// What is hashed before the public key to make an address.
const ADDRESS_LABEL: &[u8] = b"adit enrol address";
/// How every link begins, up to its version.
const SCHEME: &str = "adit:";
/// The version that is written and read here.
const VERSION: &str = "1";
/// The longest link, in letters.
pub const MAX_LINK: usize = 1024;
/// The longest name of a network or a device, in bytes.
pub const MAX_NAME: usize = 64;
/// How many places a server can be at.
pub const MAX_HOSTS: usize = 8;
/// The last second of the year 9999: no invite is good for longer.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a device needs to join a network. A secret: whoever has it can join.
#[derive(Debug, PartialEq, Eq)]
pub struct Invite {
    /// What the network is called; at most [`MAX_NAME`] bytes.
    pub network: String,
    /// What makes it this invite.
    pub secret: Secret<16>,
    /// Until when it is good, in seconds since 1970.
    pub expires: u64,
    /// The server's WireGuard key.
    pub server: PublicKey,
    /// The first half of the addresses inside the network.
    pub prefix: [u8; 8],
    /// Where the server is, names or addresses, the first choice first; at most [`MAX_HOSTS`].
    pub hosts: Vec<String>,
    /// Where WireGuard listens there.
    pub udp_port: Option<u16>,
    /// Where its web site is.
    pub https: Option<HttpsOffer>,
}

/// A web site that is a way into the network too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpsOffer {
    /// Its name.
    pub name: String,
    /// Its TCP port.
    pub port: u16,
    /// The key that it must prove to have; `None` leaves that to the machine's certificate authorities.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::optional")]
    pub pin: Option<Pin>,
}

/// What is wrong with a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not begin as a link does.
    #[error("this is not an invite: an invite begins with `adit:1:`")]
    NotALink,
    /// It is of a later version, or of one that never was.
    #[error(
        "the invite is of version {0}, and this adit reads version 1\n  hint: a newer adit reads it, or ask for a new invite"
    )]
    OtherVersion(String),
    /// It is not as it was written.
    #[error(
        "the invite is altered or cut short: its check does not fit\n  hint: copy it whole, from `adit:1:` to its last letter, or ask for it again"
    )]
    Altered,
    /// It is longer than a link can be.
    #[error(
        "the invite is longer than {MAX_LINK} letters, which none is\n  hint: give the link alone, or a file with nothing else in it"
    )]
    TooLong,
    /// It is as it was written, and makes no sense.
    #[error("the invite is whole, but {0}\n  hint: ask for a new one; the program that made it has a fault")]
    Unsound(&'static str),
    /// Its time is over.
    #[error("the invite expired on {}, and this machine's clock says {}\n  hint: ask for a new invite; if the clock is wrong, set it", date(*.expires), date(*.now))]
    Expired {
        /// Until when it was good, in seconds since 1970.
        expires: u64,
        /// When that was found, by the clock of this machine.
        now: u64,
    },
}

impl Invite {
    /// The link that stands for it. In capitals it means the same, and makes a smaller QR code.
    ///
    /// # Errors
    /// [`LinkError::Unsound`] and [`LinkError::TooLong`], of values that no link can carry.
    pub fn to_link(&self) -> Result<Zeroizing<String>, LinkError> {
        self.check().map_err(LinkError::Unsound)?;
        let body = wire::emit(self);
        let mut link = Zeroizing::new(String::with_capacity(MAX_LINK));
        if SCHEME.len() + VERSION.len() + 1 + body.len().div_ceil(5) * 8 > MAX_LINK {
            return Err(LinkError::TooLong);
        }
        link.push_str(SCHEME);
        link.push_str(VERSION);
        link.push(':');
        data_encoding::BASE32_NOPAD.encode_append(&body, &mut link);
        link.make_ascii_lowercase();
        Ok(link)
    }

    /// Reads a link, in letters of either case; blanks and line ends, which mail programs leave, do not count.
    ///
    /// # Errors
    /// What is wrong with it. Its time is not looked at.
    pub fn from_link(link: &str) -> Result<Self, LinkError> {
        let mut letters = Zeroizing::new(String::with_capacity(MAX_LINK));
        for letter in link.chars().filter(|letter| !letter.is_ascii_whitespace()) {
            if letters.len() + letter.len_utf8() > MAX_LINK {
                let is_one = is_link(&letters);
                return Err(if is_one { LinkError::TooLong } else { LinkError::NotALink });
            }
            letters.push(letter);
        }
        letters.make_ascii_uppercase();
        if !is_link(&letters) {
            return Err(LinkError::NotALink);
        }
        let (version, body) =
            letters.get(SCHEME.len()..).and_then(|rest| rest.split_once(':')).ok_or(LinkError::Altered)?;
        if version != VERSION {
            let is_version = (1..=4).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit());
            return Err(if is_version { LinkError::OtherVersion(version.to_owned()) } else { LinkError::NotALink });
        }
        let body = data_encoding::BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| LinkError::Altered)?;
        let invite = wire::parse(&Zeroizing::new(body))?;
        invite.check().map_err(LinkError::Unsound)?;
        Ok(invite)
    }

    /// The key of whoever redeems it.
    pub fn private_key(&self) -> PrivateKey {
        // There always is one; all zero stands for none.
        let key = https::derive(self.secret.expose(), KEY_LABEL);
        key.map_or_else(|| PrivateKey::new([0; 32]), |key| PrivateKey::new(*key.expose()))
    }

    /// By what the server knows it.
    pub fn public_key(&self) -> PublicKey {
        self.private_key().public_key()
    }

    /// By what the server's web site knows it.
    pub fn https_key(&self) -> Option<HttpsKey> {
        HttpsKey::of(&self.private_key())
    }

    /// The address of whoever redeems it.
    pub fn address(&self) -> Ipv6Addr {
        enrol_address(self.prefix, &self.public_key())
    }

    /// The server's address inside the network.
    pub fn server_address(&self) -> Ipv6Addr {
        server_address(self.prefix)
    }

    /// Whether its time is over at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`LinkError::Expired`].
    pub const fn check_time(&self, now: u64) -> Result<(), LinkError> {
        if now <= self.expires { Ok(()) } else { Err(LinkError::Expired { expires: self.expires, now }) }
    }

    /// Whether it can be used at all.
    fn check(&self) -> Result<(), &'static str> {
        if self.network.is_empty() || !is_plain(&self.network, MAX_NAME) {
            return Err("the name of its network is none");
        }
        if *self.server.as_bytes() == [0; 32] {
            return Err("its server has no key");
        }
        if self.expires > LAST_SECOND {
            return Err("it says no date that could be");
        }
        check_way(&self.hosts, self.udp_port, self.https.as_ref())
    }
}

/// Whether a server can be reached by this.
pub(crate) fn check_way(
    hosts: &[String],
    udp_port: Option<u16>,
    https: Option<&HttpsOffer>,
) -> Result<(), &'static str> {
    if hosts.is_empty() || hosts.len() > MAX_HOSTS || !hosts.iter().all(|host| is_host(host)) {
        return Err("it does not say where the server is");
    }
    if udp_port == Some(0) || https.is_some_and(|https| https.port == 0) || (udp_port.is_none() && https.is_none()) {
        return Err("it does not say which port the server is at");
    }
    if https.is_some_and(|https| !is_host_name(&https.name)) {
        return Err("it does not say which web site the server is");
    }
    Ok(())
}

/// Whether this is an address, or a name that cannot be taken for a wrong one.
fn is_host(host: &str) -> bool {
    let is_numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    host.parse::<IpAddr>().is_ok() || (is_host_name(host) && !is_numeric)
}

/// The address of whoever redeems the invite with this key: no device has one like it, for their upper half begins with
/// a zero bit.
pub fn enrol_address(prefix: [u8; 8], invite: &PublicKey) -> Ipv6Addr {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(ADDRESS_LABEL);
    hash.update(invite.as_bytes());
    let mut host = [0; 8];
    host.copy_from_slice(&hash.finish().as_ref()[..8]);
    host[0] |= 0x80;
    join(prefix, host)
}

/// The address of the server in the network of this prefix.
pub fn server_address(prefix: [u8; 8]) -> Ipv6Addr {
    join(prefix, 1_u64.to_be_bytes())
}

fn join(prefix: [u8; 8], host: [u8; 8]) -> Ipv6Addr {
    let mut address = [0; 16];
    address[..8].copy_from_slice(&prefix);
    address[8..].copy_from_slice(&host);
    address.into()
}

/// Whether a text begins as a link does, whatever follows.
pub fn is_link(text: &str) -> bool {
    text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Whether a text can be shown to people as it is: not too long, nothing that moves the cursor or turns the direction.
pub(crate) fn is_plain(text: &str, most: usize) -> bool {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.len() <= most && !text.contains(is_odd)
}

/// A moment for people.
fn date(seconds: u64) -> impl fmt::Display {
    httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND)))
}

#[cfg(test)]
mod tests;

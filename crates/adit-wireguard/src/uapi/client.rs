//! The client's side: requests as text, answers as values.
//!
//! Not here: the socket. What `wg` itself would accept and print is `wg`'s business.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::request::{endpoint, number};
use super::shown::{push, push_key};
use super::{Errno, Set};
use crate::{AllowedIpChange, PeerChange, PresharedKey, PrivateKey, PublicKey};

/// The request for a device's state; [`parse_get`] reads the answer.
pub const GET: &str = "get=1\n\n";

/// Why a request had no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The daemon refused.
    #[error("the other side answered with {0}")]
    Refused(Errno),
    /// The answer does not say what an answer says.
    #[error("line {line} of the answer cannot be understood")]
    Malformed {
        /// Counted from 1; one more than there are if the answer ends too early.
        line: usize,
    },
}

/// A device as another process shows it.
#[derive(Debug, Default)]
pub struct Shown {
    /// Its private key, if it has one.
    pub private_key: Option<PrivateKey>,
    /// Its UDP port; 0 if none.
    pub listen_port: u16,
    /// Its firewall mark; 0 if none.
    pub fwmark: u32,
    /// Its peers, in the order of the answer.
    pub peers: Vec<ShownPeer>,
}

/// A peer as another process shows it.
#[derive(Debug)]
pub struct ShownPeer {
    /// Who.
    pub public_key: PublicKey,
    /// The secret shared beforehand, if there is one.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Wall clock of the last completed handshake, since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Bytes of WireGuard messages received.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent.
    pub tx_bytes: u64,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: u16,
    /// Its networks, in the order of the answer.
    pub allowed_ips: Vec<IpNet>,
}

impl Set {
    /// The whole request, keys included, in the order in which `wg` writes it.
    pub fn emit(&self) -> Zeroizing<String> {
        let most = 256 + self.change.peers.iter().map(|p| 512 + 80 * p.allowed_ips.len()).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(most));
        text.push_str("set=1\n");
        if let Some(key) = &self.change.private_key {
            push_key(&mut text, "private_key", key.expose());
        }
        if let Some(port) = self.listen_port {
            push(&mut text, "listen_port", port);
        }
        if let Some(mark) = self.fwmark {
            push(&mut text, "fwmark", mark);
        }
        if self.change.replace_peers {
            text.push_str("replace_peers=true\n");
        }
        for peer in &self.change.peers {
            push_change(&mut text, peer);
        }
        text.push('\n');
        text
    }
}

fn push_change(text: &mut String, peer: &PeerChange) {
    push_key(text, "public_key", peer.public_key.as_bytes());
    if peer.remove {
        text.push_str("remove=true\n");
        return;
    }
    if peer.update_only {
        text.push_str("update_only=true\n");
    }
    if let Some(key) = &peer.preshared_key {
        push_key(text, "preshared_key", key.expose());
    }
    if let Some(endpoint) = peer.endpoint {
        push(text, "endpoint", endpoint);
    }
    if let Some(seconds) = peer.persistent_keepalive {
        push(text, "persistent_keepalive_interval", seconds);
    }
    if peer.replace_allowed_ips {
        text.push_str("replace_allowed_ips=true\n");
    }
    for change in &peer.allowed_ips {
        match change {
            AllowedIpChange::Add(net) => push(text, "allowed_ip", net),
            AllowedIpChange::Remove(net) => push(text, "allowed_ip", format_args!("-{net}")),
        }
    }
}

/// Reads the answer to a [`Set`]: `Ok` is `errno=0`, either sign of an error is understood.
pub fn parse_set(text: &str) -> Result<(), ReplyError> {
    let malformed = ReplyError::Malformed { line: 1 };
    let number = text.lines().next().and_then(|l| l.strip_prefix("errno=")).ok_or(malformed)?;
    Errno::parse(number).ok_or(malformed)?.map_err(ReplyError::Refused)
}

/// Reads the answer to [`GET`]. Keys it does not know are passed over, for later versions may say more.
pub fn parse_get(text: &str) -> Result<Shown, ReplyError> {
    let mut shown = Shown::default();
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        let malformed = ReplyError::Malformed { line: lines };
        let (key, value) = line.split_once('=').ok_or(malformed)?;
        if key == "errno" {
            return Errno::parse(value).ok_or(malformed)?.map(|()| shown).map_err(ReplyError::Refused);
        }
        take(&mut shown, key, value).ok_or(malformed)?;
    }
    Err(ReplyError::Malformed { line: lines + 1 })
}

fn take(shown: &mut Shown, key: &str, value: &str) -> Option<()> {
    if key == "public_key" {
        shown.peers.push(ShownPeer::new(PublicKey::from_hex(value).ok()?));
        return Some(());
    }
    match shown.peers.last_mut() {
        None => match key {
            "private_key" => shown.private_key = Some(PrivateKey::from_hex(value).ok()?).filter(|k| !k.is_none()),
            "listen_port" => shown.listen_port = number(value).ok()?,
            "fwmark" => shown.fwmark = number(value).ok()?,
            _ => {}
        },
        Some(peer) => peer.take(key, value)?,
    }
    Some(())
}

impl ShownPeer {
    const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            persistent_keepalive: 0,
            allowed_ips: Vec::new(),
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "preshared_key" => self.preshared_key = Some(PresharedKey::from_hex(value).ok()?).filter(|k| !k.is_none()),
            "protocol_version" => return (value == "1").then_some(()),
            "endpoint" => self.endpoint = Some(endpoint(value, |_| Some(0))?),
            "last_handshake_time_sec" => self.add_handshake(Duration::from_secs(number(value).ok()?))?,
            "last_handshake_time_nsec" => self.add_handshake(Duration::from_nanos(u64::from(nanos(value)?)))?,
            "tx_bytes" => self.tx_bytes = number(value).ok()?,
            "rx_bytes" => self.rx_bytes = number(value).ok()?,
            "persistent_keepalive_interval" => self.persistent_keepalive = number(value).ok()?,
            "allowed_ip" => self.allowed_ips.push(value.parse().ok()?),
            _ => {}
        }
        Some(())
    }

    /// Seconds and nanoseconds come in lines of their own; both zero is "never".
    fn add_handshake(&mut self, part: Duration) -> Option<()> {
        let sum = self.last_handshake.unwrap_or_default().checked_add(part)?;
        self.last_handshake = (!sum.is_zero()).then_some(sum);
        Some(())
    }
}

fn nanos(value: &str) -> Option<u32> {
    number(value).ok().filter(|n| *n < 1_000_000_000)
}

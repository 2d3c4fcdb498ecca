//! Requests: bytes in, a line at a time, values out. Holds one line and what the lines before it said.
//!
//! Not here: answers (`shown`, `errno`), the client's side (`client`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use zeroize::{Zeroize as _, Zeroizing};

use super::{Errno, Set};
use crate::{AllowedIpChange, PeerChange, PresharedKey, PrivateKey, PublicKey};

/// The longest line, without its end. The longest that means anything is an IPv6 endpoint with the name of an interface.
pub const MAX_LINE: usize = 256;
/// The most peers in one `set`, as many as the kernel allows a device.
pub const MAX_PEERS: usize = 1 << 20;
/// The most allowed networks in one `set`, of all its peers together.
pub const MAX_PREFIXES: usize = 1 << 21;

/// What a client asks for.
#[derive(Debug)]
pub enum Request {
    /// `get=1`: answer with [`emit_get`](super::emit_get).
    Get,
    /// `set=1`: do what the set says, also if an error comes with it: it is of a line after those that are in the set, and
    /// earlier lines stay applied (reference W-115). Answer with [`Errno::answer_set`].
    Set(Set, Result<(), Errno>),
    /// Neither. What follows on the connection has no meaning: close it.
    Malformed,
}

/// Makes requests of bytes.
///
/// ```
/// use adit_wireguard::uapi::{Parser, Request};
///
/// let mut parser = Parser::new();
/// let mut bytes: &[u8] = b"set=1\nlisten_port=51820\n\nget=1\n\n";
/// let Some(Request::Set(set, Ok(()))) = parser.feed(&mut bytes) else { panic!() };
/// assert_eq!(set.listen_port, Some(51820));
/// assert!(matches!(parser.feed(&mut bytes), Some(Request::Get)));
/// assert!(parser.feed(&mut bytes).is_none());
/// ```
#[derive(Debug)]
pub struct Parser {
    /// The line so far; may hold a key, so it never moves and is wiped.
    line: Zeroizing<Vec<u8>>,
    /// The line is longer than `MAX_LINE`; its bytes are thrown away.
    overlong: bool,
    state: State,
    scope_id: fn(&str) -> Option<u32>,
}

#[derive(Debug)]
enum State {
    Operation,
    Get,
    Set(Box<Progress>),
}

/// A `set` under way.
#[derive(Debug, Default)]
struct Progress {
    set: Set,
    prefixes: usize,
    wrong: Option<Errno>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self::with_scopes(|_| None)
    }

    /// With a way to learn the index of an interface, for endpoints like `[fe80::1%eth0]:51820`; numbers need none.
    pub fn with_scopes(scope_id: fn(&str) -> Option<u32>) -> Self {
        Self { line: Zeroizing::new(Vec::with_capacity(MAX_LINE)), overlong: false, state: State::Operation, scope_id }
    }

    /// Takes bytes from the front of `bytes` until a request is whole, or all are taken.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Request> {
        loop {
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                self.keep(bytes);
                *bytes = &[];
                return None;
            };
            let (line, rest) = bytes.split_at_checked(end)?;
            *bytes = rest.get(1..)?;
            self.keep(line);
            if let Some(request) = self.end_line() {
                return Some(request);
            }
        }
    }

    /// The client sends no more. A `set` may end so, in place of its blank line (reference W-112).
    pub fn finish(&mut self) -> Option<Request> {
        let pending = !self.line.is_empty() || self.overlong;
        let request = if pending { self.end_line() } else { None };
        request.or_else(|| match std::mem::replace(&mut self.state, State::Operation) {
            State::Operation => None,
            State::Get => Some(Request::Malformed),
            State::Set(progress) => Some(progress.finish()),
        })
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_LINE {
            self.overlong = true;
        }
        if !self.overlong {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) -> Option<Request> {
        let line = if self.overlong { None } else { std::str::from_utf8(&self.line).ok() };
        let request = match (std::mem::replace(&mut self.state, State::Operation), line) {
            (State::Operation, Some("get=1")) => {
                self.state = State::Get;
                None
            }
            (State::Operation, Some("set=1")) => {
                self.state = State::Set(Box::default());
                None
            }
            (State::Operation, _) => Some(Request::Malformed),
            (State::Get, Some("")) => Some(Request::Get),
            (State::Get, _) => Some(Request::Malformed),
            (State::Set(progress), Some("")) => Some(progress.finish()),
            (State::Set(mut progress), line) => {
                progress.take_line(line, self.scope_id);
                self.state = State::Set(progress);
                None
            }
        };
        self.line.zeroize(); // and empties it; the capacity stays
        self.overlong = false;
        request
    }
}

impl Progress {
    fn finish(self) -> Request {
        Request::Set(self.set, self.wrong.map_or(Ok(()), Err))
    }

    /// After the first wrong line the others are read, so that the client can finish writing, and not looked at.
    fn take_line(&mut self, line: Option<&str>, scope_id: fn(&str) -> Option<u32>) {
        if self.wrong.is_none()
            && let Err(errno) = self.set_from(line, scope_id)
        {
            self.wrong = Some(errno);
        }
    }

    fn set_from(&mut self, line: Option<&str>, scope_id: fn(&str) -> Option<u32>) -> Result<(), Errno> {
        let (key, value) = line.and_then(|l| l.split_once('=')).ok_or(Errno::EPROTO)?;
        if key == "public_key" {
            if self.set.change.peers.len() == MAX_PEERS {
                return Err(Errno::E2BIG);
            }
            let key = PublicKey::from_hex(value).map_err(|_| Errno::EINVAL)?;
            self.set.change.peers.push(PeerChange::new(key));
            return Ok(());
        }
        match self.set.change.peers.last_mut() {
            None => set_device(&mut self.set, key, value),
            Some(peer) if key == "allowed_ip" => {
                if self.prefixes == MAX_PREFIXES {
                    return Err(Errno::E2BIG);
                }
                self.prefixes += 1;
                peer.allowed_ips.push(allowed_ip(value).ok_or(Errno::EINVAL)?);
                Ok(())
            }
            Some(peer) => set_peer(peer, key, value, scope_id),
        }
    }
}

fn set_device(set: &mut Set, key: &str, value: &str) -> Result<(), Errno> {
    match key {
        "private_key" => {
            set.change.private_key = Some(PrivateKey::from_hex(value).map_err(|_| Errno::EINVAL)?);
        }
        "listen_port" => set.listen_port = Some(number(value)?),
        "fwmark" => set.fwmark = Some(number(value)?),
        "replace_peers" => set.change.replace_peers = only_true(value)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn set_peer(peer: &mut PeerChange, key: &str, value: &str, scope_id: fn(&str) -> Option<u32>) -> Result<(), Errno> {
    match key {
        "remove" => peer.remove = only_true(value)?,
        "update_only" => peer.update_only = only_true(value)?,
        "preshared_key" => {
            peer.preshared_key = Some(PresharedKey::from_hex(value).map_err(|_| Errno::EINVAL)?);
        }
        "endpoint" => peer.endpoint = Some(endpoint(value, scope_id).ok_or(Errno::EINVAL)?),
        "persistent_keepalive_interval" => peer.persistent_keepalive = Some(number(value)?),
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = only_true(value)?;
            peer.allowed_ips.clear(); // what the lines before gave goes too
        }
        "protocol_version" if value == "1" => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn only_true(value: &str) -> Result<bool, Errno> {
    if value == "true" { Ok(true) } else { Err(Errno::EINVAL) }
}

/// Digits, and nothing but digits: `FromStr` would take a plus sign.
pub(super) fn number<N: std::str::FromStr>(value: &str) -> Result<N, Errno> {
    if !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Errno::EINVAL);
    }
    value.parse().map_err(|_| Errno::EINVAL)
}

fn allowed_ip(value: &str) -> Option<AllowedIpChange> {
    match value.strip_prefix('-') {
        Some(net) => Some(AllowedIpChange::Remove(net.parse().ok()?)),
        None => Some(AllowedIpChange::Add(value.parse().ok()?)),
    }
}

/// An address and a port; an IPv4 address written as an IPv6 one is taken as what it is.
pub(super) fn endpoint(value: &str, scope_id: fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let address: SocketAddr = match value.parse() {
        Ok(address) => address,
        Err(_) => {
            let (ip, rest) = value.strip_prefix('[')?.split_once('%')?;
            let (scope, port) = rest.split_once("]:")?;
            let ip: Ipv6Addr = ip.parse().ok()?;
            SocketAddrV6::new(ip, number(port).ok()?, 0, scope_id(scope)?).into()
        }
    };
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => Some(SocketAddr::new(ip, address.port())),
        IpAddr::V6(_) => Some(address),
    }
}

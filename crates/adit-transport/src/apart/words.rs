//! What the daemon and the process of the web site say to each other, besides datagrams.
//!
//! Each message is a length, a kind and a body. What is secret goes as bytes that are wiped, the rest as JSON. Not here: when
//! what is said (`keeper`, `half`).

use std::io;
use std::net::IpAddr;

use adit_protocol::Secret;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use crate::config::{Front, Site, User};
use crate::shape::Settings;

/// The longest message to the process of the web site: the users of a network many times larger than is promised.
pub(super) const MAX_TOLD: usize = 16 << 20;
/// The longest message from it: a count for each of the most streams that it may have.
pub(super) const MAX_SAID: usize = 256 << 10;
/// Bytes before a body.
pub(super) const HEAD: usize = 5;
/// The longest key id of a user.
const MAX_ID: usize = u8::MAX as usize;

/// What the web site is: settings that stay while its process lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// How many listening sockets come with it.
    pub(super) sockets: usize,
    pub(super) front: Front,
    pub(super) site: Site,
    pub(super) shape: Settings,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pem {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Secretly,
}

/// Bytes that wipe themselves and never print.
#[derive(Clone)]
pub(crate) struct Secretly(pub(crate) Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Secretly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secretly(…)")
    }
}

/// What the daemon says.
#[derive(Debug)]
pub(super) enum Told {
    /// The first message; the stream of datagrams and the listening sockets come with it.
    Start(Start),
    /// Show this certificate from now on.
    Certificate(Pem),
    /// These may use the tunnel from now on.
    Users(Vec<User>),
    /// What came of [`Said::LookUp`].
    Addresses(Addresses),
    /// Say how it is now.
    Report,
}

/// Where a host is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addresses {
    pub(super) name: String,
    pub(super) found: Result<Vec<IpAddr>, String>,
}

/// What the process of the web site says. It may be anybody's by now.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// Visitors are let in.
    Serving,
    /// There is something in the settings that it cannot do.
    Failed { denied: bool, why: String },
    /// How it is; said when that changes, and now and then.
    Now { connections: usize, streams: Vec<(String, usize)>, pin: Option<String> },
    /// Where is this host?
    LookUp(String),
}

const START: u8 = 1;
const CERTIFICATE: u8 = 2;
const USERS: u8 = 3;
const ADDRESSES: u8 = 4;
const REPORT: u8 = 5;
const SAID: u8 = 6;

impl Told {
    /// As bytes.
    pub(super) fn emit(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Start(start) => json(START, start, MAX_TOLD),
            Self::Certificate(pem) => {
                let (chain, key) = (&pem.chain, &pem.key.0);
                let mut out = begin(CERTIFICATE, 4 + chain.len() + key.len(), MAX_TOLD)?;
                out.extend_from_slice(&(chain.len() as u32).to_le_bytes());
                out.extend_from_slice(chain);
                out.extend_from_slice(key);
                Ok(out)
            }
            Self::Users(users) => emit_users(users),
            Self::Addresses(addresses) => json(ADDRESSES, addresses, MAX_TOLD),
            Self::Report => begin(REPORT, 0, MAX_TOLD),
        }
    }

    pub(super) fn parse(kind: u8, body: &[u8]) -> io::Result<Self> {
        match kind {
            START => Ok(Self::Start(serde_json::from_slice(body)?)),
            CERTIFICATE => {
                let (len, rest) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
                let (chain, key) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(malformed)?;
                Ok(Self::Certificate(Pem { chain: chain.to_vec(), key: Secretly(Zeroizing::new(key.to_vec())) }))
            }
            USERS => parse_users(body).map(Self::Users).ok_or_else(malformed),
            ADDRESSES => Ok(Self::Addresses(serde_json::from_slice(body)?)),
            REPORT => Ok(Self::Report),
            _ => Err(malformed()),
        }
    }
}

impl Said {
    pub(super) fn emit(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        json(SAID, self, MAX_SAID)
    }

    pub(super) fn parse(kind: u8, body: &[u8]) -> io::Result<Self> {
        // The error of JSON would repeat what was said.
        if kind == SAID { serde_json::from_slice(body).map_err(|_| malformed()) } else { Err(malformed()) }
    }
}

/// The users as a message: of each the length of its id, the id, its key, and its secret if it has one.
pub(super) fn emit_users(users: &[User]) -> io::Result<Zeroizing<Vec<u8>>> {
    let len_of = |user: &User| 1 + user.id.len() + 32 + 1 + user.token_secret.as_ref().map_or(0, |_| 32);
    // Its whole length at once: what grows leaves copies of secrets behind.
    let mut out = begin(USERS, users.iter().map(len_of).sum(), MAX_TOLD)?;
    for user in users {
        let id_len = u8::try_from(user.id.len()).map_err(|_| too_long("the id of a user", MAX_ID))?;
        out.push(id_len);
        out.extend_from_slice(&user.id);
        out.extend_from_slice(&user.public_key);
        out.push(u8::from(user.token_secret.is_some()));
        if let Some(secret) = &user.token_secret {
            out.extend_from_slice(secret.expose());
        }
    }
    Ok(out)
}

fn parse_users(mut body: &[u8]) -> Option<Vec<User>> {
    let mut users = Vec::new();
    while let Some((id_len, rest)) = body.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(*id_len))?;
        let (public_key, rest) = rest.split_first_chunk::<32>()?;
        let (has_secret, rest) = rest.split_first()?;
        let (token_secret, rest) = match has_secret {
            0 => (None, rest),
            1 => {
                let (secret, rest) = rest.split_first_chunk::<32>()?;
                (Some(Secret::new(*secret)), rest)
            }
            _ => return None,
        };
        users.push(User { id: id.to_vec(), public_key: *public_key, token_secret });
        body = rest;
    }
    Some(users)
}

/// The next message, as its kind and body; `None` at the end of the stream. Not to be dropped before it is ready.
pub(super) async fn hear(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> io::Result<Option<(u8, Zeroizing<Vec<u8>>)>> {
    let mut head = [0; HEAD];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let (kind, len) = parse_head(head, max)?;
    let mut body = Zeroizing::new(vec![0; len]);
    from.read_exact(&mut body).await?;
    Ok(Some((kind, body)))
}

/// What a head says of the body behind it: its kind and length.
pub(super) fn parse_head(head: [u8; HEAD], max: usize) -> io::Result<(u8, usize)> {
    let [kind, len @ ..] = head;
    let len = u32::from_le_bytes(len) as usize;
    if len > max { Err(malformed()) } else { Ok((kind, len)) }
}

fn begin(kind: u8, len: usize, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    if len > max {
        return Err(too_long("a message to or from the process of the web site", max));
    }
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD + len));
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    Ok(out)
}

fn json(kind: u8, message: &impl Serialize, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let body = serde_json::to_vec(message)?;
    let mut out = begin(kind, body.len(), max)?;
    out.extend_from_slice(&body);
    Ok(out)
}

fn too_long(what: &str, max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} has more than {max} bytes"))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process said what nobody understands")
}

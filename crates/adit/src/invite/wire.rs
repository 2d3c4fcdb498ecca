//! An invite as bytes: fixed fields, texts with their length before them, and a check at the end.
//!
//! The check (CRC-32) finds whatever happens to a link on its way; against forgers it need do nothing, for who makes up an
//! invite invites to his own network. Bytes between the last known field and the check are of a later day, and skipped.

use adit_protocol::Secret;
use adit_transport::config::Pin;
use adit_wireguard::PublicKey;
use zeroize::Zeroizing;

use super::{HttpsOffer, Invite, LinkError, MAX_LINK};

/// No web site.
const NO_HTTPS: u8 = 0;
/// One that a certificate authority vouches for.
const PUBLIC: u8 = 1;
/// One with a pinned key.
const PINNED: u8 = 2;
/// Bytes of the check.
const CHECK: usize = 4;

/// The bytes, check and all. Of an invite that was checked, so that every length fits in its byte.
pub(super) fn emit(invite: &Invite) -> Zeroizing<Vec<u8>> {
    // Room for the longest, so that growing leaves no copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(4 * MAX_LINK));
    out.extend_from_slice(invite.secret.expose());
    out.extend_from_slice(invite.server.as_bytes());
    out.extend_from_slice(&invite.prefix);
    out.extend_from_slice(&invite.expires.to_be_bytes());
    text(&mut out, &invite.network);
    out.push(invite.hosts.len() as u8);
    for host in &invite.hosts {
        text(&mut out, host);
    }
    out.extend_from_slice(&invite.udp_port.unwrap_or(0).to_be_bytes());
    match &invite.https {
        None => out.push(NO_HTTPS),
        Some(https) => {
            out.push(if https.pin.is_some() { PINNED } else { PUBLIC });
            text(&mut out, &https.name);
            out.extend_from_slice(&https.port.to_be_bytes());
            if let Some(pin) = &https.pin {
                out.extend_from_slice(pin.hash());
            }
        }
    }
    let check = crc32fast::hash(&out).to_le_bytes();
    out.extend_from_slice(&check);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// The invite that these bytes stand for. What its fields say is not judged here.
pub(super) fn parse(bytes: &[u8]) -> Result<Invite, LinkError> {
    let (body, check) = bytes.split_last_chunk::<CHECK>().ok_or(LinkError::Altered)?;
    if crc32fast::hash(body).to_le_bytes() != *check {
        return Err(LinkError::Altered);
    }
    fields(&mut Bytes(body)).ok_or(LinkError::Unsound("something is missing in it"))
}

fn fields(bytes: &mut Bytes<'_>) -> Option<Invite> {
    let secret = Secret::new(bytes.take()?);
    let server = PublicKey::new(bytes.take()?);
    let prefix = bytes.take()?;
    let expires = u64::from_be_bytes(bytes.take()?);
    let network = bytes.text()?;
    let [hosts] = bytes.take()?;
    let hosts = (0..hosts).map(|_| bytes.text()).collect::<Option<_>>()?;
    let udp_port = Some(bytes.port()?).filter(|port| *port != 0);
    let https = match bytes.take()? {
        [NO_HTTPS] => None,
        [kind @ (PUBLIC | PINNED)] => Some(HttpsOffer {
            name: bytes.text()?,
            port: bytes.port()?,
            pin: if kind == PINNED { Some(Pin::from_hash(bytes.take()?)) } else { None },
        }),
        [_] => return None,
    };
    Some(Invite { network, secret, expires, server, prefix, hosts, udp_port, https })
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let [len] = self.take()?;
        let (text, rest) = self.0.split_at_checked(usize::from(len))?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }
}

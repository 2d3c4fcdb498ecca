//! How the two ends of the HTTPS transport are configured: plain values, without files, profiles or people.
//!
//! Not here: where they come from (`adit`), what is done with them (`client`, `server`).

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use adit_protocol::Secret;
use aws_lc_rs::digest;
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::shape::Settings;

/// What a client needs to reach one server.
#[derive(Debug)]
pub struct HttpsClient {
    /// The name of the web site: server name of the TLS handshake and authority of every request.
    pub host: String,
    /// The port of the web site.
    pub port: u16,
    /// Where it is; if empty, `host` is resolved.
    pub addresses: Vec<SocketAddr>,
    /// Keys of which the server must prove one. May be empty only with [`Roots::System`].
    pub pins: Vec<Pin>,
    /// Who must vouch for the certificate besides.
    pub roots: Roots,
    /// What the TLS handshake looks like.
    pub hello: Hello,
    /// Who we are to the server.
    pub identity: Identity,
    /// How the tunnel is asked for.
    pub route: Route,
    /// The firewall mark of the sockets; 0 is none.
    pub fwmark: u32,
    /// What is done about the shape of what we send.
    pub shape: Settings,
    /// Whether the page of the web site is loaded before the tunnel is asked for.
    pub visit: bool,
    /// Where validators of pages that were loaded are kept from one run to the next; `None` keeps them in memory only.
    pub cache: Option<PathBuf>,
}

/// Who must vouch for a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// One of the machine's certificate authorities, for the host's name and now.
    System,
    /// Nobody: only the pinned key counts. For self-signed certificates.
    PinOnly,
}

/// What the TLS handshake of a client looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// Chromium's. Needs the feature `chrome`.
    Browser,
    /// That of rustls: HTTPS, but no browser.
    Plain,
}

/// How the tunnel is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// CONNECT-UDP (RFC 9298) to this target as the server names it.
    ConnectUdp {
        /// Host part of the target.
        target: String,
        /// Its UDP port.
        port: u16,
    },
    /// A stream in the shape of gRPC, for a server behind a front that passes no CONNECT.
    Grpc {
        /// The path that the front hands on, as `/service/method`.
        path: String,
    },
}

/// Who a client is to the server. Made from ready keys; wiped when dropped, never printed.
pub struct Identity {
    /// The seed of the Ed25519 key (RFC 8032) that signs the TLS exporter.
    pub seed: Secret<32>,
    /// The secret of the token, for [`Route::Grpc`].
    pub token_secret: Option<Secret<32>>,
}

/// What a server is.
#[derive(Debug)]
pub struct HttpsServer {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Who ends TLS.
    pub front: Front,
    /// What everybody sees.
    pub site: Site,
    /// Who may use the tunnel.
    pub users: Vec<User>,
    /// What is done about the shape of what is sent to them.
    pub shape: Settings,
}

/// Who ends TLS in front of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Front {
    /// The server itself, with these certificates.
    Direct(Certificates),
    /// Another web server on this machine, which hands requests on in clear text.
    Behind {
        /// Where it is kept which tokens were used; with `None`, only tokens made after the start are good.
        replays: Option<PathBuf>,
    },
}

/// Where a server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Certificates {
    /// PEM files, read again when they change.
    Files {
        /// The certificate and those that vouch for it.
        chain: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// An authority that speaks ACME (RFC 8555).
    Acme {
        /// The names of the site.
        domains: Vec<String>,
        /// Where the authority's directory is.
        directory_url: String,
        /// An address for its mails, as `mailto:…`.
        contact: Option<String>,
        /// Where account and certificates are kept.
        cache: PathBuf,
        /// A PEM file that vouches for the authority's own server, if the machine's roots do not.
        root: Option<PathBuf>,
    },
    /// Made at the start, vouched for by nobody: for a lab, with a pin at the client.
    SelfSigned {
        /// The names of the site.
        names: Vec<String>,
    },
}

/// What strangers see, and users too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Site {
    /// The files below this directory.
    Directory(PathBuf),
    /// Another web server.
    Proxy {
        /// Where, as `http://host:port` or `https://host:port`.
        url: String,
        /// A PEM file that vouches for it if it speaks TLS; with `None` the machine's authorities do.
        root: Option<PathBuf>,
    },
}

/// Somebody who may use the tunnel.
pub struct User {
    /// The key id of RFC 9729.
    pub id: Vec<u8>,
    /// The Ed25519 key that must have signed.
    pub public_key: [u8; 32],
    /// The secret of the token, for servers behind a front.
    pub token_secret: Option<Secret<32>>,
}

/// Bytes of a key id: the beginning of the SHA-256 of the Ed25519 public key.
pub const KEY_ID_LEN: usize = 16;

/// The SHA-256 of the public key (`SubjectPublicKeyInfo`, DER) that a server must prove to have.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// A pin that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is `sha256/` and 44 letters of base64, as `adit` on the server prints it")]
pub struct BadPin;

impl HttpsClient {
    /// The authority of every request: the port is named only where it is not the usual one.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl HttpsServer {
    /// The URLs of other servers that it asks.
    pub(crate) fn urls(&self) -> Vec<&str> {
        let authority = match &self.front {
            Front::Direct(Certificates::Acme { directory_url, .. }) => Some(directory_url.as_str()),
            Front::Direct(Certificates::Files { .. } | Certificates::SelfSigned { .. }) | Front::Behind { .. } => None,
        };
        let behind = match &self.site {
            Site::Proxy { url, .. } => Some(url.as_str()),
            Site::Directory(_) => None,
        };
        authority.into_iter().chain(behind).collect()
    }
}

impl User {
    /// A user by key; the id is [`key_id`] of it.
    pub fn new(public_key: [u8; 32], token_secret: Option<Secret<32>>) -> Self {
        Self { id: key_id(&public_key).to_vec(), public_key, token_secret }
    }
}

/// The key id of a user: by what the server finds the key.
pub fn key_id(public_key: &[u8; 32]) -> [u8; KEY_ID_LEN] {
    let hash = digest::digest(&digest::SHA256, public_key);
    let mut id = [0; KEY_ID_LEN];
    id.copy_from_slice(&hash.as_ref()[..KEY_ID_LEN]);
    id
}

impl Pin {
    /// The pin of a key given as `SubjectPublicKeyInfo` in DER.
    pub fn of(spki: &[u8]) -> Self {
        let mut pin = [0; 32];
        pin.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        Self(pin)
    }

    /// From the hash itself.
    pub const fn from_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let letters = text.trim().strip_prefix("sha256/").ok_or(BadPin)?;
        let mut pin = [0; 32];
        let read = Base64::decode(letters, &mut pin).map_err(|_| BadPin)?;
        if read.len() == pin.len() { Ok(Self(pin)) } else { Err(BadPin) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = Pin::of(b"a key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().len(), "sha256/".len() + 44);
        for bad in ["", "sha256/", "sha256/AAAA", "AAAA", &format!("{pin}A"), &pin.to_string()[..50]] {
            assert_eq!(bad.parse::<Pin>(), Err(BadPin), "{bad:?}");
        }
    }

    #[test]
    fn what_is_secret_never_prints() {
        let identity = Identity { seed: Secret::new([0x5a; 32]), token_secret: Some(Secret::new([0x5a; 32])) };
        assert_eq!(format!("{identity:?}"), "Identity(…)");
        let user = User::new([7; 32], Some(Secret::new([0x5a; 32])));
        assert!(!format!("{user:?}").contains("90"), "{user:?}");
    }

    #[test]
    fn a_key_id_is_the_beginning_of_the_hash_of_the_key() {
        let id = key_id(&[0; 32]);
        // SHA-256 of 32 zero bytes.
        assert_eq!(id, *b"\x66\x68\x7a\xad\xf8\x62\xbd\x77\x6c\x8f\xc1\x8b\x8e\x9f\x8e\x20");
        assert_ne!(key_id(&[1; 32]), id);
    }

    #[test]
    fn the_usual_port_is_not_named() {
        let mut client = HttpsClient {
            host: "example.org".into(),
            port: 443,
            addresses: vec![],
            pins: vec![],
            roots: Roots::System,
            hello: Hello::Plain,
            identity: Identity { seed: Secret::new([0; 32]), token_secret: None },
            route: Route::Grpc { path: "/a/b".into() },
            fwmark: 0,
            shape: Settings::default(),
            visit: true,
            cache: None,
        };
        assert_eq!(client.authority(), "example.org");
        client.port = 8443;
        assert_eq!(client.authority(), "example.org:8443");
    }
}

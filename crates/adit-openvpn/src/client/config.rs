//! How a client is configured: plain values. Not here: the text of configuration files.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::Path;

use crate::constants::LINK_MTU_ADDED;
use crate::data::{Framing, MssFix};
use crate::key_file::{ClientKey, StaticKey};
use crate::options::Pulling;
use crate::session::{Credentials, Times};
use crate::tls::TlsSettings;
use crate::wrap::{Direction, Envelope};
use crate::{Cipher, Digest, Role};

/// The envelope of control packets.
#[derive(Debug, Default)]
pub enum ControlWrap {
    /// None: everybody may try.
    #[default]
    Plain,
    /// `tls-auth`.
    TlsAuth {
        /// The key that all share.
        key: StaticKey,
        /// The hash of its MAC (`auth`).
        digest: Digest,
        /// Which half is for sending (`key-direction`).
        direction: Option<Direction>,
    },
    /// `tls-crypt`.
    TlsCrypt(StaticKey),
    /// `tls-crypt-v2`.
    TlsCryptV2(ClientKey),
}

/// A way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Where packets to it go.
    pub path: Path,
    /// Which of [`ClientConfig::wraps`] its control packets have, from 0; what is not there is plain.
    pub wrap: usize,
}

/// A server with the first envelope.
impl From<Path> for Remote {
    fn from(path: Path) -> Self {
        Self { path, wrap: 0 }
    }
}

/// A client's configuration.
#[derive(Debug)]
pub struct ClientConfig {
    /// The servers, tried in this order, again and again.
    pub remotes: Vec<Remote>,
    /// Whether the carrier is a stream (TCP): only said to the server, which compares it.
    pub stream: bool,
    /// The envelopes of control packets: one for all servers, or those that [`Remote::wrap`] counts.
    pub wraps: Vec<ControlWrap>,
    /// Certificates and rules.
    pub tls: TlsSettings,
    /// Ciphers that the server may choose from (`data-ciphers`).
    pub ciphers: Vec<Cipher>,
    /// The cipher for a server that chooses none (`data-ciphers-fallback`).
    pub fallback_cipher: Option<Cipher>,
    /// The MAC of ciphers without their own (`auth`).
    pub digest: Digest,
    /// How packets say that they are not compressed, unless the server says otherwise.
    pub framing: Framing,
    /// No datagram is longer than this, its headers not counted; longer packets are cut (`fragment`). The server must have
    /// the option too, with whatever size.
    pub fragment: Option<u16>,
    /// How large the segments of TCP inside may be (`mssfix`); where nothing is said, [`MssFix::unsaid`].
    pub mssfix: MssFix,
    /// Name and password, if the server asks for them.
    pub credentials: Option<Credentials>,
    /// Which of the server's settings are taken (`pull-filter`). Routes are left to whoever knows the machine.
    pub pulling: Pulling,
    /// Lines of our own for the server, `NAME=value` (`setenv UV_…`, `push-peer-info`).
    pub peer_info: Vec<String>,
    /// Nothing of IPv6 goes to the server (`block-ipv6`).
    pub block_ipv6: bool,
    /// `tun-mtu`.
    pub mtu: u16,
    /// When things are due.
    pub times: Times,
    /// `ping`, until the server says otherwise.
    pub ping: Option<Duration>,
    /// `ping-restart`, until the server says otherwise.
    pub ping_restart: Option<Duration>,
    /// Pause before a new attempt, the first and the longest (`connect-retry`).
    pub reconnect: (Duration, Duration),
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            remotes: Vec::new(),
            stream: false,
            wraps: vec![ControlWrap::Plain],
            tls: TlsSettings::default(),
            ciphers: Cipher::DEFAULT.to_vec(),
            fallback_cipher: None,
            digest: Digest::Sha1,
            framing: Framing::None,
            fragment: None,
            mssfix: MssFix::default(),
            credentials: None,
            pulling: Pulling::default(),
            peer_info: Vec::new(),
            block_ipv6: false,
            mtu: 1500,
            times: Times::default(),
            ping: None,
            ping_restart: Some(Duration::from_secs(120)),
            reconnect: (Duration::from_secs(1), Duration::from_secs(300)),
        }
    }
}

/// What we can, as bits of `IV_PROTO`: long headers, settings without being asked, keys from TLS, `AUTH_PENDING`,
/// farewells on the control channel, `AUTH_FAILED,TEMP`, an envelope of their own for later key exchanges, data keys that go on from epoch to epoch,
/// settings that change.
const IV_PROTO: u32 = 2 | 4 | 8 | 16 | 128 | 256 | 512 | 1024 | 4096;

impl ClientConfig {
    /// What the server compares with its own configuration, loosely.
    pub(super) fn options_string(&self) -> String {
        let proto = if self.stream { "TCPv4_CLIENT" } else { "UDPv4" };
        let link = u32::from(self.mtu) + LINK_MTU_ADDED;
        format!("V4,dev-type tun,link-mtu {link},tun-mtu {},proto {proto},key-method 2,tls-client", self.mtu)
    }

    /// The cipher that the server has pushed; else that which it says it is configured with; else ours for such servers.
    /// If we do not offer it, its name.
    pub(super) fn choose(&self, pushed: Option<Cipher>, configured: Option<Cipher>) -> Result<Cipher, String> {
        let offered = |cipher: &Cipher| self.ciphers.contains(cipher);
        let cipher = pushed.or(configured.filter(offered)).or(self.fallback_cipher);
        let cipher = cipher.ok_or_else(|| configured.map_or("none", Cipher::name).to_owned())?;
        if offered(&cipher) || self.fallback_cipher == Some(cipher) {
            Ok(cipher)
        } else {
            Err(cipher.name().to_owned())
        }
    }

    /// What we can, in lines.
    pub(super) fn peer_info(&self) -> String {
        let mut lines = format!("IV_VER=2.6.0\nIV_PLAT=linux\nIV_NCP=2\nIV_PROTO={IV_PROTO}\nIV_MTU=1600\nIV_CIPHERS=");
        let names: Vec<_> = self.ciphers.iter().map(|cipher| cipher.name()).collect();
        lines.push_str(&names.join(":"));
        lines.push_str("\nIV_LZO_STUB=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\n");
        for line in &self.peer_info {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{line}");
        }
        lines
    }
}

/// An envelope as sessions use it.
#[derive(Clone)]
pub(super) struct Wrapped {
    pub(super) envelope: Arc<Envelope>,
    /// What the key of later key exchanges is mixed with.
    pub(super) static_key: Option<Arc<StaticKey>>,
    /// What a client with a key of its own shows; empty without one.
    pub(super) wrapped_key: Arc<[u8]>,
}

impl From<ControlWrap> for Wrapped {
    fn from(wrap: ControlWrap) -> Self {
        let (envelope, static_key, wrapped_key) = match wrap {
            ControlWrap::Plain => (Envelope::Plain, None, Vec::new()),
            ControlWrap::TlsAuth { key, digest, direction } => {
                (Envelope::tls_auth(&key, digest, direction), Some(key), Vec::new())
            }
            ControlWrap::TlsCrypt(key) => (Envelope::tls_crypt(&key, Role::Client), Some(key), Vec::new()),
            ControlWrap::TlsCryptV2(ClientKey { key, wrapped }) => {
                (Envelope::tls_crypt(&key, Role::Client), Some(key), wrapped)
            }
        };
        let static_key = static_key.map(Arc::new);
        Self { envelope: Arc::new(envelope), static_key, wrapped_key: wrapped_key.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_is_the_servers_if_we_offer_it_and_else_ours() {
        let (gcm, chacha, cbc) = (Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305, Cipher::Aes256Cbc);
        let mut config = ClientConfig { ciphers: vec![gcm, chacha], ..ClientConfig::default() };
        assert_eq!(config.choose(Some(chacha), Some(gcm)), Ok(chacha));
        assert_eq!(config.choose(Some(cbc), Some(gcm)), Err("AES-256-CBC".into()));
        assert_eq!(config.choose(None, Some(chacha)), Ok(chacha));
        assert_eq!(config.choose(None, Some(cbc)), Err("AES-256-CBC".into()));
        assert_eq!(config.choose(None, None), Err("none".into()));
        config.fallback_cipher = Some(cbc);
        assert_eq!(config.choose(None, Some(cbc)), Ok(cbc));
        assert_eq!(config.choose(None, None), Ok(cbc));
        assert_eq!(config.choose(None, Some(chacha)), Ok(chacha));
    }

    #[test]
    fn the_largest_packets_can_be_spoken_of() {
        let said = ClientConfig { mtu: u16::MAX, ..ClientConfig::default() }.options_string();
        assert!(said.contains("link-mtu 65576,tun-mtu 65535,"), "{said}");
    }
}

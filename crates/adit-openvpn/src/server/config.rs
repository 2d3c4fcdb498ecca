//! How a server is configured: plain values. Not here: the text of configuration files, and who its clients are.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::constants::LINK_MTU_ADDED;
use crate::key_file::{ServerKey, StaticKey};
use crate::session::Times;
use crate::tls::TlsSettings;
use crate::wrap::tls_crypt_v2::{Metadata, Unwrapper};
use crate::wrap::{Direction, Envelope};
use crate::{Cipher, Digest, Framing, MssFix, Role};

/// The envelope of control packets. `tls-crypt-v2` may be beside one of the two with a common key, not beside none.
#[derive(Debug)]
pub enum ServerWrap {
    /// None: everybody may try.
    Plain,
    /// Those given: a key that all share, a key that wraps those of clients, or both.
    Keyed {
        /// `tls-auth` or `tls-crypt`.
        shared: Option<Box<SharedWrap>>,
        /// `tls-crypt-v2`.
        clients: Option<Box<ServerKey>>,
    },
}

/// An envelope whose key all clients share.
#[derive(Debug)]
pub enum SharedWrap {
    /// `tls-auth`.
    TlsAuth {
        /// The key.
        key: StaticKey,
        /// The hash of its MAC (`auth`).
        digest: Digest,
        /// Which half is for sending.
        direction: Option<Direction>,
    },
    /// `tls-crypt`.
    TlsCrypt(StaticKey),
}

/// A server's configuration.
#[derive(Debug)]
pub struct ServerConfig {
    /// The envelope of control packets.
    pub wrap: ServerWrap,
    /// Certificates and rules for those of clients.
    pub tls: TlsSettings,
    /// Ciphers, the first that a client has too is taken (`data-ciphers`).
    pub ciphers: Vec<Cipher>,
    /// The cipher for clients that name none (`data-ciphers-fallback`).
    pub fallback_cipher: Option<Cipher>,
    /// The MAC of ciphers without their own (`auth`).
    pub digest: Digest,
    /// How packets say that they are not compressed.
    pub framing: Framing,
    /// No datagram is longer than this, its headers not counted; longer packets are cut (`fragment`). All clients must have
    /// the option too, with whatever size.
    pub fragment: Option<u16>,
    /// How large the segments of TCP inside may be (`mssfix`); where nothing is said, [`MssFix::unsaid`].
    pub mssfix: MssFix,
    /// `tun-mtu`.
    pub mtu: u16,
    /// Whether the carrier is a stream (TCP): said to clients, which compare it; and a client's packets come by its own stream only.
    pub stream: bool,
    /// What comes over IPv6 gets silence (`proto udp4`).
    pub only_v4: bool,
    /// When things are due. A server waits a little longer than its clients before it renews keys.
    pub times: Times,
    /// `keepalive`: how often each end says that it is alive, and after which silence a client is to begin anew. The server
    /// waits twice as long.
    pub keepalive: Option<(Duration, Duration)>,
    /// The oldest key of a client that is let in (`tls-crypt-v2-max-age`); with it, keys that do not say when they were made
    /// are not.
    pub max_key_age: Option<Duration>,
    /// Keys of clients that are let in no more, by [`ClientKey::name`](crate::ClientKey::name). They get silence.
    pub refused_keys: BTreeSet<[u8; 32]>,
    /// Clients whose key comes once only (before OpenVPN 2.6) may come in (`tls-crypt-v2 … allow-noncookie`): of the last of them
    /// the key is kept before they have proved their address.
    pub allow_noncookie: bool,
    /// Clients whose keys are let in, each by the 32 bytes that were written into its key ([`Metadata::User`]); changed by
    /// [`Server::know_key`](crate::Server::know_key). Other keys get silence. `None`: whatever was written into them.
    pub known_keys: Option<BTreeSet<[u8; 32]>>,
    /// Clients reach each other, and what is behind them, without leaving the core (`client-to-client`). If not, they are kept
    /// apart.
    pub client_to_client: bool,
    /// What one client sends to another goes inside, like all else: whoever is there may bring it back, or not. Of no meaning
    /// where clients reach each other in the core.
    pub meet_inside: bool,
    /// Clients that are in at one time (`max-clients`). Sessions that are not let in yet have bounds of their own.
    pub max_clients: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            wrap: ServerWrap::Plain,
            tls: TlsSettings::default(),
            ciphers: Cipher::DEFAULT.to_vec(),
            fallback_cipher: None,
            digest: Digest::Sha1,
            framing: Framing::None,
            fragment: None,
            mssfix: MssFix::default(),
            mtu: 1500,
            stream: false,
            only_v4: false,
            times: Times::default(),
            keepalive: Some((Duration::from_secs(10), Duration::from_secs(60))),
            max_key_age: None,
            refused_keys: BTreeSet::new(),
            allow_noncookie: false,
            known_keys: None,
            client_to_client: false,
            meet_inside: false,
            max_clients: 1024,
        }
    }
}

impl ServerConfig {
    /// Whether the key of a client is good, by its name and what was written into it.
    pub(super) fn accepts_key(&self, unix: Duration, name: &[u8; 32], metadata: &Metadata) -> bool {
        let young = |longest: Duration| match metadata {
            Metadata::Timestamp(made) => {
                let age = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX).saturating_sub(*made);
                u64::try_from(age).unwrap_or(0) <= longest.as_secs()
            }
            Metadata::User(_) | Metadata::Other(..) => false,
        };
        let known = |keys: &BTreeSet<[u8; 32]>| match metadata {
            Metadata::User(of) => <&[u8; 32]>::try_from(of.as_slice()).is_ok_and(|of| keys.contains(of)),
            Metadata::Timestamp(_) | Metadata::Other(..) => false,
        };
        self.max_key_age.is_none_or(young)
            && self.known_keys.as_ref().is_none_or(known)
            && !self.refused_keys.contains(name)
    }

    /// What clients compare with their own configuration, loosely.
    pub(super) fn options_string(&self) -> String {
        let proto = if self.stream { "TCPv4_SERVER" } else { "UDPv4" };
        let link = u32::from(self.mtu) + LINK_MTU_ADDED;
        format!("V4,dev-type tun,link-mtu {link},tun-mtu {},proto {proto},key-method 2,tls-server", self.mtu)
    }
}

/// The envelopes, ready for use.
pub(super) struct Envelopes {
    /// For packets without a wrapped key; with what the keys of later exchanges are mixed.
    pub(super) shared: Option<(std::sync::Arc<Envelope>, Option<StaticKey>)>,
    pub(super) clients: Option<Unwrapper>,
}

impl ServerWrap {
    pub(super) fn take(&mut self) -> Envelopes {
        match std::mem::replace(self, Self::Plain) {
            Self::Plain => Envelopes { shared: Some((std::sync::Arc::new(Envelope::Plain), None)), clients: None },
            Self::Keyed { shared, clients } => Envelopes {
                shared: shared.map(|shared| {
                    let (envelope, key) = shared.take();
                    (std::sync::Arc::new(envelope), Some(key))
                }),
                clients: clients.as_deref().map(Unwrapper::new),
            },
        }
    }
}

impl SharedWrap {
    fn take(self) -> (Envelope, StaticKey) {
        match self {
            Self::TlsAuth { key, digest, direction } => (Envelope::tls_auth(&key, digest, direction), key),
            Self::TlsCrypt(key) => (Envelope::tls_crypt(&key, Role::Server), key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_key_must_be_young_enough_and_not_on_the_list() {
        let now = Duration::from_secs(1_000_000);
        let mut config = ServerConfig::default();
        let user = Metadata::User(b"anna".to_vec());
        assert!(config.accepts_key(now, &[1; 32], &user) && config.accepts_key(now, &[1; 32], &Metadata::Timestamp(0)));
        config.max_key_age = Some(Duration::from_secs(1000));
        for (made, good) in
            [(999_000, true), (998_999, false), (0, false), (i64::MIN, false), (1_000_001, true), (i64::MAX, true)]
        {
            assert_eq!(config.accepts_key(now, &[1; 32], &Metadata::Timestamp(made)), good, "{made}");
        }
        assert!(!config.accepts_key(now, &[1; 32], &user), "it does not say how old it is");
        config.refused_keys.insert([2; 32]);
        assert!(config.accepts_key(now, &[1; 32], &Metadata::Timestamp(999_999)));
        assert!(!config.accepts_key(now, &[2; 32], &Metadata::Timestamp(999_999)));
    }

    #[test]
    fn where_keys_are_known_by_what_is_written_into_them_others_are_not_good() {
        let mut config = ServerConfig { known_keys: Some(BTreeSet::new()), ..ServerConfig::default() };
        let of = |bytes: &[u8]| Metadata::User(bytes.to_vec());
        let good = |config: &ServerConfig, metadata: &Metadata| config.accepts_key(Duration::ZERO, &[1; 32], metadata);
        assert!(!good(&config, &of(&[7; 32])));
        config.known_keys.get_or_insert_default().insert([7; 32]);
        assert!(good(&config, &of(&[7; 32])));
        for other in [of(&[8; 32]), of(&[7; 31]), of(&[7; 33]), Metadata::Timestamp(0), Metadata::Other(9, vec![7; 32])]
        {
            assert!(!good(&config, &other), "{other:?}");
        }
    }

    #[test]
    fn the_largest_packets_can_be_spoken_of() {
        let said = ServerConfig { mtu: u16::MAX, ..ServerConfig::default() }.options_string();
        assert!(said.contains("link-mtu 65576,tun-mtu 65535,"), "{said}");
    }
}

//! News of a server, questions it asks, and changes it can take.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use adit_protocol::Path;
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::Revoked;
use crate::update::Update;
use crate::wrap::tls_crypt_v2::Metadata;

/// Which of a server's clients. A number is given again when its client is gone, so it comes with a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    pub(crate) number: u32,
    pub(crate) count: u64,
}

impl ClientId {
    /// Some client's, for tests of an owner: those that a core asks about have theirs from it.
    pub const fn new(number: u32, count: u64) -> Self {
        Self { number, count }
    }
}

/// News, and a question.
#[derive(Debug)]
pub enum ServerEvent {
    /// May this client come in (or, if it is in, stay)? Answered by [`ServerChange::Answer`].
    Ask(Box<AuthRequest>),
    /// A client has its settings, and packets flow.
    Joined(ClientId),
    /// A client has new keys.
    Renewed(ClientId),
    /// A client's packets come from somewhere else now.
    Moved(ClientId, Path),
    /// A client's control message that means nothing to us (`CR_RESPONSE,…`).
    Said(ClientId, Zeroizing<String>),
    /// What a client that is about to be gone has moved, if it has moved anything.
    Carried(ClientId, Carried),
    /// A client is gone.
    Left(ClientId, String),
}

/// Data packets of one client as they are on the wire, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// From it.
    pub received: u64,
    /// To it.
    pub sent: u64,
}

/// Everything that a client says of itself. Its certificate, if it showed one, is valid by the rules.
#[derive(Debug)]
pub struct AuthRequest {
    /// Who asks.
    pub client: ClientId,
    /// Where from.
    pub from: Path,
    /// The common name of its certificate.
    pub common_name: Option<String>,
    /// SHA-256 of its certificate.
    pub certificate: Option<[u8; 32]>,
    /// What it calls its user.
    pub username: String,
    /// And the password.
    pub password: Password,
    /// What it can, in lines of `NAME=value`.
    pub peer_info: String,
    /// What its key was made with (`tls-crypt-v2`).
    pub metadata: Option<Metadata>,
    /// The name of that key: [`ClientKey::name`](crate::ClientKey::name).
    pub key_name: Option<[u8; 32]>,
    /// Whether it is in already, and renews its keys.
    pub renewal: bool,
}

/// A password, which never prints.
pub struct Password(pub(crate) Zeroizing<String>);

impl Password {
    /// Takes the text over.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text, for comparing it with what is known.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a client is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// Its address, and the network's mask (`topology subnet`) or the other end (`net30`, `p2p`).
    pub address4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Its address and the length of the network's prefix.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// Networks behind it, whose packets go to it and may come from it (`iroute`).
    pub networks: Vec<IpNet>,
    /// More options to push, each as a configuration file would have it.
    pub options: Vec<String>,
}

/// A change.
#[derive(Debug)]
pub enum ServerChange {
    /// The answer to [`ServerEvent::Ask`].
    Answer(ClientId, Answer),
    /// A client must go, at once; it is told so with this control message (`AUTH_FAILED,…`, `RESTART`, `HALT,…`).
    Dismiss(ClientId, String),
    /// A client is gone, whatever it may think: nothing is said to it, and what was its own is free at once. With why.
    Forget(ClientId, String),
    /// Change settings of a client while it is in, if it can (`PUSH_UPDATE`); what cannot change is left away. Which
    /// addresses are the client's does not change by it.
    Update(ClientId, Vec<Update>),
    /// Renew the keys of a client now.
    Renegotiate(ClientId),
    /// Send a control message to a client.
    Say(ClientId, String),
    /// Keys of clients that are let in no more, in place of those before ([`ServerConfig::refused_keys`]). Clients that are
    /// in with one of them must go, at once.
    ///
    /// [`ServerConfig::refused_keys`]: crate::ServerConfig::refused_keys
    RefuseKeys(BTreeSet<[u8; 32]>),
    /// Certificates that are withdrawn, in place of those before (`crl-verify`). Clients that are in with one of them must go, at
    /// once.
    Revoke(Box<Revoked>),
    /// Tell all clients to begin anew elsewhere or later, and let them go.
    Shutdown,
}

/// Whether a client may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may, with these settings; of no meaning but "yes" for one that renews its keys, which are not used before.
    Accept(Box<ClientSettings>),
    /// It may not; it is told why.
    Refuse(String),
    /// Somebody is asked, who may take so long (up to half the time between renewals); another answer follows. What the
    /// client's user is to do is told with [`ServerChange::Say`] (`INFO_PRE,…`).
    Pending(Duration),
}

//! What the HTTPS transport needs, made of a profile: keys derived from those of WireGuard, and the settings of both ends.
//!
//! No further secret is exchanged. A device's Ed25519 key is HKDF-SHA256 of its WireGuard private key, the secret of a pair
//! (for tokens) HKDF-SHA256 of what X25519 makes of the two static keys, each with a label of its own and no salt.
//! Not here: how these are used on the wire (`adit-transport`).

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use adit_protocol::Secret;
use adit_transport::config::{
    Certificates, Front, Hello, HttpsClient, HttpsServer, Identity, Roots, Route, Site, User,
};
use adit_transport::ladder::Asks;
use adit_wireguard::{KeyError, PrivateKey, PublicKey};
use aws_lc_rs::hkdf;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64ct::{Base64, Encoding as _};

use crate::profile::wg_quick::{Host, Peer, Profile, SiteSource, WebFront};

/// The label of a device's Ed25519 seed.
const SEED_LABEL: &[u8] = b"adit https v1 ed25519 seed";
/// The label of the secret that two devices share for tokens.
const TOKEN_LABEL: &[u8] = b"adit https v1 token secret";
/// Where certificates come from if nothing else is said.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// What a server is asked for if no `Endpoint` names its WireGuard socket. An adit server answers for any target.
const USUAL_TARGET: (&str, u16) = ("127.0.0.1", 51820);

/// The Ed25519 public key by which a server knows a device: the value of `HttpsKey`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsKey([u8; 32]);

impl HttpsKey {
    /// The one that belongs to a WireGuard private key.
    pub fn of(key: &PrivateKey) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed(key)?.expose()).ok()?;
        Some(Self(pair.public_key().as_ref().try_into().ok()?))
    }

    /// From its bytes (RFC 8032 §5.1.5).
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 44 characters of base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = Base64::decode(text, &mut bytes).ok()?;
        (read.len() == 32).then_some(Self(bytes))
    }

    /// The bytes (RFC 8032 §5.1.5).
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for HttpsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl FromStr for HttpsKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_base64(text).ok_or(KeyError::Base64)
    }
}

impl fmt::Debug for HttpsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsKey({self})")
    }
}

/// The seed of a device's Ed25519 key.
fn seed(key: &PrivateKey) -> Option<Secret<32>> {
    if key.is_none() {
        return None;
    }
    derive(key.expose(), SEED_LABEL)
}

/// The secret that two devices have together for tokens; the same from either side.
fn token_secret(own: &PrivateKey, peer: &PublicKey) -> Option<Secret<32>> {
    derive(own.agree(peer)?.expose(), TOKEN_LABEL)
}

/// HKDF-SHA256 (RFC 5869) without salt. Always there: 32 bytes are fewer than it can give.
pub(crate) fn derive(secret: &[u8], label: &[u8]) -> Option<Secret<32>> {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let mut out = Secret::new([0; 32]);
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
    pseudorandom.expand(&[label], Len).and_then(|okm| okm.fill(out.expose_mut())).ok()?;
    Some(out)
}

/// The peer of a client that is reached over HTTPS too, or only; at most one, which reading a profile sees to.
pub fn reached_by_https(profile: &Profile) -> Option<&Peer> {
    profile.peers.iter().find(|peer| peer.https.is_some())
}

/// What the client of this profile's HTTPS peer needs. `None` if there is none, or no private key.
pub fn client(profile: &Profile, fwmark: u32, cache: Option<&Path>) -> Option<HttpsClient> {
    let peer = reached_by_https(profile)?;
    let own = profile.interface.private_key.as_ref()?;
    let https = peer.https.as_ref()?;
    let identity = Identity { seed: seed(own)?, token_secret: token_secret(own, &peer.public_key) };
    let (target, port) = match &peer.endpoint {
        Some(endpoint) => (host_text(&endpoint.host), endpoint.port),
        None => (USUAL_TARGET.0.to_owned(), USUAL_TARGET.1),
    };
    let route = match &https.path {
        Some(path) => Route::Grpc { path: path.clone() },
        None => Route::ConnectUdp { target, port },
    };
    Some(HttpsClient {
        host: https.url.host.clone(),
        port: https.url.port,
        addresses: https.addresses.iter().map(|address| SocketAddr::new(*address, https.url.port)).collect(),
        pins: https.pins.clone(),
        roots: https.roots.unwrap_or(Roots::System),
        hello: https.hello.unwrap_or(usual_hello()),
        identity,
        route,
        fwmark,
        shape: https.shape.settings(),
        visit: true,
        cache: cache.map(Path::to_owned),
    })
}

/// A browser's hello where this program has it.
pub const fn usual_hello() -> Hello {
    if cfg!(feature = "chrome") { Hello::Browser } else { Hello::Plain }
}

/// What the web server of this profile is. `None` if it is none. Certificates that are fetched are kept in `state`.
pub fn server(profile: &Profile, state: &Path) -> Option<HttpsServer> {
    let web = profile.web_site.as_ref()?;
    let front = match &web.front {
        WebFront::Behind => Front::Behind { replays: Some(state.join("replays").join("tokens")) },
        WebFront::Files { chain, key } => Front::Direct(Certificates::Files { chain: chain.clone(), key: key.clone() }),
        WebFront::SelfSigned(names) => Front::Direct(Certificates::SelfSigned { names: names.clone() }),
        WebFront::Acme { domains, directory, contact, root } => Front::Direct(Certificates::Acme {
            domains: domains.clone(),
            directory_url: directory.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
            contact: contact.clone(),
            cache: state.join("acme"),
            root: root.clone(),
        }),
    };
    let site = match &web.site {
        SiteSource::Directory(path) => Site::Directory(path.clone()),
        SiteSource::Proxy { url, root } => Site::Proxy { url: url.clone(), root: root.clone() },
    };
    Some(HttpsServer {
        listen: web.listen.iter().flat_map(|listen| listen.addresses()).collect(),
        front,
        site,
        users: users(profile),
        shape: web.shape.settings(),
    })
}

/// Who may use the tunnel of this profile's web server. The secrets of tokens are there only if it is behind another one,
/// where tokens are asked for: each costs a multiplication on the curve.
pub fn users(profile: &Profile) -> Vec<User> {
    let is_behind = profile.web_site.as_ref().is_some_and(|web| web.front == WebFront::Behind);
    let own = profile.interface.private_key.as_ref().filter(|_| is_behind);
    let user = |peer: &Peer| {
        let token = own.and_then(|own| token_secret(own, &peer.public_key));
        Some(User::new(*peer.https_key?.as_bytes(), token))
    };
    profile.peers.iter().filter_map(user).collect()
}

/// Whether a WireGuard message will be answered: an initiation at once, what is no keepalive within ten seconds.
pub fn asks(message: &[u8]) -> Asks {
    match (message.first(), message.len()) {
        (Some(1), INITIATION_LEN) => Asks::AtOnce,
        (_, LEAST_DATA..) => Asks::Something,
        (_, _) => Asks::Nothing,
    }
}

/// Bytes of a handshake initiation (whitepaper §5.4.2).
const INITIATION_LEN: usize = 148;
/// Bytes of a data message that holds the smallest packet there is; an empty one has 32.
const LEAST_DATA: usize = 64;

fn host_text(host: &Host) -> String {
    match host {
        Host::Ip(address) => address.to_string(),
        Host::Zoned(address, _) => address.to_string(),
        Host::Name(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::wg_quick;

    /// Computed by an independent HKDF (Python's `cryptography`).
    #[test]
    fn keys_are_derived_as_documented() {
        let key = PrivateKey::new([0x40; 32]);
        assert_eq!(HttpsKey::of(&key).unwrap().to_string(), "tJoUrsSeOC5KI8B8OWwOWt+si7TtnjDJtKUFNKFKMOI=");
        assert_eq!(HttpsKey::of(&PrivateKey::new([0; 32])), None);
    }

    #[test]
    fn both_ends_have_the_same_token_secret_and_nobody_else() {
        let [a, b, c] = [1, 2, 3].map(|n| PrivateKey::new([n; 32]));
        let of = |own: &PrivateKey, peer: &PrivateKey| *token_secret(own, &peer.public_key()).unwrap().expose();
        assert_eq!(of(&a, &b), of(&b, &a));
        assert_ne!(of(&a, &b), of(&a, &c));
        assert_ne!(of(&a, &b), *a.agree(&b.public_key()).unwrap().expose());
        assert!(token_secret(&a, &PublicKey::new([0; 32])).is_none(), "a key of low order");
    }

    #[test]
    fn a_server_knows_its_clients() {
        let (server_key, client_key) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
        let server = format!(
            "[Interface]\nPrivateKey = {}\n[Https]\nSite = /var/www\nBehind = true\n\
             [Peer]\nPublicKey = {}\nHttpsKey = {}\n[Peer]\nPublicKey = {}\n",
            server_key.to_base64(),
            client_key.public_key(),
            HttpsKey::of(&client_key).unwrap(),
            PrivateKey::new([3; 32]).public_key(),
        );
        let client_text = format!(
            "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nEndpoint = 192.0.2.1:7\nHttpsUrl = https://a.example\n",
            client_key.to_base64(),
            server_key.public_key(),
        );
        let users = users(&wg_quick::parse(&server).profile);
        let client = client(&wg_quick::parse(&client_text).profile, 5, None).unwrap();
        let [user] = &users[..] else { panic!("one user, not {users:?}") };
        assert_eq!(user.token_secret, client.identity.token_secret);
        assert_eq!(user.public_key, *HttpsKey::of(&client_key).unwrap().as_bytes());
        assert_eq!(client.route, Route::ConnectUdp { target: "192.0.2.1".to_owned(), port: 7 });
        assert_eq!((client.fwmark, client.port, client.host.as_str()), (5, 443, "a.example"));
    }

    #[test]
    fn an_initiation_is_answered_at_once_and_a_keepalive_by_nobody() {
        let initiation = [&[1, 0, 0, 0][..], &[7; 144]].concat();
        assert_eq!(asks(&initiation), Asks::AtOnce);
        assert_eq!(asks(&[4; 32]), Asks::Nothing);
        assert_eq!(asks(&[4; 64]), Asks::Something);
        assert_eq!(asks(&[]), Asks::Nothing);
    }
}

//! RFC 9729, the Concealed HTTP authentication scheme: a signature over the TLS connection that cannot be probed for.
//!
//! Pure, and for both ends: what the TLS exporter is asked for, the header made from its answer, and the check of it. Not
//! here: TLS itself, requests, and tokens for servers behind somebody else's TLS (`token`).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::ZeroizeOnDrop;

use crate::config::{KEY_ID_LEN, key_id};

/// §2: the label that the TLS exporter is asked with.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-HTTP-Concealed-Authentication";
/// §2: bytes that the TLS exporter is asked for.
pub const EXPORTED_LEN: usize = 48;
/// The only signature scheme spoken here: `ed25519` of the TLS registry.
pub const ED25519_SCHEME: u16 = 0x0807;

/// §2.2: the part of the exporter's output that is signed.
const SIGNED_LEN: usize = 32;
/// §2.2: the part of the exporter's output that travels with the signature.
const VERIFICATION_LEN: usize = EXPORTED_LEN - SIGNED_LEN;
/// §2.3: what stands before the signed part.
const CONTEXT_STRING: &[u8] = b"HTTP Concealed Authentication";
/// §2.3: spaces before the context string.
const SPACES: usize = 64;
const SIGNATURE_LEN: usize = 64;
/// The longest header value that is looked at; ours is about 260 bytes.
const MAX_HEADER: usize = 2048;
/// The longest key id that is looked at.
const MAX_KEY_ID: usize = 255;

/// What a request asks for, as far as it goes into the signature: the parts of its URI, and the realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `https`.
    pub scheme: &'a str,
    /// The host as in the URI: IPv6 addresses in brackets.
    pub host: &'a str,
    /// The port in the URI, or the scheme's own.
    pub port: u16,
    /// The realm parameter; empty if there is none.
    pub realm: &'a str,
}

/// What the TLS exporter answered for one [`Origin`] and one key.
#[derive(ZeroizeOnDrop)]
pub struct Exported([u8; EXPORTED_LEN]);

/// The key of a client.
pub struct SigningKey(Ed25519KeyPair);

/// The parameters of one `Authorization: Concealed` header, each of the right form; nothing has been checked by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    key_id: Vec<u8>,
    public_key: [u8; 32],
    proof: [u8; SIGNATURE_LEN],
    verification: [u8; VERIFICATION_LEN],
    realm: String,
}

/// The users a server knows, made ready for checks that take the same time whoever asks, and if there are no users at all.
#[derive(Clone)]
pub struct Keys {
    users: Vec<Known>,
    /// A key that nobody has: what is verified against when no user fits.
    nobody: [u8; 32],
}

#[derive(Clone)]
struct Known {
    /// The hash of key id and key together, so that all comparisons are of one length.
    digest: [u8; 32],
    public_key: [u8; 32],
}

impl<'a> Origin<'a> {
    /// The origin of an `https` request without a realm, from its authority (`host` or `host:port`).
    pub fn https(authority: &'a str) -> Option<Self> {
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, if port.is_empty() { 443 } else { port.parse().ok()? }),
            _ => (authority, 443),
        };
        (!host.is_empty()).then_some(Self { scheme: "https", host, port, realm: "" })
    }
}

/// §2.1: the context that the TLS exporter is asked with.
pub fn exporter_context(key_id: &[u8], public_key: &[u8; 32], origin: &Origin<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&ED25519_SCHEME.to_be_bytes());
    put_string(&mut out, key_id);
    put_string(&mut out, public_key);
    put_string(&mut out, origin.scheme.as_bytes());
    put_string(&mut out, origin.host.as_bytes());
    out.extend_from_slice(&origin.port.to_be_bytes());
    put_string(&mut out, origin.realm.as_bytes());
    out
}

impl Exported {
    /// Takes what the exporter gave.
    pub const fn new(bytes: [u8; EXPORTED_LEN]) -> Self {
        Self(bytes)
    }

    fn signed(&self) -> &[u8] {
        &self.0[..SIGNED_LEN]
    }

    fn verification(&self) -> &[u8] {
        &self.0[SIGNED_LEN..]
    }

    /// §2.3: the bytes that are signed.
    fn to_be_signed(&self) -> Vec<u8> {
        let mut out = vec![b' '; SPACES];
        out.extend_from_slice(CONTEXT_STRING);
        out.push(0);
        out.extend_from_slice(self.signed());
        out
    }
}

impl SigningKey {
    /// The key made from these 32 secret bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public key: what a server is told.
    pub fn public_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    /// The key id of our own clients: see [`key_id`].
    pub fn key_id(&self) -> [u8; KEY_ID_LEN] {
        key_id(&self.public_key())
    }

    /// The context to ask the exporter with, for a request to this origin.
    pub fn exporter_context(&self, origin: &Origin<'_>) -> Vec<u8> {
        exporter_context(&self.key_id(), &self.public_key(), origin)
    }

    /// The value of the `Authorization` header, for what the exporter answered. Good for an origin without a realm.
    pub fn authorize(&self, exported: &Exported) -> String {
        let proof = self.0.sign(&exported.to_be_signed());
        format!(
            "Concealed k={}, a={}, p={}, s={ED25519_SCHEME}, v={}",
            Base64UrlUnpadded::encode_string(&self.key_id()),
            Base64UrlUnpadded::encode_string(&self.public_key()),
            Base64UrlUnpadded::encode_string(proof.as_ref()),
            Base64UrlUnpadded::encode_string(exported.verification()),
        )
    }
}

impl Credentials {
    /// Reads the value of an `Authorization` header. `None` unless all five parameters are there once and well formed.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > MAX_HEADER {
            return None;
        }
        let value = std::str::from_utf8(value).ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("concealed") {
            return None;
        }
        let mut found = Parameters::default();
        for parameter in rest.split(',') {
            found.take(parameter.trim_matches([' ', '\t']))?;
        }
        let Parameters { k, a, p, s, v, realm } = found;
        if s? != ED25519_SCHEME.to_string() {
            return None;
        }
        let key_id = k?;
        Some(Self {
            key_id: Base64UrlUnpadded::decode_vec(key_id).ok().filter(|id| id.len() <= MAX_KEY_ID)?,
            public_key: bytes(a?)?,
            proof: bytes(p?)?,
            verification: bytes(v?)?,
            realm: realm.unwrap_or_default().to_owned(),
        })
    }

    /// Credentials that prove nothing, checked in place of none, so that none takes as long as some.
    pub fn of_nobody() -> Self {
        let zeros = (vec![0; KEY_ID_LEN], [0; 32], [0; SIGNATURE_LEN], [0; VERIFICATION_LEN]);
        let (key_id, public_key, proof, verification) = zeros;
        Self { key_id, public_key, proof, verification, realm: String::new() }
    }

    /// The context to ask this connection's exporter with, if the request is for `origin` (whose realm is replaced).
    pub fn exporter_context(&self, origin: &Origin<'_>) -> Vec<u8> {
        exporter_context(&self.key_id, &self.public_key, &Origin { realm: &self.realm, ..*origin })
    }
}

impl Keys {
    /// The users by key id and public key. Their numbers in answers are their places here.
    pub fn new<'a>(users: impl IntoIterator<Item = (&'a [u8], &'a [u8; 32])>) -> Self {
        let users = users
            .into_iter()
            .map(|(id, public_key)| Known { digest: name(id, public_key), public_key: *public_key })
            .collect();
        Self { users, nobody: nobody() }
    }

    /// Which user these credentials prove. Looks at every user, and verifies one signature, whatever they are.
    pub fn verify(&self, credentials: &Credentials, exported: &Exported) -> Option<usize> {
        let digest = name(&credentials.key_id, &credentials.public_key);
        let (mut place, mut known, mut key) = (0_u64, Choice::from(0), self.nobody);
        for (at, user) in (0_u64..).zip(&self.users) {
            let this = user.digest.ct_eq(&digest);
            known |= this;
            place.conditional_assign(&at, this);
            for (byte, of_user) in key.iter_mut().zip(&user.public_key) {
                byte.conditional_assign(of_user, this);
            }
        }
        let bound = credentials.verification.as_slice().ct_eq(exported.verification());
        let signed = UnparsedPublicKey::new(&ED25519, key).verify(&exported.to_be_signed(), &credentials.proof).is_ok();
        let admitted = known & bound & Choice::from(u8::from(signed));
        if bool::from(admitted) { usize::try_from(place).ok() } else { None }
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported(…)")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// The parameters of a header as they stand there.
#[derive(Default)]
struct Parameters<'a> {
    k: Option<&'a str>,
    a: Option<&'a str>,
    p: Option<&'a str>,
    s: Option<&'a str>,
    v: Option<&'a str>,
    realm: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    /// Notes one `name=value`. `None` if it is not of that form, or the second of its name. Unknown ones are passed over.
    fn take(&mut self, parameter: &'a str) -> Option<()> {
        let (name, value) = parameter.split_once('=')?;
        let (name, value) = (name.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
        let place = match name.to_ascii_lowercase().as_str() {
            "k" => &mut self.k,
            "a" => &mut self.a,
            "p" => &mut self.p,
            "s" => &mut self.s,
            "v" => &mut self.v,
            "realm" => {
                let quoted = value.strip_prefix('"').map(|v| v.strip_suffix('"').filter(|v| !v.contains(['"', '\\'])));
                return self.realm.replace(quoted.unwrap_or(Some(value))?).is_none().then_some(());
            }
            _ => return (!name.is_empty()).then_some(()),
        };
        place.replace(value).is_none().then_some(())
    }
}

/// Exactly `N` bytes from base64url without padding.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let len = Base64UrlUnpadded::decode(text, &mut out).ok()?.len();
    (len == N).then_some(out)
}

/// A string with its length before it, as a QUIC variable-length integer of the fewest bytes (RFC 9000 §16).
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..0x40 => out.push(len as u8),
        len @ 0x40..0x4000 => out.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes()),
        len => out.extend_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

/// One fixed-length name for a key id with its key.
fn name(key_id: &[u8], public_key: &[u8; 32]) -> [u8; 32] {
    let mut text = Vec::with_capacity(key_id.len() + 40);
    put_string(&mut text, key_id);
    text.extend_from_slice(public_key);
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, &text).as_ref());
    name
}

/// A valid public key whose private key is forgotten at once.
fn nobody() -> [u8; 32] {
    Ed25519KeyPair::generate().map_or([0; 32], |pair| SigningKey(pair).public_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §2.1, field by field.
    #[test]
    fn the_exporter_context_is_laid_out_as_in_the_rfc() {
        let origin = Origin { scheme: "https", host: "example.org", port: 443, realm: "" };
        let context = exporter_context(b"basement", &[7; 32], &origin);
        let mut want = vec![0x08, 0x07, 8];
        want.extend_from_slice(b"basement");
        want.push(32);
        want.extend_from_slice(&[7; 32]);
        want.push(5);
        want.extend_from_slice(b"https");
        want.push(11);
        want.extend_from_slice(b"example.org");
        want.extend_from_slice(&[0x01, 0xbb, 0]);
        assert_eq!(context, want);
    }

    #[test]
    fn lengths_are_variable_length_integers_of_the_fewest_bytes() {
        for (len, head) in [(63, vec![63]), (64, vec![0x40, 64]), (16_384, vec![0x80, 0, 0x40, 0])] {
            let mut out = Vec::new();
            put_string(&mut out, &vec![1; len]);
            assert_eq!((&out[..head.len()], out.len()), (head.as_slice(), head.len() + len));
        }
    }

    /// §2.3, whose example has a signature input of 32 bytes of 01.
    #[test]
    fn what_is_signed_is_spaces_the_context_a_zero_and_the_input() {
        let signed = Exported::new([1; 48]).to_be_signed();
        assert_eq!(signed[..64], [0x20; 64]);
        assert_eq!(&signed[64..93], b"HTTP Concealed Authentication");
        assert_eq!(signed[93], 0);
        assert_eq!(signed[94..], [1; 32]);
    }

    #[test]
    fn what_a_client_says_a_server_understands() {
        let world = World::new();
        let credentials = Credentials::parse(world.header.as_bytes()).unwrap();
        assert_eq!(credentials.exporter_context(&origin()), world.key.exporter_context(&origin()));
        assert_eq!(world.keys.verify(&credentials, &exported()), Some(1));
    }

    /// §4.6.
    #[test]
    fn the_example_of_the_rfc_is_read() {
        let text = "Concealed k=YmFzZW1lbnQ, a=VGhpcyBpcyBh-HB1YmxpYyBrZXkgaW4gdXNl_GhlcmU, s=2055, \
                    v=dmVyaWZpY2F0aW9u_zE2Qg, p=SW5zZXJ0_HNpZ25hdHVyZSBvZiBub25jZSBoZXJlIHdoaWNoIHRha2VzIDUxMiBiaXRz-GZvciBFZDI1NTE5IQ";
        let credentials = Credentials::parse(text.as_bytes()).unwrap();
        assert_eq!(credentials.key_id, b"basement");
        assert_eq!(&credentials.public_key, b"This is a\xf8public key in use\xfchere");
        assert_eq!(&credentials.verification, b"verification\xff16B");
        assert_eq!(credentials.proof[..20], *b"Insert\xfcsignature of ");
    }

    #[test]
    fn one_flipped_bit_anywhere_in_the_header_admits_nobody() {
        let world = World::new();
        for at in "Concealed ".len()..world.header.len() {
            for bit in 0..8 {
                let mut header = world.header.clone().into_bytes();
                header[at] ^= 1 << bit;
                // The names of parameters are the same in either case (RFC 9110 §11.2), and tabs may stand for spaces.
                let same = header.to_ascii_lowercase() == world.header.to_ascii_lowercase().as_bytes()
                    && header[at.saturating_sub(1)] == b' ';
                let admitted = Credentials::parse(&header).and_then(|c| world.keys.verify(&c, &exported()));
                assert!(admitted.is_none() || same, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_header_is_worth_nothing_on_another_connection() {
        let world = World::new();
        let credentials = Credentials::parse(world.header.as_bytes()).unwrap();
        for byte in 0..EXPORTED_LEN {
            let mut other = [9; EXPORTED_LEN];
            other[byte] ^= 1;
            assert_eq!(world.keys.verify(&credentials, &Exported::new(other)), None, "byte {byte}");
        }
    }

    #[test]
    fn a_stranger_with_a_good_signature_is_not_admitted() {
        let stranger = SigningKey::from_seed(&[99; 32]).unwrap();
        let credentials = Credentials::parse(stranger.authorize(&exported()).as_bytes()).unwrap();
        assert_eq!(World::new().keys.verify(&credentials, &exported()), None);
        assert_eq!(Keys::new([]).verify(&credentials, &exported()), None);
    }

    #[test]
    fn nobodys_credentials_admit_nobody() {
        assert_eq!(World::new().keys.verify(&Credentials::of_nobody(), &exported()), None);
        assert_eq!(Keys::new([]).verify(&Credentials::of_nobody(), &Exported::new([0; EXPORTED_LEN])), None);
    }

    #[test]
    fn a_users_key_id_with_the_strangers_own_key_is_not_admitted() {
        let world = World::new();
        let stranger = SigningKey::from_seed(&[99; 32]).unwrap();
        let mut credentials = Credentials::parse(stranger.authorize(&exported()).as_bytes()).unwrap();
        credentials.key_id = world.key.key_id().to_vec();
        assert_eq!(world.keys.verify(&credentials, &exported()), None);
        credentials.public_key = world.key.public_key();
        assert_eq!(world.keys.verify(&credentials, &exported()), None);
    }

    #[test]
    fn headers_of_another_form_are_not_read() {
        let good = World::new().header;
        assert!(Credentials::parse(good.replace("Concealed", "CONCEALED").as_bytes()).is_some());
        assert!(Credentials::parse(format!("{good}, realm=\"x\", future=1").as_bytes()).is_some());
        let bad = [
            good.replace("Concealed", "Basic"),
            good.replace(", s=2055", ""),
            good.replace("s=2055", "s=02055"),
            good.replace("s=2055", "s=+2055"),
            good.replace("s=2055", "s=2054"),
            good.replace("s=2055", "s=\"2055\""),
            format!("{good}, s=2055"),
            format!("{good}, k=AAAA"),
            format!("{good}, realm=a, realm=a"),
            format!("{good}, "),
            format!("{good}, x={}", "y".repeat(MAX_HEADER)),
            good.replace("k=", "k=="),
            good.replace("v=", "v=A"),
            String::new(),
            "Concealed".into(),
            "Concealed ".into(),
        ];
        for header in bad {
            assert_eq!(Credentials::parse(header.as_bytes()), None, "{header}");
        }
        assert_eq!(Credentials::parse(b"Concealed k=\xff"), None);
    }

    #[test]
    fn an_origin_is_the_authority_with_the_port_of_https_if_none_is_said() {
        let of = |authority| Origin::https(authority).map(|o| (o.host, o.port));
        assert_eq!(of("example.org"), Some(("example.org", 443)));
        assert_eq!(of("example.org:8443"), Some(("example.org", 8443)));
        assert_eq!(of("[::1]"), Some(("[::1]", 443)));
        assert_eq!(of("[::1]:444"), Some(("[::1]", 444)));
        assert_eq!(of("example.org:99999"), None);
        assert_eq!(of(""), None);
    }

    /// Three users; the second is the one who speaks.
    struct World {
        key: SigningKey,
        keys: Keys,
        header: String,
    }

    impl World {
        fn new() -> Self {
            let users: Vec<_> = [1, 2, 3].into_iter().filter_map(|n| SigningKey::from_seed(&[n; 32])).collect();
            let known: Vec<_> = users.iter().map(|key| (key.key_id(), key.public_key())).collect();
            let keys = Keys::new(known.iter().map(|(id, key)| (id.as_slice(), key)));
            let key = SigningKey::from_seed(&[2; 32]).unwrap();
            let header = key.authorize(&exported());
            Self { key, keys, header }
        }
    }

    fn exported() -> Exported {
        Exported::new([9; EXPORTED_LEN])
    }

    fn origin() -> Origin<'static> {
        Origin { scheme: "https", host: "example.org", port: 443, realm: "" }
    }
}

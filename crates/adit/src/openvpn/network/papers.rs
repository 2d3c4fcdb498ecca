//! What clients and server show each other: certificates of an authority that belongs to one network, and keys that wrap the
//! first packets (`tls-crypt-v2`).
//!
//! The authority's key, and the key that wraps those of clients, follow from the network's private key: they are nowhere kept,
//! and all gateways of one network have the same. A device's key is made where it is asked for; here is only its public half.
//! Not here: who is let in (`members`).

use std::time::{Duration, SystemTime};

use adit_openvpn::{Metadata, PeerRules, ServerKey, StaticKey, TlsSettings};
use adit_protocol::Secret;
use adit_wireguard::PrivateKey;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use zeroize::Zeroizing;

use crate::https::derive;
use crate::self_signed::p256;

/// What the server's certificate calls it (`verify-x509-name`).
pub const SERVER_NAME: &str = "adit-server";
/// What the authority calls itself.
const AUTHORITY_NAME: &str = "adit CA";
/// How long the server's certificate is good for. It is made anew far more often.
const SERVER_DAYS: u64 = 397;
/// By so much a client's clock may be behind ours.
const CLOCK_DAYS: u64 = 2;
/// The longest common name (RFC 5280, ub-common-name), in characters.
const MAX_COMMON_NAME: usize = 64;
/// A point of P-256 as certificates have it: a byte that says so, and both numbers.
const POINT: usize = 65;
const DAY: u64 = 86_400;

/// Labels of what follows from the private key; the second is used if the first gives no key.
const AUTHORITY_LABELS: [&[u8]; 2] = [b"adit openvpn v1 ca p256", b"adit openvpn v1 ca p256 again"];
const WRAP_LABELS: [&[u8]; 4] = [
    b"adit openvpn v1 tls-crypt-v2 0",
    b"adit openvpn v1 tls-crypt-v2 1",
    b"adit openvpn v1 tls-crypt-v2 2",
    b"adit openvpn v1 tls-crypt-v2 3",
];

/// The authority of one network.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    wrap: ServerKey,
}

/// What a device is given beside its own key. The wrapped key is a secret of that device.
#[derive(Debug)]
pub struct Papers {
    /// The certificate of the authority, in PEM.
    pub authority: String,
    /// The device's certificate, in PEM.
    pub certificate: String,
    /// SHA-256 of that certificate: what the server knows the device by.
    pub fingerprint: [u8; 32],
    /// The file for `tls-crypt-v2`.
    pub wrapped: Zeroizing<String>,
}

/// A device's own key, as long as it is made and shown.
pub struct DeviceKey(KeyPair);

/// Why there are no papers.
#[derive(Debug, thiserror::Error)]
pub enum PapersError {
    /// The network has no key.
    #[error("there is no private key that an authority for OpenVPN could follow from")]
    NoKey,
    /// What is to be certified is no key.
    #[error("that is no public key for OpenVPN: a point of P-256 was expected")]
    NotAKey,
    /// No randomness, so no keys.
    #[error("the operating system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl DeviceKey {
    /// A new one.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self, PapersError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// Its public half, as [`Authority::admit`] takes it.
    pub fn public(&self) -> Vec<u8> {
        self.0.der_bytes().to_vec()
    }

    /// The key in PEM (PKCS#8).
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey(…)")
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// That of the network with this private key.
    ///
    /// # Errors
    /// There is no key.
    pub fn of(own: &PrivateKey) -> Result<Self, PapersError> {
        let key = p256(own, &AUTHORITY_LABELS).ok_or(PapersError::NoKey)?;
        let mut params = named(AUTHORITY_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The same whenever it is made: nothing of it says when.
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 12, 31));
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        Ok(Self { issuer, wrap: wrapping(own).ok_or(PapersError::NoKey)? })
    }

    /// The key that wraps those of clients.
    pub(super) fn wrapping(&self) -> ServerKey {
        self.wrap.duplicate()
    }

    /// A new certificate and key of the server, and whom it trusts.
    ///
    /// # Errors
    /// Making it failed.
    pub(super) fn server(&self, now: SystemTime) -> Result<TlsSettings, PapersError> {
        let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut params = named(SERVER_NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        params.not_before = at(unix.saturating_sub(CLOCK_DAYS * DAY));
        params.not_after = at(unix.saturating_add(SERVER_DAYS * DAY));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let authorities = vec![self.issuer.der().clone()];
        Ok(TlsSettings {
            certificates: vec![certificate.der().clone()],
            key: Some(key.into()),
            peer: PeerRules { authorities, role_stated: true, ..PeerRules::default() },
            ..TlsSettings::default()
        })
    }

    /// Certifies the public key of a device, and makes the key that wraps its first packets.
    ///
    /// # Errors
    /// What is given is no key of P-256.
    pub fn admit(&self, name: &str, public_key: &[u8]) -> Result<Papers, PapersError> {
        let key = Point::parse(public_key).ok_or(PapersError::NotAKey)?;
        let mut params = named(&name.chars().take(MAX_COMMON_NAME).collect::<String>());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        // As long as the authority: whether a device is let in is asked each time, and it is no certificate that ends that.
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 12, 31));
        let certificate = params.signed_by(&key, &self.issuer)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, certificate.der()).as_ref());
        let mut secret = Secret::new([0; 256]);
        getrandom::fill(secret.expose_mut()).map_err(PapersError::NoRandomness)?;
        let of = Metadata::User(fingerprint.to_vec());
        // 32 bytes are fewer than there is room for.
        let wrapped = self.wrap.wrap(StaticKey::new(secret), &of).map_err(|_| PapersError::NotAKey)?;
        let authority = self.issuer.pem();
        Ok(Papers { authority, certificate: certificate.pem(), fingerprint, wrapped: wrapped.emit() })
    }
}

/// The key that wraps those of clients, of a network with this private key.
fn wrapping(own: &PrivateKey) -> Option<ServerKey> {
    let mut bytes = Secret::new([0; 128]);
    for (piece, label) in bytes.expose_mut().chunks_exact_mut(32).zip(WRAP_LABELS) {
        piece.copy_from_slice(derive(own.expose(), label)?.expose());
    }
    Some(ServerKey::new(bytes))
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A public key that somebody else has the other half of.
struct Point([u8; POINT]);

impl Point {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let point = <[u8; POINT]>::try_from(bytes).ok().filter(|point| point[0] == 4)?;
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).ok()?;
        Some(Self(point))
    }
}

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_openvpn::ClientKey;

    fn authority(number: u8) -> Authority {
        Authority::of(&PrivateKey::new([number; 32])).unwrap()
    }

    #[test]
    fn all_gateways_of_a_network_are_one_authority_and_other_networks_are_others() {
        let key = |authority: &Authority| authority.issuer.key().der_bytes().to_vec();
        let (one, same, other) = (authority(7), authority(7), authority(8));
        assert_eq!(key(&one), key(&same));
        assert_ne!(key(&one), key(&other));
        assert_eq!(*one.wrapping().emit(), *same.wrapping().emit());
        assert_ne!(*one.wrapping().emit(), *other.wrapping().emit());
        assert!(matches!(Authority::of(&PrivateKey::new([0; 32])), Err(PapersError::NoKey)));
    }

    #[test]
    fn a_device_gets_papers_of_its_own() {
        let authority = authority(7);
        let key = DeviceKey::generate().unwrap();
        let (one, again) =
            (authority.admit("tv", &key.public()).unwrap(), authority.admit("tv", &key.public()).unwrap());
        assert_ne!(*one.wrapped, *again.wrapped, "no two have one key for their first packets");
        let wrapped = ClientKey::parse(&one.wrapped).unwrap();
        assert_eq!(wrapped.wrapped.len(), 290 + 1 + 32, "what is written into it is the certificate's name");
        assert!(one.certificate.starts_with("-----BEGIN CERTIFICATE-----") && one.authority.starts_with("-----BEGIN"));
        assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(format!("{key:?}"), "DeviceKey(…)");
        // A name that is too long for a certificate.
        assert!(authority.admit(&"ä".repeat(200), &key.public()).is_ok());
    }

    #[test]
    fn what_is_no_key_is_not_certified() {
        let good = DeviceKey::generate().unwrap().public();
        let mut off_the_curve = good.clone();
        off_the_curve[64] ^= 1;
        let mut compressed = good.clone();
        compressed[0] = 2;
        for bad in [&[][..], &good[1..], &[4; 65], &[0; 65], &off_the_curve, &compressed] {
            assert!(matches!(authority(7).admit("x", bad), Err(PapersError::NotAKey)), "{bad:?}");
        }
    }
}

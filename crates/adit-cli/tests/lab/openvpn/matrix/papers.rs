//! Authorities with one kind of keys, made once: keys of RSA take their time.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd,
};

use super::super::{key_for, named};
use super::axes::Keys;

/// An authority, one below it, and keys of the two ends.
pub(super) struct Office {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
    server: KeyPair,
    client: KeyPair,
}

/// What one end has, as text.
pub(super) struct OfEnd {
    pub(super) ca: String,
    /// Its certificate, and those between it and the authority.
    pub(super) chain: String,
    pub(super) key: String,
}

fn key(keys: Keys) -> KeyPair {
    match keys {
        Keys::P256 => key_for(&PKCS_ECDSA_P256_SHA256),
        Keys::P384 => key_for(&PKCS_ECDSA_P384_SHA384),
        Keys::Ed25519 => key_for(&PKCS_ED25519),
        Keys::Rsa2048 => key_for(&PKCS_RSA_SHA256),
        Keys::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap(),
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Office {
    /// The one whose keys are all of this kind.
    pub(super) fn of(keys: Keys) -> &'static Self {
        static OFFICES: [OnceLock<Office>; 5] = [const { OnceLock::new() }; 5];
        OFFICES[keys as usize].get_or_init(|| {
            let root = CertifiedIssuer::self_signed(authority("Test CA"), key(keys)).unwrap();
            let between = CertifiedIssuer::signed_by(authority("Between CA"), key(keys), &root).unwrap();
            Self { root, between, server: key(keys), client: key(keys) }
        })
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose, key: &KeyPair, by_between: bool) -> OfEnd {
        let mut params = named(name);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let chain = if by_between {
            format!("{}{}", params.signed_by(key, &self.between).unwrap().pem(), self.between.pem())
        } else {
            params.signed_by(key, &self.root).unwrap().pem()
        };
        OfEnd { ca: self.root.pem(), chain, key: key.serialize_pem() }
    }

    pub(super) fn server(&self, by_between: bool) -> OfEnd {
        self.issue("server", ExtendedKeyUsagePurpose::ServerAuth, &self.server, by_between)
    }

    pub(super) fn client(&self, by_between: bool) -> OfEnd {
        self.issue("alice", ExtendedKeyUsagePurpose::ClientAuth, &self.client, by_between)
    }

    /// Of the server's certificate that was written last, in this directory.
    pub(super) fn fingerprint(dir: &Path) -> String {
        let words = ["x509", "-noout", "-fingerprint", "-sha256", "-in", "server.crt"];
        let shown = Command::new("openssl").args(words).current_dir(dir).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().trim().rsplit_once('=').unwrap().1.to_owned()
    }

    /// A list on which neither end is.
    pub(super) fn revocation_list(&self) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.root).unwrap().pem().unwrap()
    }
}

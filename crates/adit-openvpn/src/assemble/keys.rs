//! Our own certificate and its key: as they are, encrypted with a password (PKCS#8, RFC 5958), or all in one bundle (PKCS#12,
//! RFC 7292).
//!
//! What a password costs to try is said by the file, which others may have written: it has bounds. Not here: asking for the
//! password (whoever has a terminal puts it into the configuration).

use base64ct::{Base64, Encoding as _};
use p12_keystore::error::Error as BundleError;
use p12_keystore::{CertificateBag, Pkcs12Archive};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
use zeroize::Zeroizing;

use super::{Unusable, certificates_of, text};
use crate::options::{Identity, Material};

/// Rounds that a password is hashed at most, as for bundles: about a second. OpenSSL's own is 2048.
const MAX_ROUNDS: u32 = 1_000_000;
/// Memory that scrypt may take, in bytes. OpenSSL's own takes 16 MiB.
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;
/// How often scrypt may take it.
const MAX_SCRYPT_TIMES: u16 = 16;

/// The longest bundle that is looked at, in bytes: each key in it costs as much as one may. Usual ones have some kilobytes.
const MAX_BUNDLE: usize = 64 << 10;
/// As many locks of a bundle may be seen from outside: one around the certificates, one around the key, one of the whole, and
/// some to spare.
const MAX_LOCKS: usize = 8;
/// How a lock begins that hashes a password often: the names of PBKDF2, scrypt, and all of PKCS#12's own, in DER.
const LOCKS: [&[u8]; 3] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c],
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01],
];
/// The way out of what is not read here.
const ANEW: &str = "`openssl pkcs8 -topk8 -in FILE` encrypts it anew (with `-provider legacy -provider default` where OpenSSL \
                    refuses to read it)";

/// What we show, and what a bundle brings beside it.
pub(super) struct Own {
    /// Ours first, then those between it and the authority.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: Option<PrivateKeyDer<'static>>,
    /// Those of a bundle that are not ours: authorities where the configuration names none.
    pub(super) others: Vec<CertificateDer<'static>>,
}

/// Our certificate and key, from wherever the configuration has them.
pub(super) fn own(identity: &Identity) -> Result<Own, Unusable> {
    let password = identity.key_password.as_ref().map(|file| text("askpass", file)).transpose()?;
    // The first line, as it is: a space at its end is part of it.
    let password = password.map(|text| text.lines().next().unwrap_or_default());
    let mut own = match &identity.pkcs12 {
        Some(bundle) => bundled(bundle, password)?,
        None => Own {
            certificates: identity
                .cert
                .as_ref()
                .map(|cert| certificates_of("cert", cert))
                .transpose()?
                .unwrap_or_default(),
            key: identity.key.as_ref().map(|key| private_key(key, password)).transpose()?,
            others: Vec::new(),
        },
    };
    // Those between ours and the authority may stand in a file of their own.
    if let (Some(extra), false) = (&identity.extra_certs, own.certificates.is_empty()) {
        own.certificates.extend(certificates_of("extra-certs", extra)?);
    }
    Ok(own)
}

fn private_key(material: &Material, password: Option<&str>) -> Result<PrivateKeyDer<'static>, Unusable> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let (option, text) = ("key", text("key", material)?);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Unusable::NotSpoken {
            option,
            why: "it is encrypted in the old way of OpenSSL, whose passwords are quickly found",
            hint: "`openssl pkcs8 -topk8 -in FILE` encrypts it anew, and `openssl pkey -in FILE` writes it without a password \
                   (keep that file to yourself, mode 0600)",
        });
    }
    if let Some((_, rest)) = text.split_once(BEGIN) {
        let (body, _) = rest.split_once(END).ok_or_else(|| damaged_key("it has no end".to_owned()))?;
        let der = decoded(body).ok_or_else(|| damaged_key("it is not base64".to_owned()))?;
        return opened(&der, password);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| damaged_key(format!("the key cannot be read: {error}")))
}

fn damaged_key(why: String) -> Unusable {
    Unusable::Damaged { option: "key", why, hint: "it is a PEM file: `-----BEGIN PRIVATE KEY-----`" }
}

/// Bytes of base64 in lines.
pub(super) fn decoded(body: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(String::with_capacity(body.len()));
    line.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
    Base64::decode_vec(&line).ok().map(Zeroizing::new)
}

/// The key within, if this is its password.
fn opened(der: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, Unusable> {
    let option = "key";
    let sealed = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| Unusable::Damaged {
        option,
        why: format!("it is encrypted in a way that is not known, or damaged: {error}"),
        hint: ANEW,
    })?;
    let costs_too_much = match &sealed.encryption_algorithm {
        EncryptionScheme::Pbes2(parameters) => match &parameters.kdf {
            Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count > MAX_ROUNDS,
            Kdf::Scrypt(scrypt) => {
                let memory = 128_u64.saturating_mul(scrypt.cost_parameter).saturating_mul(scrypt.block_size.into());
                memory > MAX_SCRYPT_MEMORY || scrypt.parallelization > MAX_SCRYPT_TIMES
            }
            _ => true,
        },
        EncryptionScheme::Pbes1(_) | _ => {
            return Err(Unusable::NotSpoken { option, why: "it is encrypted with DES, which is broken", hint: ANEW });
        }
    };
    if costs_too_much {
        return Err(Unusable::NotSpoken {
            option,
            why: "its password is hashed more often, or with more memory, than anybody would wait for",
            hint: ANEW,
        });
    }
    let password = password.ok_or(Unusable::Locked { option })?;
    let key = sealed.decrypt(password).map_err(|_| Unusable::WrongPassword { option })?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// Whether a certificate says that it may sign others: a colleague's, or our own of last year, must not vouch for servers.
/// One of the first version cannot say it; authorities of that age have signed themselves.
pub(super) fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    match parsed.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => parsed.version() == X509Version::V1 && parsed.subject() == parsed.issuer(),
        Err(_) => false,
    }
}

/// What a bundle holds. One without a password has an empty one, which is tried unasked.
fn bundled(material: &Material, password: Option<&str>) -> Result<Own, Unusable> {
    const OPTION: &str = "pkcs12";
    let damaged = |why: String| Unusable::Damaged {
        option: OPTION,
        why,
        hint: "`openssl pkcs12 -in FILE -nodes` (with `-legacy` for an old one) gives cert, key and ca",
    };
    let der = decoded(text(OPTION, material)?).ok_or_else(|| damaged("the block is not base64".to_owned()))?;
    if der.len() > MAX_BUNDLE {
        return Err(damaged(format!("the bundle has more than {MAX_BUNDLE} bytes")));
    }
    let locks: usize = LOCKS.iter().map(|name| der.windows(name.len()).filter(|at| at == name).count()).sum();
    if locks > MAX_LOCKS {
        return Err(damaged(format!("it has {locks} locks, where {MAX_LOCKS} are more than any program makes")));
    }
    let is_locked = |error: &BundleError| {
        matches!(error, BundleError::MacError(_) | BundleError::Pkcs5Error(_) | BundleError::UnpadError)
    };
    let given = Pkcs12Archive::from_pkcs12(&der, password.unwrap_or_default());
    let archive = match given {
        Err(error) if is_locked(&error) && password.is_some() => Pkcs12Archive::from_pkcs12(&der, ""),
        given => given,
    };
    let archive = archive.map_err(|error| match password {
        _ if !is_locked(&error) => damaged(format!("the bundle cannot be read: {error}")),
        Some(_) => Unusable::WrongPassword { option: OPTION },
        None => Unusable::Locked { option: OPTION },
    })?;
    let Some(bag) = archive.keys.first() else { return Err(damaged("there is no key in it".to_owned())) };
    let is_ours = |cert: &CertificateBag| bag.local_key_id.as_ref().map(AsRef::as_ref) == cert.local_key_id.as_deref();
    // One without the mark of the key is compared with it later, when TLS is made ready.
    let ours = archive.certs.iter().position(is_ours).unwrap_or_default();
    let der = |cert: &CertificateBag| CertificateDer::from(cert.cert.as_der().to_vec());
    let Some(leaf) = archive.certs.get(ours) else { return Err(damaged("there is no certificate in it".to_owned())) };
    let beside: Vec<_> = archive.certs.iter().enumerate().filter(|(n, _)| *n != ours).map(|(_, cert)| cert).collect();
    // Whoever checks ours has the authority's own already.
    let between = beside.iter().filter(|cert| cert.cert.subject() != cert.cert.issuer()).map(|cert| der(cert));
    let key = PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec());
    Ok(Own {
        certificates: std::iter::once(der(leaf)).chain(between).collect(),
        key: Some(PrivateKeyDer::Pkcs8(key)),
        others: beside.into_iter().map(der).filter(is_authority).collect(),
    })
}

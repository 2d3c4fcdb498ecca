//! A certificate of our own whose key stays the same, so that its pin does: made when it is first needed, from the tunnel's
//! private key, so that all gateways of a network have the same.
//!
//! Not here: certificates that others vouch for (`adit-transport`).

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use adit_wireguard::PrivateKey;
use aws_lc_rs::agreement;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{CertificateParams, KeyPair};
use zeroize::Zeroizing;

use crate::https::derive;

/// The files of a certificate for these names, and of its key, in this directory. `own` is the tunnel's private key.
///
/// # Errors
/// The directory cannot be written, or the key that is there cannot be read.
pub(crate) fn files(directory: &Path, names: &[String], own: Option<&PrivateKey>) -> io::Result<(PathBuf, PathBuf)> {
    let (chain, key) = (directory.join("self-signed.pem"), directory.join("self-signed.key"));
    fs::create_dir_all(directory)?;
    let pair = match fs::read_to_string(&key).map(Zeroizing::new) {
        Ok(text) => KeyPair::from_pem(&text).map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair =
                own.and_then(|own| p256(own, &LABELS)).map_or_else(KeyPair::generate, Ok).map_err(io::Error::other)?;
            write(&key, &Zeroizing::new(pair.serialize_pem()))?;
            pair
        }
        Err(error) => return Err(error),
    };
    let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&pair));
    write(&chain, &certificate.map_err(io::Error::other)?.pem())?;
    Ok((chain, key))
}

/// The P-256 key that follows from a WireGuard private key: HKDF-SHA256 of it under a label, as the keys in `https`. The first
/// label that gives a key counts; a number that is no key comes up once in four billion.
pub(crate) fn p256(own: &PrivateKey, labels: &[&[u8]]) -> Option<KeyPair> {
    if own.is_none() {
        return None;
    }
    labels.iter().find_map(|label| {
        let number = derive(own.expose(), label)?;
        let public = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, number.expose()).ok()?;
        let public = public.compute_public_key().ok()?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            number.expose(),
            public.as_ref(),
        );
        KeyPair::try_from(pair.ok()?.to_pkcs8v1().ok()?.as_ref()).ok()
    })
}

/// The second is used if the first gives no key.
const LABELS: [&[u8]; 2] = [b"adit self-signed v1 p256", b"adit self-signed v1 p256 again"];

/// Replaces a file in one step, readable by nobody but its owner.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let _leftover = fs::remove_file(&new);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_when_the_names_change() {
        let directory = std::env::temp_dir().join(format!("adit-self-signed-{}", std::process::id()));
        let read = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let (chain, key) = files(&directory, &names, None).unwrap();
            (fs::read_to_string(chain).unwrap(), fs::read_to_string(key).unwrap())
        };
        let (first, second) = (read(&["a.example"]), read(&["a.example", "b.example"]));
        assert_eq!(first.1, second.1);
        assert_ne!(first.0, second.0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_same_private_key_gives_the_same_key_everywhere() {
        let directory = |n: u8| std::env::temp_dir().join(format!("adit-self-signed-{n}-{}", std::process::id()));
        let key = |n: u8, own: u8| {
            let own = PrivateKey::new([own; 32]);
            let (_, key) = files(&directory(n), &["a.example".to_owned()], Some(&own)).unwrap();
            fs::read_to_string(key).unwrap()
        };
        let (one, same, other) = (key(1, 7), key(2, 7), key(3, 8));
        assert!(one == same && one != other);
        // The file counts: a key that was made before stays.
        assert_eq!(key(1, 8), one);
        (1..=3).for_each(|n| fs::remove_dir_all(directory(n)).unwrap());
    }
}

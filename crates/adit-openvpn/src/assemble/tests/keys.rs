//! Keys as `openssl` encrypts them, with the password `secret`, and bundles as it makes them: alice, between, authority.

use base64ct::{Base64, Encoding as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{client, options_of};
use crate::TlsSettings;
use crate::assemble::keys::is_authority;
use crate::options;

const CERT: &str = include_str!("../papers/me.crt");
const PLAIN: &str = include_str!("../papers/me.key");
const AES: &str = include_str!("../papers/aes.pem");
const BUNDLE: &[u8] = include_bytes!("../papers/me.p12");

fn read(config: &options::ClientConfig) -> Result<TlsSettings, String> {
    client(config, None).map(|config| config.tls).map_err(|error| error.to_string())
}

fn with_key(key: &str, password: Option<&str>) -> Result<TlsSettings, String> {
    read(&options_of(&format!("<cert>\n{CERT}</cert>\n<key>\n{key}</key>\n{}", askpass(password))))
}

fn with_bundle(bundle: &[u8], password: Option<&str>) -> Result<TlsSettings, String> {
    let text = format!("<pkcs12>\n{}\n</pkcs12>\n{}", Base64::encode_string(bundle), askpass(password));
    read(&options_of(&text))
}

fn askpass(password: Option<&str>) -> String {
    password.map_or_else(String::new, |password| format!("<askpass>\n{password}\nanother line\n</askpass>\n"))
}

fn plain() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(PLAIN.as_bytes()).unwrap()
}

#[test]
fn a_key_is_opened_by_its_password_alone() {
    let ways = [AES, include_str!("../papers/des3.pem"), include_str!("../papers/scrypt.pem")];
    for key in ways {
        assert_eq!(with_key(key, Some("secret")).unwrap().key.unwrap().secret_der(), plain().secret_der());
        for wrong in ["Secret", "secret ", "another line"] {
            let said = with_key(key, Some(wrong)).unwrap_err();
            assert!(said.contains("`key`: the password of the key is wrong") && !said.contains(wrong), "{said}");
        }
        let said = with_key(key, None).unwrap_err();
        assert!(said.contains("`key` is encrypted") && said.contains("hint: ") && said.contains("askpass"), "{said}");
    }
    assert!(with_key(PLAIN, Some("secret")).is_ok(), "one that is not encrypted needs none");
}

#[test]
fn what_is_encrypted_with_broken_ciphers_is_refused_with_the_way_out() {
    for key in [include_str!("../papers/old.pem"), include_str!("../papers/rc2.pem")] {
        let said = with_key(key, Some("secret")).unwrap_err();
        assert!(said.contains("`key`: it is encrypted") && said.contains("openssl pkcs8 -topk8"), "{said}");
    }
}

/// The file says how often its password is hashed.
#[test]
fn a_key_that_would_take_for_ever_is_not_tried() {
    for key in [include_str!("../papers/slow.pem"), include_str!("../papers/greedy.pem")] {
        let said = with_key(key, Some("secret")).unwrap_err();
        assert!(said.contains("hashed more often, or with more memory"), "{said}");
    }
}

#[test]
fn a_damaged_key_or_bundle_is_no_wrong_password() {
    let cut = AES.replace("-----END", "----");
    for key in [cut.as_str(), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"] {
        let said = with_key(key, Some("secret")).unwrap_err();
        assert!(!said.contains("password") && said.contains("hint: "), "{said}");
    }
    for length in [1, 100, BUNDLE.len() - 1] {
        let said = with_bundle(&BUNDLE[..length], Some("secret")).unwrap_err();
        assert!(!said.contains("password of the key") && said.contains("`pkcs12`"), "{said}");
    }
}

#[test]
fn a_bundle_is_never_longer_than_its_bound() {
    let padded = |length: usize| [BUNDLE, &vec![0; length - BUNDLE.len()]].concat();
    assert!(with_bundle(&padded(64 << 10), Some("secret")).unwrap_err().contains("cannot be read"));
    assert!(with_bundle(&padded((64 << 10) + 1), Some("secret")).unwrap_err().contains("more than 65536 bytes"));
}

#[test]
fn a_bundle_gives_certificate_key_and_chain() {
    let old = include_bytes!("../papers/legacy.p12");
    for bundle in [BUNDLE, old] {
        let tls = with_bundle(bundle, Some("secret")).unwrap();
        let names: Vec<_> = tls.certificates.iter().map(common_name).collect();
        assert_eq!(names, ["alice", "Between"]);
        assert_eq!(tls.key.unwrap().secret_der(), plain().secret_der());
        assert!(
            with_bundle(bundle, Some("Secret")).unwrap_err().contains("`pkcs12`: the password of the key is wrong")
        );
        assert!(with_bundle(bundle, None).unwrap_err().contains("`pkcs12` is encrypted"));
    }
    let open = include_bytes!("../papers/empty.p12");
    for password in [None, Some("secret")] {
        assert_eq!(with_bundle(open, password).unwrap().certificates.len(), 2, "an empty password is tried unasked");
    }
}

/// Measured: OpenVPN 2.6.14 trusts none of a bundle's certificates where there is a line `ca`.
#[test]
fn a_bundles_authorities_count_where_the_file_names_none() {
    let named = with_bundle(BUNDLE, Some("secret")).unwrap().peer.authorities;
    assert_eq!(named.iter().map(common_name).filter(|name| name == "Test CA" || name == "Between").count(), 0);
    let own: Vec<_> = authorities_of_bundle().iter().map(common_name).collect();
    assert_eq!(own, ["Between", "Test CA"]);
}

fn authorities_of_bundle() -> Vec<CertificateDer<'static>> {
    let bundle = Base64::encode_string(BUNDLE);
    let mut config = options_of(&format!("<pkcs12>\n{bundle}\n</pkcs12>\n{}", askpass(Some("secret"))));
    config.common.identity.ca = None;
    read(&config).unwrap().peer.authorities
}

fn common_name(cert: &CertificateDer<'_>) -> String {
    let (_, cert) = x509_parser::parse_x509_certificate(cert).unwrap();
    cert.subject().iter_common_name().next().map_or_else(String::new, |name| name.as_str().unwrap().to_owned())
}

/// Each costs what one may cost, and whoever made the bundle says how many there are.
#[test]
fn a_bundle_with_more_locks_than_any_program_makes_is_not_opened() {
    let name = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
    let said = with_bundle(&[BUNDLE, &name.repeat(9)].concat(), Some("secret")).unwrap_err();
    assert!(said.contains("locks"), "{said}");
}

#[test]
fn only_who_may_sign_others_vouches_for_servers() {
    let leaf = CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap();
    assert!(!is_authority(&leaf));
    assert!(!is_authority(&CertificateDer::from(vec![1, 2, 3])));
    let authorities = authorities_of_bundle();
    assert!(!authorities.is_empty() && authorities.iter().all(is_authority));
}

//! The TLS of clients that ask a site behind, or an authority for certificates: who must vouch for them.
//!
//! Not here: requests (`proxy`), the TLS that visitors see (`tls` of the server).

use std::io;
use std::path::Path;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::server::tls::provider;

/// Whoever is asked is vouched for by a certificate of this PEM file, or by the machine's authorities. The name is checked
/// either way. `setting` is what names such a file.
pub(in crate::server) fn tls(root: Option<&Path>, whom: &str, setting: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let Some(file) = root else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(io::Error::other(format!(
                "this machine has no certificate authorities to vouch for {whom}\n  hint: install the package ca-certificates, or name a PEM file with `{setting}`",
            )));
        }
        return config(roots);
    };
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()));
    let text =
        std::fs::read(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad(
            "there is no certificate in it\n  hint: a PEM file begins with -----BEGIN CERTIFICATE-----".into()
        ));
    }
    config(roots)
}

/// For a site without TLS: nobody vouches for anybody.
pub(super) fn no_tls() -> io::Result<ClientConfig> {
    config(RootCertStore::empty())
}

fn config(roots: RootCertStore) -> io::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

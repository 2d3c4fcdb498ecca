//! The TLS of the server: one configuration for everyone.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider, kx_group};

use super::certificates::{ACME_ALPN, Shown};
use crate::config::Certificates;

/// HTTP/2 as ALPN names it.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The cryptography of the server, the hybrid with ML-KEM first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}

/// TLS 1.3 and 1.2, two tickets after the handshake, and no data before its end.
pub(super) fn config(
    from: &Certificates,
    shown: Arc<Shown>,
    provider: Arc<CryptoProvider>,
) -> io::Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    if matches!(from, Certificates::Acme { .. }) {
        config.alpn_protocols.push(ACME_ALPN.to_vec());
    }
    config.ticketer = Ticketer::new().map_err(io::Error::other)?;
    config.send_tls13_tickets = 2;
    config.max_early_data_size = 0;
    Ok(config)
}

//! The plain back end: rustls, which looks like what it is. Its label is "HTTPS, not a browser".

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{TlsError, pins::Judge};

/// The cryptography of this back end: a post-quantum key exchange first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

pub(super) async fn connect(tcp: TcpStream, judge: Arc<Judge>) -> Result<TlsStream<TcpStream>, TlsError> {
    let provider = provider();
    let asked = Asked { judge: Arc::clone(&judge), provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|problem| TlsError::Profile { profile: "rustls".to_owned(), reason: problem.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(asked))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    let name = judge.name().clone();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|problem| judge.explain(problem))
}

/// The judge as rustls asks it, with the signatures that rustls leaves to a verifier.
#[derive(Debug)]
struct Asked {
    judge: Arc<Judge>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Asked {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.judge.judge(leaf, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

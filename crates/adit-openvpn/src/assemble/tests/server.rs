//! Configurations of servers become settings of the core, or are refused with a reason.

use std::time::Duration;

use super::super::server;
use super::paper;
use crate::options::{self, Config};
use crate::{Cipher, ServerConfig, ServerWrap, SharedWrap};

fn options_of(lines: &str) -> options::ServerConfig {
    let paper = paper();
    let text = format!(
        "server 10.8.0.0 255.255.255.0\ntopology subnet\ndh none\n<ca>\n{paper}</ca>\n<cert>\n{paper}</cert>\n\
         <key>\n{}</key>\n{lines}",
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    );
    let parsed = options::parse(&text);
    match parsed.config {
        Some(Config::Server(config)) => *config,
        _ => panic!("{:?}", parsed.findings),
    }
}

fn settings(lines: &str) -> ServerConfig {
    server(&options_of(lines)).unwrap()
}

#[test]
fn what_is_written_is_what_the_core_gets() {
    let config = settings(
        "remote-cert-tls client\nkeepalive 10 60\ndata-ciphers CHACHA20-POLY1305\nauth SHA512\nmax-clients 7\n\
         client-to-client\ntun-mtu 1400\nreneg-sec 600\ntls-crypt-v2-max-age 30\n",
    );
    assert!(config.tls.peer.role_stated && !config.tls.peer.may_be_absent && config.client_to_client);
    assert_eq!(config.keepalive, Some((Duration::from_secs(10), Duration::from_secs(60))));
    assert_eq!((config.ciphers.as_slice(), config.max_clients), (&[Cipher::ChaCha20Poly1305][..], 7));
    assert_eq!((config.mtu, config.times.renegotiate), (1400, Duration::from_secs(600)));
    assert_eq!(config.max_key_age, Some(Duration::from_secs(30 * 86_400)));
    assert!(matches!(config.wrap, ServerWrap::Plain) && !config.stream && !config.only_v4);
    assert!(settings("proto tcp4-server\n").stream && settings("proto udp4\n").only_v4);
    let open = "script-security 2\nauth-user-pass-verify /bin/x via-file\nverify-client-cert none\n";
    let config = settings(open);
    assert!(config.tls.peer.may_be_absent && !config.client_to_client && config.keepalive.is_none());
}

#[test]
fn envelopes_with_a_key_for_all_and_with_keys_for_each() {
    let hex = "0123456789abcdef0123456789abcdef\n".repeat(16);
    let key = format!("-----BEGIN OpenVPN Static key V1-----\n{hex}-----END OpenVPN Static key V1-----\n");
    let v2 = crate::ServerKey::new(adit_protocol::Secret::new([7; 128])).emit();
    let (crypt, v2) =
        (format!("<tls-crypt>\n{key}</tls-crypt>\n"), format!("<tls-crypt-v2>\n{}</tls-crypt-v2>\n", *v2));
    let parts = |lines: &str| match settings(lines).wrap {
        ServerWrap::Keyed { shared, clients } => (shared, clients.is_some()),
        ServerWrap::Plain => panic!("no envelope"),
    };
    let (shared, clients) = parts(&crypt);
    assert!(matches!(shared.as_deref(), Some(SharedWrap::TlsCrypt(_))) && !clients);
    assert!(matches!(parts(&v2), (None, true)) && !settings(&v2).allow_noncookie);
    assert!(
        settings(&v2.replace("<tls-crypt-v2>\n", "tls-crypt-v2 [inline] allow-noncookie\n<tls-crypt-v2>\n"))
            .allow_noncookie
    );
    assert!(matches!(parts(&format!("{crypt}{v2}")), (Some(_), true)));
    let (shared, _) = parts(&format!("key-direction 0\nauth SHA256\n<tls-auth>\n{key}</tls-auth>\n"));
    assert!(matches!(shared.as_deref(), Some(SharedWrap::TlsAuth { digest: crate::Digest::Sha256, .. })));
}

#[test]
fn what_this_build_cannot_keep_to_is_refused_with_the_way_out() {
    for (lines, named) in [
        ("proto tcp-server\nfragment 1300\n", "fragment"),
        ("local 192.0.2.1\n", "local"),
        ("remote-cert-tls server\n", "remote-cert-tls"),
        ("remote-cert-eku 1.2.3\n", "remote-cert-eku"),
        ("ping 10\n", "ping"),
        ("ping 10\nping-exit 60\n", "ping"),
        ("inactive 60\n", "inactive"),
        ("session-timeout 60\n", "session-timeout"),
        ("connect-freq 1 2\n", "connect-freq"),
        ("connect-freq-initial 5 10\n", "connect-freq-initial"),
        ("x509-username-field emailAddress\n", "x509-username-field"),
        ("opt-verify\n", "opt-verify"),
        ("auth-gen-token 60 external-auth\n", "auth-gen-token"),
        ("script-security 2\nclient-connect /bin/x\n", "client-connect"),
        ("script-security 2\nup /bin/x\n", "up"),
        ("block-ipv6\n", "block-ipv6"),
        ("reneg-bytes 1000\n", "reneg-bytes"),
        ("compress migrate\n", "compress"),
        ("bind-dev eth7\n", "bind-dev"),
    ] {
        let said = server(&options_of(lines)).unwrap_err().to_string();
        assert!(said.contains(&format!("`{named}`")) && said.contains("hint: "), "{lines}: {said}");
    }
}

#[test]
fn what_tokens_are_made_with_is_a_key_and_no_other_text() {
    let with = |body: &str| {
        let lines = "script-security 2\nauth-user-pass-verify /bin/x via-file\nauth-gen-token\n";
        let block = format!("<auth-gen-token-secret>\n{body}\n</auth-gen-token-secret>\n");
        server(&options_of(&format!("{lines}{block}"))).map(drop).map_err(|error| error.to_string())
    };
    let framed = |body: &str| {
        format!("-----BEGIN OpenVPN auth-token server key-----\n{body}\n-----END OpenVPN auth-token server key-----")
    };
    assert_eq!(with(&framed(&"QUJD".repeat(16))), Ok(()));
    let paper = paper();
    for text in ["secret", &paper, &framed(""), &framed("QUJD"), &framed("what is this?")] {
        let said = with(text).unwrap_err();
        assert!(said.contains("`auth-gen-token-secret`") && said.contains("--genkey auth-token"), "{said}");
    }
}

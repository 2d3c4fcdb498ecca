//! Whole files of the kinds that networks hand out, written for these tests.

use std::time::Duration;

use super::super::{ControlWrap, Crl, Destination, Material, SecretText, Transport, Verdict, embed, needs, parse};
use super::{client, why};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const STATIC_KEY: &str = "#\n# 2048 bit OpenVPN static key\n#\n-----BEGIN OpenVPN Static key V1-----\n00112233\n-----END OpenVPN Static key V1-----\n";

fn block(name: &str, content: &str) -> String {
    format!("<{name}>\n{content}</{name}>\n")
}

/// The sample that comes with OpenVPN and that easy-rsa's users start from.
#[test]
fn the_sample_of_the_manual() {
    let client = client(
        "# Sample client-side OpenVPN 2.0 config file\n;dev tap\nclient\ndev tun\n;dev-node MyTap\n;proto tcp\nproto udp\n\
         remote my-server-1 1194\n;remote my-server-2 1194\nresolv-retry infinite\nnobind\n;user nobody\npersist-key\npersist-tun\n\
         ;mute-replay-warnings\nca ca.crt\ncert client.crt\nkey client.key\nremote-cert-tls server\ntls-auth ta.key 1\n\
         cipher AES-256-CBC\nverb 3\n;mute 20\n",
    );
    assert_eq!(client.common.identity.cert, Some(Material::File("client.crt".to_owned())));
    assert!(matches!(client.remotes[0].wrap, ControlWrap::TlsAuth { .. }));
}

/// A commercial provider: user and password, one authority, comp-lzo, old options for all systems.
#[test]
fn a_provider_with_user_and_password() {
    let text = format!(
        "client\r\ndev tun\r\nproto udp\r\nremote 198.51.100.7 1194\r\nremote 198.51.100.8 1194\r\nremote-random\r\n\
         resolv-retry infinite\r\nnobind\r\ntun-mtu 1500\r\ntun-mtu-extra 32\r\nmssfix 1450\r\npersist-key\r\npersist-tun\r\n\
         ping 15\r\nping-restart 0\r\nping-timer-rem\r\nreneg-sec 0\r\ncomp-lzo no\r\nverify-x509-name CN=us1.example.com\r\n\
         remote-cert-tls server\r\nauth-user-pass\r\nverb 3\r\npull\r\nfast-io\r\ncipher AES-256-CBC\r\nauth SHA512\r\n\
         setenv CLIENT_CERT 0\r\n{}key-direction 1\r\n{}",
        block("ca", CERTIFICATE),
        block("tls-auth", STATIC_KEY)
    );
    let client = client(&text);
    assert_eq!((client.remotes.len(), client.attempts.shuffled), (2, true));
    assert_eq!(client.common.rekeying.after, Some(Duration::ZERO));
    assert_eq!((client.common.life.ping, client.common.life.silence), (Some(Duration::from_secs(15)), None));
}

/// A firewall's export: everything inline or beside it, TCP, names checked.
#[test]
fn a_firewall_export() {
    let text = "dev tun\npersist-tun\npersist-key\ndata-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305:AES-256-CBC\n\
         data-ciphers-fallback AES-256-CBC\nauth SHA256\ntls-client\nclient\nresolv-retry infinite\n\
         remote vpn.example.org 443 tcp4\nnobind\nverify-x509-name \"office-vpn\" name\nauth-user-pass\n\
         pkcs12 office-udp.p12\ntls-crypt office-tls.key\nremote-cert-tls server\nexplicit-exit-notify\n";
    let client = client(text);
    assert_eq!(client.remotes[0].transport, Transport::Tcp);
    assert_eq!(client.remotes[0].exit_notify, None, "a stream ends by itself");
    let names: Vec<_> = needs(text).into_iter().map(|needed| (needed.option, needed.binary)).collect();
    assert_eq!(names, [("pkcs12".to_owned(), true), ("tls-crypt".to_owned(), false)]);
    let whole = embed(text, |needed| Some(SecretText::new(format!("content of {}", needed.name)))).unwrap();
    let taken_in = super::client(whole.expose());
    assert!(matches!(taken_in.common.identity.pkcs12, Some(Material::Inline(_))));
    assert_eq!(
        taken_in.remotes[0].wrap,
        ControlWrap::TlsCrypt { key: Material::Inline(SecretText::new("content of office-tls.key\n".into())) }
    );
}

/// A web console's file: comments with metadata, profile names, several remotes, a static challenge.
#[test]
fn an_access_server_profile() {
    let text = format!(
        "# Automatically generated OpenVPN client config file\n# OVPN_ACCESS_SERVER_PROFILE=joe@vpn.example.com\n\
         # OVPN_ACCESS_SERVER_CLI_PREF_ALLOW_WEB_IMPORT=True\n# Default Cipher\ncipher AES-256-CBC\nclient\nserver-poll-timeout 4\n\
         nobind\nremote vpn.example.com 1194 udp\nremote vpn.example.com 443 tcp\ndev tun\ndev-type tun\nremote-cert-tls server\n\
         tls-version-min 1.2\nreneg-sec 604800\ntun-mtu 1420\nauth-user-pass\nstatic-challenge \"Enter Authenticator Code\" 1\nverb 3\n\
         push-peer-info\nsetenv PUSH_PEER_INFO\n{}{}{}{}",
        block("ca", CERTIFICATE),
        block("cert", CERTIFICATE),
        block("key", "k\n"),
        block(
            "tls-crypt-v2",
            "-----BEGIN OpenVPN tls-crypt-v2 client key-----\nAAAA\n-----END OpenVPN tls-crypt-v2 client key-----\n"
        ),
    );
    let client = client(&text);
    let question = client.login.challenge.unwrap();
    assert_eq!((question.question.as_str(), question.echo), ("Enter Authenticator Code", true));
    assert!(matches!(client.remotes[1].wrap, ControlWrap::TlsCryptV2 { .. }));
    assert_eq!(client.remotes[0].connect_timeout, Duration::from_secs(4));
}

/// A self-hosted panel: a JSON header in comments, `setenv UV_…`, `push-peer-info`.
#[test]
fn a_panels_profile() {
    let text = format!(
        "#{{\n#  \"version\": 1,\n#  \"user\": \"joe\"\n#}}\nsetenv UV_ID 0123456789\nsetenv UV_NAME quiet-river\nclient\ndev tun\n\
         dev-type tun\nremote 203.0.113.5 1194 udp\nnobind\npersist-tun\ncipher AES-128-CBC\nauth SHA1\nverb 2\nmute 3\npush-peer-info\n\
         ping 10\nping-restart 60\nhand-window 70\nserver-poll-timeout 4\nreneg-sec 2592000\nsndbuf 393216\nrcvbuf 393216\n\
         remote-cert-tls server\ncomp-lzo no\nauth-user-pass\nkey-direction 1\n{}{}{}{}",
        block("ca", CERTIFICATE),
        block("tls-auth", STATIC_KEY),
        block("cert", CERTIFICATE),
        block("key", "k\n"),
    );
    let client = client(&text);
    assert_eq!(client.common.hooks.peer_info.len(), 2);
    assert_eq!(client.common.socket.send_buffer, Some(393_216));
}

/// A provider that sends everything through the tunnel, and whose scripts set name servers.
#[test]
fn a_provider_with_scripts_for_name_servers() {
    let text = format!(
        "client\ndev tun\nproto udp\nremote nl.example.net 1194\nauth-user-pass pass.txt\nauth-nocache\nscript-security 2\n\
         up /etc/openvpn/update-resolv-conf\ndown /etc/openvpn/update-resolv-conf\nredirect-gateway def1 ipv6\n\
         pull-filter ignore \"route-ipv6\"\ndhcp-option DNS 10.2.0.1\nblock-outside-dns\nroute 192.168.0.0 255.255.0.0 net_gateway\n\
         crl-verify crl.pem\nremote-cert-tls server\ntls-cipher TLS-DHE-RSA-WITH-AES-256-CBC-SHA:TLS-DHE-DSS-WITH-AES-256-CBC-SHA\n{}",
        block("ca", CERTIFICATE)
    );
    let client = client(&text);
    assert!(client.common.hooks.run.is_empty());
    assert!(client.common.inside.redirect.unwrap().v6);
    assert_eq!(client.common.peer.crl, Some(Crl::List(Material::File("crl.pem".into()))));
    assert!(matches!(client.common.inside.routes[0].to, Destination::V4(_)));
    assert!(client.login.forget);
    let doubtful: Vec<_> =
        parse(&text).findings.into_iter().filter(|f| matches!(f.verdict, Verdict::Doubtful { .. })).collect();
    assert_eq!(doubtful.len(), 2, "{doubtful:#?}");
    assert!(why(&doubtful[0]).contains("kept in memory"));
    assert!(why(&doubtful[1]).contains("the server is offered ECDHE"));
}

/// A tunnel of two machines with one key: refused, with the way out and nothing else.
#[test]
fn a_static_key_is_refused_with_one_reason() {
    let findings = parse("dev tun\nremote vpn.example.com\nifconfig 10.4.0.1 10.4.0.2\nsecret static.key\n").findings;
    let refused: Vec<_> = findings.iter().filter(|finding| finding.is_refused()).collect();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!((refused[0].line, refused[0].column), (4, Some(1)));
}

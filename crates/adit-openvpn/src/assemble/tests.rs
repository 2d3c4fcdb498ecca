//! Configurations become settings of the core, or are refused with a reason.

mod keys;
mod server;

use std::time::Duration;

use adit_protocol::Secret;
use rustls::{CipherSuite, NamedGroup};

use super::{Unusable, client, ends_on_silence};
use crate::options::{self, Config, FilterAction};
use crate::{ClientConfig, ControlWrap, Framing, MssFix, StaticKey};

/// A certificate as a file has it.
fn paper() -> String {
    rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap().cert.pem()
}

fn options_of(lines: &str) -> options::ClientConfig {
    let text = format!("client\nremote a.example 1195 udp\n<ca>\n{}</ca>\n{lines}", paper());
    let parsed = options::parse(&text);
    match parsed.config {
        Some(Config::Client(config)) => *config,
        _ => panic!("{:?}", parsed.findings),
    }
}

fn settings(lines: &str) -> ClientConfig {
    client(&options_of(lines), None).unwrap()
}

fn refused(lines: &str) -> String {
    client(&options_of(lines), None).unwrap_err().to_string()
}

const LOGIN: &str = "auth-user-pass\n";

#[test]
fn what_is_written_is_what_the_core_gets() {
    let config = settings(&format!(
        "{LOGIN}remote-cert-tls server\nverify-x509-name vpn.example name\ncipher AES-128-CBC\nauth SHA256\n\
         reneg-sec 600\nhand-window 30\ntls-timeout 3\nkeepalive 5 40\nconnect-retry 2 20\ncomp-lzo no\n\
         setenv UV_SEAT 7\npush-peer-info\ntun-mtu 1400\npull-filter ignore ping\n"
    ));
    assert!(config.tls.peer.role_stated);
    assert_eq!(config.tls.peer.authorities.len(), 1);
    assert_eq!(config.tls.peer.name, Some(crate::NameRule::Name("vpn.example".into())));
    assert_eq!((config.framing, config.mtu), (Framing::Lzo, 1400));
    assert_eq!(config.digest.to_string(), "SHA256");
    assert_eq!(config.times.renegotiate, Duration::from_secs(600));
    assert_eq!((config.times.hand_window, config.times.retransmit), (Duration::from_secs(30), Duration::from_secs(3)));
    assert_eq!(config.ping, Some(Duration::from_secs(5)));
    assert_eq!(config.reconnect, (Duration::from_secs(2), Duration::from_secs(20)));
    assert_eq!(config.peer_info, ["UV_SEAT=7"]);
    assert_eq!(config.pulling.decide("ping 10"), FilterAction::Ignore);
    assert!(matches!(config.wraps.as_slice(), [ControlWrap::Plain]) && !config.stream);
    assert!(ends_on_silence(&options_of(&format!("{LOGIN}ping-exit 20\n"))));
    assert!(!ends_on_silence(&options_of(&format!("{LOGIN}ping-restart 20\n"))));
}

#[test]
fn suites_and_groups_that_are_named_are_the_only_ones() {
    assert!(settings(LOGIN).tls.suites.is_empty());
    let of = |line: &str| settings(&format!("{LOGIN}{line}\n")).tls;
    let one = of("tls-cipher TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256").suites;
    assert_eq!(one.last(), Some(&CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256));
    assert_eq!(one.len(), 4, "and all of TLS 1.3");
    assert_eq!(of("tls-cipher DEFAULT:!ECDHE-RSA-CHACHA20-POLY1305").suites.len(), 8);
    let one = of("tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256").suites;
    assert_eq!((one[0], one.len()), (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 7));
    assert_eq!(of("tls-groups secp384r1:X25519").groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
}

#[test]
fn sizes_are_those_of_the_file_or_openvpns_own() {
    let with_headers = true;
    for (lines, fragment, mssfix) in [
        ("", None, MssFix::Datagram { size: 1492, with_headers }),
        ("mssfix 1300\n", None, MssFix::Datagram { size: 1300, with_headers: false }),
        ("mssfix 0\n", None, MssFix::Off),
        ("tun-mtu 1400\n", None, MssFix::Inside(1400)),
        ("fragment 1200\n", Some(1200), MssFix::Datagram { size: 1200, with_headers }),
        ("fragment 1200\nmssfix 1100 fixed\n", Some(1200), MssFix::Inside(1100)),
        ("fragment 0\n", None, MssFix::default()),
        ("socks-proxy 192.0.2.9\n", None, MssFix::Datagram { size: 1492 - 16, with_headers }),
    ] {
        let config = settings(&format!("{LOGIN}{lines}"));
        assert_eq!((config.fragment, config.mssfix), (fragment, mssfix), "{lines}");
    }
}

/// Each server has the key of its own block, else that of the file.
#[test]
fn servers_may_have_different_keys_of_the_control_channel() {
    let key = StaticKey::new(Secret::new([7; 256])).emit();
    let key = &*key;
    let block = |option: &str, port: u16| {
        format!("<connection>\nremote b.example {port}\n<{option}>\n{key}\n</{option}>\n</connection>\n")
    };
    let config = settings(&format!(
        "{LOGIN}{}{}<connection>\nremote c.example\n</connection>\n",
        block("tls-crypt", 1),
        block("tls-auth", 2)
    ));
    let [crypt, auth, none] = config.wraps.as_slice() else { panic!("{:?}", config.wraps) };
    assert!(matches!(crypt, ControlWrap::TlsCrypt(_)) && matches!(auth, ControlWrap::TlsAuth { .. }));
    assert!(matches!(none, ControlWrap::Plain));
}

#[test]
fn what_this_build_cannot_keep_to_is_refused_with_the_way_out() {
    for (lines, named) in [
        ("fragment 1300\n<connection>\nremote b.example\nproto tcp\n</connection>\n", "fragment"),
        ("script-security 2\ntls-verify /bin/true\n", "tls-verify"),
        ("remote-cert-tls client\n", "remote-cert-tls"),
        ("remote-cert-ku 80\n", "remote-cert-ku"),
        ("remote-cert-eku 1.2.3\n", "remote-cert-eku"),
        ("crl-verify withdrawn dir\n", "crl-verify"),
        ("local 192.0.2.1\n", "local"),
        ("reneg-bytes 1000\n", "reneg-bytes"),
        ("bind-dev eth7\n", "bind-dev"),
    ] {
        let said = refused(&format!("{LOGIN}{lines}"));
        assert!(said.contains(&format!("`{named}`")) && said.contains("hint: "), "{said}");
    }
    assert!(refused(&format!("{LOGIN}<crl-verify>\nnothing\n</crl-verify>\n")).contains("no list"));
    assert!(refused(&format!("{LOGIN}<tls-crypt>\nnothing\n</tls-crypt>\n")).contains("`tls-crypt`"));
    let elsewhere = client(&options_of(&format!("{LOGIN}tls-crypt ta.key\n")), None).unwrap_err();
    assert_eq!(elsewhere, Unusable::Elsewhere { option: "tls-crypt", name: "ta.key".into() });
}

#[test]
fn usages_that_mean_a_server_are_taken_as_that() {
    for line in ["remote-cert-eku serverAuth", "remote-cert-ku a0 88\nremote-cert-eku 1.3.6.1.5.5.7.3.1"] {
        assert!(settings(&format!("{LOGIN}{line}\n")).tls.peer.role_stated, "{line}");
    }
}

//! Files of servers, and of single clients beside them.

use std::time::Duration;

use super::super::{
    ClientCert, Config, ControlWrap, OnSilence, ServerConfig, Transport, Verdict, parse, parse_client_entry,
};
use super::{of, why};

const SERVER: &str =
    "server 10.8.0.0 255.255.255.0\ntopology subnet\ndev tun\nca ca.crt\ncert server.crt\nkey server.key\ndh none\n";

fn server(text: &str) -> ServerConfig {
    let parsed = parse(text);
    match parsed.config {
        Some(Config::Server(server)) => *server,
        Some(Config::Client(_)) | None => panic!("{:#?}", parsed.findings),
    }
}

fn with(lines: &str) -> ServerConfig {
    server(&format!("{SERVER}{lines}"))
}

#[test]
fn a_server_is_read_with_its_pushes() {
    let server = with(
        "port 443\nproto tcp-server\npush \"redirect-gateway def1\"\npush \"dhcp-option DNS 10.8.0.1\"\nkeepalive 10 60\n\
         client-to-client\nmax-clients 10\ntls-crypt-v2 v2.key\ntls-crypt old.key\nclient-config-dir ccd\nccd-exclusive\n\
         auth-gen-token 3600 600 external-auth\nconnect-freq 5 10\nverb 3\nuser nobody\n",
    );
    assert_eq!((server.listen.port, server.listen.transport), (443, Transport::Tcp));
    assert_eq!(server.server.push, ["redirect-gateway def1", "dhcp-option DNS 10.8.0.1"]);
    assert_eq!(server.common.life.silence, Some((Duration::from_secs(120), OnSilence::Restart)));
    assert!(matches!(server.wrap, ControlWrap::TlsCryptV2 { .. }));
    assert!(matches!(server.second_wrap, Some(ControlWrap::TlsCrypt { .. })));
    assert!(server.server.force_cookie, "cookies are the rule");
    assert_eq!(server.server.tokens.unwrap().renewal, Some(Duration::from_secs(600)));
}

#[test]
fn only_keepalive_means_twice_as_long_at_the_server() {
    let silence = |lines: &str| with(lines).common.life.silence.unwrap();
    assert_eq!(silence("keepalive 10 60\n"), (Duration::from_secs(120), OnSilence::Restart));
    assert_eq!(silence("ping 10\nping-restart 60\n"), (Duration::from_secs(60), OnSilence::Restart));
    assert_eq!(silence("keepalive 10 60\nping-restart 90\n"), (Duration::from_secs(90), OnSilence::Restart));
}

#[test]
fn what_lets_everybody_in_is_refused() {
    let whole = |lines: &str| of(&format!("{SERVER}{lines}"), 0).to_string();
    assert!(whole("tls-version-min 1.3\ntls-version-max 1.2\n").contains("no version of TLS"));
    assert!(whole("verify-client-cert none\n").contains("everybody could come in"));
    assert!(whole("ccd-exclusive\n").contains("let nobody in"));
    let good = with("verify-client-cert none\nscript-security 2\nauth-user-pass-verify /bin/check via-file\n");
    assert_eq!(good.server.client_cert, ClientCert::None);
    assert!(
        why(&of(&format!("{SERVER}script-security 2\nauth-user-pass-verify /bin/check via-env\n"), 9))
            .contains("script-security 3")
    );
    assert!(why(&of(&format!("{SERVER}tls-crypt-v2 k allow-noncookie\n"), 8)).contains("keep state"));
}

#[test]
fn what_a_server_cannot_be_is_refused() {
    for (line, reason) in [
        ("server-bridge", "Ethernet"),
        ("port-share 127.0.0.1 8443", "no other server"),
        ("nobind", "only a client"),
        ("remote a", "only a client"),
        ("client-cert-not-required", "removed"),
        ("push \"route 10.0.0.0 255.0.0.0, ping 3\"", "comma"),
        ("server 10.8.0.1 255.255.255.0", "mask does not cover"),
        ("server-ipv6 fd00::/48", "/64 to /124"),
        ("ifconfig-pool 10.8.0.9 10.8.0.2", "before it begins"),
        ("disable", "file of one client"),
        ("plugin openvpn-plugin-auth-pam.so login", "plugin"),
        ("management-client-auth", "no program decides"),
    ] {
        let finding = of(&format!("{SERVER}{line}\n"), 8);
        assert!(finding.is_refused() && why(&finding).contains(reason), "{line}: {finding}");
    }
    let doubtful = of(&format!("{SERVER}push \"cypher x\"\n"), 8);
    assert!(matches!(doubtful.verdict, Verdict::Doubtful { .. }), "{doubtful}");
}

#[test]
fn a_pool_file_that_is_written_never_says_so() {
    for (line, fixed) in [("ipp.txt", false), ("ipp.txt 600", false), ("ipp.txt 0", true)] {
        let server = with(&format!("ifconfig-pool-persist {line}\n")).server;
        assert_eq!((server.pool_file.as_deref(), server.pool_file_fixed), (Some("ipp.txt"), fixed));
    }
}

#[test]
fn a_server_says_what_one_client_is_given() {
    let (entry, findings) = parse_client_entry(
        "ifconfig-push 10.8.0.7 255.255.255.0\niroute 192.168.7.0 255.255.255.0\niroute-ipv6 fd07::/64\npush-reset\n\
         push \"route 10.1.0.0 255.255.0.0\"\npush-remove route\n# off for now\n",
    );
    let entry = entry.unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!((entry.networks.len(), entry.networks6.len(), entry.push_reset, entry.disabled), (1, 1, true, false));
    assert_eq!(
        (entry.push, entry.push_remove),
        (vec!["route 10.1.0.0 255.255.0.0".to_owned()], vec!["route".to_owned()])
    );
    assert!(parse_client_entry("disable\n").0.unwrap().disabled);
    let (none, findings) = parse_client_entry("remote x\n");
    assert!(none.is_none() && why(&findings[0]).contains("not said of a single client"), "{findings:?}");
}

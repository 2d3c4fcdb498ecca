//! Verdicts on single lines, and how lines are read.

use std::time::Duration;

use super::super::lexer::{self, BLOCKS, lex};
use super::super::{
    ControlWrap, Family, KeyDirection, MAX_LINE, MAX_TEXT, Material, MssFix, PeerName, SecretText, TlsVersion,
    Transport, Verdict, catalogue, explain,
};
use super::{CLIENT, client, client_with, hint, of, of_client, why};
use crate::Cipher;

fn words(line: &str) -> Vec<String> {
    let directive = lex(line).remove(0).unwrap();
    directive.words.into_iter().map(|word| word.text).collect()
}

/// Measured with OpenVPN 2.6.14.
#[test]
fn quotes_and_escapes_are_read_as_openvpn_reads_them() {
    for (line, expected) in [
        (r#"remote "a"b"#, &["remote", "a", "b"][..]),
        (r#"remote a"b c""#, &["remote", "a\"b", "c\""]),
        ("remote 'a b'", &["remote", "a b"]),
        (r"remote a\ b", &["remote", "a b"]),
        (r#"remote "a\"b""#, &["remote", "a\"b"]),
        ("remote a#b;c # d", &["remote", "a#b;c"]),
        (r"remote 'a\b'", &["remote", r"a\b"]),
        (r#"ca "C:\\keys\\ca.crt""#, &["ca", r"C:\keys\ca.crt"]),
        ("remote it's", &["remote", "it's"]),
        ("\u{feff}\t --remote  a\r", &["remote", "a"]),
        ("remote ''", &["remote", ""]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
    assert!(lex("# all of it\n;\n\n  # and this\n").is_empty());
}

#[test]
fn names_that_look_like_something_else_are_written_so_that_they_stay_names() {
    for line in ["----float", "--<ca>", "\u{feff}\u{feff}client", "--", "\"#x\" y"] {
        let first = lex(line).remove(0).unwrap();
        assert_eq!(words(&first.to_string()), words(line), "{line:?} as {first}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let backslash = of_client(r"ca C:\keys\ca.crt");
    assert_eq!(backslash.column, Some(4));
    assert!(hint(&backslash).contains(r"C:\\keys\\ca.crt"), "{backslash}");
    assert!(why(&of_client("ca \"open")).contains("not closed"));
    assert!(why(&of_client("ca 'open")).contains("not closed"));
    assert!(why(&of_client("echo 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17")).contains("16 words"));
    assert!(why(&of_client(&"x".repeat(MAX_LINE + 1))).contains("bound"));
    assert!(why(&of_client("remote a\u{7}b")).contains("control character"));
    assert!(why(&of_client("<key>")).contains("</key>"));
    assert!(hint(&of(&format!("{CLIENT}<foo>\n</foo>\n"), 8)).contains("tls-crypt-v2"));
    assert!(why(&explain(&"#".repeat(MAX_TEXT + 1))[0]).contains("bound"));
}

#[test]
fn an_option_that_nobody_knows_is_refused_and_the_nearest_is_named() {
    let unknown = of_client("remote-cert-tsl server");
    assert!(unknown.is_refused());
    assert_eq!((unknown.column, hint(&unknown)), (Some(1), "did you mean `remote-cert-tls`?"));
    assert!(hint(&of_client("quite-something-else")).contains("ignore-unknown-option"));
    assert!(matches!(of_client("setenv opt quite-something-else 1").verdict, Verdict::Ignored { .. }));
    let after = of(&format!("{CLIENT}ignore-unknown-option a b\nb 1\n"), 9);
    assert!(matches!(after.verdict, Verdict::Ignored { .. }), "{after}");
    assert!(of(&format!("{CLIENT}b 1\nignore-unknown-option a b\n"), 8).is_refused(), "it counts from there on");
    assert!(of_client("setenv opt cipher none").is_refused(), "a known option is not left out");
}

/// A line of a key whose block is missing must not appear on a screen.
#[test]
fn what_may_be_a_secret_is_not_shown() {
    let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
    assert!(!of_client(key).to_string().contains(&key[20..]));
    // Static keys are lines of digits in base 16, which could be taken for a word.
    let hex = "cafe0123456789abcdef0123456789ab";
    for line in [hex, &hex[..16], "abcdefabcdefabcdefabcdefabcdefab", "hunter2", "a1b2c3-d4e5f6-a7b8c9", "-abc-defg"] {
        let shown = of_client(line);
        assert!(!shown.to_string().contains(&line[5..]) && shown.option.chars().count() <= 5, "{shown}");
    }
    assert!(
        !of_client("auth-user-pas joe secret-word").to_string().contains("secret-word"),
        "of a name that is mistyped"
    );
    assert!(!of_client("http-proxy-option CUSTOM-HEADER A secret-word x").to_string().contains("secret-word"));
    assert!(!of_client("auth-user-pass joe secret-word").to_string().contains("secret-word"));
    assert!(!of_client("askpass a secret-word").to_string().contains("secret-word"));
    let shown = format!("{:?}", super::super::parse(&format!("{CLIENT}<tls-crypt>\nsecret-word\n</tls-crypt>\n")));
    assert!(!shown.contains("secret-word"));
}

#[test]
fn what_is_unsafe_is_refused_with_the_way_out() {
    for (line, reason, way_out) in [
        ("cipher BF-CBC", "SWEET32", "2.4 or later"),
        ("cipher DES-EDE3-CBC", "SWEET32", "AES-256-GCM"),
        ("cipher none", "read along", "AES-256-GCM"),
        ("auth none", "change packets", "SHA256"),
        ("auth MD5", "broken", "SHA256"),
        ("secret static.key", "one key for all time", "peer-fingerprint"),
        ("no-replay", "repeat your packets", "remove"),
        ("no-iv", "look equal", "remove"),
        ("tls-version-max 1.1", "before 1.2", "updated"),
        ("dev tap0", "Ethernet", "dev tun"),
        ("dev-type tap", "Ethernet", "dev-type tun"),
        ("plugin /usr/lib/x.so", "plugin", "auth-user-pass-verify"),
        ("pkcs11-id foo", "smart card", "cert"),
        ("cryptoapicert SUBJ:x", "Windows", "pkcs12"),
        ("up /bin/true", "script-security 2", "read what"),
        ("setenv LD_PRELOAD /tmp/x.so", "which programs", "remove"),
        ("push \"route 10.0.0.0 255.0.0.0\"", "only a server", "remove"),
        ("peer-id 3", "only a server sends", "remove"),
        ("tls-remote vpn", "removed", "verify-x509-name"),
        ("remote https://vpn.example.com", "web address", "vpn.example.com"),
        ("remote a 99999", "port", "65535"),
        ("proto quic", "choice", "udp"),
        ("keepalive 10 15", "twice", "keepalive 10 60"),
        ("route 10.0.0.0/8", "slash", "10.0.0.0 255.255.255.0"),
        ("verify-hash aa:bb", "fingerprint", "openssl x509"),
        ("nobind now", "alone", "manual"),
        ("ping ten", "not a number", "number"),
        ("tls-ciphersuites TLS_AES_128_CCM_SHA256", "none of these", "TLS_AES_256_GCM_SHA384"),
        ("http-proxy p 8080 x ntlm", "broken", "basic"),
        ("http-proxy p 8080 x digest", "MD5", "basic"),
        ("http-proxy-option VERSION 2", "HTTP/1.0", "1.1"),
        ("http-proxy-option CUSTOM-HEADER \"A B\" x", "not a header", "NAME VALUE"),
        ("http-proxy-option AGENT \"a\tb\"", "not a header", "NAME VALUE"),
    ] {
        let finding = of_client(line);
        assert!(finding.is_refused(), "{line}: {finding}");
        assert!(why(&finding).contains(reason), "{line}: {finding}");
        assert!(hint(&finding).contains(way_out), "{line}: {finding}");
    }
}

#[test]
fn what_weakens_or_differs_is_said_and_taken() {
    for (line, reason) in [
        ("comp-lzo", "VORACLE"),
        ("compress lz4-v2", "VORACLE"),
        ("ns-cert-type server", "stricter"),
        ("tls-cipher TLS-DHE-RSA-WITH-AES-256-CBC-SHA", "forward secrecy"),
        ("verify-x509-name vpn.example.com", "whole subject"),
        ("verify-x509-name *.example.com name", "letter by letter"),
        ("tls-cert-profile insecure", "SHA-1"),
        ("ncp-disable", "nothing but `cipher`"),
        ("data-ciphers AES-256-GCM:BF-CBC", "BF-CBC left out"),
        ("route 10.1.2.3 255.0.0.0", "10.0.0.0/8"),
        ("remote-cert-tls client", "line 7"),
    ] {
        let finding = of_client(line);
        assert!(matches!(finding.verdict, Verdict::Doubtful { .. }), "{line}: {finding}");
        assert!(why(&finding).contains(reason), "{line}: {finding}");
    }
}

#[test]
fn what_is_the_daemons_business_is_ignored_with_the_reason() {
    for line in [
        "persist-key",
        "persist-tun",
        "mute 20",
        "verb 3",
        "fast-io",
        "user nobody",
        "group nogroup",
        "route-method exe",
        "ip-win32 dynamic",
        "route-delay 2",
        "tun-mtu-extra 32",
        "keysize 256",
        "key-method 2",
        "register-dns",
        "daemon",
        "log /var/log/x",
        "script-security 1",
        "setenv CLIENT_CERT 0",
        "setenv FORWARD_COMPATIBLE 1",
        "engine dynamic",
        "up /etc/openvpn/update-resolv-conf",
        "management 127.0.0.1 7505",
        "dhcp-option WINS 10.0.0.1",
        "setenv opt tls-foo",
        "tls-exit",
        "writepid /run/x.pid",
        "status /tmp/x 10",
        "mtu-disc no",
        "allow-recursive-routing",
    ] {
        let finding = of_client(line);
        assert!(matches!(&finding.verdict, Verdict::Ignored { why } if why.len() > 10), "{line}: {finding}");
    }
}

#[test]
fn programs_are_run_only_where_the_file_says_so_and_never_by_a_shell() {
    let client = client_with("script-security 2\nup \"/usr/local/bin/up.sh 'of office' $HOME\"\n");
    assert_eq!(client.common.hooks.run[0].command, ["/usr/local/bin/up.sh", "of office", "$HOME"]);
    assert!(why(&of(&format!("{CLIENT}script-security 2\nup /bin/x\n"), 9)).contains("rights of the daemon"));
    let late = client_with("down /bin/x\nscript-security 2\n");
    assert_eq!(late.common.hooks.run.len(), 1, "wherever the line stands");
}

#[test]
fn ciphers_are_those_of_the_list_and_cipher_is_added_where_there_is_none() {
    let ciphers = |lines: &str| client_with(lines).common.data.ciphers;
    assert_eq!(ciphers(""), Cipher::DEFAULT);
    assert_eq!(ciphers("cipher AES-256-CBC\n")[3..], [Cipher::Aes256Cbc]);
    assert_eq!(ciphers("cipher AES-256-CBC\ndata-ciphers AES-128-GCM\n"), [Cipher::Aes128Gcm]);
    assert_eq!(ciphers("data-ciphers ?FOO:DEFAULT:aes-256-cbc\n").len(), 4);
    assert_eq!(ciphers("cipher AES-128-CBC\nncp-disable\n"), [Cipher::Aes128Cbc]);
    assert_eq!(client_with("cipher AES-128-CBC\n").common.data.fallback, Some(Cipher::Aes128Cbc));
}

#[test]
fn remotes_take_what_the_file_says_of_all_of_them() {
    let client =
        client_with("remote 2001:db8::1 443 tcp6-client\nport 1200\nproto udp4\nconnect-timeout 7\nmssfix 1300 mtu\n");
    let [first, second] = client.remotes.as_slice() else { panic!() };
    assert_eq!(
        (first.host.as_str(), first.port, first.transport, first.family),
        ("vpn.example.com", 1200, Transport::Udp, Family::V4)
    );
    assert_eq!(
        (second.host.as_str(), second.port, second.transport, second.family),
        ("2001:db8::1", 443, Transport::Tcp, Family::V6)
    );
    assert_eq!(second.connect_timeout, Duration::from_secs(7));
    assert_eq!(first.sizes.mssfix, Some(MssFix::Datagram { size: 1300, with_headers: true }));
}

/// Measured with OpenVPN 2.6.14: blocks take what comes before them, remotes beside blocks do not count, and wrapping that
/// comes after blocks holds for those without their own.
#[test]
fn connection_blocks_take_what_comes_before_them() {
    let text = "client\nproto tcp\n<connection>\nremote a 1\nfragment 1300\n</connection>\n<connection>\nremote b 2 udp\n\
        <tls-auth>\nk\n</tls-auth>\n</connection>\nremote c\nconnect-timeout 9\nauth-user-pass\n<ca>\nx\n</ca>\n\
        <tls-crypt>\nkey\n</tls-crypt>\nremote-cert-tls server\n";
    let client = client(text);
    let hosts: Vec<_> = client.remotes.iter().map(|r| (r.host.as_str(), r.transport, r.sizes.fragment)).collect();
    assert_eq!(hosts, [("a", Transport::Tcp, Some(1300)), ("b", Transport::Udp, None)]);
    assert!(matches!(client.remotes[0].wrap, ControlWrap::TlsCrypt { .. }));
    assert!(matches!(client.remotes[1].wrap, ControlWrap::TlsAuth { .. }));
    assert!(why(&of(text, 13)).contains("alone count"));
    assert!(why(&of(text, 14)).contains("after the <connection> blocks"));
    let inside = of("client\n<connection>\nremote a\n\nca x\n</connection>\n", 5);
    assert!(why(&inside).contains("cannot hold"), "{inside}");
    assert!(why(&of("client\n<connection>\n</connection>\n", 2)).contains("no remote"));
}

#[test]
fn keys_are_in_blocks_or_files_and_inline_announces_a_block() {
    let key = "<tls-auth>\nk\n</tls-auth>\n";
    for lines in ["key-direction 1\n", "tls-auth [inline] 1\n"] {
        let client = client_with(&format!("{lines}{key}"));
        let ControlWrap::TlsAuth { key: Material::Inline(text), direction } = &client.remotes[0].wrap else { panic!() };
        assert_eq!((text.expose(), *direction), ("k\n", Some(KeyDirection::Inverse)));
    }
    let file = client_with("tls-auth ta.key 0\n");
    let expected = ControlWrap::TlsAuth { key: Material::File("ta.key".into()), direction: Some(KeyDirection::Normal) };
    assert_eq!(file.remotes[0].wrap, expected);
    let announced = of_client("cert [inline]");
    assert!(why(&announced).contains("does not come"), "{announced}");
}

#[test]
fn names_of_the_server_are_compared_in_the_way_that_is_asked_for() {
    let name = |line: &str| client_with(line).common.peer.name.unwrap();
    assert_eq!(name("verify-x509-name \"C=DE, CN=vpn\"\n"), PeerName::Subject("C=DE, CN=vpn".into()));
    assert_eq!(name("verify-x509-name vpn name\n"), PeerName::Common("vpn".into()));
    assert_eq!(name("verify-x509-name Server name-prefix\n"), PeerName::CommonPrefix("Server".into()));
}

#[test]
fn what_is_missing_or_excludes_each_other_is_said_of_the_whole_file() {
    let whole = |text: &str| of(text, 0).to_string();
    assert!(whole("remote a\n").contains("neither `client` nor `server`"));
    assert!(whole("client\n").contains("neither `ca` nor `peer-fingerprint`"));
    assert!(whole("client\nremote a\nca x\n").contains("who this client is"));
    assert!(whole("client\nremote a\nca x\nauth-user-pass\n").contains("pose as one"));
    assert!(whole("client\nca x\nauth-user-pass\nremote-cert-tls server\n").contains("names no server"));
    assert!(whole(&format!("{CLIENT}cert x\n")).contains("no key for it"));
    assert!(whole(&format!("{CLIENT}tls-auth x\ntls-crypt y\n")).contains("exclude each other"));
    assert!(whole(&format!("{CLIENT}http-proxy p 1\n")).contains("no datagrams"));
    assert!(whole(&format!("{CLIENT}proto tcp\nhttp-proxy p 1\nsocks-proxy s\n")).contains("exclude each other"));
    assert!(whole(&format!("{CLIENT}mode server\n")).contains("`mode server`"));
    assert!(whole(&format!("{CLIENT}tls-version-min 1.3\ntls-version-max 1.2\n")).contains("no version of TLS"));
    assert_eq!(client_with("tls-version-min 1.2\ntls-version-max 1.2\n").common.tls.least, Some(TlsVersion::V1_2));
    assert!(whole("tls-server\nca x\n").contains("two machines"));
}

#[test]
fn every_option_has_one_entry_and_every_block_is_an_option() {
    let mut names: Vec<_> = catalogue::all().map(|entry| entry.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 250, "{count}");
    for block in BLOCKS {
        assert!(block == "connection" || names.contains(&block), "{block}");
    }
}

/// OpenVPN takes them together too: what one line asks for is not taken back by the next.
#[test]
fn lines_that_redirect_hold_together_and_say_so() {
    for lines in [
        "redirect-gateway def1\nredirect-private block-local\n",
        "redirect-private block-local\nredirect-gateway def1\n",
    ] {
        let redirect = client_with(lines).common.inside.redirect.unwrap();
        assert!(redirect.v4 && redirect.block_local && !redirect.v6);
        assert!(why(&of(&format!("{CLIENT}{lines}"), 9)).contains("together"));
    }
    let same = of(&format!("{CLIENT}redirect-gateway def1\nredirect-gateway autolocal\n"), 9);
    assert_eq!(same.verdict, Verdict::Accepted, "it asks for nothing more");
    assert!(!client_with("redirect-gateway def1 !ipv4 ipv6\n").common.inside.redirect.unwrap().v4);
}

#[test]
fn the_last_line_of_key_usages_counts() {
    assert_eq!(client_with("remote-cert-ku a0 88\nremote-cert-ku 80\n").common.peer.key_usages, [0x80]);
    assert!(why(&of(&format!("{CLIENT}remote-cert-ku a0\nremote-cert-ku 80\n"), 9)).contains("this one counts"));
}

#[test]
fn what_is_announced_after_its_block_takes_nothing_from_it() {
    let block = |name: &str| format!("<{name}>\njoe\npw\n</{name}>\n{name} [inline]\n");
    let client = client(&format!(
        "{CLIENT}proto tcp\nhttp-proxy p 1\n{}{}",
        block("auth-user-pass"),
        block("http-proxy-user-pass")
    ));
    let inline = Some(Material::Inline(SecretText::new("joe\npw\n".to_owned())));
    assert_eq!(client.login.login.unwrap().source, inline);
    assert_eq!(client.remotes[0].proxy.as_ref().unwrap().login, inline);
    assert!(why(&of_client("auth-user-pass [inline]")).contains("does not come"));
}

#[test]
fn what_may_be_left_out_counts_as_if_it_stood_alone() {
    let text = format!(
        "setenv opt client\nsetenv opt script-security 2\nsetenv opt up /bin/x\n{}",
        CLIENT.replacen("client", "", 1)
    );
    let client = client(&text);
    assert_eq!((client.pulling.pull, client.common.hooks.run.len()), (true, 1));
}

#[test]
fn bounds_hold() {
    let headers = |n: usize| (0..n).map(|n| format!("http-proxy-option CUSTOM-HEADER X-{n} v\n")).collect::<String>();
    let most = super::super::MAX_HEADERS;
    assert_eq!(
        client_with(&format!("proto tcp\nhttp-proxy p 1\n{}", headers(most))).remotes[0]
            .proxy
            .as_ref()
            .unwrap()
            .headers
            .len(),
        most
    );
    assert!(why(&of(&format!("{CLIENT}{}", headers(most + 1)), 8 + most)).contains("more than"));
    let many = (0..super::super::MAX_REMOTES + 1).map(|n| format!("remote h{n}\n")).collect::<String>();
    let last = CLIENT.lines().count() + super::super::MAX_REMOTES;
    assert!(why(&of(&format!("{CLIENT}{many}"), last)).contains("more than"));
    let routes = "route 10.0.0.0 255.0.0.0\n".repeat(super::super::MAX_LIST + 1);
    assert!(explain(&format!("{CLIENT}{routes}")).iter().any(|finding| why(finding).contains("more than")));
    let lines = "float\n".repeat(lexer::MAX_DIRECTIVES + 1);
    assert!(lex(&lines).len() <= lexer::MAX_DIRECTIVES + 1);
}

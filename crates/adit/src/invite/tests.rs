//! Links there and back, links that something happened to, and what an invite's secret stands for.

use proptest::prelude::*;

use super::*;

fn invite() -> Invite {
    Invite {
        network: "home".to_owned(),
        secret: Secret::new([7; 16]),
        expires: 1_800_000_000,
        server: PrivateKey::new([1; 32]).public_key(),
        prefix: [0xfd, 0x7a, 0x91, 0xc2, 0, 0x77, 0, 0],
        hosts: vec!["vpn.example.org".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
        udp_port: Some(51820),
        https: Some(HttpsOffer { name: "www.example.org".to_owned(), port: 443, pin: Some(Pin::from_hash([9; 32])) }),
    }
}

#[test]
fn a_link_is_the_documented_text_and_fits_into_a_small_qr_code() {
    let link = invite().to_link().unwrap();
    assert!(link.starts_with("adit:1:a4dqobyha4dqobyha4dqobyha"), "{}", link.as_str());
    assert!(link[7..].bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)), "{}", link.as_str());
    assert!(link.len() < 330, "{}", link.len());
}

#[test]
fn a_link_is_read_in_either_case_and_with_the_line_ends_of_a_mail() {
    let link = invite().to_link().unwrap();
    let folded = link.as_bytes().chunks(60).map(|line| str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\r\n");
    for text in [link.to_string(), link.to_uppercase(), folded, format!("  {}\n", link.as_str())] {
        assert_eq!(Invite::from_link(&text), Ok(invite()), "{text}");
    }
}

#[test]
fn what_is_no_link_and_what_is_of_another_version_are_told_apart() {
    for text in ["", "adit", "https://example.org", "edit:1:aaaa", "ädit:1:", "adit:x:aaaa", "adit::", "adit:12345:a"]
    {
        assert_eq!(Invite::from_link(text), Err(LinkError::NotALink), "{text}");
    }
    assert_eq!(Invite::from_link("adit:2:aaaa"), Err(LinkError::OtherVersion("2".to_owned())));
    assert_eq!(Invite::from_link("adit:1:"), Err(LinkError::Altered));
    assert_eq!(Invite::from_link("adit:1"), Err(LinkError::Altered));
    assert_eq!(Invite::from_link(&format!("adit:1:{}", "a".repeat(2_000))), Err(LinkError::TooLong));
    assert_eq!(Invite::from_link(&"ä".repeat(2_000)), Err(LinkError::NotALink));
}

#[test]
fn every_cut_is_noticed() {
    let link = invite().to_link().unwrap();
    for end in 0..link.len() {
        let error = Invite::from_link(&link[..end]).unwrap_err();
        assert_eq!(error, if end < 5 { LinkError::NotALink } else { LinkError::Altered }, "{end}");
    }
}

#[test]
fn fields_of_a_later_day_are_skipped() {
    let bytes = wire::emit(&invite());
    let (body, _) = bytes.split_last_chunk::<4>().unwrap();
    let mut longer = [body, b"something new"].concat();
    longer.extend(crc32fast::hash(&longer).to_le_bytes());
    assert_eq!(wire::parse(&longer), Ok(invite()));
}

#[test]
fn a_field_that_is_missing_is_no_alteration() {
    let bytes = wire::emit(&invite());
    for end in 0..bytes.len() - 4 {
        let mut shorter = bytes[..end].to_vec();
        shorter.extend(crc32fast::hash(&shorter).to_le_bytes());
        assert!(matches!(wire::parse(&shorter), Err(LinkError::Unsound(_))), "{end}");
    }
}

#[test]
fn what_no_device_could_use_is_neither_written_nor_read() {
    let offer = |name: &str, port| Some(HttpsOffer { name: name.to_owned(), port, pin: None });
    let hosts = |list: &[&str]| list.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
    let wrong = [
        Invite { network: String::new(), ..invite() },
        Invite { network: "a\nb".to_owned(), ..invite() },
        Invite { network: "\u{202e}emoh".to_owned(), ..invite() },
        Invite { network: "x".repeat(65), ..invite() },
        Invite { server: PublicKey::new([0; 32]), ..invite() },
        Invite { expires: u64::MAX, ..invite() },
        Invite { hosts: vec![], ..invite() },
        Invite { hosts: hosts(&["a"; 9]), ..invite() },
        Invite { hosts: hosts(&["a\nPostUp = x"]), ..invite() },
        Invite { hosts: hosts(&["[::1]"]), ..invite() },
        Invite { hosts: hosts(&["1.2.3.400"]), ..invite() },
        Invite { udp_port: None, https: None, ..invite() },
        Invite { udp_port: Some(0), ..invite() },
        Invite { https: offer("::1", 443), ..invite() },
        Invite { https: offer("a b", 443), ..invite() },
        Invite { https: offer("a.example", 0), ..invite() },
    ];
    for one in wrong {
        assert!(matches!(one.to_link(), Err(LinkError::Unsound(_))), "{one:?}");
    }
    let long = Invite { hosts: vec![format!("{0}.{0}.{0}", "x".repeat(60)); 8], ..invite() };
    assert_eq!(long.to_link(), Err(LinkError::TooLong));
}

#[test]
fn the_secret_never_prints() {
    let shown = format!("{:?}", invite());
    assert!(shown.contains("secret: Secret(…)") && !shown.contains("7, 7"), "{shown}");
}

/// Computed by an independent HKDF, X25519 and SHA-256 (Python's `cryptography`).
#[test]
fn keys_and_address_follow_from_the_secret_as_documented() {
    let invite = invite();
    assert_eq!(invite.public_key().to_string(), "ruPEVH7M1FGRzQjnlvWn3mcgnAY9i/5yy6CXVL7qyy4=");
    assert_eq!(invite.https_key().unwrap().to_string(), "eKlq4uuqnOtWLI3WytZCOlr75cCXPvxl6x635+39+V8=");
    assert_eq!(invite.address().to_string(), "fd7a:91c2:77:0:fb99:c4f5:3a3:975b");
    assert_eq!(invite.server_address().to_string(), "fd7a:91c2:77::1");
}

#[test]
fn no_device_has_an_address_like_that_of_an_invite() {
    for n in 0..=255 {
        let address = enrol_address([0; 8], &PublicKey::new([n; 32]));
        assert!(address.octets()[8] >= 0x80, "{address}");
    }
}

#[test]
fn an_invite_is_good_up_to_its_last_second() {
    let invite = invite();
    assert_eq!(invite.check_time(invite.expires), Ok(()));
    let late = invite.check_time(invite.expires + 1).unwrap_err();
    let said = late.to_string();
    assert!(said.contains("Fri, 15 Jan 2027 08:00:00 GMT") && said.contains("08:00:01 GMT"), "{said}");
    assert!(said.contains("if the clock is wrong"), "{said}");
    assert!(invite.check_time(u64::MAX).unwrap_err().to_string().contains("9999"), "no clock makes it panic");
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,10}){0,3}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<Ipv6Addr>().prop_map(|address| address.to_string()),
    ]
}

prop_compose! {
    fn offer()(
        name in "[a-z][a-z0-9]{0,20}(\\.[a-z]{1,10}){0,2}", port in 1..=u16::MAX, pin in any::<Option<[u8; 32]>>(),
    ) -> HttpsOffer {
        HttpsOffer { name, port, pin: pin.map(Pin::from_hash) }
    }
}

prop_compose! {
    fn any_invite()(
        network in "[a-zA-Z0-9äß _-]{1,32}",
        (secret, server, prefix) in any::<([u8; 16], [u8; 32], [u8; 8])>(),
        expires in 0..=LAST_SECOND,
        hosts in proptest::collection::vec(host(), 1..=MAX_HOSTS),
        udp_port in proptest::option::of(1..=u16::MAX),
        https in proptest::option::of(offer()),
    ) -> Invite {
        let udp_port = if https.is_none() { udp_port.or(Some(1)) } else { udp_port };
        let (secret, server) = (Secret::new(secret), PublicKey::new(server));
        Invite { network, secret, expires, server, prefix, hosts, udp_port, https }
    }
}

proptest! {
    #[test]
    fn every_invite_comes_back_from_its_link(invite in any_invite()) {
        prop_assume!(*invite.server.as_bytes() != [0; 32]);
        let link = invite.to_link().unwrap();
        prop_assert!(link.len() <= MAX_LINK);
        prop_assert_eq!(Invite::from_link(&link), Ok(invite));
    }

    /// CRC-32 finds every change within 32 bits that are next to each other.
    #[test]
    fn any_altered_letter_is_refused(invite in any_invite(), at: prop::sample::Index, letter in "[!-~]") {
        prop_assume!(*invite.server.as_bytes() != [0; 32]);
        let mut link = invite.to_link().unwrap().to_string();
        let at = at.index(link.len());
        prop_assume!(!link[at..=at].eq_ignore_ascii_case(&letter));
        link.replace_range(at..=at, &letter);
        prop_assert!(Invite::from_link(&link).is_err(), "{}", link);
    }

    #[test]
    fn two_letters_that_changed_places_are_noticed(invite in any_invite(), at: prop::sample::Index) {
        prop_assume!(*invite.server.as_bytes() != [0; 32]);
        let mut link = invite.to_link().unwrap().to_string().into_bytes();
        let at = 7 + at.index(link.len() - 8);
        prop_assume!(link[at] != link[at + 1]);
        link.swap(at, at + 1);
        prop_assert_eq!(Invite::from_link(str::from_utf8(&link).unwrap()), Err(LinkError::Altered));
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        drop(Invite::from_link(&text));
        drop(Invite::from_link(&format!("adit:1:{text}")));
    }

    #[test]
    fn no_bytes_with_a_good_check_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        let link = format!("adit:1:{}", data_encoding::BASE32_NOPAD.encode(&bytes));
        if let Ok(invite) = Invite::from_link(&link) {
            prop_assert_eq!(Invite::from_link(&invite.to_link().unwrap()), Ok(invite));
        }
    }
}

//! Messages there and back, what is refused of them, and the profile that comes of a membership.

use std::path::Path;

use adit_transport::config::Pin;
use adit_wireguard::PrivateKey;
use proptest::prelude::*;

use super::*;
use crate::profile::wg_quick;

pub(super) fn membership() -> Membership {
    Membership {
        network: "home".to_owned(),
        name: "laptop".to_owned(),
        addresses: vec!["10.77.0.2/24".parse().unwrap(), "fd7a:91c2:77::2/64".parse().unwrap()],
        server: PrivateKey::new([1; 32]).public_key(),
        hosts: vec!["vpn.example.org".to_owned(), "192.0.2.1".to_owned()],
        udp_port: Some(51820),
        https: Some(HttpsOffer { name: "www.example.org".to_owned(), port: 443, pin: Some(Pin::from_hash([9; 32])) }),
        dns: vec!["10.77.0.1".parse().unwrap()],
        routes: vec![],
    }
}

fn request() -> Request {
    let key = PrivateKey::new([2; 32]);
    Request {
        version: VERSION,
        key: key.public_key(),
        https_key: HttpsKey::of(&key).unwrap(),
        name: "laptop".to_owned(),
        system: "Debian GNU/Linux 12".to_owned(),
    }
}

#[test]
fn a_request_is_the_documented_json() {
    let text = String::from_utf8(request().emit()).unwrap();
    assert_eq!(
        text,
        "{\"adit\":1,\"key\":\"zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk=\",\
         \"https_key\":\"gh5ZGiKneDO4gk2BEuv9l6i3wGeaMmg5Kz+z0V+R2Ps=\",\
         \"name\":\"laptop\",\"system\":\"Debian GNU/Linux 12\"}"
    );
    assert_eq!(Request::parse(text.as_bytes()), Ok(request()));
    let longest = Request { name: "\"".repeat(MAX_NAME), system: "\\".repeat(MAX_SYSTEM), ..request() };
    assert!(longest.emit().len() <= MAX_MESSAGE);
}

#[test]
fn an_answer_is_the_documented_json() {
    let text = |reply: &Reply| String::from_utf8(reply.emit().unwrap()).unwrap();
    assert_eq!(text(&Reply::Refused(Refusal::Used)), r#"{"adit":1,"refused":{"why":"used"}}"#);
    let admitted = text(&Reply::Admitted(membership()));
    assert!(
        admitted.starts_with(r#"{"adit":1,"admitted":{"network":"home","name":"laptop","addresses":["10.77.0.2/24","#)
    );
    assert!(admitted.contains(r#""pin":"sha256/CQkJ"#), "{admitted}");
    assert_eq!(Reply::parse(admitted.as_bytes()), Ok(Reply::Admitted(membership())));
}

#[test]
fn a_refusal_of_a_later_day_is_still_one() {
    let later = br#"{"adit":1,"refused":{"why":"the moon is full","until":7}}"#;
    assert_eq!(Reply::parse(later), Ok(Reply::Refused(Refusal::Other)));
}

#[test]
fn every_refusal_comes_back_and_says_what_to_do() {
    use Refusal::{Expired, Full, Key, Other, Revoked, Unable, Used, Version};
    for refusal in [Used, Expired, Revoked, Full, Key, Unable, Version, Other] {
        assert_eq!(Reply::parse(&Reply::Refused(refusal).emit().unwrap()), Ok(Reply::Refused(refusal)));
        assert!(refusal.to_string().contains("\n  hint: "), "{refusal}");
    }
}

#[test]
fn another_version_is_told_from_nonsense() {
    assert_eq!(Request::parse(br#"{"adit":2,"what":"ever"}"#), Err(Unread::Version(2)));
    assert_eq!(Reply::parse(br#"{"adit":0}"#), Err(Unread::Version(0)));
    for junk in [&b""[..], b"[]", b"{}", b"{\"adit\":\"1\"}", b"{\"adit\":1}", &[b' '; MAX_MESSAGE + 1]] {
        assert_eq!(Request::parse(junk), Err(Unread::Malformed));
        assert_eq!(Reply::parse(junk), Err(Unread::Malformed));
    }
}

#[test]
fn a_request_with_odd_names_or_without_a_key_is_none() {
    let wrong = [
        Request { name: "x".repeat(MAX_NAME + 1), ..request() },
        Request { name: "a\u{1b}[2J".to_owned(), ..request() },
        Request { system: "x".repeat(MAX_SYSTEM + 1), ..request() },
        Request { system: "a\n".to_owned(), ..request() },
        Request { key: PublicKey::new([0; 32]), ..request() },
    ];
    for one in wrong {
        assert_eq!(Request::parse(&one.emit()), Err(Unread::Malformed), "{one:?}");
    }
}

#[test]
fn a_membership_that_no_device_could_use_is_none() {
    let address: IpNet = "10.0.0.2/32".parse().unwrap();
    let wrong = [
        Membership { network: String::new(), ..membership() },
        Membership { name: "a\r\nPostUp = reboot".to_owned(), ..membership() },
        Membership { addresses: vec![], ..membership() },
        Membership { addresses: vec![address; MAX_ADDRESSES + 1], ..membership() },
        Membership { dns: vec![address.addr(); MAX_DNS + 1], ..membership() },
        Membership { routes: vec![address; MAX_ROUTES + 1], ..membership() },
        Membership { hosts: vec!["a\nPostUp = reboot".to_owned()], ..membership() },
        Membership { server: PublicKey::new([0; 32]), ..membership() },
        Membership { udp_port: None, https: None, ..membership() },
    ];
    for one in wrong {
        let bytes = Reply::Admitted(one.clone()).emit().unwrap();
        assert_eq!(Reply::parse(&bytes), Err(Unread::Malformed), "{one:?}");
    }
}

#[test]
fn a_membership_becomes_a_profile_that_a_file_can_hold() {
    let profile = membership().profile(PrivateKey::new([2; 32]));
    let text = profile.emit();
    let (again, findings) = wg_quick::parse(&text).strict(Path::new("home.conf")).unwrap();
    assert_eq!(again, profile);
    assert!(!findings.iter().any(wg_quick::Finding::is_trouble), "{findings:?}");
    assert_eq!(
        text.split_once("[Peer]").unwrap().1,
        "\nPublicKey = pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=\nAllowedIPs = 0.0.0.0/0, ::/0\n\
         Endpoint = vpn.example.org:51820\nFallback = 192.0.2.1:51820\nPersistentKeepalive = 25\n\
         Transport = udp, https\n\
         HttpsUrl = https://www.example.org\nHttpsAddress = 192.0.2.1\n\
         HttpsPin = sha256/CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\nHttpsRoots = pin\n"
    );
}

#[test]
fn every_way_to_reach_a_server_is_a_profile_without_findings() {
    let public = Some(HttpsOffer { name: "VPN.example.org".to_owned(), port: 8443, pin: None });
    let ways = [
        (Membership { udp_port: None, ..membership() }, "Transport = https\n"),
        (Membership { https: None, ..membership() }, "PersistentKeepalive = 25\n"),
        (Membership { https: public, ..membership() }, "HttpsUrl = https://vpn.example.org:8443\n"),
        (Membership { hosts: vec!["2001:db8::1".to_owned()], ..membership() }, "Endpoint = [2001:db8::1]:51820\n"),
        (Membership { routes: vec!["10.77.0.9/24".parse().unwrap()], ..membership() }, "AllowedIPs = 10.77.0.0/24\n"),
    ];
    for (membership, line) in ways {
        let profile = membership.profile(PrivateKey::new([2; 32]));
        let text = profile.emit();
        assert!(text.contains(line), "{}", text.as_str());
        let (again, findings) = wg_quick::parse(&text).strict(Path::new("home.conf")).unwrap();
        assert_eq!(again, profile);
        assert!(!findings.iter().any(wg_quick::Finding::is_trouble), "{findings:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(Request::parse(&bytes));
        drop(Reply::parse(&bytes));
    }

    #[test]
    fn no_mangled_message_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        for mut bytes in [request().emit(), Reply::Admitted(membership()).emit().unwrap()] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            drop(Request::parse(&bytes));
            if let Ok(Reply::Admitted(membership)) = Reply::parse(&bytes) {
                let text = membership.profile(PrivateKey::new([2; 32])).emit();
                prop_assert!(wg_quick::parse(&text).strict(Path::new("home.conf")).is_ok(), "{}", text.as_str());
            }
        }
    }
}

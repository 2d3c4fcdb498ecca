//! Files that are taken in: the text with them says what the text beside them said.

use super::super::{
    ClientConfig, Config, ControlWrap, Crl, KeyDirection, Material, SecretText, embed, left_beside, needs, parse,
};
use super::{CLIENT, client};

/// Each file holds its own name.
fn embedded(text: &str) -> SecretText {
    embed(text, |needed| Some(SecretText::new(format!("{}\n", needed.name)))).unwrap()
}

/// As if each file had been read, by the same rule.
fn read(material: &mut Material) {
    if let Material::File(name) = material {
        *material = Material::Inline(SecretText::new(format!("{name}\n")));
    }
}

fn with_files(mut config: ClientConfig) -> ClientConfig {
    let identity = &mut config.common.identity;
    let own =
        [&mut identity.ca, &mut identity.cert, &mut identity.key, &mut identity.extra_certs, &mut identity.pkcs12];
    own.into_iter().flatten().for_each(read);
    config.login.login.iter_mut().filter_map(|login| login.source.as_mut()).for_each(read);
    if let Some(Crl::List(list)) = &mut config.common.peer.crl {
        read(list);
    }
    for remote in &mut config.remotes {
        remote.proxy.iter_mut().filter_map(|proxy| proxy.login.as_mut()).for_each(read);
        match &mut remote.wrap {
            ControlWrap::Plain => {}
            ControlWrap::TlsAuth { key, .. } | ControlWrap::TlsCrypt { key } | ControlWrap::TlsCryptV2 { key } => {
                read(key)
            }
        }
    }
    config
}

#[test]
fn a_text_with_its_files_says_what_it_said_without_them() {
    let start = "client\nremote-cert-tls server\n";
    for lines in [
        "remote a\nca ca.crt\ncert c.crt\nkey c.key\nextra-certs more.crt\ncrl-verify crl.pem\nauth-user-pass login.txt\n",
        "remote a\nca ca.crt\nauth-user-pass\ntls-auth ta.key 1\n",
        "remote a\nca ca.crt\nauth-user-pass stdin\ntls-auth ta.key\nkey-direction 0\n",
        "remote a\nsetenv opt ca ca.crt\nauth-user-pass\nsetenv opt tls-auth ta.key 0\n",
        "remote a 1 tcp\nca ca.crt\nauth-user-pass\nhttp-proxy p 8080\nhttp-proxy-user-pass proxy.txt\ntls-crypt tc.key\n",
        "remote a 1 tcp\nca ca.crt\nauth-user-pass\nhttp-proxy p 8080 proxy.txt basic\nhttp-proxy-option VERSION 1.1\n",
        "remote a\nca ca.crt\nauth-user-pass\nsocks-proxy p 1080 proxy.txt\n",
        "ca ca.crt\nauth-user-pass\n<connection>\nremote a 1 tcp\nhttp-proxy p 1 one.txt\n</connection>\n\
         <connection>\nremote b\nsocks-proxy p 2 two.txt\n</connection>\n<connection>\nremote c\n</connection>\n",
        "remote a\nca ca.crt\nauth-user-pass\ntls-crypt-v2 v2.key\n",
        // The direction of one key is not that of another.
        "ca ca.crt\nauth-user-pass\ntls-auth ta.key 1\n<connection>\nremote a\ntls-auth other.key\n</connection>\n\
         <connection>\nremote b\n</connection>\n<connection>\nremote c\ntls-auth third.key 0\n</connection>\n",
    ] {
        let text = format!("{start}{lines}");
        let beside = client(&text);
        let within = embedded(&text);
        assert_eq!(client(within.expose()), with_files(beside), "{lines}{}", within.expose());
    }
}

#[test]
fn an_announced_direction_is_that_of_its_own_block() {
    let text = format!(
        "{CLIENT}tls-auth [inline] 1\n<tls-auth>\na\n</tls-auth>\n<connection>\nremote b\n<tls-auth>\nb\n</tls-auth>\n</connection>\n\
         <connection>\nremote c\ntls-auth [inline] 0\n<tls-auth>\nc\n</tls-auth>\n</connection>\n"
    );
    let directions = |text: &str| -> Vec<_> {
        let direction =
            |wrap: ControlWrap| if let ControlWrap::TlsAuth { direction, .. } = wrap { direction } else { panic!() };
        client(text).remotes.into_iter().map(|remote| direction(remote.wrap)).collect()
    };
    assert_eq!(directions(&text), [None, Some(KeyDirection::Normal)]);
    let after = format!("{CLIENT}<tls-auth>\na\n</tls-auth>\ntls-auth [inline] 1\n");
    assert_eq!(directions(&after), [Some(KeyDirection::Inverse)], "the block may come first");
    let own = format!("{after}<connection>\nremote b\n<tls-auth>\nb\n</tls-auth>\n</connection>\n");
    assert_eq!(directions(&own), [None], "and then it is no other block's");
}

#[test]
fn a_file_that_would_end_its_block_is_not_taken_in() {
    for (text, content) in [
        ("client\nca x\n", "a\n</ca>\nup /bin/sh\n"),
        ("client\n<connection>\nremote a\ntls-auth k 1\n</connection>\n", "a\n  </connection>\nup /bin/sh\n"),
    ] {
        let bad = embed(text, |_| Some(SecretText::new(content.to_owned())));
        assert!(bad.unwrap_err().to_string().contains("would end its block"));
    }
    let direction = embed("tls-auth ta.key 1\n", |_| Some(SecretText::new("k".to_owned()))).unwrap();
    assert_eq!(direction.expose(), "tls-auth [inline] 1\n<tls-auth>\nk\n</tls-auth>\n");
}

/// Names have been looked up by it, and the text lies elsewhere from now on.
#[test]
fn a_change_of_directory_goes_once_files_are_taken_in() {
    let text = format!("{CLIENT}cd keys\nsetenv opt cd deeper\ncert c.crt\nkey c.key\n");
    assert_eq!(client(&text).common.base.as_deref(), Some("deeper"));
    let within = embedded(&text);
    assert_eq!((client(within.expose()).common.base, needs(within.expose())), (None, vec![]));
}

#[test]
fn names_that_no_block_can_stand_for_are_listed() {
    let text = "askpass a\naskpass stdin\nhttp-proxy p 1 b basic\nhttp-proxy p 1 auto\nsocks-proxy s 1 c\nsocks-proxy s 1 stdin\n\
        crl-verify d dir\ncrl-verify list\nclient-config-dir e\nsetenv opt ifconfig-pool-persist f 60\nauth-user-pass stdin\n\
        <connection>\nremote x\nhttp-proxy p 1 g\n</connection>\n";
    let names = |list: Vec<super::super::Needed>| list.into_iter().map(|needed| needed.name).collect::<Vec<_>>();
    assert_eq!(names(left_beside(text)), ["d", "e", "f"]);
    assert_eq!(names(needs(text)), ["a", "b", "c", "list", "g"]);
    let Some(Config::Client(asked)) = parse(&format!("{CLIENT}askpass stdin\nauth-user-pass stdin\n")).config else {
        panic!()
    };
    assert_eq!((asked.common.identity.key_password, asked.login.login.unwrap().source), (None, None));
}

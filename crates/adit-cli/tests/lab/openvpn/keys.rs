//! Keys behind a password, and bundles, as `openssl` makes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::ExtendedKeyUsagePurpose;

use super::{INSIDE, Scene};
use crate::world::err;

const SERVER: &str = "--proto udp --tls-crypt DIR/tc.key";
const REMOTE: &str = "client\ndev tun\nremote-cert-tls server\nremote 192.0.2.2 1194 udp\n";

/// `~` stands for a space inside a word.
fn openssl(dir: &Path, line: &str) {
    let made = Command::new("openssl")
        .args(line.split_whitespace().map(|word| word.replace('~', " ")))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "openssl {line}: {}", err(&made));
}

impl Scene {
    /// Alice's certificate and key as files beside her configuration, and the lines that every configuration has.
    fn papers_beside(&self) -> String {
        let dir = &self.alice().dir;
        let (cert, key) = self.papers.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
        for (name, text) in [("alice.crt", cert), ("alice.key", key), ("ca.crt", self.papers.authority.pem())] {
            fs::write(dir.join(name), text).unwrap();
        }
        let wrap = fs::read_to_string(self.bob().dir.join("tc.key")).unwrap();
        format!("{REMOTE}<tls-crypt>\n{wrap}</tls-crypt>\n")
    }

    /// Nothing opens the key but its password, whoever gives it, and no log has it.
    fn opens_by_password(&self, lines: &str, option: &str) {
        let alice = self.alice();
        let before = alice.network();
        let file = self.write(lines);
        for (answers, said) in [("open barley\n", "password of the key is wrong"), ("", "no answer")] {
            let failure = self.up_with(&file, answers);
            assert_eq!(failure.status.code(), Some(2), "{}", err(&failure));
            assert!(err(&failure).contains(said), "{}", err(&failure));
        }
        assert!(err(&self.up_with(&file, "open barley\n")).contains(&format!("`{option}`")));
        assert_eq!(alice.network(), before);
        let right = self.up_with(&file, "open sesame\n");
        assert!(right.status.success(), "{}\n{}\n{}", err(&right), alice.log(), self.log());
        assert!(alice.pings(INSIDE), "{}", alice.log());
        assert!(alice.ok(&["reload", &alice.tunnel]).contains("Nothing in the file differs"));
        alice.ok(&["down", &alice.tunnel]);
        fs::write(alice.dir.join("password"), "open sesame\n").unwrap();
        let asks_nobody = self.write(&format!("{lines}askpass password\n"));
        alice.ok(&["up", &asks_nobody]);
        assert!(alice.pings(INSIDE), "{}", alice.log());
        alice.ok(&["down", &alice.tunnel]);
        assert!(!alice.log().contains("sesame") && !alice.log().contains("barley"), "a password is in the log");
        assert_eq!(alice.network(), before);
    }
}

#[test]
fn an_encrypted_key_is_opened_by_its_password() {
    let scene = Scene::new(SERVER);
    let lines = scene.papers_beside();
    openssl(&scene.alice().dir, "pkcs8 -topk8 -in alice.key -passout pass:open~sesame -out locked.key");
    scene.opens_by_password(&format!("{lines}ca ca.crt\ncert alice.crt\nkey locked.key\n"), "key");
}

#[test]
fn a_bundle_is_all_that_a_client_needs() {
    let scene = Scene::new(SERVER);
    let lines = scene.papers_beside();
    let export =
        "pkcs12 -export -in alice.crt -inkey alice.key -certfile ca.crt -passout pass:open~sesame -out alice.p12";
    openssl(&scene.alice().dir, export);
    scene.opens_by_password(&format!("{lines}pkcs12 alice.p12\n"), "pkcs12");
}

/// From a script: first what opens the key, then user and password.
#[test]
fn the_password_of_the_key_is_asked_for_before_the_users() {
    let scene = Scene::new(&format!("--proto udp {}", super::ASKS));
    let lines = scene.papers_beside();
    openssl(&scene.alice().dir, "pkcs8 -topk8 -in alice.key -passout pass:key~word -out locked.key");
    let file = scene.write(&format!("{lines}ca ca.crt\ncert alice.crt\nkey locked.key\nauth-user-pass\n"));
    let up = scene.up_with(&file, "key word\nalice\nopen sesame\n");
    assert!(up.status.success(), "{}\n{}\n{}", err(&up), scene.alice().log(), scene.log());
    assert!(scene.alice().pings(INSIDE), "{}", scene.alice().log());
}

/// Measured: OpenVPN 2.6.14 does the same.
#[test]
fn a_bundle_vouches_for_nobody_where_the_file_names_an_authority() {
    let scene = Scene::new(SERVER);
    let lines = scene.papers_beside();
    let dir = &scene.alice().dir;
    openssl(dir, "pkcs12 -export -in alice.crt -inkey alice.key -certfile ca.crt -passout pass: -out alice.p12");
    openssl(dir, "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -subj /CN=Other -days 9");
    let file = scene.write(&format!("{lines}pkcs12 alice.p12\nca other.crt\n"));
    scene.alice().fails(1, &["up", &file]);
    scene.alice().ok(&["up", &scene.write(&format!("{lines}pkcs12 alice.p12\n"))]);
    assert!(scene.alice().pings(INSIDE), "{}", scene.alice().log());
}
